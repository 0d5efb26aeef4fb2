//! Atoll's `fabric`.
