//! The wire: AWS's query protocols in front of a region.
//!
//! A request goes through [`server`] (HTTP, limits, request id), [`hosts`] (it is no web page's),
//! [`auth`] (who calls), [`wire`] (parameters), [`dispatch`] (the operation's request type and
//! handler) and comes to a handler, which reads a snapshot of the region or submits a command
//! through its [`Call`] and fills in an answer. Handlers translate: they parse identifiers and
//! CIDRs, list and filter, and put rows into AWS's shapes. One noun, one file: [`ec2`] has them.
//!
//! What does not belong here: decisions about state (`region`), what rows mean to a packet
//! (`fabric`), storage and processes (`daemon`, which implements [`Backend`]).
//!
//! Start at [`dispatch`], whose doc says how a handler is added.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod backend;
mod body;
pub mod call;
pub mod cloudformation;
pub mod connections;
pub mod dispatch;
pub mod ec2;
pub mod error;
pub mod hosts;
pub mod server;
pub mod sts;
pub mod wire;

pub use backend::{Backend, Submission};
pub use body::MAX_BODY;
pub use call::Call;
pub use connections::Limits;
pub use error::ApiError;
pub use hosts::Hosts;
pub use server::{Api, serve};
