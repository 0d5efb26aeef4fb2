//! A daemon that is one of the hosts of a region that is served elsewhere: how it comes to its copy of the region.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use atoll_instance::Underlay;
use atoll_model::{RegionName, Timestamp};
use atoll_region::{Region, host};
use atoll_store::{Store, StoreError};
use tokio::sync::watch;

use crate::consoles::Consoles;
use crate::control::follow::{Follow, JoinedStatus, PROTOCOL, Welcome};
use crate::join::command::Command;
use crate::join::{Connected, Contact, Join};
use crate::joined::{self, Joined};
use crate::options::{DataPlane, JoinOptions, Options};
use crate::region_handle::RegionHandle;
use crate::serve::ServeError;
use crate::upstream::Upstream;
use crate::writer::Writer;

/// Without a data plane nothing is sent, and every length fits.
const UNKNOWN_MTU: u32 = 1500;

/// What the process knows of it.
#[derive(Debug)]
pub(crate) struct Member {
    joined: Joined,
    contact: watch::Receiver<Contact>,
}

/// What is needed to be one.
pub(crate) struct Joining {
    pub(crate) options: JoinOptions,
    /// The region.
    pub(crate) region: RegionName,
    /// What was kept; `None` at the first time.
    pub(crate) joined: Option<Joined>,
    /// Where that is kept.
    pub(crate) data: PathBuf,
    /// The network namespace that this process was started in, if it has left it.
    pub(crate) home: Option<OwnedFd>,
    /// What the region's host is told.
    pub(crate) underlay: std::net::IpAddr,
    /// Likewise, in bytes.
    pub(crate) mtu: u32,
}

/// The copy, and what keeps it.
pub(crate) struct Started {
    pub(crate) member: Member,
    pub(crate) handle: RegionHandle,
    pub(crate) writer: std::thread::JoinHandle<()>,
    pub(crate) keeping: Keeping,
}

/// What is to run for as long as the daemon does.
pub(crate) struct Keeping {
    join: Join,
    joined: Joined,
    data: PathBuf,
    upstream: Upstream,
    first: Option<Connected>,
    contact: watch::Sender<Contact>,
}

impl Joining {
    /// Looks what the data directory says, and remembers the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the options do not fit each other, or the data directory is not this host's.
    pub(crate) fn new(
        join: &JoinOptions,
        options: &Options,
        found: Option<&Underlay>,
        data: Option<&std::path::Path>,
    ) -> Result<Joining, ServeError> {
        let data = data.ok_or_else(|| ServeError::Join("a host that joins keeps its data".into()))?;
        let underlay = options
            .underlay
            .ok_or_else(|| ServeError::Join("--underlay is missing".into()))?;
        let regions: BTreeSet<RegionName> = join.zones.iter().map(|zone| zone.region()).collect();
        let region = match Vec::from_iter(regions).as_slice() {
            [region] => *region,
            [] => return Err(ServeError::Join("name at least one --zone".into())),
            [one, other, ..] => {
                let why = format!("the zones are of {one} and of {other}, and a host is one of one region");
                return Err(ServeError::Join(why));
            }
        };
        if options.listen.port() == 0 {
            return Err(ServeError::Join(
                "--listen names the control socket by its port, which is not to be 0".into(),
            ));
        }
        let home = match options.data_plane {
            Some(DataPlane::None) => None,
            _ => Some(
                File::open("/proc/thread-self/ns/net").map_err(|why| ServeError::System {
                    what: "name this network namespace".into(),
                    why,
                })?,
            ),
        };
        Ok(Joining {
            joined: joined::find(data, &join.name, region)?,
            options: join.clone(),
            region,
            data: data.to_path_buf(),
            home: home.map(OwnedFd::from),
            underlay,
            mtu: found.map_or(UNKNOWN_MTU, |found| found.mtu),
        })
    }

    /// Opens the copy. The first time it asks the region's host, which must answer; later it need not be there.
    ///
    /// # Errors
    /// When the region's host cannot be reached the first time, or will not have this host; when the copy cannot be opened.
    pub(crate) async fn start(
        self,
        runs_instances: bool,
        stores: impl Fn(&str) -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<Started, ServeError> {
        let follow = Follow {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.options.name.to_string(),
            underlay: Some(self.underlay),
            mtu: self.mtu,
            zones: self.options.zones.iter().map(ToString::to_string).collect(),
            region: self.region.to_string(),
            serving: self.joined.as_ref().and_then(|joined| joined.serving),
        };
        let join = Join::new(Command::new(&self.options.command, self.home), follow);
        let (joined, first) = match self.joined {
            Some(joined) => (joined, None),
            None => {
                let connected = join.connect().await.map_err(ServeError::Join)?;
                let joined = Joined::new(self.options.name, &connected.welcome);
                if joined.region != self.region {
                    let why = format!("{} is served there, and not {}", joined.region, self.region);
                    return Err(ServeError::Join(why));
                }
                joined.keep(&self.data)?;
                (joined, Some(connected))
            }
        };
        let name = joined.region.to_string();
        let writer = Writer::open(stores(&name)?, joined.config(runs_instances));
        let writer = writer.map_err(|why| ServeError::Load {
            region: name.clone(),
            why,
        })?;
        let upstream = Upstream::default();
        let started = RegionHandle::start_copy(writer, upstream.clone());
        let (handle, writer) = started.map_err(|why| ServeError::System {
            what: format!("start the writer of {name}"),
            why,
        })?;
        let contact = watch::Sender::new(Contact::none());
        let member = Member {
            joined: joined.clone(),
            contact: contact.subscribe(),
        };
        let keeping = Keeping {
            join,
            joined,
            data: self.data,
            upstream,
            first,
            contact,
        };
        Ok(Started {
            member,
            handle,
            writer,
            keeping,
        })
    }
}

impl Keeping {
    /// Keeps the copy. Ends with the reason when this host is another one by now.
    pub(crate) async fn run(self, handle: RegionHandle, consoles: Consoles) -> Option<String> {
        let this = self.joined.host;
        let welcome: Welcome = self
            .join
            .run(this, handle, self.upstream, self.first, self.contact, consoles)
            .await;
        let anew = Joined::new(self.joined.name, &welcome);
        Some(match anew.keep(&self.data) {
            Ok(()) => {
                "the region had forgotten this host and what was on it, and has it as a new one now".into()
            }
            Err(error) => error.to_string(),
        })
    }
}

impl Member {
    /// This host's id.
    pub(crate) fn host(&self) -> atoll_model::HostId {
        self.joined.host
    }

    /// This host, and how it stands with the region's.
    pub(crate) fn status(&self, regions: &[Arc<Region>], underlay: Option<std::net::IpAddr>) -> JoinedStatus {
        let contact = self.contact.borrow().clone();
        JoinedStatus {
            name: self.joined.name.to_string(),
            region: self.joined.region.to_string(),
            underlay,
            region_host: region_host(regions),
            connected: contact.connected,
            since: contact.since.to_iso8601(),
            why: contact.why,
        }
    }

    /// Whether the region's host is connected, and since when that is so.
    pub(crate) fn contact(&self) -> (bool, Timestamp) {
        let contact = self.contact.borrow();
        (contact.connected, contact.since)
    }

    /// Where the region is served, as a sentence.
    pub(crate) fn elsewhere(&self, regions: &[Arc<Region>]) -> String {
        let Joined { name, region, .. } = &self.joined;
        let there = region_host(regions).unwrap_or_else(|| "another host".into());
        format!("this daemon is the host {name} of {region}, which {there} serves: ask there")
    }

    /// This host, in a line.
    pub(crate) fn line(&self) -> String {
        format!("atoll is the host {} of {}", self.joined.name, self.joined.region)
    }
}

/// The region's host's name and address, where the rows say it.
fn region_host(regions: &[Arc<Region>]) -> Option<String> {
    let host = regions.iter().find_map(|region| host::serving(region))?;
    Some(format!("{} ({})", host.name, host.underlay))
}
