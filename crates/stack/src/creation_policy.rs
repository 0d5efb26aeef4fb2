//! `CreationPolicy`: how many signals a resource's creation waits for, and how long.

use crate::error::TemplateError;
use crate::intrinsic::Scope;
use crate::schema;
use crate::template::Resource;
use crate::value::{Map, Path, Value};

/// `CreationPolicy.ResourceSignal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Signals of success that are needed.
    pub count: u32,
    /// Milliseconds after which it is too late.
    pub timeout_millis: u64,
}

/// What a resource waits for, from its creation policy.
pub(crate) fn signals(
    id: &str,
    body: &Resource,
    scope: &Scope<'_>,
    path: &Path,
) -> Result<Option<Signals>, TemplateError> {
    let Some(policy) = &body.creation_policy else {
        return Ok(None);
    };
    let path = path.then("CreationPolicy");
    let wrong = |what: String| TemplateError::format(format!("[{path}] {what}"));
    if !matches!(
        body.type_name.as_str(),
        "AWS::EC2::Instance" | "AWS::CloudFormation::WaitCondition"
    ) {
        return Err(wrong(format!(
            "CreationPolicy is not supported for the type {} ({id})",
            body.type_name
        )));
    }
    let Some(Value::Map(policy)) = scope.evaluate(policy, &path)? else {
        return Err(wrong("must be an object".to_owned()));
    };
    if let Some(unknown) = policy.keys().find(|key| *key != "ResourceSignal") {
        return Err(wrong(format!("Encountered unsupported property {unknown}")));
    }
    let empty = Map::new();
    let signal = match policy.get("ResourceSignal") {
        None => &empty,
        Some(Value::Map(signal)) => signal,
        Some(_) => return Err(wrong("ResourceSignal must be an object".to_owned())),
    };
    if let Some(unknown) = signal
        .keys()
        .find(|key| !matches!(key.as_str(), "Count" | "Timeout"))
    {
        return Err(wrong(format!(
            "Encountered unsupported property ResourceSignal.{unknown}"
        )));
    }
    let count = match signal.get("Count") {
        None => 1,
        Some(value) => schema::integer(value)
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| (1..=100).contains(count))
            .ok_or_else(|| wrong("ResourceSignal.Count must be a number from 1 to 100".to_owned()))?,
    };
    let timeout_millis = match signal
        .get("Timeout")
        .map(|value| value.text().and_then(|text| duration_millis(&text)))
    {
        None => 5 * 60 * 1000,
        Some(Some(millis)) if millis <= 12 * 3600 * 1000 => millis,
        Some(_) => {
            return Err(wrong(
                "ResourceSignal.Timeout must be a duration such as PT15M, of at most PT12H".to_owned(),
            ));
        }
    };
    Ok(Some(Signals {
        count,
        timeout_millis,
    }))
}

/// Milliseconds of an ISO 8601 duration of hours, minutes and seconds: `PT1H30M`.
fn duration_millis(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix("PT").filter(|rest| !rest.is_empty())?;
    let mut seconds: u64 = 0;
    for (unit, worth) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((number, tail)) = rest.split_once(unit) {
            let number: u64 = number.parse().ok()?;
            seconds = seconds.checked_add(number.checked_mul(worth)?)?;
            rest = tail;
        }
    }
    rest.is_empty().then(|| seconds.checked_mul(1000)).flatten()
}
