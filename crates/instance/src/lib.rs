//! Atoll's `instance`.
