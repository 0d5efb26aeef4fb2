//! The mappings of NAT gateways: one record a mapping, found from both sides.

use std::net::Ipv4Addr;

use atoll_model::nat_gateway::{CONNECTIONS_PER_DESTINATION, PORTS};

use super::destinations::Destinations;
use super::index::Index;
use super::live::Forgotten;
use super::reserved::{BLOCK, Reservations, Reserved, ReservedId, low};
use super::table::mix;
use super::{Mapping, Slot, State};

/// 28 bytes a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) gateway: u32,
    pub(super) deadline: u32,
    pub(super) inside: [u8; 4],
    pub(super) outside: [u8; 4],
    pub(super) remote: [u8; 4],
    pub(super) inside_port: u16,
    pub(super) outside_port: u16,
    pub(super) remote_port: u16,
    pub(super) protocol: u8,
    pub(super) state: State,
}

impl Record {
    pub(super) fn of(gateway: Slot, m: &Mapping, deadline: u32) -> Record {
        Record {
            gateway: gateway.0,
            deadline,
            inside: m.inside.octets(),
            outside: m.outside.octets(),
            remote: m.remote.octets(),
            inside_port: m.inside_port,
            outside_port: m.outside_port,
            remote_port: m.remote_port,
            protocol: m.protocol,
            state: State(0),
        }
    }

    fn mapping(&self) -> Mapping {
        Mapping {
            protocol: self.protocol,
            inside: Ipv4Addr::from(self.inside),
            inside_port: self.inside_port,
            outside: Ipv4Addr::from(self.outside),
            outside_port: self.outside_port,
            remote: Ipv4Addr::from(self.remote),
            remote_port: self.remote_port,
        }
    }

    /// Whether it is one of the connections that there are at the same time (semantics 80).
    fn counts(&self) -> bool {
        !self.state.is_closed()
    }

    fn far(&self) -> u64 {
        u64::from(u32::from_ne_bytes(self.remote)) << 24
            | u64::from(self.remote_port) << 8
            | u64::from(self.protocol)
    }

    fn forward_hash(&self, seed: u64) -> u64 {
        let near = u64::from(u32::from_ne_bytes(self.inside)) << 16 | u64::from(self.inside_port);
        mix(mix(seed ^ u64::from(self.gateway), near), self.far())
    }

    fn reverse_hash(&self, seed: u64) -> u64 {
        let near = u64::from(u32::from_ne_bytes(self.outside)) << 16 | u64::from(self.outside_port);
        mix(mix(seed ^ u64::from(self.gateway) << 1, near), self.far())
    }

    fn same_far(&self, o: &Record) -> bool {
        self.gateway == o.gateway
            && self.remote == o.remote
            && self.remote_port == o.remote_port
            && self.protocol == o.protocol
    }

    fn same_forward(&self, o: &Record) -> bool {
        self.same_far(o) && self.inside == o.inside && self.inside_port == o.inside_port
    }

    fn same_reverse(&self, o: &Record) -> bool {
        self.same_far(o) && self.outside == o.outside && self.outside_port == o.outside_port
    }
}

/// Every port of 1024 to 65535 (semantics 79), in an order that the connection and the seed decide. First those with the
/// low byte of the port inside, in the same order for all ports inside that share the high byte: so neighbours
/// mostly map to neighbours (`reserved.rs`).
pub(super) fn candidates(wanted: &Mapping, seed: u64) -> impl Iterator<Item = u16> + use<> {
    let seed = seed ^ 0x6e61_7470;
    let mut record = Record::of(Slot(0), wanted, 0);
    let hash = record.forward_hash(seed);
    let [_, low] = record.inside_port.to_be_bytes();
    record.inside_port &= !(BLOCK - 1);
    let of_block = record.forward_hash(seed);
    // 252 blocks, which is 2^2 * 3^2 * 7, of 256 ports: a step coprime to the number visits every one.
    let blocks = stepping(
        of_block,
        (PORTS.to - PORTS.from) / BLOCK + 1,
        [5, 11, 13, 17, 19, 23, 25, 55],
    )
    .map(move |block| PORTS.from + block * BLOCK + u16::from(low));
    // 64512 is 2^10 * 3^2 * 7.
    let steps = [11, 1013, 10007, 26993, 33331, 45007, 51427, 64499];
    let all = stepping(hash, PORTS.to - PORTS.from + 1, steps).map(|port| PORTS.from + port);
    blocks.chain(all)
}

/// Every number below `count` once. The steps are coprime to it.
fn stepping(hash: u64, count: u16, steps: [u16; 8]) -> impl Iterator<Item = u16> {
    let start = (hash as u32) % u32::from(count);
    let step = steps[(hash >> 61) as usize & 7];
    (0..count).map(move |i| ((u64::from(start) + u64::from(i) * u64::from(step)) % u64::from(count)) as u16)
}

/// What part of its most a destination, a gateway or the whole table may have for ports to be set aside, and above
/// which those that are are to be given back.
const AMPLE: (usize, usize) = (3, 4);
const CROWDED: (usize, usize) = (7, 8);

fn within(part: (usize, usize), most: usize, count: usize) -> bool {
    count <= most / part.1 * part.0
}

/// So many ports are looked at for a free one: all that have the low byte, and enough of the others to find one as long
/// as one in a hundred is free. More is not to be had for a packet, whoever sends it.
const MOST_LOOKS: usize = 252 + 1024;

#[derive(Debug)]
pub(super) struct Mappings {
    records: Vec<Record>,
    capacity: usize,
    per_gateway: u32,
    /// Records by gateway's slot.
    held: Vec<u32>,
    forward: Index,
    reverse: Index,
    destinations: Destinations,
    reserved: Reservations,
    seed: u64,
    cursor: usize,
    /// Places whose content changed, if somebody wants to know.
    touched: Option<Vec<u32>>,
}

/// Why a mapping cannot be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    PortTaken,
}

impl Mappings {
    /// For up to `capacity` mappings, of each gateway at most `per_gateway`.
    pub(super) fn new(capacity: usize, per_gateway: u32, seed: u64) -> Mappings {
        Mappings {
            records: Vec::with_capacity(capacity),
            capacity,
            per_gateway,
            held: Vec::new(),
            forward: Index::new(capacity),
            reverse: Index::new(capacity),
            destinations: Destinations::new(capacity, seed),
            reserved: Reservations::default(),
            seed,
            cursor: 0,
            touched: None,
        }
    }

    pub(super) fn watch(&mut self) {
        self.touched.get_or_insert_default();
    }

    pub(super) fn touched(&mut self) -> Option<&mut Vec<u32>> {
        self.touched.as_mut()
    }

    fn touch(&mut self, at: usize) {
        if let Some(touched) = &mut self.touched {
            touched.push(at as u32);
        }
    }

    /// What stands at a place: gateway, mapping, state, deadline.
    pub(super) fn at(&self, at: usize) -> Option<(Slot, Mapping, State, u32)> {
        let record = self.records.get(at)?;
        Some((
            Slot(record.gateway),
            record.mapping(),
            record.state,
            record.deadline,
        ))
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn find_forward(&self, wanted: &Record) -> Option<u32> {
        self.forward.find(wanted.forward_hash(self.seed), |i| {
            self.records
                .get(i as usize)
                .is_some_and(|r| r.same_forward(wanted))
        })
    }

    fn find_reverse(&self, wanted: &Record) -> Option<u32> {
        self.reverse.find(wanted.reverse_hash(self.seed), |i| {
            self.records
                .get(i as usize)
                .is_some_and(|r| r.same_reverse(wanted))
        })
    }

    fn live(&self, at: Option<u32>, now: u32) -> Option<&Record> {
        self.records.get(at? as usize).filter(|r| r.deadline > now)
    }

    pub(super) fn mapped(&self, gateway: Slot, wanted: &Mapping, now: u32) -> Option<(Mapping, State)> {
        let wanted = Record::of(gateway, wanted, 0);
        let found = self.live(self.find_forward(&wanted), now)?;
        Some((found.mapping(), found.state))
    }

    pub(super) fn unmapped(&self, gateway: Slot, wanted: &Mapping, now: u32) -> Option<(Mapping, State)> {
        let wanted = Record::of(gateway, wanted, 0);
        let found = self.live(self.find_reverse(&wanted), now)?;
        Some((found.mapping(), found.state))
    }

    /// When exactly this mapping is forgotten, if it has not passed, and what is known of its connection.
    pub(super) fn known(&self, gateway: Slot, mapping: &Mapping, now: u32) -> Option<(State, u32)> {
        let wanted = Record::of(gateway, mapping, 0);
        let record = self.live(self.find_forward(&wanted), now)?;
        (record.mapping() == *mapping).then_some((record.state, record.deadline))
    }

    /// Whether a gateway that asks for one mapping more is refused.
    fn is_full(&self, gateway: u32) -> bool {
        let held = self.held.get(gateway as usize).copied().unwrap_or(0);
        self.records.len() >= self.capacity || held >= self.per_gateway
    }

    pub(super) fn free_port(&self, gateway: Slot, wanted: &Mapping, now: u32) -> Option<u16> {
        let mut record = Record::of(gateway, wanted, 0);
        if self.is_full(record.gateway) && self.find_forward(&record).is_none() {
            return None;
        }
        if let Some(bound) = self.reserved.bound(&record) {
            return bound;
        }
        if self.destinations.count(&record) + self.reserved.spare(&record) >= CONNECTIONS_PER_DESTINATION {
            return None; // semantics 80
        }
        let known = self.live(self.find_forward(&record), now);
        if let Some(known) = known.filter(|known| known.outside == record.outside) {
            return Some(known.outside_port);
        }
        candidates(wanted, self.seed).take(MOST_LOOKS).find(|port| {
            record.outside_port = *port;
            !self.reserved.forbids(&record) && self.live(self.find_reverse(&record), now).is_none()
        })
    }

    /// Whether destination, gateway and table of a mapping have no more than a part of what they may have.
    fn within(&self, part: (usize, usize), record: &Record, more: usize) -> bool {
        let to_destination = self.destinations.count(record) + self.reserved.spare(record) + more;
        let held = self.held.get(record.gateway as usize).copied().unwrap_or(0) as usize;
        within(part, CONNECTIONS_PER_DESTINATION, to_destination)
            && within(part, self.per_gateway as usize, held)
            && within(part, self.capacity, self.records.len())
    }

    /// Sets the block of a mapping aside for its source, as far as both sides' ports are free around it or mapped to each
    /// other already. It need not be mapped yet, if it can be.
    pub(super) fn reserve(&mut self, gateway: Slot, mapping: &Mapping, now: u32) -> Option<Reserved> {
        let record = Record::of(gateway, mapping, 0);
        let apart = low(record.inside_port) != low(record.outside_port) || record.inside_port < BLOCK;
        if apart {
            return None;
        }
        if !self.within(AMPLE, &record, usize::from(BLOCK)) {
            return None;
        }
        if self.reserved.near(&record) {
            return self.reserved.again(&record);
        }
        if !self.reserved.has_room(record.gateway) {
            return None;
        }
        let at = |low: u8| Record {
            inside_port: record.inside_port & !(BLOCK - 1) | u16::from(low),
            outside_port: record.outside_port & !(BLOCK - 1) | u16::from(low),
            ..record
        };
        let agrees = |low: &u8| {
            let wanted = at(*low);
            let forward = self.live(self.find_forward(&wanted), now);
            let reverse = self.live(self.find_reverse(&wanted), now);
            forward.is_none_or(|known| known.same_reverse(&wanted))
                && reverse.is_none_or(|known| known.same_forward(&wanted))
        };
        let own = low(record.inside_port);
        if !agrees(&own) {
            return None;
        }
        let first = (0..own).rev().take_while(agrees).last().unwrap_or(own);
        let last = (own..=u8::MAX).skip(1).take_while(agrees).last().unwrap_or(own);
        let counts = |low: &u8| {
            let at = self.find_reverse(&at(*low));
            at.and_then(|at| self.records.get(at as usize))
                .is_some_and(Record::counts)
        };
        let mapped = (first..=last).filter(counts).count() as u32;
        Some(self.reserved.add(&record, first, last, mapped))
    }

    #[cfg(test)]
    pub(super) fn reserved(&self) -> &Reservations {
        &self.reserved
    }

    /// See [`super::Flows::give_back`].
    pub(super) fn give_back(&mut self, id: ReservedId, until: u32) {
        self.reserved.give_back(id, until);
    }

    /// See [`super::Flows::is_crowded`].
    pub(super) fn is_crowded(&self, id: ReservedId) -> bool {
        let of = self.reserved.example(id);
        of.is_none_or(|record| !self.within(CROWDED, &record, 0))
    }

    /// See [`super::Flows::is_reserved`].
    pub(super) fn is_reserved(&self, id: ReservedId) -> bool {
        self.reserved.example(id).is_some()
    }

    /// Ends what is set aside of a gateway.
    pub(super) fn end_reserved(&mut self, gateway: Slot) {
        self.reserved.end(gateway.0);
    }

    pub(super) fn put(
        &mut self,
        gateway: Slot,
        mapping: &Mapping,
        state: State,
        now: u32,
        forgotten: Forgotten,
    ) -> Result<(), Refused> {
        let wanted = Record {
            state,
            ..Record::of(gateway, mapping, forgotten.after(None, state))
        };
        if let Some(at) = self.find_forward(&wanted)
            && let Some(record) = self.records.get_mut(at as usize)
        {
            if record.same_reverse(&wanted) {
                let counted = record.counts();
                let known = (record.deadline > now).then_some((record.state, record.deadline));
                (record.state, record.deadline) = (state, forgotten.after(known, state));
                self.touch(at as usize);
                match (counted, wanted.counts()) {
                    (false, true) => self.count_in(&wanted),
                    (true, false) => self.count_out(&wanted),
                    _ => {}
                }
                return Ok(());
            }
            // Unless the gateway has lost the address that it had, another packet of this connection was mapped first.
            if record.deadline > now && record.outside == wanted.outside {
                return Err(Refused::PortTaken);
            }
            self.remove(at as usize);
        }
        if let Some(at) = self.find_reverse(&wanted) {
            if self.records.get(at as usize).is_some_and(|r| r.deadline > now) {
                return Err(Refused::PortTaken);
            }
            self.remove(at as usize);
        }
        let bound = self.reserved.bound(&wanted);
        if self.reserved.forbids(&wanted) || bound.is_some_and(|port| port != Some(wanted.outside_port)) {
            return Err(Refused::PortTaken);
        }
        if self.is_full(wanted.gateway) {
            return Err(Refused::Full);
        }
        let slot = wanted.gateway as usize;
        if slot >= self.held.len() {
            self.held.resize((slot + 1).next_power_of_two(), 0);
        }
        if let Some(held) = self.held.get_mut(slot) {
            *held += 1;
        }
        let at = self.records.len() as u32;
        self.forward.insert(wanted.forward_hash(self.seed), at);
        self.reverse.insert(wanted.reverse_hash(self.seed), at);
        self.records.push(wanted);
        self.touch(at as usize);
        if wanted.counts() {
            self.count_in(&wanted);
        }
        Ok(())
    }

    /// One connection more at its destination.
    fn count_in(&mut self, record: &Record) {
        self.reserved.count(record, true);
        self.destinations.add(record);
    }

    fn remove(&mut self, at: usize) {
        let Some(gone) = self.records.get(at).copied() else {
            return;
        };
        let (records, seed, number) = (&self.records, self.seed, at as u32);
        self.forward.remove(gone.forward_hash(seed), number, |i| {
            records[i as usize].forward_hash(seed)
        });
        self.reverse.remove(gone.reverse_hash(seed), number, |i| {
            records[i as usize].reverse_hash(seed)
        });
        let last = self.records.len() - 1;
        if at != last {
            let moved = self.records[last];
            self.forward
                .renumber(moved.forward_hash(seed), last as u32, number);
            self.reverse
                .renumber(moved.reverse_hash(seed), last as u32, number);
        }
        self.records.swap_remove(at);
        self.touch(at);
        if at != last {
            self.touch(last);
        }
        if let Some(held) = self.held.get_mut(gone.gateway as usize) {
            *held = held.saturating_sub(1);
        }
        if gone.counts() {
            self.count_out(&gone);
        }
    }

    /// One connection less at its destination.
    fn count_out(&mut self, record: &Record) {
        self.reserved.count(record, false);
        self.destinations.remove(record);
    }

    /// As [`super::table::Table::expire`].
    pub(super) fn expire(&mut self, now: u32, budget: usize, dead: impl Fn(Slot) -> bool) -> usize {
        self.reserved.expire(now);
        let budget = budget.min(self.records.len());
        for _ in 0..budget {
            if self.cursor >= self.records.len() {
                self.cursor = 0;
            }
            match self.records.get(self.cursor) {
                Some(r) if r.deadline <= now || dead(Slot(r.gateway)) => self.remove(self.cursor),
                Some(_) => self.cursor += 1,
                None => break,
            }
        }
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn wanted(inside_port: u16) -> Mapping {
        Mapping {
            protocol: 6,
            inside: "10.0.1.5".parse().unwrap(),
            inside_port,
            outside: "10.0.0.9".parse().unwrap(),
            outside_port: 0,
            remote: "198.51.100.1".parse().unwrap(),
            remote_port: 443,
        }
    }

    #[test]
    fn every_port_is_a_candidate_once() {
        // semantics 79
        for port in 0..8 {
            let ports: Vec<u16> = candidates(&wanted(port), 3).collect();
            assert!(ports.iter().all(|p| *p >= 1024));
            let once = |ports: &[u16]| ports.iter().collect::<HashSet<_>>().len() == ports.len();
            let (first, all) = ports.split_at(252);
            assert!(once(first) && first.iter().all(|p| p % 256 == port));
            assert!(once(all) && all.len() == 64_512);
        }
    }

    #[test]
    fn a_destination_takes_55000_connections_and_an_idle_one_gives_its_port_back() {
        // semantics 80, 81
        let mut mappings = Mappings::new(60_000, 60_000, 5);
        let gateway = Slot(1);
        let mut used = HashSet::new();
        for i in 0..55_000u32 {
            let mut mapping = wanted(i as u16);
            mapping.outside_port = mappings.free_port(gateway, &mapping, 0).unwrap();
            assert!(used.insert(mapping.outside_port));
            mappings
                .put(gateway, &mapping, State(0), 0, Forgotten::at(3500))
                .unwrap();
        }
        assert_eq!(mappings.free_port(gateway, &wanted(60_000), 0), None);
        let elsewhere = Mapping {
            remote_port: 80,
            ..wanted(60_000)
        };
        assert!(
            mappings.free_port(gateway, &elsewhere, 0).is_some(),
            "another destination has its own"
        );
        mappings.expire(3500, usize::MAX, |_| false);
        assert_eq!(mappings.len(), 0);
        assert!(mappings.destinations.is_empty());
        assert!(mappings.free_port(gateway, &wanted(60_000), 3500).is_some());
    }

    #[test]
    fn a_gateway_that_is_flooded_leaves_the_others_their_mappings() {
        let mut mappings = Mappings::new(40, 10, 5);
        let (flooded, other) = (Slot(1), Slot(2));
        let put = |mappings: &mut Mappings, gateway, port| {
            let mut mapping = wanted(port);
            mapping.outside_port = mappings.free_port(gateway, &mapping, 0)?;
            mappings
                .put(gateway, &mapping, State(0), 0, Forgotten::at(3500))
                .ok()
        };
        let taken = (0..100)
            .filter_map(|port| put(&mut mappings, flooded, port))
            .count();
        assert_eq!(taken, 10);
        assert!(
            mappings.mapped(flooded, &wanted(3), 0).is_some(),
            "what is mapped stays so"
        );
        assert!(put(&mut mappings, other, 3).is_some());
        let beyond = Mapping {
            outside_port: 5000,
            ..wanted(200)
        };
        assert_eq!(
            mappings.put(flooded, &beyond, State(0), 0, Forgotten::at(3500)),
            Err(Refused::Full)
        );
        mappings.expire(3500, usize::MAX, |_| false);
        assert!(
            put(&mut mappings, flooded, 200).is_some(),
            "idle ones are given back"
        );
    }
}
