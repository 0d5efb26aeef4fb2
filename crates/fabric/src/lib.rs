//! What a VPC means to a packet: the one definition of the rules.
//!
//! [`Fabric`] is the compiled form of the model's rows, fed by deltas. [`walk()`] takes a packet through it and
//! answers what becomes of it; it is pure: the state of flows is read through a [`FlowView`], and what would
//! change is answered as effects, which the live data plane commits to [`Flows`] and a trace throws away.
//! [`Cells`] tell which kept answers a change of configuration makes stale.
//!
//! May not be in here: clocks, randomness, threads, I/O, bytes of frames. Start at [`mod@walk`], which
//! only sequences; each decision stands in its noun's file, under the numbers of the packet facts it follows
//! ("semantics NN").
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cells;
pub mod component;
pub mod fabric;
pub mod flows;
pub mod outcome;
pub mod packet;
pub mod stage;
pub mod trace;
pub mod walk;

mod ahead;
mod alike;
mod answer;
mod classify;
mod course;
mod egress_only_gateway;
mod elastic_ip;
mod instance;
mod interface_index;
mod internet_gateway;
mod journey;
mod nat_gateway;
mod network_acl;
mod network_interface;
mod route_table;
mod security_group;
mod subnet;
mod tracking;
mod vpc;
mod wire;

pub use ahead::Ahead;
pub use cells::{CellId, Cells};
pub use component::{Changed, Component, Dependencies};
pub use course::{Course, Said};
pub use fabric::{Fabric, Link};
pub use flows::{Effects, FlowView, Flows, Layered, Limits, LostRace, NoFlows, Slot};
pub use outcome::{Action, Answer, Drop, Outcome, Rewrite, Verdict};
pub use packet::{Fragment, L4, Packet, Port, Quote};
pub use stage::Stage;
pub use trace::{Decision, Hop, Place, Recorder, RuleRef};
pub use walk::{Destination, Stretch, arrive, arrive_here, leave, walk, walk_here};
pub use wire::{AllHere, Ends, Site, Sites, Tag, Unreadable, Wire};
