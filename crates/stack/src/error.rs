//! What can be wrong with a template. At the API every one of these is a `ValidationError`, except a
//! missing acknowledgement ([`TemplateError::Capabilities`]).

use std::collections::BTreeSet;

/// Why a template was refused. The text is what the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The body is longer than the limit.
    #[error(
        "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: \
         Member must have length less than or equal to {limit}"
    )]
    TooLong {
        /// Most bytes that a body may have.
        limit: usize,
    },
    /// The text is not YAML or JSON.
    #[error("Template format error: {format} not well-formed. (line {line}, column {column}): {what}")]
    Syntax {
        /// `YAML` or `JSON`.
        format: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was wrong there.
        what: String,
    },
    /// A section does not have the form that it must have.
    #[error("Template format error: {0}")]
    Format(String),
    /// A function was used wrongly, or has no value.
    #[error("Template error: {0}")]
    Function(String),
    /// Names that no section declares.
    #[error(
        "Template format error: Unresolved resource dependencies [{}] in the {section} block of the template",
        list(names)
    )]
    Unresolved {
        /// The names.
        names: BTreeSet<String>,
        /// `Resources` or `Outputs`.
        section: &'static str,
    },
    /// Resources that wait for each other.
    #[error("Circular dependency between resources: [{}]", names.join(", "))]
    Circular {
        /// Their logical ids, each once.
        names: Vec<String>,
    },
    /// Types that are not here.
    #[error("Template format error: Unrecognized resource types: [{}]", list(types))]
    UnknownTypes {
        /// Their names.
        types: BTreeSet<String>,
    },
    /// Parameters without a value and without a default.
    #[error("Parameters: [{}] must have values", list(names))]
    ParametersWithoutValue {
        /// Their names.
        names: BTreeSet<String>,
    },
    /// Values for parameters that the template does not have.
    #[error("Parameters: [{}] do not exist in the template", list(names))]
    UnknownParameters {
        /// Their names.
        names: BTreeSet<String>,
    },
    /// A parameter's value breaks one of its constraints.
    #[error("{0}")]
    Parameter(String),
    /// An assertion of the `Rules` section does not hold.
    #[error("Template error: Rule '{rule}' does not hold: {description}")]
    Rule {
        /// The rule's name.
        rule: String,
        /// `AssertDescription`, or what was asserted.
        description: String,
    },
    /// A resource's property is wrong.
    #[error("Resource {logical_id} ({type_name}): {what}")]
    Property {
        /// The resource.
        logical_id: String,
        /// Its type.
        type_name: String,
        /// What is wrong, with the property's path.
        what: String,
    },
    /// The template makes resources that the caller must acknowledge.
    #[error("Requires capabilities : [{capability}]")]
    Capabilities {
        /// `CAPABILITY_IAM` or `CAPABILITY_NAMED_IAM`.
        capability: &'static str,
    },
}

impl TemplateError {
    /// The error code that the API answers with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Capabilities { .. } => "InsufficientCapabilitiesException",
            _ => "ValidationError",
        }
    }

    pub(crate) fn format(what: impl Into<String>) -> Self {
        Self::Format(what.into())
    }

    pub(crate) fn function(what: impl Into<String>) -> Self {
        Self::Function(what.into())
    }
}

/// At most twenty names: a template can name any number of things that are not there.
fn list(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .take(20)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
