//! An open-addressing index from hashes to places in a list of records: allocated once, never grown.
//!
//! Each place holds 24 bits of record number and 8 bits of the hash, so that a probe reads a foreign record
//! once in 256. Linear probing, deletion by shifting back: there are no tombstones to collect.

use atoll_memory::prefetch;

/// Most records that an index can number.
pub(super) const MOST: usize = (1 << 24) - 2;

#[derive(Debug)]
pub(super) struct Index {
    places: Vec<u32>,
    mask: usize,
}

fn tag(hash: u64) -> u32 {
    (hash >> 56) as u32
}

fn pack(hash: u64, record: u32) -> u32 {
    tag(hash) << 24 | (record + 1)
}

fn record_of(place: u32) -> u32 {
    (place & 0x00ff_ffff) - 1
}

impl Index {
    /// For up to `capacity` records, at most [`MOST`].
    pub(super) fn new(capacity: usize) -> Index {
        let places = (capacity + capacity / 3 + 1).next_power_of_two();
        Index {
            places: vec![0; places],
            mask: places - 1,
        }
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }

    /// Has a hash's place fetched.
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.places.get(self.home(hash)) {
            prefetch(place);
        }
    }

    /// The record with that hash for which `same` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let place = *self.places.get(at)?;
            if place == 0 {
                return None;
            }
            if place >> 24 == tag(hash) && same(record_of(place)) {
                return Some(record_of(place));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds a record that is not there yet. The index holds fewer records than it was made for.
    pub(super) fn insert(&mut self, hash: u64, record: u32) {
        let mut at = self.home(hash);
        while self.places[at] != 0 {
            at = (at + 1) & self.mask;
        }
        self.places[at] = pack(hash, record);
    }

    fn place_of(&self, hash: u64, record: u32) -> Option<usize> {
        let wanted = pack(hash, record);
        let mut at = self.home(hash);
        while self.places[at] != 0 {
            if self.places[at] == wanted {
                return Some(at);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Says that a record has moved to another number.
    pub(super) fn renumber(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(at) = self.place_of(hash, from) {
            self.places[at] = pack(hash, to);
        }
    }

    /// Takes a record out; `hash_of` gives the hash of any other record.
    pub(super) fn remove(&mut self, hash: u64, record: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.place_of(hash, record) else {
            return;
        };
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let place = self.places[at];
            if place == 0 {
                break;
            }
            // A record may fill the hole unless its home lies cyclically behind the hole.
            let home = self.home(hash_of(record_of(place)));
            if at.wrapping_sub(home) & self.mask >= at.wrapping_sub(hole) & self.mask {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = 0;
    }
}
