//! The scene's rows: what a test lays out and changes.

use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::Changed;
use atoll_model::nat_gateway::Connectivity;
use atoll_model::network_interface::PublicAddress;
use atoll_model::route_table::AssociationTarget;
use atoll_model::*;

use super::{Scene, VpcIds, as_v4, as_v6, block, ip, traffic, way, words};
use crate::rows;

impl Scene {
    /// A VPC whose default ACL allows everything.
    pub fn vpc(&mut self, v4: &str, v6: Option<&str>) -> VpcIds {
        let ids = VpcIds {
            id: VpcId::new(self.next()),
            table: RouteTableId::new(self.next()),
            acl: NetworkAclId::new(self.next()),
        };
        let mut associate = |text: &str| rows::vpc_block(self.next(), block(text));
        let (cidrs, ipv6_cidrs) = (vec![associate(v4)], v6.map(&mut associate).into_iter().collect());
        self.put(Vpc {
            cidrs,
            ipv6_cidrs,
            ..rows::vpc(ids.id, ids.table, ids.acl, SecurityGroupId::new(1))
        });
        self.put_table(ids.table, ids.id, AssociationTarget::Main);
        let everything = [
            "in 100 allow all 0.0.0.0/0",
            "out 100 allow all 0.0.0.0/0",
            "in 101 allow all ::/0",
            "out 101 allow all ::/0",
        ];
        self.put_acl(ids.acl, ids.id, true, &everything, &[]);
        ids
    }

    fn put_table(&mut self, id: RouteTableId, vpc: VpcId, target: AssociationTarget) {
        let association = RouteTableAssociationId::new(self.next());
        let mut row = rows::route_table(id, &self.vpc_row(vpc));
        row.associations.insert(association, target);
        self.put(row);
    }

    /// A table of its own for a subnet.
    pub fn table_for(&mut self, subnet: SubnetId) -> RouteTableId {
        let id = RouteTableId::new(self.next());
        let vpc = self.subnet_row(subnet).vpc;
        self.put_table(id, vpc, AssociationTarget::Subnet(subnet));
        id
    }

    /// An edge table.
    pub fn edge_table(&mut self, gateway: InternetGatewayId, vpc: VpcId) -> RouteTableId {
        let id = RouteTableId::new(self.next());
        self.put_table(id, vpc, AssociationTarget::InternetGateway(gateway));
        id
    }

    pub fn route(&mut self, table: RouteTableId, to: &str, target: RouteTarget) -> Changed {
        let mut row = self.table_row(table);
        row.routes.insert(block(to), rows::route(target));
        self.put(row)
    }

    pub fn unroute(&mut self, table: RouteTableId, to: &str) -> Changed {
        let mut row = self.table_row(table);
        row.routes.remove(&block(to)).unwrap();
        self.put(row)
    }

    pub fn subnet(&mut self, vpc: VpcIds, v4: &str, v6: Option<&str>) -> SubnetId {
        let id = SubnetId::new(self.next());
        let ipv6_cidrs = v6
            .map(|b| rows::subnet_block(self.next(), block(b)))
            .into_iter()
            .collect();
        self.put(Subnet {
            cidr: Some(block(v4)),
            ipv6_cidrs,
            ..rows::subnet(id, vpc.id)
        });
        id
    }

    fn put_acl(&mut self, id: NetworkAclId, vpc: VpcId, default: bool, rules: &[&str], subnets: &[SubnetId]) {
        let mut row = NetworkAcl {
            is_default: default,
            ..rows::network_acl(id, vpc)
        };
        for subnet in subnets {
            row.associations
                .insert(NetworkAclAssociationId::new(self.next()), *subnet);
        }
        set_acl_rules(&mut row, rules);
        self.put(row);
    }

    /// An ACL of subnets: rules such as `in 100 allow tcp/80 0.0.0.0/0`.
    pub fn acl(&mut self, vpc: VpcIds, subnets: &[SubnetId], rules: &[&str]) -> NetworkAclId {
        let id = NetworkAclId::new(self.next());
        self.put_acl(id, vpc.id, false, rules, subnets);
        id
    }

    pub fn set_acl(&mut self, id: NetworkAclId, rules: &[&str]) -> Changed {
        let mut row = self.acl_row(id);
        set_acl_rules(&mut row, rules);
        self.put(row)
    }

    /// A group: rules such as `in tcp/22 203.0.113.1/32` or `out all sg-…`.
    pub fn group(&mut self, vpc: VpcIds, rules: &[&str]) -> SecurityGroupId {
        let id = SecurityGroupId::new(self.next());
        self.put(rows::security_group(id, vpc.id));
        self.set_group(id, rules);
        id
    }

    pub fn set_group(&mut self, id: SecurityGroupId, rules: &[&str]) -> Changed {
        let mut row = self.group_row(id);
        row.rules.clear();
        for (i, text) in rules.iter().enumerate() {
            let [direction, what, peer] = words(text);
            let peer = match peer.parse() {
                Ok(id) => rows::group_peer(id),
                Err(_) => Peer::Cidr { block: block(peer) },
            };
            let rule = rows::rule(way(direction), traffic(what), peer);
            let number = id.digits().bits() * 1000 + i as u64;
            row.rules.insert(SecurityGroupRuleId::new(number), rule);
        }
        self.put(row)
    }

    /// An interface with an address of each of its subnet's families.
    pub fn bare_eni(&mut self, subnet: SubnetId, groups: &[SecurityGroupId]) -> EniId {
        let bits = self.next();
        let host = u128::from(self.host());
        let (id, row) = (EniId::new(bits), self.subnet_row(subnet));
        let private_addresses = row
            .cidr
            .and_then(|c| c.nth(host))
            .map(|a| rows::private(as_v4(a)))
            .into_iter()
            .collect();
        let ipv6_addresses = row
            .ipv6_cidr()
            .and_then(|c| c.nth(0x1000 + host))
            .map(as_v6)
            .into_iter()
            .collect();
        self.put(NetworkInterface {
            private_addresses,
            ipv6_addresses,
            groups: groups.to_vec(),
            ..rows::network_interface(id, row.vpc, subnet)
        });
        id
    }

    /// The interface of a running instance.
    pub fn eni(&mut self, subnet: SubnetId, groups: &[SecurityGroupId]) -> EniId {
        let eni = self.bare_eni(subnet, groups);
        self.attach(eni);
        eni
    }

    /// Attaches an interface to a new running instance.
    pub fn attach(&mut self, eni: EniId) -> InstanceId {
        let id = InstanceId::new(self.next());
        let mut row = self.eni_row(eni);
        row.attachment = Some(rows::attachment(AttachmentId::new(self.next()), id));
        self.put(rows::instance(id, row.vpc, row.subnet));
        self.put(row);
        id
    }

    pub fn change_eni(&mut self, eni: EniId, change: impl FnOnce(&mut NetworkInterface)) -> Changed {
        let mut row = self.eni_row(eni);
        change(&mut row);
        self.put(row)
    }

    /// The state of the instance an interface is attached to.
    pub fn set_state(&mut self, eni: EniId, state: InstanceState) -> Changed {
        let id = self.eni_row(eni).attachment.unwrap().instance;
        let mut row = self.instance_row(id);
        row.state = state;
        self.put(row)
    }

    /// Gives an interface's primary address an Elastic IP of 192.0.2.0/24.
    pub fn elastic(&mut self, eni: EniId) -> IpAddr {
        let allocation = AllocationId::new(self.next());
        let association = AddressAssociationId::new(self.next());
        let public = Ipv4Addr::new(192, 0, 2, self.host());
        let private = self.eni_row(eni).primary_ip().unwrap();
        let stands_for = elastic_ip::AddressAssociation {
            id: association,
            eni,
            private,
        };
        self.put(rows::elastic_ip(allocation, public, Some(stands_for)));
        self.change_eni(eni, |row| {
            row.private_addresses[0].public = Some(PublicAddress {
                ip: public,
                elastic: Some((allocation, association)),
            });
        });
        IpAddr::V4(public)
    }

    /// An allocated Elastic IP that stands for nothing.
    pub fn idle_elastic(&mut self, public: &str) {
        let id = AllocationId::new(self.next());
        self.put(rows::elastic_ip(id, as_v4(ip(public)), None));
    }

    pub fn igw(&mut self, vpc: VpcIds) -> InternetGatewayId {
        let id = InternetGatewayId::new(self.next());
        self.put_igw(id, Some(vpc.id));
        id
    }

    pub fn put_igw(&mut self, id: InternetGatewayId, vpc: Option<VpcId>) -> Changed {
        self.put(rows::internet_gateway(id, vpc))
    }

    pub fn eigw(&mut self, vpc: VpcIds) -> EgressOnlyGatewayId {
        let id = EgressOnlyGatewayId::new(self.next());
        self.put(rows::egress_only_gateway(id, vpc.id));
        id
    }

    /// An available NAT gateway, with an Elastic IP if it is public.
    pub fn nat(&mut self, subnet: SubnetId, connectivity: Connectivity) -> (NatGatewayId, EniId) {
        let id = NatGatewayId::new(self.next());
        let eni = self.bare_eni(subnet, &[]);
        self.put(rows::of_nat_gateway(self.eni_row(eni)));
        if connectivity == Connectivity::Public {
            self.elastic(eni);
        }
        self.put(rows::nat_gateway(id, &self.eni_row(eni)));
        (id, eni)
    }

    pub fn addr(&self, eni: EniId) -> IpAddr {
        IpAddr::V4(self.eni_row(eni).primary_ip().unwrap())
    }

    pub fn addr6(&self, eni: EniId) -> IpAddr {
        IpAddr::V6(self.eni_row(eni).ipv6_addresses[0])
    }
}

fn set_acl_rules(row: &mut NetworkAcl, rules: &[&str]) {
    row.ingress.clear();
    row.egress.clear();
    for text in rules {
        let [direction, number, action, what, cidr] = words(text);
        let entry = AclEntry {
            action: action.parse().unwrap(),
            cidr: block(cidr),
            traffic: traffic(what),
        };
        let number = number.parse().unwrap();
        match way(direction) {
            Direction::Ingress => row.ingress.insert(number, entry),
            Direction::Egress => row.egress.insert(number, entry),
        };
    }
}
