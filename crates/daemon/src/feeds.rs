//! Which other hosts are connected: one connection each, the latest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_model::{HostId, InstanceId, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::consoles::Console;
use crate::control::follow::MAX_CONSOLES;
use crate::entropy;
use crate::region_handle::RegionHandle;

/// How long a host may take to answer.
const ANSWERED: Duration = Duration::from_secs(5);

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
    asks: mpsc::Sender<Ask>,
}

/// What a host is asked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) instance: InstanceId,
    pub(crate) answer: oneshot::Sender<Option<Console>>,
}

/// What the one who has a seat is to hear.
#[derive(Debug)]
pub(crate) struct Calls {
    /// It is to be given up.
    pub(crate) ended: oneshot::Receiver<End>,
    pub(crate) asks: mpsc::Receiver<Ask>,
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

    /// Takes a host's seat; whoever had it is told to go. `None` when the daemon ends.
    pub(crate) fn take(&self, region: RegionHandle, host: HostId) -> Option<(Seat, Calls)> {
        let mut seats = self.seats();
        if seats.closed {
            return None;
        }
        seats.taken += 1;
        let (end, ended) = oneshot::channel();
        let (sender, asks) = mpsc::channel(MAX_CONSOLES);
        let taken = Taken {
            number: seats.taken,
            since: entropy::now(),
            end,
            asks: sender,
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
        Some((seat, Calls { ended, asks }))
    }

    /// Whether a host is connected.
    pub(crate) fn contact(&self, host: HostId) -> Contact {
        let seats = self.seats();
        match seats.seats.get(&host) {
            Some(taken) => Contact::Connected(taken.since),
            None => Contact::Away(seats.left.get(&host).copied()),
        }
    }

    /// What an instance of another host wrote to its console; `None` when that is away, does not know it, or has too many
    /// questions already.
    pub(crate) async fn console(&self, host: HostId, instance: InstanceId) -> Option<Console> {
        let asks = self.seats().seats.get(&host)?.asks.clone();
        let (answer, answered) = oneshot::channel();
        asks.try_send(Ask { instance, answer }).ok()?;
        tokio::time::timeout(ANSWERED, answered).await.ok()?.ok()?
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
