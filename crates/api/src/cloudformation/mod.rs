//! AWS CloudFormation: stacks.
//!
//! What a template means and how a stack is made is `stack`'s; here are its five operations, one noun a file.

mod stack;
mod stack_event;
mod stack_resource;

use crate::ApiError;
use crate::dispatch::Table;

pub(crate) fn operations(table: &mut Table) {
    stack::operations(table);
    stack_event::operations(table);
    stack_resource::operations(table);
}

/// Most items of a page: CloudFormation's, which the caller does not choose.
const PAGE: i32 = 100;

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}
