//! The flow cache: a walk's answer, kept for later packets of its flow.
//!
//! An entry holds what to compare ([`Key`], the generation of its dependency cell, until when it holds) and
//! where its [`Path`] stands: everything that many flows share, MAC addresses, the port they leave by, address
//! rewriting. Only a port that NAT chose is a flow's own. So an entry takes half a cache line (IPv4) or one
//! (IPv6), and a packet costs one random access to memory.
//!
//! The cache may forget anything at any time: the state of connections is not in here but in `fabric`'s flows.

mod decision;
mod key;
mod path;
mod table;

use std::ops::Range;

use hashbrown::HashSet;

use atoll_fabric::{CellId, Cells, Course};

pub(crate) use decision::{Decision, Ground, MOST as MOST_DECISIONS, Translated};
pub(crate) use key::Key;
pub(crate) use path::{Path, PortRole, Way};

use crate::port::PortSlot;
use crate::sys::slab::{Half, Line, Pages};
use decision::{Decisions, Grounds};
use path::Paths;
use table::Table;

pub(crate) use table::{Found, Near};

/// Entries of both families and the paths they share.
pub(crate) struct FlowCache {
    v4: Table<Half, 4>,
    v6: Table<Line, 10>,
    paths: Paths,
    version: u64,
    /// Keys that were put or removed, if somebody wants to know.
    changed: Option<Vec<Key>>,
    /// Keys whose answers hold for another generation, if somebody wants to know.
    renewed: Vec<Key>,
    decisions: Decisions,
    /// Each has its paths as long as it stands.
    grounds: Grounds,
}

impl FlowCache {
    /// For so many entries of each family (one a direction); `seed` makes the order unforeseeable.
    pub(crate) fn new(ipv4: usize, ipv6: usize, paths: usize, seed: u64) -> FlowCache {
        FlowCache {
            v4: Table::new(ipv4, seed),
            v6: Table::new(ipv6, seed),
            paths: Paths::new(paths),
            version: 0,
            changed: None,
            renewed: Vec::new(),
            decisions: Decisions::default(),
            grounds: Grounds::default(),
        }
    }

    /// Memory that will be touched soon, each stretch once: to be fetched by whoever keeps nobody waiting.
    pub(crate) fn unfetched(&mut self) -> impl Iterator<Item = Pages> {
        self.v4.unfetched().into_iter().chain(self.v6.unfetched())
    }

    /// Has changes kept for [`FlowCache::take_changes`].
    pub(crate) fn watch(&mut self) {
        self.changed.get_or_insert_default();
        self.paths.watch();
    }

    /// Counts a key as changed though it is not kept here.
    pub(crate) fn touch(&mut self, key: &Key) {
        if let Some(changed) = &mut self.changed {
            changed.push(*key);
        }
    }

    /// What becomes of new connections like this.
    pub(crate) fn decision(&self, ask: &Key) -> Option<&Decision> {
        self.decisions.get(ask)
    }

    /// Whether a decision holds now.
    pub(crate) fn holds(&self, decision: &Decision, cells: &Cells, now: u32) -> bool {
        holds(&self.paths, decision, cells, now)
    }

    /// Whether what a decision has said holds now, however long it is to.
    pub(crate) fn is_grounded(&self, ground: &Ground, cells: &Cells) -> bool {
        both_hold(&self.paths, ground.there, ground.back, cells)
    }

    /// What the decision with a number has said, if it may still be asked for.
    pub(crate) fn ground(&self, number: u32) -> Option<&Ground> {
        self.grounds.get(number)
    }

    /// Keeps a decision with its paths, and what its connections leave behind, if there is room. What is not kept comes back:
    /// the one that it replaces, or itself.
    pub(crate) fn decide(
        &mut self,
        ask: Key,
        decision: Decision,
        course: Course,
        there: Path,
        back: Path,
        cells: &Cells,
    ) -> Option<Decision> {
        if !self.decisions.has_room() {
            return Some(decision);
        }
        let generations = (cells.generation(there.cell), cells.generation(back.cell));
        let Some(there) = self.paths.intern(there) else {
            return Some(decision);
        };
        let Some(back) = self.paths.intern(back) else {
            self.paths.release(there);
            return Some(decision);
        };
        self.version += 1;
        let (there, back) = ((there, generations.0), (back, generations.1));
        let ground = Ground {
            there,
            back,
            reserved: decision.translated.map(|translated| translated.reserved),
            course,
        };
        let decision = Decision {
            there,
            back,
            number: self.grounds.add(ground),
            ..decision
        };
        let replaced = self.decisions.put(ask, decision)?;
        self.rest(&replaced);
        Some(replaced)
    }

    /// Lets what a decision has said stand a little longer, with its paths: until the flows that the kernel has made by it are
    /// known here.
    fn rest(&mut self, decision: &Decision) {
        if let Some(gone) = self.grounds.end(decision.number) {
            self.release(&gone);
        }
    }

    fn release(&mut self, ground: &Ground) {
        self.paths.release(ground.there.0);
        self.paths.release(ground.back.0);
    }

    /// Forgets decisions in a stretch of places ([`FlowCache::decision_places`]) that do not hold any more, or are not to. They
    /// come back.
    pub(crate) fn sweep_decisions(
        &mut self,
        places: Range<usize>,
        cells: &Cells,
        now: u32,
        ends: impl Fn(&Decision) -> bool,
    ) -> Vec<Decision> {
        let paths = &self.paths;
        let gone = self.decisions.sweep(places, |decision| {
            holds(paths, decision, cells, now) && !ends(decision)
        });
        for decision in &gone {
            self.rest(decision);
        }
        gone
    }

    /// Decisions are looked through from now on, and all is known that the kernel had made when they were last: what those
    /// have said that had ended before is not to be kept any longer.
    pub(crate) fn turn_grounds(&mut self) {
        self.grounds.turn();
    }

    /// Lets go of what is not to be kept any longer of what decisions have said, so many at most.
    pub(crate) fn let_grounds_go(&mut self, most: usize) {
        let FlowCache { grounds, paths, .. } = self;
        for ground in grounds.let_go(most) {
            paths.release(ground.there.0);
            paths.release(ground.back.0);
        }
    }

    /// Moves the decisions that changed out.
    pub(crate) fn take_changed_decisions(&mut self, into: &mut Vec<Key>) {
        self.decisions.take_changes(into);
    }

    /// Moves the keys and the places of paths that changed out.
    pub(crate) fn take_changes(&mut self, keys: &mut Vec<Key>, paths: &mut Vec<u32>) {
        if let Some(changed) = &mut self.changed {
            keys.append(changed);
        }
        self.paths.take_changed(paths);
    }

    /// A key's entry, whether it holds or not.
    pub(crate) fn peek(&self, key: &Key) -> Option<Found> {
        self.find(key, self.hash(key))
    }

    /// The path at a place, and the version of that place.
    pub(crate) fn path(&self, number: u32) -> (Option<&Path>, u32) {
        (self.paths.get(number), self.paths.version(number))
    }

    /// Places of both families, IPv4's first: what [`FlowCache::stretch`] counts in.
    pub(crate) fn places(&self) -> usize {
        self.v4.places() + self.v6.places()
    }

    /// The first place from there on in whose family anything is kept.
    pub(crate) fn worth_looking_at(&self, place: usize) -> usize {
        let v6 = self.v4.places();
        match place {
            _ if place < v6 && self.v4.len() > 0 => place,
            _ if self.v6.len() > 0 => place.max(v6),
            _ => self.places(),
        }
    }

    /// What is kept in a stretch of places: the place, the key and its entry, whether that holds or not. Entries
    /// move when others are forgotten, so one may be met twice, or missed, by who goes over the table in pieces.
    pub(crate) fn stretch(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Key, Found)> + '_ {
        let first_v6 = self.v4.places();
        let later = places.start.saturating_sub(first_v6)..places.end.saturating_sub(first_v6);
        let v4 = self
            .v4
            .stretch(places)
            .map(|(place, entry)| (place, entry, false));
        let v6 = self
            .v6
            .stretch(later)
            .map(move |(place, entry)| (first_v6 + place, entry, true));
        v4.chain(v6)
            .map(|(place, entry, v6)| (place, Key::from_words(entry.key, entry.protocol, v6), entry.found))
    }

    /// Changes whenever an entry or a path does: what was found before is then to be found again.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The key's hash, to be given back to the other calls.
    #[inline]
    pub(crate) fn hash(&self, key: &Key) -> u64 {
        if key.is_v6() {
            self.v6.hash(key.words())
        } else {
            self.v4.hash(key.words())
        }
    }

    /// Has the entry's cache line fetched.
    #[inline]
    pub(crate) fn prefetch(&self, key: &Key, hash: u64) {
        if key.is_v6() {
            self.v6.prefetch(hash)
        } else {
            self.v4.prefetch(hash)
        }
    }

    /// Finds a key's entry and has its path fetched; [`FlowCache::answer`] says whether it holds.
    #[inline]
    pub(crate) fn find(&self, key: &Key, hash: u64) -> Option<Found> {
        let found = if key.is_v6() {
            self.v6.find(key.words(), key.protocol(), hash)
        } else {
            self.v4.find(key.words(), key.protocol(), hash)
        };
        if let Some(found) = &found {
            self.paths.prefetch(found.path);
        }
        found
    }

    /// The same, but what stands farther from its place than [`FlowCache::prefetch`] has fetched is not looked for yet, only
    /// asked for.
    #[inline]
    pub(crate) fn find_near(&self, key: &Key, hash: u64) -> Near {
        let near = if key.is_v6() {
            self.v6.find_near(key.words(), key.protocol(), hash)
        } else {
            self.v4.find_near(key.words(), key.protocol(), hash)
        };
        if let Near::Found(found) = &near {
            self.paths.prefetch(found.path);
        }
        near
    }

    /// The path of an entry, if the answer holds. `now` is in milliseconds and may wrap.
    #[inline]
    pub(crate) fn answer(&self, found: &Found, cells: &Cells, now: u32) -> Option<&Path> {
        let path = self.paths.get(found.path)?;
        (found.holds(now) && found.generation == cells.generation(path.cell)).then_some(path)
    }

    /// The same in short.
    #[inline]
    pub(crate) fn way(&self, found: &Found, cells: &Cells, now: u32) -> Option<&Way> {
        let way = self.paths.way(found.path)?;
        (found.holds(now) && found.generation == cells.generation(way.cell())).then_some(way)
    }

    /// Keeps an answer until `expires`; false when there is no room.
    pub(crate) fn keep(
        &mut self,
        key: &Key,
        path: Path,
        number: u16,
        cells: &Cells,
        now: u32,
        expires: u32,
    ) -> bool {
        self.version += 1;
        let generation = cells.generation(path.cell);
        let Some(path) = self.paths.intern(path) else {
            return false;
        };
        let hash = self.hash(key);
        let found = Found {
            path,
            number,
            generation,
            expires,
        };
        let paths = &self.paths;
        let stale = |entry: &Found| {
            !entry.holds(now)
                || paths
                    .get(entry.path)
                    .is_none_or(|path| cells.generation(path.cell) != entry.generation)
        };
        let put = if key.is_v6() {
            self.v6.put(key.words(), key.protocol(), hash, found, stale)
        } else {
            self.v4.put(key.words(), key.protocol(), hash, found, stale)
        };
        match put {
            Ok(replaced) => {
                if let Some(changed) = &mut self.changed {
                    changed.push(*key);
                }
                if let Some(replaced) = replaced {
                    self.paths.release(replaced.found.path);
                    if let Some(changed) = &mut self.changed {
                        changed.push(Key::from_words(replaced.key, replaced.protocol, key.is_v6()));
                    }
                }
                true
            }
            Err(table::Full) => {
                self.paths.release(path);
                false
            }
        }
    }

    /// What is kept in a stretch of places and whose time has not come, but that a change has made stale: at most `most`
    /// of it. Returns where the next look begins.
    pub(crate) fn stale(
        &self,
        places: Range<usize>,
        cells: &Cells,
        now: u32,
        most: usize,
        into: &mut Vec<(Key, Found)>,
    ) -> usize {
        let end = places.end;
        for (place, key, found) in self.stretch(places) {
            let way = self.paths.way(found.path);
            if !found.holds(now) || way.is_none_or(|way| cells.generation(way.cell()) == found.generation) {
                continue;
            }
            if into.len() == most {
                return place;
            }
            into.push((key, found));
        }
        end
    }

    /// Has an answer hold again, by the same path, for its cell's generation as it is now. Its time may only get shorter.
    pub(crate) fn renew(&mut self, key: &Key, found: &Found, cells: &Cells, expires: u32) {
        let Some(path) = self.paths.get(found.path) else {
            return;
        };
        self.version += 1;
        let generation = cells.generation(path.cell);
        let hash = self.hash(key);
        let (words, protocol) = (key.words(), key.protocol());
        let stands = if key.is_v6() {
            self.v6.renew(words, protocol, hash, generation, expires)
        } else {
            self.v4.renew(words, protocol, hash, generation, expires)
        };
        if let Some(changed) = self.changed.as_mut().filter(|_| stands) {
            if expires == found.expires {
                self.renewed.push(*key);
            } else {
                changed.push(*key);
            }
        }
    }

    /// Moves the answers out that hold for another generation.
    pub(crate) fn take_renewed(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.renewed);
    }

    /// Places of decisions: what [`FlowCache::stale_decisions`] counts in.
    pub(crate) fn decision_places(&self) -> usize {
        self.decisions.places()
    }

    /// What decisions are about that a change has made stale, in a stretch of places.
    pub(crate) fn stale_decisions(&self, places: Range<usize>, cells: &Cells, now: u32, into: &mut Vec<Key>) {
        let stale = |decision: &Decision| {
            (decision.expires.wrapping_sub(now) as i32) > 0 && !self.holds(decision, cells, now)
        };
        let stretch = self.decisions.stretch(places);
        into.extend(
            stretch
                .filter(|(_, decision)| stale(decision))
                .map(|(ask, _)| *ask),
        );
    }

    /// Forgets a flow's answer.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.version += 1;
        let hash = self.hash(key);
        let gone = if key.is_v6() {
            self.v6.remove(key.words(), key.protocol(), hash)
        } else {
            self.v4.remove(key.words(), key.protocol(), hash)
        };
        if let Some(gone) = gone {
            self.paths.release(gone.path);
            if let Some(changed) = &mut self.changed {
                changed.push(*key);
            }
        }
    }

    /// Forgets every answer that leads out of a port.
    pub(crate) fn forget_port(&mut self, slot: PortSlot) {
        self.version += 1;
        self.paths.close(slot);
    }

    /// Looks at up to `budget` places of each table, going round, and forgets what does not hold any more.
    pub(crate) fn sweep(&mut self, cells: &Cells, now: u32, budget: usize) {
        self.version += 1;
        let (paths, changed) = (&mut self.paths, &mut self.changed);
        let mut released = |entry: &table::Entry, v6: bool| {
            let found = &entry.found;
            let dead = !found.holds(now)
                || paths
                    .get(found.path)
                    .is_none_or(|path| cells.generation(path.cell) != found.generation);
            if dead {
                paths.release(found.path);
                if let Some(changed) = changed {
                    changed.push(Key::from_words(entry.key, entry.protocol, v6));
                }
            }
            dead
        };
        self.v4.sweep(budget, |entry| released(entry, false));
        self.v6.sweep(budget, |entry| released(entry, true));
    }

    /// The cells that kept answers depend on.
    pub(crate) fn cells(&self) -> HashSet<CellId> {
        self.paths.cells()
    }

    /// Answers kept, those included that do not hold any more.
    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Paths in use.
    pub(crate) fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Bytes that an IPv4 connection takes: both directions at the fullest that a table gets.
    #[cfg(test)]
    pub(crate) fn bytes_a_connection() -> usize {
        2 * size_of::<Half>() * table::FULL.1 / table::FULL.0
    }
}

fn holds(paths: &Paths, decision: &Decision, cells: &Cells, now: u32) -> bool {
    (decision.expires.wrapping_sub(now) as i32) > 0 && both_hold(paths, decision.there, decision.back, cells)
}

fn both_hold(paths: &Paths, there: (u32, u32), back: (u32, u32), cells: &Cells) -> bool {
    [there, back].into_iter().all(|(path, generation)| {
        let path = paths.get(path);
        path.is_some_and(|path| cells.generation(path.cell) == generation)
    })
}

#[cfg(test)]
mod tests;
