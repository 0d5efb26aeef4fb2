//! One family's entries: open addressing with linear probing, allocated once, deletion by shifting back.
//!
//! An entry is `K` words of key, then the cell's generation, the time until which it holds, the path's number,
//! and a word of the flow's number (16 bits), the protocol (8) and whether the place is taken (1).

use std::ops::Range;

use atoll_memory::prefetch;

use crate::sys::slab::{Pages, Slab, Words};

/// At most this share of the places is taken: a fuller table has longer ways, each line of which costs a packet more than
/// all else, and an emptier one takes more than a connection may.
pub(super) const FULL: (usize, usize) = (5, 7);
/// Longest way that a lookup goes; an entry that would stand farther from its home is not kept.
const FARTHEST: usize = 512;

/// What an entry says beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub path: u32,
    pub number: u16,
    pub generation: u32,
    pub expires: u32,
}

impl Found {
    /// Whether its time has not come; times wrap after 49 days and lie less than half of that apart.
    #[inline]
    pub(super) fn holds(&self, now: u32) -> bool {
        (self.expires.wrapping_sub(now) as i32) > 0
    }
}

/// What a look at an entry's home and next to it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near {
    /// The entry.
    Found(Found),
    /// There is none.
    Nothing,
    /// It may stand farther on.
    Farther,
}

/// No room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Table<W, const K: usize> {
    entries: Slab<W>,
    /// Whether somebody has its pages fetched.
    fetched: bool,
    len: usize,
    most: usize,
    seed: u64,
    cursor: usize,
}

#[inline(always)]
fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// An entry with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub found: Found,
    pub key: [u32; 10],
    pub protocol: u8,
}

impl Entry {
    fn read<W: Words, const K: usize>(words: &[u32]) -> Entry {
        let mut key = [0; 10];
        key[..K].copy_from_slice(&words[..K]);
        Entry {
            found: Table::<W, K>::read(words),
            key,
            protocol: (words[K + 3] >> 8) as u8,
        }
    }
}

impl<W: Words, const K: usize> Table<W, K> {
    /// Entries of a cache line.
    const A_LINE: usize = 64 / size_of::<W>();

    /// For up to `capacity` entries.
    pub(super) fn new(capacity: usize, seed: u64) -> Table<W, K> {
        let capacity = capacity.max(8);
        // One place always stays free, so that every way ends.
        let entries = Slab::new((capacity * FULL.1).div_ceil(FULL.0) + 1);
        Table {
            entries,
            fetched: false,
            len: 0,
            most: capacity,
            seed,
            cursor: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Its pages, once, when anything is kept: entries stand anywhere, so that each of the first ones would wait for a
    /// whole new page.
    pub(super) fn unfetched(&mut self) -> Option<Pages> {
        if self.fetched || self.len == 0 {
            return None;
        }
        self.fetched = true;
        Some(self.entries.pages())
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u32; 10]) -> u64 {
        let mut state = self.seed;
        for pair in key[..K].chunks_exact(2) {
            state = mix(state, u64::from(pair[0]) << 32 | u64::from(pair[1]));
        }
        state
    }

    /// The place that a hash points to: its share of the table, so that any size will do.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.entries.len() as u128) >> 64) as usize
    }

    /// The place behind a place.
    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
    }

    /// How far it is from one place to another, going on.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.entries.len() - from
        }
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let home = self.home(hash);
        prefetch(&self.entries[home]);
        // Where the table is full, every third way leads into the next cache line.
        if let Some(next) = self.entries.get(home + Self::A_LINE) {
            prefetch(next);
        }
    }

    #[inline(always)]
    fn taken(words: &[u32]) -> bool {
        words[K + 3] & 1 != 0
    }

    #[inline(always)]
    fn read(words: &[u32]) -> Found {
        Found {
            generation: words[K],
            expires: words[K + 1],
            path: words[K + 2],
            number: (words[K + 3] >> 16) as u16,
        }
    }

    /// Looks for an entry in the lines that [`Table::prefetch`] has fetched. If it may stand farther on, the next lines are
    /// fetched, for [`Table::find`].
    #[inline]
    pub(super) fn find_near(&self, key: &[u32; 10], protocol: u8, hash: u64) -> Near {
        let last = u32::from(protocol) << 8 | 1;
        let home = self.home(hash);
        let end = (home / Self::A_LINE + 2) * Self::A_LINE;
        for at in home..end {
            let Some(entry) = self.entries.get(at) else {
                return Near::Farther;
            };
            let words = entry.words();
            if words[..K] == key[..K] && words[K + 3] & 0xffff == last {
                return Near::Found(Self::read(words));
            }
            if !Self::taken(words) {
                return Near::Nothing;
            }
        }
        for at in [end, end + Self::A_LINE] {
            if let Some(entry) = self.entries.get(at) {
                prefetch(entry);
            }
        }
        Near::Farther
    }

    #[inline(always)]
    fn place_of(&self, key: &[u32; 10], protocol: u8, hash: u64) -> Option<usize> {
        let last = u32::from(protocol) << 8 | 1;
        let mut at = self.home(hash);
        for _ in 0..FARTHEST {
            let words = self.entries[at].words();
            if words[..K] == key[..K] && words[K + 3] & 0xffff == last {
                return Some(at);
            }
            if !Self::taken(words) {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    #[inline]
    pub(super) fn find(&self, key: &[u32; 10], protocol: u8, hash: u64) -> Option<Found> {
        self.place_of(key, protocol, hash)
            .map(|at| Self::read(self.entries[at].words()))
    }

    /// Puts an entry in the place of its older one, of the first one on its way that is `stale`, or into a free
    /// place. What it replaced comes back.
    pub(super) fn put(
        &mut self,
        key: &[u32; 10],
        protocol: u8,
        hash: u64,
        found: Found,
        stale: impl Fn(&Found) -> bool,
    ) -> Result<Option<Entry>, Full> {
        let (at, replaced) = match self.place_of(key, protocol, hash) {
            Some(at) => (at, true),
            None => {
                let mut chosen = None;
                let mut at = self.home(hash);
                for _ in 0..FARTHEST {
                    let words = self.entries[at].words();
                    if !Self::taken(words) {
                        chosen = (self.len < self.most).then_some((at, false));
                        break;
                    }
                    if stale(&Self::read(words)) {
                        chosen = Some((at, true));
                        break;
                    }
                    at = self.next(at);
                }
                chosen.ok_or(Full)?
            }
        };
        let words = self.entries[at].words_mut();
        let old = replaced.then(|| Entry::read::<W, K>(words));
        words[..K].copy_from_slice(&key[..K]);
        words[K] = found.generation;
        words[K + 1] = found.expires;
        words[K + 2] = found.path;
        words[K + 3] = u32::from(found.number) << 16 | u32::from(protocol) << 8 | 1;
        self.len += usize::from(!replaced);
        Ok(old)
    }

    /// Has an entry hold for another generation, until another time; false if it is not there.
    pub(super) fn renew(
        &mut self,
        key: &[u32; 10],
        protocol: u8,
        hash: u64,
        generation: u32,
        expires: u32,
    ) -> bool {
        let Some(at) = self.place_of(key, protocol, hash) else {
            return false;
        };
        let words = self.entries[at].words_mut();
        (words[K], words[K + 1]) = (generation, expires);
        true
    }

    /// How many places there are, taken ones and free ones.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The entries in a stretch of places, and which place each stands in.
    pub(super) fn stretch(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let end = places.end.min(self.entries.len());
        let start = places.start.min(end);
        let words = self.entries[start..end].iter().map(|entry| entry.words());
        (start..)
            .zip(words)
            .filter(|(_, words)| Self::taken(words))
            .map(|(place, words)| (place, Entry::read::<W, K>(words)))
    }

    pub(super) fn remove(&mut self, key: &[u32; 10], protocol: u8, hash: u64) -> Option<Found> {
        let at = self.place_of(key, protocol, hash)?;
        let found = Self::read(self.entries[at].words());
        self.clear(at);
        Some(found)
    }

    /// Empties a place and closes the gap.
    fn clear(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at = self.next(at);
            let words = self.entries[at].words();
            if !Self::taken(words) {
                break;
            }
            let mut key = [0; 10];
            key[..K].copy_from_slice(&words[..K]);
            let home = self.home(self.hash(&key));
            // An entry may fill the hole unless its home lies cyclically behind the hole.
            if self.distance(home, at) >= self.distance(hole, at) {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
        }
        self.entries[hole].words_mut().fill(0);
        self.len -= 1;
    }

    /// Looks at up to `budget` places, going round, and empties those for which `dead` holds.
    pub(super) fn sweep(&mut self, budget: usize, mut dead: impl FnMut(&Entry) -> bool) {
        if self.len == 0 {
            return;
        }
        for _ in 0..budget.min(self.entries.len()) {
            if self.cursor >= self.entries.len() {
                self.cursor = 0;
            }
            let words = self.entries[self.cursor].words();
            if Self::taken(words) && dead(&Entry::read::<W, K>(words)) {
                // Another entry may have moved here: look again next time.
                self.clear(self.cursor);
            } else {
                self.cursor += 1;
            }
        }
    }
}
