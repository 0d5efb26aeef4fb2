//! Why a call is refused, in AWS's words.
//!
//! EC2 has codes of its own: `AuthFailure` (401) where the other query services say
//! `InvalidClientTokenId` or `SignatureDoesNotMatch` (403), and `RequestExpired` (400) where they say
//! `SignatureDoesNotMatch`. The code therefore depends on the service the credential was scoped to.

use crate::SignedDate;

/// A refused call. Its `Display` is the message for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthError {
    /// What was wrong.
    pub reason: Reason,
    /// The service of the credential's scope, when it was legible.
    pub service: Option<String>,
}

/// What was wrong with a call's authentication.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No `Authorization` header.
    #[error("Request is missing Authentication Token")]
    Missing,
    /// The signature is in the query string.
    #[error(
        "Signatures in the query string (presigned URLs) are not in effect: sign in the Authorization header"
    )]
    Presigned,
    /// The header, or what it needs beside it, is malformed.
    #[error("{0}")]
    Incomplete(String),
    /// No such access key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// A session token came along.
    #[error(
        "The security token included in the request is invalid: temporary credentials (X-Amz-Security-Token) are not in effect here, use a long-lived access key"
    )]
    SessionToken,
    /// The signature is not the one that the secret makes.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    Unsigned(&'static str),
    /// `x-amz-content-sha256` does not say what the body hashes to.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    BodyHash,
    /// `x-amz-content-sha256` asks for the body to go unsigned.
    #[error(
        "The body of a request to this service must be signed; UNSIGNED-PAYLOAD and streaming bodies are Amazon S3's"
    )]
    UnsignedBody,
    /// The day of the scope is not that of the request's date.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{scope}' != '{date}'."
    )]
    WrongDay {
        /// The day of the scope.
        scope: String,
        /// The day of the request.
        date: String,
    },
    /// The request's date is too far from now.
    #[error("Signature expired: {date} is not within 15 minutes of {now}")]
    Skewed {
        /// The request's date.
        date: SignedDate,
        /// Our clock.
        now: SignedDate,
    },
}

impl AuthError {
    fn is_ec2(&self) -> bool {
        self.service.as_deref() == Some("ec2")
    }

    /// AWS's error code.
    pub fn code(&self) -> &'static str {
        match &self.reason {
            Reason::Missing | Reason::Presigned => "MissingAuthenticationToken",
            Reason::Incomplete(_) => "IncompleteSignature",
            Reason::Skewed { .. } if self.is_ec2() => "RequestExpired",
            Reason::UnsignedBody => "InvalidRequest",
            _ if self.is_ec2() => "AuthFailure",
            Reason::UnknownKey | Reason::SessionToken => "InvalidClientTokenId",
            Reason::Mismatch
            | Reason::Unsigned(_)
            | Reason::BodyHash
            | Reason::WrongDay { .. }
            | Reason::Skewed { .. } => "SignatureDoesNotMatch",
        }
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> u16 {
        match self.code() {
            "AuthFailure" => 401,
            "IncompleteSignature" | "RequestExpired" | "InvalidRequest" => 400,
            _ => 403,
        }
    }
}

impl std::fmt::Display for AuthError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            // EC2 says the same of a wrong key and a wrong signature.
            Reason::UnknownKey | Reason::Mismatch if self.is_ec2() => {
                f.write_str("AWS was not able to validate the provided access credentials")
            }
            Reason::Skewed { .. } if self.is_ec2() => f.write_str("Request has expired."),
            reason => reason.fmt(f),
        }
    }
}

impl std::error::Error for AuthError {}
