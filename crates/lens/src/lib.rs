//! Atoll's `lens`.
