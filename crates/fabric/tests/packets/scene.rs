//! A region laid out by hand, with what a test says to it and sends through it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{
    Cells, Changed, Fabric, Flows, Hop, L4, Limits, Outcome, Packet, Port, Quote, Stage, Verdict, walk,
};
use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::network_interface::{
    Attachment, AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress, PublicAddress,
};
use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::subnet::{HostnameType, SubnetCidrAssociation};
use atoll_model::vpc::Tenancy;
use atoll_model::*;
use atoll_net::{Mac, PortRange, Prefix};

pub const OUTSIDE: &str = "198.51.100.9";
pub const OUTSIDE_V6: &str = "2001:db8:ffff::9";

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn block(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// `tcp/80`, `tcp/32768-65535`, `udp/53`, `icmp/8:0`, `icmp`, `icmp6`, `47`, `all`.
pub fn traffic(text: &str) -> Traffic {
    let (name, range) = text.split_once('/').map_or((text, None), |(n, r)| (n, Some(r)));
    let ports = || match range {
        None => PortRange::ALL,
        Some(r) => {
            let (from, to) = r.split_once('-').unwrap_or((r, r));
            PortRange {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
            }
        }
    };
    let icmp = || match range {
        None | Some("all") => IcmpMatch::ANY,
        Some(r) => {
            let (kind, code) = r.split_once(':').unwrap_or((r, "-1"));
            IcmpMatch {
                kind: kind.parse().ok(),
                code: code.parse().ok(),
            }
        }
    };
    match name {
        "all" | "-1" => Traffic::All,
        "tcp" => Traffic::Tcp { ports: ports() },
        "udp" => Traffic::Udp { ports: ports() },
        "icmp" => Traffic::Icmp { icmp: icmp() },
        "icmp6" => Traffic::Icmpv6 { icmp: icmp() },
        number => Traffic::Other {
            number: number.parse().unwrap(),
        },
    }
}

/// A VPC with its main table, default ACL and default group, none of which says anything yet but local routes.
#[derive(Clone, Copy)]
pub struct VpcIds {
    pub id: VpcId,
    pub table: RouteTableId,
    pub acl: NetworkAclId,
}

pub struct Scene {
    pub fabric: Fabric,
    pub flows: Flows,
    pub cells: Cells,
    pub now: Timestamp,
    rows: BTreeMap<Key, Row>,
    ids: u64,
    hosts: u8,
    /// The hops of the last packet.
    pub hops: Vec<Hop>,
}

macro_rules! row {
    ($name:ident, $variant:ident, $row:ty, $id:ty) => {
        pub fn $name(&self, id: $id) -> $row {
            match self.rows.get(&Key::$variant(id)) {
                Some(Row::$variant(row)) => <$row>::clone(row),
                _ => panic!("no {id}"),
            }
        }
    };
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(Limits::SMALL)
    }

    pub fn with(limits: Limits) -> Scene {
        let now = Timestamp(1_000_000);
        Scene {
            fabric: Fabric::new(),
            flows: Flows::new(limits, now),
            cells: Cells::new(10_000),
            now,
            rows: BTreeMap::new(),
            ids: 0x10,
            hosts: 9,
            hops: Vec::new(),
        }
    }

    row!(vpc_row, Vpc, Vpc, VpcId);
    row!(table_row, RouteTable, RouteTable, RouteTableId);
    row!(acl_row, NetworkAcl, NetworkAcl, NetworkAclId);
    row!(group_row, SecurityGroup, SecurityGroup, SecurityGroupId);
    row!(eni_row, NetworkInterface, NetworkInterface, EniId);
    row!(instance_row, Instance, Instance, InstanceId);
    row!(subnet_row, Subnet, Subnet, SubnetId);
    row!(nat_row, NatGateway, NatGateway, NatGatewayId);

    pub fn next(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn host(&mut self) -> u8 {
        self.hosts += 1;
        self.hosts
    }

    pub fn apply(&mut self, changes: Vec<Change>) -> Changed {
        for change in &changes {
            match change {
                Change::Put(row) => self.rows.insert(row.key(), row.clone()),
                Change::Delete(key) => self.rows.remove(key),
            };
        }
        let changed = self.fabric.apply(&Delta { changes });
        self.flows.forget(&changed);
        self.cells.bump(&changed);
        changed
    }

    pub fn put(&mut self, row: impl Into<Row>) -> Changed {
        self.apply(vec![Change::Put(row.into())])
    }

    pub fn delete(&mut self, key: Key) -> Changed {
        self.apply(vec![Change::Delete(key)])
    }

    pub fn after(&mut self, seconds: u64) -> &mut Scene {
        self.now = self.now.plus_millis(seconds * 1000);
        self
    }

    // --- rows -------------------------------------------------------------------------------------------------

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

    // --- packets ----------------------------------------------------------------------------------------------

    fn packet(&self, ingress: Port, src: IpAddr, dst: IpAddr, number: u8, l4: L4) -> Packet {
        let (mut src_mac, mut dst_mac) = (Mac::default(), Mac::default());
        if let Port::Eni(eni) = ingress {
            let link = self.fabric.link(eni).unwrap();
            src_mac = link.mac;
            // As a guest does: what ARP finds on the link, else the router.
            dst_mac = self.fabric.neighbour(eni, dst).unwrap_or(link.router_mac);
        }
        Packet {
            ingress,
            src_mac,
            dst_mac,
            src,
            dst,
            protocol: number,
            l4,
            hop_limit: 64,
            length: 100,
            dont_fragment: false,
            fragment: None,
            quote: None,
        }
    }

    fn own(&self, eni: EniId, dst: IpAddr) -> IpAddr {
        if dst.is_ipv4() {
            self.addr(eni)
        } else {
            self.addr6(eni)
        }
    }

    /// A TCP SYN.
    pub fn syn(&self, eni: EniId, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: tcp::SYN,
        };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, protocol::TCP, l4)
    }

    pub fn udp(&self, eni: EniId, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: 0,
        };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, protocol::UDP, l4)
    }

    pub fn ping(&self, eni: EniId, dst: IpAddr, id: u16) -> Packet {
        let (number, kind) = if dst.is_ipv4() {
            (protocol::ICMP, 8)
        } else {
            (protocol::ICMPV6, 128)
        };
        let l4 = L4::Icmp { kind, code: 0, id };
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, number, l4)
    }

    pub fn other(&self, eni: EniId, dst: IpAddr, number: u8) -> Packet {
        self.packet(Port::Eni(eni), self.own(eni, dst), dst, number, L4::Other)
    }

    /// A TCP SYN from outside.
    pub fn syn_in(&self, src: &str, dst: IpAddr, sport: u16, dport: u16) -> Packet {
        let l4 = L4::Ports {
            src: sport,
            dst: dport,
            tcp_flags: tcp::SYN,
        };
        self.packet(Port::Internet, ip(src), dst, protocol::TCP, l4)
    }

    /// The answer to a packet by whom it was forwarded to.
    pub fn answer(&self, sent: &Packet, outcome: &Outcome) -> Packet {
        let Verdict::Forward(action) = &outcome.verdict else {
            panic!("{sent:?} was not forwarded: {:?}", outcome.verdict);
        };
        let got = outcome.forwarded(sent).unwrap();
        let l4 = match got.l4 {
            L4::Ports { src, dst, tcp_flags } => L4::Ports {
                src: dst,
                dst: src,
                tcp_flags: match (got.protocol, tcp_flags & tcp::SYN) {
                    (protocol::TCP, tcp::SYN) => tcp::SYN | tcp::ACK,
                    (protocol::TCP, _) => tcp::ACK,
                    _ => 0,
                },
            },
            L4::Icmp { kind: 8, code, id } => L4::Icmp { kind: 0, code, id },
            L4::Icmp { kind: 128, code, id } => L4::Icmp { kind: 129, code, id },
            other => other,
        };
        self.packet(action.out, got.dst, got.src, got.protocol, l4)
    }

    /// An ICMP error about a packet by whom it was forwarded to (or `from`, on the way).
    pub fn error(&self, sent: &Packet, outcome: &Outcome, from: Option<&str>, kind: u8, code: u8) -> Packet {
        let answer = self.answer(sent, outcome);
        let got = outcome.forwarded(sent).unwrap();
        let number = if got.src.is_ipv4() {
            protocol::ICMP
        } else {
            protocol::ICMPV6
        };
        Packet {
            src: from.map_or(answer.src, ip),
            protocol: number,
            l4: L4::Icmp { kind, code, id: 0 },
            quote: Some(Quote {
                src: got.src,
                dst: got.dst,
                protocol: got.protocol,
                l4: got.l4,
            }),
            ..answer
        }
    }

    /// Walks a packet, keeping hops, and commits its effects.
    pub fn send(&mut self, packet: &Packet) -> Outcome {
        self.hops.clear();
        let outcome = walk(&self.fabric, &self.flows, packet, self.now, &mut self.hops);
        self.flows.commit(&outcome.effects, self.now, 0).unwrap();
        outcome
    }

    /// Where a packet ends.
    pub fn stage(&mut self, packet: &Packet) -> Stage {
        self.send(packet).stage()
    }

    /// Sends a packet and its answer: where each ends.
    pub fn exchange(&mut self, packet: &Packet) -> (Stage, Stage) {
        let outcome = self.send(packet);
        let answer = self.answer(packet, &outcome);
        (outcome.stage(), self.stage(&answer))
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

fn words<const N: usize>(text: &str) -> [&str; N] {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.try_into().unwrap()
}

fn way(text: &str) -> Direction {
    match text {
        "in" => Direction::Ingress,
        "out" => Direction::Egress,
        other => panic!("{other}"),
    }
}

pub fn as_v4(addr: IpAddr) -> Ipv4Addr {
    match addr {
        IpAddr::V4(a) => a,
        IpAddr::V6(a) => panic!("{a}"),
    }
}

fn as_v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V6(a) => a,
        IpAddr::V4(a) => panic!("{a}"),
    }
}

fn zone() -> ZoneName {
    RegionName::DEFAULT.zones()[0]
}

/// A packet made a later one of its connection: TCP's ACK.
pub fn acked(packet: &Packet) -> Packet {
    flagged(packet, tcp::ACK)
}

pub fn flagged(packet: &Packet, flags: u8) -> Packet {
    let mut packet = *packet;
    if let L4::Ports { tcp_flags, .. } = &mut packet.l4 {
        *tcp_flags = flags;
    }
    packet
}

/// A VPC in two zones' worth of subnets: public with an internet gateway, private with a NAT gateway and, for
/// IPv6, an egress-only one; a web and a database tier.
pub struct TwoTier {
    pub scene: Scene,
    pub vpc: VpcIds,
    pub public: SubnetId,
    pub private: SubnetId,
    pub public_table: RouteTableId,
    pub private_table: RouteTableId,
    pub igw: InternetGatewayId,
    pub eigw: EgressOnlyGatewayId,
    pub nat: NatGatewayId,
    pub nat_eni: EniId,
    pub web_group: SecurityGroupId,
    pub db_group: SecurityGroupId,
    pub web: EniId,
    pub web_public: IpAddr,
    pub db: EniId,
}

pub const OUT_ALL: [&str; 2] = ["out all 0.0.0.0/0", "out all ::/0"];

pub fn two_tier() -> TwoTier {
    let mut s = Scene::new();
    let vpc = s.vpc("10.0.0.0/16", Some("2001:db8:1::/56"));
    let public = s.subnet(vpc, "10.0.0.0/24", Some("2001:db8:1::/64"));
    let private = s.subnet(vpc, "10.0.1.0/24", Some("2001:db8:1:1::/64"));
    let (igw, eigw) = (s.igw(vpc), s.eigw(vpc));
    let (public_table, private_table) = (s.table_for(public), s.table_for(private));
    s.route(public_table, "0.0.0.0/0", RouteTarget::InternetGateway(igw));
    s.route(public_table, "::/0", RouteTarget::InternetGateway(igw));
    let (nat, nat_eni) = s.nat(public, Connectivity::Public);
    s.route(private_table, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    s.route(private_table, "::/0", RouteTarget::EgressOnlyGateway(eigw));
    let web_group = s.group(
        vpc,
        &[
            "in tcp/80 0.0.0.0/0",
            "in tcp/80 ::/0",
            "in tcp/22 203.0.113.1/32",
            OUT_ALL[0],
            OUT_ALL[1],
        ],
    );
    let reference = format!("in tcp/5432 {web_group}");
    let db_group = s.group(vpc, &[&reference, OUT_ALL[0], OUT_ALL[1]]);
    let web = s.eni(public, &[web_group]);
    let db = s.eni(private, &[db_group]);
    let web_public = s.elastic(web);
    TwoTier {
        scene: s,
        vpc,
        public,
        private,
        public_table,
        private_table,
        igw,
        eigw,
        nat,
        nat_eni,
        web_group,
        db_group,
        web,
        web_public,
        db,
    }
}
