//! Plain questions to the rows, answered by looking through them all.

use std::net::IpAddr;

use atoll_model::route_table::AssociationTarget;
use atoll_model::*;

use super::World;

impl World {
    /// A VPC's interfaces.
    pub fn enis_in(&self, vpc: VpcId) -> impl Iterator<Item = &NetworkInterface> {
        self.enis.values().filter(move |e| e.vpc == vpc)
    }

    /// Whether an interface is attached to an instance whose guest runs: from its start to its last word.
    pub fn runs(&self, eni: &NetworkInterface) -> bool {
        use InstanceState::{Pending, Running, ShuttingDown, Stopping};
        let instance = eni
            .attachment
            .as_ref()
            .and_then(|a| self.instances.get(&a.instance));
        instance.is_some_and(|i| matches!(i.state, Pending | Running | Stopping | ShuttingDown))
    }

    /// The interface that those outside know by an address, and which of its own that stands for.
    pub fn known_as(&self, public: IpAddr) -> Option<(&NetworkInterface, IpAddr)> {
        self.enis.values().find_map(|e| {
            let (private, _) = names(e).find(|(_, name)| *name == public)?;
            Some((e, private))
        })
    }

    /// The internet gateway attached to a VPC.
    pub fn gateway_of(&self, vpc: VpcId) -> Option<&InternetGateway> {
        self.igws.values().find(|g| g.vpc == Some(vpc))
    }

    /// The working NAT gateway whose interface this is.
    pub fn nat_of(&self, eni: EniId) -> Option<&NatGateway> {
        let mut nats = self.nats.values().filter(|n| works(n));
        nats.find(|n| n.eni == Some(eni))
    }

    /// The table associated with a subnet, else the main one (semantics 9).
    pub fn table_of(&self, subnet: SubnetId) -> Option<&RouteTable> {
        let vpc = self.subnets.get(&subnet)?.vpc;
        let own = self.tables.values().find(|t| t.subnets().any(|s| s == subnet));
        own.or_else(|| self.tables.values().find(|t| t.vpc == vpc && t.is_main()))
    }

    /// The edge table of an internet gateway.
    pub fn edge_table_of(&self, gateway: InternetGatewayId) -> Option<&RouteTable> {
        let edge = AssociationTarget::InternetGateway(gateway);
        let mut tables = self.tables.values();
        tables.find(|t| t.associations.values().any(|a| *a == edge))
    }

    /// The rules of all groups of an interface (semantics 35).
    pub fn rules_of(&self, eni: &NetworkInterface, direction: Direction) -> Vec<&SecurityGroupRule> {
        let groups = eni.groups.iter().filter_map(|g| self.groups.get(g));
        let rules = groups.flat_map(|g| g.rules_of(direction));
        rules.map(|(_, rule)| rule).collect()
    }

    /// The ACL associated with a subnet.
    pub fn acl_of(&self, subnet: SubnetId) -> &NetworkAcl {
        let mut acls = self.acls.values();
        acls.find(|a| a.associations.values().any(|s| *s == subnet))
            .unwrap_or_else(|| panic!("{subnet} has no ACL"))
    }
}

/// An interface's private addresses that have one outside, each with that; IPv6 is its own.
pub fn names(eni: &NetworkInterface) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    let v4 = eni.private_addresses.iter();
    let v4 = v4.filter_map(|a| Some((a.ip.into(), a.public?.ip.into())));
    let v6 = eni.ipv6_addresses.iter().map(|ip| IpAddr::V6(*ip));
    v4.chain(v6.map(|ip| (ip, ip)))
}

/// Whether an interface is attached to an instance, or a NAT gateway's own.
pub fn is_attached(eni: &NetworkInterface) -> bool {
    eni.attachment.is_some() || eni.interface_type == network_interface::InterfaceType::NatGateway
}

/// Whether a NAT gateway translates.
pub fn works(nat: &NatGateway) -> bool {
    nat.state == NatGatewayState::Available
}
