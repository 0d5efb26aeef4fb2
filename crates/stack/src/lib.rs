//! Atoll's `stack`.
