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

    /// `IdempotentParameterMismatch`: a client token was used before, with other parameters.
    pub fn idempotent_mismatch(token: &str) -> Error {
        let token: String = token.chars().take(64).collect();
        Error::new(
            "IdempotentParameterMismatch",
            format!("The client token '{token}' was used before with different parameters"),
        )
    }

    /// `InternalError`: a rule of our own was broken; nothing was changed.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new("InternalError", message)
    }
}

impl From<atoll_model::tag::TagError> for Error {
    fn from(error: atoll_model::tag::TagError) -> Error {
        use atoll_model::tag::TagError;
        let code = match error {
            TagError::Count => "TagLimitExceeded",
            TagError::Key(_) | TagError::Value | TagError::Reserved => "InvalidParameterValue",
        };
        Error::new(code, error.to_string())
    }
}
