//! From options to a daemon that serves.
//!
//! The order matters: [`open`] takes everything that is the host's own (the API's listener on the host's
//! loopback, directories, locks, the control socket) while the process still has one thread; [`Opened::start`]
//! then loads the regions and serves.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atoll_api::{Api, Hosts};
use atoll_instance::{Host, Limits, Underlay, once_let_go};
use atoll_model::AccountId;
use atoll_model::row::Revision;
use atoll_plane::{PlaneError, Tunnel};
use atoll_region::host::JoinHost;
use atoll_region::vpc::CreateDefaultVpc;
use atoll_region::{Config, host};
use atoll_store::{Embedded, Memory, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::control;
use crate::credentials::{self, CredentialsError};
use crate::daemon::Daemon;
use crate::data_plane;
use crate::entropy;
use crate::feeds::Feeds;
use crate::handover::Handover;
use crate::hosts;
use crate::joined::{self, JoinedError};
use crate::last_console::LastConsoles;
use crate::member::{Joining, Member};
use crate::options::{Auth, Data, DataPlane, Options};
use crate::places::{self, PlaceError};
use crate::pools;
use crate::reconcile;
use crate::region_handle::RegionHandle;
use crate::removal;
use crate::writer::{LoadError, Writer};

/// How long a start waits for the instances that run.
const ADOPTION: Duration = Duration::from_secs(30);
/// How long what a start needs may be held by another daemon: one that was killed a moment ago lets go of it.
const LEAVING: Duration = Duration::from_secs(2);
/// How long calls under way may take when the daemon ends.
const GRACE: Duration = Duration::from_secs(5);

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
    #[error("{0}; start again: instances that still run are adopted")]
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

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServeError {
    let what = what.into();
    move |why| ServeError::System { what, why }
}

/// Everything of the host's that a daemon holds, before it serves.
pub struct Opened {
    options: Options,
    endpoint: SocketAddr,
    /// `None` where the region is served elsewhere.
    listener: Option<TcpListener>,
    joining: Option<Joining>,
    control: UnixListener,
    control_path: PathBuf,
    /// `None` when nothing is kept.
    data: Option<PathBuf>,
    /// `None` without a data plane.
    host: Option<Host>,
    limits: Limits,
    /// The way to other hosts, if there is to be one.
    tunnel: Option<Tunnel>,
    /// Removed at the end, when nothing is kept.
    passing: Option<PathBuf>,
    _lock: Option<File>,
}

/// A daemon that serves.
pub struct Running {
    daemon: Arc<Daemon>,
    api: Option<JoinHandle<()>>,
    control: JoinHandle<()>,
    writers: Vec<std::thread::JoinHandle<()>>,
    reconcilers: Vec<JoinHandle<()>>,
    host: Option<Host>,
    passing: Option<PathBuf>,
    stop: Arc<Notify>,
    control_path: PathBuf,
    _lock: Option<File>,
}

/// Takes what is the host's own. Call it while the process has one thread.
///
/// # Errors
/// The first thing that cannot be had, with what to do about it.
pub fn open(options: Options) -> Result<Opened, ServeError> {
    if options.regions.is_empty() && options.join.is_none() {
        return Err(ServeError::Regions("name at least one --region".into()));
    }
    for (nth, region) in options.regions.iter().enumerate() {
        if options.regions.iter().take(nth).any(|other| other == region) {
            return Err(ServeError::Regions(format!("--region {region} is given twice")));
        }
    }
    if options.data_plane == Some(DataPlane::Ebpf) {
        // Before there is a holder, which would stay.
        atoll_plane::fast_permitted().map_err(PlaneError::from)?;
    }
    let underlay = underlay(&options)?;
    let listen = |why| ServeError::Listen {
        listen: options.listen,
        why,
    };
    let held = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let (listener, endpoint) = match options.join {
        Some(_) => (None, options.listen),
        None => {
            let listener =
                once_let_go(LEAVING, || TcpListener::bind(options.listen), held).map_err(listen)?;
            listener.set_nonblocking(true).map_err(listen)?;
            let endpoint = listener.local_addr().map_err(listen)?;
            (Some(listener), endpoint)
        }
    };

    let run_base = places::private_directory(&options.run_base)?;
    let (data, lock, run_directory) = match &options.data {
        Data::Ephemeral => (
            None,
            None,
            places::ephemeral_directory(&run_base, endpoint.port()),
        ),
        Data::Directory(directory) => {
            let data = places::private_directory(directory)?;
            let held = |error: &ServeError| matches!(error, ServeError::DataInUse { .. });
            let lock = once_let_go(LEAVING, || lock(&data), held)?;
            places::forget_killed(&run_base, &data, endpoint.port());
            let run_directory = places::run_directory(&run_base, &data);
            (Some(data), Some(lock), run_directory)
        }
    };
    let joining = match (&options.join, &data) {
        (None, Some(data)) => joined::none(data).map(|()| None)?,
        (None, None) => None,
        (Some(join), data) => Some(Joining::new(join, &options, underlay.as_ref(), data.as_deref())?),
    };
    let control_path = places::control_socket(&run_base, endpoint.port());
    let answered = |error: &ServeError| matches!(error, ServeError::System { why, .. } if held(why));
    let control = once_let_go(LEAVING, || listen_control(&control_path), answered)?;
    let passing = data.is_none().then(|| run_directory.clone());
    let mut tunnel = None;
    let host = match options.data_plane {
        Some(DataPlane::None) => {
            // An earlier one's instances may run on; what forwards their packets would not hear of changes.
            let state = data.clone().unwrap_or_else(|| run_directory.join("state"));
            // Gone before it was asked, or meanwhile: the same.
            match Host::existing(&run_directory, &state).and_then(|host| host.drop_links(0)) {
                Ok(()) | Err(atoll_instance::Error::HolderGone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            None
        }
        Some(DataPlane::Ebpf | DataPlane::Userspace) | None => {
            let state = data.clone().unwrap_or_else(|| run_directory.join("state"));
            if let Some(passing) = &passing {
                // One that was killed where nothing is kept: its instances are nobody's.
                match Host::existing(passing, &state).and_then(|host| host.shutdown(true)) {
                    Ok(()) | Err(atoll_instance::Error::HolderGone { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(data) = &data {
                let record = places::data_record(&run_base, endpoint.port());
                std::fs::write(record, data.as_os_str().as_encoded_bytes())
                    .map_err(system("write down the data directory"))?;
            }
            let host = Host::open(&run_directory, &state)?;
            if let Some(underlay) = &underlay {
                tunnel = Some(make_tunnel(&host, underlay, passing.as_deref())?);
            }
            // From here on the network is the holder's; what was opened above stays on the host's.
            host.enter()?;
            if tunnel.is_none() {
                host.remove_tunnel()?;
            }
            Some(host)
        }
    };
    let limits = match &host {
        Some(host) => host.limits()?,
        None => Limits::none("without a data plane no instance has processes"),
    };
    Ok(Opened {
        options,
        endpoint,
        listener,
        joining,
        control,
        control_path,
        data,
        host,
        limits,
        tunnel,
        passing,
        _lock: lock,
    })
}

/// Where other hosts reach this one, if packets are to go between them.
fn underlay(options: &Options) -> Result<Option<Underlay>, ServeError> {
    let Some(address) = options.underlay else {
        return Ok(None);
    };
    match (options.data_plane, &options.join) {
        // It follows the rows alone.
        (Some(DataPlane::None), Some(_)) => return Ok(None),
        (Some(other @ (DataPlane::Userspace | DataPlane::None)), _) => {
            let words = format!("leave --data-plane {other} out");
            return Err(ServeError::Underlay(words));
        }
        (Some(DataPlane::Ebpf) | None, _) => {}
    }
    atoll_plane::fast_permitted().map_err(|error| ServeError::Underlay(error.to_string()))?;
    Ok(Some(Underlay::find(address, host::LEAST_MTU)?))
}

/// Makes the device for packets of other hosts, or finds the one that stands.
fn make_tunnel(host: &Host, underlay: &Underlay, passing: Option<&Path>) -> Result<Tunnel, ServeError> {
    match host.make_tunnel() {
        Ok(ifindex) => Ok(Tunnel {
            ifindex,
            address: underlay.address,
            mtu: underlay.mtu,
        }),
        Err(error) => {
            // One that was started for this alone is not to stay.
            if host.list().is_ok_and(|reports| reports.is_empty()) {
                let _ = host.shutdown(passing.is_some());
                let _ = passing.map(std::fs::remove_dir_all);
            }
            Err(error.into())
        }
    }
}

fn lock(data: &Path) -> Result<File, ServeError> {
    let path = data.join(removal::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(system(format!("open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServeError::DataInUse {
            path: data.to_path_buf(),
        }),
        Err(std::fs::TryLockError::Error(why)) => Err(system(format!("lock {}", path.display()))(why)),
    }
}

fn listen_control(path: &Path) -> Result<UnixListener, ServeError> {
    let what = || system(format!("listen at {}", path.display()));
    if UnixStream::connect(path).is_ok() {
        let why = io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there");
        return Err(what()(why));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(what()(error)),
        _ => {}
    }
    // The directory is 0700, so nobody comes in between the two calls.
    let listener = UnixListener::bind(path).map_err(what())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(what())?;
    listener.set_nonblocking(true).map_err(what())?;
    Ok(listener)
}

impl Opened {
    /// Where the API will be served.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// Loads the regions and serves. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a region cannot be loaded or the credentials cannot be used.
    pub async fn start(self) -> Result<Running, ServeError> {
        let data = self.data.clone();
        let stores = move |name: &str| -> Result<Arc<dyn Store>, StoreError> {
            Ok(match &data {
                Some(data) => Arc::new(Embedded::open(data.join(format!("{name}.redb")))?),
                None => Arc::new(Memory::new()),
            })
        };
        self.start_on(stores).await
    }

    /// As [`Opened::start`], on stores of the caller's: one a region.
    ///
    /// # Errors
    /// As [`Opened::start`].
    pub async fn start_on(
        mut self,
        stores: impl Fn(&str) -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<Running, ServeError> {
        let (credential, regions, writers, joined) = match self.joining.take() {
            None => {
                let credential = match &self.data {
                    Some(data) => credentials::load_or_create(data)?,
                    None => credentials::generate().map_err(system("make an access key"))?,
                };
                let (regions, writers) = self.regions(stores).await?;
                (credential, regions, writers, None)
            }
            Some(joining) => {
                let started = match joining.start(self.host.is_some(), stores).await {
                    Ok(started) => started,
                    Err(error) => {
                        self.leave_nothing();
                        return Err(error);
                    }
                };
                // Nobody is answered by it: the API is elsewhere.
                let credential = credentials::generate().map_err(system("make an access key"))?;
                let (regions, writers) = (vec![started.handle], vec![started.writer]);
                (
                    credential,
                    regions,
                    writers,
                    Some((started.member, started.keeping)),
                )
            }
        };
        let (member, keeping) = joined.unzip();
        // The namespace was entered when this was opened, so every thread stands in it.
        let (plane, data_plane, data_plane_reason) = match &self.host {
            Some(host) => {
                // Other hosts are reached by no other.
                let wanted = self.tunnel.map(|_| DataPlane::Ebpf).or(self.options.data_plane);
                let (plane, kind, reason) = data_plane::start(wanted, &host.flows_file())?;
                (Some(plane), kind, reason)
            }
            None => (None, DataPlane::None, None),
        };
        let daemon = Arc::new(Daemon {
            endpoint: self.endpoint,
            auth: self.options.auth,
            data_plane,
            data_plane_reason,
            data_directory: self.data.clone(),
            credential,
            regions,
            reports: tokio::sync::watch::Sender::new(Default::default()),
            host: self.host.clone(),
            limits: self.limits,
            plane,
            tunnel: self.tunnel,
            this_host: member.as_ref().map(Member::host),
            feeds: Feeds::default(),
            member,
            last_consoles: LastConsoles::default(),
            stop: Notify::new(),
            adopted: tokio::sync::watch::Sender::new(false),
            going_down: AtomicBool::new(false),
            broken: OnceLock::new(),
        });
        let generation = entropy::random().map_err(system("draw a random number"))?;
        let generation = u64::from_le_bytes(generation);
        let handover = self.host.clone().map(|host| Handover::new(host, generation));
        let mut reconcilers = reconcile::start(&daemon, handover.as_ref(), ADOPTION);
        if let (Some(keeping), Some(copy)) = (keeping, daemon.handles().first()) {
            let keeping = keeping.run(copy.clone());
            reconcilers.push(reconcile::watch(&daemon, "this host is to start again", keeping));
        }
        // Nobody is answered before packets meet what was durable and instances that run have their ports
        // again; whoever calls earlier waits in the listener's queue.
        if tokio::time::timeout(ADOPTION, daemon.is_in_effect())
            .await
            .is_err()
        {
            tracing::warn!("instances are still being adopted after {ADOPTION:?}");
        }
        if let Some(handover) = handover {
            let finish = tokio::task::spawn_blocking(move || handover.finish());
            finish
                .await
                .map_err(|panic| system("take over from an earlier daemon")(io::Error::other(panic)))??;
        }
        let auth = match self.options.auth {
            Auth::SigV4 => atoll_api::auth::Auth::SigV4,
            Auth::None => atoll_api::auth::Auth::None,
        };
        let hosts = Hosts::of(self.endpoint, &self.options.allowed_hosts);
        let api = Arc::new(Api::new(daemon.clone(), auth, hosts));
        let listener = self.listener.map(tokio::net::TcpListener::from_std).transpose();
        let listener = listener.map_err(system("serve the API"))?;
        let control =
            tokio::net::UnixListener::from_std(self.control).map_err(system("serve the control socket"))?;
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        Ok(Running {
            api: listener.map(|listener| {
                tokio::spawn(atoll_api::serve(listener, api, async move {
                    stopped.notified().await
                }))
            }),
            control: tokio::spawn(control::server::serve(control, daemon.clone())),
            daemon,
            writers,
            reconcilers,
            host: self.host,
            passing: self.passing,
            stop,
            control_path: self.control_path,
            _lock: self._lock,
        })
    }

    /// Opens the regions that are served here.
    async fn regions(
        &self,
        stores: impl Fn(&str) -> Result<Arc<dyn Store>, StoreError>,
    ) -> Result<(Vec<RegionHandle>, Vec<std::thread::JoinHandle<()>>), ServeError> {
        let configs = pools::configure(self.data.as_deref(), &self.options.regions)
            .map_err(system(format!("keep {}", pools::FILE)))?;
        let (mut regions, mut writers) = (Vec::new(), Vec::new());
        for config in configs {
            let config = Config {
                runs_instances: self.host.is_some(),
                ..config
            };
            let name = config.name.to_string();
            let store = stores(&name)?;
            let writer = Writer::open(store, config).map_err(|why| ServeError::Load {
                region: name.clone(),
                why,
            })?;
            let (handle, thread) =
                RegionHandle::start(writer).map_err(system(format!("start the writer of {name}")))?;
            if handle.current().revision() == Revision(0) {
                // As on AWS, each region of a new account has a default VPC. One that is deleted stays so.
                let made = handle.apply(AccountId::DEFAULT, CreateDefaultVpc).await;
                made.map_err(|why| ServeError::DefaultVpc { region: name, why })?;
            }
            if let Some(tunnel) = &self.tunnel {
                self.enter(&handle, tunnel).await?;
            }
            regions.push(handle);
            writers.push(thread);
        }
        Ok((regions, writers))
    }

    /// Enters this host as the one that serves the region, so that others can be.
    async fn enter(&self, region: &RegionHandle, tunnel: &Tunnel) -> Result<(), ServeError> {
        let name = self.options.host_name.clone().or_else(hosts::own_name);
        let join = JoinHost {
            name: name.ok_or_else(|| ServeError::Underlay("name this host with --host-name".into()))?,
            underlay: tunnel.address,
            mtu: tunnel.mtu,
            zones: Vec::new(),
            serves_region: true,
        };
        while !hosts::has_joined(&region.current(), &join) {
            let joined = region.apply(AccountId::DEFAULT, join.clone()).await;
            joined.map_err(|why| ServeError::JoinHost {
                name: join.name.to_string(),
                region: region.name().to_string(),
                why,
            })?;
        }
        Ok(())
    }

    /// Ends what was opened and is of no use: a holder without instances stays for nothing.
    fn leave_nothing(&self) {
        if let Some(host) = &self.host
            && host.list().is_ok_and(|reports| reports.is_empty())
        {
            let _ = host.shutdown(false);
            if let Some(run_base) = self.control_path.parent() {
                let _ = std::fs::remove_file(places::data_record(run_base, self.endpoint.port()));
            }
        }
        let _ = std::fs::remove_file(&self.control_path);
    }

    /// Serves until SIGTERM, SIGINT or a request over the control socket: the whole of `atoll serve`.
    ///
    /// # Errors
    /// As [`Opened::start`].
    pub fn run(self, ready: impl FnOnce(&Daemon)) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(system("start threads"))?;
        let result = runtime.block_on(async {
            let mut signals = Signals::new().map_err(system("handle signals"))?;
            let running = self.start().await?;
            ready(&running.daemon);
            tokio::select! {
                () = signals.next() => {}
                () = running.daemon.stop.notified() => {}
            }
            let daemon = running.daemon.clone();
            running.stop().await;
            match daemon.broken.get() {
                Some(reason) => Err(ServeError::Broken(reason.clone())),
                None => Ok(()),
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        result
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Running {
    /// The daemon.
    pub fn daemon(&self) -> &Arc<Daemon> {
        &self.daemon
    }

    /// The control socket.
    pub fn control_socket(&self) -> &Path {
        &self.control_path
    }

    /// Ends serving; what was acknowledged is durable, instances go on.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Some(api) = self.api
            && tokio::time::timeout(GRACE, api).await.is_err()
        {
            tracing::warn!("calls were still under way after {GRACE:?}");
        }
        self.daemon.feeds.close();
        self.control.abort();
        let _ = self.control.await;
        for task in self.reconcilers {
            task.abort();
            let _ = task.await;
        }
        if let Some(plane) = self.daemon.plane.clone() {
            let _ = tokio::task::spawn_blocking(move || plane.stop()).await;
        }
        let _ = std::fs::remove_file(&self.control_path);
        if self.daemon.going_down.load(Ordering::SeqCst)
            && let Some(run_base) = self.control_path.parent()
        {
            let _ = std::fs::remove_file(places::data_record(run_base, self.daemon.endpoint.port()));
        }
        let (daemon, writers) = (self.daemon, self.writers);
        let ended = tokio::task::spawn_blocking(move || {
            daemon.handles().iter().for_each(RegionHandle::end);
            writers.into_iter().for_each(|writer| drop(writer.join()));
        });
        let _ = ended.await;
        // When nothing is kept, instances are not either.
        if let (Some(host), Some(passing)) = (self.host, self.passing) {
            let end = move || {
                if let Err(error) = host.shutdown(true) {
                    tracing::warn!(%error, "the holder did not end");
                }
                let _ = std::fs::remove_dir_all(passing);
            };
            let _ = tokio::task::spawn_blocking(end).await;
        }
        // Only if it was the last daemon's.
        let _ = self.control_path.parent().map(std::fs::remove_dir);
    }
}
