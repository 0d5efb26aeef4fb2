//! Who is calling, and may they.
//!
//! Today: AWS Signature Version 4 in the `Authorization` header, verified ([`verify`]) and made
//! ([`sign`]), over accounts and access keys. Pure: the time, the body, the known credentials and the
//! random bytes of a new key are arguments. Nothing here reads a clock, a file or a socket.
//!
//! Start at `verify.rs`; `canonical.rs` holds the canonical request, which both directions share;
//! `error.rs` holds AWS's codes and sentences, which differ between EC2 and the other services.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod authorization;
mod canonical;
mod credential;
mod error;
mod sign;
mod signed_date;
mod verify;

pub use credential::{AccessKey, AccessKeyError, Credential, SecretKey};
pub use error::{AuthError, Reason};
pub use sign::{Signed, sign};
pub use signed_date::{SignedDate, SignedDateError};
pub use verify::{Caller, RequestParts, identify, verify};
