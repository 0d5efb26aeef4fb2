//! Atoll's `plane`.
