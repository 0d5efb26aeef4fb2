//! What happened to a stack, the latest first.

use atoll_model::{Key, StackEvent};
use atoll_shapes::cloudformation as wire_shapes;
use atoll_shapes::cloudformation::{DescribeStackEventsInput, DescribeStackEventsOutput};

use super::PAGE;
use crate::dispatch::Table;
use crate::wire::page;
use crate::wire::time;
use crate::{ApiError, Call};

pub(crate) fn operations(table: &mut Table) {
    table.add(describe_stack_events, &["StackName", "NextToken"]);
}

async fn describe_stack_events(
    call: Call,
    request: DescribeStackEventsInput,
) -> Result<DescribeStackEventsOutput, ApiError> {
    let region = call.region()?;
    let stack = atoll_stack::find(&region, call.account, &request.stack_name)?;
    let mut events: Vec<_> = region.dependants_of::<StackEvent>(Key::Stack(stack.id)).collect();
    events.reverse();
    // Pages go by ascending keys; the latest event has the lowest.
    let events = events
        .into_iter()
        .map(|event| (u32::MAX - event.id.number, event));
    let page = page::<u32, _>(
        "DescribeStackEvents",
        events,
        Some(PAGE),
        request.next_token.as_deref(),
        1..=PAGE,
    )?;
    let shape = |event: std::sync::Arc<StackEvent>| wire_shapes::StackEvent {
        stack_id: Some(stack.arn()),
        stack_name: Some(stack.name.clone()),
        event_id: Some(format!("{}-{:08}", event.logical_id, event.id.number)),
        logical_resource_id: Some(event.logical_id.clone()),
        physical_resource_id: Some(event.physical.clone().unwrap_or_default()),
        resource_type: Some(event.type_name.clone()),
        timestamp: Some(time(event.at)),
        resource_status: Some(event.status.clone()),
        resource_status_reason: event.reason.clone(),
        client_request_token: stack.client_token.as_ref().map(|token| token.token.clone()),
        ..wire_shapes::StackEvent::default()
    };
    Ok(DescribeStackEventsOutput {
        stack_events: page.items.into_iter().map(shape).collect(),
        next_token: page.next_token,
    })
}
