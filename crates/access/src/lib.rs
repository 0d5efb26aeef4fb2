//! Atoll's `access`.
