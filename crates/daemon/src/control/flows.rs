//! What is said about flows and about what is counted.

use atoll_lens::way::Station;
use serde::{Deserialize, Serialize};

/// Flows that are known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// In no order.
    pub flows: Vec<Flow>,
    /// Whether there are more than were asked for.
    pub truncated: bool,
}

/// A flow: both directions of a conversation, as far as both are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `icmpv6` or the protocol's number.
    pub protocol: String,
    /// What is tracked of it: of TCP `opening`, `established`, `closing`, `closed` or `reset`, of others `unanswered`,
    /// `answered` or `stream`; absent if it is not tracked.
    pub state: Option<String>,
    /// The stations of its next packet, if that was asked for.
    #[serde(default)]
    pub path: Vec<Station>,
    /// How that packet would end, if that was asked for: a check's name when it would be dropped.
    pub stage: Option<String>,
    /// From the side that began it, as far as that is known.
    pub forward: FlowWay,
    /// The other direction; absent if no packet of it was forwarded lately.
    #[serde(rename = "return")]
    pub back: Option<FlowWay>,
}

/// One direction of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowWay {
    /// Where it comes in: an interface's id, or `internet`.
    pub from: String,
    /// That interface's name or its instance's.
    pub from_name: Option<String>,
    /// Where it leaves.
    pub to: String,
    /// That interface's name or its instance's.
    pub to_name: Option<String>,
    /// Source as it comes in, with its port.
    pub source: String,
    /// Destination as it comes in, with its port.
    pub destination: String,
    /// Identifier of ICMP as it comes in.
    pub icmp_id: Option<u16>,
    /// Source as it leaves, if that is another.
    pub translated_source: Option<String>,
    /// Destination as it leaves, if that is another.
    pub translated_destination: Option<String>,
    /// Identifier of ICMP as it leaves, if that is another.
    pub translated_icmp_id: Option<u16>,
    /// By how much its hop limit falls.
    pub hop_limit_decrement: u8,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// For how many milliseconds its packets are forwarded without being judged; absent if the next one is judged.
    pub holds_ms: Option<u32>,
    /// What carries it: `ebpf` or `userspace`.
    pub plane: String,
    /// Packets that the kernel has counted; absent if it does not carry them.
    pub packets: Option<u64>,
    /// Their bytes, from the Ethernet header on.
    pub bytes: Option<u64>,
    /// When the latest of them was, as EC2 prints it.
    pub last_seen: Option<String>,
    /// How long ago that is.
    pub idle_ms: Option<u64>,
}

/// What is counted at a moment, since the data plane started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The moment, in milliseconds of Unix time.
    pub time: u64,
    /// The API's URL.
    pub endpoint: String,
    /// `ebpf` or `userspace`.
    pub data_plane: String,
    /// Network interfaces that have a port.
    pub interfaces: u64,
    /// Connections tracked, both ends counted.
    pub connections: u64,
    /// NAT gateways' mappings.
    pub mappings: u64,
    /// Answers kept, one a direction.
    pub kept_answers: u64,
    /// What is counted.
    pub counted: Counted,
    /// Flows, in no order and without paths.
    pub flows: Vec<Flow>,
    /// Whether there are more flows.
    pub truncated: bool,
}

/// Counts since the data plane started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The engine's.
    pub engine: EngineCounters,
    /// The kernel's; absent where it takes no part.
    pub kernel: Option<KernelCounters>,
    /// Packets by where they ended, of both; stages without any are left out.
    pub stages: Vec<StageCount>,
    /// What found no free place where it is received, what is known best first.
    #[serde(default)]
    pub lost: Vec<LostFrames>,
    /// Ports that have a lane of their own now, since they flood.
    #[serde(default)]
    pub flooding: Vec<PortName>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortName {
    /// An interface's id, or `internet`.
    pub port: String,
    /// That interface's name or its instance's.
    pub name: Option<String>,
}

impl PortName {
    /// What people call it.
    pub fn shortest(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.port)
    }
}

/// Frames that found no free place where they are received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFrames {
    /// The lane that was full: `own`, that of one port while it flooded; `ipv4-flooding-0`, that of several at a time;
    /// `ipv4-small-3`, one of eight that ports share for frames of up to 1,800 bytes; `ipv4-large`, that of all ports for
    /// longer ones; the same with `ipv6` and `arp`.
    pub lane: String,
    /// Of `own` the port whose frames they were, none where it is gone; else some of those that use the lane, or did until they flooded: these
    /// first; none where all do.
    pub ports: Vec<PortName>,
    /// How many use it that are not among these.
    pub more_ports: u64,
    /// How many frames.
    pub frames: u64,
}

impl LostFrames {
    /// Whose they were, as far as that is known.
    pub fn whose(&self) -> String {
        let names: Vec<&str> = self.ports.iter().map(PortName::shortest).collect();
        let more = match self.more_ports {
            0 => String::new(),
            more => format!(" or {more} more"),
        };
        match &*names {
            [] if self.lane == "own" => "of ports that are gone".to_owned(),
            [] => format!("of any ({})", self.lane),
            names if self.lane == "own" => names.join(", "),
            names => format!("of {}{more}", names.join(" or ")),
        }
    }
}

/// Packets that came to the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCounters {
    /// All, a super-segment counting once.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// Forwarded by a kept answer.
    pub hits: u64,
    /// Judged.
    pub walks: u64,
    /// No packets: kept answers that a change made stale, and that were looked at again before a packet came.
    #[serde(default)]
    pub revalidated: u64,
    /// Dropped by a verdict kept from an earlier one.
    pub drop_hits: u64,
    /// Dropped unread, also by the kernel: their port had sent more than its share while others waited.
    #[serde(default)]
    pub misses_refused: u64,
    /// ICMP errors and TCP resets sent.
    pub answers: u64,
    /// Frames that the kernel refused to send.
    pub refused: u64,
    /// Frames that found no free place where they are received.
    pub overrun: u64,
}

/// Packets that the kernel forwarded, and those that it left to the engine by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounters {
    /// Delivered to ports of this host.
    pub delivered: u64,
    /// Left towards the internet.
    pub exited: u64,
    /// The bytes of both.
    pub bytes: u64,
    /// Connections that it made by decisions which earlier ones left.
    #[serde(default)]
    pub made: u64,
    /// No answer is kept for their flow.
    pub no_flow: u64,
    /// The kept answer does not hold any more.
    pub stale: u64,
    /// SYN, FIN, RST, ICMP errors, neighbour discovery.
    pub control: u64,
    /// Fragments, options, extension headers, tags, lengths or sums that do not agree.
    pub odd: u64,
    /// Longer than their path takes.
    pub too_big: u64,
    /// Their hop limit ends.
    pub hop_limit: u64,
    /// Their MAC addresses are not the flow's.
    pub mac: u64,
    /// Dropped by a verdict that the engine had kept.
    #[serde(default)]
    pub dropped: u64,
    /// Flows and ports that the kernel did not take.
    pub refused: u64,
}

/// Packets that ended somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCount {
    /// The stage's name.
    pub stage: String,
    /// Whether that is a drop.
    pub drops: bool,
    /// How many.
    pub packets: u64,
}
