//! CloudFormation's stacks, as the command line sees them.

use crate::api::{Api, ApiError};
use crate::xml::Element;

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Its ARN, which still names it when it is deleted.
    pub id: String,
    /// Its status, in CloudFormation's words.
    pub status: String,
    /// Why, when it failed.
    pub reason: String,
    /// Outputs: name, value, description.
    pub outputs: Vec<(String, String, String)>,
}

impl Stack {
    fn read(element: &Element) -> Self {
        let output = |o: &Element| {
            (
                o.text_of("OutputKey"),
                o.text_of("OutputValue"),
                o.text_of("Description"),
            )
        };
        Self {
            name: element.text_of("StackName"),
            id: element.text_of("StackId"),
            status: element.text_of("StackStatus"),
            reason: element.text_of("StackStatusReason"),
            outputs: element.members("Outputs").map(output).collect(),
        }
    }

    /// Whether something is still being done to it.
    pub fn in_progress(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS")
    }
}

/// One event of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackEvent {
    /// Its id, unique.
    pub id: String,
    /// The logical id, or the stack's name for the stack itself.
    pub logical_id: String,
    /// The id of what was made.
    pub physical_id: String,
    /// The resource's type.
    pub kind: String,
    /// The status reached.
    pub status: String,
    /// Why.
    pub reason: String,
}

/// Every stack of the region, those deleted left out.
///
/// # Errors
/// The API's.
pub fn list(api: &Api) -> Result<Vec<Stack>, ApiError> {
    pages(api, "DescribeStacks", &[], "Stacks", Stack::read)
}

/// One stack; `None` when there is none of that name.
///
/// # Errors
/// The API's.
pub fn find(api: &Api, name: &str) -> Result<Option<Stack>, ApiError> {
    let parameters = [("StackName".to_owned(), name.to_owned())];
    match api.cloudformation("DescribeStacks", &parameters) {
        Ok(result) => Ok(result.members("Stacks").map(Stack::read).next()),
        Err(ApiError::Refused { code, message })
            if code == "ValidationError" && message.contains("does not exist") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A stack's events, the oldest first.
///
/// # Errors
/// The API's.
pub fn events(api: &Api, name: &str) -> Result<Vec<StackEvent>, ApiError> {
    let read = |event: &Element| StackEvent {
        id: event.text_of("EventId"),
        logical_id: event.text_of("LogicalResourceId"),
        physical_id: event.text_of("PhysicalResourceId"),
        kind: event.text_of("ResourceType"),
        status: event.text_of("ResourceStatus"),
        reason: event.text_of("ResourceStatusReason"),
    };
    let parameters = [("StackName".to_owned(), name.to_owned())];
    let mut events = pages(api, "DescribeStackEvents", &parameters, "StackEvents", read)?;
    events.reverse();
    Ok(events)
}

/// What could not be made, and why: a line for each resource that failed of itself.
pub fn failures(events: &[StackEvent]) -> Vec<String> {
    let own = |event: &&StackEvent| {
        // What was under way is cancelled when another fails: that says nothing.
        event.status == "CREATE_FAILED" && event.reason != "Resource creation cancelled"
    };
    events
        .iter()
        .filter(own)
        .map(|event| format!("{} ({}): {}", event.logical_id, event.kind, event.reason))
        .collect()
}

/// Begins to make a stack; gives its id.
///
/// # Errors
/// The API's.
pub fn create(
    api: &Api,
    name: &str,
    template: &str,
    parameters: &[(String, String)],
) -> Result<String, ApiError> {
    let mut form = vec![
        ("StackName".to_owned(), name.to_owned()),
        ("TemplateBody".to_owned(), template.to_owned()),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM".to_owned()),
        (
            "Capabilities.member.2".to_owned(),
            "CAPABILITY_NAMED_IAM".to_owned(),
        ),
    ];
    for (nth, (key, value)) in parameters.iter().enumerate() {
        let place = format!("Parameters.member.{}", nth + 1);
        form.push((format!("{place}.ParameterKey"), key.clone()));
        form.push((format!("{place}.ParameterValue"), value.clone()));
    }
    Ok(api.cloudformation("CreateStack", &form)?.text_of("StackId"))
}

/// Begins to delete a stack.
///
/// # Errors
/// The API's.
pub fn delete(api: &Api, name: &str) -> Result<(), ApiError> {
    api.cloudformation("DeleteStack", &[("StackName".to_owned(), name.to_owned())])
        .map(drop)
}

fn pages<T>(
    api: &Api,
    action: &str,
    parameters: &[(String, String)],
    list: &str,
    read: impl Fn(&Element) -> T,
) -> Result<Vec<T>, ApiError> {
    let mut items = Vec::new();
    let mut form = parameters.to_vec();
    loop {
        let result = api.cloudformation(action, &form)?;
        items.extend(result.members(list).map(&read));
        let token = result.text_of("NextToken");
        if token.is_empty() {
            return Ok(items);
        }
        form = parameters.to_vec();
        form.push(("NextToken".to_owned(), token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_resource_and_why_and_leaves_out_what_was_cancelled() {
        let event = |logical_id: &str, status: &str, reason: &str| StackEvent {
            id: String::new(),
            logical_id: logical_id.into(),
            physical_id: String::new(),
            kind: "AWS::EC2::Subnet".into(),
            status: status.into(),
            reason: reason.into(),
        };
        let events = [
            event("A", "CREATE_COMPLETE", ""),
            event("B", "CREATE_FAILED", "Property CidrBlock: no"),
            event("C", "CREATE_FAILED", "Resource creation cancelled"),
        ];
        assert_eq!(
            failures(&events),
            ["B (AWS::EC2::Subnet): Property CidrBlock: no"]
        );
    }
}
