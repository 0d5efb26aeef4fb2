//! What is to be carried over to the kernel, and what of it has to wait.

use std::collections::VecDeque;

use hashbrown::HashSet;

use atoll_fabric::CellId;

use crate::cache::Key;
use crate::drops::KeptDrop;
use crate::elsewhere::WireChange;
use crate::port::PortSlot;

/// What changed of what the engine keeps, since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Keys that were put, replaced or removed.
    pub keys: Vec<Key>,
    /// Keys whose answers hold for another generation than before, and are else as they were.
    pub renewed: Vec<Key>,
    /// Places of paths that were filled or emptied.
    pub paths: Vec<u32>,
    /// Cells whose generation rose.
    pub cells: Vec<CellId>,
    /// Interfaces that became ports, or ceased to be.
    pub ports: Vec<(u32, Option<PortSlot>)>,
    /// Decisions that were put or removed.
    pub decisions: Vec<Key>,
    /// Drop verdicts that are worth having.
    pub drops: Vec<KeptDrop>,
    /// Wires that came or went.
    pub wires: Vec<WireChange>,
    /// Which keys were met already.
    met: HashSet<Key>,
}

/// Keys for which there is room all the time: more than come of a batch.
const MOST_MET: usize = 1024;

impl Changes {
    /// Leaves each key once. Walks of one flow, one after the other, put its answers again and again, and forget them in
    /// between; each costs a call or two of the kernel.
    pub(super) fn leave_each_once(&mut self) {
        if self.keys.len() > 1 {
            let met = &mut self.met;
            self.keys.retain(|key| met.insert(*key));
            met.clear();
            // To clear it takes as long as it is large.
            met.shrink_to(MOST_MET);
        }
    }
}

/// Answers that wait until the packets that led to them are out, with the round in which they came. Each thread
/// has its own, since each sends for itself.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(super) queue: VecDeque<(Wait, u32)>,
    pub(super) round: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Flow(Key),
    Decision(Key),
    /// Nothing but its generation is another.
    Renewed(Key),
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use atoll_fabric::flows::BLOCK;

    use super::*;

    #[test]
    fn what_changes_again_and_again_is_carried_over_once() {
        let key = |port| Key::from_words([1; 10], 6, false).with_source_port(port);
        let mut changes = Changes::default();
        for ports in [vec![], vec![7], vec![7, 9, 7, 7, 8, 9], (0..BLOCK * 16).collect()] {
            changes.keys = ports.iter().chain(&ports).map(|port| key(*port)).collect();
            changes.leave_each_once();
            let mut wanted: Vec<Key> = Vec::new();
            for port in ports {
                if !wanted.contains(&key(port)) {
                    wanted.push(key(port));
                }
            }
            assert_eq!(changes.keys, wanted);
            assert!(changes.met.is_empty() && changes.met.capacity() < 4 * MOST_MET);
        }
    }
}
