//! How a resource type declares its properties, and the check of a resource against them.
//!
//! A property is *in force* (a command carries it), *not in effect* (accepted, nothing follows from it
//! here, and the stack's events say so), allowed *only* with a value that means what happens anyway, or
//! *refused*, with the reason. Nothing is swallowed.

use crate::life::Life;
use crate::value::{Map, Value};

/// A resource type.
pub struct ResourceType {
    /// `AWS::EC2::VPC`.
    pub name: &'static str,
    /// Its properties.
    pub properties: &'static [Property],
    /// What `Fn::GetAtt` may ask for.
    pub attributes: &'static [&'static str],
    /// Whether it is only a placeholder: it gets an id and is not in effect.
    pub placeholder: bool,
    /// What it does.
    pub life: &'static dyn Life,
}

impl std::fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ResourceType {
    /// Whether `Fn::GetAtt` may ask for this.
    pub fn has_attribute(&self, attribute: &str) -> bool {
        self.attributes
            .iter()
            .any(|known| *known == attribute || *known == "*")
    }
}

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What follows from it.
    pub effect: Effect,
}

/// What a property's value is. CloudFormation takes numbers and booleans as text and the other way round.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Whatever it is: a policy document.
    Json,
    /// A list of texts.
    Strings,
    /// An object with these fields.
    Object(&'static [Property]),
    /// A list of such objects.
    Objects(&'static [Property]),
}

/// What follows from a property.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// What the documentation says.
    InForce,
    /// Nothing, with a warning.
    NotInEffect,
    /// Nothing needs to, since only these values are taken (compared without regard to case).
    Only(&'static [&'static str]),
    /// It is refused for this reason.
    Refused(&'static str),
}

impl Property {
    /// A property in force that may be left out.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: false,
            effect: Effect::InForce,
        }
    }

    /// The same, but it must be there.
    pub const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// The same, but not in effect.
    pub const fn not_in_effect(self) -> Self {
        Self {
            effect: Effect::NotInEffect,
            ..self
        }
    }

    /// The same, with these values only.
    pub const fn only(self, values: &'static [&'static str]) -> Self {
        Self {
            effect: Effect::Only(values),
            ..self
        }
    }

    /// The same, refused.
    pub const fn refused(self, why: &'static str) -> Self {
        Self {
            effect: Effect::Refused(why),
            ..self
        }
    }
}

/// `Tags` of nearly every type.
pub const TAGS: Property = Property::new(
    "Tags",
    Kind::Objects(&[
        Property::new("Key", Kind::String).required(),
        Property::new("Value", Kind::String).required(),
    ]),
);

/// Checks properties against their declaration. What is known only later ([`Value::Later`]) has any type.
/// Returns the paths of properties that are not in effect.
///
/// # Errors
/// What is wrong, in CloudFormation's words.
pub fn check(properties: &Map, declared: &[Property]) -> Result<Vec<String>, String> {
    let mut not_in_effect = Vec::new();
    if declared.iter().any(|property| property.name == "*") {
        return Ok(not_in_effect);
    }
    object(properties, declared, "", &mut not_in_effect)?;
    Ok(not_in_effect)
}

fn object(
    map: &Map,
    declared: &[Property],
    prefix: &str,
    not_in_effect: &mut Vec<String>,
) -> Result<(), String> {
    for (name, value) in map {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let Some(property) = declared.iter().find(|property| property.name == name) else {
            return Err(format!("Encountered unsupported property {path}"));
        };
        match property.effect {
            Effect::InForce => {}
            Effect::NotInEffect => not_in_effect.push(path.clone()),
            Effect::Only(values) => {
                if !value.is_later()
                    && !value
                        .text()
                        .is_some_and(|text| values.iter().any(|v| v.eq_ignore_ascii_case(&text)))
                {
                    let text = value.text().unwrap_or_else(|| "this".to_owned());
                    return Err(format!(
                        "Property {path} is supported here only with the value {}, not {text}",
                        values.join(" or ")
                    ));
                }
                continue;
            }
            Effect::Refused(why) => return Err(format!("Property {path} is not supported here: {why}")),
        }
        typed(value, property.kind, &path, not_in_effect)?;
    }
    for property in declared.iter().filter(|property| property.required) {
        if !map.contains_key(property.name) {
            let path = if prefix.is_empty() {
                property.name.to_owned()
            } else {
                format!("{prefix}.{}", property.name)
            };
            return Err(format!("Property {path} cannot be empty."));
        }
    }
    Ok(())
}

fn typed(value: &Value, kind: Kind, path: &str, not_in_effect: &mut Vec<String>) -> Result<(), String> {
    if *value == Value::Later {
        return Ok(());
    }
    let scalar = value.text();
    let right = match kind {
        Kind::Json => true,
        Kind::String => scalar.is_some(),
        Kind::Boolean => boolean(value).is_some(),
        Kind::Integer => integer(value).is_some(),
        Kind::Strings => match value {
            Value::List(list) => list
                .iter()
                .all(|item| *item == Value::Later || item.text().is_some()),
            _ => false,
        },
        Kind::Object(fields) => match value {
            Value::Map(map) => return object(map, fields, path, not_in_effect),
            _ => false,
        },
        Kind::Objects(fields) => match value {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    match item {
                        Value::Later => {}
                        Value::Map(map) => object(map, fields, &path, not_in_effect)?,
                        _ => return Err(format!("Value of property {path} must be an object")),
                    }
                }
                true
            }
            _ => false,
        },
    };
    if right {
        return Ok(());
    }
    Err(match kind {
        Kind::Object(_) => format!("Value of property {path} must be an object"),
        Kind::Objects(_) => format!("Value of property {path} must be of type List"),
        Kind::Strings => format!("Value of property {path} must be of type List of String"),
        Kind::Boolean => format!("Value of property {path} must be of type Boolean"),
        Kind::Integer => format!("Value of property {path} must be of type Integer"),
        Kind::String | Kind::Json => format!("Value of property {path} must be of type String"),
    })
}

/// A boolean, also as text.
pub fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A whole number, also as text; `5.0` is 5.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(text) | Value::String(text) => text.trim().trim_end_matches(".0").parse().ok(),
        _ => None,
    }
}
