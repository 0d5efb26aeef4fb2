//! Why: the answer about a packet, told in words.
//!
//! [`trace()`] sends an imagined packet through the very walk that the live data plane runs, over the flows that it knows,
//! takes down the hops, supposes what the packet would change, and sends the answer back the same way. What it says is
//! therefore what happens to a new connection now, also where a table is full. [`words`] turns places and rules into text, for traces and for live drops alike.
//!
//! May not be in here: rules of its own about packets (crate `fabric`), I/O, clocks.
//!
//! Start at [`mod@trace`]; [`way`] tells a walk in short; [`place`] finds out what a person means by `web-a`, `eni-…`, `10.0.0.5` or `internet`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod place;
pub mod trace;
pub mod way;
pub mod words;

pub use place::{Outside, PlaceError, find_instance, find_ports, name_of};
pub use trace::{Protocol, Query, Trace, TraceHop, trace};
