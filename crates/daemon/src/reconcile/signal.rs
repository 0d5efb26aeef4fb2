//! Brings what `cfn-signal` said inside an instance to its stack. A signal is forgotten by the instance only
//! once the stack has it durably, or has refused it for good; one that comes twice is one.

use std::time::Duration;

use atoll_instance::{GuestSignal, Host};
use atoll_model::{AccountId, Instance, InstanceId};
use atoll_region::Error;
use atoll_stack::{Recipient, SignalResource};
use tokio::sync::watch;

use super::hosted::Reports;
use crate::region_handle::RegionHandle;

/// After a signal that was not taken.
const RETRY: Duration = Duration::from_secs(2);

/// Delivers signals until the reports end.
pub(crate) async fn run(host: Host, regions: Vec<RegionHandle>, mut reports: watch::Receiver<Reports>) {
    loop {
        let now = reports.borrow_and_update().clone();
        let mut left = false;
        for report in now.values() {
            // In order: an instance acknowledges up to a number.
            for signal in &report.signals {
                if !deliver(&host, &regions, &report.id, signal).await {
                    left = true;
                    break;
                }
            }
        }
        if left {
            // The region's host may be away, or the row not here yet.
            tokio::time::sleep(RETRY).await;
        } else if reports.changed().await.is_err() {
            return;
        }
    }
}

/// Delivers one signal; `false` when it is to be tried again.
async fn deliver(host: &Host, regions: &[RegionHandle], id: &str, signal: &GuestSignal) -> bool {
    let Ok(instance) = id.parse::<InstanceId>() else {
        return false;
    };
    let found = regions.iter().find_map(|region| {
        let owner: AccountId = region.current().get::<Instance>(instance)?.owner;
        Some((region, owner))
    });
    let Some((region, owner)) = found else {
        return false;
    };
    match region.signalled(instance, owner, signal).await {
        Ok(()) => {}
        Err(error) if error.code == "Unavailable" => return false,
        Err(error) => tracing::warn!(instance = id, %error, "a signal was refused"),
    }
    let (host, id, sequence) = (host.clone(), id.to_owned(), signal.sequence);
    let acknowledged = tokio::task::spawn_blocking(move || host.acknowledge(&id, sequence)).await;
    matches!(acknowledged, Ok(Ok(_)))
}

/// What a signal asks of its stack.
///
/// # Errors
/// When it names neither a resource nor a handle.
pub(crate) fn command(instance: InstanceId, signal: &GuestSignal) -> Result<SignalResource, Error> {
    let recipient = match (&signal.url, &signal.stack, &signal.resource) {
        (Some(url), _, _) => Recipient::Handle(url.clone()),
        (None, Some(stack), Some(logical_id)) => Recipient::Resource {
            stack: stack.clone(),
            logical_id: logical_id.clone(),
        },
        (None, _, _) => {
            return Err(Error::invalid_value(
                "The signal names neither a resource of a stack nor a handle",
            ));
        }
    };
    Ok(SignalResource {
        recipient,
        unique_id: signal.unique_id.clone().unwrap_or_else(|| instance.to_string()),
        success: signal.success,
        reason: signal.reason.clone(),
        data: signal.data.clone(),
    })
}
