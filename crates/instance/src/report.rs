//! What the daemon learns: each instance's state, its ports, its signals.
use crate::InstanceKind;
use serde::{Deserialize, Serialize};

/// Where an instance is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// The sandbox is being made.
    Starting,
    /// Process 1 runs.
    Running,
    /// It was asked to stop or reboot.
    Stopping,
    /// It was stopped; its files are kept.
    Stopped,
    /// It ended unasked, or never started.
    Exited {
        /// Why, as one sentence.
        reason: String,
    },
    /// It was terminated; its files are gone.
    Terminated,
}

/// Where the user data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserDataStatus {
    /// There is none, or it does not begin with `#!`.
    None,
    /// Not yet begun.
    Pending,
    /// Begun at first boot.
    Running,
    /// Ended with this exit status, or 128 + the signal that ended it.
    Exited(i32),
}

/// A port that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The ENI's id, which is also the alias of the host end.
    pub id: String,
    /// The host end's name in the fabric's namespace.
    pub host_name: String,
    /// The host end's index there. It changes when the port is made again (reboot, a tenant that deletes its interface).
    pub host_index: u32,
    /// The guest end's name.
    pub guest_name: String,
    /// The guest end's MAC address.
    pub mac: [u8; 6],
    /// How many times the port was made in this boot.
    pub generation: u64,
}

/// What is at a machine's TAPs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineReport {
    /// The process of [`crate::machine::run`], the parent of the command.
    pub pid: u32,
    /// The command's first word, at most 100 characters.
    pub command: String,
}

/// What `cfn-signal` said inside the instance; kept until acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSignal {
    /// Counts up per instance; what [`crate::Host::acknowledge`] takes.
    #[serde(default)]
    pub sequence: u64,
    /// Whether it went well.
    pub success: bool,
    /// `--stack`.
    #[serde(default)]
    pub stack: Option<String>,
    /// `--resource`.
    #[serde(default)]
    pub resource: Option<String>,
    /// `--region`.
    #[serde(default)]
    pub region: Option<String>,
    /// `--reason`.
    #[serde(default)]
    pub reason: Option<String>,
    /// `--data`.
    #[serde(default)]
    pub data: Option<String>,
    /// `--id`.
    #[serde(default)]
    pub unique_id: Option<String>,
    /// The wait condition handle's URL.
    #[serde(default)]
    pub url: Option<String>,
}

/// All that is known of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The instance.
    pub id: String,
    /// Its kind.
    pub kind: InstanceKind,
    /// Its state.
    pub state: InstanceState,
    /// The shim's process id on the host.
    #[serde(default)]
    pub shim_pid: Option<u32>,
    /// Process 1 of the sandbox, as the host numbers it.
    #[serde(default)]
    pub init_pid: Option<u32>,
    /// Seconds since 1970 at which this boot began.
    #[serde(default)]
    pub boot_time: u64,
    /// How many boots there have been.
    #[serde(default)]
    pub boots: u64,
    /// The user data.
    pub user_data_status: UserDataStatus,
    /// The ports that stand.
    #[serde(default)]
    pub ports: Vec<PortReport>,
    /// Signals not yet acknowledged.
    #[serde(default)]
    pub signals: Vec<GuestSignal>,
    /// The sequence number that the last signal got.
    #[serde(default)]
    pub next_signal: u64,
    /// What last went wrong without ending the instance (a port that could not be made again).
    #[serde(default)]
    pub problem: Option<String>,
    /// What is at a machine's TAPs now.
    #[serde(default)]
    pub machine: Option<MachineReport>,
    /// Counts this instance's reports: of two that came by different ways, the higher one is the later one.
    #[serde(default)]
    pub version: u64,
}

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// All instances, once, at the beginning.
    Snapshot(Vec<InstanceReport>),
    /// One instance as it is now.
    Instance(InstanceReport),
    /// The instance was terminated and is forgotten.
    Gone(String),
}
