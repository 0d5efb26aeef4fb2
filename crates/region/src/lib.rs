//! One region's state and everything that may change it.
//!
//! A [`Region`] is one immutable value: a persistent ordered map a noun, and an index that one function derives
//! from the rows ([`index`]). A [`Command`] is applied purely: it reads and changes a [`Transaction`] and yields a
//! reply; what it changed comes out as a [`atoll_model::Delta`]. Nothing is seen by anybody before the store has
//! made the delta durable; that is the writer's business (crate `daemon`), not this room's.
//!
//! May not be in here: clocks, randomness (time and seed come with the [`Context`]), I/O, packets' fate
//! (crate `fabric`), AWS's wire forms (crate `api`).
//!
//! Start at [`transaction`], then open a noun's file: each holds its commands, one struct a state-changing action.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod egress_only_gateway;
pub mod elastic_ip;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod host;
pub mod idempotency;
pub mod index;
pub mod instance;
pub mod internet_gateway;
pub mod invariant;
pub mod nat_gateway;
pub mod network_acl;
pub mod network_interface;
pub mod route;
pub mod route_table;
pub mod security_group;
pub mod state;
pub mod subnet;
pub mod tag;
pub mod tick;
pub mod transaction;
pub mod vpc;
pub mod vpc_cidr;

pub use error::Error;
pub use index::{Index, index_of};
pub use route::{RouteState, route_state};
pub use state::{Config, Noun, Region};
pub use transaction::{Applied, Command, Context, Transaction};
