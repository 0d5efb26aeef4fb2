//! The connections that are open: how many there may be, and which one gives way to a newer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What a client may take of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. One more closes the one that has been idle for the longest, or, when a call is
    /// under way on each, is closed itself.
    pub connections: u32,
    /// How long a request's head may take, from the connection's start or the answer before: so long may a
    /// connection be idle, too.
    pub head: Duration,
    /// How long its body may take.
    pub body: Duration,
}

impl Limits {
    /// What a daemon has: most of the 1,024 descriptors that a process usually gets are for others.
    pub const DEFAULT: Limits = Limits {
        connections: 512,
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
    };
}

/// The open connections of a server.
pub(crate) struct Connections {
    limit: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Grows by one whenever a connection becomes idle.
    turn: u64,
    /// Who has no call under way, since which turn.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Connections {
    pub(crate) fn new(limit: u32) -> Arc<Connections> {
        Arc::new(Connections {
            limit,
            places: Arc::new(Semaphore::new(limit as usize)),
            idle: Mutex::default(),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // What is done under the lock leaves it whole at every step.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if need be that of the longest idle; `None` when there is none of those either.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Place> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let (_, oldest) = self.idle().waiting.pop_first()?;
                oldest.notify_one();
                Arc::clone(&self.places).acquire_owned().await.ok()?
            }
        };
        let place = Place {
            connections: Arc::clone(self),
            turn: Mutex::new(0),
            closed: Arc::default(),
            _permit: permit,
        };
        place.end();
        Some(place)
    }

    /// Closes those that have no call under way.
    pub(crate) fn close_idle(&self) {
        for (_, one) in std::mem::take(&mut self.idle().waiting) {
            one.notify_one();
        }
    }

    /// Waits until none is open.
    pub(crate) async fn all_closed(&self) {
        // The semaphore is never closed, so this fails never.
        let _ = self.places.acquire_many(self.limit).await;
    }
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    connections: Arc<Connections>,
    /// Since when it is idle, if it is.
    turn: Mutex<u64>,
    closed: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A call begins; `false` when the connection had to give way before.
    pub(crate) fn begin(&self) -> bool {
        let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.connections.idle().waiting.remove(&turn).is_some()
    }

    /// No call is under way.
    pub(crate) fn end(&self) {
        let mut idle = self.connections.idle();
        idle.turn += 1;
        let turn = idle.turn;
        idle.waiting.insert(turn, Arc::clone(&self.closed));
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// Waits until the connection has to give way.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn the_longest_idle_gives_way_and_one_with_a_call_does_not() {
        let connections = Connections::new(3);
        let enter = || now(connections.enter()).unwrap();
        let (first, second, third) = (enter().unwrap(), enter().unwrap(), enter().unwrap());
        assert!(first.begin());
        first.end();
        assert!(third.begin());
        // The second is idle since before the first.
        assert!(
            now(connections.enter()).is_none(),
            "it waits for the second's place"
        );
        assert!(now(second.closed()).is_some() && now(first.closed()).is_none());
        assert!(!second.begin(), "what comes on it now is not begun");
        drop(second);
        let fourth = enter().unwrap();
        assert!(fourth.begin() && first.begin());
        assert!(enter().is_none(), "a call is under way on each");
        drop((first, third, fourth));
        assert!(now(connections.all_closed()).is_some());
    }
}
