//! Quotas: AWS's defaults, with their sources in the numbered facts.

/// IPv4 blocks a VPC (semantics 53).
pub const CIDRS_PER_VPC: usize = 5;
/// VPCs a region; AWS's default of 5 is a soft quota that labs raise at once.
pub const VPCS_PER_REGION: usize = 1000;
/// Subnets a VPC.
pub const SUBNETS_PER_VPC: usize = 200;
/// Route tables a VPC. AWS's default is 200; here a block that is associated with the VPC enters every table in one
/// delta, which holds at most [`crate::Delta::MAX_ROWS`] rows.
pub const ROUTE_TABLES_PER_VPC: usize = 120;
/// Routes a table and family, local ones not counted; AWS's adjusted maximum.
pub const ROUTES_PER_TABLE: usize = 1000;
/// Network ACLs a VPC (semantics 33).
pub const NETWORK_ACLS_PER_VPC: usize = 200;
/// Rules a network ACL, direction and family, the final deny counted (semantics 33: 20, up to 40).
pub const ACL_RULES: usize = 40;
/// Security groups a region.
pub const SECURITY_GROUPS_PER_REGION: usize = 2500;
/// Rules a security group, direction and family (semantics 52); times groups an interface at most 1000.
pub const SECURITY_GROUP_RULES: usize = 60;
/// Groups an interface (semantics 52: 5 by default).
pub const GROUPS_PER_INTERFACE: usize = 5;
/// Rules a group times groups an interface (semantics 52).
pub const RULES_TIMES_GROUPS: usize = 1000;
/// Elastic IPs a region; AWS's default of 5 (semantics 74) is soft, templates of two zones need it all.
pub const ELASTIC_IPS_PER_REGION: usize = 100;
/// Internet gateways a region.
pub const INTERNET_GATEWAYS_PER_REGION: usize = 1000;
/// NAT gateways a zone.
pub const NAT_GATEWAYS_PER_ZONE: usize = 100;
/// Addresses a NAT gateway (semantics 80).
pub const NAT_GATEWAY_ADDRESSES: usize = 8;
/// Interfaces a region.
pub const INTERFACES_PER_REGION: usize = 100_000;
/// Instances a region on this host.
pub const INSTANCES_PER_REGION: usize = 1000;
/// Bytes of user data, decoded.
pub const USER_DATA_BYTES: usize = 16 * 1024;
