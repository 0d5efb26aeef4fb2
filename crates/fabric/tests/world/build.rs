//! Building a region.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::network_interface::{
    Attachment, AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress, PublicAddress,
};
use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::subnet::{HostnameType, SubnetCidrAssociation};
use atoll_model::vpc::Tenancy;
use atoll_model::*;
use atoll_net::{Family, Mac, PortRange, Prefix};

use super::{Choices, World, prefix};

impl World {
    /// A region of one to three VPCs.
    pub fn random(choices: &mut Choices) -> World {
        let mut world = World {
            last_id: 0x100,
            ..World::default()
        };
        for number in 0..1 + choices.below(3) {
            world.add_vpc(number, choices);
        }
        if choices.chance(10) {
            let id = InternetGatewayId::new(world.next_id());
            world.igws.insert(id, internet_gateway(id, None));
        }
        world
    }

    fn add_vpc(&mut self, number: usize, choices: &mut Choices) {
        let id = VpcId::new(self.next_id());
        let mut blocks = vec![prefix(
            ["10.0.0.0/16", "10.0.0.0/16", "172.16.0.0/16"][choices.below(3)],
        )];
        if choices.chance(15) {
            // semantics 56: allowed beside any private block, and private at the internet gateway (68).
            blocks.push(prefix("100.64.0.0/16"));
        }
        let mut v6 = Vec::new();
        if !choices.chance(25) {
            v6.push(prefix(&format!("2001:db8:0:{:x}00::/56", number + 1)));
        }
        let mut associated = |blocks: &[Prefix]| -> Vec<CidrAssociation> {
            let associate = |block: &Prefix| CidrAssociation {
                id: VpcCidrAssociationId::new(self.next_id()),
                block: *block,
                state: CidrState::Associated,
            };
            blocks.iter().map(associate).collect()
        };
        let (cidrs, ipv6_cidrs) = (associated(&blocks), associated(&v6));
        let (main, acl, group) = (self.next_id(), self.next_id(), self.next_id());
        let vpc = Vpc {
            id,
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
            main_route_table: RouteTableId::new(main),
            default_network_acl: NetworkAclId::new(acl),
            default_security_group: SecurityGroupId::new(group),
            created: Timestamp(0),
            tags: Tags::new(),
        };
        self.vpcs.insert(id, vpc.clone());
        self.add_groups(&vpc, choices);
        self.add_subnets(&vpc, choices);
        self.add_acls(&vpc, choices);
        if !choices.chance(12) {
            let igw = InternetGatewayId::new(self.next_id());
            self.igws.insert(igw, internet_gateway(igw, Some(id)));
        }
        if !v6.is_empty() && choices.chance(60) {
            let eigw = EgressOnlyGatewayId::new(self.next_id());
            let row = EgressOnlyInternetGateway {
                id: eigw,
                owner: AccountId::DEFAULT,
                vpc: id,
                client_token: None,
                tags: Tags::new(),
            };
            self.eigws.insert(eigw, row);
        }
        for _ in 0..2 + choices.below(3) {
            self.add_eni(&vpc, choices);
        }
        for _ in 0..choices.below(3) {
            self.add_nat_gateway(&vpc, choices);
        }
        self.add_tables(&vpc, choices);
    }

    fn add_subnets(&mut self, vpc: &Vpc, choices: &mut Choices) {
        for number in 0..1 + choices.below(3) {
            let id = SubnetId::new(self.next_id());
            let v4s: Vec<Prefix> = vpc.blocks().filter(|b| b.family() == Family::V4).collect();
            let v6 = vpc.blocks().find(|b| b.family() == Family::V6);
            let v6 = v6.filter(|_| !choices.chance(20));
            let v4 = v4s[choices.below(v4s.len())].subnet(24, number as u128);
            let v4 = v4.filter(|_| v6.is_none() || !choices.chance(8));
            let association = v6.and_then(|b| b.subnet(64, number as u128));
            let ipv6_cidrs = association
                .map(|block| SubnetCidrAssociation {
                    id: SubnetCidrAssociationId::new(self.next_id()),
                    block,
                    state: CidrState::Associated,
                })
                .into_iter()
                .collect();
            let row = Subnet {
                id,
                owner: AccountId::DEFAULT,
                vpc: vpc.id,
                zone: zone(),
                cidr: v4,
                ipv6_cidrs,
                default_for_az: false,
                map_public_ip_on_launch: false,
                assign_ipv6_on_creation: false,
                enable_dns64: false,
                hostname_type: HostnameType::IpName,
                resource_name_a_record: false,
                resource_name_aaaa_record: false,
                tags: Tags::new(),
            };
            self.subnets.insert(id, row);
        }
    }

    fn add_acls(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let mut acls = vec![vpc.default_network_acl];
        for _ in 0..choices.below(2) {
            acls.push(NetworkAclId::new(self.next_id()));
        }
        for id in &acls {
            let mut acl = NetworkAcl {
                id: *id,
                owner: AccountId::DEFAULT,
                vpc: vpc.id,
                is_default: *id == vpc.default_network_acl,
                ingress: BTreeMap::new(),
                egress: BTreeMap::new(),
                associations: BTreeMap::new(),
                client_token: None,
                tags: Tags::new(),
            };
            for rules in [&mut acl.ingress, &mut acl.egress] {
                for (number, cidr) in [(100, Prefix::ALL_V4), (101, Prefix::ALL_V6)] {
                    if !choices.chance(8) {
                        rules.insert(
                            number,
                            AclEntry {
                                action: RuleAction::Allow,
                                cidr,
                                traffic: Traffic::All,
                            },
                        );
                    }
                }
                for _ in 0..choices.below(4).saturating_sub(1) {
                    let number = [90, 95, 100, 110, 1, 32766][choices.below(6)];
                    rules.insert(number, self.random_entry(vpc.id, choices));
                }
            }
            self.acls.insert(*id, acl);
        }
        let subnets: Vec<SubnetId> = self.subnets_of(vpc.id);
        for subnet in subnets {
            let association = NetworkAclAssociationId::new(self.next_id());
            let acl = acls[choices.below(acls.len())];
            if let Some(acl) = self.acls.get_mut(&acl) {
                acl.associations.insert(association, subnet);
            }
        }
    }

    pub fn random_entry(&self, vpc: VpcId, choices: &mut Choices) -> AclEntry {
        AclEntry {
            action: [RuleAction::Deny, RuleAction::Allow][choices.below(2)],
            cidr: self.random_block(vpc, choices),
            traffic: random_traffic(choices),
        }
    }

    /// A block that packets of the VPC may have to do with.
    fn random_block(&self, vpc: VpcId, choices: &mut Choices) -> Prefix {
        let mut blocks = vec![Prefix::ALL_V4, Prefix::ALL_V6];
        blocks.extend(self.vpcs.get(&vpc).iter().flat_map(|v| v.blocks()));
        let subnets = self.subnets.values().filter(|s| s.vpc == vpc);
        blocks.extend(subnets.flat_map(Subnet::blocks));
        let enis = self.enis.values().filter(|e| e.vpc == vpc);
        blocks.extend(enis.flat_map(|e| e.addresses().map(Prefix::host).collect::<Vec<_>>()));
        blocks.extend(
            [
                "203.0.113.0/24",
                "203.0.113.1/32",
                "198.51.100.0/24",
                "2001:db8:ffff::/64",
            ]
            .map(prefix),
        );
        blocks[choices.below(blocks.len())]
    }

    fn add_groups(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let mut ids = vec![vpc.default_security_group];
        for _ in 0..choices.below(3) {
            ids.push(SecurityGroupId::new(self.next_id()));
        }
        for (number, id) in ids.iter().enumerate() {
            let group = SecurityGroup {
                id: *id,
                owner: AccountId::DEFAULT,
                vpc: vpc.id,
                name: if number == 0 {
                    "default".to_owned()
                } else {
                    format!("group-{number}")
                },
                description: String::new(),
                rules: BTreeMap::new(),
                tags: Tags::new(),
            };
            self.groups.insert(*id, group);
        }
        for id in ids {
            let mut rules = Vec::new();
            if !choices.chance(15) {
                for block in [Prefix::ALL_V4, Prefix::ALL_V6] {
                    rules.push(rule(Direction::Egress, Traffic::All, Peer::Cidr { block }));
                }
            }
            if !choices.chance(40) {
                let peer = Peer::Group {
                    id,
                    owner: AccountId::DEFAULT,
                    peering: None,
                };
                rules.push(rule(Direction::Ingress, Traffic::All, peer));
            }
            for block in [Prefix::ALL_V4, Prefix::ALL_V6] {
                if !choices.chance(60) {
                    let ports = PortRange { from: 80, to: 443 };
                    rules.push(rule(
                        Direction::Ingress,
                        Traffic::Tcp { ports },
                        Peer::Cidr { block },
                    ));
                }
            }
            for _ in 0..choices.below(3) {
                rules.push(self.random_rule(vpc.id, choices));
            }
            if choices.chance(6) {
                rules.clear();
            }
            for rule in rules {
                let number = SecurityGroupRuleId::new(self.next_id());
                if let Some(group) = self.groups.get_mut(&id) {
                    group.rules.insert(number, rule);
                }
            }
        }
    }

    pub fn random_rule(&self, vpc: VpcId, choices: &mut Choices) -> SecurityGroupRule {
        let direction = [Direction::Ingress, Direction::Egress][choices.below(2)];
        let mut groups: Vec<SecurityGroupId> = self
            .groups
            .values()
            .filter(|g| g.vpc == vpc)
            .map(|g| g.id)
            .collect();
        groups.push(SecurityGroupId::new(7)); // deleted long ago: stale (semantics 40)
        let peer = if choices.chance(40) {
            Peer::Group {
                id: groups[choices.below(groups.len())],
                owner: AccountId::DEFAULT,
                peering: None,
            }
        } else {
            Peer::Cidr {
                block: self.random_block(vpc, choices),
            }
        };
        rule(direction, random_traffic(choices), peer)
    }

    fn add_eni(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let Some(subnet) = self.subnets.get(&subnets[choices.below(subnets.len())]).cloned() else {
            return;
        };
        let id = EniId::new(self.next_id());
        let count = 1 + usize::from(choices.chance(30));
        let mut private_addresses = Vec::new();
        for _ in 0..count {
            if let Some(ip) = self.free_v4(&subnet, &private_addresses) {
                let private = PrivateAddress { ip, public: None };
                private_addresses.push(private);
            }
        }
        let ipv6_addresses: Vec<Ipv6Addr> = match subnet
            .ipv6_cidr()
            .and_then(|b| b.nth(0x1_0000 + u128::from(self.last_id)))
        {
            Some(IpAddr::V6(addr)) if private_addresses.is_empty() || !choices.chance(20) => vec![addr],
            _ => Vec::new(),
        };
        let mut groups: Vec<SecurityGroupId> = self
            .groups
            .values()
            .filter(|g| g.vpc == vpc.id)
            .map(|g| g.id)
            .collect();
        let first = choices.below(groups.len());
        groups.rotate_left(first);
        groups.truncate(1 + choices.below(2));
        let mut tracking = ConnectionTracking::default();
        if choices.chance(15) {
            tracking.tcp_established = Some(60);
            tracking.udp_stream = Some(60);
            tracking.udp_timeout = Some(60);
        }
        let mut eni = NetworkInterface {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            subnet: subnet.id,
            zone: zone(),
            mac: interface_mac(id),
            interface_type: InterfaceType::Interface,
            description: String::new(),
            private_addresses,
            ipv6_addresses,
            groups,
            source_dest_check: !choices.chance(20),
            attachment: None,
            requester_managed: false,
            connection_tracking: tracking,
            client_token: None,
            tags: Tags::new(),
        };
        for i in 0..eni.private_addresses.len() {
            if !choices.chance(35) {
                let elastic = !choices.chance(30);
                self.give_public(&mut eni, i, elastic);
            }
        }
        if !choices.chance(4) {
            let state = match choices.below(24) {
                23 => InstanceState::Stopped,
                22 => InstanceState::Stopping,
                21 => InstanceState::Pending,
                _ => InstanceState::Running,
            };
            eni.attachment = Some(self.add_instance(&subnet, state));
        }
        self.enis.insert(id, eni);
    }

    fn add_instance(&mut self, subnet: &Subnet, state: InstanceState) -> Attachment {
        let id = InstanceId::new(self.next_id());
        let row = Instance {
            id,
            owner: AccountId::DEFAULT,
            reservation: ReservationId::new(self.next_id()),
            launch_index: 0,
            vpc: subnet.vpc,
            subnet: subnet.id,
            zone: zone(),
            state,
            state_reason: None,
            transition_reason: String::new(),
            auto_public: false,
            metadata: Default::default(),
            image: ImageId::new(1),
            instance_type: "t3.large".to_owned(),
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
        };
        self.instances.insert(id, row);
        Attachment {
            id: AttachmentId::new(self.next_id()),
            instance: id,
            device_index: 0,
            state: AttachmentState::Attached,
            delete_on_termination: true,
            attached: Timestamp(0),
        }
    }

    /// Lets a new public address stand for a private one of an interface that is about to be put.
    pub fn give_public(&mut self, eni: &mut NetworkInterface, index: usize, elastic: bool) {
        let number = self.next_id();
        let ip = Ipv4Addr::new(198, 51, 100, (number % 250) as u8);
        let taken = |e: &NetworkInterface| {
            e.private_addresses
                .iter()
                .any(|a| a.public.is_some_and(|p| p.ip == ip))
        };
        if self.enis.values().any(taken) || self.eips.values().any(|e| e.public == ip) || taken(eni) {
            return;
        }
        let Some(address) = eni.private_addresses.get_mut(index) else {
            return;
        };
        let ids = (
            AllocationId::new(number),
            AddressAssociationId::new(self.last_id + 1),
        );
        self.last_id += 1;
        if elastic {
            let row = ElasticIp {
                id: ids.0,
                owner: AccountId::DEFAULT,
                public: ip,
                association: Some(elastic_ip::AddressAssociation {
                    id: ids.1,
                    eni: eni.id,
                    private: address.ip,
                }),
                tags: Tags::new(),
            };
            self.eips.insert(ids.0, row);
        }
        address.public = Some(PublicAddress {
            ip,
            elastic: elastic.then_some(ids),
        });
    }

    fn free_v4(&self, subnet: &Subnet, more: &[PrivateAddress]) -> Option<Ipv4Addr> {
        let taken = |addr: Ipv4Addr| {
            let enis = self.enis.values().filter(|e| e.vpc == subnet.vpc);
            more.iter().any(|a| a.ip == addr) || enis.into_iter().any(|e| e.has_address(IpAddr::V4(addr)))
        };
        (4..200).find_map(|i| match subnet.cidr?.nth(i)? {
            IpAddr::V4(addr) if !taken(addr) => Some(addr),
            _ => None,
        })
    }

    pub fn add_nat_gateway(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let Some(subnet) = self.subnets.get(&subnets[choices.below(subnets.len())]).cloned() else {
            return;
        };
        let Some(private) = self.free_v4(&subnet, &[]) else {
            return;
        };
        let (id, eni_id) = (NatGatewayId::new(self.next_id()), EniId::new(self.next_id()));
        let mut eni = NetworkInterface {
            id: eni_id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            subnet: subnet.id,
            zone: zone(),
            mac: interface_mac(eni_id),
            interface_type: InterfaceType::NatGateway,
            description: String::new(),
            private_addresses: vec![PrivateAddress {
                ip: private,
                public: None,
            }],
            ipv6_addresses: Vec::new(),
            groups: Vec::new(),
            source_dest_check: false,
            attachment: None,
            requester_managed: true,
            connection_tracking: ConnectionTracking::default(),
            client_token: None,
            tags: Tags::new(),
        };
        let public = !choices.chance(20);
        if public {
            self.give_public(&mut eni, 0, true);
        }
        let on_eni = eni.private_addresses.first().and_then(|a| a.public);
        let state = match choices.below(12) {
            11 => NatGatewayState::Pending,
            10 => NatGatewayState::Deleting,
            _ => NatGatewayState::Available,
        };
        let row = NatGateway {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            subnet: subnet.id,
            connectivity: if public {
                Connectivity::Public
            } else {
                Connectivity::Private
            },
            state,
            eni: Some(eni_id),
            addresses: vec![NatGatewayAddress {
                private,
                public: on_eni.map(|p| p.ip),
                allocation: on_eni.and_then(|p| p.elastic).map(|e| e.0),
                association: on_eni.and_then(|p| p.elastic).map(|e| e.1),
                primary: true,
            }],
            created: Timestamp(0),
            deleted: None,
            failure: None,
            client_token: None,
            tags: Tags::new(),
        };
        if !public || on_eni.is_some() {
            self.enis.insert(eni_id, eni);
            self.nats.insert(id, row);
        }
    }

    /// A public main table, perhaps a private one, perhaps an edge table; with odd routes among them.
    fn add_tables(&mut self, vpc: &Vpc, choices: &mut Choices) {
        let subnets = self.subnets_of(vpc.id);
        let igw = self.igws.values().find(|g| g.vpc == Some(vpc.id)).map(|g| g.id);
        let eigw = self.eigws.values().find(|g| g.vpc == vpc.id).map(|g| g.id);
        let nats: Vec<NatGatewayId> = self
            .nats
            .values()
            .filter(|n| n.vpc == vpc.id)
            .map(|n| n.id)
            .collect();
        for number in 0..2 {
            let id = if number == 0 {
                vpc.main_route_table
            } else {
                RouteTableId::new(self.next_id())
            };
            let mut table = self.local_table(id, vpc);
            let mut lead = |destination: Prefix, target: RouteTarget| {
                let origin = RouteOrigin::CreateRoute;
                table.routes.insert(destination, Route { target, origin });
            };
            if !choices.chance(10) {
                match (number, igw, choices.pick(&nats)) {
                    (1, _, Some(nat)) => lead(Prefix::ALL_V4, RouteTarget::NatGateway(nat)),
                    (_, Some(igw), _) => lead(Prefix::ALL_V4, RouteTarget::InternetGateway(igw)),
                    _ => {}
                }
                match (number, igw, eigw) {
                    (1, _, Some(eigw)) => lead(Prefix::ALL_V6, RouteTarget::EgressOnlyGateway(eigw)),
                    (_, Some(igw), _) => lead(Prefix::ALL_V6, RouteTarget::InternetGateway(igw)),
                    _ => {}
                }
            }
            self.tables.insert(id, table);
            for _ in 0..choices.below(5).saturating_sub(2) {
                self.lead_somewhere(id, choices);
            }
            let association = RouteTableAssociationId::new(self.next_id());
            let target = AssociationTarget::Main;
            if let Some(table) = self.tables.get_mut(&id)
                && number == 0
            {
                table.associations.insert(association, target);
            }
            for subnet in &subnets {
                let association = RouteTableAssociationId::new(self.next_id());
                let free = !self.tables.values().any(|t| t.subnets().any(|s| s == *subnet));
                if let Some(table) = self.tables.get_mut(&id)
                    && number == 1
                    && free
                    && choices.chance(45)
                {
                    table
                        .associations
                        .insert(association, AssociationTarget::Subnet(*subnet));
                }
            }
        }
        if let Some(igw) = igw
            && choices.chance(12)
        {
            let id = RouteTableId::new(self.next_id());
            let mut table = self.local_table(id, vpc);
            let association = RouteTableAssociationId::new(self.next_id());
            table
                .associations
                .insert(association, AssociationTarget::InternetGateway(igw));
            // semantics 14, 15: to a whole subnet or the whole VPC, by an interface.
            let enis = self.enis_of(vpc.id);
            let blocks: Vec<Prefix> = subnets
                .iter()
                .filter_map(|s| self.subnets.get(s))
                .flat_map(Subnet::blocks)
                .chain(vpc.blocks())
                .collect();
            if let (Some(block), Some(eni)) = (choices.pick(&blocks), choices.pick(&enis)) {
                let local = vpc.blocks().any(|b| b == block);
                let origin = if local {
                    RouteOrigin::CreateRouteTable
                } else {
                    RouteOrigin::CreateRoute
                };
                let target = RouteTarget::NetworkInterface(eni);
                table.routes.insert(block, Route { target, origin });
            }
            self.tables.insert(id, table);
        }
    }

    fn local_table(&self, id: RouteTableId, vpc: &Vpc) -> RouteTable {
        let local = Route {
            target: RouteTarget::Local,
            origin: RouteOrigin::CreateRouteTable,
        };
        RouteTable {
            id,
            owner: AccountId::DEFAULT,
            vpc: vpc.id,
            routes: vpc.blocks().map(|block| (block, local)).collect(),
            associations: BTreeMap::new(),
            client_token: None,
            tags: Tags::new(),
        }
    }

    /// Adds an odd but permitted route, or replaces one.
    pub fn lead_somewhere(&mut self, id: RouteTableId, choices: &mut Choices) {
        let Some(vpc) = self.tables.get(&id).and_then(|t| self.vpcs.get(&t.vpc)).cloned() else {
            return;
        };
        let mut destinations: Vec<Prefix> = vpc.blocks().collect();
        let subnets = self.subnets.values().filter(|s| s.vpc == vpc.id);
        destinations.extend(subnets.flat_map(Subnet::blocks));
        destinations.extend(
            [
                "0.0.0.0/0",
                "::/0",
                "203.0.113.0/24",
                "203.0.113.1/32",
                "198.51.100.0/24",
                "192.168.0.0/16",
                "2001:db8:ffff::/64",
            ]
            .map(prefix),
        );
        let destination = destinations[choices.below(destinations.len())];
        let local = vpc.blocks().any(|b| b == destination);
        let inside = vpc.blocks().any(|b| b.covers(destination));
        let v4 = destination.family() == Family::V4;
        let mut targets: Vec<RouteTarget> = Vec::new();
        targets.extend(
            self.enis_of(vpc.id)
                .into_iter()
                .map(RouteTarget::NetworkInterface),
        );
        if v4 {
            let nats = self.nats.values().filter(|n| n.vpc == vpc.id);
            targets.extend(nats.map(|n| RouteTarget::NatGateway(n.id)));
        }
        if !inside {
            let igws = self.igws.values().filter(|g| g.vpc == Some(vpc.id));
            targets.extend(igws.map(|g| RouteTarget::InternetGateway(g.id)));
            let eigws = self.eigws.values().filter(|g| g.vpc == vpc.id && !v4);
            targets.extend(eigws.map(|g| RouteTarget::EgressOnlyGateway(g.id)));
            // Targets that are gone: blackholes.
            targets.push(RouteTarget::InternetGateway(InternetGatewayId::new(8)));
            targets.push(RouteTarget::NetworkInterface(EniId::new(9)));
            if v4 {
                targets.push(RouteTarget::NatGateway(NatGatewayId::new(10)));
            } else {
                targets.push(RouteTarget::EgressOnlyGateway(EgressOnlyGatewayId::new(11)));
            }
        }
        if let (Some(target), Some(table)) = (choices.pick(&targets), self.tables.get_mut(&id)) {
            let origin = if local {
                RouteOrigin::CreateRouteTable
            } else {
                RouteOrigin::CreateRoute
            };
            table.routes.insert(destination, Route { target, origin });
        }
    }

    fn subnets_of(&self, vpc: VpcId) -> Vec<SubnetId> {
        self.subnets
            .values()
            .filter(|s| s.vpc == vpc)
            .map(|s| s.id)
            .collect()
    }

    fn enis_of(&self, vpc: VpcId) -> Vec<EniId> {
        let mut enis = self.instance_enis();
        enis.retain(|id| self.enis.get(id).is_some_and(|e| e.vpc == vpc));
        enis
    }
}

fn zone() -> ZoneName {
    match "us-east-1a".parse() {
        Ok(zone) => zone,
        Err(error) => panic!("{error}"),
    }
}

/// MACs of interfaces have an even second octet.
fn interface_mac(id: EniId) -> Mac {
    let [.., a, b] = id.digits().bits().to_be_bytes();
    Mac([0x02, 0x00, 0x5e, 0x10, a, b])
}

fn internet_gateway(id: InternetGatewayId, vpc: Option<VpcId>) -> InternetGateway {
    InternetGateway {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        tags: Tags::new(),
    }
}

fn rule(direction: Direction, traffic: Traffic, peer: Peer) -> SecurityGroupRule {
    SecurityGroupRule {
        direction,
        traffic,
        peer,
        description: None,
        tags: Tags::new(),
    }
}

fn random_traffic(choices: &mut Choices) -> Traffic {
    let range = |from, to| PortRange { from, to };
    let any = IcmpMatch::ANY;
    let kind = |kind, code| IcmpMatch { kind, code };
    let all = [
        Traffic::All,
        Traffic::Tcp {
            ports: PortRange::ALL,
        },
        Traffic::Tcp { ports: range(80, 80) },
        Traffic::Tcp {
            ports: range(22, 443),
        },
        Traffic::Tcp {
            ports: range(1024, 65535),
        },
        Traffic::Udp { ports: range(53, 53) },
        Traffic::Udp {
            ports: PortRange::ALL,
        },
        Traffic::Udp {
            ports: range(1024, 65535),
        },
        Traffic::Icmp { icmp: any },
        Traffic::Icmp {
            icmp: kind(Some(8), None),
        },
        Traffic::Icmp {
            icmp: kind(Some(3), Some(4)),
        },
        Traffic::Icmp {
            icmp: kind(None, Some(0)),
        },
        Traffic::Icmpv6 { icmp: any },
        Traffic::Icmpv6 {
            icmp: kind(Some(128), Some(0)),
        },
        Traffic::Other { number: 47 },
    ];
    all[choices.below(all.len())]
}
