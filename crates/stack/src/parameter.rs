//! Parameters: their types, defaults and constraints.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::TemplateError;
use crate::surroundings::{Surroundings, public_parameter};
use crate::template::Template;
use crate::value::{Map, Value, limit};

/// A parameter with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What was given, or the default.
    pub given: String,
    /// What `Ref` returns: text, or a list for list types.
    pub value: Value,
    /// For a parameter of Systems Manager, what was found under the given name.
    pub found: Option<String>,
    /// Whether the value must not be shown.
    pub no_echo: bool,
    /// The AWS-specific type of one value (`AWS::EC2::VPC::Id`), for the rules that look objects up.
    pub element_type: String,
}

/// AWS-specific types and how their ids begin.
const SPECIFIC: &[(&str, &str)] = &[
    ("AWS::EC2::AvailabilityZone::Name", ""),
    ("AWS::EC2::Image::Id", "ami-"),
    ("AWS::EC2::Instance::Id", "i-"),
    ("AWS::EC2::KeyPair::KeyName", ""),
    ("AWS::EC2::SecurityGroup::GroupName", ""),
    ("AWS::EC2::SecurityGroup::Id", "sg-"),
    ("AWS::EC2::Subnet::Id", "subnet-"),
    ("AWS::EC2::Volume::Id", "vol-"),
    ("AWS::EC2::VPC::Id", "vpc-"),
    ("AWS::Route53::HostedZone::Id", ""),
];

/// A parameter's type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Type {
    /// `String`, `Number` or an AWS-specific type.
    element: String,
    list: bool,
    /// Whether the value is a name in the parameter store.
    stored: bool,
}

fn parse_type(name: &str, text: &str) -> Result<Type, TemplateError> {
    let unknown = || TemplateError::format(format!("Unrecognized parameter type: {text} (parameter {name})"));
    if text == "AWS::SSM::Parameter::Name" {
        return Ok(Type {
            element: "String".into(),
            list: false,
            stored: false,
        });
    }
    let stored = text
        .strip_prefix("AWS::SSM::Parameter::Value<")
        .and_then(|rest| rest.strip_suffix('>'));
    let inner = stored.unwrap_or(text);
    let (element, list) = match inner
        .strip_prefix("List<")
        .and_then(|rest| rest.strip_suffix('>'))
    {
        Some(element) => (element, true),
        None if inner == "CommaDelimitedList" => ("String", true),
        None => (inner, false),
    };
    let plain = match element {
        "String" => !list || stored.is_some() || inner == "CommaDelimitedList",
        "Number" => stored.is_none(),
        _ => SPECIFIC.iter().any(|(known, _)| *known == element),
    };
    if !plain {
        return Err(unknown());
    }
    Ok(Type {
        element: element.to_owned(),
        list,
        stored: stored.is_some(),
    })
}

/// Gives each parameter of the template its value.
///
/// # Errors
/// If a parameter is unknown, has no value, or a value breaks a constraint.
pub fn resolve(
    template: &Template,
    given: &BTreeMap<String, String>,
    surroundings: &dyn Surroundings,
    region: &str,
) -> Result<BTreeMap<String, Resolved>, TemplateError> {
    let unknown: BTreeSet<String> = given
        .keys()
        .filter(|name| !template.parameters.contains_key(*name))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        return Err(TemplateError::UnknownParameters { names: unknown });
    }
    let mut without = BTreeSet::new();
    let mut resolved = BTreeMap::new();
    for (name, body) in &template.parameters {
        let kind = declared_type(name, body)?;
        let given = match given.get(name) {
            Some(text) => text.clone(),
            None => match default(name, body)? {
                Some(text) => text,
                None => {
                    without.insert(name.clone());
                    continue;
                }
            },
        };
        resolved.insert(name.clone(), one(name, body, &kind, given, surroundings, region)?);
    }
    if without.is_empty() {
        Ok(resolved)
    } else {
        Err(TemplateError::ParametersWithoutValue { names: without })
    }
}

fn declared_type(name: &str, body: &Map) -> Result<Type, TemplateError> {
    const KNOWN: &[&str] = &[
        "Type",
        "Default",
        "AllowedValues",
        "AllowedPattern",
        "MinLength",
        "MaxLength",
        "MinValue",
        "MaxValue",
        "NoEcho",
        "Description",
        "ConstraintDescription",
    ];
    if let Some(unknown) = body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(TemplateError::format(format!(
            "Invalid template parameter property '{unknown}' (parameter {name})"
        )));
    }
    match body.get("Type") {
        Some(Value::String(text)) => parse_type(name, text),
        Some(_) => Err(TemplateError::format(format!(
            "Every Type member of a parameter must be a string. (parameter {name})"
        ))),
        None => Err(TemplateError::format(format!(
            "Every Parameters object must contain a Type member. (parameter {name})"
        ))),
    }
}

fn default(name: &str, body: &Map) -> Result<Option<String>, TemplateError> {
    match body.get("Default") {
        None => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text)),
            None => Err(TemplateError::format(format!(
                "Every Default member must be a string. (parameter {name})"
            ))),
        },
    }
}

fn one(
    name: &str,
    body: &Map,
    kind: &Type,
    given: String,
    surroundings: &dyn Surroundings,
    region: &str,
) -> Result<Resolved, TemplateError> {
    if given.chars().count() > limit::PARAMETER_CHARS {
        return Err(TemplateError::Parameter(format!(
            "1 validation error detected: Value at 'parameters' failed to satisfy constraint: Member must have length less than or equal to {} (parameter {name})",
            limit::PARAMETER_CHARS
        )));
    }
    let text = |key: &str| body.get(key).and_then(Value::text);
    let found = if kind.stored {
        let value = public_parameter(&given, surroundings).ok_or_else(|| {
            TemplateError::Parameter(format!(
                "Unable to fetch parameters [{given}] from parameter store for this account."
            ))
        })?;
        Some(value)
    } else {
        None
    };
    let whole = found.as_ref().unwrap_or(&given);
    let items: Vec<String> = match kind.list {
        false => vec![whole.clone()],
        true if whole.is_empty() => Vec::new(),
        true => whole.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    let constraint = Constraints::read(name, body, kind)?;
    // The constraints are on what was given: for a stored parameter, its name.
    let checked = if kind.stored {
        std::slice::from_ref(&given)
    } else {
        &items[..]
    };
    for item in checked {
        if let Err(broken) = constraint.check(name, item) {
            return Err(TemplateError::Parameter(match text("ConstraintDescription") {
                Some(description) => format!("Parameter {name} failed to satisfy constraint: {description}"),
                None => broken,
            }));
        }
    }
    for item in &items {
        specific(name, kind, item, surroundings, region)?;
    }
    let no_echo = matches!(text("NoEcho").as_deref(), Some(t) if t.eq_ignore_ascii_case("true"));
    let value = if kind.list {
        items.into_iter().collect()
    } else {
        Value::String(whole.clone())
    };
    Ok(Resolved {
        given,
        value,
        found,
        no_echo,
        element_type: kind.element.clone(),
    })
}

fn specific(
    name: &str,
    kind: &Type,
    item: &str,
    surroundings: &dyn Surroundings,
    region: &str,
) -> Result<(), TemplateError> {
    let missing = || {
        Err(TemplateError::Parameter(format!(
            "Parameter validation failed: parameter value {item} for parameter name {name} does not exist"
        )))
    };
    match kind.element.as_str() {
        "String" => Ok(()),
        "Number" if !is_number(item) => Err(TemplateError::Parameter(format!(
            "Parameter '{name}' must be a number."
        ))),
        "AWS::EC2::AvailabilityZone::Name" => {
            if surroundings
                .zones(region)
                .unwrap_or_default()
                .iter()
                .any(|zone| zone == item)
            {
                Ok(())
            } else {
                missing()
            }
        }
        element => match SPECIFIC.iter().find(|(known, _)| *known == element) {
            Some((_, prefix)) if item.is_empty() || !item.starts_with(prefix) => missing(),
            _ => Ok(()),
        },
    }
}

/// Whether the objects that parameters name exist. Of images any id will do, since each stands for the default
/// one; types whose objects cannot be listed are not asked about.
///
/// # Errors
/// The first one that does not.
pub fn exist(
    parameters: &BTreeMap<String, Resolved>,
    surroundings: &dyn Surroundings,
) -> Result<(), TemplateError> {
    for (name, resolved) in parameters {
        let kind = resolved.element_type.as_str();
        if kind == "AWS::EC2::Image::Id" {
            continue;
        }
        let Some(all) = surroundings.all(kind) else {
            continue;
        };
        let one = resolved.value.text();
        let items = resolved
            .value
            .list()
            .unwrap_or_default()
            .iter()
            .filter_map(Value::text);
        if let Some(missing) = one.into_iter().chain(items).find(|item| !all.contains(item)) {
            return Err(TemplateError::Parameter(format!(
                "Parameter validation failed: parameter value {missing} for parameter name {name} does not exist"
            )));
        }
    }
    Ok(())
}

struct Constraints {
    allowed: Option<Vec<String>>,
    pattern: Option<(String, regex::Regex)>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_value: Option<f64>,
    max_value: Option<f64>,
}

impl Constraints {
    fn read(name: &str, body: &Map, kind: &Type) -> Result<Self, TemplateError> {
        let wrong = |key: &str, what: &str| {
            TemplateError::format(format!("{key} of parameter {name} must be {what}"))
        };
        let allowed = match body.get("AllowedValues") {
            None => None,
            Some(Value::List(list)) => Some(
                list.iter()
                    .map(|v| {
                        v.text()
                            .ok_or_else(|| wrong("AllowedValues", "a list of strings"))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Some(_) => return Err(wrong("AllowedValues", "a list of strings")),
        };
        let pattern = match body.get("AllowedPattern").map(|p| (p, p.text())) {
            None => None,
            Some((_, Some(text))) => {
                // The whole value must match. The bound keeps a pattern from growing without end.
                let compiled = regex::RegexBuilder::new(&format!(r"\A(?:{text})\z"))
                    .size_limit(1 << 20)
                    .build()
                    .map_err(|_| TemplateError::format(format!("AllowedPattern of parameter {name} is not a supported regular expression (look-around and back-references are not): {text}")))?;
                Some((text, compiled))
            }
            Some((_, None)) => return Err(wrong("AllowedPattern", "a string")),
        };
        let number = |key: &str| match body.get(key) {
            None => Ok(None),
            Some(value) => match value.text().and_then(|t| t.trim().parse::<f64>().ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(key, "a number")),
            },
        };
        let length = |key: &str| match body.get(key) {
            None => Ok(None),
            Some(value) => match value.text().and_then(|t| t.trim().parse::<usize>().ok()) {
                Some(length) => Ok(Some(length)),
                None => Err(wrong(key, "a whole number")),
            },
        };
        let numeric = kind.element == "Number";
        for key in ["MinValue", "MaxValue"] {
            if body.contains_key(key) && !numeric {
                return Err(TemplateError::format(format!(
                    "{key} of parameter {name} is only allowed for the type Number"
                )));
            }
        }
        Ok(Self {
            allowed,
            pattern,
            min_length: length("MinLength")?,
            max_length: length("MaxLength")?,
            min_value: number("MinValue")?,
            max_value: number("MaxValue")?,
        })
    }

    fn check(&self, name: &str, text: &str) -> Result<(), String> {
        let length = text.chars().count();
        if let Some(allowed) = &self.allowed
            && !allowed.iter().any(|value| value == text)
        {
            return Err(format!("Parameter '{name}' must be one of AllowedValues"));
        }
        if let Some((pattern, compiled)) = &self.pattern
            && !compiled.is_match(text)
        {
            return Err(format!("Parameter '{name}' must match pattern {pattern}"));
        }
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            return Err(format!(
                "Parameter '{name}' must contain at least {least} characters"
            ));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            return Err(format!(
                "Parameter '{name}' must contain at most {most} characters"
            ));
        }
        if self.min_value.is_some() || self.max_value.is_some() {
            let Some(number) = is_number(text).then(|| text.trim().parse::<f64>().ok()).flatten() else {
                return Err(format!("Parameter '{name}' must be a number."));
            };
            if let Some(least) = self.min_value.filter(|least| number < *least) {
                return Err(format!(
                    "Parameter '{name}' must be a number not less than {least}"
                ));
            }
            if let Some(most) = self.max_value.filter(|most| number > *most) {
                return Err(format!(
                    "Parameter '{name}' must be a number not greater than {most}"
                ));
            }
        }
        Ok(())
    }
}

/// An integer or a decimal fraction; `inf` and `nan`, which Rust would parse, are not numbers.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    text.bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.parse::<f64>().is_ok()
}
