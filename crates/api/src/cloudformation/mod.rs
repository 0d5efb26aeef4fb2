//! AWS CloudFormation: stacks.

use crate::dispatch::Table;

pub(crate) fn operations(_: &mut Table) {}
