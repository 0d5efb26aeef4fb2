//! The scene's rows: what a test lays out and changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::Changed;
use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::network_interface::{
    Attachment, AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress, PublicAddress,
};
use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::subnet::{HostnameType, SubnetCidrAssociation};
use atoll_model::vpc::Tenancy;
use atoll_model::*;
use atoll_net::Mac;

use super::{Scene, VpcIds, as_v4, as_v6, block, ip, traffic, way, words, zone};

impl Scene {
    /// A VPC whose default ACL allows everything.
    pub fn vpc(&mut self, v4: &str, v6: Option<&str>) -> VpcIds {
        let ids = VpcIds {
            id: VpcId::new(self.next()),
            table: RouteTableId::new(self.next()),
            acl: NetworkAclId::new(self.next()),
        };
        let mut associate = |text: &str| CidrAssociation {
            id: VpcCidrAssociationId::new(self.next()),
            block: block(text),
            state: CidrState::Associated,
        };
        let (cidrs, ipv6_cidrs) = (vec![associate(v4)], v6.map(&mut associate).into_iter().collect());
        self.put(Vpc {
            id: ids.id,
            owner: AccountId::DEFAULT,
            region: RegionName::DEFAULT,
            cidrs,
            ipv6_cidrs,
            is_default: false,
            tenancy: Tenancy::Default,
            enable_dns_support: true,
            enable_dns_hostnames: false,
            enable_network_address_usage_metrics: false,
            dhcp_options: None,
            main_route_table: ids.table,
            default_network_acl: ids.acl,
            default_security_group: SecurityGroupId::new(1),
            created: Timestamp(0),
            tags: Tags::new(),
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
        let routes = self
            .vpc_row(vpc)
            .blocks()
            .map(|b| {
                (
                    b,
                    Route {
                        target: RouteTarget::Local,
                        origin: RouteOrigin::CreateRouteTable,
                    },
                )
            })
            .collect();
        let association = RouteTableAssociationId::new(self.next());
        self.put(RouteTable {
            id,
            owner: AccountId::DEFAULT,
            vpc,
            routes,
            associations: [(association, target)].into(),
            client_token: None,
            tags: Tags::new(),
        });
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
        row.routes.insert(
            block(to),
            Route {
                target,
                origin: RouteOrigin::CreateRoute,
            },
        );
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
            .map(|b| SubnetCidrAssociation {
                id: SubnetCidrAssociationId::new(self.next()),
                block: block(b),
                state: CidrState::Associated,
            })
            .into_iter()
            .collect();
        self.put(Subnet {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            zone: zone(),
            cidr: Some(block(v4)),
            ipv6_cidrs,
            default_for_az: false,
            map_public_ip_on_launch: false,
            assign_ipv6_on_creation: false,
            enable_dns64: false,
            hostname_type: HostnameType::IpName,
            resource_name_a_record: false,
            resource_name_aaaa_record: false,
            tags: Tags::new(),
        });
        id
    }

    fn put_acl(&mut self, id: NetworkAclId, vpc: VpcId, default: bool, rules: &[&str], subnets: &[SubnetId]) {
        let mut row = NetworkAcl {
            id,
            owner: AccountId::DEFAULT,
            vpc,
            is_default: default,
            ingress: BTreeMap::new(),
            egress: BTreeMap::new(),
            associations: BTreeMap::new(),
            client_token: None,
            tags: Tags::new(),
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
        self.put(SecurityGroup {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            name: id.to_string(),
            description: String::new(),
            rules: BTreeMap::new(),
            tags: Tags::new(),
        });
        self.set_group(id, rules);
        id
    }

    pub fn set_group(&mut self, id: SecurityGroupId, rules: &[&str]) -> Changed {
        let mut row = self.group_row(id);
        row.rules.clear();
        for (i, text) in rules.iter().enumerate() {
            let [direction, what, peer] = words(text);
            let peer = match peer.parse() {
                Ok(id) => Peer::Group {
                    id,
                    owner: AccountId::DEFAULT,
                    peering: None,
                },
                Err(_) => Peer::Cidr { block: block(peer) },
            };
            let rule = SecurityGroupRule {
                direction: way(direction),
                traffic: traffic(what),
                peer,
                description: None,
                tags: Tags::new(),
            };
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
            .map(|a| PrivateAddress {
                ip: as_v4(a),
                public: None,
            })
            .into_iter()
            .collect();
        let ipv6_addresses = row
            .ipv6_cidr()
            .and_then(|c| c.nth(0x1000 + host))
            .map(as_v6)
            .into_iter()
            .collect();
        self.put(NetworkInterface {
            id,
            owner: AccountId::DEFAULT,
            vpc: row.vpc,
            subnet,
            zone: zone(),
            mac: Mac([2, 0, 0, 0, (bits >> 8) as u8, bits as u8]),
            interface_type: InterfaceType::Interface,
            description: String::new(),
            private_addresses,
            ipv6_addresses,
            groups: groups.to_vec(),
            source_dest_check: true,
            attachment: None,
            requester_managed: false,
            connection_tracking: ConnectionTracking::default(),
            client_token: None,
            tags: Tags::new(),
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
        row.attachment = Some(Attachment {
            id: AttachmentId::new(self.next()),
            instance: id,
            device_index: 0,
            state: AttachmentState::Attached,
            delete_on_termination: true,
            attached: Timestamp(0),
        });
        let reservation = ReservationId::new(self.next());
        self.put(Instance {
            id,
            owner: AccountId::DEFAULT,
            reservation,
            launch_index: 0,
            vpc: row.vpc,
            subnet: row.subnet,
            zone: zone(),
            state: InstanceState::Running,
            state_reason: None,
            transition_reason: String::new(),
            auto_public: false,
            metadata: Default::default(),
            image: ImageId::new(1),
            instance_type: "t3.micro".into(),
            key_name: None,
            launched: Timestamp(0),
            boots: 1,
            user_data: None,
            user_data_run: UserDataRun::None,
            disable_api_termination: false,
            disable_api_stop: false,
            shutdown_behavior: ShutdownBehavior::Stop,
            iam_instance_profile: None,
            ebs_optimized: false,
            monitoring: false,
            client_token: None,
            terminated: None,
            tags: Tags::new(),
        });
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
        self.put(ElasticIp {
            id: allocation,
            owner: AccountId::DEFAULT,
            public,
            association: Some(elastic_ip::AddressAssociation {
                id: association,
                eni,
                private,
            }),
            tags: Tags::new(),
        });
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
        self.put(ElasticIp {
            id,
            owner: AccountId::DEFAULT,
            public: as_v4(ip(public)),
            association: None,
            tags: Tags::new(),
        });
    }

    pub fn igw(&mut self, vpc: VpcIds) -> InternetGatewayId {
        let id = InternetGatewayId::new(self.next());
        self.put_igw(id, Some(vpc.id));
        id
    }

    pub fn put_igw(&mut self, id: InternetGatewayId, vpc: Option<VpcId>) -> Changed {
        self.put(InternetGateway {
            id,
            owner: AccountId::DEFAULT,
            vpc,
            tags: Tags::new(),
        })
    }

    pub fn eigw(&mut self, vpc: VpcIds) -> EgressOnlyGatewayId {
        let id = EgressOnlyGatewayId::new(self.next());
        self.put(EgressOnlyInternetGateway {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            client_token: None,
            tags: Tags::new(),
        });
        id
    }

    /// An available NAT gateway, with an Elastic IP if it is public.
    pub fn nat(&mut self, subnet: SubnetId, connectivity: Connectivity) -> (NatGatewayId, EniId) {
        let id = NatGatewayId::new(self.next());
        let eni = self.bare_eni(subnet, &[]);
        self.change_eni(eni, |row| {
            row.interface_type = InterfaceType::NatGateway;
            row.requester_managed = true;
            row.source_dest_check = false;
            row.ipv6_addresses.clear();
        });
        let public = match connectivity {
            Connectivity::Public => Some(as_v4(self.elastic(eni))),
            Connectivity::Private => None,
        };
        let row = self.eni_row(eni);
        self.put(NatGateway {
            id,
            owner: AccountId::DEFAULT,
            vpc: row.vpc,
            subnet,
            connectivity,
            state: NatGatewayState::Available,
            eni: Some(eni),
            addresses: vec![NatGatewayAddress {
                private: row.primary_ip().unwrap(),
                public,
                allocation: None,
                association: None,
                primary: true,
            }],
            created: Timestamp(0),
            deleted: None,
            failure: None,
            client_token: None,
            tags: Tags::new(),
        });
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
