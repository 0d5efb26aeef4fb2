//! Stacks: made, described, deleted.

use std::collections::BTreeMap;

use atoll_model::Tags;
use atoll_model::stack::{OnFailure, Stack, StackId, StackStatus};
use atoll_shapes::cloudformation as wire_shapes;
use atoll_shapes::cloudformation::{
    CreateStackInput, CreateStackOutput, DeleteStackInput, DeleteStackResult, DescribeStacksInput,
    DescribeStacksOutput,
};
use atoll_stack::{CreateStack, DeleteStack};

use super::{PAGE, validation};
use crate::dispatch::Table;
use crate::wire::page;
use crate::wire::time;
use crate::{ApiError, Call};

pub(crate) fn operations(table: &mut Table) {
    table.add(
        create_stack,
        &[
            "StackName",
            "TemplateBody",
            "Parameters",
            "DisableRollback",
            "OnFailure",
            "TimeoutInMinutes",
            "NotificationARNs",
            "Capabilities",
            "ClientRequestToken",
            "EnableTerminationProtection",
            "Tags",
        ],
    );
    table.add(describe_stacks, &["StackName", "NextToken"]);
    table.add(
        delete_stack,
        &["StackName", "RetainResources", "ClientRequestToken"],
    );
}

async fn create_stack(call: Call, request: CreateStackInput) -> Result<CreateStackOutput, ApiError> {
    let command = command_of(request)?;
    let region = call.region()?;
    let account = call.account;
    // A large template takes a while to read: neither the writer nor other calls wait for one that is wrong.
    let checked = tokio::task::spawn_blocking(move || {
        command.check(&region, account)?;
        Ok::<CreateStack, atoll_region::Error>(command)
    });
    let command = checked
        .await
        .map_err(|_| ApiError::internal("The template could not be checked"))??;
    let id = call.submit(command).await?;
    let region = call.region()?;
    let stack = region.find::<Stack>(call.account, id)?;
    Ok(CreateStackOutput {
        stack_id: Some(stack.arn()),
        operation_id: None,
    })
}

fn command_of(request: CreateStackInput) -> Result<CreateStack, ApiError> {
    let template = request
        .template_body
        .ok_or_else(|| validation("Either Template URL or Template Body must be specified."))?;
    let on_failure = match (request.on_failure.as_deref(), request.disable_rollback) {
        (Some(_), Some(_)) => {
            return Err(validation(
                "You can specify either DisableRollback or OnFailure, but not both.",
            ));
        }
        (Some(text), None) => text.parse::<OnFailure>().map_err(|text| {
            validation(format!(
                "1 validation error detected: Value '{text}' at 'onFailure' failed to satisfy constraint: Member must satisfy enum value set: [ROLLBACK, DELETE, DO_NOTHING]"
            ))
        })?,
        (None, Some(true)) => OnFailure::DoNothing,
        (None, Some(false) | None) => OnFailure::Rollback,
    };
    let mut parameters = BTreeMap::new();
    for parameter in request.parameters {
        let key = parameter.parameter_key.unwrap_or_default();
        if parameter.use_previous_value == Some(true) {
            return Err(validation(format!(
                "Invalid input for parameter key {key}. Cannot specify usePreviousValue as true for a parameter key not in the previous template"
            )));
        }
        let value = parameter.parameter_value.unwrap_or_default();
        if parameters.insert(key.clone(), value).is_some() {
            return Err(validation(format!("Parameter {key} is given twice")));
        }
    }
    let timeout_minutes = match request.timeout_in_minutes {
        None => None,
        Some(minutes) => Some(
            u32::try_from(minutes)
                .ok()
                .filter(|minutes| *minutes > 0)
                .ok_or_else(|| validation("TimeoutInMinutes must be greater than 0"))?,
        ),
    };
    let mut tags = Tags::new();
    for tag in request.tags {
        if tags.insert(tag.key.clone(), tag.value).is_some() {
            return Err(validation(format!(
                "Duplicate tag keys found. The key '{}' is there twice",
                tag.key
            )));
        }
    }
    Ok(CreateStack {
        name: request.stack_name,
        template,
        parameters,
        on_failure,
        timeout_minutes,
        capabilities: request.capabilities,
        notification_arns: request.notification_arns,
        termination_protection: request.enable_termination_protection.unwrap_or(false),
        client_token: request.client_request_token,
        tags,
    })
}

async fn describe_stacks(call: Call, request: DescribeStacksInput) -> Result<DescribeStacksOutput, ApiError> {
    let region = call.region()?;
    if let Some(name) = &request.stack_name {
        let stack = atoll_stack::find(&region, call.account, name)?;
        return Ok(DescribeStacksOutput {
            stacks: vec![shape(stack)],
            next_token: None,
        });
    }
    // Deleted stacks are told of only to who asks for one by its id.
    let stacks = region
        .list::<Stack>(call.account)
        .filter(|stack| stack.status != StackStatus::DeleteComplete)
        .map(|stack| (stack.id, stack));
    let page = page::<StackId, _>(
        "DescribeStacks",
        stacks,
        Some(PAGE),
        request.next_token.as_deref(),
        1..=PAGE,
    )?;
    Ok(DescribeStacksOutput {
        stacks: page.items.into_iter().map(|stack| shape(stack)).collect(),
        next_token: page.next_token,
    })
}

async fn delete_stack(call: Call, request: DeleteStackInput) -> Result<DeleteStackResult, ApiError> {
    call.submit(DeleteStack {
        stack: request.stack_name,
        retain: request.retain_resources,
    })
    .await?;
    Ok(DeleteStackResult::default())
}

fn shape(stack: &Stack) -> wire_shapes::Stack {
    let parameters = stack.parameters.iter().map(|parameter| wire_shapes::Parameter {
        parameter_key: Some(parameter.key.clone()),
        parameter_value: Some(if parameter.no_echo {
            "****".to_owned()
        } else {
            parameter.value.clone()
        }),
        use_previous_value: None,
        resolved_value: parameter.resolved.clone(),
    });
    let outputs = stack.outputs.iter().map(|output| wire_shapes::Output {
        output_key: Some(output.key.clone()),
        output_value: Some(output.value.clone()),
        description: output.description.clone(),
        export_name: output.export.clone(),
    });
    let tags = stack.tags.iter().map(|(key, value)| wire_shapes::Tag {
        key: key.clone(),
        value: value.clone(),
    });
    wire_shapes::Stack {
        stack_id: Some(stack.arn()),
        stack_name: Some(stack.name.clone()),
        description: stack.description.clone(),
        parameters: parameters.collect(),
        creation_time: Some(time(stack.created)),
        deletion_time: stack.deleted.map(time),
        stack_status: Some(stack.status.to_string()),
        stack_status_reason: stack.status_reason.clone(),
        disable_rollback: Some(stack.on_failure == OnFailure::DoNothing),
        notification_arns: stack.notification_arns.clone(),
        timeout_in_minutes: stack
            .timeout_minutes
            .and_then(|minutes| i32::try_from(minutes).ok()),
        capabilities: stack.capabilities.clone(),
        outputs: outputs.collect(),
        tags: tags.collect(),
        enable_termination_protection: Some(stack.termination_protection),
        drift_information: Some(wire_shapes::StackDriftInformation {
            stack_drift_status: Some("NOT_CHECKED".to_owned()),
            last_check_timestamp: None,
        }),
        ..wire_shapes::Stack::default()
    }
}
