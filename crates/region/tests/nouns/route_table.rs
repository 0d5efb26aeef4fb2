use atoll_model::route_table::{AssociationTarget, RouteTarget};
use atoll_model::{RouteTable, RouteTableId, Subnet, Vpc, VpcId};
use atoll_region::egress_only_gateway::*;
use atoll_region::internet_gateway::*;
use atoll_region::route::*;
use atoll_region::route_table::{self, *};

use crate::world::*;

fn table(world: &mut World, vpc: VpcId) -> RouteTableId {
    world
        .run(CreateRouteTable {
            vpc,
            client_token: None,
            tags: Default::default(),
        })
        .unwrap()
}

fn create(table: RouteTableId, destination: &str, target: NewTarget) -> CreateRoute {
    CreateRoute {
        table,
        destination: prefix(destination),
        target,
    }
}

fn replace(table: RouteTableId, destination: &str, target: NewTarget) -> ReplaceRoute {
    ReplaceRoute {
        table,
        destination: prefix(destination),
        target,
    }
}

fn states(world: &World, table: RouteTableId) -> Vec<(String, &'static str)> {
    let table = world.row::<RouteTable>(table);
    table
        .routes
        .iter()
        .map(|(d, r)| (d.to_string(), route_state(&world.region, table.vpc, r).as_str()))
        .collect()
}

#[test]
fn changing_the_main_table_moves_every_implicit_subnet() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let (implicit, explicit) = (world.subnet(vpc, "10.0.0.0/24"), world.subnet(vpc, "10.0.1.0/24"));
    let old = world.row::<Vpc>(vpc).main_route_table;
    let association = *world.row::<RouteTable>(old).associations.keys().next().unwrap();
    let target = NewAssociation::Subnet(explicit);
    world.run(AssociateRouteTable { table: old, target }).unwrap();
    let new = table(&mut world, vpc);
    let replaced = ReplaceRouteTableAssociation {
        association,
        table: new,
    };
    let (id, target) = world.run(replaced.clone()).unwrap();
    assert!(id != association && target == AssociationTarget::Main);
    let uses = |subnet| {
        route_table::of_subnet(&world.region, world.row::<Subnet>(subnet))
            .unwrap()
            .id
    };
    // semantics 9
    assert_eq!((uses(implicit), uses(explicit)), (new, old));
    assert_eq!(code(world.run(replaced)), "InvalidAssociationID.NotFound");
    let error = world.run(DisassociateRouteTable { association: id }).unwrap_err();
    assert_eq!(
        error.message,
        format!("cannot disassociate the main route table association {id}")
    );
    assert_eq!(
        code(world.run(DeleteRouteTable { table: new })),
        "DependencyViolation"
    );
}

#[test]
fn a_subnet_is_associated_with_one_table() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let other = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let (first, second, foreign) = (
        table(&mut world, vpc),
        table(&mut world, vpc),
        table(&mut world, other),
    );
    let associate = |table| AssociateRouteTable {
        table,
        target: NewAssociation::Subnet(subnet),
    };
    let association = world.run(associate(first)).unwrap();
    let error = world.run(associate(second)).unwrap_err();
    assert_eq!(error.code, "Resource.AlreadyAssociated");
    assert_eq!(
        error.message,
        format!("the specified association for route table {second} conflicts with an existing association")
    );
    assert_eq!(code(world.run(associate(foreign))), "InvalidParameterValue");
    assert_eq!(
        code(world.run(DeleteRouteTable { table: first })),
        "DependencyViolation"
    );
    let moved = ReplaceRouteTableAssociation {
        association,
        table: foreign,
    };
    assert_eq!(code(world.run(moved)), "InvalidParameterValue");
    world.run(DisassociateRouteTable { association }).unwrap();
    world.run(DeleteRouteTable { table: first }).unwrap();
}

#[test]
fn a_route_table_made_twice_with_one_token_is_one() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let new = CreateRouteTable {
        vpc,
        client_token: Some("once".into()),
        tags: Default::default(),
    };
    let id = world.run(new.clone()).unwrap();
    assert_eq!(world.run(new.clone()).unwrap(), id);
    let other = CreateRouteTable {
        vpc: world.vpc("10.0.0.0/16"),
        ..new
    };
    assert_eq!(code(world.run(other)), "IdempotentParameterMismatch");
}

#[test]
fn routes_are_identified_by_their_destination() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let gateway = NewTarget::InternetGateway(world.gateway(vpc));
    let table = table(&mut world, vpc);
    assert_eq!(
        world
            .run(replace(table, "0.0.0.0/0", gateway))
            .unwrap_err()
            .message,
        "There is no route defined for '0.0.0.0/0' in the route table. Use CreateRoute instead."
    );
    let delete = |destination| DeleteRoute {
        table,
        destination: prefix(destination),
    };
    assert_eq!(
        world.run(delete("0.0.0.0/0")).unwrap_err().message,
        format!("no route with destination-cidr-block 0.0.0.0/0 in route table {table}")
    );
    world.run(create(table, "0.0.0.0/0", gateway)).unwrap();
    assert_eq!(
        world
            .run(create(table, "0.0.0.0/0", gateway))
            .unwrap_err()
            .message,
        "The route identified by 0.0.0.0/0 already exists."
    );
    assert_eq!(
        code(world.run(create(table, "10.0.0.0/16", gateway))),
        "RouteAlreadyExists"
    );
    world.run(delete("0.0.0.0/0")).unwrap();
    assert_eq!(
        world.run(delete("10.0.0.0/16")).unwrap_err().message,
        format!("cannot remove local route 10.0.0.0/16 in route table {table}")
    );
}

#[test]
fn a_local_route_may_be_led_to_an_interface_and_back() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let eni = NewTarget::NetworkInterface(world.eni(subnet, "10.0.0.9", None));
    let gateway = NewTarget::InternetGateway(world.gateway(vpc));
    let table = table(&mut world, vpc);
    // semantics 6
    assert_eq!(
        code(world.run(replace(table, "10.0.0.0/16", gateway))),
        "InvalidParameterValue"
    );
    world.run(replace(table, "10.0.0.0/16", eni)).unwrap();
    // The interface is attached to nothing.
    assert_eq!(states(&world, table), [("10.0.0.0/16".into(), "blackhole")]);
    let destination = prefix("10.0.0.0/16");
    assert_eq!(
        code(world.run(DeleteRoute { table, destination })),
        "InvalidParameterValue"
    );
    world
        .run(replace(table, "10.0.0.0/16", NewTarget::Local))
        .unwrap();
    assert_eq!(states(&world, table), [("10.0.0.0/16".into(), "active")]);
    world.run(create(table, "0.0.0.0/0", gateway)).unwrap();
    assert_eq!(
        code(world.run(replace(table, "0.0.0.0/0", NewTarget::Local))),
        "InvalidParameterValue"
    );
}

#[test]
fn a_route_to_a_gateway_that_went_is_a_blackhole() {
    let mut world = World::new();
    let vpc = world.vpc6("10.0.0.0/16");
    let other = world.vpc("10.0.0.0/16");
    let igw = world.gateway(vpc);
    let foreign = NewTarget::InternetGateway(world.gateway(other));
    let eigw = world
        .run(CreateEgressOnlyInternetGateway {
            vpc,
            client_token: None,
            tags: Default::default(),
        })
        .unwrap();
    let table = table(&mut world, vpc);
    let error = world.run(create(table, "0.0.0.0/0", foreign)).unwrap_err();
    assert_eq!(error.code, "InvalidParameterValue");
    assert!(error.message.ends_with("belong to different networks"), "{error}");
    world
        .run(create(table, "0.0.0.0/0", NewTarget::InternetGateway(igw)))
        .unwrap();
    // semantics 75: IPv6 only
    let v4 = create(table, "1.0.0.0/8", NewTarget::EgressOnlyGateway(eigw));
    assert_eq!(code(world.run(v4)), "InvalidParameterValue");
    world
        .run(create(table, "::/0", NewTarget::EgressOnlyGateway(eigw)))
        .unwrap();
    assert!(states(&world, table).iter().all(|(_, state)| *state == "active"));
    world.run(DetachInternetGateway { gateway: igw, vpc }).unwrap();
    world
        .run(DeleteEgressOnlyInternetGateway { gateway: eigw })
        .unwrap();
    let holes: Vec<String> = states(&world, table)
        .into_iter()
        .filter(|(_, state)| *state == "blackhole")
        .map(|(destination, _)| destination)
        .collect();
    assert_eq!(holes, ["0.0.0.0/0", "::/0"]);
    // Attached to another VPC it is still no way out of this one.
    world.run(DeleteInternetGateway { gateway: igw }).unwrap();
    assert_eq!(
        world.row::<RouteTable>(table).routes[&prefix("0.0.0.0/0")].target,
        RouteTarget::InternetGateway(igw)
    );
}

#[test]
fn an_edge_table_leads_whole_subnets_to_interfaces_only() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let eni = NewTarget::NetworkInterface(world.eni(subnet, "10.0.0.9", None));
    let gateway = world.gateway(vpc);
    let edge = table(&mut world, vpc);
    let target = NewAssociation::InternetGateway(gateway);
    let associate = AssociateRouteTable { table: edge, target };
    // semantics 14, 15: what may not stand in an edge table keeps the table from becoming one.
    let out = create(edge, "0.0.0.0/0", NewTarget::InternetGateway(gateway));
    world.run(out.clone()).unwrap();
    assert_eq!(code(world.run(associate.clone())), "InvalidParameterValue");
    let destination = prefix("0.0.0.0/0");
    world
        .run(DeleteRoute {
            table: edge,
            destination,
        })
        .unwrap();
    let association = world.run(associate.clone()).unwrap();
    assert_eq!(code(world.run(associate)), "Resource.AlreadyAssociated");
    assert_eq!(code(world.run(out)), "InvalidParameterValue");
    world.run(create(edge, "10.0.0.0/24", eni)).unwrap();
    assert_eq!(
        route_table::of_internet_gateway(&world.region, gateway)
            .unwrap()
            .id,
        edge
    );
    assert_eq!(
        code(world.run(DetachInternetGateway { gateway, vpc })),
        "DependencyViolation"
    );
    world.run(DisassociateRouteTable { association }).unwrap();
    world.run(DetachInternetGateway { gateway, vpc }).unwrap();
}
