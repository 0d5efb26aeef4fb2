//! Forgets what has been over for an hour, when it is due.

use std::time::Duration;

use atoll_model::AccountId;
use atoll_region::tick::{Tick, next_due};

use crate::entropy;
use crate::region_handle::RegionHandle;

/// A wait that is looked at again: the clock of the wall may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(300);

/// Ticks a region until it is no longer served.
pub(crate) async fn run(handle: RegionHandle) {
    let mut latest = handle.latest();
    loop {
        let due = next_due(&latest.borrow_and_update());
        let wait = due.map(|due| Duration::from_millis(due.0.saturating_sub(entropy::now().0)));
        match wait {
            Some(Duration::ZERO) => {
                if let Err(error) = handle.apply(AccountId::DEFAULT, Tick).await {
                    tracing::warn!(%error, "a tick failed");
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            }
            wait => {
                tokio::select! {
                    changed = latest.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(wait.unwrap_or(LONGEST).min(LONGEST)) => {}
                }
            }
        }
    }
}
