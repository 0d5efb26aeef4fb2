//! Random sequences of commands on groups, interfaces, Elastic IPs and instances, amid subnets, gateways and NAT
//! gateways that come and go: nothing panics and every invariant holds.

use std::net::{IpAddr, Ipv4Addr};

use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::nat_gateway::Connectivity;
use atoll_model::*;
use atoll_net::Family;
use atoll_region::elastic_ip::*;
use atoll_region::instance::attribute::{Change as InstanceChange, ModifyInstanceAttribute};
use atoll_region::instance::launch::*;
use atoll_region::instance::*;
use atoll_region::internet_gateway::*;
use atoll_region::nat_gateway::*;
use atoll_region::network_interface::address::*;
use atoll_region::network_interface::attachment::*;
use atoll_region::network_interface::attribute::{Change, ModifyNetworkInterfaceAttribute};
use atoll_region::network_interface::*;
use atoll_region::security_group::*;
use atoll_region::subnet::*;
use atoll_region::tag::{CreateTags, Taggable};
use atoll_region::tick::Tick;
use atoll_region::vpc::*;
use proptest::prelude::*;

use crate::invariants::pick;
use crate::world::*;

type Step = (u8, u8, u8, u8);

const TYPES: [&str; 5] = ["t3.micro", "t3.small", "t3.large", "m5.large", "no.such"];

/// An address of the subnet, often reserved or taken.
fn address(world: &World, subnet: SubnetId, choice: u8) -> Option<Ipv4Addr> {
    let block = world.region.get::<Subnet>(subnet)?.cidr?;
    match block.nth(u128::from(choice) % 24)? {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}

fn specs(world: &World, a: u8, b: u8, c: u8) -> Vec<RuleSpec> {
    let peer = match b % 3 {
        0 => Peer::Group {
            id: pick::<SecurityGroup>(world, c),
            owner: AccountId::DEFAULT,
            peering: None,
        },
        1 => cidr("10.0.0.0/8", Family::V4).unwrap(),
        _ => cidr("::/0", Family::V6).unwrap(),
    };
    let spec = |port: i32| RuleSpec {
        traffic: traffic(if a % 2 == 0 { "tcp" } else { "udp" }, Some(port), Some(port)).unwrap(),
        peer,
        description: None,
    };
    (0..i32::from(a % 40))
        .map(|p| spec(p + i32::from(c % 4)))
        .collect()
}

fn launch(world: &World, a: u8, b: u8, c: u8) -> RunInstances {
    let subnet = pick::<Subnet>(world, a);
    let new = |associate_public| LaunchInterface {
        device_index: 0,
        delete_on_termination: (c % 5 == 0).then_some(c % 2 == 0),
        interface: LaunchInterfaceKind::New(LaunchNew {
            subnet: Some(subnet),
            secondary_count: u32::from(b % 3),
            associate_public,
            ..LaunchNew::default()
        }),
    };
    let second = |interface| LaunchInterface {
        device_index: 1,
        delete_on_termination: None,
        interface,
    };
    let interfaces = match c % 4 {
        0 => vec![],
        1 => vec![new(Some(b % 2 == 0))],
        2 => vec![
            new(None),
            second(LaunchInterfaceKind::Existing(pick::<NetworkInterface>(world, b))),
        ],
        _ => vec![new(None), second(new(None).interface)],
    };
    let simple = interfaces.is_empty();
    RunInstances {
        instance_type: Some(TYPES[usize::from(b) % TYPES.len()].into()),
        min_count: 1 + u32::from(a % 2),
        max_count: 1 + u32::from(b % 4),
        subnet: (simple && b % 5 != 0).then_some(subnet),
        private_ip: (simple && c % 12 == 0)
            .then(|| address(world, subnet, b))
            .flatten(),
        interfaces,
        user_data: (b % 2 == 0).then(|| b"#!/bin/sh".to_vec()),
        shutdown_behavior: if a % 2 == 0 {
            ShutdownBehavior::Stop
        } else {
            ShutdownBehavior::Terminate
        },
        client_token: (c % 9 == 0).then(|| format!("{}", b % 3)),
        ..RunInstances::new(ImageId::new(1))
    }
}

fn step(world: &mut World, (what, a, b, c): Step) {
    let eni = pick::<NetworkInterface>(world, a);
    let instance = pick::<Instance>(world, a);
    let ids = vec![instance, pick::<Instance>(world, b)];
    let group = pick::<SecurityGroup>(world, a);
    let subnet = pick::<Subnet>(world, a);
    let public = pick::<ElasticIp>(world, b);
    let tags = Tags::new();
    match what % 36 {
        0 => drop(world.run(CreateSecurityGroup {
            name: format!("g{}", b % 8),
            description: "d".into(),
            vpc: (c % 4 != 0).then(|| pick::<Vpc>(world, a)),
            tags,
        })),
        1 => drop(world.run(DeleteSecurityGroup { group: group.into() })),
        2 | 3 => {
            let rules = specs(world, a, b, c);
            let direction = Direction::ALL[usize::from(b) % 2];
            let group = group.into();
            let _ = world.run(AuthorizeSecurityGroup {
                group,
                direction,
                rules,
                tags,
            });
        }
        4 => {
            let rules = specs(world, a, b, c);
            let direction = Direction::ALL[usize::from(b) % 2];
            let (group, ids) = (group.into(), vec![]);
            let _ = world.run(RevokeSecurityGroup {
                group,
                direction,
                rules,
                ids,
            });
        }
        5 => {
            let rule = |g: &SecurityGroup| g.rules.keys().nth(usize::from(b) % g.rules.len().max(1)).copied();
            let rule = world.region.get::<SecurityGroup>(group).and_then(|g| rule(g));
            if let (Some(rule), Some(spec)) = (rule, specs(world, 1, b, c).pop()) {
                let rules = vec![(rule, spec)];
                let _ = world.run(ModifySecurityGroupRules { group, rules });
            }
        }
        6..=8 => {
            let mut new = NewInterface::new(subnet);
            new.primary = (b % 3 == 0).then(|| address(world, subnet, c)).flatten();
            new.secondary_count = u32::from(c % 4);
            new.ipv6_count = (b % 4 == 0).then_some(u32::from(c % 3));
            new.groups = if a % 3 == 0 {
                vec![pick::<SecurityGroup>(world, c)]
            } else {
                vec![]
            };
            let client_token = (c % 7 == 0).then(|| format!("{}", b % 3));
            let _ = world.run(CreateNetworkInterface { new, client_token });
        }
        9 => drop(world.run(DeleteNetworkInterface { id: eni })),
        10..=12 => drop(world.run(AttachNetworkInterface {
            eni,
            instance: pick::<Instance>(world, b),
            device_index: c % 5,
        })),
        13 => {
            let attached = world
                .region
                .get::<NetworkInterface>(eni)
                .and_then(|e| e.attachment.clone());
            if let Some(attachment) = attached.map(|a| a.id) {
                let _ = world.run(DetachNetworkInterface { attachment });
            }
        }
        14 | 15 => {
            let attachment = world
                .region
                .get::<NetworkInterface>(eni)
                .and_then(|e| e.attachment.clone());
            let change = match b % 5 {
                0 => Change::SourceDestCheck(c % 2 == 0),
                1 => Change::Groups(vec![pick::<SecurityGroup>(world, c)]),
                2 => Change::AssociatePublicIpAddress(c % 2 == 0),
                3 => Change::Description("x".repeat(usize::from(c) * 2)),
                _ => Change::DeleteOnTermination {
                    attachment: attachment.map_or(AttachmentId::new(1), |a| a.id),
                    value: c % 2 == 0,
                },
            };
            let _ = world.run(ModifyNetworkInterfaceAttribute { eni, change });
        }
        16 | 17 => {
            let subnet = world
                .region
                .get::<NetworkInterface>(eni)
                .map_or(subnet, |e| e.subnet);
            let addresses: Vec<_> = (b % 2 == 0)
                .then(|| address(world, subnet, c))
                .flatten()
                .into_iter()
                .collect();
            let count = if addresses.is_empty() { u32::from(c % 5) } else { 0 };
            let allow_reassignment = b % 4 == 0;
            let _ = world.run(AssignPrivateIpAddresses {
                eni,
                addresses,
                count,
                allow_reassignment,
            });
        }
        18 => {
            let held = world
                .region
                .get::<NetworkInterface>(eni)
                .map(|e| e.private_addresses.clone());
            let held = held.unwrap_or_default();
            let addresses = held
                .iter()
                .skip(usize::from(c % 3))
                .take(2)
                .map(|a| a.ip)
                .collect();
            let _ = world.run(UnassignPrivateIpAddresses { eni, addresses });
        }
        19 => {
            let addresses = vec![];
            let count = u32::from(c % 4);
            let _ = world.run(AssignIpv6Addresses {
                eni,
                addresses,
                count,
            });
        }
        20 => {
            let held = world
                .region
                .get::<NetworkInterface>(eni)
                .map(|e| e.ipv6_addresses.clone());
            let addresses = held
                .unwrap_or_default()
                .into_iter()
                .take(1 + usize::from(c % 2))
                .collect();
            let _ = world.run(UnassignIpv6Addresses { eni, addresses });
        }
        21 | 22 => {
            let address = (b % 3 == 0).then(|| Ipv4Addr::new(203, 0, 113, c));
            let _ = world.run(AllocateAddress { address, tags });
        }
        23..=25 => {
            let target = if a % 2 == 0 {
                AssociateTarget::Instance(instance)
            } else {
                AssociateTarget::NetworkInterface(eni)
            };
            let held = world.region.get::<NetworkInterface>(eni);
            let last = held.and_then(|e| e.private_addresses.last()).map(|a| a.ip);
            let _ = world.run(AssociateAddress {
                address: AddressRef::Allocation(public),
                target,
                private: last.filter(|_| c % 2 == 0),
                allow_reassociation: c % 3 != 0,
            });
        }
        26 => {
            let association = world.region.get::<ElasticIp>(public).and_then(|e| e.association);
            if let Some(association) = association {
                let association = AssociationRef::Association(association.id);
                let _ = world.run(DisassociateAddress { association });
            }
        }
        27 => drop(world.run(ReleaseAddress {
            address: AddressRef::Allocation(public),
        })),
        28 | 29 => {
            let command = launch(world, a, b, c);
            let _ = world.run(command);
        }
        30 => match b % 4 {
            0 => drop(world.run(StartInstances { ids })),
            1 => drop(world.run(StopInstances { ids })),
            2 => drop(world.run(RebootInstances { ids })),
            _ => drop(world.run(TerminateInstances { ids })),
        },
        31 | 32 => drop(world.run(InstanceObserved {
            id: instance,
            state: InstanceState::ALL[usize::from(b) % InstanceState::ALL.len()],
            user_data_run: Some(UserDataRun::Exited(0)),
            failure: None,
        })),
        33 => {
            let change = match b % 4 {
                0 => InstanceChange::InstanceType(TYPES[usize::from(c) % TYPES.len()].into()),
                1 => InstanceChange::SourceDestCheck(c % 2 == 0),
                2 => InstanceChange::Groups(vec![pick::<SecurityGroup>(world, c)]),
                _ => InstanceChange::DisableApiTermination(c % 2 == 0),
            };
            let _ = world.run(ModifyInstanceAttribute { id: instance, change });
        }
        34 => {
            world.now = world.now.plus_millis(u64::from(a) * 60_000);
            let _ = world.run(Tick);
            let on = [
                Taggable::Row(Key::NetworkInterface(eni)),
                Taggable::Row(Key::Instance(instance)),
                Taggable::Row(Key::ElasticIp(public)),
            ];
            let _ = world.run(CreateTags {
                resources: vec![on[usize::from(b) % 3]],
                tags: Tags::from([(format!("k{c}"), String::new())]),
            });
        }
        _ => around(world, a, b, c),
    }
}

/// What is around them.
fn around(world: &mut World, a: u8, b: u8, c: u8) {
    let (vpc, subnet) = (pick::<Vpc>(world, a), pick::<Subnet>(world, a));
    match b % 8 {
        0 => drop(world.run(DeleteSubnet { subnet })),
        1 => drop(world.run(DeleteVpc { vpc })),
        2 => drop(world.run(CreateDefaultVpc)),
        3 => {
            let gateway = pick::<InternetGateway>(world, c);
            let _ = world.run(DetachInternetGateway { gateway, vpc });
        }
        4 => {
            let _ = world.run(ModifySubnetAttribute {
                subnet,
                attribute: SubnetAttribute::MapPublicIpOnLaunch(c % 2 == 0),
            });
        }
        5 | 6 => {
            let _ = world.run(CreateNatGateway {
                subnet,
                connectivity: Connectivity::Public,
                allocation: Some(pick::<ElasticIp>(world, c)),
                private_ip: None,
                secondary_allocations: vec![],
                secondary_private_ips: vec![],
                secondary_private_ip_count: None,
                client_token: None,
                tags: Tags::new(),
            });
        }
        _ => {
            let gateway = pick::<NatGateway>(world, a);
            let _ = world.run(DeleteNatGateway { gateway });
            let _ = world.run(NatGatewayGone { gateway });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_workloads_keep_every_invariant(steps in prop::collection::vec(any::<Step>(), 1..160)) {
        let mut world = World::new();
        let vpc = world.vpc6("10.64.0.0/16");
        world.subnet6(vpc, "10.64.0.0/24", 0);
        world.subnet6(vpc, "10.64.1.0/28", 1);
        world.gateway(vpc);
        let other = world.vpc("10.64.0.0/16");
        world.subnet(other, "10.64.0.0/24");
        for one in steps {
            step(&mut world, one);
        }
    }
}
