//! Elastic IPs: the public pool, associations (semantics 66-74).
