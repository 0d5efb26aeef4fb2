//! The holder: keeps the fabric's namespace, starts shims, and routes between the daemon and them. One per run directory.
//!
//! It keeps nothing that is not also in the state directory or with a shim: when it is killed, the shims go on, and the next holder joins
//! their namespaces and adopts them. It never waits for a shim: calls are forwarded, and answered when the shim answers or ends.
mod instances;
mod links;

use crate::cgroup::Cgroups;
use crate::frame::{self, Connection};
use crate::leaving::once_let_go;
use crate::namespace;
use crate::protocol::{HolderReply, HolderRequest, NumberedCall, ShimCall, ShimMessage, ShimOpening};
use crate::run_dir::{self, RunDir};
use crate::spec::MAX_INSTANCES;
use crate::state_dir::StateDir;
use crate::{Change, Error, InstanceReport, InstanceSpec, InstanceState, Result, error::Trying, sys, tunnel};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the sandboxes' users begin when root makes them: above what systemd hands out, below 2³¹.
const FIRST_UID: u32 = 0x7000_0000;
/// Ids of one sandbox.
const UIDS: u32 = 65_536;
/// How long shims may take to end at shutdown before they are killed.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);
/// How long a holder that is ending may take to let go of its lock.
const LEAVING: Duration = Duration::from_secs(30);
/// How long a shim may take to greet a new holder: one that does not is taken for dead.
const GREETING: Duration = Duration::from_secs(30);
const MAX_CLIENTS: usize = 128;

/// `holder RUN_DIR STATE_DIR [PID]`: goes to the background, and says on standard output, as one JSON line, its process id or what went wrong. With
/// PID it joins that process's namespaces when no shim is there to join.
pub fn main(args: &[OsString]) -> i32 {
    let (run, state, join) = match args {
        [run, state] => (run, state, None),
        [run, state, pid] => (run, state, pid.to_str().and_then(|pid| pid.parse().ok())),
        _ => {
            eprintln!("holder: the arguments are RUN_DIR STATE_DIR [PID]");
            return 2;
        }
    };
    match sys::fork() {
        Ok(sys::Fork::Parent(_)) => return 0,
        Ok(sys::Fork::Child) => {}
        Err(error) => {
            tell(&Err(error));
            return 1;
        }
    }
    match Holder::begin(Path::new(run), Path::new(state), join) {
        Ok(mut holder) => {
            tell(&Ok(std::process::id()));
            match holder.run() {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("holder: {error}");
                    1
                }
            }
        }
        Err(error) => {
            tell(&Err(error));
            1
        }
    }
}

/// Answers whoever started us, and lets go of the pipe.
fn tell(result: &Result<u32>) {
    println!("{}", serde_json::to_string(result).unwrap_or_default());
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = sys::place(&[(null.as_raw_fd(), 1)]);
    }
}

struct Client {
    id: u64,
    connection: Connection,
    subscribed: bool,
}

struct ShimLink {
    connection: Connection,
    process: Option<OwnedFd>,
}

/// Somebody waits for something of an instance.
struct Pending {
    client: u64,
    instance: String,
    until: Until,
}

#[derive(PartialEq)]
enum Until {
    Running,
    Ended,
    Answer(u64),
}

struct Shutdown {
    client: u64,
    remove_state: bool,
    kill_at: Option<Instant>,
}

struct Holder {
    run: RunDir,
    state: StateDir,
    listener: UnixListener,
    _lock: OwnedFd,
    cgroups: Cgroups,
    ranged: bool,
    clients: Vec<Client>,
    shims: BTreeMap<String, ShimLink>,
    links: links::Links,
    reports: BTreeMap<String, InstanceReport>,
    pending: Vec<Pending>,
    shutdown: Option<Shutdown>,
    next: u64,
}

/// The lock that one holder has. The one before may still be on its way out, its socket already shut.
fn its_lock(run: &RunDir) -> Result<OwnedFd> {
    let take = || {
        run.lock("holder.lock", false)?.ok_or_else(|| Error::HolderGone {
            run_dir: run.path().display().to_string(),
            reason: "another holder has its lock but does not answer".into(),
        })
    };
    once_let_go(LEAVING, take, |error| matches!(error, Error::HolderGone { .. }))
}

impl Holder {
    fn begin(run: &Path, state: &Path, join: Option<u32>) -> Result<Self> {
        let (run, state) = (RunDir::open(run)?, StateDir::open(state)?);
        let lock = its_lock(&run)?;
        rustix::process::setsid().trying("leave the session")?;
        std::env::set_current_dir("/").trying("change to /")?;
        rustix::process::umask(Mode::from(0o022));
        let cgroups = Cgroups::open(&run);
        // Shims that end are reaped by the kernel; their sockets say that they ended.
        sys::handle(libc::SIGCHLD, true);
        let ranged = rustix::process::geteuid().is_root() && has_ids()?;
        let (shims, pid) = adopt(&run);
        cgroups.keep_only(|id| shims.contains_key(id));
        match pid.or(join) {
            Some(pid) => namespace::join_fabric(pid)?,
            None => namespace::make_fabric()?,
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let _ = rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit {
                current: limit.maximum,
                ..limit
            },
        );
        let listener = run_dir::listen(&run.holder_socket(), 0o600)?;
        let mut holder = Self {
            run,
            state,
            listener,
            _lock: lock,
            cgroups,
            ranged,
            clients: Vec::new(),
            shims,
            links: links::Links::default(),
            reports: BTreeMap::new(),
            pending: Vec::new(),
            shutdown: None,
            next: 0,
        };
        for id in holder.state.instances() {
            match holder.state.instance(&id).spec() {
                Ok(stored) => {
                    let report = if holder.shims.contains_key(&id) {
                        holder.state.instance(&id).status(&stored.spec)
                    } else {
                        holder.remove_taps(&id);
                        holder.settled(&id, &stored.spec)
                    };
                    holder.reports.insert(id, report);
                }
                // A launch or a termination that was cut off half-way.
                Err(_) => holder.state.instance(&id).remove()?,
            }
        }
        Ok(holder)
    }

    fn run(&mut self) -> Result<()> {
        loop {
            self.shim_messages();
            self.requests();
            let ended: Vec<String> = self
                .shims
                .iter()
                .filter(|(_, shim)| !shim.connection.is_open())
                .map(|(id, _)| id.clone())
                .collect();
            ended.into_iter().for_each(|id| self.shim_ended(&id));
            self.clients.retain(|client| client.connection.is_open());
            if self.shutting_down()? {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn wait(&mut self) -> Result<()> {
        let interest = |connection: &Connection| {
            if connection.wants_write() {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            }
        };
        let timeout = self
            .shutdown
            .as_ref()
            .and_then(|shutdown| shutdown.kill_at)
            .map(|at| at.saturating_duration_since(Instant::now()));
        let mut polled = vec![PollFd::new(&self.listener, PollFlags::IN)];
        polled.extend(
            self.clients
                .iter()
                .map(|client| PollFd::new(&client.connection, interest(&client.connection))),
        );
        polled.extend(
            self.shims
                .values()
                .map(|shim| PollFd::new(&shim.connection, interest(&shim.connection))),
        );
        frame::poll(&mut polled, timeout)?;
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let connections = self
            .clients
            .iter_mut()
            .map(|client| &mut client.connection)
            .chain(self.shims.values_mut().map(|shim| &mut shim.connection));
        for (connection, flags) in connections.zip(ready.iter().skip(1)) {
            if flags.contains(PollFlags::OUT) {
                connection.flush();
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                connection.fill();
            }
        }
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.accept();
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            match run_dir::same_user(&stream).and_then(|_| Connection::new(stream)) {
                Ok(connection) if self.clients.len() < MAX_CLIENTS => {
                    self.next += 1;
                    self.clients.push(Client {
                        id: self.next,
                        connection,
                        subscribed: false,
                    });
                }
                Ok(_) => eprintln!("holder: more than {MAX_CLIENTS} connections"),
                Err(error) => eprintln!("holder: {error}"),
            }
        }
    }

    fn requests(&mut self) {
        let (mut requests, mut links) = (Vec::new(), Vec::new());
        for client in &mut self.clients {
            match client.connection.next::<HolderRequest>() {
                Ok(Some(HolderRequest::KeepLink {
                    generation,
                    interface,
                    place,
                })) => {
                    let at = links::At {
                        generation,
                        interface,
                        place,
                    };
                    links.push((client.id, at, client.connection.take_descriptor()));
                }
                Ok(Some(request)) => requests.push((client.id, request)),
                Ok(None) => {}
                Err(error) => client.connection.queue(&HolderReply::Error(error)),
            }
        }
        for (client, at, descriptor) in links {
            let kept = self.keep_link(at, descriptor);
            self.reply(client, &kept.unwrap_or_else(HolderReply::Error));
        }
        for (client, request) in requests {
            match self.request(client, request) {
                Ok(Some(reply)) => self.reply(client, &reply),
                Ok(None) => {}
                Err(error) => self.reply(client, &HolderReply::Error(error)),
            }
        }
    }

    fn reply(&mut self, client: u64, reply: &HolderReply) {
        if let Some(client) = self.clients.iter_mut().find(|known| known.id == client) {
            client.connection.queue(reply);
        }
    }

    /// Answers at once, or `None`: later.
    fn request(&mut self, client: u64, request: HolderRequest) -> Result<Option<HolderReply>> {
        if self.shutdown.is_some() && !matches!(request, HolderRequest::Hello | HolderRequest::List) {
            return Err(Error::HolderGone {
                run_dir: self.run.path().display().to_string(),
                reason: "it is shutting down".into(),
            });
        }
        match request {
            HolderRequest::Hello => Ok(Some(HolderReply::Hello {
                pid: std::process::id(),
                limits: self.cgroups.limits().clone(),
            })),
            HolderRequest::List => Ok(Some(HolderReply::Reports(
                self.reports.values().cloned().collect(),
            ))),
            HolderRequest::Subscribe => {
                let snapshot =
                    HolderReply::Change(Change::Snapshot(self.reports.values().cloned().collect()));
                if let Some(client) = self.clients.iter_mut().find(|known| known.id == client) {
                    client.subscribed = true;
                }
                Ok(Some(snapshot))
            }
            HolderRequest::Launch { spec, ports } => {
                let id = spec.id.clone();
                self.launch(spec, ports)?;
                self.pending.push(Pending {
                    client,
                    instance: id,
                    until: Until::Running,
                });
                Ok(None)
            }
            HolderRequest::Stop { id, grace_ms } => {
                self.call(
                    &id,
                    ShimCall::Stop {
                        grace_ms,
                        terminate: false,
                    },
                )?;
                self.pending.push(Pending {
                    client,
                    instance: id,
                    until: Until::Ended,
                });
                Ok(None)
            }
            HolderRequest::Terminate { id } => self.terminate(client, id),
            HolderRequest::Instance {
                id,
                call: ShimCall::Acknowledge { sequence },
            } if !self.shims.contains_key(&id) => self.acknowledge(&id, sequence).map(Some),
            HolderRequest::Instance { id, call } => {
                let number = self.call(&id, call)?;
                self.pending.push(Pending {
                    client,
                    instance: id,
                    until: Until::Answer(number),
                });
                Ok(None)
            }
            HolderRequest::KeepLink { .. } => Err(Error::Protocol("a link without its descriptor".into())),
            HolderRequest::DropLinks { except } => Ok(Some(self.drop_links(except))),
            HolderRequest::Shutdown { remove_state } => {
                for shim in self.shims.values_mut() {
                    shim.connection.queue(&NumberedCall {
                        number: 0,
                        call: ShimCall::Stop {
                            grace_ms: 0,
                            terminate: remove_state,
                        },
                    });
                }
                self.shutdown = Some(Shutdown {
                    client,
                    remove_state,
                    kill_at: Some(Instant::now() + SHUTDOWN_DEADLINE),
                });
                Ok(None)
            }
        }
    }

    fn shim_messages(&mut self) {
        let mut messages = Vec::new();
        for (id, shim) in &mut self.shims {
            while let Ok(Some(message)) = shim.connection.next::<ShimMessage>() {
                messages.push((id.clone(), message));
            }
        }
        for (id, message) in messages {
            match message {
                ShimMessage::Hello { .. } => {}
                ShimMessage::Report(report) => {
                    if report.state == InstanceState::Running {
                        self.settle_pending(
                            &id,
                            |until| *until == Until::Running,
                            &HolderReply::Report(report.clone()),
                        );
                    }
                    self.tell(report);
                }
                ShimMessage::Answer { number, result } => {
                    let reply = result.map_or_else(HolderReply::Error, HolderReply::Report);
                    self.settle_pending(&id, |until| *until == Until::Answer(number), &reply);
                }
            }
        }
    }

    /// Answers everybody who waits for this of the instance.
    fn settle_pending(&mut self, id: &str, which: impl Fn(&Until) -> bool, reply: &HolderReply) {
        let (settled, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.instance == id && which(&pending.until));
        self.pending = rest;
        for Pending { client, .. } in settled {
            self.reply(client, reply);
        }
    }

    /// Keeps a report and tells the subscribers.
    fn tell(&mut self, report: InstanceReport) {
        if self.reports.get(&report.id) == Some(&report) {
            return;
        }
        self.broadcast(&Change::Instance(report.clone()));
        self.reports.insert(report.id.clone(), report);
        self.drop_links_of_gone_ports();
    }

    fn broadcast(&mut self, change: &Change) {
        let reply = HolderReply::Change(change.clone());
        self.clients
            .iter_mut()
            .filter(|client| client.subscribed)
            .for_each(|client| client.connection.queue(&reply));
    }

    /// What is true of an instance that has no shim: what it wrote down last, and if that says that it runs, that it died.
    fn settled(&self, id: &str, spec: &InstanceSpec) -> InstanceReport {
        let directory = self.state.instance(id);
        let mut report = directory.status(spec);
        if matches!(
            report.state,
            InstanceState::Starting | InstanceState::Running | InstanceState::Stopping
        ) {
            report.state = InstanceState::Exited {
                reason: "its shim ended unexpectedly".into(),
            };
            (report.shim_pid, report.init_pid) = (None, None);
            report.ports.clear();
            report.machine = None;
            report.version += 1;
            if let Err(error) = directory.write_status(&report) {
                eprintln!("holder: {error}");
            }
        }
        report
    }

    fn shim_ended(&mut self, id: &str) {
        self.shims.remove(id);
        let _ = std::fs::remove_file(self.run.shim_socket(id));
        self.cgroups.remove(id);
        self.remove_taps(id);
        let last = match self.state.instance(id).spec() {
            Ok(stored) => self.settled(id, &stored.spec),
            // It removed its files: it was terminated.
            Err(_) => {
                let done = self
                    .forget(id)
                    .map_or_else(HolderReply::Error, |()| HolderReply::Done);
                self.settle_pending(id, |_| true, &done);
                return;
            }
        };
        self.tell(last.clone());
        let reason = match &last.state {
            InstanceState::Exited { reason } => reason.clone(),
            _ => "it was stopped".into(),
        };
        let not_started = HolderReply::Error(Error::Start {
            id: id.into(),
            reason,
        });
        self.settle_pending(id, |until| *until == Until::Running, &not_started);
        self.settle_pending(id, |until| *until == Until::Ended, &HolderReply::Report(last));
        self.settle_pending(id, |_| true, &HolderReply::Error(Error::NotRunning(id.into())));
    }

    /// Goes on with shutting down; `true` when nothing is left.
    fn shutting_down(&mut self) -> Result<bool> {
        let Some(shutdown) = &mut self.shutdown else {
            return Ok(false);
        };
        if !self.shims.is_empty() {
            if shutdown.kill_at.is_some_and(|at| at <= Instant::now()) {
                shutdown.kill_at = None;
                for process in self.shims.values().filter_map(|shim| shim.process.as_ref()) {
                    let _ = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
                }
            }
            return Ok(false);
        }
        let (client, remove_state) = (shutdown.client, shutdown.remove_state);
        if remove_state {
            self.state.remove();
        }
        self.cgroups.remove_all();
        // Now and not when the kernel comes to clear the namespace away: its port is to be free.
        if let Err(error) = tunnel::remove() {
            eprintln!("holder: {error}");
        }
        self.run.remove();
        self.reply(client, &HolderReply::Done);
        Ok(true)
    }
}

/// Whether this root is the host's: one of a container's user namespace may have too few ids to hand out.
fn has_ids() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map").trying("read /proc/self/uid_map")?;
    let last = FIRST_UID + UIDS * MAX_INSTANCES as u32;
    Ok(map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        matches!((numbers.next(), numbers.next(), numbers.next()), (Some(0), Some(_), Some(count)) if count >= u64::from(last))
    }))
}

/// Connects to the shims of an earlier holder; sockets that nobody listens at are removed.
fn adopt(run: &RunDir) -> (BTreeMap<String, ShimLink>, Option<u32>) {
    let (mut shims, mut first) = (BTreeMap::new(), None);
    for id in run.shims() {
        let socket = run.shim_socket(&id);
        let adopted = run_dir::connect(&socket)
            .map_err(|error| Error::io("connect", error))
            .and_then(|stream: UnixStream| {
                let mut connection = Connection::new(stream)?;
                connection.queue(&ShimOpening::Control);
                match connection.wait(Some(Instant::now() + GREETING))? {
                    Some(ShimMessage::Hello { pid }) => Ok((connection, pid)),
                    _ => Err(Error::Protocol("a shim that does not greet".into())),
                }
            });
        match adopted {
            Ok((connection, pid)) => {
                first.get_or_insert(pid);
                let process = Pid::from_raw(pid as i32)
                    .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
                shims.insert(id, ShimLink { connection, process });
            }
            Err(error) => {
                eprintln!("holder: {id}: {error}");
                let _ = std::fs::remove_file(socket);
            }
        }
    }
    (shims, first)
}
