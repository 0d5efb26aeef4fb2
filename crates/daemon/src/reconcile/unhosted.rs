//! `--data-plane none`: instances are rows without processes, and reach at once what they are on their way
//! to. Their user data is not run, and nothing says that it was.

use atoll_model::{AccountId, Instance, InstanceState};
use atoll_region::instance::InstanceObserved;

use crate::region_handle::RegionHandle;

/// Moves a region's instances on until it is no longer served.
pub(crate) async fn run(handle: RegionHandle) {
    let mut latest = handle.latest();
    loop {
        let region = latest.borrow_and_update().clone();
        let moves: Vec<_> = region
            .all::<Instance>()
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
        for observed in moves {
            // The reconciler acts for the region, whoever owns the instance.
            if let Err(error) = handle.apply(AccountId::DEFAULT, observed).await {
                tracing::warn!(%error, "an observation was not taken");
            }
        }
        if latest.changed().await.is_err() {
            return;
        }
    }
}
