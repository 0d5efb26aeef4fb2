//! Atoll's `region`.
