//! The engine: takes batches of frames, forwards what a kept answer covers, walks the rest.
//!
//! No sockets and no clock here: frames, time and changes are given, what is to be sent is left in an
//! [`Outbox`]. `batch.rs` takes the frames of a batch and asks for the memory that they will need, `forward.rs` is the way
//! of a kept answer, `walk.rs` that of a packet which has none, `neighbour.rs` answers ARP and neighbour discovery,
//! `revalidate.rs` looks at stale answers again,
//! `fragment.rs` brings the pieces of a packet together with what their first one says, `decide.rs` and `made.rs` are about
//! what the kernel does by itself.

mod batch;
mod buckets;
mod decide;
mod forward;
mod fragment;
mod made;
mod misses;
mod neighbour;
#[cfg(test)]
pub(crate) mod opened;
mod places;
mod revalidate;
mod walk;
mod wire;

use std::path::Path;

use atoll_fabric::{Cells, Drop, Fabric, Flows, L4, Limits, Packet, Place, Port, Stage};
use atoll_model::{Delta, Timestamp};
use atoll_net::packet::arp::Arp;
use atoll_net::packet::{Frame, Headers, Transport, complete_checksum, parse};

use crate::PlaneError;
use crate::cache::{FlowCache, Found, Key};
use crate::counters::Counters;
use crate::drops::{DropVerdicts, KeptDrop, RecentDrops};
use crate::elsewhere::{Elsewhere, Incoming, Seal};
use crate::fast::Changes;
use crate::fragments::Fragments;
use crate::journal::{Journal, prolonged};
use crate::port::{Attachment, PortSlot, Ports, Standing};
use crate::sys::ring::Received;
use crate::vnet::{self, Offloads, Vnet};
use batch::Glance;
use buckets::Sender;
use decide::{Budget, DecisionSweep};
use made::Fresh;
pub(crate) use made::{Kernel, Life, Made, Seen, Way};
use misses::Misses;
pub(crate) use misses::{Allowance, Share};
use revalidate::Revalidation;
use walk::AnswerBudget;

/// How much the engine keeps. All of it is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// The state of flows.
    pub flows: Limits,
    /// Kept answers for IPv4 packets, one a direction, 32 bytes each. A full cache costs walks, not packets.
    pub ipv4_entries: usize,
    /// Kept answers for IPv6 packets, one a direction, 64 bytes each.
    pub ipv6_entries: usize,
    /// Different ways that kept answers lead.
    pub paths: usize,
    /// Sets of components that answers depend on.
    pub cells: usize,
    /// Drop verdicts kept.
    pub drop_verdicts: usize,
    /// Recent drops kept to be looked at.
    pub recent_drops: usize,
    /// Packets on their way in pieces: so many whose first piece is known, and so many that wait for theirs, with
    /// 4 KiB each on average. An interface gets a sixteenth of that, the internet a half.
    pub fragments: usize,
}

impl Capacity {
    /// For a host: a million connections. Memory is taken as it is used.
    pub const HOST: Capacity = Capacity {
        flows: Limits::HOST,
        ipv4_entries: 2_000_000,
        ipv6_entries: 400_000,
        paths: 262_144,
        cells: 262_144,
        drop_verdicts: 4096,
        recent_drops: 1024,
        fragments: 4096,
    };

    /// For a test.
    pub const SMALL: Capacity = Capacity {
        flows: Limits::SMALL,
        ipv4_entries: 4096,
        ipv6_entries: 4096,
        paths: 1024,
        cells: 1024,
        drop_verdicts: 64,
        recent_drops: 64,
        fragments: 1024,
    };
}

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emission {
    /// A received one of this batch, from where it lies, rewritten.
    Received {
        /// The interface to send it by.
        ifindex: u32,
        /// Its place in the batch.
        index: usize,
    },
    /// One that was made.
    Made {
        /// The interface to send it by.
        ifindex: u32,
        /// Vnet header and frame.
        data: Vec<u8>,
    },
}

/// What a batch of frames leads to, in order.
pub type Outbox = Vec<Emission>;

/// Rules, state and ports of one host, without sockets, threads and clock: it can be stepped under a seed.
/// [`crate::Plane`] runs one.
pub struct Engine {
    pub(crate) fabric: Fabric,
    pub(crate) flows: Flows,
    pub(crate) ports: Ports,
    pub(crate) counters: Counters,
    pub(crate) recent: RecentDrops,
    pub(crate) cells: Cells,
    pub(crate) cache: FlowCache,
    verdicts: DropVerdicts,
    fragments: Fragments<fragment::Held>,
    answers: AnswerBudget,
    misses: Misses,
    /// Drop verdicts that were used, for the kernel.
    used_drops: Vec<KeptDrop>,
    capacity: Capacity,
    /// When full cells may be looked through again.
    cells_due: Timestamp,
    glances: Vec<Glance>,
    /// Where the state of flows is written down, if it is.
    journal: Option<Journal>,
    /// Asks the kernel about a flow, where it takes part.
    kernel: Option<Box<dyn Kernel>>,
    fresh: Fresh,
    budget: Budget,
    decision_sweep: DecisionSweep,
    revalidation: Revalidation,
    elsewhere: Elsewhere,
}

/// How often full cells are looked through for unused ones, in milliseconds.
const CELLS_EVERY: u64 = 10_000;

/// An IP packet of the batch.
#[derive(Clone, Copy)]
pub(crate) struct Ip {
    pub standing: Standing,
    /// What was around it, if it came from another host. The port is the sender's then, and stands there.
    pub from: Option<Incoming>,
    pub headers: Headers,
    pub offloads: Offloads,
    /// `None` for a fragment.
    pub key: Option<(Key, u64)>,
    /// What is kept for the key.
    pub found: Option<Found>,
}

impl Ip {
    #[inline]
    fn wire_length(&self) -> u32 {
        wire_length(&self.headers, self.offloads)
    }

    /// Of whose share it is.
    fn sender(&self) -> Sender {
        match &self.from {
            Some(from) => Sender::Host(from.host),
            None => Sender::at(self.standing.slot, self.standing.attachment.port()),
        }
    }
}

impl Engine {
    /// An engine without rules and ports. `seed` makes the tables' order unforeseeable to tenants.
    pub fn new(fabric: Fabric, mut capacity: Capacity, seed: u64, now: Timestamp) -> Engine {
        capacity.flows.seed = seed.rotate_left(32);
        Engine {
            fabric,
            flows: Flows::new(capacity.flows, now),
            ports: Ports::default(),
            counters: Counters::default(),
            recent: RecentDrops::new(capacity.recent_drops),
            cells: Cells::new(capacity.cells),
            cache: FlowCache::new(capacity.ipv4_entries, capacity.ipv6_entries, capacity.paths, seed),
            verdicts: DropVerdicts::new(capacity.drop_verdicts),
            fragments: Fragments::new(capacity.fragments),
            answers: AnswerBudget::default(),
            misses: Misses::default(),
            used_drops: Vec::new(),
            capacity,
            cells_due: now,
            glances: Vec::new(),
            journal: None,
            kernel: None,
            fresh: Fresh::default(),
            budget: Budget::default(),
            decision_sweep: DecisionSweep::new(now),
            revalidation: Revalidation::default(),
            elsewhere: Elsewhere::new(Seal::of(seed)),
        }
    }

    /// Takes up what an earlier process knew of flows and wrote down at a path, and has every change written down there
    /// from now on. To be called before there are rules: those that come find their owners' flows here. `nonce` tells the
    /// file from others.
    ///
    /// # Errors
    /// When the file cannot be made, or cannot take the place of the one that was found.
    pub fn remember(&mut self, path: &Path, nonce: u64, now: Timestamp) -> std::io::Result<()> {
        let (mut journal, recovered) = Journal::open(path, &self.capacity.flows, nonce)?;
        self.flows.watch();
        for (nth, (owner, remembered)) in recovered.remembered.into_iter().enumerate() {
            let slot = self.fabric.promise(owner);
            journal.name(owner, slot);
            let until = prolonged(remembered.until(), recovered.alive, now);
            self.flows.restore(&remembered.moved(slot, until), now);
            if nth % 32 == 31 {
                journal.write(&mut self.flows, now);
            }
        }
        journal.write(&mut self.flows, now);
        journal.beat(now);
        journal.begin()?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Says that all rows have come: flows whose owners have not are forgotten.
    pub(crate) fn settle(&mut self) {
        let changed = self.fabric.settle();
        self.forget(&changed);
    }

    fn forget(&mut self, changed: &atoll_fabric::Changed) {
        if let Some(journal) = &mut self.journal {
            journal.follow(changed);
        }
        self.flows.forget(changed);
        self.flows.join(changed);
    }

    /// Has what changed of flows written down.
    fn write_down(&mut self, now: Timestamp) {
        if let Some(journal) = &mut self.journal {
            journal.write(&mut self.flows, now);
        }
    }

    /// Whether the state of flows is written down.
    pub(crate) fn remembers(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_kept)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The kernel takes part: has what changes kept for [`Engine::take_changes`], and decides for new connections.
    pub(crate) fn watch(&mut self, kernel: Box<dyn Kernel>) {
        self.kernel = Some(kernel);
        self.cache.watch();
        self.cells.watch();
        self.ports.watch();
    }

    /// Moves out what changed since the last call.
    pub(crate) fn take_changes(&mut self, into: &mut Changes) {
        self.cache.take_changes(&mut into.keys, &mut into.paths);
        self.cache.take_renewed(&mut into.renewed);
        self.cells.take_risen(&mut into.cells);
        self.ports.take_changes(&mut into.ports);
        self.cache.take_changed_decisions(&mut into.decisions);
        into.drops.append(&mut self.used_drops);
        self.elsewhere.take_changes(&mut into.wires);
    }

    /// Takes a change of configuration in. Answers that depend on what it changed are stale at once.
    pub fn apply(&mut self, delta: &Delta) {
        let changed = self.fabric.apply(delta);
        if !self.cells.bump(&changed).is_empty() {
            self.revalidation.begin(&self.cache);
        }
        self.forget(&changed);
    }

    /// A port stands.
    ///
    /// # Errors
    /// [`PlaneError::TooManyPorts`].
    pub fn port_up(&mut self, ifindex: u32, attachment: Attachment) -> Result<(), PlaneError> {
        let (_, replaced) = self.ports.up(ifindex, attachment)?;
        for slot in replaced {
            self.cache.forget_port(slot);
            self.answers.buckets.forget(slot);
            self.misses.buckets.forget(slot);
            self.fragments.forget(slot);
        }
        Ok(())
    }

    /// A port is gone.
    pub fn port_down(&mut self, ifindex: u32) {
        if let Some(slot) = self.ports.down(ifindex) {
            self.cache.forget_port(slot);
            self.answers.buckets.forget(slot);
            self.misses.buckets.forget(slot);
            self.fragments.forget(slot);
        }
    }

    /// Answers and paths kept.
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.paths())
    }

    /// Forgets what is over; `budget` bounds the work. To be called every few milliseconds.
    pub fn sweep(&mut self, now: Timestamp, budget: usize) {
        self.flows.expire(now, budget);
        self.write_down(now);
        if let Some(journal) = &mut self.journal {
            journal.beat(now);
        }
        self.cache.sweep(&self.cells, now.0 as u32, budget);
        self.misses.relax(now);
        self.fragments.sweep(now, budget);
        self.count_lost_fragments(now);
        self.take_up_due(now);
        self.count_made();
        if self.kernel.is_some() {
            self.sweep_decisions(now);
        }
        // The one step whose work no budget bounds, so it is a rare one; until it is made, new answers share a cell
        // that every change bumps.
        if self.cells.len() >= self.capacity.cells && now >= self.cells_due {
            self.cells_due = now.plus_millis(CELLS_EVERY);
            let used = self.cache.cells();
            self.cells.retain(|cell| used.contains(&cell));
        }
    }

    /// Reads a frame, and forwards it by what a glance has found if that `holds`. Inlined with what it calls, so that
    /// what most packets are asked never leaves the registers.
    #[inline(always)]
    fn receive(
        &mut self,
        now: Timestamp,
        glance: &Glance,
        holds: bool,
        inbound: &mut Received<'_>,
        index: usize,
        out: &mut Outbox,
    ) {
        let Some(slot) = glance.slot else {
            return self.receive_from_elsewhere(now, inbound, index, out);
        };
        self.counters.packets += 1;
        let Some((vnet, frame)) = Vnet::split(inbound.data) else {
            return self.malformed(now, slot);
        };
        self.counters.bytes += frame.len() as u64;
        if inbound.tagged || inbound.truncated {
            return self.malformed(now, slot);
        }
        match parse(frame) {
            Ok(Frame::Ip(headers)) => {
                let forwarded = if let (Some((key, _)), Some(found)) = (&glance.key, &glance.found)
                    && holds
                    && key.is_of(&headers)
                    && let Ok(offloads) = vnet.offloads(&headers)
                {
                    self.forward(now, &headers, offloads, found, frame, index, out)
                } else {
                    false
                };
                if !forwarded {
                    self.look_up(now, slot, (vnet, headers), inbound.data, index, out);
                }
            }
            Ok(Frame::Arp(arp)) => self.arp(slot, arp, out),
            Err(_) => self.malformed(now, slot),
        }
    }

    /// A packet that no glance has found an answer for: it may have one all the same, else it is walked.
    #[inline(never)]
    fn look_up(
        &mut self,
        now: Timestamp,
        slot: PortSlot,
        (vnet, headers): (Vnet, Headers),
        data: &mut [u8],
        index: usize,
        out: &mut Outbox,
    ) {
        let Some(standing) = self.ports.get(slot).copied() else {
            return;
        };
        let offloads = vnet
            .offloads(&headers)
            .or_else(|_| finish_within(&vnet, &headers, data));
        let Ok(offloads) = offloads else {
            return self.malformed(now, slot);
        };
        let key = Key::of_headers(slot, &headers).map(|key| (key, self.cache.hash(&key)));
        let ip = Ip {
            standing,
            from: None,
            headers,
            offloads,
            key,
            found: key.and_then(|(key, hash)| self.cache.find(&key, hash)),
        };
        if let (Some(found), Some(frame)) = (&ip.found, data.get_mut(vnet::LENGTH..))
            && self.forward(now, &ip.headers, offloads, found, frame, index, out)
        {
            return;
        }
        self.walk(now, &ip, data, index, out);
    }

    #[cold]
    fn arp(&mut self, slot: PortSlot, arp: Arp, out: &mut Outbox) {
        if let Some(standing) = self.ports.get(slot).copied() {
            self.answer_arp(&standing, &arp, out);
        }
    }

    #[cold]
    fn malformed(&mut self, now: Timestamp, slot: PortSlot) {
        let Some(standing) = self.ports.get(slot) else {
            return;
        };
        let ingress = standing.attachment.port();
        self.dropped(now, ingress, None, &unread(ingress, Stage::Malformed));
    }

    /// Counts a drop and keeps it to be looked at.
    fn dropped(&mut self, now: Timestamp, ingress: Port, packet: Option<&Packet>, drop: &Drop) {
        self.counters.ended(drop.stage, 1);
        self.recent.add(now, ingress, packet, drop, 1);
    }

    /// The kernel has dropped packets by a verdict that was made here.
    pub(crate) fn dropped_before(&mut self, now: Timestamp, packet: &Packet, drop: &Drop, count: u64) {
        self.counters.ended(drop.stage, count);
        self.recent.add(now, packet.ingress, Some(packet), drop, count);
    }

    /// Packets that cost a walk, or about as much.
    pub(crate) fn toil(&self) -> u64 {
        self.counters.walks + self.counters.fragments_waited
    }

    /// Walks keep packets waiting: ports get no more than their share from now on.
    pub(crate) fn crowded(&mut self, now: Timestamp) {
        self.misses.crowded(now);
    }

    /// How many packets may come up in some milliseconds by an interface, or from another host; `None` if all of them.
    pub(crate) fn allowance(&self, millis: u32) -> Option<impl Fn(Share) -> Allowance> {
        let of = self.misses.allowance(millis)?;
        Some(move |share| match share {
            Share::Host(host) => of(Sender::Host(host)),
            Share::Port(ifindex) => {
                let standing = self.ports.at(ifindex);
                of(
                    standing.map_or(Sender::Port(PortSlot::ELSEWHERE, false), |standing| {
                        Sender::at(standing.slot, standing.attachment.port())
                    }),
                )
            }
        })
    }

    /// The kernel has refused packets, by what was allowed.
    pub(crate) fn refused_before(&mut self, now: Timestamp, share: Share, count: u64) {
        let ingress = match share {
            Share::Port(ifindex) => match self.ports.at(ifindex) {
                Some(standing) => standing.attachment.port(),
                None => return,
            },
            // Whose they were, nobody has looked.
            Share::Host(_) => Port::Internet,
        };
        self.misses.refused(now);
        self.refused(now, ingress, count);
    }

    /// A port has sent more that was to be walked than its share. The records of all such packets are one, so that a
    /// flood leaves the others' theirs.
    fn refused(&mut self, now: Timestamp, ingress: Port, count: u64) {
        let drop = unread(ingress, Stage::TableFull); // semantics 48
        self.counters.misses_refused += count;
        self.counters.ended(drop.stage, count);
        self.recent.add(now, ingress, None, &drop, count);
    }
}

/// Bytes of the longest IP packet that one stands for on the wire (semantics 129, 130).
#[inline]
fn wire_length(headers: &Headers, offloads: Offloads) -> u32 {
    offloads.segment_length.unwrap_or(headers.length() as u32)
}

/// A drop where a packet came in, before any rule was asked.
fn unread(ingress: Port, stage: Stage) -> Drop {
    let at = match ingress {
        Port::Eni(eni) => Place::Interface(eni),
        Port::Internet => Place::Internet,
    };
    Drop {
        stage,
        at,
        rule: None,
        answer: None,
    }
}

/// Finishes the checksum that a guest's own tunnel left unfinished inside a datagram's data. Apart from the way of all
/// other packets, which it would slow down.
#[cold]
#[inline(never)]
fn finish_within(vnet: &Vnet, headers: &Headers, data: &mut [u8]) -> Result<Offloads, vnet::Unfit> {
    let (start, offset) = vnet.unfinished_within(headers).ok_or(vnet::Unfit)?;
    let (header, frame) = data
        .split_first_chunk_mut::<{ vnet::LENGTH }>()
        .ok_or(vnet::Unfit)?;
    complete_checksum(frame, headers, start, offset).map_err(|_| vnet::Unfit)?;
    *header = Vnet::PLAIN;
    Vnet::DONE.offloads(headers)
}

/// What the rules see of a transport header.
pub(crate) fn l4(transport: Transport) -> L4 {
    match transport {
        Transport::Tcp { src, dst, flags, .. } => L4::Ports {
            src,
            dst,
            tcp_flags: flags,
        },
        Transport::Udp { src, dst } => L4::Ports {
            src,
            dst,
            tcp_flags: 0,
        },
        Transport::Icmp { kind, code, id } => L4::Icmp {
            kind,
            code,
            id: id.unwrap_or(0),
        },
        Transport::Other | Transport::LaterFragment => L4::Other,
    }
}

#[cfg(test)]
mod after;
#[cfg(test)]
mod decision_law;
#[cfg(test)]
mod law_host;
#[cfg(test)]
mod nat_decision_law;
#[cfg(test)]
mod revalidation_law;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_law;
#[cfg(test)]
mod wire_tests;
