//! Random sequences of commands: whatever is asked in whatever order, nothing panics and every invariant holds.

use std::net::Ipv4Addr;

use atoll_model::nat_gateway::Connectivity;
use atoll_model::route_table::AssociationTarget;
use atoll_model::*;
use atoll_net::Prefix;
use atoll_region::Noun;
use atoll_region::egress_only_gateway::*;
use atoll_region::elastic_ip::*;
use atoll_region::instance::launch::RunInstances;
use atoll_region::instance::*;
use atoll_region::internet_gateway::*;
use atoll_region::nat_gateway::*;
use atoll_region::network_acl::*;
use atoll_region::network_interface::address::*;
use atoll_region::network_interface::attachment::*;
use atoll_region::network_interface::*;
use atoll_region::route::*;
use atoll_region::route_table::*;
use atoll_region::security_group::*;
use atoll_region::subnet::*;
use atoll_region::tick::Tick;
use atoll_region::vpc::*;
use atoll_region::vpc_cidr::*;
use proptest::prelude::*;

use crate::world::*;

/// How many kinds of steps there are.
const KINDS: u8 = 55;

/// What to do, and three numbers that choose among what is there.
type Step = (u8, u8, u8, u8);

/// The `choice`-th row of a noun; an id that nothing has when there is none or the choice is the odd one out.
pub fn pick<N: Noun>(world: &World, choice: u8) -> N::Id
where
    N::Id: atoll_model::id::ResourceId,
{
    let count = world.region.all::<N>().count();
    let nowhere = || atoll_model::id::ResourceId::from_digits(atoll_model::id::Digits::long(7));
    if count == 0 || choice == 255 {
        return nowhere();
    }
    let place = usize::from(choice) % count;
    world
        .region
        .all::<N>()
        .nth(place)
        .map_or_else(nowhere, |row| row.id())
}

/// Blocks that often collide, cover each other and lie outside.
fn block(choice: u8) -> Prefix {
    let (second, third) = (choice >> 6, (choice >> 3) & 3);
    let length = [16, 20, 24, 28, 17, 15, 29, 24][usize::from(choice & 7)];
    let first = if choice % 31 == 0 { 100 } else { 10 };
    Prefix::containing(Ipv4Addr::new(first, 64 + second, third << 4, 0).into(), length)
}

fn association<N: Noun, I: Copy>(world: &World, choice: u8, of: impl Fn(&N) -> Vec<I>) -> Option<I> {
    let all: Vec<I> = world.region.all::<N>().flat_map(|row| of(row)).collect();
    all.get(usize::from(choice) % all.len().max(1)).copied()
}

fn target(world: &World, kind: u8, choice: u8) -> NewTarget {
    match kind % 6 {
        0 => NewTarget::Local,
        1 => NewTarget::InternetGateway(pick::<InternetGateway>(world, choice)),
        2 => NewTarget::EgressOnlyGateway(pick::<EgressOnlyInternetGateway>(world, choice)),
        3 => NewTarget::NatGateway(pick::<NatGateway>(world, choice)),
        4 => NewTarget::NetworkInterface(pick::<NetworkInterface>(world, choice)),
        _ => NewTarget::Instance(pick::<Instance>(world, choice)),
    }
}

fn step(world: &mut World, (what, a, b, c): Step) {
    let vpc = pick::<Vpc>(world, a);
    let subnet = pick::<Subnet>(world, a);
    let table = pick::<RouteTable>(world, a);
    let destination = match c % 4 {
        0 => Prefix::ALL_V4,
        1 => Prefix::ALL_V6,
        _ => block(c),
    };
    let tags = Tags::new();
    let client_token = (c % 5 == 0).then(|| format!("{}", c % 7));
    // Whatever comes of it: World::run holds the invariants.
    match what % KINDS {
        0 => {
            let new = CreateVpc {
                amazon_provided_ipv6: b % 2 == 0,
                cidr: block(a),
                ..create_vpc("10.0.0.0/16")
            };
            let _ = world.run(new);
        }
        1 => drop(world.run(DeleteVpc { vpc })),
        2 => drop(world.run(CreateDefaultVpc)),
        3 => {
            let block = if b % 4 == 0 {
                NewBlock::AmazonProvidedIpv6
            } else {
                NewBlock::Ipv4(block(b))
            };
            let _ = world.run(AssociateVpcCidrBlock { vpc, block });
        }
        4 => {
            let all = |vpc: &Vpc| vpc.cidrs.iter().chain(&vpc.ipv6_cidrs).map(|c| c.id).collect();
            if let Some(association) = association(world, b, all) {
                let _ = world.run(DisassociateVpcCidrBlock { association });
            }
        }
        5..=8 => {
            let ipv6 = world
                .region
                .get::<Vpc>(vpc)
                .and_then(|vpc| vpc.ipv6_cidrs.first())
                .and_then(|c| {
                    c.block
                        .subnet(64, u128::from(c.id.to_string().len() as u8 ^ b) % 256)
                });
            let native = c % 8 == 0;
            let new = CreateSubnet {
                vpc,
                zone: None,
                cidr: (!native).then(|| block(b)),
                ipv6_cidr: ipv6.filter(|_| native || c % 2 == 0),
                ipv6_native: native,
                tags,
            };
            let _ = world.run(new);
        }
        9 => drop(world.run(DeleteSubnet { subnet })),
        10 => {
            let ipv6_cidr = world
                .region
                .all::<Vpc>()
                .find_map(|vpc| vpc.ipv6_cidrs.first())
                .and_then(|v| v.block.subnet(64, u128::from(b)));
            if let Some(ipv6_cidr) = ipv6_cidr {
                let _ = world.run(AssociateSubnetCidrBlock { subnet, ipv6_cidr });
            }
        }
        11 => {
            let all = |subnet: &Subnet| subnet.ipv6_cidrs.iter().map(|c| c.id).collect();
            if let Some(association) = association(world, b, all) {
                let _ = world.run(DisassociateSubnetCidrBlock { association });
            }
        }
        12 => {
            let attribute = if b % 2 == 0 {
                SubnetAttribute::AssignIpv6AddressOnCreation(c % 2 == 0)
            } else {
                SubnetAttribute::MapPublicIpOnLaunch(c % 2 == 0)
            };
            let _ = world.run(ModifySubnetAttribute { subnet, attribute });
        }
        13 => drop(world.run(CreateRouteTable {
            vpc,
            client_token,
            tags,
        })),
        14 => drop(world.run(DeleteRouteTable { table })),
        15 | 16 => {
            let target = if c % 4 == 0 {
                NewAssociation::InternetGateway(pick::<InternetGateway>(world, b))
            } else {
                NewAssociation::Subnet(pick::<Subnet>(world, b))
            };
            let _ = world.run(AssociateRouteTable { table, target });
        }
        17 | 18 => {
            let all = |table: &RouteTable| table.associations.keys().copied().collect();
            if let Some(association) = association(world, b, all) {
                if c % 2 == 0 {
                    let _ = world.run(DisassociateRouteTable { association });
                } else {
                    let replaced = world.run(ReplaceRouteTableAssociation { association, table });
                    if let Ok((id, AssociationTarget::Main)) = replaced {
                        assert!(world.row::<RouteTable>(table).associations.contains_key(&id));
                    }
                }
            }
        }
        19 => {
            let target = target(world, b, c);
            let _ = world.run(CreateRoute {
                table,
                destination,
                target,
            });
        }
        20 => {
            let target = target(world, b, c);
            let of_table: Vec<Prefix> = world
                .region
                .get::<RouteTable>(table)
                .map(|t| t.routes.keys().copied().collect())
                .unwrap_or_default();
            let destination = of_table
                .get(usize::from(c) % of_table.len().max(1))
                .copied()
                .unwrap_or(destination);
            let _ = world.run(ReplaceRoute {
                table,
                destination,
                target,
            });
        }
        21 => drop(world.run(DeleteRoute { table, destination })),
        22 => drop(world.run(CreateInternetGateway { tags })),
        23 | 24 => {
            let gateway = pick::<InternetGateway>(world, b);
            if c % 3 == 0 {
                let _ = world.run(DetachInternetGateway { gateway, vpc });
            } else {
                let _ = world.run(AttachInternetGateway { gateway, vpc });
            }
        }
        25 => drop(world.run(DeleteInternetGateway {
            gateway: pick::<InternetGateway>(world, b),
        })),
        26 => {
            if c % 2 == 0 {
                let _ = world.run(CreateEgressOnlyInternetGateway {
                    vpc,
                    client_token,
                    tags,
                });
            } else {
                let gateway = pick::<EgressOnlyInternetGateway>(world, b);
                let _ = world.run(DeleteEgressOnlyInternetGateway { gateway });
            }
        }
        27 => {
            let public = b % 2 == 0;
            let new = CreateNatGateway {
                subnet,
                connectivity: if public {
                    Connectivity::Public
                } else {
                    Connectivity::Private
                },
                allocation: public.then(|| pick::<ElasticIp>(world, b)),
                private_ip: None,
                secondary_allocations: Vec::new(),
                secondary_private_ips: Vec::new(),
                secondary_private_ip_count: (!public).then_some(usize::from(c % 10)),
                client_token,
                tags,
            };
            let _ = world.run(new);
        }
        28 => {
            let gateway = pick::<NatGateway>(world, a);
            match b % 3 {
                0 => drop(world.run(NatGatewayReady { gateway })),
                1 => drop(world.run(DeleteNatGateway { gateway })),
                _ => drop(world.run(NatGatewayGone { gateway })),
            }
        }
        29 => {
            let gateway = pick::<NatGateway>(world, a);
            let _ = world.run(NatGatewayReady { gateway });
        }
        30 => {
            world.now = world.now.plus_millis(u64::from(a) * 60_000);
            let _ = world.run(Tick);
        }
        31 => {
            if c % 2 == 0 {
                let _ = world.run(CreateNetworkAcl {
                    vpc,
                    client_token,
                    tags,
                });
            } else {
                let _ = world.run(DeleteNetworkAcl {
                    acl: pick::<NetworkAcl>(world, b),
                });
            }
        }
        32 => {
            let acl = pick::<NetworkAcl>(world, a);
            let all = |acl: &NetworkAcl| acl.associations.keys().copied().collect();
            if let Some(association) = association(world, b, all) {
                let _ = world.run(ReplaceNetworkAclAssociation { association, acl });
            }
        }
        33 | 34 => {
            let new = NewInterface {
                secondary_count: u32::from(b % 4),
                ipv6_count: (c % 3 == 0).then(|| u32::from(b % 3)),
                ..NewInterface::new(subnet)
            };
            let _ = world.run(CreateNetworkInterface { new, client_token });
        }
        35 => drop(world.run(DeleteNetworkInterface {
            id: pick::<NetworkInterface>(world, a),
        })),
        36..=38 => {
            let launch = RunInstances {
                subnet: Some(subnet),
                max_count: u32::from(b % 3) + 1,
                instance_type: Some("m5.large".into()),
                ..RunInstances::new(ImageId::new(1))
            };
            let _ = world.run(launch);
        }
        39..=41 => {
            let id = pick::<Instance>(world, a);
            let states = [
                InstanceState::Running,
                InstanceState::Running,
                InstanceState::Stopped,
                InstanceState::Terminated,
            ];
            let state = states[usize::from(b % 4)];
            let failure = (c % 8 == 0).then(|| "it broke".to_owned());
            let observed = InstanceObserved {
                id,
                state,
                user_data_run: None,
                failure,
            };
            let _ = world.run(observed);
        }
        42 | 43 => {
            let ids = vec![pick::<Instance>(world, a)];
            match b % 4 {
                0 => drop(world.run(StartInstances { ids })),
                1 => drop(world.run(StopInstances { ids })),
                2 => drop(world.run(RebootInstances { ids })),
                _ => drop(world.run(TerminateInstances { ids })),
            }
        }
        44 | 45 => {
            // Mostly one that is free, and in the instance's zone.
            let instance = pick::<Instance>(world, b);
            let zone = world.region.get::<Instance>(instance).map(|i| i.zone);
            let near = |eni: &NetworkInterface| {
                let near = eni.attachment.is_none() && !eni.requester_managed && Some(eni.zone) == zone;
                near.then_some(eni.id).into_iter().collect()
            };
            let any = pick::<NetworkInterface>(world, a);
            let eni = association(world, a, near).filter(|_| c % 8 != 0).unwrap_or(any);
            let attach = AttachNetworkInterface {
                eni,
                instance,
                device_index: c % 3,
            };
            let _ = world.run(attach);
        }
        46 => {
            let some = c % 4;
            let all = |eni: &NetworkInterface| {
                let attachments = eni.attachment.iter().filter(|a| a.device_index > 0 || some == 0);
                attachments.map(|a| a.id).collect()
            };
            if let Some(attachment) = association(world, a, all) {
                let _ = world.run(DetachNetworkInterface { attachment });
            }
        }
        47 => {
            let eni = pick::<NetworkInterface>(world, a);
            let addresses: Vec<Ipv4Addr> = world
                .region
                .get::<NetworkInterface>(pick::<NetworkInterface>(world, b))
                .map(|eni| eni.private_addresses.iter().map(|a| a.ip).collect())
                .unwrap_or_default();
            if c % 2 == 0 {
                let assign = AssignPrivateIpAddresses {
                    eni,
                    addresses: if c % 4 == 0 { addresses } else { Vec::new() },
                    count: u32::from(c % 3),
                    allow_reassignment: b % 2 == 0,
                };
                let _ = world.run(assign);
            } else {
                let _ = world.run(UnassignPrivateIpAddresses { eni, addresses });
            }
        }
        48 => drop(world.run(AllocateAddress::default())),
        49 | 50 => {
            let target = if c % 2 == 0 {
                AssociateTarget::Instance(pick::<Instance>(world, b))
            } else {
                AssociateTarget::NetworkInterface(pick::<NetworkInterface>(world, b))
            };
            let associate = AssociateAddress {
                address: AddressRef::Allocation(pick::<ElasticIp>(world, a)),
                target,
                private: None,
                allow_reassociation: c % 3 == 0,
            };
            let _ = world.run(associate);
        }
        51 => {
            let all = |eip: &ElasticIp| eip.association.iter().map(|a| a.id).collect();
            if let Some(id) = association(world, a, all) {
                let association = AssociationRef::Association(id);
                let _ = world.run(DisassociateAddress { association });
            }
        }
        52 => {
            let address = AddressRef::Allocation(pick::<ElasticIp>(world, a));
            let _ = world.run(ReleaseAddress { address });
        }
        53 => {
            let new = CreateSecurityGroup {
                name: format!("group-{}", b % 8),
                description: "a group".into(),
                vpc: Some(vpc),
                tags,
            };
            let _ = world.run(new);
        }
        _ => {
            let group = pick::<SecurityGroup>(world, a);
            let _ = world.run(DeleteSecurityGroup { group: group.into() });
        }
    }
}

/// Something to begin with, so that most steps find what they are about.
fn ground() -> World {
    let mut world = World::new();
    let vpc = world.vpc6("10.64.0.0/16");
    world.subnet6(vpc, "10.64.0.0/24", 0);
    world.gateway(vpc);
    let subnet = world.subnet(vpc, "10.64.16.0/20");
    world.instance(subnet);
    world
}

/// The steps are worth taking: over a long walk each kind changes something now and then.
#[test]
fn every_kind_of_step_succeeds_sometimes() {
    let mut succeeded = [false; KINDS as usize];
    for seed in 0..40u64 {
        let mut world = ground();
        let mut state = seed;
        for _ in 0..150 {
            // Knuth's MMIX generator.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let [what, a, b, c, ..] = state.to_be_bytes();
            let before = world.region.revision();
            step(&mut world, (what, a, b, c));
            succeeded[usize::from(what % KINDS)] |= world.region.revision() != before;
        }
    }
    let never: Vec<usize> = (0..succeeded.len()).filter(|kind| !succeeded[*kind]).collect();
    assert_eq!(never, [] as [usize; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_commands_keep_every_invariant(steps in prop::collection::vec(any::<Step>(), 1..120)) {
        let mut world = ground();
        for one in steps {
            step(&mut world, one);
        }
    }
}
