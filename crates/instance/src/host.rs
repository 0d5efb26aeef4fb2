//! The daemon's way in: finds or starts the holder, and asks it. Calls block, each with a deadline; there is no state here.
use crate::console;
use crate::frame::Connection;
use crate::leaving::once_let_go;
use crate::namespace::{self, NetNamespace};
use crate::protocol::{HolderReply, HolderRequest, ShimCall};
use crate::run_dir::{self, RunDir};
use crate::spec::check_id;
use crate::state_dir::StateDir;
use crate::{
    Change, Error, InstanceReport, InstanceSpec, Limits, PortSpec, Result, error::Trying, preflight, tunnel,
};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long an ordinary call may take.
const CALL: Duration = Duration::from_secs(30);
/// How long a launch, a reboot beyond its grace, or the end of all may take.
const LAUNCH: Duration = Duration::from_secs(90);

/// Whether this process moved into a holder's namespaces.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// This host's instances.
#[derive(Clone, Debug)]
pub struct Host {
    run: RunDir,
    state: StateDir,
}

impl Host {
    /// Connects to the holder of `run_dir`, or starts one from this program (which must call [`crate::dispatch`] first in `main`).
    /// Both directories are made if they are not there, with mode 0700.
    ///
    /// # Errors
    /// [`Error::MissingProgram`], [`Error::NamespacesForbidden`]: what this host lacks, and what to do.
    pub fn open(run_dir: &Path, state_dir: &Path) -> Result<Self> {
        Self::open_with(Path::new("/proc/self/exe"), run_dir, state_dir)
    }

    /// The same, with the program to start.
    pub fn open_with(program: &Path, run_dir: &Path, state_dir: &Path) -> Result<Self> {
        let host = Self {
            run: RunDir::open(run_dir)?,
            state: StateDir::open(state_dir)?,
        };
        // Two that open at once: the second finds what the first started.
        let _lock = host.run.lock("start.lock", true)?;
        let found = || match run_dir::connect(&host.run.holder_socket()) {
            Ok(_) => host.holder_pid().map(Some),
            Err(_) => Ok(None),
        };
        // One that is just being killed takes a connection and breaks off: its socket is shut in a moment.
        let leaves = |error: &Error| matches!(error, Error::HolderGone { .. });
        if once_let_go(CALL, found, leaves)?.is_none() {
            host.start(program)?;
        }
        Ok(host)
    }

    /// Connects to a holder that already runs; never starts one, never makes a directory.
    ///
    /// # Errors
    /// [`Error::HolderGone`] if there is none.
    pub fn existing(run_dir: &Path, state_dir: &Path) -> Result<Self> {
        let gone = |reason: String| Error::HolderGone {
            run_dir: run_dir.display().to_string(),
            reason,
        };
        run_dir::connect(&run_dir.join("holder.sock")).map_err(|error| gone(error.to_string()))?;
        Ok(Self {
            run: RunDir::open(run_dir)?,
            state: StateDir::open(state_dir)?,
        })
    }

    fn start(&self, program: &Path) -> Result<()> {
        preflight::bubblewrap()?;
        preflight::iproute()?;
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.state.path().join("holder.log"))
            .trying("open holder.log")?;
        let mut command = Command::new(program);
        command
            .arg0("atoll")
            .arg("holder")
            .args([self.run.path(), self.state.path()]);
        if ENTERED.load(Ordering::Relaxed) {
            // The sockets of this process are in the namespace of the holder that ended: the next one joins it there.
            command.arg(std::process::id().to_string());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .trying(format!("start the holder from {}", program.display()))?;
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            output
                .take(64 * 1024)
                .read_to_string(&mut said)
                .trying("hear from the holder")?;
        }
        child.wait().trying("wait for the holder's start")?;
        match serde_json::from_str::<Result<u32>>(&said) {
            Ok(result) => result.map(drop),
            Err(_) => Err(self.gone(format!(
                "it ended at once; {} may say why",
                self.state.path().join("holder.log").display()
            ))),
        }
    }

    fn gone(&self, reason: impl std::fmt::Display) -> Error {
        Error::HolderGone {
            run_dir: self.run.path().display().to_string(),
            reason: reason.to_string(),
        }
    }

    fn connect(&self, request: &HolderRequest) -> Result<Connection> {
        let mut connection =
            Connection::new(run_dir::connect(&self.run.holder_socket()).map_err(|error| self.gone(error))?)?;
        connection.queue(request);
        Ok(connection)
    }

    fn ask(&self, request: &HolderRequest, limit: Duration) -> Result<HolderReply> {
        let late = |error| match error {
            Error::Deadline { .. } => Error::Deadline {
                what: "the holder's answer".into(),
                seconds: limit.as_secs(),
            },
            other => other,
        };
        match self
            .connect(request)?
            .wait(Some(Instant::now() + limit))
            .map_err(late)?
        {
            Some(HolderReply::Error(error)) => Err(error),
            Some(reply) => Ok(reply),
            None => Err(self.gone("it closed the connection")),
        }
    }

    fn report(&self, request: &HolderRequest, limit: Duration) -> Result<InstanceReport> {
        match self.ask(request, limit)? {
            HolderReply::Report(report) => Ok(report),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    fn done(&self, request: &HolderRequest, limit: Duration) -> Result<()> {
        match self.ask(request, limit)? {
            HolderReply::Done => Ok(()),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    fn call(&self, id: &str, call: ShimCall, limit: Duration) -> Result<InstanceReport> {
        self.report(&HolderRequest::Instance { id: id.into(), call }, limit)
    }

    /// The holder's process id.
    pub fn holder_pid(&self) -> Result<u32> {
        match self.ask(&HolderRequest::Hello, CALL)? {
            HolderReply::Hello { pid, .. } => Ok(pid),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    /// Which limits of memory, processes and CPU are in force for instances here; [`InstanceSpec::resources`] says what they are.
    pub fn limits(&self) -> Result<Limits> {
        match self.ask(&HolderRequest::Hello, CALL)? {
            HolderReply::Hello { limits, .. } => Ok(limits),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    /// Moves this process, which must have one thread still, into the holder's network namespace (and, when not root, its user namespace first): there the
    /// host ends of all ports are. Sockets opened before stay where they were opened.
    pub fn enter(&self) -> Result<()> {
        namespace::join_fabric(self.holder_pid()?)?;
        ENTERED.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Has a VXLAN device for packets of other hosts stand in the fabric's namespace (`external gbp`, UDP port 4789), with
    /// its socket in this process's, and gives its index there. Before [`Host::enter`], as root. It outlives this process;
    /// one that stands already goes on as it is.
    ///
    /// # Errors
    /// [`Error::TunnelPortTaken`].
    pub fn make_tunnel(&self) -> Result<u32> {
        tunnel::make(&NetNamespace::of(self.holder_pid()?)?)
    }

    /// Takes that device away, if it is there. After [`Host::enter`].
    pub fn remove_tunnel(&self) -> Result<()> {
        tunnel::remove()
    }

    /// Starts an instance, new or stopped, with these ports; returns when process 1 runs and its ports are configured.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::Invalid`], [`Error::TooMany`], [`Error::Start`].
    pub fn launch(&self, spec: &InstanceSpec, ports: &[PortSpec]) -> Result<InstanceReport> {
        spec.check()?;
        crate::spec::check_ports(ports)?;
        self.report(
            &HolderRequest::Launch {
                spec: spec.clone(),
                ports: ports.to_vec(),
            },
            LAUNCH,
        )
    }

    /// Stops an instance: SIGTERM to all in it, after `grace` SIGKILL (at once if zero). Its files are kept.
    pub fn stop(&self, id: &str, grace: Duration) -> Result<InstanceReport> {
        self.report(
            &HolderRequest::Stop {
                id: id.into(),
                grace_ms: grace.as_millis() as u64,
            },
            grace + CALL,
        )
    }

    /// Stops and boots again, with the same files and ports (whose host ends are new); user data is not run again.
    pub fn reboot(&self, id: &str, grace: Duration) -> Result<InstanceReport> {
        self.call(
            id,
            ShimCall::Reboot {
                grace_ms: grace.as_millis() as u64,
            },
            grace + LAUNCH,
        )
    }

    /// Ends an instance, running or not, and deletes its files.
    pub fn terminate(&self, id: &str) -> Result<()> {
        self.done(&HolderRequest::Terminate { id: id.into() }, LAUNCH)
    }

    /// All instances.
    pub fn list(&self) -> Result<Vec<InstanceReport>> {
        match self.ask(&HolderRequest::List, CALL)? {
            HolderReply::Reports(reports) => Ok(reports),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    /// One instance.
    pub fn instance(&self, id: &str) -> Result<InstanceReport> {
        self.list()?
            .into_iter()
            .find(|report| report.id == id)
            .ok_or_else(|| Error::NoSuchInstance(id.into()))
    }

    /// Attaches a port to a running instance.
    ///
    /// # Errors
    /// [`Error::PortExists`], [`Error::NotRunning`], [`Error::Port`].
    pub fn port_create(&self, instance: &str, port: &PortSpec) -> Result<InstanceReport> {
        port.check()?;
        self.call(instance, ShimCall::PortCreate(port.clone()), CALL)
    }

    /// Changes addresses, gateways, name servers or MTU of a port of a running instance, without taking it down.
    pub fn port_update(&self, instance: &str, port: &PortSpec) -> Result<InstanceReport> {
        port.check()?;
        self.call(instance, ShimCall::PortUpdate(port.clone()), CALL)
    }

    /// Detaches a port from a running instance. (Of a stopped one, leave it out at the next [`Host::launch`].)
    pub fn port_delete(&self, instance: &str, port: &str) -> Result<InstanceReport> {
        self.call(instance, ShimCall::PortDelete { id: port.into() }, CALL)
    }

    /// Forgets signals up to and including this sequence number.
    pub fn acknowledge(&self, instance: &str, sequence: u64) -> Result<InstanceReport> {
        self.call(instance, ShimCall::Acknowledge { sequence }, CALL)
    }

    /// The last 64 KiB that the instance wrote to its console, of all boots.
    pub fn console(&self, id: &str) -> Result<Vec<u8>> {
        console::tail(&self.console_path(id)?)
    }

    /// Where the console log is, while the instance is not terminated.
    pub fn console_path(&self, id: &str) -> Result<PathBuf> {
        check_id("instance id", id)?;
        Ok(self.state.instance(id).join("console.log"))
    }

    /// Where [`crate::exec::run`] finds the instance's shim.
    pub fn exec_socket(&self, id: &str) -> Result<PathBuf> {
        check_id("instance id", id)?;
        Ok(self.run.shim_socket(id))
    }

    /// A file beside the holder's socket for the data plane's own use. It goes when the holder is shut down.
    pub fn flows_file(&self) -> PathBuf {
        self.run.path().join(run_dir::FLOWS)
    }

    /// Has a link kept that stands on a port's host end or on the VXLAN device (named by its index), so that it outlives
    /// this process. Of several on one interface each has a `place`. It goes with the interface, with the holder, or when
    /// another generation is ready ([`Host::drop_links`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a place above 3.
    pub fn keep_link(&self, generation: u64, interface: u32, place: u8, link: BorrowedFd<'_>) -> Result<()> {
        let stream = run_dir::connect(&self.run.holder_socket()).map_err(|error| self.gone(error))?;
        let mut connection = Connection::new(stream)?;
        let request = HolderRequest::KeepLink {
            generation,
            interface,
            place,
        };
        connection.send_with(&request, &[link])?;
        match connection.wait(Some(Instant::now() + CALL))? {
            Some(HolderReply::Done) => Ok(()),
            Some(HolderReply::Error(error)) => Err(error),
            Some(other) => Err(Error::Protocol(format!("{other:?}"))),
            None => Err(self.gone("it closed the connection")),
        }
    }

    /// Lets go of all links that are kept for others than this generation.
    pub fn drop_links(&self, except: u64) -> Result<()> {
        match self.done(&HolderRequest::DropLinks { except }, CALL) {
            // A holder of an earlier version does not know the word, and keeps none.
            Err(Error::Protocol(_)) => Ok(()),
            result => result,
        }
    }

    /// A connection on which every change comes, after a snapshot of all instances.
    pub fn subscribe(&self) -> Result<Changes> {
        Ok(Changes {
            connection: self.connect(&HolderRequest::Subscribe)?,
            run_dir: self.run.path().to_owned(),
        })
    }

    /// Ends all instances and the holder, and with them every namespace, link, mount, process and file in the run directory; with `remove_state` also
    /// the instances' files. Returns when the holder is gone.
    pub fn shutdown(&self, remove_state: bool) -> Result<()> {
        let holder = i32::try_from(self.holder_pid()?).ok().and_then(Pid::from_raw);
        let process = holder
            .map(|pid| {
                rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|error| self.gone(error))
            })
            .transpose()?;
        self.done(&HolderRequest::Shutdown { remove_state }, LAUNCH)?;
        if let Some(process) = process {
            crate::frame::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(CALL))?;
        }
        Ok(())
    }
}

/// A subscription.
pub struct Changes {
    connection: Connection,
    run_dir: PathBuf,
}

impl Changes {
    /// The next change; `None` when `timeout` passed first.
    ///
    /// # Errors
    /// [`Error::HolderGone`] when the holder ended (or this side was too slow): open the host again and subscribe anew.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Change>> {
        let gone = |reason: &str| Error::HolderGone {
            run_dir: self.run_dir.display().to_string(),
            reason: reason.into(),
        };
        match self
            .connection
            .wait(timeout.map(|timeout| Instant::now() + timeout))
        {
            Ok(Some(HolderReply::Change(change))) => Ok(Some(change)),
            Ok(Some(HolderReply::Error(error))) => Err(error),
            Ok(Some(other)) => Err(Error::Protocol(format!("{other:?}"))),
            Ok(None) => Err(gone("it closed the connection")),
            Err(Error::Deadline { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
