//! The resources of a stack.

use atoll_model::stack::{ResourceStatus, Stack, StackResource};
use atoll_shapes::cloudformation as wire_shapes;
use atoll_shapes::cloudformation::{DescribeStackResourcesInput, DescribeStackResourcesOutput};

use super::validation;
use crate::dispatch::Table;
use crate::wire::time;
use crate::{ApiError, Call};

pub(crate) fn operations(table: &mut Table) {
    table.add(
        describe_stack_resources,
        &["StackName", "LogicalResourceId", "PhysicalResourceId"],
    );
}

async fn describe_stack_resources(
    call: Call,
    request: DescribeStackResourcesInput,
) -> Result<DescribeStackResourcesOutput, ApiError> {
    let region = call.region()?;
    let stack: &Stack = match (&request.stack_name, &request.physical_resource_id) {
        (Some(name), None) => atoll_stack::find(&region, call.account, name)?,
        // Of the whole stack that the object belongs to.
        (None, Some(physical)) => region
            .list::<Stack>(call.account)
            .find(|stack| {
                let mut resources = stack.resources.values();
                resources.any(|resource| {
                    resource.physical.as_ref() == Some(physical)
                        && resource.status != ResourceStatus::DeleteComplete
                })
            })
            .ok_or_else(|| validation(format!("Stack for {physical} does not exist")))?,
        _ => {
            return Err(validation(
                "Exactly one of StackName and PhysicalResourceId must be specified.",
            ));
        }
    };
    let shown = |(_, resource): &(&String, &StackResource)| resource.status != ResourceStatus::Waiting;
    let resources: Vec<wire_shapes::StackResource> = stack
        .resources
        .iter()
        .filter(shown)
        .filter(|(id, _)| {
            request
                .logical_resource_id
                .as_ref()
                .is_none_or(|wanted| wanted == *id)
        })
        .map(|(id, resource)| shape(stack, id, resource))
        .collect();
    if let Some(id) = &request.logical_resource_id
        && resources.is_empty()
    {
        return Err(validation(format!(
            "Resource {id} does not exist for stack {}",
            stack.name
        )));
    }
    Ok(DescribeStackResourcesOutput {
        stack_resources: resources,
    })
}

fn shape(stack: &Stack, id: &str, resource: &StackResource) -> wire_shapes::StackResource {
    wire_shapes::StackResource {
        stack_name: Some(stack.name.clone()),
        stack_id: Some(stack.arn()),
        logical_resource_id: Some(id.to_owned()),
        physical_resource_id: resource.physical.clone(),
        resource_type: Some(resource.type_name.clone()),
        timestamp: Some(time(resource.changed)),
        resource_status: Some(resource.status.to_string()),
        resource_status_reason: resource.reason.clone(),
        drift_information: Some(wire_shapes::StackResourceDriftInformation {
            stack_resource_drift_status: Some("NOT_CHECKED".to_owned()),
            last_check_timestamp: None,
        }),
        ..wire_shapes::StackResource::default()
    }
}
