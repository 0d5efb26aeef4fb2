//! Why the kernel takes no part.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Why the kernel takes no part.
#[derive(Debug, thiserror::Error)]
pub enum FastError {
    /// Not for this user.
    #[error(
        "the kernel takes eBPF programs from root alone (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN of the whole machine)"
    )]
    NotPermitted,
    /// The program was not taken.
    #[error("the kernel does not take the eBPF program: {0}")]
    Load(#[from] EbpfError),
    /// The same.
    #[error("the kernel does not take the eBPF program: {0}")]
    Program(#[from] ProgramError),
    /// A map is not there, or cannot be used.
    #[error("a map of the eBPF program cannot be used: {0}")]
    Map(#[from] MapError),
    /// A map's memory cannot be shared.
    #[error("the memory of a map cannot be shared: {0}")]
    Share(io::Error),
    /// The program is not what this was built for.
    #[error("the eBPF program has no {0}")]
    Missing(&'static str),
}
