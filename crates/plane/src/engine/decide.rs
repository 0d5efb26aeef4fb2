//! Decisions about new connections, and flows that the kernel made by them.
//!
//! When a packet opens a connection and the kernel takes part, the packet that would answer it is walked too. If
//! neither way asked more of the client's port than which range it lies in, the pair of answers is kept as a
//! [`Decision`](crate::cache::Decision): the kernel then makes the flows of further connections by itself. Nothing is
//! decided there that was not decided here.
//!
//! What the kernel made is taken up here a little later, if it still lives: its packets are walked as if they had
//! come up, and so tracked. Most short connections are over before, and cost the engine nothing. Until then the engine
//! does not know them, so whatever needs to know takes them up first: a change of configuration, and a packet that
//! belongs to one or speaks about one.

use std::collections::VecDeque;

use hashbrown::HashMap;

use atoll_fabric::flows::{Effect, FlowKey, Mapping, State};
use atoll_fabric::{Effects, FlowView, Flows, Hop, L4, Packet, Slot, Verdict, walk};
use atoll_model::Timestamp;
use atoll_net::packet::{protocol, tcp_flags};

use super::walk::Hold;
use super::{Engine, Ip};
use crate::cache::{Decision, Key, PortRole};
use crate::port::Attachment;

/// A flow that the kernel made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// What opened it.
    pub there: Key,
    /// What answers.
    pub back: Key,
    /// Number and version of the path there.
    pub there_path: (u32, u32),
    /// The same of the path back.
    pub back_path: (u32, u32),
}

/// What the kernel saw of a flow's direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub packets: u64,
    pub fin: bool,
    pub rst: bool,
    /// Milliseconds, wrapping.
    pub last: u32,
}

/// Asks the kernel about a flow's direction.
pub(crate) type Observer = Box<dyn Fn(&Key) -> Option<Seen> + Send>;

/// Flows that the kernel made and the engine has not taken up.
#[derive(Default)]
pub(super) struct Fresh {
    flows: HashMap<Key, Made>,
    /// From what answers to what opened.
    by_reply: HashMap<Key, Key>,
    order: VecDeque<(Key, Timestamp)>,
}

/// How long a made flow may go unknown, in milliseconds.
const UNKNOWN: u64 = 100;
/// How long after its end a made flow's last packets may come, in milliseconds.
const LINGERING: u32 = 100;
/// Most made flows that are looked at in one sweep: packets wait meanwhile.
const MOST_AT_ONCE: usize = 1024;
/// Most made flows that may go unknown; then the kernel's ring fills, and it makes none.
const MOST_FRESH: usize = 65_536;
/// How long a decision holds, in milliseconds: then a connection is walked again.
const DECISION_HOLD: u32 = 30_000;
/// Most decisions that are made in [`BUDGET_MILLIS`]: whoever opens connections to every port costs two walks
/// more for these alone.
const BUDGET: u32 = 32;
const BUDGET_MILLIS: u64 = 10;

/// How many decisions may still be made.
#[derive(Default)]
pub(super) struct Budget {
    left: u32,
    since: Timestamp,
}

impl Budget {
    fn take(&mut self, now: Timestamp) -> bool {
        if now.0.saturating_sub(self.since.0) >= BUDGET_MILLIS {
            (self.left, self.since) = (BUDGET, now);
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

/// Whether a packet opens a connection, so that decisions are about its like.
fn opens(packet: &Packet) -> bool {
    let L4::Ports { tcp_flags: flags, .. } = packet.l4 else {
        return false;
    };
    match packet.protocol {
        protocol::TCP => {
            flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::FIN | tcp_flags::RST) == tcp_flags::SYN
        }
        protocol::UDP => true,
        _ => false,
    }
}

/// The packet that answers another one, as it stands where that one went out.
pub(super) fn answer_to(sent: &Packet, out: atoll_fabric::Port) -> Packet {
    Packet {
        ingress: out,
        src_mac: sent.dst_mac,
        dst_mac: sent.src_mac,
        src: sent.dst,
        dst: sent.src,
        l4: match sent.l4 {
            L4::Ports { src, dst, tcp_flags } => L4::Ports {
                src: dst,
                dst: src,
                tcp_flags: if tcp_flags == 0 {
                    0
                } else {
                    tcp_flags | tcp_flags::ACK
                },
            },
            other => other,
        },
        hop_limit: 64,
        ..*sent
    }
}

/// The state of flows in which no connection is known but what a walk has just begun.
struct Unknown<'a> {
    flows: &'a Flows,
    begun: Option<&'a Effects>,
}

impl FlowView for Unknown<'_> {
    fn tracked(&self, owner: Slot, key: &FlowKey, _: Timestamp) -> Option<State> {
        self.begun?.iter().find_map(|effect| match effect {
            Effect::Track {
                owner: its,
                key: began,
                state,
                ..
            } if *its == owner && began == key => Some(*state),
            _ => None,
        })
    }

    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool {
        self.flows.has_room(owner, key)
    }

    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<Mapping> {
        self.flows.mapped(gateway, wanted, now)
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<Mapping> {
        self.flows.unmapped(gateway, wanted, now)
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16> {
        self.flows.free_port(gateway, wanted, now)
    }
}

impl Engine {
    /// Keeps a decision about connections like the one that a packet has just opened, if there can be one.
    pub(super) fn decide(&mut self, now: Timestamp, packet: &Packet, hold: &Hold) {
        if self.kernel.is_none() || !opens(packet) || hold.path.role != PortRole::None {
            return;
        }
        let L4::Ports { src: port, .. } = packet.l4 else {
            return;
        };
        let ask = hold.key.any_source_port();
        let at = now.0 as u32;
        let known = self.cache.decision(&ask);
        if known.is_some_and(|known| known.ports.contains(&port) && self.cache.holds(known, &self.cells, at))
        {
            return;
        }
        if !self.budget.take(now) {
            return;
        }
        // As if nothing were known of it: what passes because it belongs to a connection says nothing of others. An
        // answer's "opening", of UDP, would let every port of the server in.
        let mut hops: Vec<Hop> = Vec::new();
        let unknown = Unknown {
            flows: &self.flows,
            begun: None,
        };
        let there = walk(&self.fabric, &unknown, packet, now, &mut hops);
        let (Verdict::Forward(action), Some(sent)) = (&there.verdict, there.forwarded(packet)) else {
            return;
        };
        // To itself, equal ports make one connection of what are two with others: its own way out lets it in.
        if action.out == packet.ingress {
            return;
        }
        let reply = answer_to(&sent, action.out);
        let unknown = Unknown {
            begun: Some(&there.effects),
            ..unknown
        };
        let back = walk(&self.fabric, &unknown, &reply, now, &mut hops);
        let Some(standing) = self.ports.named(action.out) else {
            return;
        };
        let reply_key = Key::of_reply(standing.slot, &sent);
        let returned = back.forwarded(&reply).is_some_and(|returned| {
            let turned = answer_to(packet, packet.ingress);
            (returned.src, returned.dst, returned.l4) == (turned.src, turned.dst, turned.l4)
        });
        if !returned {
            return;
        }
        // The connection itself is tracked by now: how long its answers hold is how long those of others will.
        let held = walk(&self.fabric, &self.flows, &reply, now, &mut ());
        if !held.cacheable() {
            return;
        }
        let Some(ports) = self.fabric.alike(&hops, port) else {
            return;
        };
        let (Some((there, _)), Some((back, _))) = (self.leads(packet, &there), self.leads(&reply, &back))
        else {
            return;
        };
        if there.role != PortRole::None || back.role != PortRole::None {
            return;
        }
        let decision = Decision {
            there: (0, 0),
            back: (0, 0),
            reply: reply_key.any_destination_port(),
            ports,
            expires: at.wrapping_add(DECISION_HOLD),
            hold: hold.millis.min(held.hold),
        };
        self.cache.decide(ask, decision, there, back, &self.cells);
    }

    /// Learns of a flow that the kernel made.
    pub(crate) fn learn(&mut self, now: Timestamp, made: Made) {
        self.fresh.flows.insert(made.there, made);
        self.fresh.by_reply.insert(made.back, made.there);
        self.fresh.order.push_back((made.there, now));
    }

    /// Whether there is room to learn of one more.
    pub(crate) fn may_learn(&self) -> bool {
        self.fresh.order.len() < MOST_FRESH
    }

    /// Whether there are made flows that are not taken up.
    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.order.is_empty()
    }

    /// Takes up made flows whose time has come, and forgets those that are over.
    pub(super) fn take_up_due(&mut self, now: Timestamp) {
        for _ in 0..MOST_AT_ONCE {
            let Some((key, since)) = self.fresh.order.front().copied() else {
                break;
            };
            if now.0.saturating_sub(since.0) < UNKNOWN {
                break;
            }
            self.fresh.order.pop_front();
            let Some(made) = self.fresh.flows.get(&key).copied() else {
                continue;
            };
            let (there, back) = self.observe(&made);
            let over = there.rst || back.rst || (there.fin && back.fin);
            if !over {
                self.take_up(now, &key);
                continue;
            }
            let age = |seen: Seen| (now.0 as u32).wrapping_sub(seen.last);
            if age(there) < LINGERING || age(back) < LINGERING {
                self.fresh.order.push_back((key, now));
            } else {
                self.drop_fresh(&made);
            }
        }
    }

    /// Takes up every made flow: before a change of configuration, which they shall survive as tracked connections do.
    pub(crate) fn take_up_all(&mut self, now: Timestamp) {
        while let Some((key, _)) = self.fresh.order.pop_front() {
            self.take_up(now, &key);
        }
    }

    /// Takes up what a packet belongs to or may speak about.
    pub(super) fn take_up_of(&mut self, now: Timestamp, ip: &Ip, quotes: bool) {
        if self.fresh.order.is_empty() {
            return;
        }
        match &ip.key {
            Some((key, _)) if !quotes => {
                let there = self.fresh.by_reply.get(key).copied().unwrap_or(*key);
                self.take_up(now, &there);
            }
            _ => self.take_up_all(now),
        }
    }

    fn observe(&self, made: &Made) -> (Seen, Seen) {
        let seen = |key: &Key| {
            self.kernel
                .as_ref()
                .and_then(|kernel| kernel(key))
                .unwrap_or_default()
        };
        (seen(&made.there), seen(&made.back))
    }

    fn drop_fresh(&mut self, made: &Made) {
        self.fresh.flows.remove(&made.there);
        self.fresh.by_reply.remove(&made.back);
        self.cache.touch(&made.there);
        self.cache.touch(&made.back);
    }

    /// Walks the packets of a made flow as if they had come up.
    fn take_up(&mut self, now: Timestamp, there: &Key) {
        let Some(made) = self.fresh.flows.get(there).copied() else {
            return;
        };
        // What is not kept by the walks below is the kernel's no more.
        self.drop_fresh(&made);
        let (opened, answered) = self.observe(&made);
        let tcp = made.there.protocol() == protocol::TCP;
        let flags = |flags: u8| if tcp { flags } else { 0 };
        let mut script = vec![(&made.there, made.there_path, flags(tcp_flags::SYN))];
        if answered.packets > 0 {
            script.push((&made.back, made.back_path, flags(tcp_flags::SYN | tcp_flags::ACK)));
            if opened.packets > 1 {
                script.push((&made.there, made.there_path, flags(tcp_flags::ACK)));
                // Where only what answers is tracked, this is what makes a stream of it.
                if answered.packets > 1 {
                    script.push((&made.back, made.back_path, flags(tcp_flags::ACK)));
                }
            }
        }
        if tcp {
            for (seen, key, path) in [
                (opened, &made.there, made.there_path),
                (answered, &made.back, made.back_path),
            ] {
                if seen.fin {
                    script.push((key, path, tcp_flags::FIN | tcp_flags::ACK));
                }
                if seen.rst {
                    script.push((key, path, tcp_flags::RST));
                }
            }
        }
        for (key, path, flags) in script {
            let Some(packet) = self.imagine(key, path, flags) else {
                return;
            };
            let hash = self.cache.hash(key);
            self.judge(now, Some((*key, hash)), &packet);
        }
    }

    /// A packet of a made flow as it came in.
    fn imagine(&self, key: &Key, (number, version): (u32, u32), flags: u8) -> Option<Packet> {
        let standing = self.ports.get(key.slot())?;
        let (path, now) = self.cache.path(number);
        let path = path.filter(|_| now == version)?;
        let (src_mac, dst_mac) = match (path.macs, standing.attachment) {
            (Some(macs), _) => macs,
            (None, Attachment::Internet { router, station }) => (station, router),
            (None, Attachment::Eni(_)) => return None,
        };
        let (src, dst) = key.addresses();
        let L4::Ports {
            src: src_port,
            dst: dst_port,
            ..
        } = key.l4()
        else {
            return None;
        };
        Some(Packet {
            ingress: standing.attachment.port(),
            src_mac,
            dst_mac,
            src,
            dst,
            protocol: key.protocol(),
            l4: L4::Ports {
                src: src_port,
                dst: dst_port,
                tcp_flags: flags,
            },
            hop_limit: 64,
            length: 60,
            dont_fragment: true,
            fragment: None,
            quote: None,
        })
    }
}
