//! The decision cache: what becomes of new connections to a service, whatever their source port.
//!
//! Made from a walk each way, both of which asked nothing of the client's port but that it lies in a range. The
//! program in the kernel makes flows from it without the engine, which learns of them afterwards.
//!
//! Where a NAT gateway is on the way, a decision is about a block of the client's ports, for which as many of the gateway's
//! are set aside.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};

use hashbrown::HashMap;

use atoll_fabric::Course;
use atoll_fabric::flows::ReservedId;

use super::Key;

/// A decision. Both paths are held by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Path and generation of what opens the connection.
    pub there: (u32, u32),
    /// The same of what answers.
    pub back: (u32, u32),
    /// The key of what answers, with the destination port (the client's) left 0.
    pub reply: Key,
    /// The client's ports.
    pub ports: RangeInclusive<u16>,
    /// What a NAT gateway makes of them.
    pub translated: Option<Translated>,
    /// Until when flows are made from it, in milliseconds, wrapping.
    pub expires: u32,
    /// How long such flows hold at first, in milliseconds.
    pub hold: u32,
    /// By which the flows made from it name it; another one whenever it is kept, and never 0.
    pub number: u32,
}

/// What a decision has said, for as long as flows may come up that were made from it.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Path and generation of what opens a connection.
    pub there: (u32, u32),
    /// The same of what answers.
    pub back: (u32, u32),
    /// Ports that were set aside for it.
    pub reserved: Option<ReservedId>,
    /// What its connections leave behind.
    pub course: Course,
}

/// The grounds of all decisions that stand, and of those that have ended until everything made from them is known: in
/// the order in which they ended, in four parts.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    by_number: HashMap<u32, Ground>,
    ended: VecDeque<u32>,
    /// How many of them are not to be kept any longer.
    over: usize,
    /// How many of them ended before the last time but one that decisions were looked through, and before the last one.
    before: [usize; 2],
    last: u32,
}

/// Most grounds of ended decisions: beyond, the earliest goes sooner.
const MOST_ENDED: usize = 65_536;

impl Grounds {
    /// Takes up a decision's; gives its number.
    pub(super) fn add(&mut self, ground: Ground) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.by_number.contains_key(&self.last) {
                break;
            }
        }
        self.by_number.insert(self.last, ground);
        self.last
    }

    pub(super) fn get(&self, number: u32) -> Option<&Ground> {
        self.by_number.get(&number)
    }

    /// A decision has ended. What is not to be kept any longer comes back.
    pub(super) fn end(&mut self, number: u32) -> Option<Ground> {
        self.ended.push_back(number);
        if self.ended.len() <= MOST_ENDED {
            return None;
        }
        self.drop_front(1).next()
    }

    /// Decisions are looked through. What had ended before the last time but one is not to be kept any longer: a full round lies
    /// between, in which the kernel was told and whatever it had made by then has come to be known.
    pub(super) fn turn(&mut self) {
        self.over = self.before[0];
        self.before = [self.before[1], self.ended.len()];
    }

    /// Lets go of so many at most that are not to be kept any longer: they come back.
    pub(super) fn let_go(&mut self, most: usize) -> impl Iterator<Item = Ground> {
        self.drop_front(most.min(self.over))
    }

    fn drop_front(&mut self, count: usize) -> impl Iterator<Item = Ground> {
        self.over = self.over.saturating_sub(count);
        self.before = self.before.map(|before| before.saturating_sub(count));
        let Grounds { by_number, ended, .. } = self;
        ended
            .drain(..count)
            .filter_map(|number| by_number.remove(&number))
    }
}

/// Ports that a NAT gateway puts for the client's: those with the same low byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translated {
    /// The first of their block.
    pub block: u16,
    /// What is set aside for it.
    pub reserved: ReservedId,
}

#[cfg(test)]
impl Decision {
    /// What answers see of a client's port.
    pub(crate) fn seen_port(&self, port: u16) -> u16 {
        match &self.translated {
            Some(translated) => translated.block | port & (atoll_fabric::flows::BLOCK - 1),
            None => port,
        }
    }
}

/// Decisions by the key of what they are about, its source port left 0, or that of its block's first. Bounded. They stand
/// at places, so that they can be gone over in pieces.
#[derive(Debug)]
pub(crate) struct Decisions {
    places: Vec<Option<(Key, Decision)>>,
    free: Vec<usize>,
    numbers: HashMap<Key, usize>,
    /// What was put or removed since it was last asked.
    changed: Vec<Key>,
}

/// Most decisions of a host.
pub(crate) const MOST: usize = 16_384;

impl Default for Decisions {
    fn default() -> Decisions {
        Decisions {
            // Memory is taken as it is used, and no walk waits for all of it to be moved.
            places: Vec::with_capacity(MOST),
            free: Vec::new(),
            numbers: HashMap::with_capacity(MOST),
            changed: Vec::new(),
        }
    }
}

impl Decisions {
    pub(crate) fn get(&self, ask: &Key) -> Option<&Decision> {
        let place = self.places.get(*self.numbers.get(ask)?)?;
        place.as_ref().map(|(_, decision)| decision)
    }

    /// Places, empty ones too: what [`Decisions::stretch`] counts in.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// What stands in a stretch of places. None moves while it stands.
    pub(crate) fn stretch(&self, places: Range<usize>) -> impl Iterator<Item = &(Key, Decision)> {
        let end = places.end.min(self.places.len());
        let stretch = self.places.get(places.start.min(end)..end);
        stretch.into_iter().flatten().flatten()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.numbers.len() < MOST
    }

    /// Keeps a decision; the one that it replaces comes back.
    pub(crate) fn put(&mut self, ask: Key, decision: Decision) -> Option<Decision> {
        self.changed.push(ask);
        let place = *self.numbers.entry(ask).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        let place = self.places.get_mut(place)?;
        place.replace((ask, decision)).map(|(_, replaced)| replaced)
    }

    /// Removes those in a stretch of places that do not hold any more; they come back.
    pub(crate) fn sweep(&mut self, places: Range<usize>, holds: impl Fn(&Decision) -> bool) -> Vec<Decision> {
        let mut gone = Vec::new();
        let all = self.places.iter_mut().enumerate();
        for (number, place) in all.take(places.end).skip(places.start) {
            if let Some((ask, decision)) = place.take_if(|(_, decision)| !holds(decision)) {
                self.numbers.remove(&ask);
                self.free.push(number);
                self.changed.push(ask);
                gone.push(decision);
            }
        }
        gone
    }

    pub(crate) fn take_changes(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.changed);
    }
}
