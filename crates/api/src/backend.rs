//! What handlers need of the process around them; `daemon` implements it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use atoll_access::{AccessKey, Credential};
use atoll_model::{AccountId, InstanceId, RegionName, Timestamp};
use atoll_region::{Region, Transaction};

use crate::ApiError;

/// A future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A command on its way to the single writer, its reply kept by the closure.
pub type Command = Box<dyn FnOnce(&mut Transaction) -> Result<(), atoll_region::Error> + Send>;

/// A command with what the writer's [`atoll_region::Context`] needs beside time and seed.
pub struct Submission {
    /// The region it changes.
    pub region: RegionName,
    /// Who calls.
    pub account: AccountId,
    /// The change. It is itself a [`atoll_region::Command`] with the reply `()`.
    pub command: Command,
}

/// The regions of this process, their writers, the clock and the access keys.
pub trait Backend: Send + Sync + 'static {
    /// The regions that are served, the default one first; never empty.
    fn regions(&self) -> Vec<RegionName>;

    /// The last durable revision of a region; `None` if it is not served.
    fn snapshot(&self, region: RegionName) -> Option<Arc<Region>>;

    /// Applies a command and waits until its delta is durable and [`Backend::snapshot`] shows it.
    ///
    /// # Errors
    /// What the command answered, or [`ApiError::unavailable`] when the store failed; in both cases
    /// nothing was changed.
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<(), ApiError>>;

    /// The time.
    fn now(&self) -> Timestamp;

    /// The end of what an instance wrote to its console, and when it last did; `None` where no process of
    /// it ever ran.
    fn console(&self, _instance: InstanceId) -> BoxFuture<'_, Option<(Vec<u8>, Timestamp)>> {
        Box::pin(std::future::ready(None))
    }

    /// The secret and the account of an access key.
    fn credential(&self, access_key: &AccessKey) -> Option<Credential>;
}
