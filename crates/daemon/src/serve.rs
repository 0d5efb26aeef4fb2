//! From options to a daemon that serves.
//!
//! The order matters: [`open`] takes everything that is the host's own (the API's listener on the host's
//! loopback, directories, locks, the control socket) while the process still has one thread; [`Opened::start`]
//! then loads the regions and serves.

mod error;
mod open;

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atoll_api::{Api, Hosts};
use atoll_instance::{Host, Limits};
use atoll_model::AccountId;
use atoll_model::row::Revision;
use atoll_plane::Tunnel;
use atoll_region::Config;
use atoll_region::host::{self, JoinHost};
use atoll_region::vpc::CreateDefaultVpc;
use atoll_store::{Embedded, Memory, Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use self::error::ServeError;
use self::error::system;
pub use self::open::open;
use crate::control;
use crate::credentials;
use crate::daemon::Daemon;
use crate::data_plane;
use crate::entropy;
use crate::feeds::Feeds;
use crate::handover::Handover;
use crate::hosts;
use crate::last_console::LastConsoles;
use crate::member::{Joining, Member};
use crate::options::{Auth, DataPlane, Options};
use crate::places;
use crate::pools;
use crate::reconcile;
use crate::region_handle::RegionHandle;
use crate::writer::Writer;

/// How long a start waits for the instances that run.
const ADOPTION: Duration = Duration::from_secs(30);
/// How long calls under way may take when the daemon ends.
const GRACE: Duration = Duration::from_secs(5);

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
        // Only now: a change would end what an earlier daemon left before there are ports, and connections with it; and the
        // region's host would be told that this one obeys what that one's program does not know.
        if let (Some(keeping), Some(copy)) = (keeping, daemon.handles().first()) {
            let keeping = keeping.run(copy.clone(), daemon.consoles());
            reconcilers.push(reconcile::watch(&daemon, "this host is to start again", keeping));
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
        // One that has served keeps its name, whatever the system is called by now.
        let known = || Some(host::serving(&region.current())?.name.clone());
        let name = self.options.host_name.clone().or_else(known);
        let name = name.or_else(hosts::own_name);
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
