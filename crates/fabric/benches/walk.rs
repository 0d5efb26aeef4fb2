//! `walk` at the size that is promised: 1,000 security-group rules on the interface (half of them group
//! references), 40 ACL rules, 100 routes, a region of 100,000 interfaces, random keys, both verdicts.
//! Wanted: at most 1.5 µs.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{Fabric, Flows, L4, Limits, NoFlows, Packet, Port, Stage, walk};
use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::network_interface::{
    Attachment, AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress,
};
use atoll_model::route_table::{AssociationTarget, RouteOrigin};
use atoll_model::subnet::HostnameType;
use atoll_model::vpc::Tenancy;
use atoll_model::*;
use atoll_net::{Mac, PortRange, Prefix};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, criterion_main};

const VPCS: u64 = 10;
const SUBNETS: u64 = 100;
const INTERFACES: u64 = 100;
const NOW: Timestamp = Timestamp(1_000_000);

/// A small generator: the bench's keys must not be foreseeable to caches, nothing more (Vigna's splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(bits))
}

fn block(bits: u32, len: u8) -> Prefix {
    Prefix::containing(v4(bits), len)
}

fn bits(kind: u64, vpc: u64, subnet: u64, interface: u64) -> u64 {
    // Ids are random to everybody who looks them up.
    Random(kind << 56 | vpc << 40 | subnet << 20 | interface).next()
}

fn address(subnet: u64, interface: u64) -> u32 {
    10 << 24 | (subnet as u32) << 8 | (interface as u32 + 10)
}

fn zone() -> ZoneName {
    RegionName::DEFAULT.zones()[0]
}

/// 500 rules about blocks and 500 references each way, five groups of 200.
fn groups(vpc: u64) -> Vec<SecurityGroup> {
    let id = |i: u64| SecurityGroupId::new(bits(4, vpc, 0, i));
    (0..5)
        .map(|group| {
            let mut rules = BTreeMap::new();
            for i in 0..200u64 {
                let peer = if i % 2 == 0 {
                    Peer::Cidr {
                        block: block(address((group * 100 + i / 2) % SUBNETS, 0), 24),
                    }
                } else {
                    Peer::Group {
                        // Mostly groups that few are in; the members' own are among them.
                        id: if i == 1 {
                            id(group)
                        } else {
                            id(1000 + group * 200 + i)
                        },
                        owner: AccountId::DEFAULT,
                        peering: None,
                    }
                };
                let from = 1000 + (group * 200 + i) as u16;
                let rule = SecurityGroupRule {
                    direction: Direction::Ingress,
                    traffic: Traffic::Tcp {
                        ports: PortRange {
                            from,
                            to: from + 2000,
                        },
                    },
                    peer,
                    description: None,
                    tags: Tags::new(),
                };
                rules.insert(SecurityGroupRuleId::new(bits(5, vpc, group, i)), rule.clone());
                rules.insert(
                    SecurityGroupRuleId::new(bits(6, vpc, group, i)),
                    SecurityGroupRule {
                        direction: Direction::Egress,
                        ..rule
                    },
                );
            }
            SecurityGroup {
                id: id(group),
                owner: AccountId::DEFAULT,
                vpc: VpcId::new(bits(1, vpc, 0, 0)),
                name: format!("group-{group}"),
                description: String::new(),
                rules,
                tags: Tags::new(),
            }
        })
        .collect()
}

fn acl(vpc: u64) -> NetworkAcl {
    let mut entries: BTreeMap<u16, AclEntry> = (1..40u16)
        .map(|i| {
            let entry = AclEntry {
                action: RuleAction::Deny,
                cidr: block(172 << 24 | u32::from(i) << 8, 24),
                traffic: Traffic::Tcp {
                    ports: PortRange { from: i, to: i },
                },
            };
            (i, entry)
        })
        .collect();
    entries.insert(
        100,
        AclEntry {
            action: RuleAction::Allow,
            cidr: Prefix::ALL_V4,
            traffic: Traffic::All,
        },
    );
    NetworkAcl {
        id: NetworkAclId::new(bits(2, vpc, 0, 0)),
        owner: AccountId::DEFAULT,
        vpc: VpcId::new(bits(1, vpc, 0, 0)),
        is_default: true,
        ingress: entries.clone(),
        egress: entries,
        associations: BTreeMap::new(),
        client_token: None,
        tags: Tags::new(),
    }
}

fn table(vpc: u64) -> RouteTable {
    let gateway = InternetGatewayId::new(bits(9, vpc, 0, 0));
    let mut routes: BTreeMap<Prefix, Route> = (0..99u32)
        .map(|i| {
            let route = Route {
                target: RouteTarget::InternetGateway(gateway),
                origin: RouteOrigin::CreateRoute,
            };
            (block(20 << 24 | i << 16, 16 + (i % 8) as u8), route)
        })
        .collect();
    routes.insert(
        block(10 << 24, 16),
        Route {
            target: RouteTarget::Local,
            origin: RouteOrigin::CreateRouteTable,
        },
    );
    RouteTable {
        id: RouteTableId::new(bits(3, vpc, 0, 0)),
        owner: AccountId::DEFAULT,
        vpc: VpcId::new(bits(1, vpc, 0, 0)),
        routes,
        associations: [(
            RouteTableAssociationId::new(bits(3, vpc, 0, 1)),
            AssociationTarget::Main,
        )]
        .into(),
        client_token: None,
        tags: Tags::new(),
    }
}

fn vpc(number: u64) -> Vpc {
    Vpc {
        id: VpcId::new(bits(1, number, 0, 0)),
        owner: AccountId::DEFAULT,
        region: RegionName::DEFAULT,
        cidrs: vec![CidrAssociation {
            id: VpcCidrAssociationId::new(number),
            block: block(10 << 24, 16),
            state: CidrState::Associated,
        }],
        ipv6_cidrs: Vec::new(),
        is_default: false,
        tenancy: Tenancy::Default,
        enable_dns_support: true,
        enable_dns_hostnames: true,
        enable_network_address_usage_metrics: false,
        dhcp_options: None,
        main_route_table: RouteTableId::new(bits(3, number, 0, 0)),
        default_network_acl: NetworkAclId::new(bits(2, number, 0, 0)),
        default_security_group: SecurityGroupId::new(bits(4, number, 0, 0)),
        created: NOW,
        tags: Tags::new(),
    }
}

fn subnet(vpc: u64, number: u64) -> Subnet {
    Subnet {
        id: SubnetId::new(bits(7, vpc, number, 0)),
        owner: AccountId::DEFAULT,
        vpc: VpcId::new(bits(1, vpc, 0, 0)),
        zone: zone(),
        cidr: Some(block(address(number, 0), 24)),
        ipv6_cidrs: Vec::new(),
        default_for_az: false,
        map_public_ip_on_launch: false,
        assign_ipv6_on_creation: false,
        enable_dns64: false,
        hostname_type: HostnameType::IpName,
        resource_name_a_record: false,
        resource_name_aaaa_record: false,
        tags: Tags::new(),
    }
}

fn interface(vpc: u64, subnet: u64, number: u64) -> (NetworkInterface, Instance) {
    let id = bits(8, vpc, subnet, number);
    let instance = InstanceId::new(id);
    let (vpc_id, subnet_id) = (
        VpcId::new(bits(1, vpc, 0, 0)),
        SubnetId::new(bits(7, vpc, subnet, 0)),
    );
    let interface = NetworkInterface {
        id: EniId::new(id),
        owner: AccountId::DEFAULT,
        vpc: vpc_id,
        subnet: subnet_id,
        zone: zone(),
        mac: Mac([2, 0, vpc as u8, subnet as u8, 0, number as u8]),
        interface_type: InterfaceType::Interface,
        description: String::new(),
        private_addresses: vec![PrivateAddress {
            ip: Ipv4Addr::from(address(subnet, number)),
            public: None,
        }],
        ipv6_addresses: Vec::new(),
        groups: (0..5).map(|i| SecurityGroupId::new(bits(4, vpc, 0, i))).collect(),
        source_dest_check: true,
        attachment: Some(Attachment {
            id: AttachmentId::new(id),
            instance,
            device_index: 0,
            state: AttachmentState::Attached,
            delete_on_termination: true,
            attached: NOW,
        }),
        requester_managed: false,
        connection_tracking: ConnectionTracking::default(),
        client_token: None,
        tags: Tags::new(),
    };
    let instance = Instance {
        id: instance,
        owner: AccountId::DEFAULT,
        reservation: ReservationId::new(id),
        launch_index: 0,
        vpc: vpc_id,
        subnet: subnet_id,
        zone: zone(),
        state: InstanceState::Running,
        state_reason: None,
        transition_reason: String::new(),
        auto_public: false,
        metadata: Default::default(),
        image: ImageId::new(1),
        instance_type: "t3.micro".into(),
        key_name: None,
        launched: NOW,
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
    (interface, instance)
}

fn region() -> Fabric {
    let mut fabric = Fabric::new();
    let mut put = |rows: Vec<Row>| {
        fabric.apply(&Delta {
            changes: rows.into_iter().map(Change::Put).collect(),
        })
    };
    for v in 0..VPCS {
        put(vec![vpc(v).into(), acl(v).into(), table(v).into()]);
        put(groups(v).into_iter().map(Row::from).collect());
        for s in 0..SUBNETS {
            put(vec![subnet(v, s).into()]);
            for i in 0..INTERFACES {
                let (interface, instance) = interface(v, s, i);
                put(vec![interface.into(), instance.into()]);
            }
        }
    }
    fabric
}

/// A SYN from a random interface to a random one of another subnet of its VPC.
fn packet(fabric: &Fabric, random: &mut Random, port: u16) -> Packet {
    let (v, from, to) = (
        random.below(VPCS),
        random.below(SUBNETS),
        random.below(SUBNETS - 1),
    );
    let to = if to >= from { to + 1 } else { to };
    let (i, j) = (random.below(INTERFACES), random.below(INTERFACES));
    let eni = EniId::new(bits(8, v, from, i));
    let router_mac = fabric.link(eni).map(|l| l.router_mac).unwrap_or_default();
    Packet {
        ingress: Port::Eni(eni),
        src_mac: Mac([2, 0, v as u8, from as u8, 0, i as u8]),
        dst_mac: router_mac,
        src: v4(address(from, i)),
        dst: v4(address(to, j)),
        protocol: protocol::TCP,
        l4: L4::Ports {
            src: random.next() as u16 | 0x8000,
            dst: port,
            tcp_flags: tcp::SYN,
        },
        hop_limit: 64,
        length: 60,
        dont_fragment: true,
        fragment: None,
        quote: None,
    }
}

/// The time that this thread has had a processor for: what others do on the machine meanwhile does not count
/// (but for what they take of its caches).
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn measure(c: &mut Criterion<ThreadTime>) {
    let fabric = region();
    let mut random = Random(1);
    let mut packets = |stage: fn(Stage) -> bool, ports: std::ops::Range<u64>| -> Vec<Packet> {
        let mut found = Vec::new();
        while found.len() < 1 << 17 {
            let port = ports.start + random.below(ports.end - ports.start);
            let packet = packet(&fabric, &mut random, port as u16);
            let outcome = walk(&fabric, &NoFlows, &packet, NOW, &mut ());
            if stage(outcome.stage()) {
                found.push(packet);
            }
        }
        found
    };
    let delivered = packets(|s| s == Stage::Delivered, 1000..4000);
    let dropped = packets(|s| s == Stage::SecurityGroupEgress, 1..65536);
    println!(
        "{} interfaces, {} delivered and {} dropped keys",
        VPCS * SUBNETS * INTERFACES,
        delivered.len(),
        dropped.len()
    );

    let mut group = c.benchmark_group("walk");
    for (name, packets) in [
        ("first packet, delivered", &delivered),
        ("first packet, dropped", &dropped),
    ] {
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) & (packets.len() - 1);
                black_box(walk(&fabric, &NoFlows, &packets[at], NOW, &mut ()))
            });
        });
    }

    let mut flows = Flows::new(
        Limits {
            ipv4: 1 << 20,
            ipv6: 16,
            per_owner: 1 << 20,
            mappings: 16,
            per_gateway: 16,
            seed: 7,
        },
        NOW,
    );
    let mut established = Vec::new();
    for packet in &delivered {
        let outcome = walk(&fabric, &flows, packet, NOW, &mut ());
        if flows.commit(&outcome.effects, NOW, outcome.hold).is_ok() {
            let mut later = *packet;
            if let L4::Ports { tcp_flags, .. } = &mut later.l4 {
                *tcp_flags = tcp::ACK;
            }
            established.push(later);
        }
    }
    println!("{} tracked connection ends", flows.connections());
    let mut at = 0;
    group.bench_function("tracked, delivered", |b| {
        b.iter(|| {
            at = (at + 1) % established.len();
            black_box(walk(&fabric, &flows, &established[at], NOW, &mut ()))
        });
    });
    let mut at = 0;
    group.bench_function("first packet with live tables, delivered, and its commit", |b| {
        b.iter(|| {
            at = (at + 1) & (delivered.len() - 1);
            let outcome = walk(&fabric, &flows, &delivered[at], NOW, &mut ());
            black_box(flows.commit(&outcome.effects, NOW, outcome.hold))
        });
    });
    group.finish();

    let mut changes = c.benchmark_group("apply");
    changes.bench_function("one interface in a region of 100,000", |b| {
        let mut fabric = fabric.clone();
        let (row, _) = interface(3, 7, 9);
        let mut checks = false;
        b.iter_batched(
            || {
                checks = !checks;
                Delta {
                    changes: vec![Change::Put(
                        NetworkInterface {
                            source_dest_check: checks,
                            ..row.clone()
                        }
                        .into(),
                    )],
                }
            },
            |delta| black_box(fabric.apply(&delta)),
            BatchSize::SmallInput,
        );
    });
    changes.finish();
}

#[allow(missing_docs, reason = "the macro makes a public function")]
mod harness {
    use super::measure;

    criterion::criterion_group! {
        name = benches;
        config = criterion::Criterion::default().with_measurement(super::ThreadTime);
        targets = measure
    }
}

criterion_main!(harness::benches);
