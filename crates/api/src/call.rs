//! One call of one operation, as its handler sees it.

use std::sync::{Arc, Mutex, PoisonError};

use atoll_access::Caller;
use atoll_model::{AccountId, RegionName, Timestamp};
use atoll_region::{Command, Context, Region, Transaction};

use crate::backend::{Backend, Submission};
use crate::error::ApiError;

/// Who calls which region, and the way there. Cheap to clone.
#[derive(Clone)]
pub struct Call {
    /// The process around it.
    pub backend: Arc<dyn Backend>,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// The account that is called for.
    pub account: AccountId,
    /// The region that is called.
    pub region_name: RegionName,
    /// The id the answer will carry.
    pub request_id: Arc<str>,
    /// Whether the caller asks only if it could be done: [`Call::submit`] then tries the command on
    /// the snapshot and throws the outcome away.
    pub dry_run: bool,
}

impl Call {
    /// The region at its last durable revision. Take it once a request: two calls may see two
    /// revisions.
    ///
    /// # Errors
    /// The region is no longer served.
    pub fn region(&self) -> Result<Arc<Region>, ApiError> {
        self.backend.snapshot(self.region_name).ok_or_else(|| {
            ApiError::unavailable(format!("The region {} is not served here", self.region_name))
        })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.backend.now()
    }

    /// Submits a command and waits until it is durable.
    ///
    /// # Errors
    /// What the command answers; [`ApiError::dry_run`] when it would have succeeded but `DryRun` was
    /// given; [`ApiError::unavailable`] when the store failed. In each case nothing was changed.
    pub async fn submit<C>(&self, command: C) -> Result<C::Reply, ApiError>
    where
        C: Command + Send + 'static,
        C::Reply: Send + 'static,
    {
        if self.dry_run {
            let context = Context {
                account: self.account,
                now: self.now(),
                seed: 0,
            };
            self.region()?.apply(&context, command)?;
            return Err(ApiError::dry_run());
        }
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        let command = Box::new(move |tx: &mut Transaction| {
            let reply = command.apply(tx)?;
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
            Ok(())
        });
        let submission = Submission {
            region: self.region_name,
            account: self.account,
            command,
        };
        self.backend.submit(submission).await?;
        let reply = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        reply.ok_or_else(|| ApiError::internal("The command was acknowledged without having been applied"))
    }
}
