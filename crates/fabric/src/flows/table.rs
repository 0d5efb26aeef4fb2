//! A bounded table of connections of one address family.

use std::net::IpAddr;

use super::index::Index;
use super::{FlowKey, Slot, State};

/// An address in its own size.
pub(super) trait Addr: Copy + Eq {
    /// From the general form, when it is of this family.
    fn of(addr: IpAddr) -> Option<Self>;
    /// Two words for hashing.
    fn words(self) -> (u64, u64);
    /// The general form.
    fn addr(self) -> IpAddr;
}

impl Addr for [u8; 4] {
    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(a) => Some(a.octets()),
            IpAddr::V6(_) => None,
        }
    }

    fn words(self) -> (u64, u64) {
        (u64::from(u32::from_ne_bytes(self)), 0)
    }

    fn addr(self) -> IpAddr {
        IpAddr::from(self)
    }
}

impl Addr for [u8; 16] {
    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a.octets()),
        }
    }

    fn words(self) -> (u64, u64) {
        let wide = u128::from_ne_bytes(self);
        (wide as u64, (wide >> 64) as u64)
    }

    fn addr(self) -> IpAddr {
        IpAddr::from(self)
    }
}

/// Mixes a word into a hash.
pub(super) fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word).wrapping_mul(0xa076_1d64_78bd_642f_e703_7ed1_a0b4_28db);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// One connection: 24 bytes of IPv4, 48 of IPv6.
#[derive(Clone, Copy, Debug)]
struct Record<A> {
    owner: u32,
    deadline: u32,
    local: A,
    remote: A,
    local_port: u16,
    remote_port: u16,
    protocol: u8,
    state: State,
}

impl<A: Addr> Record<A> {
    fn of(owner: Slot, key: &FlowKey, state: State, deadline: u32) -> Option<Record<A>> {
        Some(Record {
            owner: owner.0,
            deadline,
            local: A::of(key.local)?,
            remote: A::of(key.remote)?,
            local_port: key.local_port,
            remote_port: key.remote_port,
            protocol: key.protocol,
            state,
        })
    }

    fn same(&self, other: &Record<A>) -> bool {
        self.owner == other.owner
            && self.local == other.local
            && self.remote == other.remote
            && self.local_port == other.local_port
            && self.remote_port == other.remote_port
            && self.protocol == other.protocol
    }

    fn hash(&self, seed: u64) -> u64 {
        let (l0, l1) = self.local.words();
        let (r0, r1) = self.remote.words();
        let ports = u64::from(self.local_port) << 24
            | u64::from(self.remote_port) << 8
            | u64::from(self.protocol)
            | u64::from(self.owner) << 40;
        let state = mix(seed ^ ports, l0 | r0 << 32);
        if l1 == 0 && r1 == 0 {
            mix(state, r0 >> 32 ^ u64::from(self.owner >> 24))
        } else {
            mix(mix(mix(state, r0), l1), r1 ^ u64::from(self.owner))
        }
    }
}

/// The connections of one family.
#[derive(Debug)]
pub(super) struct Table<A> {
    records: Vec<Record<A>>,
    capacity: usize,
    index: Index,
    seed: u64,
    cursor: usize,
    /// Places whose content changed, if somebody wants to know.
    touched: Option<Vec<u32>>,
}

impl<A: Addr> Table<A> {
    pub(super) fn new(capacity: usize, seed: u64) -> Table<A> {
        Table {
            records: Vec::with_capacity(capacity),
            capacity,
            index: Index::new(capacity),
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

    /// What stands at a place: owner, connection, state, deadline.
    pub(super) fn at(&self, at: usize) -> Option<(Slot, FlowKey, State, u32)> {
        let record = self.records.get(at)?;
        let key = FlowKey {
            local: record.local.addr(),
            remote: record.remote.addr(),
            protocol: record.protocol,
            local_port: record.local_port,
            remote_port: record.remote_port,
        };
        Some((Slot(record.owner), key, record.state, record.deadline))
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.capacity
    }

    fn find(&self, wanted: &Record<A>) -> Option<u32> {
        self.index.find(wanted.hash(self.seed), |i| {
            self.records.get(i as usize).is_some_and(|r| r.same(wanted))
        })
    }

    /// The state of a connection whose deadline has not passed at tick `now`.
    #[inline]
    pub(super) fn get(&self, owner: Slot, key: &FlowKey, now: u32) -> Option<State> {
        self.known(owner, key, now).map(|(state, _)| state)
    }

    /// The same with its deadline.
    #[inline]
    pub(super) fn known(&self, owner: Slot, key: &FlowKey, now: u32) -> Option<(State, u32)> {
        let wanted = Record::of(owner, key, State(0), 0)?;
        let record = self.records.get(self.find(&wanted)? as usize)?;
        (record.deadline > now).then_some((record.state, record.deadline))
    }

    /// Has the index's line for a connection fetched.
    pub(super) fn ask_for(&self, owner: Slot, key: &FlowKey) {
        if let Some(wanted) = Record::<A>::of(owner, key, State(0), 0) {
            self.index.prefetch(wanted.hash(self.seed));
        }
    }

    /// Puts a connection. `Ok(true)` when it is new, `Err` when there is no room for it.
    pub(super) fn put(
        &mut self,
        owner: Slot,
        key: &FlowKey,
        state: State,
        deadline: u32,
    ) -> Result<bool, ()> {
        let Some(wanted) = Record::of(owner, key, state, deadline) else {
            return Ok(false);
        };
        if let Some(at) = self.find(&wanted)
            && let Some(record) = self.records.get_mut(at as usize)
        {
            *record = wanted;
            self.touch(at as usize);
            return Ok(false);
        }
        if self.is_full() {
            return Err(());
        }
        self.index
            .insert(wanted.hash(self.seed), self.records.len() as u32);
        self.records.push(wanted);
        self.touch(self.records.len() - 1);
        Ok(true)
    }

    fn remove(&mut self, at: usize) -> Option<Slot> {
        let gone = *self.records.get(at)?;
        let (records, seed) = (&self.records, self.seed);
        self.index
            .remove(gone.hash(seed), at as u32, |i| records[i as usize].hash(seed));
        let last = self.records.len() - 1;
        if at != last {
            self.index
                .renumber(self.records[last].hash(seed), last as u32, at as u32);
        }
        self.records.swap_remove(at);
        self.touch(at);
        if at != last {
            self.touch(last);
        }
        Some(Slot(gone.owner))
    }

    /// Looks at up to `budget` connections, going round, and forgets those for which `dead` holds or whose
    /// deadline has passed, telling `forgotten` their owners. Returns how many it looked at.
    pub(super) fn expire(
        &mut self,
        now: u32,
        budget: usize,
        dead: impl Fn(Slot) -> bool,
        mut forgotten: impl FnMut(Slot),
    ) -> usize {
        let budget = budget.min(self.records.len());
        for _ in 0..budget {
            if self.cursor >= self.records.len() {
                self.cursor = 0;
            }
            match self.records.get(self.cursor) {
                Some(r) if r.deadline <= now || dead(Slot(r.owner)) => {
                    if let Some(owner) = self.remove(self.cursor) {
                        forgotten(owner);
                    }
                }
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
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_connection_end_takes_at_most_64_bytes() {
        // 24 and 48 bytes a record, and at most 11 of index.
        assert!(std::mem::size_of::<Record<[u8; 4]>>() <= 24);
        assert!(std::mem::size_of::<Record<[u8; 16]>>() <= 48);
    }

    proptest! {
        #[test]
        fn behaves_as_a_bounded_map(
            steps in proptest::collection::vec((0u8..4, 0u16..40, 0u32..100), 1..400)
        ) {
            let mut table = Table::<[u8; 4]>::new(24, 7);
            let mut model: HashMap<u16, (State, u32)> = HashMap::new();
            let key = |port: u16| FlowKey {
                local: "10.0.0.1".parse().unwrap(),
                remote: "10.0.0.2".parse().unwrap(),
                protocol: 6,
                local_port: port,
                remote_port: 80,
            };
            let mut now = 0;
            for (what, port, time) in steps {
                match what {
                    0 | 1 => {
                        let fits = model.contains_key(&port) || model.len() < 24;
                        let put = table.put(Slot(3), &key(port), State(port as u8), now + time);
                        prop_assert_eq!(put.is_ok(), fits);
                        if fits {
                            prop_assert_eq!(put, Ok(!model.contains_key(&port)));
                            model.insert(port, (State(port as u8), now + time));
                        }
                    }
                    2 => now += time / 8,
                    _ => {
                        // A round may meet a record twice that filled another's place, and so miss one.
                        for _ in 0..4 {
                            table.expire(now, table.len(), |_| false, |_| ());
                        }
                        model.retain(|_, (_, deadline)| *deadline > now);
                        prop_assert_eq!(table.len(), model.len());
                    }
                }
                for port in 0..40 {
                    let known = model.get(&port).filter(|(_, deadline)| *deadline > now).map(|(s, _)| *s);
                    prop_assert_eq!(table.get(Slot(3), &key(port), now), known);
                    prop_assert_eq!(table.get(Slot(4), &key(port), now), None);
                }
            }
        }
    }
}
