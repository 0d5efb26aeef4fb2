//! Atoll's `daemon`.
