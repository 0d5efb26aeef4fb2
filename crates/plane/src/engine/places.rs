//! Who has how many of the places for flows that the kernel made.
//!
//! A place is given back when the engine has looked at its flow, and that in order. Whoever opens connections faster than they
//! are looked at would take all of them, and others' connections would be walked one by one. So a port gets as many as stay
//! free beside it: one alone half of them, eleven that want all a twelfth each, and a twelfth is left for whoever comes
//! next. The internet's port, by which many come, gets some times that.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::buckets::Sender;
use super::made::Kernel;
use crate::fast::MOST_MADE;
use crate::port::{PortSlot, Ports};

/// The places that are taken.
#[derive(Debug)]
pub(super) struct Places {
    /// The first flow that is not counted yet.
    next: u32,
    /// At which port those were opened that are, in their order.
    openers: VecDeque<PortSlot>,
    taken: HashMap<PortSlot, u32>,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            next: 1,
            openers: VecDeque::new(),
            taken: HashMap::new(),
        }
    }
}

impl Places {
    /// Counts what was made since it was last asked.
    pub(super) fn count(&mut self, kernel: &dyn Kernel) {
        let end = kernel.next();
        while self.next != end
            && let Some(opener) = kernel.opener(self.next)
        {
            self.openers.push_back(opener);
            *self.taken.entry(opener).or_insert(0) += 1;
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The place of a flow is given back, the first that was not yet.
    pub(super) fn give_back(&mut self, sequence: u32) {
        let Some(opener) = self.openers.pop_front() else {
            // It came and went since they were counted.
            self.next = sequence.wrapping_add(1);
            return;
        };
        if let Some(taken) = self.taken.get_mut(&opener) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&opener);
            }
        }
    }

    /// How many more a port may take now.
    pub(super) fn room(&self, slot: PortSlot, ports: &Ports) -> u32 {
        let standing = ports.get(slot);
        let parts = standing.map_or(1, |its| Sender::at(slot, its.attachment.port()).parts());
        let free = MOST_MADE.saturating_sub(self.openers.len() as u32);
        let taken = self.taken.get(&slot).copied().unwrap_or(0);
        // What it takes is not free any more.
        (free * parts).saturating_sub(taken) / (parts + 1)
    }
}

#[cfg(test)]
mod tests {
    use atoll_model::EniId;

    use super::*;
    use crate::engine::opened::Opened;
    use crate::frames;
    use crate::port::Attachment;

    /// Has ports take what they may, in turn and in small steps, until none may take more; what each has then.
    fn crowd(places: &mut Places, kernel: &mut Opened, ports: &Ports, who: &[PortSlot]) -> Vec<u32> {
        loop {
            let before = kernel.0.len();
            for slot in who {
                let some = places.room(*slot, ports).min(10);
                kernel.0.extend((0..some).map(|_| *slot));
                places.count(kernel);
            }
            if kernel.0.len() == before {
                let taken = |slot| places.taken.get(slot).copied().unwrap_or(0);
                return who.iter().map(taken).collect();
            }
        }
    }

    #[test]
    fn whoever_takes_all_that_it_may_leaves_as_much_to_others() {
        let (mut places, mut kernel, mut ports) = (Places::default(), Opened::default(), Ports::default());
        ports.up(1, frames::INTERNET).unwrap();
        for nth in 2..20 {
            ports.up(nth, Attachment::Eni(EniId::new(nth.into()))).unwrap();
        }
        let slot = |nth| ports.slot(nth).unwrap();
        let one = crowd(&mut places, &mut kernel, &ports, &[slot(2)]);
        assert!(
            (MOST_MADE * 49 / 100..=MOST_MADE / 2).contains(&one[0]),
            "{one:?}"
        );
        // Who comes next gets half of the rest, and so on.
        assert!(places.room(slot(3), &ports) > MOST_MADE / 5);
        let two = crowd(&mut places, &mut kernel, &ports, &[slot(3)]);
        assert!(two[0] > MOST_MADE / 5 && places.room(slot(4), &ports) > MOST_MADE / 10);
        // All of it is given back.
        let made = kernel.0.len() as u32;
        for sequence in 1..=made {
            places.give_back(sequence);
        }
        assert!(places.taken.is_empty() && places.openers.is_empty());
        let eleven: Vec<PortSlot> = (2..13).map(slot).collect();
        let each = crowd(&mut places, &mut kernel, &ports, &eleven);
        let wanted = MOST_MADE / 12;
        assert!(
            each.iter().all(|taken| taken.abs_diff(wanted) < wanted / 10),
            "{each:?}"
        );
        assert!(places.room(slot(15), &ports) > wanted / 3);
        // What came and went before it was counted.
        let (mut places, mut kernel) = (Places::default(), Opened::default());
        kernel.0 = vec![slot(2); 100];
        (1..=100).for_each(|sequence| places.give_back(sequence));
        places.count(&kernel);
        assert!(places.taken.is_empty());
        let internet = crowd(&mut places, &mut kernel, &ports, &[slot(1)]);
        assert!(internet[0] > MOST_MADE * 8 / 10 && places.room(slot(2), &ports) > MOST_MADE / 25);
    }
}
