//! Namespaces, ports and sandboxes: what runs when an instance runs.
//!
//! Three kinds of small single-threaded processes live here, and all of them survive the daemon:
//!
//! - the **holder** ([`holder`]), one per run directory, keeps the fabric's network namespace (in a user namespace
//!   of its own where the person is not root), starts shims, and tells the daemon of every change;
//! - a **shim** ([`shim`]) per running instance starts the sandbox with bubblewrap, makes its ports, configures the guest,
//!   keeps its console and answers `atoll exec`; that of a machine has no sandbox, keeps its TAPs and answers `atoll machine`;
//! - **init** ([`init`]) is process 1 inside the sandbox: it reaps, runs the user data once, and stops the rest when asked.
//!
//! The daemon speaks to them through [`Host`]; the command line through [`exec`] and [`machine`]. Nothing in here knows a VPC: names are
//! strings, addresses are given. No packet is judged here, no API is decoded here.
//!
//! It needs Linux 5.10 or later, bubblewrap and iproute2.
//!
//! Start reading at [`Host`], then `holder.rs`, `shim.rs`, `sandbox.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cfn_signal;
mod cgroup;
mod console;
mod entry;
mod error;
pub mod exec;
mod exec_session;
mod frame;
mod guest_network;
pub mod holder;
mod host;
pub mod init;
mod iproute;
mod leaving;
mod limits;
pub mod machine;
mod namespace;
mod offload;
mod port;
pub mod preflight;
mod protocol;
mod report;
mod run_dir;
mod sandbox;
pub mod shim;
mod spec;
mod stage;
mod state_dir;
mod sys;
mod tap;
mod tunnel;

pub use cgroup::remove_stale as remove_stale_cgroups;
pub use entry::dispatch;
pub use error::{Error, Result};
pub use host::{Changes, Host};
pub use leaving::once_let_go;
pub use limits::{Limits, Resources};
pub use report::{
    Change, GuestSignal, InstanceReport, InstanceState, MachineReport, PortReport, UserDataStatus,
};
pub use spec::{InstanceKind, InstanceSpec, PortAddress, PortSpec};
pub use tunnel::Underlay;
