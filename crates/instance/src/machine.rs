//! The outer side of a machine: runs a command, in the caller's own surroundings, that has the instance's interfaces.
//!
//! The shim opens the TAPs, where they stand, and hands their descriptors over. The command is a child of this process, which
//! stays to hear that the instance stops, and to begin the command again when the instance was rebooted.
use crate::frame::{self, Connection};
use crate::protocol::{MachineBegin, MachineEnd, MachineInput, MachineOutput, ShimOpening};
use crate::{Error, PortSpec, Result, error::Trying, run_dir, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};
use rustix::termios::{OptionalActions, Termios};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The first TAP's descriptor in the command; the others follow.
const FIRST: i32 = 3;
/// How long a command may take to end when the instance's shim has died.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `argv` as the machine whose shim listens at `socket` ([`crate::Host::exec_socket`]): with this process's standard input, output and error,
/// the TAPs at descriptors 3, 4, … and what it must know of them in its environment. Returns its exit status, or 128 + the signal that ended it.
///
/// When the instance is stopped or terminated, it and what it started get SIGTERM, and after the instance's grace SIGKILL; when it is rebooted, it is
/// then begun again. `tell` is given a sentence for the person then. The process should have one thread: it takes the signals, and all orphans below it.
///
/// # Errors
/// [`Error::NotRunning`], [`Error::NotMachine`], [`Error::MachineTaken`]: what the shim refused.
pub fn run(socket: &Path, argv: &[String], tell: &mut dyn FnMut(&str)) -> Result<i32> {
    let Some(command) = argv.first() else {
        return Err(Error::Invalid {
            what: "command".into(),
            value: String::new(),
            expected: "at least one word".into(),
        });
    };
    let mut connection = Connection::new(run_dir::connect_shim(socket)?)?;
    let mut signals = sys::FORWARDED.to_vec();
    signals.push(libc::SIGCHLD);
    sys::block(&signals);
    let caught = sys::signal_descriptor(&signals)?;
    // Else what the command started, and left, could not be ended with the instance.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    connection.queue(&ShimOpening::Machine {
        command: command.clone(),
    });
    let terminal = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok();
    let mut runner = Runner {
        connection,
        caught,
        argv,
        terminal,
        child: None,
        status: None,
        ending: None,
    };
    let done = runner.run(tell);
    sys::block(&[]);
    done
}

/// Why and how the command is being ended.
struct Ending {
    kill: bool,
    /// When to kill it, if nobody else will say so.
    kill_at: Option<Instant>,
}

struct Runner<'a> {
    connection: Connection,
    caught: OwnedFd,
    argv: &'a [String],
    /// How the terminal was.
    terminal: Option<Termios>,
    child: Option<Pid>,
    /// How the command ended.
    status: Option<i32>,
    ending: Option<Ending>,
}

impl Runner<'_> {
    fn run(&mut self, tell: &mut dyn FnMut(&str)) -> Result<i32> {
        loop {
            while let Some(said) = self.connection.next::<MachineOutput>()? {
                match said {
                    MachineOutput::Failed(error) => return Err(error),
                    MachineOutput::Begin(begin) => self.begin(&begin)?,
                    MachineOutput::End(why) => {
                        tell(match why {
                            MachineEnd::Stop => "the instance stops, and so its machine",
                            MachineEnd::Terminate => "the instance is terminated, and so its machine",
                            MachineEnd::Reboot => "the instance reboots: its machine stops and begins again",
                        });
                        self.end(None);
                    }
                    MachineOutput::Kill => {
                        tell("the machine did not stop in time and is killed");
                        self.kill();
                    }
                }
            }
            if !self.connection.is_open() {
                match (self.child, self.status, &self.ending) {
                    (None, Some(status), Some(_)) => return Ok(status),
                    (None, ..) => {
                        return Err(Error::Protocol(
                            "the instance ended, or belongs to another user".into(),
                        ));
                    }
                    (Some(_), _, None) => {
                        tell("the instance ended unexpectedly, and so its machine");
                        self.end(Some(Instant::now() + GRACE));
                    }
                    (Some(_), _, Some(_)) => {}
                }
            }
            if let Some(status) = self.look()? {
                return Ok(status);
            }
            self.wait()?;
        }
    }

    /// Starts the command; its TAPs came with the connection.
    fn begin(&mut self, begin: &MachineBegin) -> Result<()> {
        let mut places = Vec::new();
        let mut taps = Vec::new();
        for number in (FIRST..).take(begin.ports.len()) {
            let tap = self.connection.take_descriptor().ok_or_else(|| {
                Error::Protocol("a machine gets as many descriptors as it has interfaces".into())
            })?;
            places.push((tap.as_raw_fd(), number));
            taps.push(tap);
        }
        (self.status, self.ending) = (None, None);
        let parent = rustix::process::getpid();
        self.child = match sys::fork()? {
            sys::Fork::Parent(child) => Some(child),
            sys::Fork::Child => sys::exit_now(become_command(self.argv, begin, &places, parent)),
        };
        Ok(())
    }

    /// Asks the command to end.
    fn end(&mut self, kill_at: Option<Instant>) {
        if self.ending.is_none() {
            self.ending = Some(Ending { kill: false, kill_at });
            if let Some(child) = self.child {
                sys::kill(child, libc::SIGTERM, false);
            }
        }
    }

    fn kill(&mut self) {
        self.ending = Some(Ending {
            kill: true,
            kill_at: None,
        });
    }

    /// Sees who has ended; gives the exit status when nothing is left to do.
    fn look(&mut self) -> Result<Option<i32>> {
        while let Some((pid, status)) = sys::reap(None) {
            if Some(pid) == self.child {
                self.status = Some(status);
                if self.ending.is_none() {
                    return Ok(Some(status));
                }
                // Those that it started and did not wait for.
                each_child(|pid| sys::kill(pid, libc::SIGTERM, false));
            }
        }
        let Some(ending) = &mut self.ending else {
            return Ok(None);
        };
        if ending.kill_at.is_some_and(|at| at <= Instant::now()) {
            (ending.kill, ending.kill_at) = (true, None);
        }
        if ending.kill {
            // Whose parent is killed becomes a child of this process, and is seen when that is reaped.
            each_child(|pid| sys::kill(pid, libc::SIGKILL, false));
        }
        if self.child.is_some() && self.status.is_some() && none_left() {
            self.child = None;
            if ending.kill
                && let Some(terminal) = &self.terminal
            {
                // It had no time to put it back.
                let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, terminal);
            }
            self.connection.queue(&MachineInput::Ended);
            if !self.connection.is_open() {
                return Ok(self.status);
            }
        }
        Ok(None)
    }

    fn wait(&mut self) -> Result<()> {
        let timeout = self
            .ending
            .as_ref()
            .and_then(|ending| ending.kill_at)
            .map(|at| at.saturating_duration_since(Instant::now()));
        let mut polled = vec![PollFd::new(&self.caught, PollFlags::IN)];
        if self.connection.is_open() {
            let flags = match self.connection.wants_write() {
                true => PollFlags::IN | PollFlags::OUT,
                false => PollFlags::IN,
            };
            polled.push(PollFd::new(&self.connection, flags));
        }
        frame::poll(&mut polled, timeout)?;
        while let Some((signal, by_terminal)) = sys::next_signal_and_origin(&self.caught) {
            // What a terminal's key sends goes to all in the foreground, to the command as well.
            if signal != libc::SIGCHLD
                && !by_terminal
                && let Some(child) = self.child
            {
                sys::kill(child, signal, false);
            }
        }
        self.connection.flush();
        self.connection.fill();
        Ok(())
    }
}

/// In the forked child: becomes the command. Returns the exit status if that fails.
fn become_command(argv: &[String], begin: &MachineBegin, places: &[(i32, i32)], parent: Pid) -> i32 {
    let Some((program, rest)) = argv.split_first() else {
        return 126;
    };
    let prepared = sys::place(places).and_then(|()| {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).trying("prepare a command")
    });
    if let Err(error) = prepared {
        eprintln!("atoll: {error}");
        return 126;
    }
    if rustix::process::getppid() != Some(parent) {
        return 126;
    }
    sys::block(&[]);
    let mut command = Command::new(program);
    command.args(rest).envs(environment(begin));
    let error = command.exec();
    eprintln!("atoll: cannot run {program:?}: {error}");
    match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

/// The children of this process, which has one thread.
fn each_child(mut act: impl FnMut(Pid)) {
    let own = rustix::process::getpid().as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|word| word.parse().ok()) {
        if let Some(pid) = Pid::from_raw(pid) {
            act(pid);
        }
    }
}

fn none_left() -> bool {
    let mut none = true;
    each_child(|_| none = false);
    none
}

/// What the command is told: of each interface, and of the primary one once more without its number.
fn environment(begin: &MachineBegin) -> Vec<(String, String)> {
    let mut all = vec![
        ("ATOLL_INSTANCE_ID".to_owned(), begin.id.clone()),
        ("ATOLL_HOSTNAME".to_owned(), begin.hostname.clone()),
        (
            "ATOLL_TAPS".to_owned(),
            begin
                .ports
                .iter()
                .map(|port| port.device_index.to_string())
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    if let Some(data) = &begin.user_data {
        all.push(("ATOLL_USER_DATA".to_owned(), base64(data)));
    }
    for (number, port) in (FIRST..).zip(&begin.ports) {
        for (name, value) in of_port(port, number) {
            all.push((format!("ATOLL_TAP{}_{name}", port.device_index), value.clone()));
            if number == FIRST {
                all.push((format!("ATOLL_TAP_{name}"), value));
            }
        }
    }
    all
}

fn of_port(port: &PortSpec, number: i32) -> Vec<(&'static str, String)> {
    let of = |v6: bool| {
        port.addresses
            .iter()
            .filter(move |address| address.address.is_ipv6() == v6)
    };
    let list = |v6| {
        of(v6)
            .map(|address| format!("{}/{}", address.address, address.prefix_len))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut all = vec![
        ("FD", number.to_string()),
        ("ENI", port.id.clone()),
        ("MAC", port.mac_text()),
        ("MTU", port.mtu.to_string()),
    ];
    if let Some(first) = of(false).next() {
        all.push(("ADDRESS", format!("{}/{}", first.address, first.prefix_len)));
        all.push(("ADDRESSES", list(false)));
        all.push(("IP", first.address.to_string()));
        all.push(("NETMASK", netmask(first.prefix_len)));
    }
    if let Some(first) = of(true).next() {
        all.push(("ADDRESS6", format!("{}/{}", first.address, first.prefix_len)));
        all.push(("ADDRESSES6", list(true)));
    }
    if let Some(router) = port.gateway_v4 {
        all.push(("ROUTER", router.to_string()));
    }
    if let Some(router) = port.gateway_v6 {
        all.push(("ROUTER6", router.to_string()));
    }
    if let Some(subnet) = port.on_link.iter().find(|prefix| prefix.address.is_ipv6()) {
        all.push(("SUBNET6", format!("{}/{}", subnet.network(), subnet.prefix_len)));
    }
    all
}

fn netmask(length: u8) -> String {
    let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
    IpAddr::from(bits.to_be_bytes()).to_string()
}

/// As AWS's API has user data: it may hold any byte, a variable may not.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for place in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * place) & 63) as usize);
            match letter {
                Some(letter) if place <= chunk.len() => text.push(char::from(*letter)),
                _ => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortAddress;

    fn value<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut found = environment.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        first
    }

    #[test]
    fn a_command_is_told_each_interface_and_the_primary_one_without_a_number() {
        let address = |text: &str, prefix_len| PortAddress {
            address: text.parse().unwrap(),
            prefix_len,
        };
        let port = |device_index, addresses: Vec<PortAddress>| PortSpec {
            id: format!("eni-{device_index}"),
            device_index,
            mac: [2, 0, 0, 0, 0, device_index],
            mtu: 9001,
            addresses,
            gateway_v4: Some([10, 0, 0, 1].into()),
            gateway_v6: None,
            dns: vec![],
            on_link: vec![address("2001:db8::", 64)],
        };
        let told = environment(&MachineBegin {
            id: "i-1".into(),
            hostname: "ip-10-0-0-5".into(),
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            ports: vec![
                port(
                    0,
                    vec![
                        address("10.0.0.5", 20),
                        address("10.0.0.6", 20),
                        address("2001:db8::5", 128),
                    ],
                ),
                port(2, vec![address("10.0.1.5", 24)]),
            ],
        });
        for (name, wanted) in [
            ("ATOLL_INSTANCE_ID", Some("i-1")),
            ("ATOLL_TAPS", Some("0 2")),
            ("ATOLL_USER_DATA", Some("IyEvYmluL3NoCg==")),
            ("ATOLL_TAP_FD", Some("3")),
            ("ATOLL_TAP0_FD", Some("3")),
            ("ATOLL_TAP2_FD", Some("4")),
            ("ATOLL_TAP_ADDRESS", Some("10.0.0.5/20")),
            ("ATOLL_TAP0_ADDRESSES", Some("10.0.0.5/20 10.0.0.6/20")),
            ("ATOLL_TAP_NETMASK", Some("255.255.240.0")),
            ("ATOLL_TAP_ADDRESS6", Some("2001:db8::5/128")),
            ("ATOLL_TAP_SUBNET6", Some("2001:db8::/64")),
            ("ATOLL_TAP2_MAC", Some("02:00:00:00:00:02")),
            ("ATOLL_TAP2_ADDRESS6", None),
            ("ATOLL_TAP_ROUTER", Some("10.0.0.1")),
        ] {
            assert_eq!(value(&told, name), wanted, "{name}");
        }
    }

    #[test]
    fn any_bytes_are_base64() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (&[0xff, 0xef, 0xbe], "/+++"),
        ] {
            assert_eq!(base64(bytes), text);
        }
    }
}
