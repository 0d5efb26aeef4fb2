//! CloudFormation templates, turned into the commands that `region` applies.
//!
//! A template is text from a tenant. [`Template::parse`] reads it (YAML or JSON) into sections;
//! [`Plan::new`] gives it parameters and surroundings and checks everything that can be known before
//! a resource exists: names, types, properties, conditions, cycles. What is left is a graph of
//! resources in dependency order.
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
pub mod error;
pub mod graph;
pub mod intrinsic;
mod json;
pub mod parameter;
pub mod plan;
pub mod resource;
pub mod rule;
pub mod schema;
pub mod surroundings;
pub mod template;
pub mod value;
mod yaml;

pub use error::TemplateError;
pub use plan::{Plan, Warning};
pub use surroundings::Surroundings;
pub use template::Template;
pub use value::Value;
