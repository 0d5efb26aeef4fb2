//! The way from a host to the region's host, for what reconcilers have to say.

use std::sync::{Arc, Mutex, PoisonError};

use atoll_instance::GuestSignal;
use atoll_model::InstanceId;
use atoll_region::Error;
use atoll_region::instance::InstanceObserved;
use tokio::sync::{mpsc, oneshot};

use crate::control::follow::MAX_UNANSWERED;

/// What the region is to learn.
#[derive(Debug)]
pub(crate) enum News {
    Observed(InstanceObserved),
    Signal(InstanceId, GuestSignal),
}

/// News, and who waits for what becomes of it.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) news: News,
    pub(crate) answer: oneshot::Sender<Result<(), Error>>,
}

/// Clones are the same way. Nobody is connected at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upstream(Arc<Mutex<Option<mpsc::Sender<Telling>>>>);

impl Upstream {
    /// The region's host is connected: what comes now goes to the receiver. When that is dropped, whoever waits learns that
    /// it came to nothing.
    pub(crate) fn connect(&self) -> mpsc::Receiver<Telling> {
        let (sender, receiver) = mpsc::channel(MAX_UNANSWERED);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    pub(crate) async fn observed(&self, observed: InstanceObserved) -> Result<(), Error> {
        self.tell(News::Observed(observed)).await
    }

    pub(crate) async fn signalled(&self, instance: InstanceId, signal: GuestSignal) -> Result<(), Error> {
        self.tell(News::Signal(instance, signal)).await
    }

    async fn tell(&self, news: News) -> Result<(), Error> {
        let away = || Error::new("Unavailable", "The region's host is away; it will be told again");
        let connected = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connected = connected.ok_or_else(away)?;
        let (answer, answered) = oneshot::channel();
        let sent = connected.send(Telling { news, answer }).await;
        sent.map_err(|_| away())?;
        answered.await.map_err(|_| away())?
    }
}
