//! Atoll's `store`.
