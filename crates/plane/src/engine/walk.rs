//! The way of a packet that no kept answer covers: it is walked, and what the walk says is done and kept.

use atoll_fabric::flows::Effect;
use atoll_fabric::{
    Action, Answer, CellId, Cells, Drop, Effects, FlowView, Fragment, L4, Outcome, Packet, Place, Port,
    Quote, Stage, Verdict, Wire,
};
use atoll_model::Timestamp;
use atoll_net::packet::{
    self, Headers, IcmpError, RewriteError, Transport, TransportChecksum, clamp_mss, complete_checksum,
    complete_crc, fragment, icmp_error, lower_hop_limit, rewrite, rewrite_quote, set_macs, tcp_reset,
};

use super::buckets::{Buckets, Sender};
use super::wire::Exit;
use super::{Emission, Engine, Ip, Outbox, l4};
use crate::cache::{Key, Path, PortRole};
use crate::drops::DropVerdicts;
use crate::elsewhere::Incoming;
use crate::vnet::{self, Vnet};

/// How often a walk is repeated whose effects could not be committed.
const ATTEMPTS: usize = 4;
/// Longest that an answer is kept without a walk, in milliseconds: bounds what a tracked connection's end takes
/// to be noticed by the tables.
pub(super) const LONGEST_HOLD: u32 = 60_000;

impl Engine {
    /// Walks a packet and does what comes of it. `data` is the vnet header and the frame.
    pub(super) fn walk(&mut self, now: Timestamp, ip: &Ip, data: &mut [u8], index: usize, out: &mut Outbox) {
        let Some(frame) = data.get_mut(vnet::LENGTH..) else {
            return;
        };
        if matches!(ip.headers.transport, Transport::Icmp { .. })
            && ip.headers.src.is_ipv6()
            && self.discovery(ip, frame, out)
        {
            return;
        }
        if ip.headers.fragment.is_some() {
            self.walk_fragment(now, ip, data, index, out);
            return;
        }
        let packet = describe(ip, frame, ip.headers.protocol, l4(ip.headers.transport));
        self.take_up_of(now, ip.standing.slot, &packet);
        if let Some((key, hash)) = &ip.key
            && !packet.always_walks()
            && let Some(kept) = self.verdicts.find(key, *hash, &packet, &self.cells, now)
        {
            let drop = kept.drop;
            if self.kernel.is_some() && !std::mem::replace(&mut kept.shared, true) {
                self.used_drops.push(*kept);
                // What is kept of the flow from before it was dropped would come first.
                self.cache.forget(key);
            }
            self.counters.drop_hits += 1;
            self.dropped(now, packet.ingress, Some(&packet), &drop);
            return;
        }
        // A flow that is known is walked again at once; what comes new waits for its port's turn.
        let known = ip.found.is_some() && !packet.always_walks();
        if !known && !self.misses.take(ip.sender(), now) {
            self.refused(now, packet.ingress, 1);
            return;
        }
        self.walk_packet(now, ip, &packet, data, Some(index), out);
    }

    /// Has the rules judge a packet and does what they say. `index` is its place in the batch, if it lies there.
    pub(super) fn walk_packet(
        &mut self,
        now: Timestamp,
        ip: &Ip,
        packet: &Packet,
        data: &mut [u8],
        index: Option<usize>,
        out: &mut Outbox,
    ) {
        let Some((header, frame)) = data.split_first_chunk_mut::<{ vnet::LENGTH }>() else {
            return;
        };
        let (verdict, onward) = self.judge(now, ip.key, packet, ip.from.as_ref());
        match verdict {
            Verdict::Forward(action) => {
                let Some(exit) = self.exit(action.out, onward.as_deref()) else {
                    self.not_here(now, packet, action.out);
                    return;
                };
                let made = Made { header, frame, index };
                if let Err(stage) = self.send(ip, packet, &action, &exit, made, out) {
                    let drop = Drop {
                        stage,
                        at: place_of(action.out),
                        rule: None,
                        answer: None,
                    };
                    self.dropped(now, packet.ingress, Some(packet), &drop);
                } else if onward.is_some() {
                    self.counters.sent_elsewhere += 1;
                } else {
                    self.counters.ended(
                        match action.out {
                            Port::Internet => Stage::ExitsToInternet,
                            Port::Eni(_) => Stage::Delivered,
                        },
                        1,
                    );
                }
            }
            Verdict::Drop(drop) => {
                self.dropped(now, packet.ingress, Some(packet), &drop);
                if let Some(answer) = drop.answer {
                    self.answer(now, ip, frame, answer, out);
                }
            }
        }
    }

    /// Walks, commits, and keeps the answer. Where the way goes on elsewhere, what is sent there comes with it.
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        key: Option<(Key, u64)>,
        packet: &Packet,
        from: Option<&Incoming>,
    ) -> (Verdict, Option<Box<Wire>>) {
        self.counters.walks += 1;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let outcome = match from {
                None => self.walk_from_here(&self.flows, packet, now, &mut ()),
                Some(from) => match self.walk_from_elsewhere(from, packet, now, &mut ()) {
                    Some(outcome) => outcome,
                    None => {
                        return (
                            Verdict::Drop(super::unread(packet.ingress, Stage::NoSuchAddress)),
                            None,
                        );
                    }
                },
            };
            let mut hold = self.holds(key.map(|(key, _)| key), packet, &outcome);
            if let (Some(hold), Some(_)) = (&mut hold, from) {
                // They say whose it is, also where no interface let it go.
                hold.path.macs = Some((packet.src_mac, packet.dst_mac));
            }
            let changed = self.changes_flows(&outcome.effects, now);
            let kept = match outcome.verdict {
                Verdict::Forward(_) => hold.as_ref().map_or(0, |hold| hold.millis),
                Verdict::Drop(_) => outcome.hold.min(DropVerdicts::LONGEST),
            };
            if !self.commit(&outcome.effects, now, kept) {
                last = Some(outcome);
                continue;
            }
            if changed {
                self.forget_pair(key, packet, &outcome);
            }
            // Connections with other hosts are walked one by one.
            if let (Some(hold), None, None) = (&hold, &outcome.onward, from) {
                self.decide(now, packet, hold, &outcome.effects);
            }
            self.keep(
                now,
                key.filter(|_| from.is_none() || hold.is_some()),
                packet,
                &outcome,
                hold,
            );
            return (outcome.verdict, outcome.onward);
        }
        // Refused again and again though every walk found room: the tables are full.
        let at = match last.map(|outcome| outcome.verdict) {
            Some(Verdict::Drop(drop)) => return (Verdict::Drop(drop), None),
            _ => place_of(packet.ingress),
        };
        let full = Drop {
            stage: Stage::TableFull,
            at,
            rule: None,
            answer: None,
        };
        (Verdict::Drop(full), None)
    }

    /// Has effects happen, and written down; false if they were refused, maybe half way. What was dropped for want of a
    /// connection that begins is walked again, also where half of them stands.
    pub(super) fn commit(&mut self, effects: &Effects, now: Timestamp, held: u32) -> bool {
        let committed = self.flows.commit(effects, now, held).is_ok();
        self.write_down(now);
        let stands = |effect: &Effect| match effect {
            Effect::Track { owner, key, .. } => self.flows.tracked(*owner, key, now).is_some(),
            Effect::Map { gateway, mapping, .. } => self.flows.mapped(*gateway, mapping, now).is_some(),
        };
        if committed
            || effects
                .iter()
                .any(|effect| effect.begun().is_some() && stands(effect))
        {
            self.cells.begin(effects);
        }
        committed
    }

    /// Whether committing effects does more than refresh: a connection is new, or in another state.
    fn changes_flows(&self, effects: &Effects, now: Timestamp) -> bool {
        effects.iter().any(|effect| match effect {
            Effect::Track {
                owner, key, state, ..
            } => self.flows.tracked(*owner, key, now) != Some(*state),
            Effect::Map {
                gateway,
                mapping,
                state,
                ..
            } => self.flows.mapped(*gateway, mapping, now) != Some((*mapping, *state)),
        })
    }

    /// Forgets what is kept for both directions of a flow whose state has changed.
    fn forget_pair(&mut self, key: Option<(Key, u64)>, packet: &Packet, outcome: &Outcome) {
        if let Some((key, _)) = &key {
            self.cache.forget(key);
        }
        if let (Verdict::Forward(action), Some(sent)) = (&outcome.verdict, outcome.forwarded(packet)) {
            for slot in self.slots_of(action.out, outcome.onward.as_deref()) {
                self.cache.forget(&Key::of_reply(slot, &sent));
            }
        }
    }

    /// How the answer to a packet may be kept in the flow cache.
    pub(super) fn holds(&mut self, key: Option<Key>, packet: &Packet, outcome: &Outcome) -> Option<Hold> {
        let key = key?;
        if !outcome.cacheable() {
            return None;
        }
        let (path, number) = self.leads(packet, outcome)?;
        Some(Hold {
            key,
            path,
            number,
            millis: outcome.hold.min(LONGEST_HOLD),
        })
    }

    /// How the packets of a flow are forwarded, and the flow's number, if one answer can say it for all.
    pub(super) fn leads(&mut self, packet: &Packet, outcome: &Outcome) -> Option<(Path, u16)> {
        self.leads_again(packet, outcome, Cells::EVERYTHING)
    }

    /// The same, where an answer mostly depends on what it depended on `before`.
    pub(super) fn leads_again(
        &mut self,
        packet: &Packet,
        outcome: &Outcome,
        before: CellId,
    ) -> Option<(Path, u16)> {
        let Verdict::Forward(action) = &outcome.verdict else {
            return None;
        };
        if packet.quote.is_some() || packet.fragment.is_some() || !action.quote.is_empty() {
            return None;
        }
        let exit = self.exit(action.out, outcome.onward.as_deref())?;
        let (role, number) = match (
            action.rewrite.src_port,
            action.rewrite.dst_port,
            action.rewrite.icmp_id,
        ) {
            (None, None, None) => (PortRole::None, 0),
            (Some(port), None, None) => (PortRole::Source, port),
            (None, Some(port), None) => (PortRole::Destination, port),
            (None, None, Some(id)) => (PortRole::IcmpId, id),
            // Two numbers find no room in an entry.
            _ => return None,
        };
        let cell = self.cells.intern_again(before, &outcome.dependencies);
        let (src_mac, dst_mac) = exit.macs(action);
        let path = Path {
            macs: match packet.ingress {
                Port::Eni(_) => Some((packet.src_mac, packet.dst_mac)),
                Port::Internet => None,
            },
            out: exit.slot(),
            ifindex: exit.ifindex(),
            exits: action.out == Port::Internet && outcome.onward.is_none(),
            src_mac,
            dst_mac,
            rewrite: packet::Rewrite {
                src: action.rewrite.src,
                dst: action.rewrite.dst,
                ..packet::Rewrite::default()
            },
            role,
            hop_limit_decrement: action.hop_limit_decrement,
            mtu: action.mtu,
            cell,
            tunnel: exit.label(),
        };
        Some((path, number))
    }

    fn keep(
        &mut self,
        now: Timestamp,
        key: Option<(Key, u64)>,
        packet: &Packet,
        outcome: &Outcome,
        hold: Option<Hold>,
    ) {
        match (&outcome.verdict, hold) {
            (Verdict::Forward(_), Some(hold)) => {
                let at = now.0 as u32;
                let until = at.wrapping_add(hold.millis);
                // Without room the flow is walked packet by packet.
                self.cache
                    .keep(&hold.key, hold.path, hold.number, &self.cells, at, until);
            }
            (Verdict::Drop(drop), _) => {
                if let Some(keyed) = key {
                    let cell = self.cells.intern(&outcome.dependencies);
                    let generation = self.cells.generation(cell);
                    self.verdicts
                        .keep(keyed, packet, drop, (cell, generation), now, outcome.hold);
                }
            }
            _ => {}
        }
    }

    /// The way out is not on this host.
    fn not_here(&mut self, now: Timestamp, packet: &Packet, out: Port) {
        let drop = Drop {
            stage: Stage::NotRunning,
            at: place_of(out),
            rule: None,
            answer: None,
        };
        self.dropped(now, packet.ingress, Some(packet), &drop);
    }

    /// Rewrites a packet and sends it, cut where the path wants that.
    fn send(
        &mut self,
        ip: &Ip,
        packet: &Packet,
        action: &Action,
        exit: &Exit,
        made: Made<'_>,
        out: &mut Outbox,
    ) -> Result<(), Stage> {
        let Made { header, frame, index } = made;
        let unfit = |_: RewriteError| Stage::Malformed;
        let checksum = ip.offloads.checksum;
        let headers = &ip.headers;
        if !action.quote.is_empty()
            && let Some(quote) = packet::quote(frame, headers)
        {
            rewrite_quote(frame, headers, &quote, &plain(&action.quote), checksum).map_err(unfit)?;
        }
        rewrite(frame, headers, &plain(&action.rewrite), checksum).map_err(unfit)?;
        lower_hop_limit(frame, headers, action.hop_limit_decrement).map_err(unfit)?;
        if let Some(mss) = action.clamp_mss {
            clamp_mss(frame, headers, mss, checksum).map_err(unfit)?;
        }
        let (src_mac, dst_mac) = exit.macs(action);
        set_macs(frame, src_mac, dst_mac).map_err(unfit)?;
        if packet.length <= action.mtu {
            out.push(match (index, exit) {
                (Some(index), Exit::Port(standing)) => Emission::Received {
                    ifindex: standing.ifindex,
                    index,
                },
                _ => exit.emit(header, frame),
            });
            return Ok(());
        }
        // semantics 129: what its sender allows to be cut is cut. Addresses have changed, lengths and offsets have not.
        let segments = match ip.offloads.segment_length {
            // As a router does: each packet that the super-segment stands for is cut by itself.
            Some(length) => packet::segment(frame, headers, length).map_err(|_| Stage::MtuExceeded)?,
            None => {
                if checksum == TransportChecksum::Partial {
                    let offset = match headers.transport {
                        Transport::Tcp { .. } => Some(16),
                        Transport::Udp { .. } => Some(6),
                        Transport::Icmp { .. } => Some(2),
                        Transport::Other | Transport::LaterFragment => None,
                    };
                    match offset {
                        Some(offset) => complete_checksum(frame, headers, headers.transport_at, offset),
                        None => complete_crc(frame, headers),
                    }
                    .map_err(unfit)?;
                }
                vec![frame.get(..headers.end).ok_or(Stage::Malformed)?.to_vec()]
            }
        };
        for segment in segments {
            let of_it = Headers {
                end: segment.len(),
                ..*headers
            };
            for piece in fragment(&segment, &of_it, action.mtu).map_err(|_| Stage::MtuExceeded)? {
                out.push(exit.emit(&Vnet::PLAIN, &piece));
            }
        }
        Ok(())
    }

    /// Sends an answer back to where a packet came from. The rules have let it pass already.
    fn answer(&mut self, now: Timestamp, ip: &Ip, frame: &[u8], answer: Answer, out: &mut Outbox) {
        let headers = &ip.headers;
        let reply = match answer {
            Answer::TooBig { from, mtu } => icmp_error(frame, headers, from, IcmpError::PacketTooBig { mtu }),
            Answer::TimeExceeded { from } => icmp_error(frame, headers, from, IcmpError::TimeExceeded),
            Answer::Reset => tcp_reset(frame, headers),
        };
        let Some(reply) = reply else {
            return;
        };
        if !self.answers.take(ip.sender(), now) {
            self.counters.answers_withheld += 1;
            return;
        }
        let exit = match &ip.from {
            None => Exit::Port(ip.standing),
            Some(from) => match self.back_to(from) {
                Some(exit) => exit,
                None => return,
            },
        };
        self.counters.answers += 1;
        out.push(exit.emit(&Vnet::PLAIN, &reply));
    }
}

/// An answer that may be kept.
pub(super) struct Hold {
    pub key: Key,
    pub path: Path,
    pub number: u16,
    pub millis: u32,
}

/// A frame to rewrite where it lies.
struct Made<'a> {
    header: &'a mut [u8; vnet::LENGTH],
    frame: &'a mut [u8],
    /// Its place in the batch, if it lies there.
    index: Option<usize>,
}

/// What the rules see of a packet whose protocol and ports are those.
pub(super) fn describe(ip: &Ip, frame: &[u8], protocol: u8, transport: L4) -> Packet {
    let headers = &ip.headers;
    Packet {
        ingress: ip.standing.attachment.port(),
        src_mac: headers.src_mac,
        dst_mac: headers.dst_mac,
        src: headers.src,
        dst: headers.dst,
        protocol,
        l4: transport,
        hop_limit: headers.hop_limit,
        length: ip.wire_length(),
        dont_fragment: headers.dont_fragment,
        fragment: headers.fragment.map(|f| Fragment {
            id: f.id,
            offset: f.offset,
            more: f.more,
        }),
        quote: packet::quote(frame, headers).map(|quote| Quote {
            src: quote.src,
            dst: quote.dst,
            protocol: quote.protocol,
            l4: l4(quote.transport),
        }),
    }
}

fn place_of(port: Port) -> Place {
    match port {
        Port::Eni(eni) => Place::Interface(eni),
        Port::Internet => Place::Internet,
    }
}

fn plain(rewrite: &atoll_fabric::Rewrite) -> packet::Rewrite {
    packet::Rewrite {
        src: rewrite.src,
        dst: rewrite.dst,
        src_port: rewrite.src_port,
        dst_port: rewrite.dst_port,
        icmp_id: rewrite.icmp_id,
    }
}

/// How many answers each port may still cause: a token bucket of 100 a second, 50 at once (RFC 4443 section 2.4f
/// wants such a bound); the internet and other hosts some times that.
#[derive(Debug, Default)]
pub(super) struct AnswerBudget {
    pub(super) buckets: Buckets,
}

/// Most answers at once, in thousandths.
const BURST: u64 = 50_000;
/// Thousandths of an answer that a millisecond brings.
const RATE: u64 = 100;

impl AnswerBudget {
    fn take(&mut self, sender: Sender, now: Timestamp) -> bool {
        let parts = u64::from(sender.parts());
        self.buckets.take(sender, RATE * parts, BURST * parts, now)
    }
}
