//! VPCs and the address blocks associated with them.

use atoll_net::{Family, Prefix};
use serde::{Deserialize, Serialize};

use crate::id::{DhcpOptionsId, NetworkAclId, RouteTableId, SecurityGroupId, VpcCidrAssociationId, VpcId};
use crate::{AccountId, Network, RegionName, Tags, Timestamp};

text_enum! {
    /// Where the association of a block stands; only `Associated` counts (semantics 59).
    pub enum CidrState {
        /// Being associated.
        Associating = "associating",
        /// In effect.
        Associated = "associated",
        /// Being taken off.
        Disassociating = "disassociating",
        /// No longer in effect, still listed.
        Disassociated = "disassociated",
        /// Being undone.
        Failing = "failing",
        /// Could not be associated.
        Failed = "failed",
    }
}

/// A block of addresses of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CidrAssociation {
    /// The association.
    pub id: VpcCidrAssociationId,
    /// The block; for IPv6 a /56 of Amazon's (here: of the region's pool).
    pub block: Prefix,
    /// Whether it counts.
    pub state: CidrState,
}

text_enum! {
    /// Where instances of a VPC may run.
    pub enum Tenancy {
        /// On shared hosts.
        Default = "default",
        /// On hosts of their own; accepted, without effect here.
        Dedicated = "dedicated",
    }
}

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Who owns it.
    pub owner: AccountId,
    /// The region it lies in.
    pub region: RegionName,
    /// IPv4 blocks, the primary one first and never removed (semantics 53).
    pub cidrs: Vec<CidrAssociation>,
    /// IPv6 blocks.
    pub ipv6_cidrs: Vec<CidrAssociation>,
    /// Whether it is the region's default VPC.
    pub is_default: bool,
    /// Tenancy of its instances.
    pub tenancy: Tenancy,
    /// Whether the resolver answers (semantics 99).
    pub enable_dns_support: bool,
    /// Whether instances with public addresses get public names (semantics 99).
    pub enable_dns_hostnames: bool,
    /// Whether address usage metrics are kept; accepted, without effect here.
    pub enable_network_address_usage_metrics: bool,
    /// The DHCP options associated with it; `None` is `default`.
    pub dhcp_options: Option<DhcpOptionsId>,
    /// The main route table's id at creation is found by its association; kept here for one lookup (semantics 9).
    pub main_route_table: RouteTableId,
    /// The ACL of subnets without an explicit one (semantics 26).
    pub default_network_acl: NetworkAclId,
    /// The group `default` (semantics 37).
    pub default_security_group: SecurityGroupId,
    /// What names it between hosts; no two VPCs have the same. `None` until its region has several, if it was made by an
    /// earlier version.
    #[serde(default)]
    pub network: Option<Network>,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Vpc {
    /// Every block in effect, IPv4 first, the primary first of all.
    pub fn blocks(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.cidrs
            .iter()
            .chain(&self.ipv6_cidrs)
            .filter(|c| c.state == CidrState::Associated)
            .map(|c| c.block)
    }

    /// Whether an address belongs to the VPC.
    pub fn contains(&self, addr: std::net::IpAddr) -> bool {
        self.blocks().any(|b| b.contains(addr))
    }

    /// The primary IPv4 block.
    pub fn primary_cidr(&self) -> Option<Prefix> {
        self.cidrs.first().map(|c| c.block)
    }

    /// Whether it has a block of that family in effect.
    pub fn has_family(&self, family: Family) -> bool {
        self.blocks().any(|b| b.family() == family)
    }
}
