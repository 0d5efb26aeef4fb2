//! The nouns: what a region consists of, as plain values.
//!
//! One file a noun, each with the row that is stored for it; typed ids in [`id`], the union of all rows and the
//! change sets that travel from the region to the store and to data planes in [`row`]. Types carry the rules
//! that hold always (a [`atoll_net::Prefix`] has no host bits, a state is an enum); rules about *several* rows
//! live in `region`, what rows mean to a packet lives in `fabric`.
//!
//! May not be in here: decisions, clocks, randomness, I/O. Start at [`row`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod text;

pub mod account;
pub mod client_token;
pub mod egress_only_gateway;
pub mod elastic_ip;
pub mod geography;
pub mod host;
pub mod id;
pub mod image;
pub mod instance;
pub mod instance_type;
pub mod internet_gateway;
pub mod nat_gateway;
pub mod network_acl;
pub mod network_interface;
pub mod protocol;
pub mod quota;
pub mod route_table;
pub mod row;
pub mod security_group;
pub mod stack;
pub mod subnet;
pub mod tag;
pub mod time;
pub mod vpc;

pub use account::AccountId;
pub use client_token::ClientToken;
pub use egress_only_gateway::EgressOnlyInternetGateway;
pub use elastic_ip::ElasticIp;
pub use geography::{RegionName, ZoneName};
pub use host::{Host, HostName, Network};
pub use id::*;
pub use instance::{Instance, InstanceState, MetadataOptions};
pub use internet_gateway::InternetGateway;
pub use nat_gateway::{NatGateway, NatGatewayState};
pub use network_acl::{AclEntry, NetworkAcl, RuleAction};
pub use network_interface::NetworkInterface;
pub use protocol::{Direction, IcmpMatch, Protocol, Traffic};
pub use route_table::{Route, RouteTable, RouteTarget};
pub use row::{Change, Delta, Key, Row};
pub use security_group::{Peer, SecurityGroup, SecurityGroupRule};
pub use stack::{Stack, StackEvent, StackEventId, StackId, StackTemplate};
pub use subnet::Subnet;
pub use tag::Tags;
pub use time::Timestamp;
pub use vpc::{CidrAssociation, CidrState, Vpc};
