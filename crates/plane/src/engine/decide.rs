//! Decisions about new connections, and flows that the kernel made by them.
//!
//! When a packet opens a connection and the kernel takes part, the packet that would answer it is walked too. If
//! neither way asked more of the client's port than which range it lies in, the pair of answers is kept as a
//! [`Decision`](crate::cache::Decision): the kernel then makes the flows of further connections by itself. Nothing is
//! decided there that was not decided here.
//!
//! A NAT gateway on the way gives each connection a port. So before a decision is made, ports are set aside around the
//! first connection's ([`Flows::reserve`]): what a walk would say of its neighbours is known from then on, and stays so
//! until the decision has ended and everything made by it is known.
//!
//! What the kernel made is taken up a little later (`made.rs`).

use atoll_fabric::flows::{BLOCK, Effect, FlowKey, Mapping, Reserved, State};
use atoll_fabric::{Course, Effects, FlowView, Flows, Hop, L4, Packet, Slot, Verdict};
use atoll_model::Timestamp;
use atoll_net::packet::{protocol, tcp_flags};

use super::Engine;
use super::walk::{Hold, LONGEST_HOLD};
use crate::cache::{Decision, Key, Path, PortRole, Translated};

/// How long a decision holds, in milliseconds: then a connection is walked again.
const DECISION_HOLD: u32 = 30_000;
/// Most decisions that are made in [`BUDGET_MILLIS`]: whoever opens connections to every port costs two walks
/// more for these alone.
const BUDGET: u32 = 64;
/// As how many one counts that sets ports of a NAT gateway aside: it looks for 500 mappings.
const DEAR: u32 = 4;
const BUDGET_MILLIS: u64 = 10;
/// For how many blocks of ports ahead decisions are made at most, where a client takes its ports one after the other.
const AHEAD: u16 = 7;
/// How long ports stay set aside after the last connection that the kernel can have made with one, in milliseconds:
/// it is taken up by then, however many others are, or it has ended in the kernel and what was on its way has come.
const LINGER: u32 = 10_000;

/// How often decisions are looked through for those that do not hold any more, in milliseconds.
const DECISIONS_EVERY: u64 = 1000;
/// Places of decisions that are looked at in one sweep: some 0.1 milliseconds if all have ended.
const DECISIONS_AT_ONCE: usize = 1024;
/// Grounds of ended decisions that are let go of in one sweep: more than decisions can be made meanwhile.
const GROUNDS_AT_ONCE: usize = 512;

/// How far decisions have been looked through for those that do not hold any more.
pub(super) struct DecisionSweep {
    /// When it begins again.
    due: Timestamp,
    /// Places to go, the last one first.
    left: usize,
    /// Which flow the kernel was to make next when it began last.
    seen: u32,
}

impl DecisionSweep {
    pub(super) fn new(now: Timestamp) -> DecisionSweep {
        DecisionSweep {
            due: now,
            left: 0,
            seen: 0,
        }
    }
}

/// How many decisions may still be made.
#[derive(Default)]
pub(super) struct Budget {
    left: u32,
    since: Timestamp,
}

impl Budget {
    /// Whether what is left is for what packets wait for.
    fn is_scarce(&self) -> bool {
        self.left <= BUDGET / 4
    }

    fn take(&mut self, now: Timestamp, cost: u32) -> bool {
        if now.0.saturating_sub(self.since.0) >= BUDGET_MILLIS {
            (self.left, self.since) = (BUDGET, now);
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(cost);
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

/// The translation on the way of a packet from inside, with its gateway: `None` if there are several.
pub(super) fn translation(effects: &Effects) -> Option<Option<(Slot, Mapping)>> {
    let mut all = effects.iter().filter_map(|effect| match effect {
        Effect::Map { gateway, mapping, .. } => Some((*gateway, *mapping)),
        Effect::Track { .. } => None,
    });
    let first = all.next();
    all.next().is_none().then_some(first)
}

/// The state of flows in which no connection is known but what a walk has just begun.
struct Unknown<'a> {
    flows: &'a Flows,
    begun: Option<&'a Effects>,
    /// The port that is set aside for it.
    reserved: Option<(Slot, Mapping)>,
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

    fn mapped(&self, _: Slot, _: &Mapping, _: Timestamp) -> Option<(Mapping, State)> {
        None
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, _: Timestamp) -> Option<(Mapping, State)> {
        self.begun?.iter().find_map(|effect| match effect {
            Effect::Map {
                gateway: its,
                mapping,
                state,
                ..
            } => {
                let Mapping {
                    inside, inside_port, ..
                } = *mapping;
                let asked = Mapping {
                    inside,
                    inside_port,
                    ..*wanted
                };
                (*its == gateway && asked == *mapping).then_some((*mapping, *state))
            }
            Effect::Track { .. } => None,
        })
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, _: Timestamp) -> Option<u16> {
        let (its, mapping) = self.reserved?;
        let outside_port = mapping.outside_port;
        let asked = Mapping {
            outside_port,
            ..*wanted
        };
        (its == gateway && asked == mapping).then_some(outside_port)
    }
}

/// The state of flows where a NAT gateway gives a new connection this port.
struct Given<'a> {
    flows: &'a Flows,
    port: u16,
}

impl FlowView for Given<'_> {
    fn tracked(&self, owner: Slot, key: &FlowKey, now: Timestamp) -> Option<State> {
        self.flows.tracked(owner, key, now)
    }

    fn has_room(&self, owner: Slot, key: &FlowKey) -> bool {
        self.flows.has_room(owner, key)
    }

    fn mapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.flows.mapped(gateway, wanted, now)
    }

    fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<(Mapping, State)> {
        self.flows.unmapped(gateway, wanted, now)
    }

    fn free_port(&self, gateway: Slot, wanted: &Mapping, now: Timestamp) -> Option<u16> {
        // Whether it is free, the commit finds out.
        self.flows.free_port(gateway, wanted, now).map(|_| self.port)
    }
}

/// An answer to what a decision is about, in the making.
pub(super) struct Decided {
    pub(super) decision: Decision,
    pub(super) course: Course,
    pub(super) there: Path,
    pub(super) back: Path,
}

impl Engine {
    /// Keeps a decision about connections like the one that a packet has just opened, if there can be one. `effects` are
    /// those of its walk.
    pub(super) fn decide(&mut self, now: Timestamp, packet: &Packet, hold: &Hold, effects: &Effects) {
        if self.kernel.is_none() || !opens(packet) {
            return;
        }
        let L4::Ports { src: port, .. } = packet.l4 else {
            return;
        };
        let Some(translation) = translation(effects) else {
            return;
        };
        let ask = match translation {
            None => hold.key.any_source_port(),
            Some(_) => hold.key.any_port_of_block(),
        };
        let known = self.cache.decision(&ask);
        if known.is_some_and(|known| {
            known.ports.contains(&port) && self.cache.holds(known, &self.cells, now.0 as u32)
        }) {
            return;
        }
        if self.decide_about(now, packet, ask, translation, Some(hold.millis)) && translation.is_some() {
            self.decide_ahead(now, packet, &hold.key);
        }
    }

    /// Whether there is a decision about the block of ports that a packet with this key comes from.
    fn has_decision(&self, now: Timestamp, key: &Key) -> bool {
        let known = self.cache.decision(&key.any_port_of_block());
        known.is_some_and(|known| self.cache.holds(known, &self.cells, now.0 as u32))
    }

    /// Decides about connections that a packet's sender will open next, if it goes on as it has begun, for as many blocks of
    /// ports as it has just gone through: so only the first of several is walked.
    fn decide_ahead(&mut self, now: Timestamp, packet: &Packet, key: &Key) {
        let L4::Ports {
            src: port,
            dst,
            tcp_flags,
        } = packet.l4
        else {
            return;
        };
        let before = (1..=AHEAD).map_while(|nth| port.checked_sub(nth * BLOCK));
        let gone = before.take_while(|port| self.has_decision(now, &key.with_source_port(*port)));
        let ahead = 1..=gone.count() as u16;
        for port in ahead.filter_map(|nth| port.checked_add(nth * BLOCK)) {
            let key = key.with_source_port(port);
            if self.has_decision(now, &key) {
                continue;
            }
            if self.budget.is_scarce() {
                return;
            }
            let l4 = L4::Ports {
                src: port,
                dst,
                tcp_flags,
            };
            let ahead = Packet { l4, ..*packet };
            let outcome = self.walk_from_here(&self.flows, &ahead, now, &mut ());
            let Some(Some(translation)) = translation(&outcome.effects) else {
                return;
            };
            if !self.decide_about(now, &ahead, key.any_port_of_block(), Some(translation), None) {
                return;
            }
        }
    }

    /// Decides about connections like one that a packet opens, or would open; `hold` is for how many milliseconds the answer to
    /// it holds, if it has been given. Whether there is a decision now.
    fn decide_about(
        &mut self,
        now: Timestamp,
        packet: &Packet,
        ask: Key,
        translation: Option<(Slot, Mapping)>,
        hold: Option<u32>,
    ) -> bool {
        let L4::Ports { src: port, .. } = packet.l4 else {
            return false;
        };
        let cost = if translation.is_some() { DEAR } else { 1 };
        if !self.budget.take(now, cost) {
            return false;
        }
        let reserved = match &translation {
            None => None,
            // From outside nothing is given a port.
            Some((_, mapping)) if (packet.src, port) != (mapping.inside.into(), mapping.inside_port) => {
                return false;
            }
            Some((gateway, mapping)) => match self.flows.reserve(*gateway, mapping, now) {
                Some(reserved) => Some(reserved),
                None => return false,
            },
        };
        let decided = self.decided(now, packet, hold, translation, reserved.as_ref());
        let is_decided = decided.is_some();
        let unused = match decided {
            Some(Decided {
                decision,
                course,
                there,
                back,
            }) => self
                .cache
                .decide(ask, decision, course, there, back, &self.cells)
                .and_then(|unused| unused.translated.map(|translated| translated.reserved)),
            None => reserved.map(|reserved| reserved.id),
        };
        if let Some(id) = unused {
            self.flows.give_back(id, now, LINGER);
        }
        is_decided
    }

    /// Forgets decisions that do not hold any more, and those whose ports are wanted by others: a piece of all of them, which
    /// are gone over once a second.
    pub(super) fn sweep_decisions(&mut self, now: Timestamp) {
        if now >= self.decision_sweep.due {
            // The kernel may make flows by a decision until it is told that it has ended.
            if self.is_known(self.decision_sweep.seen) {
                self.cache.turn_grounds();
            }
            self.decision_sweep = DecisionSweep {
                due: now.plus_millis(DECISIONS_EVERY),
                left: self.cache.decision_places(),
                seen: self.next_made(),
            };
        }
        self.cache.let_grounds_go(GROUNDS_AT_ONCE);
        let end = self.decision_sweep.left;
        let start = end.saturating_sub(DECISIONS_AT_ONCE);
        self.decision_sweep.left = start;
        if start == end {
            return;
        }
        let flows = &self.flows;
        let crowded = |decision: &Decision| {
            let translated = decision.translated;
            translated.is_some_and(|translated| flows.is_crowded(translated.reserved))
        };
        let gone = self
            .cache
            .sweep_decisions(start..end, &self.cells, now.0 as u32, crowded);
        for translated in gone.iter().filter_map(|decision| decision.translated) {
            self.flows.give_back(translated.reserved, now, LINGER);
        }
    }

    /// Maps the connection that a packet opened at an earlier engine to the port that it has, so that what answers has this
    /// key. False where the port is somebody else's by now, or the way is another one.
    pub(super) fn map_again(&mut self, now: Timestamp, packet: &Packet, reply: &Key) -> bool {
        let L4::Ports { dst: port, .. } = reply.l4() else {
            return false;
        };
        let flows = &self.flows;
        let outcome = self.walk_from_here(&Given { flows, port }, packet, now, &mut ());
        let (Verdict::Forward(action), Some(sent)) = (&outcome.verdict, outcome.forwarded(packet)) else {
            return false;
        };
        let standing = self.ports.named(action.out);
        let answered = standing.is_some_and(|standing| Key::of_reply(standing.slot, &sent) == *reply);
        answered && self.commit(&outcome.effects, now, 0)
    }

    /// The answer for all connections like one that is on its way. `hold` is for how many milliseconds the answer to that
    /// one's packet holds; without it, there is none, and it is imagined.
    pub(super) fn decided(
        &mut self,
        now: Timestamp,
        packet: &Packet,
        hold: Option<u32>,
        translation: Option<(Slot, Mapping)>,
        reserved: Option<&Reserved>,
    ) -> Option<Decided> {
        let L4::Ports { src: port, .. } = packet.l4 else {
            return None;
        };
        // As if nothing were known of it: what passes because it belongs to a connection says nothing of others. An
        // answer's "opening", of UDP, would let every port of the server in.
        let mut hops: Vec<Hop> = Vec::new();
        let unknown = Unknown {
            flows: &self.flows,
            begun: None,
            reserved: translation,
        };
        let there = self.walk_from_here(&unknown, packet, now, &mut hops);
        let (Verdict::Forward(action), Some(sent)) = (&there.verdict, there.forwarded(packet)) else {
            return None;
        };
        // To itself, equal ports make one connection of what are two with others: its own way out lets it in. So it is
        // for whoever is asked in its own name: it answers itself.
        let to_itself = action.out == packet.ingress || sent.src == sent.dst;
        if to_itself || there.onward.is_some() {
            return None;
        }
        let L4::Ports { src: sent_port, .. } = sent.l4 else {
            return None;
        };
        let expected = translation.map_or(port, |(_, mapping)| mapping.outside_port);
        if self::translation(&there.effects) != Some(translation) || sent_port != expected {
            return None;
        }
        let reply = answer_to(&sent, action.out);
        let unknown = Unknown {
            begun: Some(&there.effects),
            ..unknown
        };
        let back = self.walk_from_here(&unknown, &reply, now, &mut hops);
        let standing = self.ports.named(action.out)?;
        let reply_key = Key::of_reply(standing.slot, &sent);
        let returned = back.forwarded(&reply).is_some_and(|returned| {
            let turned = answer_to(packet, packet.ingress);
            (returned.src, returned.dst, returned.l4) == (turned.src, turned.dst, turned.l4)
        });
        let answers_itself = matches!(back.verdict, Verdict::Forward(way) if way.out == reply.ingress);
        if !returned || answers_itself || back.onward.is_some() {
            return None;
        }
        let hold = match hold {
            // The connection itself is tracked by now: how long its answers hold is how long those of others will.
            Some(hold) => self
                .walk_from_here(&self.flows, &reply, now, &mut ())
                .hold
                .min(hold),
            None => there.hold.min(back.hold).min(LONGEST_HOLD),
        };
        if hold == 0 {
            return None;
        }
        let mut ports = self.fabric.alike(&hops, port)?;
        if let Some(reserved) = reserved {
            // Both sides' ports, told by the low byte.
            let (inside, outside) = (port & !(BLOCK - 1), sent_port & !(BLOCK - 1));
            let seen = self.fabric.alike(&hops, sent_port)?;
            let lowest = seen.start().saturating_sub(outside);
            let highest = (seen.end() - outside).min(BLOCK - 1);
            ports = *ports.start().max(reserved.inside.start()).max(&(inside | lowest))
                ..=*ports.end().min(reserved.inside.end()).min(&(inside | highest));
        }
        let course = self
            .fabric
            .course(packet, &sent, action.out, &there.effects, &back.effects);
        let (there, there_number) = self.leads(packet, &there)?;
        let (back, back_number) = self.leads(&reply, &back)?;
        let plain = [there.role, back.role] == [PortRole::None; 2];
        let by_number = [(there.role, there_number), (back.role, back_number)]
            == [(PortRole::Source, sent_port), (PortRole::Destination, port)];
        // Where a gateway puts a port for itself, a path does not tell that there is one.
        let as_kept = if reserved.is_some() { by_number } else { plain };
        if !as_kept {
            return None;
        }
        let decision = Decision {
            there: (0, 0),
            back: (0, 0),
            reply: reply_key.any_destination_port(),
            ports,
            translated: reserved.map(|reserved| Translated {
                block: sent_port & !(BLOCK - 1),
                reserved: reserved.id,
            }),
            expires: (now.0 as u32).wrapping_add(DECISION_HOLD),
            hold,
            number: 0,
        };
        Some(Decided {
            decision,
            course,
            there,
            back,
        })
    }
}
