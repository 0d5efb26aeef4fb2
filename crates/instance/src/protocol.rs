//! What the daemon, the holder, the shims and the guests say to each other.
use crate::{Change, Error, GuestSignal, InstanceReport, InstanceSpec, Limits, PortSpec, UserDataStatus};
use serde::{Deserialize, Serialize};

/// To the holder; one request a connection, but for `Subscribe`, which is answered by changes until it is closed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HolderRequest {
    Hello,
    Launch {
        spec: InstanceSpec,
        ports: Vec<PortSpec>,
    },
    Instance {
        id: String,
        call: ShimCall,
    },
    Stop {
        id: String,
        grace_ms: u64,
    },
    Terminate {
        id: String,
    },
    List,
    /// Keep a link of the data plane, whose descriptor comes with this frame, on a port's host end or the VXLAN device.
    KeepLink {
        generation: u64,
        interface: u32,
        #[serde(default)]
        place: u8,
    },
    /// Let go of all links but this generation's.
    DropLinks {
        except: u64,
    },
    Subscribe,
    Shutdown {
        remove_state: bool,
    },
}

/// From the holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HolderReply {
    Hello {
        pid: u32,
        #[serde(default)]
        limits: Limits,
    },
    Done,
    Report(InstanceReport),
    Reports(Vec<InstanceReport>),
    Change(Change),
    Error(Error),
}

/// The first frame on a shim's socket says what the connection is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShimOpening {
    /// Calls from the holder; reports come back.
    Control,
    /// A command to run inside; its descriptors travel with this frame.
    Exec(ExecRequest),
    /// A command is here that wants the machine's TAPs. [`MachineOutput`] comes back.
    Machine {
        /// Its first word, for people.
        command: String,
    },
}

/// What a shim is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShimCall {
    Stop { grace_ms: u64, terminate: bool },
    Reboot { grace_ms: u64 },
    PortCreate(PortSpec),
    PortUpdate(PortSpec),
    PortDelete { id: String },
    Acknowledge { sequence: u64 },
}

/// A call with the number its answer carries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NumberedCall {
    pub(crate) number: u64,
    pub(crate) call: ShimCall,
}

/// From a shim on its control connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShimMessage {
    Hello {
        pid: u32,
    },
    Report(InstanceReport),
    Answer {
        number: u64,
        result: Result<InstanceReport, Error>,
    },
}

/// A command to run inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
    /// Rows and columns, if a terminal is wanted; else three descriptors came along.
    pub(crate) terminal: Option<(u16, u16)>,
}

/// From the client of a running command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecInput {
    Signal(i32),
}

/// To the client of a running command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecOutput {
    /// The terminal's outer end comes with this frame.
    Terminal,
    Exited(i32),
    Failed(Error),
}

/// To the client that runs a machine's command. When the connection closes without more, the shim has died.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MachineOutput {
    /// The command is to begin, or after a reboot to begin again; its TAPs come with this frame, in the order of the ports.
    Begin(MachineBegin),
    /// The command is to be asked to end.
    End(MachineEnd),
    /// It took too long: it is to be killed.
    Kill,
    Failed(Error),
}

/// What a machine's command is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MachineBegin {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) user_data: Option<Vec<u8>>,
    /// By device index.
    pub(crate) ports: Vec<PortSpec>,
}

/// Why a machine's command is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MachineEnd {
    Stop,
    Terminate,
    /// It will begin again.
    Reboot,
}

/// From that client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MachineInput {
    /// The command has ended because it was to, and all that it started; the client is there for the next beginning.
    Ended,
}

/// From inside the sandbox: init on its own socket, `cfn-signal` on `/run/atoll/guest.sock`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuestMessage {
    /// Process 1 runs, in a sandbox that is whole.
    Begun,
    UserData(UserDataStatus),
    Signal(GuestSignal),
}

/// The shim's answer to a guest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuestReply {
    Kept,
    Refused(String),
}
