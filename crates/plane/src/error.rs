//! What can go wrong.

use std::io;

/// Why the plane cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// A socket cannot be opened or set up.
    #[error(
        "the data plane cannot {what}: {source}; it needs CAP_NET_RAW over the fabric's network namespace"
    )]
    Socket {
        /// What it tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel takes no part in forwarding.
    #[error(transparent)]
    Fast(#[from] crate::fast::FastError),
    /// The file that the state of flows is kept in cannot be made.
    #[error("the state of flows cannot be kept in {}: {source}", path.display())]
    Journal {
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("the data plane's thread cannot be started: {0}")]
    Thread(io::Error),
    /// There is no interface of that name in the fabric's network namespace.
    #[error("there is no interface {name} in the fabric's network namespace: {source}")]
    NoSuchInterface {
        /// The name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// More ports than a host can have.
    #[error("a host has at most 524288 ports")]
    TooManyPorts,
    /// Only the kernel's programs can speak to other hosts.
    #[error("packets to other hosts need the eBPF data plane, and this one is the userspace plane")]
    TunnelNeedsKernel,
    /// The programs cannot stand at the VXLAN device.
    #[error(
        "the interface {ifindex} cannot be the way to other hosts: {source}; it is to be a VXLAN device in external mode with `gbp`"
    )]
    Tunnel {
        /// Its index.
        ifindex: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The plane has been stopped, or its thread has ended.
    #[error("the data plane does not run any more")]
    Stopped,
}
