//! What holds in every region after every command: a checker for tests and for the start after a crash.
//!
//! It trusts nothing but the rows; it reads whole tables, so it is not for the way of a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::Ipv4Addr;

use atoll_model::network_interface::InterfaceType;
use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::{
    EgressOnlyInternetGateway, ElasticIp, EniId, Host, Instance, InstanceState, InternetGateway, NatGateway,
    NetworkAcl, NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc, VpcId,
};
use atoll_net::{Family, Prefix};

use crate::security_group;
use crate::state::{Noun, Region};

/// Everything that should hold and does not, one sentence each; empty for a sound region.
pub fn invariants(region: &Region) -> Vec<String> {
    let mut check = Check {
        region,
        broken: Vec::new(),
    };
    if !region.index_is_true() {
        check
            .broken
            .push("the index is not what the rows derive to".into());
    }
    check.vpcs();
    check.subnets();
    check.route_tables();
    check.network_acls();
    check.gateways();
    check.nat_gateways();
    check.elastic_ips();
    check.interfaces();
    check.instances();
    check.hosts();
    check.broken
}

struct Check<'a> {
    region: &'a Region,
    broken: Vec<String>,
}

impl Check<'_> {
    /// Notes what does not hold about a row.
    fn that(&mut self, holds: bool, row: impl Display, says: impl Display) {
        if !holds {
            self.broken.push(format!("{row}: {says}"));
        }
    }

    fn exists<N: Noun>(&mut self, id: N::Id, named_by: impl Display) {
        self.that(
            self.region.get::<N>(id).is_some(),
            named_by,
            format_args!("names {id}, which is not there"),
        );
    }

    fn vpcs(&mut self) {
        let region = self.region;
        let mut ipv6 = BTreeSet::new();
        let mut defaults = BTreeSet::new();
        for vpc in region.all::<Vpc>() {
            let id = vpc.id;
            let blocks: Vec<Prefix> = vpc.blocks().collect();
            self.that(
                vpc.primary_cidr().is_some_and(|c| c.family() == Family::V4),
                id,
                "has no primary IPv4 block",
            );
            self.that(disjoint(&blocks), id, "has blocks that overlap");
            for block in blocks.iter().filter(|b| b.family() == Family::V6) {
                self.that(ipv6.insert(*block), id, "shares an IPv6 block with another VPC");
            }
            self.that(
                !vpc.is_default || defaults.insert(vpc.owner),
                id,
                "is a second default VPC",
            );
            let main: Vec<_> = region
                .all::<RouteTable>()
                .filter(|table| table.vpc == id && table.is_main())
                .map(|table| table.id)
                .collect();
            self.that(
                main == [vpc.main_route_table],
                id,
                format_args!("has the main route tables {main:?}"),
            );
            let acls: Vec<_> = region
                .all::<NetworkAcl>()
                .filter(|acl| acl.vpc == id && acl.is_default)
                .map(|acl| acl.id)
                .collect();
            self.that(
                acls == [vpc.default_network_acl],
                id,
                format_args!("has the default ACLs {acls:?}"),
            );
            let mut names = BTreeSet::new();
            let groups = || region.all::<SecurityGroup>().filter(|group| group.vpc == id);
            for group in groups() {
                self.that(
                    names.insert(&group.name),
                    group.id,
                    "shares its name with another group",
                );
            }
            let default = groups().find(|group| group.name == security_group::DEFAULT_NAME);
            self.that(
                default.is_some_and(|group| group.id == vpc.default_security_group),
                id,
                "has no group `default`",
            );
        }
    }

    fn subnets(&mut self) {
        let region = self.region;
        let mut by_vpc: BTreeMap<VpcId, Vec<Prefix>> = BTreeMap::new();
        for subnet in region.all::<Subnet>() {
            let id = subnet.id;
            let Some(vpc) = region.get::<Vpc>(subnet.vpc) else {
                self.that(false, id, "has no VPC");
                continue;
            };
            self.that(
                subnet.zone.region() == region.name(),
                id,
                "lies in another region's zone",
            );
            self.that(subnet.blocks().next().is_some(), id, "has no addresses");
            for block in subnet.blocks() {
                self.that(
                    vpc.blocks().any(|b| b.covers(block)),
                    id,
                    format_args!("has the block {block}, which is not its VPC's"),
                );
            }
            by_vpc.entry(vpc.id).or_default().extend(subnet.blocks());
            let acls = region
                .all::<NetworkAcl>()
                .flat_map(|acl| acl.associations.values().map(|s| (acl.vpc, *s)))
                .filter(|(_, s)| *s == id)
                .map(|(vpc, _)| vpc)
                .collect::<Vec<_>>();
            self.that(
                acls == [subnet.vpc],
                id,
                format_args!("stands in {} ACLs of its VPC", acls.len()),
            );
            let tables = region
                .all::<RouteTable>()
                .flat_map(|table| table.subnets())
                .filter(|s| *s == id)
                .count();
            self.that(tables <= 1, id, "is associated with several route tables");
        }
        for (vpc, blocks) in by_vpc {
            self.that(disjoint(&blocks), vpc, "has subnets that overlap");
        }
    }

    fn route_tables(&mut self) {
        let region = self.region;
        let mut associations = BTreeSet::new();
        let mut edges = BTreeSet::new();
        for table in region.all::<RouteTable>() {
            let id = table.id;
            let Some(vpc) = region.get::<Vpc>(table.vpc) else {
                self.that(false, id, "has no VPC");
                continue;
            };
            let local: BTreeSet<Prefix> = table
                .routes
                .iter()
                .filter(|(_, route)| route.origin == RouteOrigin::CreateRouteTable)
                .map(|(destination, _)| *destination)
                .collect();
            self.that(
                local == vpc.blocks().collect(),
                id,
                "has other local routes than its VPC has blocks",
            );
            for (association, target) in &table.associations {
                self.that(
                    associations.insert(*association),
                    id,
                    format_args!("shares {association} with another table"),
                );
                let placed = match target {
                    AssociationTarget::Main => vpc.main_route_table == id,
                    AssociationTarget::Subnet(subnet) => {
                        region.get::<Subnet>(*subnet).is_some_and(|s| s.vpc == table.vpc)
                    }
                    AssociationTarget::InternetGateway(gateway) => {
                        edges.insert(*gateway)
                            && region
                                .get::<InternetGateway>(*gateway)
                                .is_some_and(|g| g.vpc == Some(table.vpc))
                    }
                };
                self.that(
                    placed,
                    id,
                    format_args!("has the association {association}, which cannot be"),
                );
            }
        }
    }

    fn network_acls(&mut self) {
        let mut associations = BTreeSet::new();
        for acl in self.region.all::<NetworkAcl>() {
            self.exists::<Vpc>(acl.vpc, acl.id);
            for (association, subnet) in &acl.associations {
                self.that(
                    associations.insert(*association),
                    acl.id,
                    format_args!("shares {association} with another ACL"),
                );
                self.exists::<Subnet>(*subnet, acl.id);
            }
        }
    }

    fn gateways(&mut self) {
        let (mut with_igw, mut with_eigw) = (BTreeSet::new(), BTreeSet::new());
        for gateway in self.region.all::<InternetGateway>() {
            if let Some(vpc) = gateway.vpc {
                self.exists::<Vpc>(vpc, gateway.id);
                self.that(with_igw.insert(vpc), gateway.id, "is its VPC's second gateway");
            }
        }
        for gateway in self.region.all::<EgressOnlyInternetGateway>() {
            self.exists::<Vpc>(gateway.vpc, gateway.id);
            self.that(
                with_eigw.insert(gateway.vpc),
                gateway.id,
                "is its VPC's second egress-only gateway",
            );
        }
    }

    fn nat_gateways(&mut self) {
        use atoll_model::NatGatewayState::{Available, Deleted, Deleting, Failed, Pending};
        let region = self.region;
        let mut enis: BTreeSet<EniId> = BTreeSet::new();
        for gateway in region.all::<NatGateway>() {
            let id = gateway.id;
            match gateway.state {
                Pending | Available | Deleting => {
                    let eni = gateway.eni.and_then(|eni| region.get::<NetworkInterface>(eni));
                    let Some(eni) = eni else {
                        self.that(false, id, "lives without an interface");
                        continue;
                    };
                    enis.insert(eni.id);
                    let own: Vec<_> = gateway.addresses.iter().map(|a| (a.private, a.public)).collect();
                    let on_eni: Vec<_> = eni
                        .private_addresses
                        .iter()
                        .map(|a| (a.ip, a.public.map(|p| p.ip)))
                        .collect();
                    self.that(own == on_eni, id, "has other addresses than its interface");
                    self.that(
                        eni.interface_type == InterfaceType::NatGateway
                            && eni.requester_managed
                            && eni.subnet == gateway.subnet
                            && eni.vpc == gateway.vpc,
                        id,
                        "has an interface that is not its own",
                    );
                }
                Failed | Deleted => {
                    self.that(gateway.eni.is_none(), id, "is over and has an interface");
                    self.that(
                        gateway.deleted.is_some(),
                        id,
                        "is over and will never be forgotten",
                    );
                }
            }
        }
        for eni in region.all::<NetworkInterface>() {
            self.that(
                eni.interface_type != InterfaceType::NatGateway || enis.contains(&eni.id),
                eni.id,
                "outlived its NAT gateway",
            );
        }
    }

    fn elastic_ips(&mut self) {
        let region = self.region;
        let mut public: BTreeSet<Ipv4Addr> = BTreeSet::new();
        for eip in region.all::<ElasticIp>() {
            self.that(public.insert(eip.public), eip.id, "shares its address");
            let Some(association) = eip.association else {
                continue;
            };
            let on_eni = region
                .get::<NetworkInterface>(association.eni)
                .and_then(|eni| eni.private_addresses.iter().find(|a| a.ip == association.private))
                .and_then(|address| address.public);
            self.that(
                on_eni.is_some_and(|p| p.ip == eip.public && p.elastic == Some((eip.id, association.id))),
                eip.id,
                "is associated with an address that does not say so",
            );
        }
        for eni in region.all::<NetworkInterface>() {
            for address in &eni.private_addresses {
                let Some(on_eni) = address.public else { continue };
                let agrees = match on_eni.elastic {
                    Some((allocation, association)) => {
                        region.get::<ElasticIp>(allocation).is_some_and(|eip| {
                            eip.public == on_eni.ip
                                && eip.association.is_some_and(|a| {
                                    a.id == association && a.eni == eni.id && a.private == address.ip
                                })
                        })
                    }
                    None => public.insert(on_eni.ip),
                };
                self.that(
                    agrees,
                    eni.id,
                    format_args!("has the public address {}, which is not its own", on_eni.ip),
                );
            }
        }
    }

    fn interfaces(&mut self) {
        let region = self.region;
        let (mut macs, mut held, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for eni in region.all::<NetworkInterface>() {
            let id = eni.id;
            self.that(macs.insert(eni.mac), id, "shares its MAC");
            let Some(subnet) = region.get::<Subnet>(eni.subnet) else {
                self.that(false, id, "has no subnet");
                continue;
            };
            self.that(
                eni.vpc == subnet.vpc && eni.zone == subnet.zone,
                id,
                "lies elsewhere than its subnet",
            );
            self.that(eni.addresses().next().is_some(), id, "has no address");
            for addr in eni.addresses() {
                self.that(
                    held.insert((subnet.id, addr)),
                    id,
                    format_args!("shares the address {addr}"),
                );
                let usable = subnet
                    .blocks()
                    .any(|b| b.contains(addr) && !Subnet::is_reserved(b, addr));
                self.that(
                    usable,
                    id,
                    format_args!("has the address {addr}, which is not its subnet's to give"),
                );
            }
            self.that(
                eni.groups.is_empty() == (eni.interface_type == InterfaceType::NatGateway),
                id,
                "has no group, or is a NAT gateway's and has one",
            );
            for group in &eni.groups {
                let same = region
                    .get::<SecurityGroup>(*group)
                    .is_some_and(|g| g.vpc == eni.vpc);
                self.that(
                    same,
                    id,
                    format_args!("has the group {group}, which is not its VPC's"),
                );
            }
            if let Some(attachment) = &eni.attachment {
                self.that(
                    places.insert((attachment.instance, attachment.device_index)),
                    id,
                    "shares its place at an instance",
                );
                // semantics 64
                let same_zone = region
                    .get::<Instance>(attachment.instance)
                    .is_some_and(|i| i.zone == eni.zone && i.state != InstanceState::Terminated);
                self.that(
                    same_zone,
                    id,
                    "is attached to what is not an instance of its zone",
                );
            }
        }
    }

    fn instances(&mut self) {
        for instance in self.region.all::<Instance>() {
            match instance.state {
                InstanceState::Terminated => {
                    self.that(
                        instance.terminated.is_some(),
                        instance.id,
                        "is over and will never be forgotten",
                    );
                }
                InstanceState::Pending
                | InstanceState::Running
                | InstanceState::ShuttingDown
                | InstanceState::Stopping
                | InstanceState::Stopped => {
                    self.exists::<Subnet>(instance.subnet, instance.id);
                    let primary = self.region.all::<NetworkInterface>().any(|eni| {
                        eni.attachment
                            .as_ref()
                            .is_some_and(|a| a.instance == instance.id && a.device_index == 0)
                            && eni.subnet == instance.subnet
                    });
                    self.that(primary, instance.id, "has no primary interface in its subnet");
                    if let Some(host) = instance.host {
                        self.exists::<Host>(host, instance.id);
                    }
                }
            }
        }
    }

    fn hosts(&mut self) {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for host in self.region.all::<Host>() {
            self.that(
                names.insert(&host.name),
                host.id,
                "shares its name with another host",
            );
            self.that(
                addresses.insert(host.underlay),
                host.id,
                "shares its address with another host",
            );
        }
        let serving = self
            .region
            .all::<Host>()
            .filter(|host| host.serves_region)
            .count();
        self.that(serving <= 1, "the region", "is served at several hosts");
        let mut networks = BTreeSet::new();
        for vpc in self.region.all::<Vpc>() {
            self.that(
                vpc.network.is_none_or(|network| networks.insert(network)),
                vpc.id,
                "shares its network with another VPC",
            );
        }
    }
}

fn disjoint(blocks: &[Prefix]) -> bool {
    let mut sorted = blocks.to_vec();
    sorted.sort();
    // In this order a block stands right after one that covers it.
    sorted.windows(2).all(|pair| match pair {
        [a, b] => !a.overlaps(*b),
        _ => true,
    })
}
