//! What ought to be against what is: each reconciler looks at the latest region, compares, and takes one
//! step at a time. None keeps a history, so each picks up after a restart where things stand.
//!
//! `instance.rs` decides what an instance needs, purely; `hosted.rs` does it on this host;
//! `internet.rs` says what is outside.
//! `hosts.rs` says to the data plane what is on which other host.
//! `plane.rs` keeps the data plane's copy of rows and ports; `stack.rs` steps stacks and `signal.rs` brings
//! them what instances signal;
//! `nat_gateway.rs` and `tick.rs` are small ones of their own. `start.rs` makes tasks of them all.

pub(crate) mod hosted;
pub mod hosts;
pub mod instance;
pub mod internet;
pub(crate) mod nat_gateway;
pub(crate) mod plane;
pub(crate) mod signal;
pub(crate) mod stack;
mod start;
pub(crate) mod tick;
pub(crate) mod unhosted;

pub(crate) use start::{start, watch};
