//! Atoll's `shapes`.
