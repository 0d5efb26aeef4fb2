//! Requests and answers of the AWS protocols, for the operations Atoll answers.
//!
//! Each operation has a request type, made from query parameters by [`query::Decode`] or refused
//! with the name of the offending parameter, and an answer type, written as AWS writes it by
//! [`xml::Encode`]; [`Request`] ties the two. [`ec2`], [`sts`] and [`cloudformation`] are generated
//! by `cargo xtask shapes` from the public service models and keep their shape names; fields are
//! in snake case, `Option` unless the model requires them, lists are `Vec`.
//!
//! What does not belong here: meaning. Whether an identifier exists or a CIDR overlaps is the
//! handler's question (`api`), and the region's.
//!
//! Start at [`query`] for reading, [`xml`] for writing; `operations.txt` lists the operations.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod base64;
pub mod cloudformation;
pub mod ec2;
pub mod query;
mod service;
pub mod sts;
mod timestamp;
pub mod xml;

pub use base64::Blob;
pub use service::{Request, Service};
pub use timestamp::Timestamp;
