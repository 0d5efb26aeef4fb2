//! Atoll's `api`.
