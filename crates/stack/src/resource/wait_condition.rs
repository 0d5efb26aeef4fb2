//! `AWS::CloudFormation::WaitCondition` and its handle.

use atoll_model::stack::{StackSignal, WantedSignals};

use crate::life::{Created, Failure, Life, Make, Progress, Seen};
use crate::schema::{Kind, Property, ResourceType};
use crate::signal::{handle, handle_logical_id, heard};
use crate::value::Value;

/// Waits until so many signals came to its handle (or, with a creation policy, to itself). `Ref` is its
/// name.
pub const WAIT_CONDITION: ResourceType = ResourceType {
    name: "AWS::CloudFormation::WaitCondition",
    properties: &[
        Property::new("Count", Kind::Integer),
        Property::new("Handle", Kind::String),
        Property::new("Timeout", Kind::Integer),
    ],
    attributes: &["Data"],
    placeholder: false,
    life: &ConditionLife,
};

/// Where signals for a wait condition go. `Ref` is what `cfn-signal` takes in the place of a URL.
pub const WAIT_CONDITION_HANDLE: ResourceType = ResourceType {
    name: "AWS::CloudFormation::WaitConditionHandle",
    properties: &[],
    attributes: &[],
    placeholder: false,
    life: &HandleLife,
};

struct HandleLife;

impl Life for HandleLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        Ok(Created::untagged(handle(make.stack, make.logical_id)))
    }
}

struct ConditionLife;

impl ConditionLife {
    /// The signals that count: those of the handle, or its own when it has a creation policy.
    fn signals<'a>(seen: &Seen<'a>) -> &'a [StackSignal] {
        let handle = seen.resource.detail.as_deref().and_then(handle_logical_id);
        let from = handle
            .and_then(|id| seen.stack.resources.get(&id))
            .unwrap_or(seen.resource);
        &from.signals
    }
}

impl Life for ConditionLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let has_policy = make
            .stack
            .resources
            .get(make.logical_id)
            .is_some_and(|resource| resource.wanted_signals.is_some());
        let created = Created::untagged(format!("{}/{}", make.stack.arn(), make.logical_id));
        match (given.text("Handle"), given.integer::<u64>("Timeout")?) {
            (None, None) if has_policy => Ok(created),
            (Some(handle), Some(seconds)) if seconds <= 43_200 => {
                if handle_logical_id(&handle).is_none() {
                    return Err(Failure::of(
                        "Handle",
                        format!("{handle} is not the handle of a wait condition"),
                    ));
                }
                let count = given.integer("Count")?.unwrap_or(1);
                let signals = Some(WantedSignals {
                    count,
                    timeout_millis: seconds.saturating_mul(1000),
                });
                Ok(Created {
                    signals,
                    ..created.remembering(handle)
                })
            }
            (Some(_), Some(_)) => Err(Failure::of("Timeout", "must be at most 43200 seconds")),
            _ => Err(Failure::of(
                "Handle",
                "Handle and Timeout must be given, or a CreationPolicy",
            )),
        }
    }

    fn progress(&self, seen: &Seen<'_>) -> Progress {
        seen.resource
            .wanted_signals
            .map_or(Progress::Complete, |wanted| heard(Self::signals(seen), wanted))
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let data = |signal: &StackSignal| {
            (
                signal.unique_id.clone(),
                signal.data.clone().unwrap_or_default().into(),
            )
        };
        let all: serde_json::Map<String, serde_json::Value> = Self::signals(seen).iter().map(data).collect();
        (name == "Data").then(|| serde_json::Value::Object(all).to_string().into())
    }
}
