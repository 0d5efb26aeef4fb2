//! Wiring: what turns the rooms into a process.
//!
//! - `writer.rs` and `region_handle.rs`: one writer a region, durable before it is seen.
//! - `serve.rs`: from options to a daemon that serves; `daemon.rs`: what the process shares.
//! - `feed.rs` and `feeds.rs`: the region's host's end of connections with its other hosts; `join.rs`, `joined.rs`,
//!   `member.rs`, `replica.rs` and `upstream.rs`: the other end; `obedience.rs`: whom answers wait for.
//! - `data_plane.rs`: which data plane it gets.
//! - `hosts.rs`: what is told of a region's other hosts.
//! - `packets.rs`: traces and drops; `flows.rs`: live flows and counters; `consoles.rs`: what instances
//!   wrote, `last_console.rs`: those that are terminated.
//! - `reconcile/`: what ought to be against what is: instances, ports, stacks.
//! - `control/`: what is not AWS's API, over a socket of the owner's.
//! - `places.rs`, `credentials.rs`, `pools.rs`: what lies where on the disk.
//! - `entropy.rs`: the clock and the random numbers that the deciding rooms are given.
//!
//! No rule of a VPC and no wire form belongs here: those are `region`'s, `fabric`'s and `api`'s.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod consoles;
pub mod control;
pub mod credentials;
mod daemon;
mod data_plane;
pub mod entropy;
mod feed;
mod feeds;
mod flows;
mod handover;
mod hosts;
mod join;
mod joined;
mod last_console;
mod lines;
mod member;
mod obedience;
pub mod options;
mod packets;
pub mod places;
mod pools;
pub mod reconcile;
mod region_handle;
pub mod removal;
pub mod replica;
mod serve;
mod upstream;
pub mod writer;

pub use daemon::Daemon;
pub use options::Options;
pub use region_handle::{Followed, Follower, RegionHandle};
pub use serve::{Opened, Running, ServeError, open};
