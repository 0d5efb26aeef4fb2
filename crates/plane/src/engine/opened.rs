//! For tests: a kernel that makes nothing itself.

use super::{Kernel, Life, Made, Seen};
use crate::cache::Key;
use crate::port::PortSlot;

/// By which ports flows were opened, from the first one on; that is all that is known of them.
#[derive(Default)]
pub(crate) struct Opened(pub Vec<PortSlot>);

impl Kernel for Opened {
    fn seen(&self, _: &Key) -> Option<Seen> {
        None
    }

    fn next(&self) -> u32 {
        self.0.len() as u32 + 1
    }

    fn opener(&self, sequence: u32) -> Option<PortSlot> {
        self.0.get(sequence.checked_sub(1)? as usize).copied()
    }

    fn life(&self, _: u32) -> Option<Life> {
        None
    }

    fn made(&self, _: u32) -> Option<Made> {
        None
    }

    fn take(&self, _: u32) -> Life {
        Life::default()
    }

    fn known(&self, _: u32) {}

    fn give_back(&self, _: u32) {}

    fn forget(&self, _: &[Key]) {}
}
