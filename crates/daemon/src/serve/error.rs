//! Why a daemon did not start, or ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use atoll_plane::PlaneError;
use atoll_store::StoreError;

use crate::credentials::CredentialsError;
use crate::joined::JoinedError;
use crate::places::PlaceError;
use crate::writer::LoadError;

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The API's address cannot be had.
    #[error("cannot listen at {listen}: {why}; {}", instead(why))]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// A directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Another daemon has the data directory.
    #[error("{} is in use by another atoll daemon; end that one, or name another --data-dir", path.display())]
    DataInUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A region's store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A region cannot be loaded.
    #[error("region {region}: {why}")]
    Load {
        /// The region.
        region: String,
        /// What was wrong.
        why: LoadError,
    },
    /// Instances cannot run here.
    #[error("{0}")]
    Host(#[from] atoll_instance::Error),
    /// The data plane cannot start.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// There can be no other hosts.
    #[error("--underlay needs root and the eBPF data plane: {0}")]
    Underlay(String),
    /// This host could not be entered among a region's.
    #[error("this host cannot be {name} in {region}: {why}")]
    JoinHost {
        /// What it was to be called.
        name: String,
        /// The region.
        region: String,
        /// What was wrong.
        why: atoll_region::Error,
    },
    /// The region's host will not have this one, or cannot be reached.
    #[error("{0}")]
    Join(String),
    /// The data directory is another host's.
    #[error(transparent)]
    Joined(#[from] JoinedError),
    /// What packets or instances need ended unasked.
    #[error("{0}; start again: instances that still run are adopted, if the region knows them")]
    Broken(String),
    /// A new region's default VPC could not be made.
    #[error("the default VPC of {region}: {why}")]
    DefaultVpc {
        /// The region.
        region: String,
        /// What was wrong.
        why: atoll_region::Error,
    },
    /// A region was named twice, or none.
    #[error("{0}")]
    Regions(String),
    /// Something else of the system's.
    #[error("cannot {what}: {why}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        why: io::Error,
    },
}

/// What to do where the API's address cannot be had.
fn instead(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::AddrInUse => "end what listens there, or name another --listen",
        io::ErrorKind::AddrNotAvailable => "--listen takes an address that this host has",
        io::ErrorKind::PermissionDenied => "name a port of 1024 or above with --listen, or run atoll as root",
        _ => "name another --listen",
    }
}

pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServeError {
    let what = what.into();
    move |why| ServeError::System { what, why }
}
