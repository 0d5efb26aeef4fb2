//! The sandbox: what bubblewrap is asked for, and how a shim starts it.
//!
//! The shim makes the user namespace itself and starts bubblewrap in it as its root. So the sandbox's users can be a range of ids that nobody else on the
//! host has (as root; an ordinary user has only its own id to give), and policies that forbid unprivileged user namespaces do not stop root.
//! bubblewrap then makes the other namespaces; they belong to that user namespace, which is what makes `ip_forward` and nft rules settable inside.
use crate::cgroup::{InstanceCgroup, host_memory};
use crate::frame::Connection;
use crate::namespace::{NetNamespace, map_users};
use crate::protocol::GuestMessage;
use crate::stage::{STAGED_ETC, STAGED_FS, STAGED_GUEST, STAGED_PROGRAM, STAGED_STATE};
use crate::state_dir::{InstanceDir, PRIVATE, Stored, write_managed};
use crate::{Error, InstanceKind, Result, error::Trying, guest_network, preflight, sys};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{CapabilitySet, UnshareFlags};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The program's place inside.
const PROGRAM: &str = "/opt/atoll/atoll";
/// The number of init's socket to the shim.
pub(crate) const INIT_LINK: i32 = 10;
const INFO: i32 = 11;
const BLOCK: i32 = 12;
const READY: i32 = 13;
/// How long bubblewrap may take to say that it began.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What root inside may do to its own namespaces. No SYS_ADMIN (it could mount), no SYS_PTRACE, nothing that reaches the host's devices.
pub(crate) const CAPABILITIES: [(&str, CapabilitySet); 13] = [
    ("CAP_CHOWN", CapabilitySet::CHOWN),
    ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("CAP_FOWNER", CapabilitySet::FOWNER),
    ("CAP_FSETID", CapabilitySet::FSETID),
    ("CAP_KILL", CapabilitySet::KILL),
    ("CAP_SETGID", CapabilitySet::SETGID),
    ("CAP_SETUID", CapabilitySet::SETUID),
    ("CAP_SETPCAP", CapabilitySet::SETPCAP),
    ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("CAP_NET_BROADCAST", CapabilitySet::NET_BROADCAST),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_SYS_CHROOT", CapabilitySet::SYS_CHROOT),
];

/// Files and directories of the host's /etc that are seen inside, read-only, where the host has them. Nothing here is secret or tells of the host's users.
const ETC: [&str; 34] = [
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "ethertypes",
    "gai.conf",
    "host.conf",
    "inputrc",
    "iproute2",
    "issue",
    "java-17-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "lsb-release",
    "magic",
    "mime.types",
    "netconfig",
    "networks",
    "os-release",
    "perl",
    "profile",
    "protocols",
    "python3",
    "rpc",
    "services",
    "terminfo",
    "timezone",
];
/// Directories of certificates: named one by one, since /etc/ssl/private is among their neighbours.
const CERTIFICATES: [&str; 6] = [
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "pki/ca-trust/extracted",
    "nftables.conf",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nec2-user:x:1000:1000:EC2 Default User:/home/ec2-user:/bin/bash\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nadm:x:4:\ntty:x:5:\nnogroup:x:65534:\nec2-user:x:1000:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\n";

/// A sandbox that stands, before or after its first command.
pub(crate) struct Sandbox {
    /// bubblewrap itself, our child.
    pub(crate) pid: Pid,
    pub(crate) process: OwnedFd,
    /// Process 1 inside.
    pub(crate) init: u32,
    pub(crate) init_process: OwnedFd,
    pub(crate) net: NetNamespace,
    /// What process 1 and its children write.
    pub(crate) console: OwnedFd,
    /// The other end of init's socket.
    link: UnixStream,
    /// A byte in it lets the first command begin.
    gate: Option<OwnedFd>,
    /// What everything inside is in, where the host allows it.
    pub(crate) cgroup: Option<Rc<InstanceCgroup>>,
}

impl Sandbox {
    /// Starts bubblewrap up to the point before its first command.
    pub(crate) fn start(
        stored: &Stored,
        user_data: bool,
        cgroup: Option<Rc<InstanceCgroup>>,
    ) -> Result<Self> {
        let program = preflight::bubblewrap()?;
        let state = InstanceDir::at(STAGED_STATE);
        write_files(stored, &state)?;
        let what = "prepare a sandbox";
        let (console, console_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(what)?;
        rustix::io::ioctl_fionbio(&console, true).trying(what)?;
        let (info, info_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(what)?;
        let (gate_inside, gate) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(what)?;
        let (mut ready, ready_child) = UnixStream::pair().trying(what)?;
        let (link, link_inside) = UnixStream::pair().trying(what)?;
        // Else /dev/stdout could not be opened again inside.
        if stored.uid_base != 0 {
            let owner = (
                Some(rustix::fs::Uid::from_raw(stored.uid_base)),
                Some(rustix::fs::Gid::from_raw(stored.uid_base)),
            );
            rustix::fs::fchown(&console_inside, owner.0, owner.1).trying(what)?;
        }
        let mut command = bubblewrap_command(&program, stored, user_data, host_memory()?);
        let pid = match sys::fork()? {
            sys::Fork::Child => {
                let error = child(
                    &mut command,
                    cgroup.as_deref(),
                    ready_child,
                    &console_inside,
                    [
                        (link_inside.as_raw_fd(), INIT_LINK),
                        (info_inside.as_raw_fd(), INFO),
                        (gate_inside.as_raw_fd(), BLOCK),
                    ],
                );
                eprintln!("{error}");
                sys::exit_now(125)
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop((ready_child, info_inside, gate_inside, console_inside, link_inside));
        let started = Self::follow(pid, stored, &mut ready, info);
        let (init, process, init_process, net) = started.map_err(|error| {
            sys::kill(pid, libc::SIGKILL, false);
            sys::wait_exit(pid);
            match last_words(&console) {
                Some(reason) => Error::Start {
                    id: stored.spec.id.clone(),
                    reason,
                },
                None => error,
            }
        })?;
        Ok(Self {
            pid,
            process,
            init,
            init_process,
            net,
            console,
            link,
            gate: Some(gate),
            cgroup,
        })
    }

    fn follow(
        pid: Pid,
        stored: &Stored,
        ready: &mut UnixStream,
        info: OwnedFd,
    ) -> Result<(u32, OwnedFd, OwnedFd, NetNamespace)> {
        let mut byte = [0];
        ready
            .read_exact(&mut byte)
            .map_err(|_| preflight::forbidden("user namespaces", "the child ended"))?;
        map_users(pid, stored.uid_base, stored.uid_count)?;
        std::io::Write::write_all(ready, &byte).trying("let a sandbox go on")?;
        let init = read_info(&info)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).trying("watch a sandbox")?;
        let number = i32::try_from(init)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("not a process id")
            .trying("find process 1 of a sandbox")?;
        let init_process = rustix::process::pidfd_open(number, PidfdFlags::empty())
            .trying("watch process 1 of a sandbox")?;
        Ok((init, process, init_process, NetNamespace::of(init)?))
    }

    /// Lets bubblewrap finish the sandbox and begin process 1; returns init's socket once it has said that it runs.
    pub(crate) fn go(&mut self, id: &str) -> Result<Connection> {
        // bubblewrap mounts only after the gate: what fails there is on its standard error.
        let gate = self
            .gate
            .take()
            .ok_or("it was opened before")
            .trying("open the gate of a sandbox")?;
        let mut link = Connection::new(self.link.try_clone().trying("hear from process 1")?)?;
        let begun = match rustix::io::write(gate, b"g") {
            Ok(_) => link.wait(Some(Instant::now() + START_DEADLINE)),
            Err(_) => Ok(None),
        };
        match begun {
            Ok(Some(GuestMessage::Begun)) => Ok(link),
            Ok(_) => {
                let reason =
                    last_words(&self.console).unwrap_or_else(|| "it ended before process 1 began".into());
                Err(Error::Start {
                    id: id.into(),
                    reason,
                })
            }
            Err(Error::Deadline { .. }) => Err(Error::Deadline {
                what: "the start of process 1".into(),
                seconds: START_DEADLINE.as_secs(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Ends everything inside at once.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.init_process, rustix::process::Signal::KILL);
        let _ = rustix::process::pidfd_send_signal(&self.process, rustix::process::Signal::KILL);
    }

    /// Asks init to end.
    pub(crate) fn terminate(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.init_process, rustix::process::Signal::TERM);
    }
}

/// What is on the console of a sandbox that failed.
fn last_words(console: &OwnedFd) -> Option<String> {
    let mut said = [0_u8; 4096];
    let length = rustix::io::read(console, &mut said).unwrap_or(0);
    let said = String::from_utf8_lossy(said.get(..length).unwrap_or_default())
        .trim()
        .replace('\n', "; ");
    (!said.is_empty()).then_some(said)
}

/// In the forked child: a user namespace, its root, and bubblewrap in it. Returns only what went wrong.
fn child(
    command: &mut Command,
    cgroup: Option<&InstanceCgroup>,
    ready: UnixStream,
    console: &OwnedFd,
    places: [(i32, i32); 3],
) -> Error {
    let begin = || -> Result<UnixStream> {
        // First of all, so that nothing of the instance is ever outside, and by the holder's rights over cgroups.
        cgroup.map_or(Ok(()), InstanceCgroup::join)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .trying("open /dev/null")?
            .into_raw_fd();
        let console = console.as_raw_fd();
        let mut all = vec![
            (null, 0),
            (console, 1),
            (console, 2),
            (ready.into_raw_fd(), READY),
        ];
        all.extend(places);
        sys::place(&all)?;
        sys::close_from(READY as u32 + 1);
        let mut ready = UnixStream::from(sys::inherited(READY)?);
        let _ = rustix::thread::set_thread_groups(&[]);
        sys::unshare(UnshareFlags::NEWUSER)
            .map_err(|error| preflight::forbidden("user namespaces", error))?;
        let mut byte = [0];
        std::io::Write::write_all(&mut ready, b"r").trying("tell the shim")?;
        ready.read_exact(&mut byte).trying("wait for the shim")?;
        let (user, group) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
        rustix::thread::set_thread_res_gid(group, group, group).trying("become root of the sandbox")?;
        rustix::thread::set_thread_res_uid(user, user, user).trying("become root of the sandbox")?;
        // No user namespaces within: much less of the kernel can be reached from inside.
        let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
        Ok(ready)
    };
    match begin() {
        Ok(_ready) => Error::io("run bubblewrap", command.exec()),
        Err(error) => error,
    }
}

/// The first thing that bubblewrap says: the process id of what will be process 1.
fn read_info(info: &OwnedFd) -> Result<u32> {
    #[derive(serde::Deserialize)]
    struct Info {
        #[serde(rename = "child-pid")]
        child_pid: u32,
    }
    let deadline = Instant::now() + START_DEADLINE;
    let mut text = Vec::new();
    loop {
        let late = || Error::Deadline {
            what: "the start of bubblewrap".into(),
            seconds: START_DEADLINE.as_secs(),
        };
        let left = deadline.checked_duration_since(Instant::now()).ok_or_else(late)?;
        crate::frame::poll(
            &mut [rustix::event::PollFd::new(info, rustix::event::PollFlags::IN)],
            Some(left),
        )?;
        let mut bytes = [0_u8; 1024];
        let length = rustix::io::read(info, &mut bytes).trying("read from bubblewrap")?;
        text.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if let Ok(info) = serde_json::from_slice::<Info>(&text) {
            return Ok(info.child_pid);
        }
        if length == 0 || text.len() > 8192 {
            return Err(Error::io(
                "start bubblewrap",
                "it ended before the sandbox was made",
            ));
        }
    }
}

/// The files of /etc that are writable inside, and those that only look like the host's.
fn write_files(stored: &Stored, state: &InstanceDir) -> Result<()> {
    let owner = stored.uid_base;
    let spec = &stored.spec;
    write_managed(state.path(), "passwd", PASSWD, owner)?;
    write_managed(state.path(), "group", GROUP, owner)?;
    write_managed(state.path(), "nsswitch.conf", NSSWITCH, owner)?;
    write_managed(state.path(), "hostname", &format!("{}\n", spec.hostname), owner)?;
    write_network_files(stored, state)
}

/// Those that change with the ports.
pub(crate) fn write_network_files(stored: &Stored, state: &InstanceDir) -> Result<()> {
    let spec = &stored.spec;
    write_managed(
        state.path(),
        "resolv.conf",
        &guest_network::resolv_conf(&stored.ports, spec.search_domain.as_deref()),
        stored.uid_base,
    )?;
    write_managed(
        state.path(),
        "hosts",
        &guest_network::hosts(&stored.ports, &spec.hostname),
        stored.uid_base,
    )
}

/// The environment inside.
pub(crate) fn environment(stored: &Stored) -> Vec<(String, String)> {
    let usual = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/aws/bin",
        ),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
    ];
    let own = match stored.spec.kind {
        InstanceKind::Instance => Some(("ATOLL_INSTANCE_ID".to_owned(), stored.spec.id.clone())),
        InstanceKind::Internet | InstanceKind::Machine => None,
    };
    usual
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(own)
        .chain(stored.spec.env.iter().cloned())
        .collect()
}

fn bubblewrap_command(program: &Path, stored: &Stored, user_data: bool, host_memory: u64) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    // What is only in memory is bounded also where cgroups are not to be had: together no more than the instance's memory.
    let memory = stored.spec.resources.memory(host_memory);
    let (quarter, half) = ((memory / 4).to_string(), (memory / 2).to_string());
    command.args(["--size", &quarter, "--tmpfs", "/"]);
    command.args([
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
    ]);
    command.args(["--hostname", &stored.spec.hostname]);
    command.args(["--info-fd", &INFO.to_string(), "--block-fd", &BLOCK.to_string()]);
    command.args(["--cap-drop", "ALL"]);
    for (name, _) in CAPABILITIES {
        command.args(["--cap-add", name]);
    }
    command.args(["--ro-bind", "/usr", "/usr"]);
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = format!("/{name}");
        match std::fs::read_link(&path) {
            Ok(target) => drop(command.arg("--symlink").arg(target).arg(&path)),
            Err(_) => drop(command.args(["--ro-bind-try", &path, &path])),
        }
    }
    command.args([
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        &half,
        "--perms",
        "1777",
        "--tmpfs",
        "/dev/shm",
        "--size",
        &quarter,
        "--tmpfs",
        "/run",
        "--dir",
        "/run/lock",
        "--dir",
        "/etc",
        "--dir",
        "/opt",
        "--dir",
        "/mnt",
    ]);
    for name in ETC.into_iter().chain(CERTIFICATES) {
        let path = format!("/etc/{name}");
        command.args(["--ro-bind-try", &path, &path]);
    }
    for (name, _) in PRIVATE {
        command.args(["--bind", &format!("{STAGED_FS}/{name}"), &format!("/{name}")]);
    }
    for name in [
        "passwd",
        "group",
        "nsswitch.conf",
        "hostname",
        "hosts",
        "resolv.conf",
    ] {
        command.args(["--bind", &format!("{STAGED_ETC}/{name}"), &format!("/etc/{name}")]);
    }
    command.args(["--symlink", "/proc/self/mounts", "/etc/mtab"]);
    command.args([
        "--ro-bind",
        STAGED_PROGRAM,
        PROGRAM,
        "--ro-bind",
        STAGED_PROGRAM,
        "/opt/aws/bin/cfn-signal",
        "--ro-bind",
        STAGED_GUEST,
        "/run/atoll",
    ]);
    command.args(["--chdir", "/", "--clearenv"]);
    for (name, value) in environment(stored) {
        command.args(["--setenv", &name, &value]);
    }
    command.args([PROGRAM, "init"]);
    if user_data {
        command.arg("--user-data");
    }
    command
}

/// Moves this process into all namespaces of a sandbox.
pub(crate) fn join(init: u32, process: impl AsFd) -> Result<()> {
    use rustix::thread::{ThreadNameSpaceType as Kind, move_into_thread_name_spaces};
    let mut kinds = Kind::USER
        | Kind::MOUNT
        | Kind::PROCESS_ID
        | Kind::NETWORK
        | Kind::INTER_PROCESS_COMMUNICATION
        | Kind::HOST_NAME_AND_NIS_DOMAIN_NAME;
    // bubblewrap only tries this one.
    if crate::namespace::differs(init as i32, "cgroup") {
        kinds |= Kind::CONTROL_GROUP;
    }
    move_into_thread_name_spaces(process.as_fd(), kinds).trying("join the sandbox")
}
