//! How many packets of each port are walked while there are more than can be.
//!
//! A walk costs a hundred times what a kept answer does, and all ports share the engine and the rings. So one that
//! scans or floods would keep the others waiting. As long as nothing waits, every packet is walked; when walks keep a
//! whole batch waiting, each port gets its share, and what comes beyond it is dropped. Kept answers are never refused.

use hashbrown::HashMap;

use atoll_fabric::Port;
use atoll_model::Timestamp;

use crate::port::PortSlot;

/// Walks a second that a port gets.
const RATE: u32 = 20_000;
/// The same if many ports flood at once: it is halved until there.
const LEAST: u32 = 2_500;
/// Milliseconds' worth of walks that a port gets at once.
const BURST_MILLIS: u32 = 25;
/// Fewest walks at once, however low the rate is.
const BURST_LEAST: u32 = 250;
/// How long nothing must have waited before ports get more, in milliseconds.
const CALM: u64 = 1000;
/// How long a lowered rate is given to show whether it is low enough, in milliseconds.
const PATIENCE: u64 = 100;
/// What the internet's port, which is everybody's, gets more than another.
const INTERNET: u32 = 8;

/// What a port gets for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Walks more than are left.
    pub more: u32,
    /// Most walks together.
    pub most: u32,
}

#[derive(Debug)]
struct Level {
    /// Walks a second of a port.
    rate: u32,
    lowered: Timestamp,
    /// When walks last kept a batch waiting.
    crowded: Timestamp,
    /// When a packet was last refused.
    refused: Timestamp,
}

/// The ports' budgets.
#[derive(Debug, Default)]
pub(super) struct Misses {
    /// `None` while everything is walked.
    level: Option<Level>,
    /// Thousandths of walks that are left, and when that was.
    buckets: HashMap<PortSlot, (u64, Timestamp)>,
}

impl Level {
    fn rate(&self, port: Port) -> u32 {
        match port {
            Port::Internet => self.rate * INTERNET,
            Port::Eni(_) => self.rate,
        }
    }

    fn burst(&self, port: Port) -> u32 {
        (self.rate(port) / 1000 * BURST_MILLIS).max(BURST_LEAST)
    }
}

impl Misses {
    /// A batch of walks was worked off, and another one waits already.
    pub(super) fn crowded(&mut self, now: Timestamp) {
        let level = self.level.get_or_insert(Level {
            rate: RATE,
            lowered: now,
            crowded: now,
            refused: now,
        });
        level.crowded = now;
        if now.0.saturating_sub(level.lowered.0) >= PATIENCE {
            level.rate = (level.rate / 2).max(LEAST);
            level.lowered = now;
        }
    }

    /// Packets were refused elsewhere, by what [`Misses::allowance`] said.
    pub(super) fn refused(&mut self, now: Timestamp) {
        if let Some(level) = &mut self.level {
            level.refused = now;
        }
    }

    /// To be called every few milliseconds.
    pub(super) fn relax(&mut self, now: Timestamp) {
        let calm = |since: Timestamp| now.0.saturating_sub(since.0) >= CALM;
        let Some(level) = &mut self.level else {
            return;
        };
        if !calm(level.crowded) {
            return;
        }
        if level.rate < RATE {
            level.rate = (level.rate * 2).min(RATE);
            (level.crowded, level.lowered) = (now, now);
        } else if calm(level.refused) {
            self.level = None;
            self.buckets.clear();
        }
    }

    /// Whether a packet of a port may be walked; if so, it counts.
    pub(super) fn take(&mut self, slot: PortSlot, port: Port, now: Timestamp) -> bool {
        let Some(level) = &mut self.level else {
            return true;
        };
        let most = u64::from(level.burst(port)) * 1000;
        let (left, then) = self.buckets.entry(slot).or_insert((most, now));
        let passed = now.0.saturating_sub(then.0);
        *left = left
            .saturating_add(passed.saturating_mul(u64::from(level.rate(port))))
            .min(most);
        *then = now;
        let enough = *left >= 1000;
        if enough {
            *left -= 1000;
        } else {
            level.refused = now;
        }
        enough
    }

    /// What a port gets for some milliseconds; `None` if everything is walked.
    pub(super) fn allowance(&self, millis: u32) -> Option<impl Fn(Port) -> Allowance> {
        let level = self.level.as_ref()?;
        Some(move |port| Allowance {
            more: (u64::from(level.rate(port)) * u64::from(millis) / 1000) as u32,
            most: level.burst(port),
        })
    }

    pub(super) fn forget(&mut self, slot: PortSlot) {
        self.buckets.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::EniId;

    const ONE: PortSlot = PortSlot(1);
    const TWO: PortSlot = PortSlot(2);

    fn port() -> Port {
        Port::Eni(EniId::new(1))
    }

    fn taken(misses: &mut Misses, slot: PortSlot, tries: usize, now: u64) -> usize {
        (0..tries)
            .filter(|_| misses.take(slot, port(), Timestamp(now)))
            .count()
    }

    #[test]
    fn everything_is_walked_while_nothing_waits() {
        let mut misses = Misses::default();
        assert_eq!(taken(&mut misses, ONE, 100_000, 5), 100_000);
        assert!(misses.allowance(10).is_none());
    }

    #[test]
    fn a_port_that_floods_leaves_the_others_their_share() {
        let mut misses = Misses::default();
        misses.crowded(Timestamp(1000));
        assert_eq!(taken(&mut misses, ONE, 10_000, 1000), 500);
        assert_eq!(taken(&mut misses, ONE, 10_000, 1010), 200);
        assert_eq!(taken(&mut misses, TWO, 300, 1010), 300);
        let allowance = misses.allowance(10).map(|of| (of(port()), of(Port::Internet)));
        let (eni, internet) = allowance.unwrap();
        assert_eq!((eni.more, eni.most), (200, 500));
        assert_eq!((internet.more, internet.most), (1600, 4000));
    }

    #[test]
    fn many_that_flood_get_less_each_and_all_get_everything_again_when_it_is_calm() {
        let mut misses = Misses::default();
        for now in (0..2000).step_by(10) {
            misses.crowded(Timestamp(now));
            misses.relax(Timestamp(now));
        }
        let more = |misses: &Misses| misses.allowance(1000).map(|of| of(port()).more);
        assert_eq!(more(&misses), Some(LEAST));
        let mut rates = Vec::new();
        for now in (2000..8000).step_by(10) {
            misses.relax(Timestamp(now));
            rates.push(more(&misses));
        }
        rates.dedup();
        assert_eq!(
            rates,
            [Some(2_500), Some(5_000), Some(10_000), Some(20_000), None]
        );
        assert_eq!(taken(&mut misses, ONE, 10_000, 8000), 10_000);
    }

    #[test]
    fn refusals_keep_the_limit_up() {
        let mut misses = Misses::default();
        misses.crowded(Timestamp(0));
        for now in (0..5000).step_by(10) {
            taken(&mut misses, ONE, 1000, now);
            misses.relax(Timestamp(now));
        }
        assert_eq!(taken(&mut misses, ONE, 1000, 5000), 200);
        misses.relax(Timestamp(7000));
        assert!(misses.allowance(10).is_none());
    }
}
