//! What a VPC means to a packet: the one definition of the rules.
//!
//! `Fabric` is the compiled form of the model's rows, fed by deltas. `walk` takes a packet through it and
//! answers what becomes of it; it is pure: the state of flows is read through a [`FlowView`], and what would
//! change is answered as effects, which the live data plane commits to [`Flows`] and a trace throws away.
//! [`Cells`] tell which kept answers a change of configuration makes stale.
//!
//! May not be in here: clocks, randomness, threads, I/O, bytes of frames. Start at `walk.rs`, which
//! only sequences; each decision stands in its noun's file, under the numbers of the packet facts it follows
//! ("semantics NN").
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cells;
pub mod component;
pub mod flows;
pub mod outcome;
pub mod packet;
pub mod stage;
pub mod trace;

pub use cells::{CellId, Cells};
pub use component::{Changed, Component, Dependencies};
pub use flows::{Effects, FlowView, Flows, Layered, Limits, LostRace, NoFlows, Slot};
pub use outcome::{Action, Answer, Drop, Outcome, Rewrite, Verdict};
pub use packet::{Fragment, L4, Packet, Port, Quote};
pub use stage::Stage;
pub use trace::{Decision, Hop, Place, Recorder, RuleRef};
