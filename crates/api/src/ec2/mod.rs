//! Amazon EC2's operations, one noun a file; [`crate::dispatch`] says how one is added.

mod account_attribute;
mod availability_zone;
mod elastic_ip;
mod image;
mod instance_type;
mod network_interface;
mod network_interface_address;
mod network_interface_attribute;
mod region;
mod security_group;
mod security_group_rule;
mod tag;

use crate::dispatch::Table;

pub(crate) fn operations(table: &mut Table) {
    account_attribute::operations(table);
    availability_zone::operations(table);
    image::operations(table);
    instance_type::operations(table);
    elastic_ip::operations(table);
    network_interface::operations(table);
    network_interface_address::operations(table);
    network_interface_attribute::operations(table);
    region::operations(table);
    security_group::operations(table);
    security_group_rule::operations(table);
    tag::operations(table);
}
