//! Decisions about new connections, and flows that the kernel made by them.
//!
//! When a packet opens a connection and the kernel takes part, the packet that would answer it is walked too. If
//! neither way asked more of the client's port than which range it lies in, the pair of answers is kept as a
//! [`Decision`](crate::cache::Decision): the kernel then makes the flows of further connections by itself. Nothing is
//! decided there that was not decided here.
//!
//! What the kernel made is taken up a little later (`made.rs`).

use atoll_fabric::flows::{Effect, FlowKey, Mapping, State};
use atoll_fabric::{Effects, FlowView, Flows, Hop, L4, Packet, Slot, Verdict, walk};
use atoll_model::Timestamp;
use atoll_net::packet::{protocol, tcp_flags};

use super::Engine;
use super::walk::Hold;
use crate::cache::{Decision, Key, PortRole};

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
}
