//! The decision cache: what becomes of new connections to a service, whatever their source port.
//!
//! Made from a walk each way, both of which asked nothing of the client's port but that it lies in a range. The
//! program in the kernel makes flows from it without the engine, which learns of them afterwards.
//!
//! Where a NAT gateway is on the way, a decision is about a block of the client's ports, for which as many of the gateway's
//! are set aside.

use std::ops::RangeInclusive;

use hashbrown::HashMap;

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

/// Decisions by the key of what they are about, its source port left 0, or that of its block's first. Bounded.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    kept: HashMap<Key, Decision>,
    /// What was put or removed since it was last asked.
    changed: Vec<Key>,
}

/// Most decisions of a host.
pub(crate) const MOST: usize = 16_384;

impl Decisions {
    pub(crate) fn get(&self, ask: &Key) -> Option<&Decision> {
        self.kept.get(ask)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Decision)> {
        self.kept.iter()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.kept.len() < MOST
    }

    /// Keeps a decision; the one that it replaces comes back.
    pub(crate) fn put(&mut self, ask: Key, decision: Decision) -> Option<Decision> {
        self.changed.push(ask);
        self.kept.insert(ask, decision)
    }

    /// Removes those that do not hold any more; they come back.
    pub(crate) fn sweep(&mut self, holds: impl Fn(&Decision) -> bool) -> Vec<Decision> {
        let changed = &mut self.changed;
        let gone = self.kept.extract_if(|ask, decision| {
            let dead = !holds(decision);
            if dead {
                changed.push(*ask);
            }
            dead
        });
        gone.map(|(_, decision)| decision).collect()
    }

    pub(crate) fn take_changes(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.changed);
    }
}
