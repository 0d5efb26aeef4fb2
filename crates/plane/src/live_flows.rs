//! Live flows, to be looked at: which answers are kept, how far they lead, and what the kernel has counted of them.
//!
//! The tables have millions of places and packets wait while the engine looks at them, so a [`Scan`] goes over them in
//! small steps, each a task of its own.

use std::net::IpAddr;

use hashbrown::HashSet;

use atoll_fabric::flows::State;
use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{Hop, L4, Packet, Port, Stage};
use atoll_model::Timestamp;
use atoll_net::Mac;
use atoll_net::packet::Rewrite;

use crate::cache::{Found, Key};
use crate::elsewhere::Incoming;
use crate::engine::Engine;
use crate::fast::Fast;
use crate::port::PortSlot;

/// Places that one step looks at: half a megabyte of memory.
const PLACES: usize = 16_384;
/// Entries that one step looks at: 20 to 120 microseconds in a full table (measured with 1.9 million entries).
const ENTRIES: usize = 512;
/// Flows that one step tells at most: each costs two questions to the kernel, and a walk if that is asked for.
const FLOWS: usize = 32;

/// Which flows are asked for.
#[derive(Clone, Debug)]
pub struct FlowQuery {
    /// At most so many; [`LiveFlows::truncated`] says whether there are more.
    pub limit: usize,
    /// Only those that come in or leave at one of these ports; all if `None`.
    pub ports: Option<Vec<Port>>,
    /// Whether the components on the way are wanted too: a walk a flow.
    pub hops: bool,
}

/// What there is, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveFlows {
    /// The flows, both directions of one together.
    pub flows: Vec<LiveFlow>,
    /// Whether there are more than were asked for.
    pub truncated: bool,
}

/// A flow: one or both directions of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveFlow {
    /// IP protocol.
    pub protocol: u8,
    /// From the side that began it, as far as that is known.
    pub forward: Way,
    /// The other direction, if an answer is kept for it.
    pub back: Option<Way>,
    /// What is tracked of it by the interface that it comes in at, or else by the one that it reaches.
    pub tracked: Option<State>,
    /// The components that its next packet would meet on this host, if that was asked for.
    pub hops: Vec<Hop>,
    /// How that packet would end, if that was asked for and is known here: another answer than the kept one is given once a
    /// packet comes. What goes to another host ends there.
    pub stage: Option<Stage>,
}

/// Addresses and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Ports, or ICMP's type, code and identifier; without TCP's flags.
    pub l4: L4,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it comes in. From another host, where it came in there, as far as the frame says it.
    pub ingress: Port,
    /// Where it leaves. To another host, where it goes there.
    pub out: Port,
    /// The other host that it comes from, if it does.
    pub from: Option<IpAddr>,
    /// The other host that it goes to.
    pub to: Option<IpAddr>,
    /// Its addresses and ports as it comes in.
    pub came: Ends,
    /// The same as it leaves.
    pub leaves: Ends,
    /// By how much its hop limit falls.
    pub hop_limit_decrement: u8,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// For how many milliseconds the kept answer is still given; `None` if the next packet is walked whenever it comes,
    /// since the time is over or the configuration has changed.
    pub holds_for: Option<u32>,
    /// What the kernel has counted; `None` if it does not have the flow: the engine forwards it then, and does not count
    /// flow by flow.
    pub kernel: Option<KernelCount>,
}

/// What the kernel has counted of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// Packets, a super-segment counting as what it stands for.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on; a super-segment's headers count once.
    pub bytes: u64,
    /// When the latest one was; `None` before the first.
    pub last_seen: Option<Timestamp>,
}

/// What is looked at beside the engine.
pub(crate) struct Beside<'a> {
    /// The kernel's copy of what is kept, where there is one.
    pub fast: Option<&'a Fast>,
    /// The engine's time.
    pub now: Timestamp,
}

/// A way over the tables, made in steps.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    place: usize,
    listed: HashSet<Key>,
    found: LiveFlows,
    done: bool,
}

/// A direction with what it takes to think about it further.
struct Seen {
    key: Key,
    way: Way,
    packet: Packet,
    /// What the interface that it comes in at knows of it, then the one that it reaches.
    tracked: (Option<State>, Option<State>),
    /// What was around it, if it comes from another host.
    from: Option<Incoming>,
    /// Where what answers it would be.
    replies: Vec<Key>,
}

impl Scan {
    /// What was found, once there is nothing left to look at.
    pub(crate) fn finished(&mut self) -> Option<LiveFlows> {
        self.done.then(|| std::mem::take(&mut self.found))
    }

    /// Looks at a piece of the tables.
    pub(crate) fn step(&mut self, engine: &Engine, beside: &Beside<'_>, query: &FlowQuery) {
        let start = engine.cache.worth_looking_at(self.place);
        let end = (start + PLACES).min(engine.cache.places());
        let wanted = query.ports.as_ref().map(|ports| {
            let standing = ports.iter().filter_map(|port| engine.ports.named(*port));
            Wanted {
                ports,
                slots: standing.map(|standing| standing.slot).collect(),
            }
        });
        self.place = end;
        let mut told = 0;
        for (nth, (place, key, found)) in engine.cache.stretch(start..end).enumerate() {
            if nth == ENTRIES || told == FLOWS {
                self.place = place;
                break;
            }
            if self.listed.contains(&key) {
                continue;
            }
            let Some(seen) = Seen::new(engine, beside, key, &found, wanted.as_ref()) else {
                continue;
            };
            if self.found.flows.len() >= query.limit {
                self.found.truncated = true;
                self.place = engine.cache.places();
                break;
            }
            told += 1;
            self.tell(engine, beside, query, seen);
        }
        self.done = self.place >= engine.cache.places();
    }

    fn tell(&mut self, engine: &Engine, beside: &Beside<'_>, query: &FlowQuery, seen: Seen) {
        let other = seen.replies.iter().find_map(|reply| {
            let found = engine.cache.peek(reply)?;
            Seen::new(engine, beside, *reply, &found, None)
        });
        self.listed.insert(seen.key);
        self.listed.extend(other.as_ref().map(|other| other.key));
        let (forward, back) = match other {
            Some(other) if !seen.began() => (other, Some(seen)),
            other => (seen, other),
        };
        let (mut hops, mut stage) = (Vec::new(), None);
        if query.hops {
            let (packet, now) = (&forward.packet, beside.now);
            let outcome = match &forward.from {
                None => Some(engine.walk_from_here(&engine.flows, packet, now, &mut hops)),
                Some(from) => engine.walk_from_elsewhere(from, packet, now, &mut hops),
            };
            let ends = outcome.filter(|outcome| outcome.onward.is_none());
            stage = ends.map(|outcome| outcome.stage());
        }
        self.found.flows.push(LiveFlow {
            protocol: forward.key.protocol(),
            forward: forward.way,
            back: back.map(|back| back.way),
            tracked: forward.tracked.0.or(forward.tracked.1),
            hops,
            stage,
        });
    }
}

/// Ports by which flows are looked for.
struct Wanted<'a> {
    ports: &'a [Port],
    /// Of those that stand here.
    slots: Vec<PortSlot>,
}

impl Seen {
    /// What an entry says; `None` if it is nobody's any more, or passes by the ports that are wanted.
    fn new(
        engine: &Engine,
        beside: &Beside<'_>,
        key: Key,
        found: &Found,
        wanted: Option<&Wanted<'_>>,
    ) -> Option<Seen> {
        let path = engine.cache.path(found.path).0?;
        let from = engine.incoming(key.slot());
        let not_here = |wanted: &&Wanted<'_>| {
            !wanted
                .slots
                .iter()
                .any(|slot| [key.slot(), path.out].contains(slot))
        };
        // Of a flow with another host, the port that is wanted may be there.
        let elsewhere = wanted.filter(not_here);
        if elsewhere.is_some() && from.is_none() && path.tunnel.is_none() {
            return None;
        }
        let now = beside.now.0 as u32;
        let holds = engine.cache.answer(found, &engine.cells, now).is_some();
        let (src, dst) = key.addresses();
        let (src_mac, dst_mac) = path.macs.unwrap_or((Mac::default(), Mac::default()));
        let ingress = match &from {
            Some(from) => engine.ports_of(&from.label(), (src_mac, dst_mac), src)?.0,
            None => engine.ports.get(key.slot())?.attachment.port(),
        };
        let packet = Packet {
            ingress,
            src_mac,
            dst_mac,
            src,
            dst,
            protocol: key.protocol(),
            l4: established(key.protocol(), key.l4()),
            hop_limit: HOP_LIMIT,
            length: LENGTH,
            dont_fragment: true,
            fragment: None,
            quote: None,
        };
        let sent = rewritten(packet, &path.rewrite_with(found.number));
        let out = match &path.tunnel {
            Some(label) => engine.ports_of(label, (path.src_mac, path.dst_mac), sent.src)?.1,
            None => engine.ports.get(path.out)?.attachment.port(),
        };
        if elsewhere.is_some_and(|wanted| !wanted.ports.iter().any(|port| [ingress, out].contains(port))) {
            return None;
        }
        let tracked = |port: Port, packet: &Packet, outbound: bool| match port {
            Port::Eni(eni) => engine
                .fabric
                .tracked(&engine.flows, eni, packet, outbound, beside.now),
            Port::Internet => None,
        };
        let tracked = (tracked(ingress, &packet, true), tracked(out, &sent, false));
        if !holds && tracked == (None, None) {
            // Over, and only not yet swept away.
            return None;
        }
        let kernel = beside.fast.and_then(|fast| fast.counted(&key));
        let kernel = kernel
            .filter(|_| holds)
            .map(|(packets, bytes, last_seen)| KernelCount {
                packets,
                bytes,
                // The kernel has the engine's clock, 32 bits of it.
                last_seen: (packets > 0).then(|| {
                    Timestamp(
                        beside
                            .now
                            .0
                            .saturating_sub(u64::from(now.wrapping_sub(last_seen))),
                    )
                }),
            });
        Some(Seen {
            key,
            way: Way {
                ingress,
                out,
                from: from.map(|from| from.host),
                to: path.tunnel.map(|label| label.host),
                came: ends(&packet),
                leaves: ends(&sent),
                hop_limit_decrement: path.hop_limit_decrement,
                mtu: path.mtu,
                holds_for: holds.then(|| found.expires.wrapping_sub(now)),
                kernel,
            },
            packet,
            tracked,
            from,
            replies: engine.replies(path, &sent),
        })
    }

    /// Whether the conversation began with this direction.
    fn began(&self) -> bool {
        match (self.tracked, self.packet.l4) {
            ((Some(state), _), _) => state.has(State::FROM_OWNER),
            ((_, Some(state)), _) => !state.has(State::FROM_OWNER),
            // Nobody remembers: a question is one by its type, and servers mostly have the lower port.
            (_, L4::Icmp { kind, .. }) => matches!(kind, 8 | 13 | 128),
            (_, L4::Ports { src, dst, .. }) => src >= dst,
            (_, L4::Other) => true,
        }
    }
}

/// Hop limit and length of the packet that stands for the next one of a flow: as Linux sends them, without data.
const HOP_LIMIT: u8 = 64;
const LENGTH: u32 = 52;

/// The transport part of a packet in the middle of a conversation.
fn established(number: u8, l4: L4) -> L4 {
    match l4 {
        L4::Ports { src, dst, .. } if number == protocol::TCP => L4::Ports {
            src,
            dst,
            tcp_flags: tcp::ACK,
        },
        other => other,
    }
}

fn rewritten(packet: Packet, rewrite: &Rewrite) -> Packet {
    let l4 = match packet.l4 {
        L4::Ports { src, dst, tcp_flags } => L4::Ports {
            src: rewrite.src_port.unwrap_or(src),
            dst: rewrite.dst_port.unwrap_or(dst),
            tcp_flags,
        },
        L4::Icmp { kind, code, id } => L4::Icmp {
            kind,
            code,
            id: rewrite.icmp_id.unwrap_or(id),
        },
        L4::Other => L4::Other,
    };
    Packet {
        src: rewrite.src.unwrap_or(packet.src),
        dst: rewrite.dst.unwrap_or(packet.dst),
        l4,
        ..packet
    }
}

fn ends(packet: &Packet) -> Ends {
    let l4 = match packet.l4 {
        L4::Ports { src, dst, .. } => L4::Ports {
            src,
            dst,
            tcp_flags: 0,
        },
        other => other,
    };
    Ends {
        src: packet.src,
        dst: packet.dst,
        l4,
    }
}
