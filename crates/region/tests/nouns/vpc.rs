use atoll_model::{
    CidrAssociation, CidrState, Direction, InternetGateway, NetworkAcl, RouteTable, SecurityGroup, Subnet,
    Vpc,
};
use atoll_net::Prefix;
use atoll_region::Transaction;
use atoll_region::internet_gateway;
use atoll_region::network_acl::CreateNetworkAcl;
use atoll_region::route_table::CreateRouteTable;
use atoll_region::security_group;
use atoll_region::subnet::DeleteSubnet;
use atoll_region::vpc::*;
use atoll_region::vpc_cidr::*;

use crate::world::*;

#[test]
fn a_new_vpc_has_its_main_table_its_acl_and_its_group() {
    let mut world = World::new();
    let vpc = world.vpc6("10.0.0.0/16");
    let vpc = world.row::<Vpc>(vpc).clone();
    let table = world.row::<RouteTable>(vpc.main_route_table);
    // semantics 6: one local route a block, both families.
    assert_eq!(
        table.routes.keys().copied().collect::<Vec<_>>(),
        vpc.blocks().collect::<Vec<_>>()
    );
    // semantics 26: the default ACL allows all; semantics 27: IPv6 by a rule of its own.
    let acl = world.row::<NetworkAcl>(vpc.default_network_acl);
    assert_eq!(acl.ingress.keys().copied().collect::<Vec<_>>(), [100, 101]);
    assert_eq!(acl.egress, acl.ingress);
    // semantics 37: everything out, in from itself.
    let group = world.row::<SecurityGroup>(vpc.default_security_group);
    assert_eq!(group.rules_of(Direction::Ingress).count(), 1);
    assert_eq!(group.rules_of(Direction::Egress).count(), 2);
    // semantics 99
    assert!(vpc.enable_dns_support && !vpc.enable_dns_hostnames);
}

#[test]
fn an_ipv6_block_opens_the_defaults_only_if_nobody_changed_them() {
    let mut world = World::new();
    let (untouched, changed) = (world.vpc("10.0.0.0/16"), world.vpc("10.1.0.0/16"));
    let acl = world.row::<Vpc>(changed).default_network_acl;
    world
        .run(atoll_region::network_acl::DeleteNetworkAclEntry {
            acl,
            direction: Direction::Ingress,
            number: 100,
        })
        .unwrap();
    for (vpc, rules) in [(untouched, 2), (changed, 1)] {
        let block = NewBlock::AmazonProvidedIpv6;
        let added = world.run(AssociateVpcCidrBlock { vpc, block }).unwrap();
        assert_eq!(added.block.length(), 56);
        let vpc = world.row::<Vpc>(vpc).clone();
        // semantics 27
        assert_eq!(
            world.row::<NetworkAcl>(vpc.default_network_acl).egress.len(),
            rules
        );
        assert!(
            world
                .row::<RouteTable>(vpc.main_route_table)
                .routes
                .contains_key(&added.block)
        );
    }
}

#[test]
fn what_stands_in_a_vpc_keeps_it() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let error = world.run(DeleteVpc { vpc }).unwrap_err();
    assert_eq!(error.code, "DependencyViolation");
    assert_eq!(
        error.message,
        format!("The vpc '{vpc}' has dependencies and cannot be deleted.")
    );
    world.run(DeleteSubnet { subnet }).unwrap();
    let gateway = world.gateway(vpc);
    assert_eq!(code(world.run(DeleteVpc { vpc })), "DependencyViolation");
    world
        .run(internet_gateway::DetachInternetGateway { gateway, vpc })
        .unwrap();
    world.run(DeleteVpc { vpc }).unwrap();
    let left: Vec<_> = world.region.rows().map(|row| row.key()).collect();
    assert_eq!(left, [atoll_model::Key::InternetGateway(gateway)]);
    assert_eq!(code(world.run(DeleteVpc { vpc })), "InvalidVpcID.NotFound");
}

#[test]
fn tables_and_acls_of_ones_own_keep_a_vpc_too() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let table = CreateRouteTable {
        vpc,
        client_token: None,
        tags: Default::default(),
    };
    world.run(table).unwrap();
    assert_eq!(code(world.run(DeleteVpc { vpc })), "DependencyViolation");

    let vpc = world.vpc("10.0.0.0/16");
    let acl = CreateNetworkAcl {
        vpc,
        client_token: None,
        tags: Default::default(),
    };
    world.run(acl).unwrap();
    assert_eq!(code(world.run(DeleteVpc { vpc })), "DependencyViolation");

    let vpc = world.vpc("10.0.0.0/16");
    let group = security_group::CreateSecurityGroup {
        name: "web".into(),
        description: "web".into(),
        vpc: Some(vpc),
        tags: Default::default(),
    };
    world.run(group).unwrap();
    assert_eq!(code(world.run(DeleteVpc { vpc })), "DependencyViolation");
}

#[test]
fn a_block_in_use_stays_and_the_primary_one_always() {
    let mut world = World::new();
    let vpc = world.vpc("10.2.0.0/16");
    let primary = world.row::<Vpc>(vpc).cidrs[0].id;
    let association = world
        .run(AssociateVpcCidrBlock {
            vpc,
            block: NewBlock::Ipv4(prefix("10.3.0.0/16")),
        })
        .unwrap()
        .id;
    let subnet = world.subnet(vpc, "10.3.1.0/24");
    let gone = DisassociateVpcCidrBlock { association };
    assert_eq!(code(world.run(gone.clone())), "InvalidCidrBlock.InUse");
    world.run(DeleteSubnet { subnet }).unwrap();
    world.run(gone.clone()).unwrap();
    let main = world.row::<Vpc>(vpc).main_route_table;
    let routes = &world.row::<RouteTable>(main).routes;
    assert_eq!(
        routes.keys().copied().collect::<Vec<_>>(),
        [prefix("10.2.0.0/16")]
    );
    assert_eq!(code(world.run(gone)), "InvalidVpcCidrBlockAssociationID.NotFound");
    assert_eq!(
        code(world.run(DisassociateVpcCidrBlock { association: primary })),
        "OperationNotPermitted"
    );
}

#[test]
fn a_vpc_has_five_blocks_at_most() {
    let mut world = World::new();
    let vpc = world.vpc("10.2.0.0/16");
    for i in 3..7 {
        let block = NewBlock::Ipv4(prefix(&format!("10.{i}.0.0/16")));
        world.run(AssociateVpcCidrBlock { vpc, block }).unwrap();
    }
    let block = NewBlock::Ipv4(prefix("10.7.0.0/16"));
    // semantics 53
    assert_eq!(
        code(world.run(AssociateVpcCidrBlock { vpc, block })),
        "CidrLimitExceeded"
    );
    for _ in 0..5 {
        let block = NewBlock::AmazonProvidedIpv6;
        world.run(AssociateVpcCidrBlock { vpc, block }).unwrap();
    }
    let block = NewBlock::AmazonProvidedIpv6;
    assert_eq!(
        code(world.run(AssociateVpcCidrBlock { vpc, block })),
        "CidrLimitExceeded"
    );
}

#[test]
fn overlapping_blocks_are_refused_within_a_vpc_and_allowed_between_two() {
    let mut world = World::new();
    let vpc = world.vpc("10.2.0.0/16");
    let block = NewBlock::Ipv4(prefix("10.2.128.0/24"));
    assert_eq!(
        code(world.run(AssociateVpcCidrBlock { vpc, block })),
        "InvalidVpc.Range"
    );
    world.vpc("10.2.0.0/16");
}

#[test]
fn the_default_vpc_is_public_in_every_zone_and_comes_once() {
    let mut world = World::new();
    let vpc = world.run(CreateDefaultVpc).unwrap();
    let zones = world.region.name().zones();
    let mut subnets: Vec<_> = world.region.all::<Subnet>().cloned().collect();
    subnets.sort_by_key(|s| s.zone);
    assert_eq!(subnets.iter().map(|s| s.zone).collect::<Vec<_>>(), zones);
    assert!(
        subnets
            .iter()
            .all(|s| s.default_for_az && s.map_public_ip_on_launch)
    );
    assert_eq!(subnets[1].cidr, Some(prefix("172.31.16.0/20")));
    let row = world.row::<Vpc>(vpc);
    assert!(row.is_default && row.enable_dns_hostnames);
    let table = world.row::<RouteTable>(row.main_route_table);
    let route = table.routes[&Prefix::ALL_V4];
    assert_eq!(
        atoll_region::route_state(&world.region, vpc, &route),
        atoll_region::RouteState::Active
    );
    assert_eq!(world.region.all::<InternetGateway>().count(), 1);
    assert_eq!(code(world.run(CreateDefaultVpc)), "DefaultVpcAlreadyExists");
}

#[test]
fn attributes_change_one_at_a_time() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    for attribute in [
        VpcAttribute::EnableDnsSupport(false),
        VpcAttribute::EnableDnsHostnames(true),
        VpcAttribute::EnableNetworkAddressUsageMetrics(true),
    ] {
        world.run(ModifyVpcAttribute { vpc, attribute }).unwrap();
    }
    let row = world.row::<Vpc>(vpc);
    assert!(!row.enable_dns_support && row.enable_dns_hostnames && row.enable_network_address_usage_metrics);
}

#[test]
fn another_accounts_vpc_is_not_there() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    world.account = "210987654321".parse().unwrap();
    assert_eq!(code(world.run(DeleteVpc { vpc })), "InvalidVpcID.NotFound");
    assert_eq!(
        code(world.run(create_subnet(vpc, "10.0.0.0/24"))),
        "InvalidVpcID.NotFound"
    );
}

#[test]
fn a_block_enters_as_many_tables_as_a_vpc_may_have() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let table = CreateRouteTable {
        vpc,
        client_token: None,
        tags: Default::default(),
    };
    while world.region.all::<RouteTable>().count() < atoll_model::quota::ROUTE_TABLES_PER_VPC {
        world.run(table.clone()).unwrap();
    }
    assert_eq!(code(world.run(table)), "RouteTableLimitExceeded");
    let block = NewBlock::AmazonProvidedIpv6;
    let added = world.run(AssociateVpcCidrBlock { vpc, block }).unwrap();
    assert!(
        world
            .region
            .all::<RouteTable>()
            .all(|t| t.routes.contains_key(&added.block))
    );
    let association = added.id;
    world.run(DisassociateVpcCidrBlock { association }).unwrap();
}

#[test]
fn only_a_block_that_is_associated_counts() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    world
        .run(move |tx: &mut Transaction| {
            let id = tx.fresh();
            tx.update::<Vpc>(vpc, |vpc| {
                vpc.cidrs.push(CidrAssociation {
                    id,
                    block: prefix("10.5.0.0/16"),
                    state: CidrState::Disassociated,
                });
            })
        })
        .unwrap();
    // semantics 59
    assert_eq!(
        code(world.run(create_subnet(vpc, "10.5.0.0/24"))),
        "InvalidSubnet.Range"
    );
    let table = CreateRouteTable {
        vpc,
        client_token: None,
        tags: Default::default(),
    };
    let table = world.run(table).unwrap();
    assert_eq!(world.row::<RouteTable>(table).routes.len(), 1);
    assert!(!world.row::<Vpc>(vpc).contains("10.5.0.1".parse().unwrap()));
}
