//! Which other hosts are connected: one connection each, the latest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_model::{HostId, Timestamp};
use tokio::sync::oneshot;

use crate::entropy;
use crate::region_handle::RegionHandle;

/// Why a connection is ended, and whether the host is to come again.
pub(crate) type End = (&'static str, bool);

/// Whether a host is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// Since then.
    Connected(Timestamp),
    /// Since then; `None` when it has not been since this daemon started.
    Away(Option<Timestamp>),
}

/// The seats of all hosts; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feeds(Arc<Mutex<Seats>>);

#[derive(Debug, Default)]
struct Seats {
    closed: bool,
    taken: u64,
    seats: BTreeMap<HostId, Taken>,
    left: BTreeMap<HostId, Timestamp>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    since: Timestamp,
    end: oneshot::Sender<End>,
}

/// A host's seat; given up when it is dropped.
pub(crate) struct Seat {
    feeds: Feeds,
    region: RegionHandle,
    host: HostId,
    number: u64,
}

impl Feeds {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a host's seat, with what says when it is to be given up; whoever had it is told to go. `None` when the daemon
    /// ends.
    pub(crate) fn take(&self, region: RegionHandle, host: HostId) -> Option<(Seat, oneshot::Receiver<End>)> {
        let mut seats = self.seats();
        if seats.closed {
            return None;
        }
        seats.taken += 1;
        let (end, ended) = oneshot::channel();
        let taken = Taken {
            number: seats.taken,
            since: entropy::now(),
            end,
        };
        let number = taken.number;
        if let Some(earlier) = seats.seats.insert(host, taken) {
            let _ = earlier
                .end
                .send(("another daemon joined by this host's name", false));
        }
        region.elsewhere(|hosts| hosts.came(host));
        let seat = Seat {
            feeds: self.clone(),
            region,
            host,
            number,
        };
        Some((seat, ended))
    }

    /// Whether a host is connected.
    pub(crate) fn contact(&self, host: HostId) -> Contact {
        let seats = self.seats();
        match seats.seats.get(&host) {
            Some(taken) => Contact::Connected(taken.since),
            None => Contact::Away(seats.left.get(&host).copied()),
        }
    }

    /// Ends all connections; there will be no others.
    pub(crate) fn close(&self) {
        let mut seats = self.seats();
        seats.closed = true;
        for (_, taken) in std::mem::take(&mut seats.seats) {
            let _ = taken.end.send(("the region's host ends", true));
        }
    }
}

impl Seat {
    /// Whose it is.
    pub(crate) fn host(&self) -> HostId {
        self.host
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.feeds.seats();
        // After `close` nobody has one any more, and it does not matter.
        let own = seats
            .seats
            .get(&self.host)
            .is_some_and(|taken| taken.number == self.number);
        if own {
            seats.seats.remove(&self.host);
            seats.left.insert(self.host, entropy::now());
            self.region.elsewhere(|hosts| hosts.left(self.host));
        }
    }
}
