//! Atoll's `net`.
