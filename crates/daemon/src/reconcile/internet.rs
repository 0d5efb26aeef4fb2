//! The outside: one namespace behind every internet gateway, where clients and servers run.
//!
//! Its addresses are documentation ranges (RFC 5737, RFC 3849), apart from the pools that regions give
//! public addresses from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_instance::{InstanceKind, InstanceSpec, PortAddress, PortSpec, Resources};

/// What the outside is called, as an instance and as a port.
pub const ID: &str = "internet";
/// Its IPv4 address.
pub const V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Its IPv6 address.
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10);
/// Its default router's IPv4 address: the data plane's.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Its default router's IPv6 address: the data plane's.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Its MAC address. The second octet is 2: neither an interface's nor a subnet router's.
pub const MAC: [u8; 6] = [0x02, 0x02, 0, 0, 0, 0x0a];
/// The data plane's MAC address on that link.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0x02, 0, 0, 0, 0x01];
/// Through an internet gateway, in bytes (semantics 76).
pub const MTU: u32 = 1500;

/// The namespace.
pub fn spec() -> InstanceSpec {
    InstanceSpec {
        id: ID.to_owned(),
        hostname: ID.to_owned(),
        kind: InstanceKind::Internet,
        user_data: None,
        search_domain: None,
        env: Vec::new(),
        resources: Resources::default(),
    }
}

/// Its port.
pub fn port() -> PortSpec {
    PortSpec {
        id: ID.to_owned(),
        device_index: 0,
        mac: MAC,
        mtu: MTU,
        addresses: vec![
            PortAddress {
                address: IpAddr::V4(V4),
                prefix_len: 24,
            },
            PortAddress {
                address: IpAddr::V6(V6),
                prefix_len: 64,
            },
        ],
        gateway_v4: Some(ROUTER_V4),
        gateway_v6: Some(ROUTER_V6),
        dns: Vec::new(),
        on_link: Vec::new(),
    }
}
