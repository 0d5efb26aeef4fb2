//! What is said over the control socket. A connection carries any number of requests, each one line,
//! each answered by one line.

use std::net::IpAddr;

use atoll_instance::Limits;
use atoll_lens::{Query, Trace};
use serde::{Deserialize, Serialize};

use super::follow::{Follow, JoinedStatus, Welcome};

pub use super::flows::{
    Counted, EngineCounters, Flow, FlowWay, Flows, KernelCounters, LostFrames, PortName, Sample, StageCount,
};

/// The longest request, in bytes.
pub const MAX_REQUEST: u64 = 64 * 1024;
/// The longest reply, in bytes.
pub const MAX_REPLY: u64 = 16 * 1024 * 1024;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is served and what runs.
    Status,
    /// What a shell needs to call the API.
    Env,
    /// What would become of a packet now, and of its answer.
    Trace {
        /// Which packet.
        query: Query,
    },
    /// What was dropped lately.
    Drops {
        /// The latest so many.
        limit: u32,
    },
    /// Flows that are known now.
    Flows {
        /// Only those of this instance, interface, address or `internet`.
        #[serde(default)]
        place: Option<String>,
        /// At most so many.
        limit: u32,
    },
    /// What is counted at this moment.
    Sample {
        /// With so many flows at most.
        flows: u32,
    },
    /// Where a command for an instance is to be sent: by id, `Name` tag or logical id, or `internet`.
    ExecTarget {
        /// The name.
        name: String,
    },
    /// From now on nothing but [`Request::Follow`] may be asked on this connection: it is handed on to another host. No
    /// answer.
    Feed {
        /// The only host that may join by it; any, if not said.
        #[serde(default)]
        host: Option<String>,
    },
    /// To be one of a region's hosts. After [`Reply::Welcome`] the connection is as [`super::follow`] says.
    Follow(Box<Follow>),
    /// A host is none of a region's any more.
    ForgetHost {
        /// The region; the first one if not said.
        #[serde(default)]
        region: Option<String>,
        /// What the host is called.
        name: String,
        /// Also if there are instances on it: they are terminated.
        force: bool,
    },
    /// Ends the daemon; instances stay.
    Shutdown,
    /// Ends everything and removes what is kept.
    DownAll,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Env`].
    Env(Env),
    /// To [`Request::Trace`].
    Trace(Box<Trace>),
    /// To [`Request::Drops`]; the oldest first.
    Drops {
        /// Each packet, or several alike.
        drops: Vec<Dropped>,
    },
    /// To [`Request::Flows`].
    Flows(Flows),
    /// To [`Request::Sample`].
    Sample(Box<Sample>),
    /// To [`Request::ExecTarget`].
    ExecTarget(ExecTarget),
    /// To [`Request::Follow`].
    Welcome(Welcome),
    /// Done.
    Done,
    /// It was not done.
    Error {
        /// Why, as one sentence.
        message: String,
    },
}

/// What is served and what runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The API's URL; that of nothing where the region is served on another host.
    pub endpoint: String,
    /// Where the region is served, if that is another host.
    #[serde(default)]
    pub joined: Option<JoinedStatus>,
    /// The daemon's process id.
    pub pid: u32,
    /// `sigv4` or `none`.
    pub auth: String,
    /// `ebpf`, `userspace` or `none`.
    pub data_plane: String,
    /// Why it is not a faster one, if nobody asked for that.
    #[serde(default)]
    pub data_plane_reason: Option<String>,
    /// What the data plane knows of flows, in numbers; absent without one.
    #[serde(default)]
    pub flows: Option<FlowNumbers>,
    /// The data directory; absent when nothing is kept.
    pub data_directory: Option<String>,
    /// Which limits of memory, processes and CPU are in force for instances, and why others are not.
    #[serde(default)]
    pub limits: Limits,
    /// Each region, the default one first.
    pub regions: Vec<RegionStatus>,
}

/// What the data plane knows of flows, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowNumbers {
    /// Connections that security groups track, both ends counted.
    pub connections: usize,
    /// Mappings of NAT gateways.
    pub nat_mappings: usize,
    /// Whether both are written down, so that they outlive the daemon.
    pub written_down: bool,
    /// Packets dropped unread since the start: their port had sent more than its share while others waited.
    pub misses_refused: u64,
    /// Kept answers that changes made stale and that were looked at again before a packet came, since the start.
    #[serde(default)]
    pub revalidated: u64,
    /// Frames that found no free place where they are received, since the start.
    #[serde(default)]
    pub overrun: u64,
    /// Those, by where it was and by ports as far as these are known.
    #[serde(default)]
    pub lost: Vec<LostFrames>,
    /// Ports that have a lane of their own now, since they flood.
    #[serde(default)]
    pub flooding: Vec<PortName>,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// How many changes it has seen.
    pub revision: u64,
    /// Its stacks, those deleted left out.
    pub stacks: Vec<StackStatus>,
    /// Its VPCs' ids.
    pub vpcs: Vec<String>,
    /// The hosts that have part in it, the one that serves it first; none where it has one host alone.
    #[serde(default)]
    pub hosts: Vec<HostStatus>,
    /// Its instances, those terminated left out.
    pub instances: Vec<InstanceStatus>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// What it is called.
    pub name: String,
    /// Its address for the others.
    pub underlay: IpAddr,
    /// The longest IP packet that its underlay takes, in bytes.
    pub mtu: u32,
    /// The zones whose instances run on it.
    pub zones: Vec<String>,
    /// Whether it serves the region: state, API, gateways, and instances of the zones that are no other's.
    pub serves_region: bool,
    /// Instances on it, those terminated left out.
    pub instances: usize,
    /// Whether this is the host that was asked.
    pub this: bool,
    /// Whether it is connected with the host that was asked; absent of that one itself, and where it is not known.
    pub connected: Option<bool>,
    /// Since when it is, or is not; absent if it never was since the daemon started.
    pub since: Option<String>,
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackStatus {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub id: String,
    /// Its status, in CloudFormation's words.
    pub status: String,
    /// Why, when it failed.
    pub reason: Option<String>,
}

/// A packet that the data plane dropped, or several alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When the latest one was, as EC2 prints it.
    pub time: String,
    /// How many.
    pub count: u64,
    /// The check that dropped it.
    pub stage: String,
    /// The component's kind, in kebab case.
    pub kind: String,
    /// The component.
    pub at: String,
    /// Its rule, where one decided.
    pub rule: Option<String>,
    /// The port it came in by: an interface's id, or `internet`.
    pub from: String,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or the protocol's number.
    pub protocol: Option<String>,
    /// Source, with its port.
    pub source: Option<String>,
    /// Destination, with its port.
    pub destination: Option<String>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its id.
    pub id: String,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Its state, in EC2's words.
    pub state: String,
    /// Its zone.
    pub zone: String,
    /// Its subnet.
    pub subnet: String,
    /// The host that it is on; absent where the region has one host alone.
    #[serde(default)]
    pub host: Option<String>,
    /// Private addresses of all its interfaces, both families.
    pub addresses: Vec<IpAddr>,
    /// Public IPv4 addresses of all its interfaces.
    pub public_addresses: Vec<IpAddr>,
    /// What is at its TAPs; absent unless it is a machine of the person's own, on this host.
    #[serde(default)]
    pub machine: Option<MachineStatus>,
}

/// What is at a machine's TAPs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// The process id of the `atoll machine` that is there, if one is.
    pub pid: Option<u32>,
    /// The first word of what it runs.
    pub command: Option<String>,
}

/// What a shell needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Env {
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: String,
}

/// Where commands for an instance go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecTarget {
    /// The instance's id, or `internet`.
    pub id: String,
    /// The socket of its shim.
    pub socket: String,
}
