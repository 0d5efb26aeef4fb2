//! Ports of NAT gateways that are set aside: for connections of one source to one destination, block for block.
//!
//! A NAT gateway's ports are chosen so that the low byte stays where that is possible (`nat.rs`). So 256 neighbouring
//! ports of a source mostly map to 256 neighbouring ports outside: a block, and one block says it for all of them.
//! Whoever maps connections without asking each time, as the program in the kernel does, has a block set aside first.
//! From then on nobody else gets its ports, and its source gets no others: whichever of the two a new connection
//! meets, its port is the same. What is set aside is no mapping: no packet finds it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use hashbrown::HashMap;

use super::State;
use super::nat::Record;

/// How many neighbouring ports are set aside at once, most: those with the same high byte.
pub const BLOCK: u16 = 256;

/// Ports that are set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// To give them back by.
    pub id: ReservedId,
    /// The source's ports that they are for, within one block.
    pub inside: RangeInclusive<u16>,
    /// What the first of them maps to; those behind it to the ports behind.
    pub outside: u16,
}

/// Names ports that are set aside; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservedId(u64);

/// Most blocks of a host, and of one gateway: so that one tenant's flood leaves the others theirs.
const MOST: usize = 8192;
const MOST_OF_GATEWAY: u32 = 4096;

/// One side of connections to a destination, its port apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Side {
    gateway: u32,
    near: [u8; 4],
    remote: [u8; 4],
    remote_port: u16,
    protocol: u8,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    inside: Side,
    outside: Side,
    inside_block: u8,
    outside_block: u8,
    /// Low bytes that it is about.
    first: u8,
    last: u8,
    /// How many of its ports are mapped.
    mapped: u32,
    /// How many use it.
    users: u32,
    /// When it ends, once all have given it back.
    until: Option<u32>,
}

impl Block {
    fn has(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&low(port))
    }

    fn ports(&self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    fn reserved(&self, id: u64) -> Reserved {
        let port = |block, low| u16::from_be_bytes([block, low]);
        Reserved {
            id: ReservedId(id),
            inside: port(self.inside_block, self.first)..=port(self.inside_block, self.last),
            outside: port(self.outside_block, self.first),
        }
    }
}

pub(super) fn low(port: u16) -> u8 {
    port.to_be_bytes()[1]
}

fn high(port: u16) -> u8 {
    port.to_be_bytes()[0]
}

fn inside(record: &Record) -> Side {
    Side {
        gateway: record.gateway,
        near: record.inside,
        remote: record.remote,
        remote_port: record.remote_port,
        protocol: record.protocol,
    }
}

fn outside(record: &Record) -> Side {
    Side {
        near: record.outside,
        ..inside(record)
    }
}

/// All that is set aside. Bounded.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    blocks: HashMap<u64, Block>,
    by_inside: HashMap<(Side, u8), u64>,
    by_outside: HashMap<(Side, u8), u64>,
    /// Ports set aside that are not mapped, by outside address and destination.
    spare: HashMap<Side, u32>,
    of_gateway: HashMap<u32, u32>,
    /// Those that all have given back, in that order.
    ending: VecDeque<(u32, u64)>,
    next: u64,
}

impl Reservations {
    /// Whether another block of a gateway finds room.
    pub(super) fn has_room(&self, gateway: u32) -> bool {
        self.blocks.len() < MOST && self.of_gateway.get(&gateway).copied().unwrap_or(0) < MOST_OF_GATEWAY
    }

    fn of_inside(&self, record: &Record) -> Option<(u64, &Block)> {
        let id = self.by_inside.get(&(inside(record), high(record.inside_port)))?;
        Some((*id, self.blocks.get(id)?))
    }

    fn of_outside(&self, record: &Record) -> Option<(u64, &Block)> {
        let id = self
            .by_outside
            .get(&(outside(record), high(record.outside_port)))?;
        Some((*id, self.blocks.get(id)?))
    }

    /// Whether any of the ports are set aside that share a block with a mapping's, on either side.
    pub(super) fn near(&self, record: &Record) -> bool {
        self.of_inside(record).is_some() || self.of_outside(record).is_some()
    }

    /// If the source's port maps to one that is set aside: whether that one is at this outside address, and which.
    pub(super) fn bound(&self, record: &Record) -> Option<Option<u16>> {
        let (_, block) = self.of_inside(record)?;
        block.has(record.inside_port).then(|| {
            let here = block.outside == outside(record);
            here.then(|| u16::from_be_bytes([block.outside_block, low(record.inside_port)]))
        })
    }

    /// Whether a port outside is set aside for another source, or another port of this one.
    pub(super) fn forbids(&self, record: &Record) -> bool {
        let Some((_, block)) = self.of_outside(record) else {
            return false;
        };
        let own = block.inside == inside(record)
            && block.inside_block == high(record.inside_port)
            && low(record.inside_port) == low(record.outside_port);
        block.has(record.outside_port) && !own
    }

    /// Ports set aside at an outside address for a destination that are not mapped.
    pub(super) fn spare(&self, record: &Record) -> usize {
        self.spare.get(&outside(record)).copied().unwrap_or(0) as usize
    }

    /// Sets the block of a mapping aside, from the low byte `first` to `last`; `mapped` of its ports are mapped.
    pub(super) fn add(&mut self, record: &Record, first: u8, last: u8, mapped: u32) -> Reserved {
        let id = self.next;
        self.next += 1;
        let block = Block {
            inside: inside(record),
            outside: outside(record),
            inside_block: high(record.inside_port),
            outside_block: high(record.outside_port),
            first,
            last,
            mapped,
            users: 1,
            until: None,
        };
        self.by_inside.insert((block.inside, block.inside_block), id);
        self.by_outside.insert((block.outside, block.outside_block), id);
        *self.spare.entry(block.outside).or_insert(0) += block.ports().saturating_sub(mapped);
        *self.of_gateway.entry(record.gateway).or_insert(0) += 1;
        self.blocks.insert(id, block);
        block.reserved(id)
    }

    /// The block that a mapping lies in, if that is set aside for its source; used once more then.
    pub(super) fn again(&mut self, record: &Record) -> Option<Reserved> {
        let (id, block) = self.of_inside(record)?;
        let fits = self.bound(record) == Some(Some(record.outside_port));
        let reserved = fits.then(|| block.reserved(id))?;
        if let Some(block) = self.blocks.get_mut(&id) {
            block.users += 1;
            block.until = None;
        }
        Some(reserved)
    }

    /// A mapping of that block, to count its destination's by.
    pub(super) fn example(&self, id: ReservedId) -> Option<Record> {
        let block = self.blocks.get(&id.0)?;
        Some(Record {
            gateway: block.outside.gateway,
            deadline: 0,
            inside: block.inside.near,
            outside: block.outside.near,
            remote: block.outside.remote,
            inside_port: u16::from_be_bytes([block.inside_block, block.first]),
            outside_port: u16::from_be_bytes([block.outside_block, block.first]),
            remote_port: block.outside.remote_port,
            protocol: block.outside.protocol,
            state: State(0),
        })
    }

    /// A connection has a port outside, or has it no more.
    pub(super) fn count(&mut self, record: &Record, more: bool) {
        if self.blocks.is_empty() {
            return;
        }
        let Some((id, block)) = self.of_outside(record) else {
            return;
        };
        if !block.has(record.outside_port) {
            return;
        }
        let spare = self.spare.entry(outside(record)).or_insert(0);
        let Some(block) = self.blocks.get_mut(&id) else {
            return;
        };
        if more {
            block.mapped += 1;
            *spare = spare.saturating_sub(1);
        } else {
            block.mapped = block.mapped.saturating_sub(1);
            *spare += 1;
        }
    }

    /// Somebody gives a block back; after the last one it is still kept until then.
    pub(super) fn give_back(&mut self, id: ReservedId, until: u32) {
        let Some(block) = self.blocks.get_mut(&id.0) else {
            return;
        };
        block.users = block.users.saturating_sub(1);
        if block.users == 0 {
            block.until = Some(until);
            self.ending.push_back((until, id.0));
        }
    }

    /// Ends what was given back and has been kept long enough.
    pub(super) fn expire(&mut self, now: u32) {
        while let Some((until, id)) = self.ending.front().copied() {
            if until > now {
                break;
            }
            self.ending.pop_front();
            let over = |block: &Block| block.until.is_some_and(|until| until <= now);
            if self.blocks.get(&id).is_some_and(over) {
                self.remove(id);
            }
        }
    }

    /// Ends all of a gateway's: it has other addresses, or is gone.
    pub(super) fn end(&mut self, gateway: u32) {
        let its = self
            .blocks
            .iter()
            .filter(|(_, block)| block.inside.gateway == gateway);
        let ids: Vec<u64> = its.map(|(id, _)| *id).collect();
        for id in ids {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(block) = self.blocks.remove(&id) else {
            return;
        };
        self.by_inside.remove(&(block.inside, block.inside_block));
        self.by_outside.remove(&(block.outside, block.outside_block));
        less(
            &mut self.spare,
            block.outside,
            block.ports().saturating_sub(block.mapped),
        );
        less(&mut self.of_gateway, block.inside.gateway, 1);
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K, by: u32) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use atoll_model::nat_gateway::CONNECTIONS_PER_DESTINATION;

    use super::super::live::Forgotten;
    use super::super::nat::Mappings;
    use super::super::{Mapping, Slot};
    use super::*;

    const GATEWAY: Slot = Slot(3);
    const IDLE: u32 = 3500;

    fn wanted(host: u8, inside_port: u16) -> Mapping {
        Mapping {
            protocol: 6,
            inside: Ipv4Addr::new(10, 0, 1, host),
            inside_port,
            outside: Ipv4Addr::new(10, 0, 0, 9),
            outside_port: 0,
            remote: Ipv4Addr::new(198, 51, 100, 1),
            remote_port: 443,
        }
    }

    fn put(mappings: &mut Mappings, mut mapping: Mapping, now: u32) -> Mapping {
        mapping.outside_port = mappings.free_port(GATEWAY, &mapping, now).unwrap();
        mappings
            .put(GATEWAY, &mapping, State(0), now, Forgotten::at(now + IDLE))
            .unwrap();
        mapping
    }

    #[test]
    fn a_source_has_the_ports_that_are_set_aside_for_it_and_nobody_else() {
        // semantics 79
        let mut mappings = Mappings::new(80_000, 80_000, 5);
        let first = put(&mut mappings, wanted(5, 40_000), 0);
        let reserved = mappings.reserve(GATEWAY, &first, 0).unwrap();
        assert_eq!(reserved.inside, 39_936..=40_191);
        assert_eq!(reserved.outside + 64, first.outside_port);
        let before = mappings.len();
        // As many of others as find room, to the most of a destination.
        let mut others = 0;
        for n in 0..u32::MAX {
            let mut mapping = wanted(100 + (n / 60_000) as u8, (n % 60_000) as u16);
            let Some(port) = mappings.free_port(GATEWAY, &mapping, 0) else {
                break;
            };
            assert!(!(reserved.outside..reserved.outside + BLOCK).contains(&port));
            mapping.outside_port = port;
            mappings
                .put(GATEWAY, &mapping, State(0), 0, Forgotten::at(IDLE))
                .unwrap();
            others += 1;
        }
        assert_eq!(others, CONNECTIONS_PER_DESTINATION - usize::from(BLOCK));
        assert!(mappings.is_crowded(reserved.id));
        for port in reserved.inside.clone() {
            let mapping = put(&mut mappings, wanted(5, port), 0);
            assert_eq!(
                mapping.outside_port - reserved.outside,
                port - reserved.inside.start()
            );
        }
        // semantics 80
        assert_eq!(mappings.len(), before + others + 255);
        assert_eq!(mappings.len(), CONNECTIONS_PER_DESTINATION);
        assert_eq!(mappings.free_port(GATEWAY, &wanted(5, 50_000), 0), None);
    }

    #[test]
    fn it_ends_where_a_neighbour_is_mapped_otherwise_on_either_side() {
        let mut mappings = Mappings::new(4096, 4096, 5);
        let first = put(&mut mappings, wanted(5, 40_000), 0);
        let outside = first.outside_port - 64;
        // Inside 40,050 is mapped elsewhere; what 39,950 would have, another source has.
        let elsewhere = Mapping {
            outside_port: outside ^ 0x8000,
            ..wanted(5, 40_050)
        };
        let taken = Mapping {
            outside_port: outside + 14,
            ..wanted(6, 2000)
        };
        for mapping in [&elsewhere, &taken] {
            mappings
                .put(GATEWAY, mapping, State(0), 0, Forgotten::at(IDLE))
                .unwrap();
        }
        let reserved = mappings.reserve(GATEWAY, &first, 0).unwrap();
        assert_eq!(
            (reserved.inside, reserved.outside),
            (39_951..=40_049, outside + 15)
        );
        assert_eq!(mappings.reserve(GATEWAY, &elsewhere, 0), None);
        assert_eq!(mappings.reserve(GATEWAY, &taken, 0), None);
    }

    #[test]
    fn what_all_have_given_back_ends_when_its_time_has_come_and_counts_as_it_is_mapped() {
        let mut mappings = Mappings::new(4096, 4096, 5);
        let first = put(&mut mappings, wanted(5, 40_000), 0);
        let reserved = mappings.reserve(GATEWAY, &first, 0).unwrap();
        assert_eq!(mappings.reserve(GATEWAY, &first, 0), Some(reserved.clone()));
        let stands = |mappings: &Mappings| {
            let theirs = Mapping {
                outside_port: reserved.outside + 3,
                ..wanted(6, 2000)
            };
            let record = Record::of(GATEWAY, &theirs, 0);
            (
                mappings.reserved().forbids(&record),
                mappings.reserved().spare(&record),
            )
        };
        assert_eq!(stands(&mappings), (true, 255));
        mappings.give_back(reserved.id, 20);
        mappings.expire(1000, 10, |_| false);
        assert_eq!(stands(&mappings), (true, 255), "the other one still has it");
        put(&mut mappings, wanted(5, 40_001), 1000);
        assert_eq!(stands(&mappings), (true, 254));
        mappings.expire(IDLE, 10, |_| false);
        assert_eq!(
            stands(&mappings),
            (true, 255),
            "the first mapping is over, which was none of the spare"
        );
        mappings.give_back(reserved.id, IDLE + 20);
        mappings.expire(IDLE + 19, 10, |_| false);
        assert_eq!(stands(&mappings), (true, 255));
        mappings.expire(IDLE + 20, 10, |_| false);
        assert_eq!(stands(&mappings), (false, 0));
        assert!(mappings.is_crowded(reserved.id), "it is not set aside any more");
        // With its gateway it ends at once.
        let again = put(&mut mappings, wanted(5, 40_002), IDLE);
        assert!(mappings.reserve(GATEWAY, &again, IDLE).is_some());
        mappings.end_reserved(GATEWAY);
        assert_eq!(stands(&mappings), (false, 0));
    }
}
