use atoll_model::nat_gateway::Connectivity;
use atoll_model::route_table::{AssociationTarget, RouteTarget};
use atoll_model::{InstanceState, NatGateway, RouteTable, RouteTableId, Subnet, Vpc, VpcId};
use atoll_region::egress_only_gateway::*;
use atoll_region::instance::{StopInstances, TerminateInstances};
use atoll_region::internet_gateway::*;
use atoll_region::nat_gateway::{CreateNatGateway, DeleteNatGateway};
use atoll_region::network_interface::attachment::AttachNetworkInterface;
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
    let eni = NewTarget::NetworkInterface(world.eni(subnet, "10.0.0.9"));
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
    let eni = NewTarget::NetworkInterface(world.eni(subnet, "10.0.0.9"));
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

#[test]
fn a_route_to_an_instance_is_one_to_its_only_interface() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let instance = world.instance(subnet);
    let eni = world.region.enis_of(instance)[0].id;
    let table = table(&mut world, vpc);
    world
        .run(create(table, "0.0.0.0/0", NewTarget::Instance(instance)))
        .unwrap();
    let route = |world: &World| world.row::<RouteTable>(table).routes[&prefix("0.0.0.0/0")];
    assert_eq!(route(&world).target, RouteTarget::NetworkInterface(eni));
    let state = |world: &World| route_state(&world.region, vpc, &route(world));
    assert_eq!(state(&world), RouteState::Active);
    world.run(StopInstances { ids: vec![instance] }).unwrap();
    assert_eq!(state(&world), RouteState::Blackhole);
    world.observe(instance, InstanceState::Stopped);

    let second = world.eni(subnet, "10.0.0.77");
    let attach = AttachNetworkInterface {
        eni: second,
        instance,
        device_index: 1,
    };
    world.run(attach).unwrap();
    let error = world
        .run(create(table, "1.0.0.0/8", NewTarget::Instance(instance)))
        .unwrap_err();
    assert_eq!(error.code, "InvalidInstanceID");
    assert_eq!(
        error.message,
        format!(
            "There are multiple interfaces attached to instance '{instance}'. Please specify an interface ID for the \
             operation instead."
        )
    );

    world.run(TerminateInstances { ids: vec![instance] }).unwrap();
    world.observe(instance, InstanceState::Terminated);
    assert_eq!(state(&world), RouteState::Blackhole);
    assert_eq!(
        code(world.run(create(table, "1.0.0.0/8", NewTarget::Instance(instance)))),
        "InvalidInstanceID"
    );
}

#[test]
fn a_nat_gateways_interface_is_no_target_but_the_gateway_is() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let gateway = world
        .run(CreateNatGateway {
            subnet,
            connectivity: Connectivity::Private,
            allocation: None,
            private_ip: None,
            secondary_allocations: Vec::new(),
            secondary_private_ips: Vec::new(),
            secondary_private_ip_count: None,
            client_token: None,
            tags: Default::default(),
        })
        .unwrap();
    let eni = world.row::<NatGateway>(gateway).eni.unwrap();
    let table = table(&mut world, vpc);
    let to_eni = create(table, "0.0.0.0/0", NewTarget::NetworkInterface(eni));
    assert_eq!(code(world.run(to_eni)), "InvalidParameterValue");
    // NAT64 is not there yet, and says so.
    let v6 = create(table, "64:ff9b::/96", NewTarget::NatGateway(gateway));
    assert_eq!(code(world.run(v6)), "UnsupportedOperation");
    world
        .run(create(table, "0.0.0.0/0", NewTarget::NatGateway(gateway)))
        .unwrap();
    // semantics 7
    world
        .run(create(table, "10.0.0.0/24", NewTarget::NatGateway(gateway)))
        .unwrap();
    world.run(DeleteNatGateway { gateway }).unwrap();
    let gone = create(table, "9.0.0.0/8", NewTarget::NatGateway(gateway));
    assert_eq!(code(world.run(gone)), "InvalidNatGatewayID.NotFound");
}
