//! Resource types, one noun a file: what each takes, returns and becomes.

pub mod egress_only_gateway;
pub mod elastic_ip;
pub mod instance;
pub mod internet_gateway;
pub mod nat_gateway;
pub mod network_acl;
pub mod network_interface;
pub mod placeholder;
pub mod restrict_default_group;
pub mod route_table;
pub mod security_group;
pub mod subnet;
pub mod vpc;
pub mod wait_condition;

use crate::schema::ResourceType;

/// Every type that is declared by name.
const TYPES: &[&ResourceType] = &[
    &vpc::VPC,
    &vpc::VPC_CIDR_BLOCK,
    &subnet::SUBNET,
    &subnet::SUBNET_CIDR_BLOCK,
    &internet_gateway::INTERNET_GATEWAY,
    &internet_gateway::VPC_GATEWAY_ATTACHMENT,
    &egress_only_gateway::EGRESS_ONLY_GATEWAY,
    &route_table::ROUTE_TABLE,
    &route_table::ROUTE,
    &route_table::ASSOCIATION,
    &nat_gateway::NAT_GATEWAY,
    &elastic_ip::EIP,
    &elastic_ip::EIP_ASSOCIATION,
    &network_acl::NETWORK_ACL,
    &network_acl::ENTRY,
    &network_acl::ASSOCIATION,
    &security_group::SECURITY_GROUP,
    &security_group::INGRESS,
    &security_group::EGRESS,
    &network_interface::NETWORK_INTERFACE,
    &network_interface::ATTACHMENT,
    &instance::INSTANCE,
    &wait_condition::WAIT_CONDITION,
    &wait_condition::WAIT_CONDITION_HANDLE,
    &restrict_default_group::RESTRICT_DEFAULT_GROUP,
    &placeholder::DHCP_OPTIONS,
    &placeholder::DHCP_OPTIONS_ASSOCIATION,
    &placeholder::VPC_ENDPOINT,
    &placeholder::FLOW_LOG,
    &placeholder::KEY_PAIR,
    &placeholder::SSM_PARAMETER,
    &placeholder::CDK_METADATA,
    &placeholder::LAMBDA_FUNCTION,
];

/// Every type, and the families of which any member is a placeholder.
pub fn types() -> impl Iterator<Item = &'static ResourceType> {
    TYPES.iter().copied().chain(placeholder::FAMILIES)
}

/// The declaration of a type, or `None` if there is no such type here.
pub fn find(type_name: &str) -> Option<&'static ResourceType> {
    TYPES
        .iter()
        .copied()
        .find(|kind| kind.name == type_name)
        .or_else(|| placeholder::of_family(type_name))
}
