//! The data plane of one host: ports, packet I/O, the flow cache.
//!
//! A port is the host end of a veth pair in the fabric's network namespace; packet sockets receive what instances
//! send, the engine decides by `fabric`'s walk or by an answer kept from an earlier one, and sends on. There are
//! no rules in here: what a packet may do is decided in `fabric` alone.
//!
//! Start at [`Plane`]; then `engine/mod.rs`, which takes a batch of frames through reading, looking up and
//! walking, and `cache/mod.rs`. Sockets are in `worker.rs` and `sys/`, the only place with `unsafe`.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(unsafe_code)]

mod cache;
mod counters;
mod drops;
mod elsewhere;
mod engine;
mod error;
mod fast;
mod floods;
mod fragments;
mod intake;
mod journal;
mod live_flows;
mod losses;
mod plane;
mod port;
mod sockets;
#[allow(unsafe_code)]
mod sys;
mod vnet;
mod worker;

#[cfg(test)]
mod frames;
/// Rows made by hand, as the tests with real packets have them.
#[cfg(test)]
#[path = "../tests/rig/rows.rs"]
#[allow(dead_code)]
mod rig_rows;
#[cfg(test)]
#[path = "../../fabric/tests/rows/mod.rs"]
mod rows;
/// Random regions and packets, as the rules' own tests have them.
#[cfg(test)]
#[path = "../../fabric/tests/world/mod.rs"]
mod world;

pub use counters::Counters;
pub use drops::DropRecord;
pub use elsewhere::{Tunnel, Vni};
pub use engine::{Capacity, Emission, Engine, Outbox};
pub use error::PlaneError;
pub use fast::{FastCapacity, FastError, KernelCounters, permitted as fast_permitted};
pub use live_flows::{Ends, FlowQuery, KernelCount, LiveFlow, LiveFlows, Way};
pub use losses::{Family, Lane, LostFrames};
pub use plane::{FlowCounts, Plane, PlaneConfig};
pub use port::Attachment;
pub use sys::ring::Received;
