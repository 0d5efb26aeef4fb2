//! What a command answers when it cannot be done: AWS's code and one sentence.

use std::fmt;

/// An error with one of AWS's codes, such as `InvalidVpcID.NotFound`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// AWS's code; clients branch on it.
    pub code: &'static str,
    /// One sentence: what was wrong, with which value, and what would be right.
    pub message: String,
}

impl Error {
    /// An error of that code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
        }
    }

    /// `DependencyViolation`: something still uses the object.
    pub fn dependency(message: impl Into<String>) -> Error {
        Error::new("DependencyViolation", message)
    }

    /// `InvalidParameterValue`.
    pub fn invalid_value(message: impl Into<String>) -> Error {
        Error::new("InvalidParameterValue", message)
    }

    /// `InvalidParameterCombination`.
    pub fn invalid_combination(message: impl Into<String>) -> Error {
        Error::new("InvalidParameterCombination", message)
    }

    /// `MissingParameter`, with the name of the parameter.
    pub fn missing(parameter: impl fmt::Display) -> Error {
        Error::new(
            "MissingParameter",
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// `InternalError`: a rule of our own was broken; nothing was changed.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new("InternalError", message)
    }
}
