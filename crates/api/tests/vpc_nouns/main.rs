//! VPCs, subnets, route tables, gateways and network ACLs, as a client asks for them.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod gateways;
mod nat_gateway;
mod network_acl;
mod route_table;
mod subnet;
mod vpc;

use std::sync::Arc;

use support::{Memory, elements, run};

/// Runs an operation that succeeds.
pub fn ok(memory: &Arc<Memory>, query: &str) -> String {
    run(memory, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The code with which an operation is refused.
pub fn refused(memory: &Arc<Memory>, query: &str) -> String {
    match run(memory, query) {
        Ok(answer) => panic!("{query}: {answer}"),
        Err(error) => error.code.into_owned(),
    }
}

/// The text of the first element of that name.
pub fn first(document: &str, name: &str) -> String {
    elements(document, name)
        .first()
        .unwrap_or_else(|| panic!("no {name} in {document}"))
        .to_string()
}

/// A VPC 10.0.0.0/16, with more parameters.
pub fn vpc(memory: &Arc<Memory>, more: &str) -> String {
    let made = ok(memory, &format!("Action=CreateVpc&CidrBlock=10.0.0.0/16{more}"));
    first(&made, "vpcId")
}

/// A subnet with that block.
pub fn subnet(memory: &Arc<Memory>, vpc: &str, block: &str) -> String {
    let made = ok(
        memory,
        &format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock={block}"),
    );
    first(&made, "subnetId")
}

/// `&Filter.1.Name=…&Filter.1.Value.1=…`
pub fn filter(name: &str, value: &str) -> String {
    format!("&Filter.1.Name={name}&Filter.1.Value.1={value}")
}
