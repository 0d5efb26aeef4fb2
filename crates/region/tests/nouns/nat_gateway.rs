use atoll_model::nat_gateway::Connectivity;
use atoll_model::{
    AllocationId, ElasticIp, NatGateway, NatGatewayState, NetworkInterface, SubnetId, Timestamp, VpcId,
};
use atoll_region::nat_gateway::*;
use atoll_region::route::{CreateRoute, NewTarget, RouteState, route_state};
use atoll_region::subnet::DeleteSubnet;
use atoll_region::tick::{LISTED_MILLIS, Tick, next_due};

use crate::world::*;

fn public(subnet: SubnetId, allocation: AllocationId) -> CreateNatGateway {
    CreateNatGateway {
        connectivity: Connectivity::Public,
        allocation: Some(allocation),
        ..private(subnet)
    }
}

fn private(subnet: SubnetId) -> CreateNatGateway {
    CreateNatGateway {
        subnet,
        connectivity: Connectivity::Private,
        allocation: None,
        private_ip: None,
        secondary_allocations: Vec::new(),
        secondary_private_ips: Vec::new(),
        secondary_private_ip_count: None,
        client_token: None,
        tags: Default::default(),
    }
}

fn ground() -> (World, VpcId, SubnetId, AllocationId) {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let allocation = world.elastic_ip();
    (world, vpc, subnet, allocation)
}

#[test]
fn a_public_gateway_lives_and_is_forgotten() {
    let (mut world, vpc, subnet, allocation) = ground();
    world.gateway(vpc);
    let gateway = world.run(public(subnet, allocation)).unwrap();
    let row = world.row::<NatGateway>(gateway).clone();
    assert_eq!(row.state, NatGatewayState::Pending);
    let eni = world.row::<NetworkInterface>(row.eni.unwrap()).clone();
    // semantics 83: no security group.
    assert!(eni.requester_managed && !eni.source_dest_check && eni.groups.is_empty());
    let association = world.row::<ElasticIp>(allocation).association.unwrap();
    assert_eq!(Some(association.id), row.addresses[0].association);
    assert_eq!(
        code(world.run(public(subnet, allocation))),
        "Resource.AlreadyAssociated"
    );

    let table = world.row::<atoll_model::Vpc>(vpc).main_route_table;
    let destination = prefix("0.0.0.0/0");
    let target = NewTarget::NatGateway(gateway);
    world
        .run(CreateRoute {
            table,
            destination,
            target,
        })
        .unwrap();
    let state = |world: &World| {
        let route = world.row::<atoll_model::RouteTable>(table).routes[&destination];
        route_state(&world.region, vpc, &route)
    };
    assert_eq!(state(&world), RouteState::Blackhole);
    assert_eq!(
        world.run(NatGatewayReady { gateway }).unwrap(),
        NatGatewayState::Available
    );
    assert_eq!(state(&world), RouteState::Active);

    assert_eq!(code(world.run(DeleteSubnet { subnet })), "DependencyViolation");
    world.run(DeleteNatGateway { gateway }).unwrap();
    assert_eq!(
        world.run(NatGatewayReady { gateway }).unwrap(),
        NatGatewayState::Deleting
    );
    assert!(world.row::<ElasticIp>(allocation).association.is_some());
    assert_eq!(
        world.run(NatGatewayGone { gateway }).unwrap(),
        NatGatewayState::Deleted
    );
    assert!(world.row::<ElasticIp>(allocation).association.is_none());
    assert_eq!(state(&world), RouteState::Blackhole);
    world.run(DeleteNatGateway { gateway }).unwrap();
    // The VPC is free of it although it is still listed.
    world.run(DeleteSubnet { subnet }).unwrap();

    let due = next_due(&world.region).unwrap();
    assert_eq!(due, world.now.plus_millis(LISTED_MILLIS));
    world.now = Timestamp(due.0 - 1);
    assert_eq!(world.run(Tick).unwrap(), 0);
    world.now = due;
    assert_eq!(world.run(Tick).unwrap(), 1);
    assert_eq!(
        code(world.run(DeleteNatGateway { gateway })),
        "NatGatewayNotFound"
    );
    assert_eq!(next_due(&world.region), None);
}

#[test]
fn a_public_gateway_without_an_internet_gateway_fails() {
    let (mut world, vpc, subnet, allocation) = ground();
    let gateway = world.run(public(subnet, allocation)).unwrap();
    assert_eq!(
        world.run(NatGatewayReady { gateway }).unwrap(),
        NatGatewayState::Failed
    );
    let row = world.row::<NatGateway>(gateway).clone();
    let (code, message) = row.failure.unwrap();
    assert_eq!(code, "Gateway.NotAttached");
    assert_eq!(message, format!("Network {vpc} has no Internet gateway attached"));
    assert!(world.row::<ElasticIp>(allocation).association.is_none());
    world.run(DeleteSubnet { subnet }).unwrap();
}

#[test]
fn a_private_gateway_needs_none() {
    let (mut world, _, subnet, _) = ground();
    let new = CreateNatGateway {
        private_ip: Some("10.0.0.77".parse().unwrap()),
        secondary_private_ip_count: Some(3),
        client_token: Some("t".into()),
        ..private(subnet)
    };
    let gateway = world.run(new.clone()).unwrap();
    assert_eq!(world.run(new.clone()).unwrap(), gateway);
    let other = CreateNatGateway {
        secondary_private_ip_count: None,
        ..new
    };
    assert_eq!(code(world.run(other)), "IdempotentParameterMismatch");
    assert_eq!(
        world.run(NatGatewayReady { gateway }).unwrap(),
        NatGatewayState::Available
    );
    let addresses = &world.row::<NatGateway>(gateway).addresses;
    assert_eq!(addresses.len(), 4);
    assert!(addresses[0].primary && addresses[0].private.to_string() == "10.0.0.77");
}

#[test]
fn secondary_addresses_go_with_their_elastic_ips() {
    let (mut world, vpc, subnet, allocation) = ground();
    world.gateway(vpc);
    let second = world.elastic_ip();
    let new = CreateNatGateway {
        secondary_allocations: vec![second],
        secondary_private_ips: vec!["10.0.0.40".parse().unwrap()],
        ..public(subnet, allocation)
    };
    let gateway = world.run(new).unwrap();
    let addresses = world.row::<NatGateway>(gateway).addresses.clone();
    assert!(addresses[0].primary && !addresses[1].primary);
    assert_eq!(addresses[1].private.to_string(), "10.0.0.40");
    assert_eq!(addresses[1].allocation, Some(second));
    assert_eq!(addresses[0].allocation, Some(allocation));
}

#[test]
fn parameters_that_do_not_go_together_are_refused() {
    let (mut world, _, subnet, allocation) = ground();
    let cases = [
        (
            CreateNatGateway {
                connectivity: Connectivity::Public,
                ..private(subnet)
            },
            "MissingParameter",
        ),
        (
            CreateNatGateway {
                allocation: Some(allocation),
                ..private(subnet)
            },
            "InvalidParameterCombination",
        ),
        (
            CreateNatGateway {
                secondary_private_ip_count: Some(1),
                ..public(subnet, allocation)
            },
            "InvalidParameterCombination",
        ),
        (
            CreateNatGateway {
                secondary_private_ips: vec!["10.0.0.40".parse().unwrap()],
                ..public(subnet, allocation)
            },
            "InvalidParameterCombination",
        ),
        (
            // semantics 80: eight addresses at most
            CreateNatGateway {
                secondary_private_ip_count: Some(8),
                ..private(subnet)
            },
            "NatGatewayLimitExceeded",
        ),
        (
            // semantics 54
            CreateNatGateway {
                private_ip: Some("10.0.0.1".parse().unwrap()),
                ..private(subnet)
            },
            "InvalidParameterValue",
        ),
    ];
    for (new, expected) in cases {
        assert_eq!(code(world.run(new.clone())), expected, "{new:?}");
    }
}
