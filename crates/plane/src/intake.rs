//! What each processor's instances send, and which thread takes it.
//!
//! A packet that somebody waits for is best taken by a thread on the processor that sent it: nothing else has to be
//! woken. Bulk is best taken by one thread on another processor: there it is copied while more is sent, and a flood
//! does not take turns with the thread that is to take it away. So each processor's lanes are taken by the thread at
//! home there until bulk comes; then one thread takes all lanes, in the order in which frames came in, until it is over.
//! Lanes are behind a lock each and handed over between batches, so that nothing overtakes.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sockets::Sockets;
use crate::sys::lanes::Taken;
use crate::sys::ring::BATCH;

/// All processors'.
pub(crate) struct Intakes {
    each: Vec<Intake>,
    /// The thread that takes all, or [`NOBODY`].
    gatherer: AtomicUsize,
    bulk: Mutex<Bulk>,
    /// Whether bulk is gathered at all.
    gathers: bool,
}

const NOBODY: usize = usize::MAX;

struct Intake {
    inside: Mutex<Inside>,
    /// The sockets, to be waited for.
    descriptors: Vec<Arc<OwnedFd>>,
}

/// What one thread has at a time.
pub(crate) struct Inside {
    pub sockets: Sockets,
    pace: Pace,
}

/// Which threads have to be woken, since they are to take from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    One(usize),
    All,
}

impl Intakes {
    /// Of so many threads' sockets. Bulk is gathered where all packets come up.
    pub(crate) fn new(sockets: Vec<Sockets>, gathers: bool) -> Intakes {
        let each = sockets.into_iter().map(|sockets| Intake {
            descriptors: sockets
                .lanes()
                .flat_map(|lanes| lanes.rings())
                .map(|ring| ring.descriptor())
                .collect(),
            inside: Mutex::new(Inside {
                sockets,
                pace: Pace::new(Instant::now()),
            }),
        });
        let each: Vec<Intake> = each.collect();
        Intakes {
            gatherer: AtomicUsize::new(NOBODY),
            bulk: Mutex::new(Bulk::new(Instant::now())),
            gathers: gathers && each.len() > 1,
            each,
        }
    }

    /// Those that a thread takes from.
    fn of(&self, thread: usize) -> Range<usize> {
        match self.gatherer.load(Ordering::Acquire) {
            NOBODY => thread..thread + 1,
            gatherer if gatherer == thread => 0..self.each.len(),
            _ => 0..0,
        }
    }

    /// What a thread takes from. No other gets it meanwhile.
    pub(crate) fn take(&self, thread: usize) -> Vec<MutexGuard<'_, Inside>> {
        let range = self.of(thread);
        let mine = self.each.get(range.clone()).unwrap_or_default();
        let mut inside: Vec<_> = mine
            .iter()
            .map(|intake| intake.inside.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        // Who had it until now may have handed it over.
        if self.of(thread) != range {
            inside.clear();
        }
        inside
    }

    /// Whether a thread takes everybody's bulk.
    pub(crate) fn is_gatherer(&self, thread: usize) -> bool {
        self.gatherer.load(Ordering::Acquire) == thread
    }

    /// The sockets that a thread waits for.
    pub(crate) fn descriptors(&self, thread: usize) -> impl Iterator<Item = &OwnedFd> {
        let mine = self.each.get(self.of(thread)).unwrap_or_default();
        mine.iter().flat_map(|intake| &intake.descriptors).map(|fd| &**fd)
    }

    /// Notes how much a thread took just now of what it has. Says who is to take from now on, and to be woken, if others.
    pub(crate) fn note(
        &self,
        thread: usize,
        inside: &mut [MutexGuard<'_, Inside>],
        taken: Taken,
    ) -> Option<Next> {
        if !self.gathers || taken.frames == 0 {
            return None;
        }
        let now = Instant::now();
        if self.is_gatherer(thread) {
            if self.bulk().goes_on(now, taken) {
                return None;
            }
            self.gatherer.store(NOBODY, Ordering::Release);
            return Some(Next::All);
        }
        if !inside.first_mut()?.pace.begins(now, taken) {
            return None;
        }
        let next = (thread + 1) % self.each.len();
        self.bulk().begin(now);
        let before = self
            .gatherer
            .compare_exchange(NOBODY, next, Ordering::AcqRel, Ordering::Relaxed);
        before.is_ok().then_some(Next::One(next))
    }

    fn bulk(&self) -> MutexGuard<'_, Bulk> {
        self.bulk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of late to one processor's lanes, while they are taken at home.
#[derive(Debug)]
struct Pace {
    since: Instant,
    /// Super-segments since then.
    large: usize,
    /// Full batches, one after the other.
    full: u32,
}

/// What came of late while bulk is gathered.
#[derive(Debug)]
struct Bulk {
    since: Instant,
    /// What came since then.
    taken: Taken,
    /// When it was last bulk.
    last: Instant,
    /// For how long it must not have been.
    patience: Duration,
}

/// How long is looked back.
const WINDOW: Duration = Duration::from_millis(5);
/// Super-segments in that time that make it bulk.
const LARGE: u32 = 2;
/// Full batches in a row that make it bulk: the thread at home does not get to its frames as they come.
const FULL: u32 = 2;
/// Frames in that time for which bulk is still bulk: 200,000 a second. New connections make fewer.
const STILL: u32 = 1000;
/// How long there must be no bulk for it to be over; each time that it was not, twice as long.
const PATIENCE: Duration = Duration::from_millis(20);
const MOST_PATIENCE: Duration = Duration::from_millis(200);

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace {
            since: now,
            large: 0,
            full: 0,
        }
    }

    /// Whether bulk begins with what was taken now.
    fn begins(&mut self, now: Instant, taken: Taken) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.large) = (now, 0);
        }
        self.large += taken.large;
        self.full = if taken.frames >= BATCH { self.full + 1 } else { 0 };
        let begins = self.large >= LARGE as usize || self.full >= FULL;
        if begins {
            (self.large, self.full) = (0, 0);
        }
        begins
    }
}

impl Bulk {
    fn new(now: Instant) -> Bulk {
        Bulk {
            since: now,
            taken: Taken::default(),
            last: now,
            patience: PATIENCE,
        }
    }

    /// It begins, perhaps again.
    fn begin(&mut self, now: Instant) {
        let soon = now.saturating_duration_since(self.last) < 4 * self.patience;
        let longer = (2 * self.patience).min(MOST_PATIENCE);
        *self = Bulk {
            patience: if soon { longer } else { PATIENCE },
            ..Bulk::new(now)
        };
    }

    /// Whether it goes on after what was taken now.
    fn goes_on(&mut self, now: Instant, taken: Taken) -> bool {
        self.taken += taken;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            let many = |count: usize, least: u32| {
                WINDOW * u32::try_from(count).unwrap_or(u32::MAX) >= passed * least
            };
            if many(self.taken.large, LARGE) || many(self.taken.frames, STILL) {
                self.last = now;
            }
            (self.since, self.taken) = (now, Taken::default());
        }
        now.saturating_duration_since(self.last) < self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Taken = Taken { frames: 2, large: 0 };
    const FULL_BATCH: Taken = Taken {
        frames: BATCH,
        large: 0,
    };
    const SUPER: Taken = Taken { frames: 1, large: 1 };

    /// Batches that come at a distance of some microseconds.
    fn batches(
        now: &mut Instant,
        distance: u64,
        count: usize,
        mut each: impl FnMut(Instant) -> bool,
    ) -> usize {
        (0..count)
            .filter(|_| {
                *now += Duration::from_micros(distance);
                each(*now)
            })
            .count()
    }

    #[test]
    fn connections_are_taken_at_home() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(batches(&mut now, 10, 10_000, |now| pace.begins(now, SMALL)), 0);
        // A long answer now and then.
        assert_eq!(batches(&mut now, 12_000, 100, |now| pace.begins(now, SUPER)), 0);
    }

    #[test]
    fn streams_and_floods_are_gathered_until_they_are_over() {
        // Taken as it comes, a flood's batches are small.
        let eight = Taken { frames: 8, large: 0 };
        for (first, more, distance) in [(SUPER, SUPER, 100), (FULL_BATCH, eight, 30)] {
            let mut now = Instant::now();
            let mut pace = Pace::new(now);
            let mut bulk = Bulk::new(now);
            assert!(!pace.begins(now, first));
            assert!(pace.begins(now, first));
            bulk.begin(now);
            assert_eq!(
                batches(&mut now, distance, 10_000, |now| bulk.goes_on(now, more)),
                10_000
            );
            // A pause.
            now += Duration::from_millis(8);
            assert_eq!(
                batches(&mut now, distance, 1000, |now| bulk.goes_on(now, more)),
                1000
            );
            let still = batches(&mut now, 100, 1000, |now| bulk.goes_on(now, SMALL));
            assert!((200..500).contains(&still), "{still}");
        }
    }

    #[test]
    fn what_comes_again_and_again_is_given_more_time() {
        let mut now = Instant::now();
        let mut bulk = Bulk::new(now);
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            bulk.begin(now);
            let began = now;
            while bulk.goes_on(now, SMALL) {
                now += Duration::from_millis(1);
            }
            assert!(now - began > last || now - began == MOST_PATIENCE);
            last = now - began;
            now += Duration::from_millis(3);
        }
        assert_eq!(last, MOST_PATIENCE);
        // A pause, and the first packet after it.
        bulk.begin(now);
        assert!(!bulk.goes_on(now + Duration::from_secs(5), SMALL));
        bulk.begin(now + Duration::from_secs(10));
        assert_eq!(bulk.patience, PATIENCE);
    }
}
