//! How many connections of a NAT gateway's address lead to each destination (semantics 80).

use super::index::Index;
use super::nat::Record;
use super::table::mix;

/// How many mappings of an outside address lead to one destination, those apart whose connections have ended.
#[derive(Clone, Copy, Debug)]
struct Destination {
    gateway: u32,
    outside: [u8; 4],
    remote: [u8; 4],
    remote_port: u16,
    protocol: u8,
    count: u32,
}

impl Destination {
    /// That of a mapping, with no connection counted.
    fn of(record: &Record) -> Destination {
        Destination {
            gateway: record.gateway,
            outside: record.outside,
            remote: record.remote,
            remote_port: record.remote_port,
            protocol: record.protocol,
            count: 0,
        }
    }

    fn hash(&self, seed: u64) -> u64 {
        let out = u64::from(u32::from_ne_bytes(self.outside)) << 32 | u64::from(self.gateway);
        let far = u64::from(u32::from_ne_bytes(self.remote)) << 24
            | u64::from(self.remote_port) << 8
            | u64::from(self.protocol);
        mix(mix(seed, out), far)
    }

    fn same(&self, o: &Destination) -> bool {
        self.gateway == o.gateway
            && self.outside == o.outside
            && self.remote == o.remote
            && self.remote_port == o.remote_port
            && self.protocol == o.protocol
    }
}

/// Those with any connection.
#[derive(Debug)]
pub(super) struct Destinations {
    list: Vec<Destination>,
    index: Index,
    seed: u64,
}

impl Destinations {
    /// For up to `capacity` of them.
    pub(super) fn new(capacity: usize, seed: u64) -> Destinations {
        Destinations {
            list: Vec::with_capacity(capacity),
            index: Index::new(capacity),
            seed,
        }
    }

    fn find(&self, wanted: &Destination) -> Option<u32> {
        self.index.find(wanted.hash(self.seed), |i| {
            self.list.get(i as usize).is_some_and(|d| d.same(wanted))
        })
    }

    /// Connections of that outside address to that destination, forgotten ones that no sweep has met included.
    pub(super) fn count(&self, wanted: &Record) -> usize {
        self.find(&Destination::of(wanted))
            .and_then(|i| self.list.get(i as usize))
            .map_or(0, |d| d.count as usize)
    }

    /// One connection more.
    pub(super) fn add(&mut self, record: &Record) {
        let destination = Destination::of(record);
        match self.find(&destination) {
            Some(i) => {
                if let Some(d) = self.list.get_mut(i as usize) {
                    d.count += 1;
                }
            }
            None => {
                self.index
                    .insert(destination.hash(self.seed), self.list.len() as u32);
                self.list.push(Destination {
                    count: 1,
                    ..destination
                });
            }
        }
    }

    /// One connection less.
    pub(super) fn remove(&mut self, record: &Record) {
        let Some(i) = self.find(&Destination::of(record)) else {
            return;
        };
        let seed = self.seed;
        let destination = &mut self.list[i as usize];
        destination.count -= 1;
        if destination.count == 0 {
            let gone = *destination;
            let list = &self.list;
            self.index
                .remove(gone.hash(seed), i, |j| list[j as usize].hash(seed));
            let last = self.list.len() - 1;
            if i as usize != last {
                let moved = self.list[last];
                self.index.renumber(moved.hash(seed), last as u32, i);
            }
            self.list.swap_remove(i as usize);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
