//! Recent deltas, kept for those who follow.
//!
//! The feed is bounded in deltas and bytes. A follower that falls further behind than that is told so
//! and loads again, as with etcd's compaction: nobody's slowness costs the writer memory.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Delta, Revision, Write};

/// The most deltas kept for followers.
const MAX_KEPT: usize = 4096;
/// The most bytes of values kept for followers.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;

/// A delta that is durable, with the revision it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision the store stands at with this delta.
    pub revision: Revision,
    /// What changed.
    pub delta: Delta,
}

/// The follower fell behind what is kept, and must load again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes up to revision {oldest} are no longer kept; load again and watch from there")]
pub struct Lagged {
    /// The earliest revision from which it could watch now.
    pub oldest: Revision,
}

#[derive(Debug, Default)]
struct Kept {
    revision: Revision,
    bytes: usize,
    deltas: VecDeque<Arc<Committed>>,
}

/// What a store publishes to, and watches read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed {
    shared: Arc<(Mutex<Kept>, Condvar)>,
}

impl Feed {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was kept and stands at `revision`: at opening, and after an unknown outcome.
    pub(crate) fn restart(&self, revision: Revision) {
        let mut kept = self.kept();
        if kept.revision != revision {
            *kept = Kept {
                revision,
                ..Kept::default()
            };
            self.shared.1.notify_all();
        }
    }

    /// Tells the followers. The deltas are durable.
    pub(crate) fn publish(&self, deltas: Vec<Delta>) {
        let mut kept = self.kept();
        for delta in deltas {
            kept.revision += 1;
            kept.bytes += size(&delta);
            let revision = kept.revision;
            kept.deltas.push_back(Arc::new(Committed { revision, delta }));
        }
        while kept.deltas.len() > MAX_KEPT || kept.bytes > MAX_KEPT_BYTES {
            let Some(gone) = kept.deltas.pop_front() else {
                break;
            };
            kept.bytes -= size(&gone.delta);
        }
        self.shared.1.notify_all();
    }

    pub(crate) fn watch(&self, from: Revision) -> Watch {
        Watch {
            feed: self.clone(),
            at: from,
        }
    }
}

fn size(delta: &Delta) -> usize {
    delta
        .writes
        .iter()
        .map(|write| match write {
            Write::Upsert(row) => row.bytes.len(),
            Write::Delete { .. } => 0,
        })
        .sum()
}

/// One follower's place in the feed.
#[derive(Debug, Clone)]
pub struct Watch {
    feed: Feed,
    at: Revision,
}

impl Watch {
    /// The revision up to which this follower has seen everything.
    pub fn revision(&self) -> Revision {
        self.at
    }

    /// The next delta, waiting up to `patience` for one. `Ok(None)` when none came.
    ///
    /// # Errors
    /// [`Lagged`] when the next delta is no longer kept.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Arc<Committed>>, Lagged> {
        let deadline = Instant::now() + patience;
        let mut kept = self.feed.kept();
        loop {
            let oldest = kept.revision - kept.deltas.len() as u64;
            if self.at < oldest || self.at > kept.revision {
                return Err(Lagged { oldest });
            }
            if let Some(next) = kept.deltas.get((self.at - oldest) as usize) {
                self.at += 1;
                return Ok(Some(next.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.feed.shared.1.wait_timeout(kept, left);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;

    fn delta(bytes: usize) -> Delta {
        let row = Row {
            table: "t".into(),
            key: vec![1],
            bytes: vec![0; bytes],
        };
        Delta {
            writes: vec![Write::Upsert(row)],
        }
    }

    #[test]
    fn a_follower_sees_each_delta_once_and_in_order() {
        let feed = Feed::default();
        let mut watch = feed.watch(0);
        feed.publish(vec![delta(1), delta(2)]);
        feed.publish(vec![delta(3)]);
        let seen: Vec<_> = std::iter::from_fn(|| watch.next(Duration::ZERO).unwrap())
            .map(|c| c.revision)
            .collect();
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn a_follower_waits_for_a_publisher_on_another_thread() {
        let feed = Feed::default();
        let mut watch = feed.watch(0);
        let publisher = {
            let feed = feed.clone();
            std::thread::spawn(move || feed.publish(vec![delta(1)]))
        };
        assert!(watch.next(Duration::from_secs(30)).unwrap().is_some());
        publisher.join().unwrap();
    }

    #[test]
    fn a_follower_too_far_behind_is_told_and_the_memory_is_bounded() {
        let feed = Feed::default();
        let mut watch = feed.watch(0);
        let mebibyte = 1024 * 1024;
        for _ in 0..40 {
            feed.publish(vec![delta(mebibyte)]);
        }
        assert_eq!(watch.next(Duration::ZERO), Err(Lagged { oldest: 8 }));
        assert!(feed.kept().bytes <= MAX_KEPT_BYTES);
        assert_eq!(feed.watch(8).next(Duration::ZERO).unwrap().unwrap().revision, 9);
    }

    #[test]
    fn a_feed_that_starts_anew_elsewhere_tells_its_followers() {
        let feed = Feed::default();
        let mut watch = feed.watch(0);
        feed.restart(5);
        assert_eq!(watch.next(Duration::ZERO), Err(Lagged { oldest: 5 }));
    }
}
