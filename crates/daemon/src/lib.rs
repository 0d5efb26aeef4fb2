//! Wiring: what turns the rooms into a process.
//!
//! - `writer.rs` and `region_handle.rs`: one writer a region, durable before it is seen.
//! - `entropy.rs`: the clock and the random numbers that the deciding rooms are given.
//!
//! No rule of a VPC and no wire form belongs here: those are `region`'s, `fabric`'s and `api`'s.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod entropy;
mod region_handle;
pub mod writer;

pub use region_handle::{Followed, Follower, RegionHandle};
