//! The shim: one small single-threaded process per running instance. It needs neither the daemon nor the holder to go on.
//!
//! If it is killed, bubblewrap and everything inside end with it (or the command that runs as the machine), and the holder sees its socket close. Everything worth keeping is in the
//! state directory before it is told to anybody.
mod guests;
mod machine;
mod memory;
mod openings;
mod ports;

use crate::cgroup::InstanceCgroup;
use crate::console::Console;
use crate::frame::{self, Connection};
use crate::namespace::NetNamespace;
use crate::protocol::{NumberedCall, ShimCall, ShimMessage};
use crate::sandbox::Sandbox;
use crate::stage;
use crate::state_dir::{InstanceDir, StateDir, Stored};
use crate::{
    Error, InstanceKind, InstanceReport, InstanceState, Result, UserDataStatus, error::Trying, run_dir, sys,
};
use machine::Machine;
use openings::Opening;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// The number at which the holder leaves the shim's listening socket.
pub(crate) const LISTENER: i32 = 3;
/// The most signals kept unacknowledged, guests connected at once, and commands running by `exec`.
const MAX_SIGNALS: usize = 64;
const MAX_GUESTS: usize = 16;
const MAX_COMMANDS: usize = 128;
/// A tenant that deletes its interface in a loop gets it back this often.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// The longest field of a signal, in bytes (CloudFormation's own bounds are 1024 and 4096).
const MAX_FIELD: usize = 4096;

/// `shim STATE_DIR ID [CGROUP]`, started by the holder in the fabric's namespace with its listening socket at descriptor 3 and the instance's cgroup, if it
/// has one, at descriptor CGROUP; or `shim --staged [CGROUP]`, itself once more when the stage stands.
pub fn main(args: &[OsString]) -> i32 {
    // Inherited from the holder, which lets the kernel reap.
    sys::handle(libc::SIGCHLD, false);
    let done = match args {
        [staged, cgroup @ ..] if staged == "--staged" => {
            Shim::open(cgroup.first()).and_then(|mut shim| shim.run())
        }
        [state, id, cgroup @ ..] => enter_stage(Path::new(state), &id.to_string_lossy(), cgroup.first()),
        _ => Err(Error::Invalid {
            what: "arguments of shim".into(),
            value: format!("{args:?}"),
            expected: "STATE_DIR ID [CGROUP]".into(),
        }),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim: {error}");
            1
        }
    }
}

fn enter_stage(state: &Path, id: &str, cgroup: Option<&OsString>) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let directory = StateDir::open(state)?.instance(id);
    let staged = stage::stage(&directory);
    let Err(error) = staged else {
        // Started again from the read-only copy, so that what later joins the sandbox was never started from a writable file.
        return Err(std::process::Command::new(stage::STAGED_PROGRAM)
            .args(["shim", "--staged"])
            .args(cgroup)
            .exec())
        .trying("start the staged shim");
    };
    let mut report = directory.status(&directory.spec()?.spec);
    report.state = InstanceState::Exited {
        reason: error.to_string(),
    };
    report.version += 1;
    directory.write_status(&report)?;
    Err(error)
}

/// Why the sandbox is being ended.
struct Ending {
    kill_at: Option<Instant>,
    reboot: bool,
    terminate: bool,
    /// Who waits for the reboot: connection and number.
    waiting: Vec<(u64, u64)>,
}

struct Control {
    id: u64,
    connection: Connection,
}

struct Shim {
    stored: Stored,
    state: InstanceDir,
    report: InstanceReport,
    console: Console,
    fabric: NetNamespace,
    listener: UnixListener,
    guest_listener: UnixListener,
    controls: Vec<Control>,
    openings: Vec<Opening>,
    guests: Vec<Connection>,
    commands: Vec<(Pid, OwnedFd)>,
    cgroup: Option<Rc<InstanceCgroup>>,
    /// Processes in it that the kernel had ended for want of memory when this boot began.
    memory_kills: u64,
    sandbox: Option<Sandbox>,
    /// In its place, if it is a machine.
    machine: Option<Machine>,
    console_open: bool,
    link: Option<Connection>,
    monitor: Option<OwnedFd>,
    ending: Option<Ending>,
    repaired: Option<Instant>,
    repair_due: bool,
    next_id: u64,
    generation: u64,
}

#[derive(Clone, Copy)]
enum Token {
    Listener,
    Control(usize),
    Opening(usize),
    GuestListener,
    Guest(usize),
    Link,
    Console,
    Monitor,
    Sandbox,
    Machine,
    Command,
}

impl Shim {
    fn open(cgroup: Option<&OsString>) -> Result<Self> {
        let listener = UnixListener::from(sys::inherited(LISTENER)?);
        let cgroup = cgroup.map(InstanceCgroup::inherited).transpose()?;
        listener
            .set_nonblocking(true)
            .trying("set a socket non-blocking")?;
        let state = InstanceDir::at(stage::STAGED_STATE);
        let stored = state.spec()?;
        let report = state.status(&stored.spec);
        Ok(Self {
            console: Console::open(&state.join("console.log"))?,
            fabric: NetNamespace::current()?,
            guest_listener: run_dir::listen(&Path::new(stage::STAGED_GUEST).join("guest.sock"), 0o666)?,
            machine: (stored.spec.kind == InstanceKind::Machine).then(Machine::default),
            stored,
            state,
            report,
            listener,
            controls: Vec::new(),
            openings: Vec::new(),
            guests: Vec::new(),
            commands: Vec::new(),
            cgroup: cgroup.map(Rc::new),
            memory_kills: 0,
            sandbox: None,
            console_open: false,
            link: None,
            monitor: None,
            ending: None,
            repaired: None,
            repair_due: false,
            next_id: 0,
            generation: 0,
        })
    }

    fn run(&mut self) -> Result<()> {
        self.report.shim_pid = Some(std::process::id());
        // The holder connected before it started us.
        self.accept();
        self.openings();
        if let Err(error) = self.boot() {
            return self.finish(InstanceState::Exited {
                reason: error.to_string(),
            });
        }
        loop {
            if let Some(state) = self.step() {
                return self.finish(state);
            }
            self.wait()?;
        }
    }

    /// One boot: sandbox, ports, first command.
    fn boot(&mut self) -> Result<()> {
        self.report.state = InstanceState::Starting;
        self.report.boots += 1;
        self.report.boot_time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.report.problem = None;
        // Marked as begun before it begins: a crash in between runs it no second time.
        let user_data = self.report.user_data_status == UserDataStatus::Pending;
        if user_data {
            self.report.user_data_status = UserDataStatus::Running;
        } else if self.report.user_data_status == UserDataStatus::Running {
            self.report.user_data_status = UserDataStatus::Exited(128 + libc::SIGKILL);
        }
        self.publish()?;
        if self.machine.is_some() {
            return self.boot_machine();
        }
        if self.report.boots == 1
            && self
                .stored
                .spec
                .user_data
                .as_ref()
                .is_some_and(|data| !data.starts_with(b"#!"))
        {
            self.console
                .note("the user data does not begin with #!: it is not run");
        }
        self.memory_kills = self.cgroup.as_ref().map_or(0, |cgroup| cgroup.memory_kills());
        let started = Sandbox::start(&self.stored, user_data, self.cgroup.clone()).and_then(|sandbox| {
            match self.connect_network(&sandbox) {
                Ok(()) => Ok(sandbox),
                Err(error) => {
                    self.discard(&sandbox);
                    Err(error)
                }
            }
        });
        let mut sandbox = started.inspect_err(|_| {
            // It certainly did not begin: the next boot is its first.
            if user_data {
                self.report.user_data_status = UserDataStatus::Pending;
            }
        })?;
        match sandbox.go(&self.stored.spec.id) {
            Ok(link) => self.link = Some(link),
            Err(error) => {
                self.discard(&sandbox);
                return Err(error);
            }
        }
        self.report.init_pid = Some(sandbox.init);
        self.console_open = true;
        self.sandbox = Some(sandbox);
        self.report.state = InstanceState::Running;
        self.publish()?;
        // What came together with init's first word is not announced by poll again.
        self.guest_messages();
        Ok(())
    }

    /// Ends a sandbox that did not come to run.
    fn discard(&mut self, sandbox: &Sandbox) {
        sandbox.kill();
        sys::wait_exit(sandbox.pid);
        self.delete_ports();
    }

    /// Writes what is true down, then tells it.
    fn publish(&mut self) -> Result<()> {
        self.report.version += 1;
        self.state.write_status(&self.report)?;
        let message = ShimMessage::Report(self.report.clone());
        self.controls
            .iter_mut()
            .for_each(|control| control.connection.queue(&message));
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let mut watched: Vec<(Token, BorrowedFd<'_>, bool)> = vec![
            (Token::Listener, self.listener.as_fd(), false),
            (Token::GuestListener, self.guest_listener.as_fd(), false),
        ];
        for (n, control) in self.controls.iter().enumerate() {
            watched.push((
                Token::Control(n),
                control.connection.as_fd(),
                control.connection.wants_write(),
            ));
        }
        for (n, opening) in self.openings.iter().enumerate() {
            watched.push((Token::Opening(n), opening.connection.as_fd(), false));
        }
        for (n, guest) in self.guests.iter().enumerate() {
            watched.push((Token::Guest(n), guest.as_fd(), guest.wants_write()));
        }
        for (_, process) in &self.commands {
            watched.push((Token::Command, process.as_fd(), false));
        }
        if let Some(sandbox) = &self.sandbox {
            watched.push((Token::Sandbox, sandbox.process.as_fd(), false));
            if self.console_open {
                watched.push((Token::Console, sandbox.console.as_fd(), false));
            }
        }
        if let Some(client) = self.machine.as_ref().and_then(|machine| machine.client.as_ref()) {
            let connection = &client.connection;
            watched.push((Token::Machine, connection.as_fd(), connection.wants_write()));
        }
        if let Some(link) = &self.link {
            watched.push((Token::Link, link.as_fd(), false));
        }
        if let Some(monitor) = &self.monitor {
            watched.push((Token::Monitor, monitor.as_fd(), false));
        }
        let flags = |write| {
            if write {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            }
        };
        let mut polled: Vec<PollFd<'_>> = watched
            .iter()
            .map(|(_, descriptor, write)| PollFd::from_borrowed_fd(*descriptor, flags(*write)))
            .collect();
        let now = Instant::now();
        let repair = self
            .repair_due
            .then(|| self.repaired.map_or(now, |last| last + REPAIR_EVERY));
        let kill = self.ending.as_ref().and_then(|ending| ending.kill_at);
        let timeout = repair
            .into_iter()
            .chain(kill)
            .min()
            .map(|at| at.saturating_duration_since(now));
        frame::poll(&mut polled, timeout)?;
        let ready: Vec<(Token, PollFlags)> = watched
            .iter()
            .map(|(token, ..)| *token)
            .zip(polled.iter().map(PollFd::revents))
            .filter(|(_, flags)| !flags.is_empty())
            .collect();
        for (token, flags) in ready {
            self.attend(token, flags);
        }
        Ok(())
    }

    fn attend(&mut self, token: Token, flags: PollFlags) {
        let serve = |connection: Option<&mut Connection>| {
            if let Some(connection) = connection {
                if flags.contains(PollFlags::OUT) {
                    connection.flush();
                }
                connection.fill();
            }
        };
        match token {
            Token::Listener => self.accept(),
            Token::GuestListener => self.accept_guest(),
            Token::Control(n) => serve(self.controls.get_mut(n).map(|control| &mut control.connection)),
            Token::Opening(n) => serve(self.openings.get_mut(n).map(|opening| &mut opening.connection)),
            Token::Guest(n) => serve(self.guests.get_mut(n)),
            Token::Machine => {
                let client = self.machine.as_mut().and_then(|machine| machine.client.as_mut());
                serve(client.map(|client| &mut client.connection));
            }
            Token::Link => serve(self.link.as_mut()),
            Token::Console => self.read_console(),
            Token::Monitor => self.read_monitor(),
            // Looked at in every step.
            Token::Sandbox | Token::Command => {}
        }
    }

    /// Deals with everything that came; says how the instance ended, if it did.
    fn step(&mut self) -> Option<InstanceState> {
        self.openings();
        self.calls();
        self.guest_messages();
        self.machine_messages();
        self.commands.retain(|(pid, _)| sys::reap(Some(*pid)).is_none());
        if self.repair_due && self.repaired.is_none_or(|last| last.elapsed() >= REPAIR_EVERY) {
            self.repair();
        }
        if let Some(ending) = &mut self.ending
            && ending.kill_at.is_some_and(|at| at <= Instant::now())
        {
            ending.kill_at = None;
            self.console.note("it did not stop in time and is killed");
            if let Some(sandbox) = &self.sandbox {
                sandbox.kill();
            }
            if self.kill_machine()
                && let Some(ending) = &mut self.ending
            {
                ending.kill_at = Some(Instant::now() + machine::KILLED);
            }
        }
        if self.machine_ended() {
            return self.ended(0);
        }
        let ended = self
            .sandbox
            .as_ref()
            .and_then(|sandbox| sys::reap(Some(sandbox.pid)));
        ended.and_then(|(_, code)| self.ended(code))
    }

    fn ended(&mut self, code: i32) -> Option<InstanceState> {
        self.read_console();
        if let Some(link) = &mut self.link {
            link.fill();
        }
        self.guest_messages();
        (self.sandbox, self.link, self.monitor) = (None, None, None);
        self.report.init_pid = None;
        if self.report.user_data_status == UserDataStatus::Running {
            self.report.user_data_status = UserDataStatus::Exited(128 + libc::SIGKILL);
        }
        self.delete_ports();
        self.machine_down();
        match self.ending.take() {
            Some(ending) if ending.reboot && !ending.terminate => {
                let done = self.boot();
                let state = done.as_ref().err().map(|error| InstanceState::Exited {
                    reason: error.to_string(),
                });
                for (control, number) in ending.waiting {
                    self.answer(control, number, done.clone());
                }
                state
            }
            Some(ending) if ending.terminate => Some(InstanceState::Terminated),
            Some(_) => Some(InstanceState::Stopped),
            // Process 1 ends so when it is asked to from inside: an instance that shuts itself down.
            None if code == 0 => Some(InstanceState::Stopped),
            None => {
                let reason = self
                    .out_of_memory()
                    .unwrap_or_else(|| format!("the sandbox ended with status {code}"));
                self.console.note(&reason);
                Some(InstanceState::Exited { reason })
            }
        }
    }

    fn finish(&mut self, state: InstanceState) -> Result<()> {
        self.report.shim_pid = None;
        self.report.init_pid = None;
        self.report.ports.clear();
        self.report.machine = None;
        let terminated = state == InstanceState::Terminated;
        self.report.state = state;
        self.publish()?;
        if terminated {
            self.state.empty();
        }
        let _ = std::fs::remove_file(Path::new(stage::STAGED_GUEST).join("guest.sock"));
        Ok(())
    }

    fn calls(&mut self) {
        let mut calls = Vec::new();
        for control in &mut self.controls {
            while let Ok(Some(NumberedCall { number, call })) = control.connection.next() {
                calls.push((control.id, number, call));
            }
        }
        for (control, number, call) in calls {
            let result = match call {
                ShimCall::Stop { grace_ms, terminate } => {
                    self.end(grace_ms, false, terminate);
                    Ok(())
                }
                ShimCall::Reboot { grace_ms } => {
                    self.end(grace_ms, true, false);
                    if let Some(ending) = &mut self.ending {
                        ending.waiting.push((control, number));
                    }
                    continue;
                }
                ShimCall::PortCreate(spec) => self.create_port(spec),
                ShimCall::PortUpdate(spec) => self.update_port(spec),
                ShimCall::PortDelete { id } => self.delete_port(&id),
                ShimCall::Acknowledge { sequence } => {
                    self.report.signals.retain(|signal| signal.sequence > sequence);
                    self.publish()
                }
            };
            self.answer(control, number, result);
        }
        self.controls.retain(|control| control.connection.is_open());
    }

    fn answer(&mut self, control: u64, number: u64, result: Result<()>) {
        let result = result.map(|()| self.report.clone());
        if let Some(control) = self.controls.iter_mut().find(|known| known.id == control) {
            control.connection.queue(&ShimMessage::Answer { number, result });
        }
    }

    /// Begins to end the sandbox; a later, stronger wish overrides an earlier one.
    fn end(&mut self, grace_ms: u64, reboot: bool, terminate: bool) {
        let kill_at = Instant::now() + Duration::from_millis(grace_ms.min(600_000));
        match &mut self.ending {
            Some(ending) => {
                ending.reboot &= reboot;
                ending.terminate |= terminate;
                ending.kill_at = ending.kill_at.map(|at| at.min(kill_at));
            }
            None => {
                self.ending = Some(Ending {
                    kill_at: Some(kill_at),
                    reboot,
                    terminate,
                    waiting: Vec::new(),
                });
                self.report.state = InstanceState::Stopping;
                if let Err(error) = self.publish() {
                    eprintln!("shim: {error}");
                }
            }
        }
        if let Some(sandbox) = &self.sandbox {
            if grace_ms == 0 {
                sandbox.kill();
            } else {
                sandbox.terminate();
            }
        }
        if grace_ms > 0 {
            self.end_machine();
        }
    }

    fn read_console(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        let mut bytes = [0_u8; 16 * 1024];
        // Bounded, so that a tenant who writes without end leaves the shim time for the rest.
        for _ in 0..16 {
            match rustix::io::read(&sandbox.console, &mut bytes) {
                Ok(0) => {
                    self.console_open = false;
                    return;
                }
                Ok(length) => {
                    if let Err(error) = self.console.append(bytes.get(..length).unwrap_or_default()) {
                        eprintln!("shim: {error}");
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
