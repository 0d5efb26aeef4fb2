//! Interfaces, and finding them by id and by private address.
//!
//! A walk looks up two interfaces among all of a region's, and waits for memory more than for anything else. So the
//! interfaces stand side by side, each in cache lines of its own, and an index is one array of words: a lookup reads
//! one line of the index and then the interface itself, which tells its own key.

use std::hash::BuildHasher;
use std::net::IpAddr;

use atoll_memory::prefetch;
use atoll_model::{EniId, ResourceId, VpcId};
use hashbrown::DefaultHashBuilder;

use crate::network_interface::Interface;

/// Where an interface stands, as long as there is one with its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(u32);

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    places: Vec<Option<Interface>>,
    free: Vec<u32>,
    by_id: Index,
    by_address: Index,
    hasher: DefaultHashBuilder,
}

impl Interfaces {
    fn hash_of(&self, id: EniId) -> u32 {
        self.hasher.hash_one(id.digits().bits()) as u32
    }

    fn hash_of_address(&self, vpc: VpcId, addr: IpAddr) -> u32 {
        let vpc = vpc.digits().bits();
        match addr {
            IpAddr::V4(a) => self.hasher.hash_one((vpc, a.to_bits())) as u32,
            IpAddr::V6(a) => self.hasher.hash_one((vpc, a.to_bits())) as u32,
        }
    }

    /// The interface that stands at a place.
    #[inline]
    pub(crate) fn at(&self, at: At) -> Option<&Interface> {
        self.places.get(at.0 as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get(&self, id: EniId) -> Option<&Interface> {
        let same = |place| self.at(At(place)).filter(|i| i.id == id);
        self.by_id.find(self.hash_of(id), same)
    }

    /// The interface that has a private address of a VPC.
    #[inline]
    pub(crate) fn with_address(&self, vpc: VpcId, addr: IpAddr) -> Option<&Interface> {
        let same = |place| self.at(At(place)).filter(|i| i.vpc == vpc && i.has(addr));
        self.by_address.find(self.hash_of_address(vpc, addr), same)
    }

    /// Has the index's word for an id fetched; answers the hash, for [`Interfaces::guess`].
    pub(crate) fn ask_for(&self, id: EniId) -> u32 {
        let hash = self.hash_of(id);
        self.by_id.prefetch(hash);
        hash
    }

    /// The same for an address of a VPC and [`Interfaces::guess_by_address`].
    pub(crate) fn ask_for_address(&self, vpc: VpcId, addr: IpAddr) -> u32 {
        let hash = self.hash_of_address(vpc, addr);
        self.by_address.prefetch(hash);
        hash
    }

    /// Where most likely the interface stands whose id has that hash; its memory is fetched.
    pub(crate) fn guess(&self, hash: u32) -> Option<At> {
        self.fetched(self.by_id.find(hash, Some)?)
    }

    /// Where most likely the interface stands whose address has that hash; its memory is fetched.
    pub(crate) fn guess_by_address(&self, hash: u32) -> Option<At> {
        self.fetched(self.by_address.find(hash, Some)?)
    }

    fn fetched(&self, place: u32) -> Option<At> {
        prefetch(self.places.get(place as usize)?);
        Some(At(place))
    }

    fn find(&self, id: EniId) -> Option<At> {
        let same = |place| self.at(At(place)).filter(|i| i.id == id).map(|_| At(place));
        self.by_id.find(self.hash_of(id), same)
    }

    /// Puts an interface where the one with its id stood, else at a new place.
    pub(crate) fn put(&mut self, interface: Interface) -> At {
        let at = self.find(interface.id).unwrap_or_else(|| {
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                (self.places.len() - 1) as u32
            });
            self.by_id.insert(self.hash_of(interface.id), place);
            At(place)
        });
        if let Some(place) = self.places.get_mut(at.0 as usize) {
            *place = Some(interface);
        }
        at
    }

    /// Takes an interface away, which no address leads to any more.
    pub(crate) fn remove(&mut self, id: EniId) {
        if let Some(At(place)) = self.find(id) {
            self.by_id.remove(self.hash_of(id), place);
            if let Some(emptied) = self.places.get_mut(place as usize) {
                *emptied = None;
                self.free.push(place);
            }
        }
    }

    /// Leads an address to an interface that has it, and no longer to whoever it led to.
    pub(crate) fn lead(&mut self, vpc: VpcId, addr: IpAddr, to: At) {
        let hash = self.hash_of_address(vpc, addr);
        let same = |place| {
            self.at(At(place))
                .filter(|i| i.vpc == vpc && i.has(addr))
                .map(|_| place)
        };
        if let Some(before) = self.by_address.find(hash, same) {
            self.by_address.remove(hash, before);
        }
        self.by_address.insert(hash, to.0);
    }

    /// Has an address lead to an interface no longer, if it is that one that it leads to.
    pub(crate) fn lead_no_more(&mut self, vpc: VpcId, addr: IpAddr, to: EniId) {
        if let Some(At(place)) = self.find(to) {
            self.by_address.remove(self.hash_of_address(vpc, addr), place);
        }
    }
}

/// Open addressing with linear probing, at most half full, deletion by shifting back. A word is 32 bits of the hash,
/// by which foreign interfaces are hardly ever read, and the place and one; zero is free.
#[derive(Clone, Debug, Default)]
struct Index {
    words: Vec<u64>,
    taken: usize,
}

fn word(hash: u32, place: u32) -> u64 {
    u64::from(hash) << 32 | (u64::from(place) + 1)
}

impl Index {
    fn mask(&self) -> usize {
        self.words.len().wrapping_sub(1)
    }

    /// Has a hash's word fetched.
    #[inline]
    fn prefetch(&self, hash: u32) {
        if let Some(word) = self.words.get(hash as usize & self.mask()) {
            prefetch(word);
        }
    }

    /// What `same` makes of the first place under a hash of which it makes anything.
    #[inline]
    fn find<T>(&self, hash: u32, same: impl Fn(u32) -> Option<T>) -> Option<T> {
        let mask = self.mask();
        let mut at = hash as usize & mask;
        loop {
            let word = *self.words.get(at)?;
            if word == 0 {
                return None;
            }
            if (word >> 32) as u32 == hash
                && let Some(found) = same((word as u32).wrapping_sub(1))
            {
                return Some(found);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u32, place: u32) {
        if (self.taken + 1) * 2 > self.words.len() {
            // Written, not only asked for as zero: so it is on huge pages where it is large (`memory`).
            let larger = std::iter::repeat_n(0, (self.words.len() * 2).max(16)).collect();
            let old = std::mem::replace(&mut self.words, larger);
            for word in old.into_iter().filter(|word| *word != 0) {
                self.settle(word);
            }
        }
        self.taken += 1;
        self.settle(word(hash, place));
    }

    fn settle(&mut self, word: u64) {
        let mask = self.mask();
        let mut at = (word >> 32) as usize & mask;
        while self.words[at] != 0 {
            at = (at + 1) & mask;
        }
        self.words[at] = word;
    }

    fn remove(&mut self, hash: u32, place: u32) {
        let mask = self.mask();
        let gone = word(hash, place);
        let mut hole = hash as usize & mask;
        loop {
            match self.words.get(hole) {
                Some(word) if *word == gone => break,
                None | Some(0) => return,
                Some(_) => hole = (hole + 1) & mask,
            }
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let word = self.words[at];
            if word == 0 {
                break;
            }
            // A word may fill the hole unless its home lies cyclically behind the hole.
            let home = (word >> 32) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.words[hole] = word;
                hole = at;
            }
        }
        self.words[hole] = 0;
        self.taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn an_index_finds_what_was_put_and_not_removed(
            // Few hashes, near the end of the array too: they collide and wrap.
            steps in proptest::collection::vec((any::<bool>(), prop_oneof![0u32..4, 12u32..20, 60u32..70], 0u32..30), 1..300)
        ) {
            let mut index = Index::default();
            let mut model: BTreeSet<(u32, u32)> = BTreeSet::new();
            for (puts, hash, place) in steps {
                if puts {
                    if model.insert((hash, place)) {
                        index.insert(hash, place);
                    }
                } else {
                    model.remove(&(hash, place));
                    index.remove(hash, place);
                }
                prop_assert_eq!(index.taken, model.len());
                for hash in (0..4).chain(12..20).chain(60..70) {
                    for place in 0..30 {
                        let found = index.find(hash, |p| (p == place).then_some(p));
                        prop_assert_eq!(found.is_some(), model.contains(&(hash, place)), "{} {}", hash, place);
                    }
                }
            }
        }
    }
}
