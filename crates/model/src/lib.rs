//! Atoll's `model`.
