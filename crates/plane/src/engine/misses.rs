//! How many packets of each port, and of each other host, are walked while there are more than can be.
//!
//! A walk costs a hundred times what a kept answer does, and all ports share the engine and the rings. So one that
//! scans or floods would keep the others waiting. As long as nothing waits, every packet is walked; when walks keep a
//! whole batch waiting, each port gets its share, and what comes beyond it is dropped. Kept answers are never refused. Another host
//! has one share, however many instances and networks are there.

use std::net::IpAddr;

use atoll_model::Timestamp;

use super::buckets::{Buckets, Sender};

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

/// Whose share the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// A port's, by its interface.
    Port(u32),
    /// Another host's.
    Host(IpAddr),
}

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
    /// The walks that are left to each.
    pub(super) buckets: Buckets,
}

impl Level {
    fn rate(&self, sender: Sender) -> u32 {
        self.rate * sender.parts()
    }

    fn burst(&self, sender: Sender) -> u32 {
        (self.rate(sender) / 1000 * BURST_MILLIS).max(BURST_LEAST)
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

    /// Whether somebody's packet may be walked; if so, it counts.
    pub(super) fn take(&mut self, sender: Sender, now: Timestamp) -> bool {
        let Some(level) = &mut self.level else {
            return true;
        };
        let most = u64::from(level.burst(sender)) * 1000;
        let enough = self
            .buckets
            .take(sender, u64::from(level.rate(sender)), most, now);
        if !enough {
            level.refused = now;
        }
        enough
    }

    /// What somebody gets for some milliseconds; `None` if everything is walked.
    pub(super) fn allowance(&self, millis: u32) -> Option<impl Fn(Sender) -> Allowance> {
        let level = self.level.as_ref()?;
        Some(move |sender| Allowance {
            more: (u64::from(level.rate(sender)) * u64::from(millis) / 1000) as u32,
            most: level.burst(sender),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortSlot;

    const ONE: Sender = Sender::Port(PortSlot(1), false);
    const TWO: Sender = Sender::Port(PortSlot(2), false);
    const INTERNET: Sender = Sender::Port(PortSlot(3), true);

    fn taken(misses: &mut Misses, sender: Sender, tries: usize, now: u64) -> usize {
        (0..tries).filter(|_| misses.take(sender, Timestamp(now))).count()
    }

    #[test]
    fn a_host_that_floods_leaves_other_hosts_theirs_and_leaves_nothing_behind_when_it_goes() {
        let mut misses = Misses::default();
        misses.crowded(Timestamp(1000));
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|host| host.parse().unwrap());
        assert_eq!(taken(&mut misses, Sender::Host(one), 10_000, 1000), 4000);
        assert_eq!(taken(&mut misses, Sender::Host(two), 3000, 1000), 3000);
        assert_eq!(misses.buckets.len(), 2);
        misses.buckets.forget_host(one);
        misses.buckets.forget_host(two);
        assert_eq!(misses.buckets.len(), 0);
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
        let allowance = misses.allowance(10).map(|of| (of(ONE), of(INTERNET)));
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
        let more = |misses: &Misses| misses.allowance(1000).map(|of| of(ONE).more);
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
