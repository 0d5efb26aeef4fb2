//! Amazon EC2's operations, one noun a file; [`crate::dispatch`] says how one is added.

mod account_attribute;
mod availability_zone;
mod egress_only_gateway;
mod elastic_ip;
mod image;
mod instance;
mod instance_attribute;
mod instance_launch;
mod instance_metadata;
mod instance_shape;
mod instance_type;
mod internet_gateway;
mod ip_permission;
mod listing;
mod nat_gateway;
mod network_acl;
mod network_interface;
mod network_interface_address;
mod network_interface_attribute;
mod region;
mod route;
mod route_table;
mod security_group;
mod security_group_rule;
mod subnet;
mod tag;
mod vpc;

use crate::dispatch::Table;

pub(crate) fn operations(table: &mut Table) {
    account_attribute::operations(table);
    availability_zone::operations(table);
    egress_only_gateway::operations(table);
    elastic_ip::operations(table);
    image::operations(table);
    instance::operations(table);
    instance_attribute::operations(table);
    instance_launch::operations(table);
    instance_type::operations(table);
    internet_gateway::operations(table);
    nat_gateway::operations(table);
    network_acl::operations(table);
    network_interface::operations(table);
    network_interface_address::operations(table);
    network_interface_attribute::operations(table);
    region::operations(table);
    route::operations(table);
    route_table::operations(table);
    security_group::operations(table);
    security_group_rule::operations(table);
    subnet::operations(table);
    tag::operations(table);
    vpc::operations(table);
}
