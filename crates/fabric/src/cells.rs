//! Dependency cells: interned sets of components, each with a generation.
//!
//! A cached answer keeps a (cell, generation) pair and compares once a packet; a change bumps the cells that
//! contain a changed component, so the answers that depend on it, and no others, are walked again.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::component::{Changed, Component, Dependencies};
use crate::flows::Effects;

/// A cell; the number of its place in [`Cells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u32);

/// The interned sets.
#[derive(Debug)]
pub struct Cells {
    capacity: usize,
    generations: Vec<u32>,
    sets: Vec<Box<[Component]>>,
    free: Vec<u32>,
    /// Cells by their sets.
    by_set: HashTable<u32>,
    hasher: DefaultHashBuilder,
    by_component: HashMap<Component, Vec<u32>>,
    /// Cells whose generation rose, if somebody wants to know.
    risen: Option<Vec<CellId>>,
}

impl Cells {
    /// The cell that any change bumps: for answers that depend on too much to list, and for all new ones while
    /// there is no room for another set.
    pub const EVERYTHING: CellId = CellId(0);

    /// The same for answers given for want of a connection: any new connection bumps it too.
    const EVERY_CONNECTION: CellId = CellId(1);

    /// Room for so many sets.
    pub fn new(capacity: usize) -> Cells {
        // Memory is taken as it is used, and no walk waits for all of it to be moved.
        let mut generations = Vec::with_capacity(capacity.saturating_add(2));
        generations.resize(2, 0);
        let mut sets = Vec::with_capacity(capacity.saturating_add(2));
        sets.resize(2, Box::default());
        Cells {
            capacity: capacity.max(1),
            generations,
            sets,
            free: Vec::new(),
            by_set: HashTable::with_capacity(capacity),
            hasher: DefaultHashBuilder::default(),
            by_component: HashMap::new(),
            risen: None,
        }
    }

    /// Has the cells kept whose generation rises, for [`Cells::take_risen`]: for a copy of the generations
    /// elsewhere.
    pub fn watch(&mut self) {
        self.risen.get_or_insert_default();
    }

    /// Moves the cells out whose generation rose since the last call; one may come twice.
    pub fn take_risen(&mut self, into: &mut Vec<CellId>) {
        if let Some(risen) = &mut self.risen {
            into.append(risen);
        }
    }

    fn rise(&mut self, cell: u32) {
        if let Some(generation) = self.generations.get_mut(cell as usize) {
            *generation = generation.wrapping_add(1);
        }
        if let Some(risen) = &mut self.risen {
            risen.push(CellId(cell));
        }
    }

    /// The cell of a set; a new one when the set is new.
    pub fn intern(&mut self, dependencies: &Dependencies) -> CellId {
        self.intern_again(Cells::EVERYTHING, dependencies)
    }

    /// The same, for a set that mostly is the one of a cell that it had `before`: there it is looked for first.
    pub fn intern_again(&mut self, before: CellId, dependencies: &Dependencies) -> CellId {
        let shared = if dependencies.wants_connection() {
            Cells::EVERY_CONNECTION
        } else {
            Cells::EVERYTHING
        };
        if dependencies.is_everything() {
            return shared;
        }
        let mut scratch = [Component::default(); Dependencies::MOST];
        let given = dependencies.components();
        let Some(set) = scratch.get_mut(..given.len()) else {
            return shared;
        };
        set.copy_from_slice(given);
        set.sort_unstable();
        let mut length = 0;
        for i in 0..set.len() {
            if i == 0 || set[i] != set[length - 1] {
                set[length] = set[i];
                length += 1;
            }
        }
        let set = &set[..length];
        if self
            .sets
            .get(before.0 as usize)
            .is_some_and(|known| **known == *set)
            && !set.is_empty()
        {
            return before;
        }
        let hash = self.hasher.hash_one(set);
        let is_it = |cell: &u32| self.sets.get(*cell as usize).is_some_and(|known| **known == *set);
        if let Some(cell) = self.by_set.find(hash, is_it) {
            return CellId(*cell);
        }
        if self.by_set.len() >= self.capacity {
            return shared;
        }
        let cell = match self.free.pop() {
            Some(cell) => cell,
            None => {
                self.generations.push(0);
                self.sets.push(Box::default());
                (self.sets.len() - 1) as u32
            }
        };
        self.sets[cell as usize] = set.into();
        let (sets, hasher) = (&self.sets, &self.hasher);
        let again = |cell: &u32| sets.get(*cell as usize).map_or(0, |set| hasher.hash_one(&**set));
        self.by_set.insert_unique(hash, cell, again);
        for component in set {
            self.by_component.entry(*component).or_default().push(cell);
        }
        CellId(cell)
    }

    /// A cell's generation now: an answer kept with another one is stale.
    #[inline]
    pub fn generation(&self, cell: CellId) -> u32 {
        self.generations.get(cell.0 as usize).copied().unwrap_or(u32::MAX)
    }

    /// Makes every answer stale that depends on a changed component. Returns the cells bumped.
    pub fn bump(&mut self, changed: &Changed) -> Vec<CellId> {
        if changed.is_empty() {
            return Vec::new();
        }
        let mut bumped = vec![Cells::EVERYTHING, Cells::EVERY_CONNECTION];
        for component in changed.components() {
            bumped.extend(
                self.by_component
                    .get(component)
                    .into_iter()
                    .flatten()
                    .map(|c| CellId(*c)),
            );
        }
        bumped.sort_unstable();
        bumped.dedup();
        for cell in &bumped {
            self.rise(cell.0);
        }
        bumped
    }

    /// Makes every answer stale that was given for want of a connection that these effects begin. To be called
    /// with all effects that are committed.
    pub fn begin(&mut self, effects: &Effects) {
        for component in effects.begun() {
            let cells = self.by_component.get(&component).cloned().unwrap_or_default();
            for cell in cells.into_iter().chain([Cells::EVERY_CONNECTION.0]) {
                self.rise(cell);
            }
        }
    }

    /// Forgets every cell but those in use, so that new sets find room; forgotten ones are bumped.
    pub fn retain(&mut self, in_use: impl Fn(CellId) -> bool) {
        for cell in 2..self.sets.len() as u32 {
            let set = &self.sets[cell as usize];
            if set.is_empty() || in_use(CellId(cell)) {
                continue;
            }
            for component in set {
                if let Some(cells) = self.by_component.get_mut(component) {
                    cells.retain(|c| *c != cell);
                    if cells.is_empty() {
                        self.by_component.remove(component);
                    }
                }
            }
            let hash = self.hasher.hash_one(&**set);
            if let Ok(found) = self.by_set.find_entry(hash, |kept| *kept == cell) {
                found.remove();
            }
            self.sets[cell as usize] = Box::default();
            self.rise(cell);
            self.free.push(cell);
        }
    }

    /// Number of sets held.
    pub fn len(&self) -> usize {
        self.by_set.len()
    }

    /// Whether no set is held.
    pub fn is_empty(&self) -> bool {
        self.by_set.is_empty()
    }

    /// Whether a new set would share [`Cells::EVERYTHING`] until [`Cells::retain`] makes room.
    pub fn is_full(&self) -> bool {
        self.by_set.len() >= self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::{EniId, NetworkAclId};

    fn changed(components: &[Component]) -> Changed {
        let mut changed = Changed::default();
        components.iter().for_each(|c| changed.add(*c));
        changed.seal()
    }

    fn set(components: &[Component]) -> Dependencies {
        let mut dependencies = Dependencies::default();
        components.iter().for_each(|c| dependencies.add(*c));
        dependencies
    }

    #[test]
    fn a_change_bumps_the_cells_that_contain_it_and_no_others() {
        let (a, b) = (
            Component::interface(EniId::new(1)),
            Component::interface(EniId::new(2)),
        );
        let acl = Component::network_acl(NetworkAclId::new(1));
        let mut cells = Cells::new(8);
        let one = cells.intern(&set(&[acl, a, a]));
        let two = cells.intern(&set(&[b, acl]));
        assert_eq!(
            cells.intern(&set(&[a, acl])),
            one,
            "order and repetition do not matter"
        );
        assert_ne!(one, two);
        let before = (cells.generation(one), cells.generation(two));
        cells.bump(&changed(&[a]));
        assert_ne!(cells.generation(one), before.0);
        assert_eq!(cells.generation(two), before.1);
        cells.bump(&changed(&[acl]));
        assert_ne!(cells.generation(two), before.1);
    }

    #[test]
    fn full_cells_share_one_that_every_change_bumps_until_room_is_made() {
        let name = |i| Component::interface(EniId::new(i));
        let mut cells = Cells::new(2);
        let one = cells.intern(&set(&[name(1)]));
        cells.intern(&set(&[name(2)]));
        let shared = cells.intern(&set(&[name(3)]));
        assert_eq!(shared, Cells::EVERYTHING);
        let before = cells.generation(shared);
        cells.bump(&changed(&[name(9)]));
        assert_ne!(cells.generation(shared), before);

        let kept = cells.generation(one);
        cells.retain(|c| c == one);
        assert_eq!(cells.generation(one), kept);
        let three = cells.intern(&set(&[name(3)]));
        assert_ne!(three, Cells::EVERYTHING);
        cells.bump(&changed(&[name(2)]));
        assert_eq!(cells.generation(one), kept);
    }
}
