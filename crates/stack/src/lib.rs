//! CloudFormation templates, turned into the commands that `region` applies.
//!
//! A template is text from a tenant. [`Template::parse`] reads it (YAML or JSON) into sections;
//! [`Plan::new`] gives it parameters and surroundings and checks everything that can be known before
//! a resource exists: names, types, properties, conditions, cycles. What is left is a graph of
//! resources in dependency order.
//!
//! [`CreateStack`] puts a stack's row with every resource waiting; [`steps`] then says what can be done, and
//! each [`Step`] does one thing and records it in one transaction. That is the whole engine: while there is
//! a step, apply it.
//!
//! What may not be here: a clock, randomness, threads, sockets, files. The time, ids and the state of
//! the region are arguments, so that a whole deployment can be stepped in one thread and stopped after
//! any step.
//!
//! Where to start: [`template`] for the sections, [`intrinsic`] for the functions, [`schema`] for how
//! a resource type declares its properties, `resource/` for the types, one noun a file.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod base64;
pub mod cidr;
pub mod create;
pub mod creation_policy;
pub mod error;
pub mod graph;
pub mod here;
pub mod intrinsic;
mod json;
pub mod life;
mod names;
pub mod next;
pub mod parameter;
pub mod plan;
mod record;
pub mod resource;
pub mod rule;
pub mod schema;
pub mod signal;
pub mod step;
mod sub;
pub mod surroundings;
pub mod template;
pub mod value;
mod yaml;

pub use create::{CreateStack, DeleteStack, find};
pub use error::TemplateError;
pub use next::{Planner, in_progress, next_deadline, steps};
pub use plan::{Plan, Warning};
pub use signal::{Recipient, SignalResource};
pub use step::{Action, Step};
pub use surroundings::Surroundings;
pub use template::Template;
pub use value::Value;
