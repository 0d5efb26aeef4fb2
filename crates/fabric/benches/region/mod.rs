//! A region to measure in: VPCs with 1,000 security-group rules on each interface and each way (half of them group
//! references), 40 ACL rules and 100 routes.
#![allow(dead_code, missing_docs, reason = "each bench uses a part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::flows::FlowKey;
use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{Ahead, Fabric, Flows, L4, Limits, NoFlows, Packet, Port, Stage, walk};
use atoll_model::route_table::AssociationTarget;
use atoll_model::*;
use atoll_net::{Mac, PortRange, Prefix};

#[path = "../../tests/rows/mod.rs"]
mod rows;

pub const NOW: Timestamp = Timestamp(1_000_000);

/// How many VPCs, subnets in each, interfaces in each of those.
#[derive(Clone, Copy)]
pub struct Size {
    pub vpcs: u64,
    pub subnets: u64,
    pub interfaces: u64,
}

/// A small generator: the bench's keys must not be foreseeable to caches, nothing more (Vigna's splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
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
    10 << 24 | (subnet as u32) << 8 | (interface as u32 + 4)
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
                        block: block(address((group * 100 + i / 2) % 200, 0), 24),
                    }
                } else {
                    // Mostly groups that few are in; the members' own are among them.
                    rows::group_peer(match i {
                        1 => id(group),
                        i => id(1000 + group * 200 + i),
                    })
                };
                let from = 1000 + (group * 200 + i) as u16;
                let to = from + 2000;
                let ports = PortRange { from, to };
                let rule = rows::rule(Direction::Ingress, Traffic::Tcp { ports }, peer);
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
                rules,
                ..rows::security_group(id(group), VpcId::new(bits(1, vpc, 0, 0)))
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
        is_default: true,
        ingress: entries.clone(),
        egress: entries,
        ..rows::network_acl(
            NetworkAclId::new(bits(2, vpc, 0, 0)),
            VpcId::new(bits(1, vpc, 0, 0)),
        )
    }
}

fn table(vpc: &Vpc, number: u64) -> RouteTable {
    let gateway = InternetGatewayId::new(bits(9, number, 0, 0));
    let mut table = rows::route_table(vpc.main_route_table, vpc);
    let route = rows::route(RouteTarget::InternetGateway(gateway));
    let blocks = (0..99u32).map(|i| block(20 << 24 | i << 16, 16 + (i % 8) as u8));
    table.routes.extend(blocks.map(|block| (block, route)));
    let association = RouteTableAssociationId::new(bits(3, number, 0, 1));
    table.associations.insert(association, AssociationTarget::Main);
    table
}

fn vpc(number: u64) -> Vpc {
    Vpc {
        cidrs: vec![rows::vpc_block(number, block(10 << 24, 16))],
        ..rows::vpc(
            VpcId::new(bits(1, number, 0, 0)),
            RouteTableId::new(bits(3, number, 0, 0)),
            NetworkAclId::new(bits(2, number, 0, 0)),
            SecurityGroupId::new(bits(4, number, 0, 0)),
        )
    }
}

fn subnet(vpc: u64, number: u64) -> Subnet {
    Subnet {
        cidr: Some(block(address(number, 0), 24)),
        ..rows::subnet(
            SubnetId::new(bits(7, vpc, number, 0)),
            VpcId::new(bits(1, vpc, 0, 0)),
        )
    }
}

pub fn interface(vpc: u64, subnet: u64, number: u64) -> (NetworkInterface, Instance) {
    let id = bits(8, vpc, subnet, number);
    let instance = InstanceId::new(id);
    let (vpc_id, subnet_id) = (
        VpcId::new(bits(1, vpc, 0, 0)),
        SubnetId::new(bits(7, vpc, subnet, 0)),
    );
    let interface = NetworkInterface {
        mac: Mac([2, 0, vpc as u8, subnet as u8, 0, number as u8]),
        private_addresses: vec![rows::private(Ipv4Addr::from(address(subnet, number)))],
        groups: (0..5).map(|i| SecurityGroupId::new(bits(4, vpc, 0, i))).collect(),
        attachment: Some(rows::attachment(AttachmentId::new(id), instance)),
        ..rows::network_interface(EniId::new(id), vpc_id, subnet_id)
    };
    (interface, rows::instance(instance, vpc_id, subnet_id))
}

/// All rows of a VPC, as they travel: at most 128 at once.
pub fn deltas(size: Size, v: u64) -> Vec<Delta> {
    let vpc = vpc(v);
    let table = table(&vpc, v);
    let mut rows: Vec<Row> = vec![vpc.into(), acl(v).into(), table.into()];
    rows.extend(groups(v).into_iter().map(Row::from));
    for s in 0..size.subnets {
        rows.push(subnet(v, s).into());
        for i in 0..size.interfaces {
            let (interface, instance) = interface(v, s, i);
            rows.extend([Row::from(interface), Row::from(instance)]);
        }
    }
    let delta = |rows: &[Row]| Delta {
        changes: rows.iter().cloned().map(Change::Put).collect(),
    };
    rows.chunks(128).map(delta).collect()
}

pub fn region(size: Size) -> Fabric {
    let mut fabric = Fabric::new();
    for v in 0..size.vpcs {
        for delta in deltas(size, v) {
            fabric.apply(&delta);
        }
    }
    fabric
}

/// The network ACL of a VPC with one rule more, about what nobody sends.
pub fn changed_acl(v: u64, number: u16) -> Delta {
    let mut acl = acl(v);
    let entry = AclEntry {
        action: RuleAction::Deny,
        cidr: block(192 << 24 | 2 << 8, 24),
        traffic: Traffic::All,
    };
    acl.ingress.insert(number, entry);
    Delta {
        changes: vec![Change::Put(acl.into())],
    }
}

/// A group of a VPC with its first rule about other ports.
pub fn changed_group(v: u64, ports: PortRange) -> Delta {
    let mut group = groups(v).swap_remove(0);
    if let Some(rule) = group.rules.values_mut().next() {
        rule.traffic = Traffic::Tcp { ports };
    }
    Delta {
        changes: vec![Change::Put(group.into())],
    }
}

/// A SYN from a random interface to a random one of another subnet of its VPC.
pub fn packet(fabric: &Fabric, size: Size, random: &mut Random, port: u16) -> Packet {
    let (v, from, to) = (
        random.below(size.vpcs),
        random.below(size.subnets),
        random.below(size.subnets - 1),
    );
    let to = if to >= from { to + 1 } else { to };
    let (i, j) = (random.below(size.interfaces), random.below(size.interfaces));
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

/// What is known of such a packet before it is read.
pub fn ahead(packet: &Packet) -> Option<Ahead> {
    let (Port::Eni(sender), L4::Ports { src, dst, .. }) = (packet.ingress, packet.l4) else {
        return None;
    };
    let connection = FlowKey {
        local: packet.src,
        remote: packet.dst,
        protocol: packet.protocol,
        local_port: src,
        remote_port: dst,
    };
    Some(Ahead { sender, connection })
}

/// For each of so many places the one that comes after it in one round over all of them (Sattolo's shuffle).
pub fn round(random: &mut Random, places: usize) -> Vec<u32> {
    let mut next: Vec<u32> = (0..places as u32).collect();
    for last in (1..places).rev() {
        next.swap(last, random.below(last as u64) as usize);
    }
    next
}

/// So many packets of random ports of a range whose walk ends at a stage.
pub fn packets(
    fabric: &Fabric,
    size: Size,
    random: &mut Random,
    ports: std::ops::Range<u64>,
    (stage, count): (Stage, usize),
) -> Vec<Packet> {
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let port = ports.start + random.below(ports.end - ports.start);
        let packet = packet(fabric, size, random, port as u16);
        if walk(fabric, &NoFlows, &packet, NOW, &mut ()).stage() == stage {
            found.push(packet);
        }
    }
    found
}

/// Tables of flows with room for all of theirs.
pub fn tables() -> Flows {
    Flows::new(
        Limits {
            ipv4: 1 << 20,
            ipv6: 16,
            per_owner: 1 << 20,
            mappings: 16,
            per_gateway: 16,
            seed: 7,
        },
        NOW,
    )
}

/// The packets that follow those once their connections are tracked.
pub fn establish(fabric: &Fabric, flows: &mut Flows, packets: &[Packet]) -> Vec<Packet> {
    let mut established = Vec::new();
    for packet in packets {
        let outcome = walk(fabric, flows, packet, NOW, &mut ());
        if flows.commit(&outcome.effects, NOW, outcome.hold).is_ok() {
            let mut later = *packet;
            if let L4::Ports { tcp_flags, .. } = &mut later.l4 {
                *tcp_flags = tcp::ACK;
            }
            established.push(later);
        }
    }
    established
}
