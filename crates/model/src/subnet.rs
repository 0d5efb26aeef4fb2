//! Subnets: a zone's share of a VPC's addresses.

use std::net::{IpAddr, Ipv6Addr};

use atoll_net::{Mac, Prefix};
use serde::{Deserialize, Serialize};

use crate::id::{ResourceId, SubnetCidrAssociationId, SubnetId, VpcId};
use crate::vpc::CidrState;
use crate::{AccountId, Tags, ZoneName};

/// An IPv6 block of a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetCidrAssociation {
    /// The association.
    pub id: SubnetCidrAssociationId,
    /// A /64 inside a block of the VPC (semantics 53).
    pub block: Prefix,
    /// Whether it counts.
    pub state: CidrState,
}

text_enum! {
    /// How instances are named.
    pub enum HostnameType {
        /// By their primary IPv4 address.
        IpName = "ip-name",
        /// By their instance id.
        ResourceName = "resource-name",
    }
}

/// A subnet; public or private by its route table alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Who owns it.
    pub owner: AccountId,
    /// The VPC it is a part of.
    pub vpc: VpcId,
    /// The zone it lies in.
    pub zone: ZoneName,
    /// Its IPv4 block; `None` for an IPv6-only subnet.
    pub cidr: Option<Prefix>,
    /// Its IPv6 blocks, at most one of them in effect.
    pub ipv6_cidrs: Vec<SubnetCidrAssociation>,
    /// Whether it is the default subnet of its zone.
    pub default_for_az: bool,
    /// Whether new primary interfaces get a public IPv4 address.
    pub map_public_ip_on_launch: bool,
    /// Whether new interfaces get an IPv6 address.
    pub assign_ipv6_on_creation: bool,
    /// Whether the resolver synthesises NAT64 addresses; accepted, without effect before DNS exists.
    pub enable_dns64: bool,
    /// How instances are named.
    pub hostname_type: HostnameType,
    /// Whether an A record by resource name is answered; without effect before DNS exists.
    pub resource_name_a_record: bool,
    /// Whether an AAAA record by resource name is answered; without effect before DNS exists.
    pub resource_name_aaaa_record: bool,
    /// Tags.
    pub tags: Tags,
}

impl Subnet {
    /// Addresses at the start of an IPv4 block that nobody gets: base, router, DNS, future (semantics 54).
    pub const RESERVED_FIRST: u128 = 4;

    /// The IPv6 block in effect.
    pub fn ipv6_cidr(&self) -> Option<Prefix> {
        self.ipv6_cidrs
            .iter()
            .find(|c| c.state == CidrState::Associated)
            .map(|c| c.block)
    }

    /// The blocks in effect, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = Prefix> {
        self.cidr.into_iter().chain(self.ipv6_cidr())
    }

    /// Whether an address belongs to the subnet.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.blocks().any(|b| b.contains(addr))
    }

    /// Whether an address of the block is reserved: the first four and the last, both families (semantics 54).
    pub fn is_reserved(block: Prefix, addr: IpAddr) -> bool {
        block
            .index_of(addr)
            .is_some_and(|i| i < Subnet::RESERVED_FIRST || i + 1 == block.size())
    }

    /// The router's IPv4 address: base + 1 (semantics 54).
    pub fn router_v4(&self) -> Option<IpAddr> {
        self.cidr.and_then(|c| c.nth(1))
    }

    /// The router's link-local IPv6 address, derived from [`Subnet::router_mac`] by EUI-64 (semantics 54).
    pub fn router_link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.router_mac().0;
        let word = |x: u8, y: u8| u16::from(x) << 8 | u16::from(y);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            word(a ^ 2, b),
            word(c, 0xff),
            word(0xfe, d),
            word(e, f),
        )
    }

    /// The router's MAC: derived from the subnet's id, so that every host answers alike.
    ///
    /// Its second octet is odd and 1 modulo 4, which interface MACs never are, so the two cannot meet.
    pub fn router_mac(&self) -> Mac {
        let bits = self
            .id
            .digits()
            .bits()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes();
        Mac([0x02, 0x01, bits[0], bits[1], bits[2], bits[3]])
    }
}

/// The router's other IPv6 address in every subnet (semantics 54).
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1);
