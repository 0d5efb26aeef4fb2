//! Instances: listing them, and starting, stopping, rebooting, terminating. Launching is in
//! [`super::instance_launch`], attributes are in [`super::instance_attribute`], and what an instance looks like in
//! answers in [`super::instance_shape`].

use std::sync::Arc;

use atoll_model::image;
use atoll_model::{Instance, InstanceId, InstanceState, NetworkInterface};
use atoll_region::Region;
use atoll_region::instance::{self, StateChange};
use atoll_shapes::base64;
use atoll_shapes::ec2::{
    DescribeInstanceStatusRequest, DescribeInstanceStatusResult, DescribeInstancesRequest,
    DescribeInstancesResult, GetConsoleOutputRequest, GetConsoleOutputResult, InstanceStateChange,
    InstanceStatus, InstanceStatusDetails, InstanceStatusSummary, RebootInstancesRequest,
    RebootInstancesResult, StartInstancesRequest, StartInstancesResult, StopInstancesRequest,
    StopInstancesResult, TerminateInstancesRequest, TerminateInstancesResult,
};

use super::instance_shape::{Item, filters, reservations, state_shape};
use crate::wire::{Filters, id, ids, page, time};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        describe_instances,
        &["InstanceId", "Filter", "MaxResults", "NextToken"],
    );
    table.add(
        describe_instance_status,
        &[
            "InstanceId",
            "Filter",
            "IncludeAllInstances",
            "MaxResults",
            "NextToken",
        ],
    );
    table.add(start_instances, &["InstanceId"]);
    // `Force` means nothing here: what does not end by itself is killed anyway.
    table.add(stop_instances, &["InstanceId", "Force", "Hibernate"]);
    table.add(reboot_instances, &["InstanceId"]);
    table.add(terminate_instances, &["InstanceId", "Force"]);
    // The console is read as it is now, whether `Latest` is asked for or not.
    table.add(get_console_output, &["InstanceId", "Latest"]);
}

/// The asked-for instances of the caller, or all of them, in id order.
fn asked(call: &Call, region: &Region, texts: &[String]) -> Result<Vec<Arc<Instance>>, ApiError> {
    let asked = ids::<InstanceId>(texts)?;
    if asked.is_empty() {
        return Ok(region.list::<Instance>(call.account).cloned().collect());
    }
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for id in asked {
        match region.find::<Instance>(call.account, id) {
            Ok(instance) => found.push(Arc::clone(instance)),
            Err(_) => unknown.push(id.to_string()),
        }
    }
    match unknown.as_slice() {
        [] => {}
        [one] => {
            return Err(ApiError::new(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{one}' does not exist"),
            ));
        }
        several => {
            return Err(ApiError::new(
                "InvalidInstanceID.NotFound",
                format!("The instance IDs '{}' do not exist", several.join(", ")),
            ));
        }
    }
    found.sort_by_key(|instance| instance.id);
    found.dedup_by_key(|instance| instance.id);
    Ok(found)
}

async fn describe_instances(
    call: Call,
    request: DescribeInstancesRequest,
) -> Result<DescribeInstancesResult, ApiError> {
    let region = call.region()?;
    let keep = filters(&region).parse(&request.filters)?;
    let items = asked(&call, &region, &request.instance_ids)?
        .into_iter()
        .map(|instance| Item::new(&region, instance))
        .filter(|item| keep.matches(item))
        .map(|item| (item.instance.id, item));
    let page = page(
        "DescribeInstances",
        items,
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    Ok(DescribeInstancesResult {
        reservations: reservations(&region, &page.items),
        next_token: page.next_token,
    })
}

async fn describe_instance_status(
    call: Call,
    request: DescribeInstanceStatusRequest,
) -> Result<DescribeInstanceStatusResult, ApiError> {
    let region = call.region()?;
    let keep = Filters::untagged()
        .one("availability-zone", |instance: &Arc<Instance>| instance.zone)
        .one("availability-zone-id", |instance| instance.zone.zone_id())
        .maybe("event.code", |_| None::<&str>)
        .maybe("event.description", |_| None::<&str>)
        .maybe("event.instance-event-id", |_| None::<&str>)
        .maybe("event.not-after", |_| None::<&str>)
        .maybe("event.not-before", |_| None::<&str>)
        .maybe("event.not-before-deadline", |_| None::<&str>)
        .one("instance-state-code", |instance| instance.state.code())
        .one("instance-state-name", |instance| instance.state)
        .one("instance-status.reachability", |instance| {
            health(instance.state).1
        })
        .one("instance-status.status", |instance| health(instance.state).0)
        .one("system-status.reachability", |instance| health(instance.state).1)
        .one("system-status.status", |instance| health(instance.state).0)
        .parse(&request.filters)?;
    let every = request.include_all_instances.unwrap_or(false);
    let items = asked(&call, &region, &request.instance_ids)?
        .into_iter()
        .filter(|instance| every || instance.state == InstanceState::Running)
        .filter(|instance| keep.matches(instance))
        .map(|instance| (instance.id, instance));
    let page = page(
        "DescribeInstanceStatus",
        items,
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    Ok(DescribeInstanceStatusResult {
        instance_statuses: page.items.iter().map(|instance| status_shape(instance)).collect(),
        next_token: page.next_token,
    })
}

/// Status and reachability as EC2's checks have them: an instance that runs is well.
fn health(state: InstanceState) -> (&'static str, &'static str) {
    match state {
        InstanceState::Running => ("ok", "passed"),
        InstanceState::Pending => ("initializing", "initializing"),
        InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => ("not-applicable", "not-applicable"),
    }
}

fn status_shape(instance: &Instance) -> InstanceStatus {
    let (status, reachability) = health(instance.state);
    let summary = || {
        let detail = InstanceStatusDetails {
            name: Some("reachability".into()),
            status: Some(reachability.into()),
            impaired_since: None,
        };
        Some(InstanceStatusSummary {
            status: Some(status.into()),
            details: if status == "not-applicable" {
                Vec::new()
            } else {
                vec![detail]
            },
        })
    };
    InstanceStatus {
        instance_id: Some(instance.id.to_string()),
        availability_zone: Some(instance.zone.to_string()),
        availability_zone_id: Some(instance.zone.zone_id()),
        instance_state: Some(state_shape(instance.state)),
        instance_status: summary(),
        system_status: summary(),
        ..Default::default()
    }
}

fn changes(changes: Vec<StateChange>) -> Vec<InstanceStateChange> {
    changes
        .into_iter()
        .map(|change| InstanceStateChange {
            instance_id: Some(change.id.to_string()),
            previous_state: Some(state_shape(change.previous)),
            current_state: Some(state_shape(change.current)),
        })
        .collect()
}

async fn start_instances(
    call: Call,
    request: StartInstancesRequest,
) -> Result<StartInstancesResult, ApiError> {
    let ids = ids::<InstanceId>(&request.instance_ids)?;
    let started = call.submit(instance::StartInstances { ids }).await?;
    Ok(StartInstancesResult {
        starting_instances: changes(started),
    })
}

async fn stop_instances(call: Call, request: StopInstancesRequest) -> Result<StopInstancesResult, ApiError> {
    if request.hibernate == Some(true) {
        return Err(ApiError::new(
            "UnsupportedHibernationConfiguration",
            "Instances here cannot hibernate; leave out Hibernate",
        ));
    }
    let ids = ids::<InstanceId>(&request.instance_ids)?;
    let stopped = call.submit(instance::StopInstances { ids }).await?;
    Ok(StopInstancesResult {
        stopping_instances: changes(stopped),
    })
}

async fn reboot_instances(
    call: Call,
    request: RebootInstancesRequest,
) -> Result<RebootInstancesResult, ApiError> {
    let ids = ids::<InstanceId>(&request.instance_ids)?;
    call.submit(instance::RebootInstances { ids }).await?;
    Ok(RebootInstancesResult::default())
}

async fn terminate_instances(
    call: Call,
    request: TerminateInstancesRequest,
) -> Result<TerminateInstancesResult, ApiError> {
    let ids = ids::<InstanceId>(&request.instance_ids)?;
    let ended = call.submit(instance::TerminateInstances { ids }).await?;
    Ok(TerminateInstancesResult {
        terminating_instances: changes(ended),
    })
}

async fn get_console_output(
    call: Call,
    request: GetConsoleOutputRequest,
) -> Result<GetConsoleOutputResult, ApiError> {
    let region = call.region()?;
    let instance = region.find::<Instance>(call.account, id(&request.instance_id)?)?;
    let written = call.backend.console(instance.id).await;
    let timestamp = written.as_ref().map(|(_, at)| time(*at));
    let output = written.map(|(written, _)| {
        let mut text = image_note(instance).into_bytes();
        text.extend(written);
        base64::encode(&text)
    });
    Ok(GetConsoleOutputResult {
        instance_id: Some(instance.id.to_string()),
        timestamp: timestamp.or_else(|| Some(time(call.now()))),
        output,
    })
}

/// What stands before the console of an instance whose image is not one of Atoll's own.
fn image_note(instance: &Instance) -> String {
    if image::own(instance.image).is_some() {
        return String::new();
    }
    format!(
        "[atoll] {} is not an image here; {} ({}) runs in its place.\n",
        instance.image,
        image::DEFAULT.id(),
        image::DEFAULT.name
    )
}

/// The interfaces of an instance, by device index.
pub(super) fn interfaces(region: &Region, id: InstanceId) -> Vec<Arc<NetworkInterface>> {
    region.enis_of(id).into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_shapes::ec2;

    #[test]
    fn every_state_has_a_health() {
        for state in InstanceState::ALL {
            assert_eq!(health(*state).0 == "ok", *state == InstanceState::Running);
            assert_eq!(
                state_shape(*state),
                ec2::InstanceState {
                    code: Some(state.code()),
                    name: Some(state.to_string()),
                }
            );
        }
    }
}
