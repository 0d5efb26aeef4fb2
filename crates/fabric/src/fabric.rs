//! The compiled form of the model: parts that deltas rebuild one by one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use atoll_model::{
    AllocationId, Change, Delta, EgressOnlyGatewayId, EniId, InstanceId, InternetGatewayId, Key,
    NatGatewayId, NetworkAclId, NetworkInterface, RouteTableId, Row, SecurityGroup, SecurityGroupId, Subnet,
    SubnetId, VpcId,
};
use atoll_net::Mac;
use hashbrown::HashMap;

use crate::component::Changed;
use crate::egress_only_gateway::EgressOnlyPart;
use crate::flows::{Owner, Slot};
use crate::interface_index::{At, Interfaces};
use crate::nat_gateway::NatPart;
use crate::network_acl::Acl;
use crate::route_table::{Associations, Table};
use crate::security_group::GroupSets;
use crate::subnet::SubnetPart;
use crate::vpc::VpcPart;

/// What a region, or several, mean to a packet.
///
/// Ids are unique among regions, so one fabric may hold them all. A part is rebuilt when its own row changes:
/// adding an interface or changing one rule costs the same in a small VPC and in a large one. Rows may come in
/// any order; what a row refers to and is not there yet counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Fabric {
    slots: u32,
    /// Slots of owners whose rows have yet to come.
    promised: HashMap<Owner, Slot>,
    pub(crate) vpcs: HashMap<VpcId, Arc<VpcPart>>,
    pub(crate) vpc_subnets: HashMap<VpcId, BTreeSet<SubnetId>>,
    pub(crate) subnet_rows: HashMap<SubnetId, Arc<Subnet>>,
    pub(crate) subnets: HashMap<SubnetId, Arc<SubnetPart>>,
    /// Tables associated by hand.
    pub(crate) subnet_tables: HashMap<SubnetId, RouteTableId>,
    pub(crate) main_tables: HashMap<VpcId, RouteTableId>,
    pub(crate) edge_tables: HashMap<InternetGatewayId, RouteTableId>,
    pub(crate) tables: HashMap<RouteTableId, Arc<Table>>,
    pub(crate) associations: HashMap<RouteTableId, Associations>,
    pub(crate) acls: HashMap<NetworkAclId, Arc<Acl>>,
    pub(crate) acl_subnets: HashMap<NetworkAclId, Vec<SubnetId>>,
    pub(crate) subnet_acls: HashMap<SubnetId, NetworkAclId>,
    pub(crate) group_rows: HashMap<SecurityGroupId, Arc<SecurityGroup>>,
    pub(crate) sets: GroupSets,
    pub(crate) interface_rows: HashMap<EniId, Arc<NetworkInterface>>,
    pub(crate) interfaces: Interfaces,
    /// By the address that the outside knows, with the private one; IPv6 is its own.
    pub(crate) publics: HashMap<IpAddr, (At, IpAddr)>,
    /// By MAC on the link.
    /// By MAC, which no two interfaces of a VPC share.
    pub(crate) stations: HashMap<(VpcId, Mac), At>,
    pub(crate) alive: HashMap<InstanceId, bool>,
    pub(crate) instance_enis: HashMap<InstanceId, Vec<EniId>>,
    pub(crate) gateway_vpcs: HashMap<InternetGatewayId, VpcId>,
    pub(crate) vpc_gateways: HashMap<VpcId, InternetGatewayId>,
    pub(crate) egress_only: HashMap<EgressOnlyGatewayId, EgressOnlyPart>,
    pub(crate) nat_gateways: HashMap<NatGatewayId, Arc<NatPart>>,
    pub(crate) nat_of_eni: HashMap<EniId, NatGatewayId>,
    pub(crate) allocations: HashMap<AllocationId, IpAddr>,
    pub(crate) elastic: HashMap<IpAddr, AllocationId>,
}

impl Fabric {
    /// Without any region.
    pub fn new() -> Fabric {
        Fabric::default()
    }

    /// Takes up what a delta of any region changes, and answers which components changed their meaning.
    pub fn apply(&mut self, delta: &Delta) -> Changed {
        let mut changed = Changed::default();
        for change in &delta.changes {
            match change {
                Change::Put(row) => self.put(row, &mut changed),
                Change::Delete(key) => self.delete(*key, &mut changed),
            }
        }
        changed.seal()
    }

    fn put(&mut self, row: &Row, changed: &mut Changed) {
        match row {
            Row::Vpc(row) => self.put_vpc(row, changed),
            Row::Subnet(row) => self.put_subnet(row, changed),
            Row::RouteTable(row) => self.put_route_table(row, changed),
            Row::InternetGateway(row) => self.put_internet_gateway(row, changed),
            Row::EgressOnlyGateway(row) => self.put_egress_only_gateway(row, changed),
            Row::NatGateway(row) => self.put_nat_gateway(row, changed),
            Row::ElasticIp(row) => self.put_elastic_ip(row, changed),
            Row::NetworkAcl(row) => self.put_network_acl(row, changed),
            Row::SecurityGroup(row) => self.put_security_group(row, changed),
            Row::NetworkInterface(row) => self.put_interface(row, changed),
            Row::Instance(row) => self.put_instance(row, changed),
            // No packet can tell the difference; who is where is told apart from the rows.
            Row::Host(_) | Row::Stack(_) | Row::StackTemplate(_) | Row::StackEvent(_) => {}
        }
    }

    fn delete(&mut self, key: Key, changed: &mut Changed) {
        match key {
            Key::Vpc(id) => self.delete_vpc(id, changed),
            Key::Subnet(id) => self.delete_subnet(id, changed),
            Key::RouteTable(id) => self.delete_route_table(id, changed),
            Key::InternetGateway(id) => self.delete_internet_gateway(id, changed),
            Key::EgressOnlyGateway(id) => self.delete_egress_only_gateway(id, changed),
            Key::NatGateway(id) => self.delete_nat_gateway(id, changed),
            Key::ElasticIp(id) => self.delete_elastic_ip(id, changed),
            Key::NetworkAcl(id) => self.delete_network_acl(id, changed),
            Key::SecurityGroup(id) => self.delete_security_group(id, changed),
            Key::NetworkInterface(id) => self.delete_interface(id, changed),
            Key::Instance(id) => self.delete_instance(id, changed),
            Key::Host(_) | Key::Stack(_) | Key::StackTemplate(_) | Key::StackEvent(_) => {}
        }
    }

    /// The slot of an owner that comes, and belongs to a VPC.
    pub(crate) fn slot_for(&mut self, owner: Owner, vpc: VpcId, changed: &mut Changed) -> Slot {
        let slot = self.promised.remove(&owner).unwrap_or_else(|| self.next_slot());
        changed.came.push((owner, slot));
        changed.homes.push((slot, vpc));
        slot
    }

    fn next_slot(&mut self) -> Slot {
        self.slots += 1;
        Slot(self.slots)
    }

    /// The slot that an owner will have once its row comes: flows of an earlier process can be taken up under it before
    /// there is any row. Not for owners that are here.
    pub fn promise(&mut self, owner: Owner) -> Slot {
        if let Some(slot) = self.promised.get(&owner) {
            return *slot;
        }
        let slot = self.next_slot();
        self.promised.insert(owner, slot);
        slot
    }

    /// To be called when all rows have come: what was promised to owners that did not come is answered as gone.
    pub fn settle(&mut self) -> Changed {
        let mut changed = Changed::default();
        changed.gone.extend(self.promised.drain().map(|(_, slot)| slot));
        changed
    }

    /// The MAC that ARP or neighbour discovery by an interface finds for an address: the router's for its own
    /// addresses (semantics 54), another interface's in the same subnet, else nobody's.
    pub fn neighbour(&self, eni: EniId, addr: IpAddr) -> Option<Mac> {
        let asking = self.interfaces.get(eni)?;
        let subnet = self.subnets.get(&asking.subnet)?;
        if subnet.routers.contains(&addr) {
            return Some(subnet.router_mac);
        }
        self.interfaces
            .with_address(asking.vpc, addr)
            .filter(|owner| owner.subnet == asking.subnet && owner.id != eni)
            .map(|owner| owner.mac)
    }

    /// An interface's MAC and its subnet's router's, if it is there: what its port speaks and hears.
    pub fn link(&self, eni: EniId) -> Option<Link> {
        let interface = self.interfaces.get(eni)?;
        let subnet = self.subnets.get(&interface.subnet)?;
        Some(Link {
            mac: interface.mac,
            router_mac: subnet.router_mac,
            subnet: interface.subnet,
            vpc: interface.vpc,
        })
    }

    /// The interface that has a private address of a VPC.
    pub fn interface_at(&self, vpc: VpcId, addr: IpAddr) -> Option<EniId> {
        self.interfaces
            .with_address(vpc, addr)
            .map(|interface| interface.id)
    }

    /// The interface that has an address known outside (public or Elastic IPv4, any VPC's IPv6), and its private
    /// one.
    pub fn public(&self, addr: IpAddr) -> Option<(EniId, IpAddr)> {
        self.public_interface(addr)
            .map(|(interface, private)| (interface.id, private))
    }

    /// The router's addresses in an interface's subnet: the routable ones first, then the link-local ones.
    pub fn routers(&self, eni: EniId) -> &[IpAddr] {
        self.interfaces
            .get(eni)
            .and_then(|interface| self.subnets.get(&interface.subnet))
            .map_or(&[], |subnet| &subnet.routers)
    }
}

/// What stands at the two ends of an interface's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface's MAC.
    pub mac: Mac,
    /// The router's MAC in its subnet.
    pub router_mac: Mac,
    /// Its subnet.
    pub subnet: SubnetId,
    /// Its VPC.
    pub vpc: VpcId,
}
