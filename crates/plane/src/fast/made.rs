//! The flows that the program makes, as the engine asks about them.
//!
//! Each has a place in a table that both sides have mapped (`struct made`), where they agree in one step who ends it:
//! the engine takes it, or the program has ended it before. So most connections cost the engine a look at one word.

use std::sync::atomic::{Ordering, fence};

use super::layout::{self, Flow, Made};
use super::tables::Flows;
use super::words::keys_of;
use crate::cache::Key;
use crate::engine::{self, Kernel, Life, Seen};
use crate::port::PortSlot;
use crate::sys::bpf::SharedArray;

/// The engine's way to the program's tables.
pub(super) struct MadeFlows {
    pub(super) flows: Flows,
    pub(super) made: SharedArray,
    pub(super) clock: SharedArray,
}

/// Words of a made flow's place.
const SEQUENCE: usize = 0;
const STATE: usize = 1;
const SINCE: usize = 2;
const ENDED: usize = 3;
const SLOT: usize = 6;

/// A made flow's place.
fn place(sequence: u32) -> usize {
    (sequence % layout::MADE_PLACES) as usize
}

fn life(state: u32, since: u32, ended: u32) -> Life {
    Life {
        since,
        fin: (state & layout::MADE_FIN != 0, state & layout::MADE_FIN_BACK != 0),
        fin_at: ended,
        over: state & (layout::MADE_OVER | layout::MADE_TAKEN) != 0,
    }
}

/// What the program counted of a direction.
pub(super) fn seen(flow: &Flow) -> Seen {
    Seen {
        packets: flow.packets,
        made: (flow.state & layout::MADE != 0).then_some(flow.sequence),
    }
}

impl MadeFlows {
    fn word(&self, sequence: u32, nth: usize) -> u32 {
        let word = self.made.nth_word(place(sequence), nth);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn stands(&self, sequence: u32) -> bool {
        let word = self.made.nth_word(place(sequence), SEQUENCE);
        word.is_some_and(|word| word.load(Ordering::Acquire) == sequence)
    }

    /// All of what stands at a flow's place.
    pub(super) fn whole(&self, sequence: u32) -> Option<Made> {
        if !self.stands(sequence) {
            return None;
        }
        let made: Made = self.made.read(place(sequence))?;
        fence(Ordering::Acquire);
        self.stands(sequence).then_some(made)
    }

    /// Takes a flow that an engine which is no more left unknown, be it that it had taken it and came no further. `None` where
    /// it has ended, or is known.
    pub(super) fn inherit(&self, sequence: u32) -> Option<Life> {
        let word = self.made.nth_word(place(sequence), STATE)?;
        let was = word.fetch_or(layout::MADE_TAKEN, Ordering::AcqRel);
        let unknown = was & (layout::MADE_OVER | layout::MADE_KNOWN) == 0;
        unknown.then(|| life(was, self.word(sequence, SINCE), self.word(sequence, ENDED)))
    }

    /// The number of the next flow to be made.
    pub(super) fn next(&self) -> u32 {
        let word = self.clock.nth_word(0, layout::NEXT_MADE);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }
}

impl Kernel for MadeFlows {
    fn seen(&self, key: &Key) -> Option<Seen> {
        self.flows.get(key).map(|flow| seen(&flow))
    }

    fn next(&self) -> u32 {
        MadeFlows::next(self)
    }

    fn opener(&self, sequence: u32) -> Option<PortSlot> {
        self.stands(sequence).then(|| PortSlot(self.word(sequence, SLOT)))
    }

    fn life(&self, sequence: u32) -> Option<Life> {
        self.stands(sequence).then(|| {
            life(
                self.word(sequence, STATE),
                self.word(sequence, SINCE),
                self.word(sequence, ENDED),
            )
        })
    }

    fn made(&self, sequence: u32) -> Option<engine::Made> {
        let made = self.whole(sequence)?;
        let (there, back) = keys_of(&made);
        Some(engine::Made {
            there,
            back,
            there_path: (made.path, made.path_version),
            back_path: (made.reply_path, made.reply_path_version),
            decision: made.decision,
        })
    }

    fn take(&self, sequence: u32) -> Life {
        let word = self.made.nth_word(place(sequence), STATE);
        let was = word.map_or(layout::MADE_OVER, |word| {
            word.fetch_or(layout::MADE_TAKEN, Ordering::AcqRel)
        });
        life(was, self.word(sequence, SINCE), self.word(sequence, ENDED))
    }

    fn known(&self, sequence: u32) {
        if let Some(word) = self.made.nth_word(place(sequence), STATE) {
            word.fetch_or(layout::MADE_KNOWN, Ordering::AcqRel);
        }
    }

    fn give_back(&self, first: u32) {
        if let Some(word) = self.clock.nth_word(0, layout::FREED) {
            word.store(first, Ordering::Release);
        }
    }

    fn forget(&self, keys: &[Key]) {
        self.flows.remove_all(keys.iter());
    }
}
