use std::collections::BTreeSet;
use std::net::IpAddr;

use atoll_model::subnet::HostnameType;
use atoll_model::{RouteTable, Subnet, Vpc};
use atoll_region::route_table::{self, AssociateRouteTable, CreateRouteTable, NewAssociation};
use atoll_region::subnet::*;
use atoll_region::{Transaction, network_acl};
use proptest::prelude::*;

use crate::world::*;

#[test]
fn a_subnet_lies_in_its_vpc_and_overlaps_no_other() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    world.subnet(vpc, "10.0.1.0/24");
    for (cidr, expected) in [
        ("10.1.0.0/24", "InvalidSubnet.Range"),
        ("10.0.0.0/15", "InvalidSubnet.Range"),
        ("10.0.2.0/29", "InvalidSubnet.Range"),
        ("10.0.1.128/25", "InvalidSubnet.Conflict"),
        ("10.0.0.0/23", "InvalidSubnet.Conflict"),
    ] {
        assert_eq!(code(world.run(create_subnet(vpc, cidr))), expected, "{cidr}");
    }
    let error = world.run(create_subnet(vpc, "10.0.1.0/24")).unwrap_err();
    assert_eq!(
        error.message,
        "The CIDR '10.0.1.0/24' conflicts with another subnet"
    );
}

#[test]
fn a_zone_of_another_region_is_refused() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let zone = Some("eu-west-1a".parse().unwrap());
    let new = CreateSubnet {
        zone,
        ..create_subnet(vpc, "10.0.0.0/24")
    };
    assert_eq!(code(world.run(new)), "InvalidParameterValue");
}

#[test]
fn a_subnet_falls_back_to_the_main_table_and_the_default_acl() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let id = world.subnet(vpc, "10.0.0.0/24");
    let row = world.row::<Vpc>(vpc).clone();
    let subnet = world.row::<Subnet>(id).clone();
    // semantics 9, 26
    assert_eq!(
        route_table::of_subnet(&world.region, &subnet).unwrap().id,
        row.main_route_table
    );
    assert_eq!(
        network_acl::of_subnet(&world.region, id).unwrap().id,
        row.default_network_acl
    );
    let table = world
        .run(CreateRouteTable {
            vpc,
            client_token: None,
            tags: Default::default(),
        })
        .unwrap();
    let target = NewAssociation::Subnet(id);
    world.run(AssociateRouteTable { table, target }).unwrap();
    assert_eq!(route_table::of_subnet(&world.region, &subnet).unwrap().id, table);
    // Its associations go with it.
    world.run(DeleteSubnet { subnet: id }).unwrap();
    assert!(world.row::<RouteTable>(table).associations.is_empty());
}

#[test]
fn an_interface_keeps_its_subnet() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    world.eni(subnet, "10.0.0.9");
    let error = world.run(DeleteSubnet { subnet }).unwrap_err();
    assert_eq!(
        error.message,
        format!("The subnet '{subnet}' has dependencies and cannot be deleted.")
    );
}

#[test]
fn ipv6_blocks_come_and_go() {
    let mut world = World::new();
    let vpc = world.vpc6("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let vpc_block = world.row::<Vpc>(vpc).ipv6_cidrs[0].block;
    let on = SubnetAttribute::AssignIpv6AddressOnCreation(true);
    let modify = |attribute| ModifySubnetAttribute { subnet, attribute };
    assert_eq!(code(world.run(modify(on))), "InvalidParameterValue");
    let associate = |block| AssociateSubnetCidrBlock {
        subnet,
        ipv6_cidr: block,
    };
    // semantics 53: a /64
    let wrong = associate(vpc_block.subnet(60, 0).unwrap());
    assert_eq!(code(world.run(wrong)), "InvalidSubnet.Range");
    let added = world.run(associate(vpc_block.subnet(64, 3).unwrap())).unwrap();
    let second = associate(vpc_block.subnet(64, 4).unwrap());
    assert_eq!(code(world.run(second)), "SubnetCidrBlockLimitExceeded");
    world.run(modify(on)).unwrap();
    let addr = world
        .run(move |tx: &mut Transaction| free_ipv6(tx, subnet))
        .unwrap();
    assert!(added.block.contains(IpAddr::V6(addr)));
    let association = added.id;
    world.run(DisassociateSubnetCidrBlock { association }).unwrap();
    let row = world.row::<Subnet>(subnet);
    assert!(row.ipv6_cidr().is_none() && !row.assign_ipv6_on_creation);
}

#[test]
fn an_ipv6_only_subnet_has_no_ipv4_in_it() {
    let mut world = World::new();
    let vpc = world.vpc6("10.0.0.0/16");
    let block = world.row::<Vpc>(vpc).ipv6_cidrs[0].block.subnet(64, 0);
    let new = CreateSubnet {
        cidr: None,
        ipv6_cidr: block,
        ipv6_native: true,
        ..create_subnet(vpc, "10.0.0.0/24")
    };
    let both = CreateSubnet {
        cidr: Some(prefix("10.0.0.0/24")),
        ..new.clone()
    };
    assert_eq!(code(world.run(both)), "InvalidParameterCombination");
    let neither = CreateSubnet {
        ipv6_cidr: None,
        ..new.clone()
    };
    assert_eq!(code(world.run(neither)), "MissingParameter");
    let unsaid = CreateSubnet {
        ipv6_native: false,
        ..new.clone()
    };
    assert_eq!(code(world.run(unsaid)), "MissingParameter");
    let subnet = world.run(new).unwrap();
    let row = world.row::<Subnet>(subnet).clone();
    assert!(row.assign_ipv6_on_creation && row.hostname_type == HostnameType::ResourceName);
    assert_eq!(available_ips(&world.region, &row), 0);
    let attribute = SubnetAttribute::MapPublicIpOnLaunch(true);
    assert_eq!(
        code(world.run(ModifySubnetAttribute { subnet, attribute })),
        "InvalidParameterValue"
    );
    let none = world.run(move |tx: &mut Transaction| free_ipv4(tx, subnet));
    assert_eq!(code(none), "InvalidParameterValue");
    let association = row.ipv6_cidrs[0].id;
    assert_eq!(
        code(world.run(DisassociateSubnetCidrBlock { association })),
        "OperationNotPermitted"
    );
}

#[test]
fn a_subnet_gives_every_address_once_and_then_none() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.16/28");
    let mut given = BTreeSet::new();
    for left in (0..11u128).rev() {
        let ip = world
            .run(move |tx: &mut Transaction| free_ipv4(tx, subnet))
            .unwrap();
        assert!(given.insert(ip));
        world.eni(subnet, &ip.to_string());
        let row = world.row::<Subnet>(subnet);
        assert_eq!(available_ips(&world.region, row), left);
        let again = check_free(&world.region, row, IpAddr::V4(ip));
        assert_eq!(code(again), "InvalidIPAddress.InUse");
    }
    let none = world.run(move |tx: &mut Transaction| free_ipv4(tx, subnet));
    assert_eq!(code(none), "InsufficientFreeAddressesInSubnet");
}

proptest! {
    #[test]
    fn free_addresses_are_the_subnets_unreserved_and_distinct(
        length in 24u8..=28, count in 0usize..30, taken in 0usize..12,
    ) {
        let mut world = World::new();
        let vpc = world.vpc6("10.0.0.0/16");
        let subnet = world.subnet6(vpc, &format!("10.0.7.0/{length}"), 9);
        let except = world
            .run(move |tx: &mut Transaction| free_ipv4s(tx, subnet, taken.min(11), &[]))
            .unwrap();
        let room = world.row::<Subnet>(subnet).cidr.unwrap().size() as usize - 5;
        let (v4, v6) = world
            .run({
                let except = except.clone();
                move |tx: &mut Transaction| Ok((free_ipv4s(tx, subnet, count, &except), free_ipv6s(tx, subnet, count, &[])))
            })
            .unwrap();
        prop_assert_eq!(v4.is_ok(), count + except.len() <= room);
        let row = world.row::<Subnet>(subnet);
        let v4 = v4.unwrap_or_default();
        prop_assert!(v4.iter().all(|ip| !except.contains(ip)));
        let all: Vec<IpAddr> = v4.into_iter().map(IpAddr::V4).chain(v6.unwrap().into_iter().map(IpAddr::V6)).collect();
        prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for addr in all {
            prop_assert!(check_free(&world.region, row, addr).is_ok());
        }
    }
}
