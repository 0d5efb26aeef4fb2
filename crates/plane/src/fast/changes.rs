//! What is to be carried over to the kernel, and what of it has to wait.

use std::collections::VecDeque;

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
