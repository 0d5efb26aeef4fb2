//! The inner side of `exec`: a process forked from the shim joins the sandbox, starts the command, and tells its client how it ended.
//!
//! What joins was started from a read-only copy of this program and cannot be dumped or traced, so that root inside finds nothing of the host's in
//! it. The terminal is one of the sandbox's own; its outer end goes to the client, which relays.
use crate::frame::{self, Connection};
use crate::protocol::{ExecInput, ExecOutput, ExecRequest};
use crate::sandbox::{self, Sandbox};
use crate::state_dir::Stored;
use crate::{Error, Result, error::Trying, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::CapabilitySets;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The most bytes of arguments and environment.
const MAX_WORDS: usize = 128 * 1024;
/// How many processes each user of an instance may have. It is all that stands between a tenant's fork bomb and the
/// host's scheduler: 4096 brought a small host to a stop, and servers of a lab need some dozens.
pub(crate) const MAX_PROCESSES: u64 = 512;

const CLIENT: i32 = 3;
const PROCESS: i32 = 4;
const INPUT: i32 = 5;

/// Forks the process that runs the request; its descriptors came with the connection.
pub(crate) fn start(
    connection: &mut Connection,
    request: ExecRequest,
    sandbox: &Sandbox,
    stored: &Stored,
) -> Result<Pid> {
    let invalid = |value: String, expected: &str| Error::Invalid {
        what: "command".into(),
        value,
        expected: expected.into(),
    };
    let words = request
        .argv
        .iter()
        .chain(request.env.iter().flat_map(|(name, value)| [name, value]));
    let size = words.clone().map(String::len).sum::<usize>();
    if request.argv.is_empty() || size > MAX_WORDS || request.env.len() > 256 {
        return Err(invalid(
            format!("{} words", request.argv.len()),
            "at least one word, at most 128 KiB and 256 variables",
        ));
    }
    if words.clone().any(|word| word.contains('\0'))
        || request
            .env
            .iter()
            .any(|(name, _)| name.is_empty() || name.contains('='))
    {
        return Err(invalid(
            request.argv.join(" "),
            "no NUL bytes, and names of variables without `=`",
        ));
    }
    let mut places = vec![
        (connection.as_fd().as_raw_fd(), CLIENT),
        (sandbox.init_process.as_raw_fd(), PROCESS),
    ];
    let mut given = Vec::new();
    if request.terminal.is_none() {
        for number in 0..3 {
            let descriptor = connection.take_descriptor().ok_or_else(|| {
                Error::Protocol("three descriptors belong to a command without a terminal".into())
            })?;
            places.push((descriptor.as_raw_fd(), INPUT + number));
            given.push(descriptor);
        }
    }
    let environment = sandbox::environment(stored);
    match sys::fork()? {
        sys::Fork::Parent(pid) => Ok(pid),
        sys::Fork::Child => {
            let code = match sandbox
                .cgroup
                .as_ref()
                .map_or(Ok(()), |cgroup| cgroup.join())
                .and_then(|()| take_over(&places))
                .and_then(|taken| run(taken, &request, environment, sandbox.init))
            {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("exec: {error}");
                    1
                }
            };
            sys::exit_now(code)
        }
    }
}

struct Taken {
    client: Connection,
    process: OwnedFd,
    given: Vec<OwnedFd>,
}

/// Keeps only what the command needs: a socket of the shim's left open here would hide the shim's end from the holder.
fn take_over(places: &[(i32, i32)]) -> Result<Taken> {
    sys::place(places)?;
    sys::close_from(CLIENT as u32 + places.len() as u32);
    let client = Connection::new(UnixStream::from(sys::inherited(CLIENT)?))?;
    let process = sys::inherited(PROCESS)?;
    let given = (INPUT..CLIENT + places.len() as i32)
        .map(sys::inherited)
        .collect::<Result<_>>()?;
    Ok(Taken {
        client,
        process,
        given,
    })
}

fn run(taken: Taken, request: &ExecRequest, environment: Vec<(String, String)>, init: u32) -> Result<()> {
    let Taken {
        mut client,
        process,
        given,
    } = taken;
    let what = "prepare a command";
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).trying(what)?;
    // Refused in the holder's user namespace, where there are none to give up.
    let _ = rustix::thread::set_thread_groups(&[]);
    sandbox::join(init, &process)?;
    let (ours, theirs) = UnixStream::pair().trying(what)?;
    let child = match sys::fork()? {
        sys::Fork::Child => {
            drop(ours);
            let error = inside(Connection::new(theirs), given, request, environment);
            sys::exit_now(error)
        }
        sys::Fork::Parent(child) => child,
    };
    drop((theirs, given));
    // The terminal, or the reason why there is no command; the socket closes when the command begins.
    let mut from_child = Connection::new(ours)?;
    let mut failed = false;
    while let Some(said) = from_child.wait::<ExecOutput>(None)? {
        failed |= matches!(said, ExecOutput::Failed(_));
        match from_child.take_descriptor() {
            Some(terminal) => client.send_with(&said, &[terminal.as_fd()])?,
            None => client.queue(&said),
        }
    }
    let code = relay(&mut client, child)?;
    if !failed {
        client.queue(&ExecOutput::Exited(code));
    }
    while client.wants_write() {
        frame::poll(&mut [PollFd::new(&client, PollFlags::OUT)], None)?;
        client.flush();
    }
    Ok(())
}

/// Passes signals on until the command ends.
fn relay(client: &mut Connection, child: Pid) -> Result<i32> {
    let ended = rustix::process::pidfd_open(child, PidfdFlags::empty()).trying("watch a command")?;
    loop {
        let mut polled = vec![PollFd::new(&ended, PollFlags::IN)];
        if client.is_open() {
            polled.push(PollFd::new(&*client, PollFlags::IN));
        }
        frame::poll(&mut polled, None)?;
        if let Some((_, code)) = sys::reap(Some(child)) {
            return Ok(code);
        }
        if !client.is_open() {
            continue;
        }
        client.fill();
        while let Ok(Some(ExecInput::Signal(signal))) = client.next() {
            if (1..=31).contains(&signal) {
                sys::kill(child, signal, true);
            }
        }
        if !client.is_open() {
            // As when a terminal's line drops.
            sys::kill(child, libc::SIGHUP, true);
        }
    }
}

/// Inside: becomes the sandbox's root with the sandbox's capabilities, and the command. Returns the exit status if that fails.
fn inside(
    to_runner: Result<Connection>,
    given: Vec<OwnedFd>,
    request: &ExecRequest,
    environment: Vec<(String, String)>,
) -> i32 {
    let Ok(mut to_runner) = to_runner else { return 126 };
    match prepare(&mut to_runner, given, request) {
        Ok(()) => {}
        Err(error) => {
            to_runner.queue(&ExecOutput::Failed(error));
            return 126;
        }
    }
    let Some((program, rest)) = request.argv.split_first() else {
        return 126;
    };
    let mut command = Command::new(program);
    command
        .args(rest)
        .env_clear()
        .envs(environment)
        .envs(request.env.iter().cloned());
    let error = command.exec();
    // As a shell says it, on the command's own standard error, with a shell's status.
    eprintln!("atoll: cannot run {program:?} in the instance: {error}");
    if error.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    }
}

fn prepare(to_runner: &mut Connection, given: Vec<OwnedFd>, request: &ExecRequest) -> Result<()> {
    let what = "prepare a command";
    rustix::process::setsid().trying(what)?;
    let (user, group) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group).trying("become root of the sandbox")?;
    rustix::thread::set_thread_res_uid(user, user, user).trying("become root of the sandbox")?;
    match request.terminal {
        Some((rows, columns)) => {
            let outer = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .trying("open a terminal in the sandbox")?;
            rustix::pty::unlockpt(&outer).trying("unlock a terminal in the sandbox")?;
            let inner = rustix::pty::ioctl_tiocgptpeer(&outer, OpenptFlags::RDWR | OpenptFlags::NOCTTY)
                .trying("open the inner end of a terminal in the sandbox")?;
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&outer, size).trying("set the size of a terminal")?;
            rustix::process::ioctl_tiocsctty(&inner).trying("take a terminal")?;
            to_runner.send_with(&ExecOutput::Terminal, &[outer.as_fd()])?;
            let number = inner.as_raw_fd();
            sys::place(&[(number, 0), (number, 1), (number, 2)])?;
        }
        None => {
            let places: Vec<(i32, i32)> = given.iter().map(AsRawFd::as_raw_fd).zip(0..).collect();
            sys::place(&places)?;
        }
    }
    // All above 2 is close-on-exec by how it was opened; the client's socket is among it.
    let cwd = request.cwd.as_deref().unwrap_or("/root");
    std::env::set_current_dir(cwd).trying(format!("change to {cwd}"))?;
    sys::limit_processes(MAX_PROCESSES);
    sys::block(&[]);
    for signal in 1..32 {
        sys::handle(signal, false);
    }
    let mut allowed = sandbox::CAPABILITIES[0].1;
    for (_, one) in sandbox::CAPABILITIES {
        allowed |= one;
    }
    for number in 0..64_u32 {
        let one = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
        if !allowed.contains(one) && rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            // Beyond the last one that this kernel knows.
            break;
        }
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: allowed,
            permitted: allowed,
            inheritable: allowed,
        },
    )
    .trying("limit capabilities")?;
    rustix::thread::set_no_new_privs(true).trying("limit privileges")?;
    Ok(())
}
