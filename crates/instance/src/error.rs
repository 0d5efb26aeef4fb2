//! What can go wrong, as one sentence each. Errors cross the holder's and the shim's sockets, so they are data.
use serde::{Deserialize, Serialize};

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// A program that sandboxes or ports are made with is not installed.
    #[error(
        "`{program}` was not found in PATH, /usr/sbin or /usr/bin; install it with `apt-get install {package}`"
    )]
    MissingProgram {
        /// The program's name.
        program: String,
        /// Debian's package that has it.
        package: String,
    },
    /// The kernel or its policy does not let this user make namespaces.
    #[error("this host does not let uid {uid} make {what}: {reason}; {remedy}")]
    NamespacesForbidden {
        /// Who asked.
        uid: u32,
        /// Which kind of namespace.
        what: String,
        /// What the kernel answered.
        reason: String,
        /// What the person can do about it.
        remedy: String,
    },
    /// TAPs cannot be made.
    #[error("/dev/net/tun, by which machines get their interfaces, cannot be opened: {reason}; {remedy}")]
    NoTaps {
        /// What the kernel answered.
        reason: String,
        /// What the person can do about it.
        remedy: String,
    },
    /// The instance is a sandbox.
    #[error(
        "instance {0} is not a machine of your own: it was not started from the image atoll-machine-x86_64 or -arm64; `atoll exec {0} -- COMMAND` runs a command in it"
    )]
    NotMachine(String),
    /// The instance is a machine.
    #[error(
        "instance {0} is a machine of your own: there is nothing here to run a command in; `atoll machine {0} -- COMMAND` runs what has its interfaces"
    )]
    IsMachine(String),
    /// Another command has the machine's TAPs.
    #[error("instance {id} has its machine already: process {pid} ({command}); end that first")]
    MachineTaken {
        /// The instance.
        id: String,
        /// The process that has it.
        pid: u32,
        /// What it runs.
        command: String,
    },
    /// A process that outlived the command which started it still has a machine's TAP.
    #[error(
        "the TAP of {port} of instance {id} is still open in a process that an earlier command left behind; end it, or reboot the instance"
    )]
    TapTaken {
        /// The instance.
        id: String,
        /// The port.
        port: String,
    },
    /// A field of a specification is out of bounds.
    #[error("{what} {value:?} is not valid: {expected}")]
    Invalid {
        /// Which field.
        what: String,
        /// The value that was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// No instance of that id is known here.
    #[error("instance {0} is not on this host")]
    NoSuchInstance(String),
    /// The instance already runs.
    #[error("instance {0} is already running")]
    AlreadyRunning(String),
    /// The instance does not run.
    #[error("instance {0} is not running")]
    NotRunning(String),
    /// The instance has no port of that id.
    #[error("instance {instance} has no port {port}")]
    NoSuchPort {
        /// The instance.
        instance: String,
        /// The port asked for.
        port: String,
    },
    /// The port's id or device index is taken.
    #[error("instance {instance} already has a port {port} or one at device index {device_index}")]
    PortExists {
        /// The instance.
        instance: String,
        /// The port that was to be made.
        port: String,
        /// Its device index.
        device_index: u8,
    },
    /// A bound of this host was reached.
    #[error("this host already has {have} {what}, the most it takes is {most}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there are.
        have: usize,
        /// The bound.
        most: usize,
    },
    /// The sandbox did not start.
    #[error("instance {id} did not start: {reason}")]
    Start {
        /// The instance.
        id: String,
        /// What was said.
        reason: String,
    },
    /// A port could not be made or configured.
    #[error("port {port}: {reason}")]
    Port {
        /// The port.
        port: String,
        /// What was said.
        reason: String,
    },
    /// Other hosts cannot be spoken to from this address.
    #[error("the underlay's address {address} {reason}")]
    Underlay {
        /// The address.
        address: std::net::IpAddr,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Somebody has the port that hosts speak to each other by.
    #[error(
        "UDP port 4789, by which hosts speak to each other, is taken on this host: end what has it \
         (`ss -ulpn sport = :4789`; a VXLAN device has no process, `ip -d link show type vxlan` shows it), \
         or the other daemon that serves with --underlay here"
    )]
    TunnelPortTaken,
    /// The holder ended or cannot be reached.
    #[error("the holder of {run_dir} cannot be reached: {reason}")]
    HolderGone {
        /// The run directory.
        run_dir: String,
        /// What was said.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A system call failed.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's words.
        reason: String,
    },
    /// The other side of a socket said something that is not understood.
    #[error("unexpected message: {0}")]
    Protocol(String),
}

impl Error {
    /// A failed system call with what was tried.
    pub(crate) fn io(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Error::Io {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

/// Names what was tried when a system call fails.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: std::fmt::Display> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::io(what, error))
    }
}
