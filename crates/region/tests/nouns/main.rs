//! What the region's commands do, noun by noun, as a caller sees it: each command runs through [`world::World`],
//! which holds the invariants to the region after every one.
#![allow(clippy::unwrap_used, clippy::manual_is_multiple_of)]

mod conformance;
mod gateways;
mod invariants;
mod nat_gateway;
mod network_acl;
mod route_table;
mod subnet;
mod vpc;
mod workloads;
mod world;
