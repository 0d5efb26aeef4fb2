//! What `atoll serve` and `atoll join` are told.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use atoll_model::{HostName, RegionName, ZoneName};

use crate::places;

/// Where the API is served when nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4600);

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Everything, in this directory.
    Directory(PathBuf),
    /// Nothing.
    Ephemeral,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Whoever signs with a known access key.
    SigV4,
    /// Anybody, as account 123456789012.
    None,
}

/// What carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlane {
    /// What is known is forwarded by an eBPF program in the kernel, the rest as in `Userspace`. Wants root.
    Ebpf,
    /// Packet sockets, everywhere, also rootless.
    Userspace,
    /// Nothing: the API alone. Instances are rows without processes.
    None,
}

/// What `atoll join` is told beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOptions {
    /// What this host is called.
    pub name: HostName,
    /// The zones whose instances run here: one at least, all of the region.
    pub zones: Vec<ZoneName>,
    /// What reaches `atoll feed` on the region's host: a program and its arguments.
    pub command: Vec<OsString>,
}

/// The options of a daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the API is served; port 0 takes any free one. A host that joins serves none: the port, which is not 0, names
    /// its control socket.
    pub listen: SocketAddr,
    /// Names that the API may be called by beside the listener's own.
    pub allowed_hosts: Vec<String>,
    /// What is kept.
    pub data: Data,
    /// Who may call.
    pub auth: Auth,
    /// What carries packets; `None` for the fastest that is permitted here.
    pub data_plane: Option<DataPlane>,
    /// The regions that are served, the default one first.
    pub regions: Vec<RegionName>,
    /// This host's address for other hosts, if there may be others.
    pub underlay: Option<IpAddr>,
    /// What this host is called among others; `None` for its own host name.
    pub host_name: Option<HostName>,
    /// The region that is served elsewhere and that this is a host of: then none is served here.
    pub join: Option<JoinOptions>,
    /// Where sockets go.
    pub run_base: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            allowed_hosts: Vec::new(),
            data: Data::Directory(places::default_data_directory()),
            auth: Auth::SigV4,
            data_plane: None,
            regions: vec![RegionName::DEFAULT],
            underlay: None,
            host_name: None,
            join: None,
            run_base: places::default_run_base(),
        }
    }
}

/// A word that an option does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not one of: {known}")]
pub struct WordError {
    value: String,
    known: &'static str,
}

macro_rules! words {
    ($type:ident, $known:literal, $($word:literal => $value:ident),+) => {
        impl FromStr for $type {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok($type::$value),)+
                    _ => Err(WordError { value: text.chars().take(64).collect(), known: $known }),
                }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$value => $word),+ })
            }
        }
    };
}
words!(Auth, "sigv4, none", "sigv4" => SigV4, "none" => None);
words!(DataPlane, "ebpf, userspace, none", "ebpf" => Ebpf, "userspace" => Userspace, "none" => None);
