//! `--data-plane none`: instances are rows without processes, and reach at once what they are on their way
//! to. Their user data is not run, and nothing says that it was.

use std::time::Duration;

use atoll_model::{HostId, Instance, InstanceState};
use atoll_region::instance::InstanceObserved;

use crate::region_handle::RegionHandle;

/// After an observation that was not taken.
const RETRY: Duration = Duration::from_secs(2);

/// Moves a region's instances on `this` host, the region's own if `None`, on until it is no longer served.
pub(crate) async fn run(handle: RegionHandle, this: Option<HostId>) {
    let mut latest = handle.latest();
    loop {
        let region = latest.borrow_and_update().clone();
        let moves: Vec<_> = region
            .all::<Instance>()
            // What is on another host is that one's to say.
            .filter(|row| row.host == this)
            .filter_map(|row| {
                let state = match row.state {
                    InstanceState::Pending => InstanceState::Running,
                    InstanceState::Stopping => InstanceState::Stopped,
                    InstanceState::ShuttingDown => InstanceState::Terminated,
                    InstanceState::Running | InstanceState::Stopped | InstanceState::Terminated => {
                        return None;
                    }
                };
                Some(InstanceObserved {
                    id: row.id,
                    state,
                    user_data_run: None,
                    failure: None,
                })
            })
            .collect();
        drop(region);
        let mut failed = false;
        for observed in moves {
            if let Err(error) = handle.observed(observed).await {
                tracing::warn!(%error, "an observation was not taken");
                failed = true;
            }
        }
        if failed {
            // The region's host may be away.
            tokio::time::sleep(RETRY).await;
        } else if latest.changed().await.is_err() {
            return;
        }
    }
}
