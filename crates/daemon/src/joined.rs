//! What a host that joined a region keeps of that, beside the region's rows, so that it starts again while the region's
//! host is away.

use std::io;
use std::path::{Path, PathBuf};

use atoll_model::{HostId, HostName, RegionName};
use atoll_net::Prefix;
use atoll_region::Config;
use serde::{Deserialize, Serialize};

use crate::control::follow::Welcome;
use crate::{credentials, pools};

/// The file's name in the data directory.
pub(crate) const FILE: &str = "joined.json";

/// Which host of which region this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// What this host is called.
    pub(crate) name: HostName,
    /// Its id.
    pub(crate) host: HostId,
    /// The region.
    pub(crate) region: RegionName,
    /// Where its public IPv4 addresses come from.
    pub(crate) public_pool: Prefix,
    /// Where its IPv6 blocks come from.
    pub(crate) ipv6_pool: Prefix,
    /// Which host served the region when this one joined.
    #[serde(default)]
    pub(crate) serving: Option<HostId>,
}

/// The data directory is not this host's.
#[derive(Debug, thiserror::Error)]
pub enum JoinedError {
    /// It cannot be read or written.
    #[error("cannot use {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A region is served from it.
    #[error("{} holds a region that `atoll serve` serves; name another --data-dir for `atoll join`", path.display())]
    Serves {
        /// The data directory.
        path: PathBuf,
    },
    /// A copy of a region that is served elsewhere is in it.
    #[error("{} is host {name} of {region}, which is served elsewhere; name another --data-dir for `atoll serve`", path.display())]
    Copy {
        /// The data directory.
        path: PathBuf,
        /// The host's name.
        name: String,
        /// The region.
        region: RegionName,
    },
    /// It is another host's, or of another region.
    #[error("{} is host {name} of {region}, and this is to be {wanted}; name another --data-dir", path.display())]
    Another {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        name: String,
        /// Of which region.
        region: RegionName,
        /// What was asked for.
        wanted: String,
    },
}

/// What a data directory says; `None` when it is nobody's yet.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(data: &Path) -> Result<Option<Joined>, JoinedError> {
    let path = data.join(FILE);
    let read = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)),
    };
    read.map(Some).map_err(|why| JoinedError::Unusable { path, why })
}

/// What a host of this name finds in its data directory; `None` when it joins for the first time.
///
/// # Errors
/// When the directory is a region's own or another host's.
pub(crate) fn find(data: &Path, name: &HostName, region: RegionName) -> Result<Option<Joined>, JoinedError> {
    let path = data.to_path_buf();
    if [credentials::FILE, pools::FILE]
        .iter()
        .any(|file| data.join(file).exists())
    {
        return Err(JoinedError::Serves { path });
    }
    let Some(joined) = read(data)? else {
        return Ok(None);
    };
    if (&joined.name, joined.region) != (name, region) {
        return Err(JoinedError::Another {
            path,
            name: joined.name.to_string(),
            region: joined.region,
            wanted: format!("{name} of {region}"),
        });
    }
    Ok(Some(joined))
}

/// That a region may be served from a data directory.
///
/// # Errors
/// When a copy of one that is served elsewhere is in it.
pub(crate) fn none(data: &Path) -> Result<(), JoinedError> {
    match read(data)? {
        None => Ok(()),
        Some(joined) => Err(JoinedError::Copy {
            path: data.to_path_buf(),
            name: joined.name.to_string(),
            region: joined.region,
        }),
    }
}

impl Joined {
    /// What the region's host said.
    pub(crate) fn new(name: HostName, welcome: &Welcome) -> Joined {
        Joined {
            name,
            host: welcome.host,
            region: welcome.region,
            public_pool: welcome.public_pool,
            ipv6_pool: welcome.ipv6_pool,
            serving: welcome.serving,
        }
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&self, data: &Path) -> Result<(), JoinedError> {
        let path = data.join(FILE);
        let write = || {
            let unfinished = path.with_extension("unfinished");
            std::fs::write(&unfinished, serde_json::to_vec(self)?)?;
            std::fs::File::open(&unfinished)?.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(|why| JoinedError::Unusable {
            path: path.clone(),
            why,
        })
    }

    /// The configuration of the copy.
    pub(crate) fn config(&self, runs_instances: bool) -> Config {
        Config {
            name: self.region,
            public_pool: self.public_pool,
            ipv6_pool: self.ipv6_pool,
            runs_instances,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_one_hosts_or_one_regions() {
        let data = tempfile::tempdir().unwrap();
        let name = |text: &str| text.parse::<HostName>().unwrap();
        let region = RegionName::DEFAULT;
        assert_eq!(find(data.path(), &name("b"), region).unwrap(), None);
        none(data.path()).unwrap();
        let welcome = Welcome {
            protocol: 1,
            host: HostId::new(7),
            region,
            public_pool: "203.0.113.0/24".parse().unwrap(),
            ipv6_pool: "2001:db8:100::/40".parse().unwrap(),
            serving: Some(HostId::new(1)),
        };
        let joined = Joined::new(name("b"), &welcome);
        joined.keep(data.path()).unwrap();
        assert_eq!(find(data.path(), &name("b"), region).unwrap(), Some(joined));
        let other = "eu-west-1".parse().unwrap();
        for (name, region) in [(name("c"), region), (name("b"), other)] {
            let error = find(data.path(), &name, region).unwrap_err();
            assert!(error.to_string().contains("is host b of us-east-1"), "{error}");
        }
        assert!(matches!(none(data.path()), Err(JoinedError::Copy { .. })));
        std::fs::write(data.path().join(pools::FILE), "{}").unwrap();
        assert!(matches!(
            find(data.path(), &name("b"), region),
            Err(JoinedError::Serves { .. })
        ));
        std::fs::write(data.path().join(FILE), "{").unwrap();
        assert!(matches!(none(data.path()), Err(JoinedError::Unusable { .. })));
    }
}
