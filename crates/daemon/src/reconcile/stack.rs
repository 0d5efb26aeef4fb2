//! Drives stacks: while there is a step, apply it. Steps that do not wait for each other go to the writer
//! together and share its commit.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::entropy;
use crate::region_handle::RegionHandle;

/// A wait that is looked at again: the clock of the wall may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(60);
/// After a step that the writer did not take.
const RETRY: Duration = Duration::from_secs(1);

/// Steps a region's stacks until it is no longer served.
pub(crate) async fn run(handle: RegionHandle) {
    let mut latest = handle.latest();
    // Keeps plans only, which can be made again.
    let mut planner = atoll_stack::Planner::default();
    loop {
        let region = latest.borrow_and_update().clone();
        let now = entropy::now();
        let mut steps = JoinSet::new();
        let mut deadline = None;
        for step in planner.steps(&region, now) {
            let handle = handle.clone();
            steps.spawn(async move { handle.apply(step.account, step).await });
        }
        for (_, id) in atoll_stack::in_progress(&region) {
            deadline = deadline
                .into_iter()
                .chain(atoll_stack::next_deadline(&region, id))
                .min();
        }
        drop(region);
        if !steps.is_empty() {
            let mut failed = false;
            while let Some(result) = steps.join_next().await {
                if let Ok(Err(error)) = result {
                    tracing::warn!(%error, "a step of a stack was not taken");
                    failed = true;
                }
            }
            if failed {
                tokio::time::sleep(RETRY).await;
            }
            continue;
        }
        let wait = deadline.map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
        tokio::select! {
            changed = latest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.unwrap_or(LONGEST).min(LONGEST)) => {}
        }
    }
}
