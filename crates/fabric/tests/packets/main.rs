//! Packets through regions laid out by hand, one file a noun.
#![allow(clippy::unwrap_used)]

mod changes;
mod conformance;
mod flow_cache;
mod gateways;
mod icmp;
mod interface;
mod nat_gateway;
mod network_acl;
mod route_table;
#[path = "../rows/mod.rs"]
mod rows;
mod scene;
mod security_group;
mod tracking;
mod two_tier;
