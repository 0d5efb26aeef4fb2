//! A template's values: what YAML and JSON have in common, and what an evaluated property is made of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Entries of a map in the order of their keys, so that everything made from a template is the same
/// every time.
pub type Map = BTreeMap<String, Value>;

/// A value of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`. Refused in properties, as in CloudFormation.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written: `1.10` stays `1.10` where a string is wanted.
    Number(String),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(Map),
    /// Known only when the resource it comes from has been made. Never comes out of a template's text
    /// and never reaches a command.
    Later,
}

impl Value {
    /// The text of a scalar: CloudFormation passes numbers and booleans where strings are wanted.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::String(s) | Self::Number(s) => Some(s.clone()),
            Self::Bool(b) => Some(b.to_string()),
            Self::Null | Self::List(_) | Self::Map(_) | Self::Later => None,
        }
    }

    /// The entries, if this is a map.
    pub fn map(&self) -> Option<&Map> {
        match self {
            Self::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Self::List(l) => Some(l),
            _ => None,
        }
    }

    /// Whether this or anything in it is known only later.
    pub fn is_later(&self) -> bool {
        match self {
            Self::Later => true,
            Self::List(l) => l.iter().any(Self::is_later),
            Self::Map(m) => m.values().any(Self::is_later),
            _ => false,
        }
    }

    /// The function's name and argument, if this is a map that is a function call: one entry, named
    /// `Ref` or `Fn::…`. (`Condition` is one only inside conditions, since policies have a field of
    /// that name.)
    pub fn call(&self) -> Option<(&str, &Value)> {
        let map = self.map()?;
        if map.len() != 1 {
            return None;
        }
        let (name, argument) = map.iter().next()?;
        (name == "Ref" || name.starts_with("Fn::")).then_some((name.as_str(), argument))
    }

    /// As JSON, for placeholders and for people.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null | Self::Later => serde_json::Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Number(n) => serde_json::from_str::<serde_json::Number>(n)
                .map_or_else(|_| n.clone().into(), serde_json::Value::Number),
            Self::String(s) => s.clone().into(),
            Self::List(l) => l.iter().map(Self::to_json).collect(),
            Self::Map(m) => m
                .iter()
                .map(|(k, v)| (k.clone(), v.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::String(s.to_owned())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::String(s)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl FromIterator<String> for Value {
    fn from_iter<I: IntoIterator<Item = String>>(items: I) -> Self {
        Self::List(items.into_iter().map(Self::String).collect())
    }
}

/// A place in a template, as CloudFormation writes it: `/Resources/Web/Properties/Tags/0`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn of(parts: &[&str]) -> Self {
        parts.iter().fold(Self::default(), |path, part| path.then(part))
    }

    pub(crate) fn then(&self, part: &str) -> Self {
        Self(format!("{}/{part}", self.0))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut text = self.0.clone();
        let _ = write!(text, "/{index}");
        Self(text)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bounds of what is read from a tenant.
pub(crate) mod limit {
    /// Bytes of a template. CloudFormation takes 51,200 in a request and 1 MiB from S3; here the
    /// request is the only way, so it may have 1 MiB.
    pub(crate) const BYTES: usize = 1 << 20;
    /// Levels of lists and maps in each other.
    pub(crate) const DEPTH: usize = 100;
    /// Scalars, lists and maps together.
    pub(crate) const NODES: usize = 200_000;
    /// Bytes that evaluation may produce: `Fn::Sub` in `Fn::Sub` grows by powers.
    pub(crate) const EVALUATED: usize = 8 << 20;
    /// Resources, parameters, outputs, mappings of a template (CloudFormation's quotas).
    pub(crate) const RESOURCES: usize = 500;
    pub(crate) const PARAMETERS: usize = 200;
    pub(crate) const OUTPUTS: usize = 200;
    pub(crate) const MAPPINGS: usize = 200;
    /// Characters of a parameter's value, and of a description (CloudFormation's quotas).
    pub(crate) const PARAMETER_CHARS: usize = 4096;
    pub(crate) const DESCRIPTION_BYTES: usize = 1024;
    /// Characters of a logical id or a parameter's name.
    pub(crate) const NAME_CHARS: usize = 255;
}
