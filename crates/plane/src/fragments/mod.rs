//! Pieces of packets on their way: only the first one has the ports, and those that follow it are judged by them.
//!
//! The first piece of a packet makes its entry; later ones find there what it said. Later ones that overtook the first
//! wait for it, within bounds of number, bytes and time, and go on behind it in the order in which they came; if it does
//! not come, they are dropped. A piece that reaches into what has come already spoils its packet (RFC 5722 for IPv6, here
//! for IPv4 too); one that lies wholly within is dropped alone, as a duplicate (RFC 8200, 4.5): it is never sent on, so
//! whatever it says it replaces nothing.
//!
//! Nothing is put together here, and no rule is asked. See `docs/decisions/0011-fragments-wait-for-their-first.md`.

mod runs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;

use hashbrown::HashMap;

use atoll_fabric::{L4, Port};
use atoll_model::Timestamp;
use atoll_net::packet::{Fragment, Headers};

use crate::port::PortSlot;
use runs::{Fit, Runs};

/// How long later pieces wait for their first one, in milliseconds: they leave their sender together.
pub(crate) const WAIT: u64 = 2_000;
/// How long what the first piece said is known, or that a packet is spoilt, in milliseconds (RFC 791 would have whoever
/// puts it together wait so long).
pub(crate) const KNOWN: u64 = 15_000;
/// What a piece that waits counts beyond its bytes.
const PIECE: usize = 256;
/// Bytes that may wait in all, for each packet that may be on its way.
const BYTES_A_PACKET: usize = 4096;

/// Why pieces were dropped before any rule was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Their first one did not come in time, or while there was room.
    Alone,
    /// They overlap others of their packet, or came again.
    Overlaps,
}

/// What the first piece of a packet said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// The protocol. A later piece of IPv6 need not know it: its own header says what the first one's chain began with
    /// (RFC 8200, 4.5).
    pub protocol: u8,
    /// The ports, without TCP's flags: those belong to the first piece alone, which was judged with them.
    pub l4: L4,
}

/// What is to be done with a piece.
#[derive(Debug)]
pub(crate) enum Arrival<P> {
    /// It is the first: it goes on, and behind it go those that waited for it.
    First(First, Vec<P>),
    /// It follows a first one.
    Follows(First),
    /// It was put aside until its first one comes.
    Waits,
    /// It is dropped, which [`Fragments::take_lost`] tells.
    Dropped,
}

/// What all pieces of a packet have in common. A later piece of IPv6 may name another protocol than the first, so
/// there the protocol is not a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Whole {
    src: IpAddr,
    dst: IpAddr,
    protocol: Option<u8>,
    id: u32,
}

#[derive(Debug)]
enum State<P> {
    /// The first piece has not come; these have, with their weights.
    Waiting(Vec<(P, usize)>),
    Known(First),
    /// Nothing of it goes on any more.
    Spoilt,
}

#[derive(Debug)]
struct Entry<P> {
    runs: Runs,
    state: State<P>,
    expires: Timestamp,
    /// The one of its places in the port's orders that counts.
    serial: u64,
}

impl<P> Entry<P> {
    fn class(&self) -> Class {
        match self.state {
            State::Waiting(_) => Class::Waiting,
            State::Known(_) | State::Spoilt => Class::Known,
        }
    }
}

/// What has bounds of its own: a flood of one is to leave the other its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Waiting = 0,
    Known = 1,
}

/// Packets on their way from one port.
#[derive(Debug)]
struct OfPort<P> {
    ingress: Port,
    packets: HashMap<Whole, Entry<P>>,
    /// In the order in which they expire, by class. Places whose entry is gone or has another serial count for nothing.
    orders: [VecDeque<(Whole, u64)>; 2],
    counts: [usize; 2],
    /// Of what waits.
    bytes: usize,
}

/// All packets that are on their way in pieces. `P` is a piece that waits.
#[derive(Debug)]
pub(crate) struct Fragments<P> {
    /// Most packets of a class.
    most: usize,
    ports: HashMap<PortSlot, OfPort<P>>,
    counts: [usize; 2],
    bytes: usize,
    serial: u64,
    lost: Vec<(Port, Lost, u64)>,
}

impl<P> OfPort<P> {
    fn new(ingress: Port) -> OfPort<P> {
        OfPort {
            ingress,
            packets: HashMap::new(),
            orders: [VecDeque::new(), VecDeque::new()],
            counts: [0; 2],
            bytes: 0,
        }
    }

    /// The entry that has been longest in a class.
    fn oldest(&mut self, class: Class) -> Option<(Whole, Timestamp)> {
        let order = &mut self.orders[class as usize];
        while let Some((whole, serial)) = order.front() {
            if let Some(entry) = self.packets.get(whole).filter(|entry| entry.serial == *serial) {
                return Some((*whole, entry.expires));
            }
            order.pop_front();
        }
        None
    }

    fn remove(&mut self, whole: &Whole) -> Option<Entry<P>> {
        let entry = self.packets.remove(whole)?;
        self.counts[entry.class() as usize] -= 1;
        if let State::Waiting(pieces) = &entry.state {
            self.bytes -= pieces.iter().map(|(_, weight)| weight).sum::<usize>();
        }
        Some(entry)
    }

    /// Puts an entry in, at the end of its order if it is `new` there.
    fn insert(&mut self, whole: Whole, entry: Entry<P>, new: bool) {
        let class = entry.class() as usize;
        let order = &mut self.orders[class];
        if new {
            // Packets that came whole leave their places behind.
            if order.len() > 2 * self.packets.len() + 32 {
                order.retain(|(whole, serial)| self.packets.get(whole).is_some_and(|e| e.serial == *serial));
            }
            order.push_back((whole, entry.serial));
        }
        self.counts[class] += 1;
        if let State::Waiting(pieces) = &entry.state {
            self.bytes += pieces.iter().map(|(_, weight)| weight).sum::<usize>();
        }
        self.packets.insert(whole, entry);
    }
}

impl<P> Fragments<P> {
    /// Room for so many packets whose first piece is known, and as many that wait for theirs.
    pub(crate) fn new(most: usize) -> Fragments<P> {
        Fragments {
            most: most.max(1),
            ports: HashMap::new(),
            counts: [0; 2],
            bytes: 0,
            serial: 0,
            lost: Vec::new(),
        }
    }

    /// Most packets of a class from a port. The internet's is everybody's.
    fn most_of(&self, ingress: Port) -> usize {
        let share = match ingress {
            Port::Internet => 2,
            Port::Eni(_) => 16,
        };
        (self.most / share).max(1)
    }

    /// A piece has come in; what the first one says is `own`. `hold` makes a copy of it to put aside, of so many bytes.
    pub(crate) fn arrives(
        &mut self,
        (slot, ingress): (PortSlot, Port),
        (headers, fragment): (&Headers, &Fragment),
        own: L4,
        now: Timestamp,
        bytes: usize,
        hold: impl FnOnce() -> P,
    ) -> Arrival<P> {
        let whole = Whole {
            src: headers.src,
            dst: headers.dst,
            protocol: headers.src.is_ipv4().then_some(headers.protocol),
            id: fragment.id,
        };
        let start = u32::from(fragment.offset);
        let end = start + headers.end.saturating_sub(headers.transport_at) as u32;
        let mut entry = match self.remove(slot, &whole) {
            Some(entry) if now < entry.expires => entry,
            old => {
                if let Some(old) = old {
                    self.lose(ingress, &old);
                }
                Entry {
                    runs: Runs::default(),
                    state: State::Waiting(Vec::new()),
                    expires: now.plus_millis(WAIT),
                    serial: 0,
                }
            }
        };
        let had = entry.serial;
        let fit = match entry.state {
            State::Spoilt => Fit::Again,
            _ => entry.runs.add(start, end, !fragment.more),
        };
        let arrival = match fit {
            Fit::New => self.fits(
                &mut entry,
                headers.protocol,
                (start == 0).then_some(own),
                bytes,
                hold,
                now,
            ),
            Fit::Again => {
                self.lost(ingress, Lost::Overlaps, 1);
                Arrival::Dropped
            }
            Fit::Not => {
                if let State::Waiting(pieces) = &entry.state {
                    self.lost(ingress, Lost::Overlaps, pieces.len() as u64);
                }
                self.lost(ingress, Lost::Overlaps, 1);
                entry.state = State::Spoilt;
                entry.expires = now.plus_millis(KNOWN);
                self.renumber(&mut entry);
                Arrival::Dropped
            }
        };
        // Nothing more is to come of what is whole: its number may stand for another packet.
        if !(matches!(entry.state, State::Known(_)) && entry.runs.is_whole()) {
            if entry.serial == 0 {
                self.renumber(&mut entry);
            }
            let new = entry.serial != had;
            self.insert((slot, ingress), whole, entry, new);
        }
        arrival
    }

    fn renumber(&mut self, entry: &mut Entry<P>) {
        self.serial += 1;
        entry.serial = self.serial;
    }

    /// A piece that says nothing against those before it.
    fn fits(
        &mut self,
        entry: &mut Entry<P>,
        protocol: u8,
        first: Option<L4>,
        bytes: usize,
        hold: impl FnOnce() -> P,
        now: Timestamp,
    ) -> Arrival<P> {
        let Some(own) = first else {
            return match &mut entry.state {
                State::Known(first) => Arrival::Follows(*first),
                State::Waiting(pieces) => {
                    pieces.push((hold(), bytes + PIECE));
                    Arrival::Waits
                }
                State::Spoilt => Arrival::Dropped,
            };
        };
        let l4 = match own {
            L4::Ports { src, dst, .. } => L4::Ports {
                src,
                dst,
                tcp_flags: 0,
            },
            other => other,
        };
        let first = First { protocol, l4 };
        let waited = match std::mem::replace(&mut entry.state, State::Known(first)) {
            State::Waiting(pieces) => pieces.into_iter().map(|(piece, _)| piece).collect(),
            State::Known(_) | State::Spoilt => Vec::new(),
        };
        entry.expires = now.plus_millis(KNOWN);
        self.renumber(entry);
        Arrival::First(first, waited)
    }

    fn remove(&mut self, slot: PortSlot, whole: &Whole) -> Option<Entry<P>> {
        let port = self.ports.get_mut(&slot)?;
        let before = (port.counts, port.bytes);
        let entry = port.remove(whole)?;
        for (all, (had, has)) in self.counts.iter_mut().zip(before.0.iter().zip(port.counts)) {
            *all -= had - has;
        }
        self.bytes -= before.1 - port.bytes;
        Some(entry)
    }

    /// Puts an entry in its place. Others of the port go where its room is full, others of the port that has most where
    /// the room of all is.
    fn insert(&mut self, (slot, ingress): (PortSlot, Port), whole: Whole, entry: Entry<P>, new: bool) {
        let class = entry.class();
        let port = self.ports.entry(slot).or_insert_with(|| OfPort::new(ingress));
        let before = port.bytes;
        port.insert(whole, entry, new);
        self.counts[class as usize] += 1;
        self.bytes += port.bytes - before;
        let most = self.most_of(ingress);
        while let Some(port) = self.ports.get_mut(&slot)
            && (port.counts[class as usize] > most || port.bytes > most * BYTES_A_PACKET)
        {
            let class = if port.counts[class as usize] > most {
                class
            } else {
                Class::Waiting
            };
            if !self.give_up(slot, class) {
                break;
            }
        }
        while self.counts[class as usize] > self.most || self.bytes > self.most * BYTES_A_PACKET {
            let by_bytes = self.counts[class as usize] <= self.most;
            // Of those that have as much, not the one that comes: it would get no room at all.
            let largest = self.ports.iter().max_by_key(|(of, port)| {
                let has = if by_bytes {
                    port.bytes
                } else {
                    port.counts[class as usize]
                };
                (has, **of != slot)
            });
            let class = if by_bytes { Class::Waiting } else { class };
            let Some(slot) = largest.map(|(slot, _)| *slot) else {
                break;
            };
            if !self.give_up(slot, class) {
                break;
            }
        }
    }

    /// Forgets a port's oldest entry of a class. False if there is none.
    fn give_up(&mut self, slot: PortSlot, class: Class) -> bool {
        let Some((whole, ingress)) = self
            .ports
            .get_mut(&slot)
            .and_then(|port| Some((port.oldest(class)?.0, port.ingress)))
        else {
            return false;
        };
        if let Some(entry) = self.remove(slot, &whole) {
            self.lose(ingress, &entry);
        }
        true
    }

    /// What waited in an entry that is no more is dropped.
    fn lose(&mut self, ingress: Port, entry: &Entry<P>) {
        if let State::Waiting(pieces) = &entry.state {
            self.lost(ingress, Lost::Alone, pieces.len() as u64);
        }
    }

    fn lost(&mut self, ingress: Port, why: Lost, count: u64) {
        match self.lost.last_mut() {
            Some(last) if (last.0, last.1) == (ingress, why) => last.2 += count,
            _ if count > 0 => self.lost.push((ingress, why, count)),
            _ => {}
        }
    }

    /// Moves out which pieces were dropped since the last call, and why.
    pub(crate) fn take_lost(&mut self) -> Vec<(Port, Lost, u64)> {
        std::mem::take(&mut self.lost)
    }

    /// Forgets what is over; `budget` bounds the work. To be called every few milliseconds.
    pub(crate) fn sweep(&mut self, now: Timestamp, budget: usize) {
        if self.ports.is_empty() {
            return;
        }
        let mut over = Vec::new();
        for (slot, port) in &mut self.ports {
            for class in [Class::Waiting, Class::Known] {
                if port.oldest(class).is_some_and(|(_, expires)| expires <= now) {
                    over.push((*slot, class));
                }
            }
        }
        let mut left = budget;
        for (slot, class) in over {
            while left > 0
                && let Some(port) = self.ports.get_mut(&slot)
                && port.oldest(class).is_some_and(|(_, expires)| expires <= now)
            {
                left -= 1;
                self.give_up(slot, class);
            }
        }
        self.ports.retain(|_, port| !port.packets.is_empty());
    }

    /// A port is gone, and what waited with it.
    pub(crate) fn forget(&mut self, slot: PortSlot) {
        let Some(port) = self.ports.remove(&slot) else {
            return;
        };
        for (all, of_it) in self.counts.iter_mut().zip(port.counts) {
            *all -= of_it;
        }
        self.bytes -= port.bytes;
        for entry in port.packets.values() {
            self.lose(port.ingress, entry);
        }
    }

    /// Pieces that wait, and their bytes with what each counts beyond.
    #[cfg(test)]
    fn waiting(&self) -> (usize, usize) {
        let pieces = self.ports.values().flat_map(|port| port.packets.values());
        let pieces = pieces.map(|entry| match &entry.state {
            State::Waiting(pieces) => pieces.len(),
            _ => 0,
        });
        (pieces.sum(), self.bytes)
    }
}
