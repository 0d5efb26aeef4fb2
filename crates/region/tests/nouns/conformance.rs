//! The cases of `tests/conformance/aws-docs.json` that are about commands: what the region accepts and refuses.
//! What packets do is held against the rest in `fabric`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_model::{RouteTable, RouteTableId, Subnet, Vpc, VpcId};
use atoll_net::Prefix;
use atoll_region::route::{CreateRoute, NewTarget};
use atoll_region::route_table::{AssociateRouteTable, NewAssociation};
use atoll_region::subnet::check_free;
use atoll_region::vpc_cidr::{AssociateVpcCidrBlock, NewBlock};
use atoll_region::{Error, Transaction};
use serde_json::Value;

use crate::world::*;

/// Groups whose every case the tests below run.
const HERE: &[&str] = &[
    "cidr-association",
    "cidr-size",
    "cidr-vs-route",
    "route-more-specific-than-local",
    "route-reserved",
    "subnet-reserved",
];
/// Groups about packets of today's nouns; `fabric` runs those that its tests name.
const PACKETS: &[&str] = &[
    "gateway-route-table",
    "middlebox",
    "nacl-custom-example",
    "nacl-default",
    "nat-gateway",
    "route-lpm",
    "route-v4-v6",
    "sg-tracking",
];
/// Groups whose nouns do not exist yet.
const NOT_YET: &[&str] = &[
    "dns-attributes",
    "nlb-source-address",
    "peering-create",
    "peering-edge",
    "route-local-over-propagated",
    "route-prefix-list",
    "route-static-over-propagated",
    "tgw-nacl",
    "tgw-order",
];

/// Every Rust source of `fabric`, its tests among them, as one text.
fn sources_of_fabric() -> String {
    fn read(directory: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                read(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for part in ["src", "tests"] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        read(&root.join("../fabric").join(part), &mut text);
    }
    assert!(
        text.contains("fn walk"),
        "the sources of fabric are not where they were"
    );
    text
}

fn cases() -> Vec<Value> {
    let text = include_str!("../../../../tests/conformance/aws-docs.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn group(name: &str) -> impl Iterator<Item = Value> + '_ {
    let found: Vec<Value> = cases().into_iter().filter(|case| case["group"] == name).collect();
    assert!(!found.is_empty(), "no cases of the group {name}");
    found.into_iter()
}

/// `ok` or `error`, as the case expects it.
fn hold<T>(case: &Value, outcome: Result<T, Error>) {
    let seen = match &outcome {
        Ok(_) => "ok",
        Err(_) => "error",
    };
    let why = outcome.err().map(|e| e.message).unwrap_or_default();
    assert_eq!(case["expected"], seen, "{case}: {why}");
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{value} has no {key}"))
}

fn associate(world: &mut World, vpc: VpcId, block: &str) -> Result<(), Error> {
    let block = NewBlock::Ipv4(prefix(block));
    world.run(AssociateVpcCidrBlock { vpc, block }).map(drop)
}

#[test]
fn every_group_is_run_somewhere_or_named_as_not_yet_covered() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        *counts.entry(text(&case, "group").to_owned()).or_default() += 1;
    }
    let fabric = sources_of_fabric();
    let mut uncovered = 0;
    for (name, count) in &counts {
        let lists = [HERE, PACKETS, NOT_YET].map(|list| list.contains(&name.as_str()));
        assert_eq!(
            lists.iter().filter(|l| **l).count(),
            1,
            "{name} stands in no list or in two"
        );
        let [here, packets, _] = lists;
        if here || packets && fabric.contains(&format!("\"{name}\"")) {
            continue;
        }
        let why = if packets {
            "no test of fabric names it"
        } else {
            "its noun does not exist"
        };
        println!("NOT YET COVERED: {name}, {count} cases: {why}");
        uncovered += count;
    }
    println!(
        "NOT YET COVERED: {uncovered} cases of {}",
        counts.values().sum::<usize>()
    );
    for name in HERE.iter().chain(PACKETS).chain(NOT_YET) {
        assert!(counts.contains_key(*name), "{name} is no group");
    }
}

#[test]
fn cidr_size() {
    for case in group("cidr-size") {
        // What the API's door does to a block: semantics 32.
        let block = Prefix::parse_canonical(text(&case["query"], "create_vpc")).unwrap();
        let mut world = World::new();
        // semantics 53, 57: /16 to /28, nothing link-local.
        let outcome = world.run(create_vpc(&block.to_string()));
        match text(&case, "expected") {
            "ok" | "error" => hold(&case, outcome),
            canonical => {
                let primary = world.row::<Vpc>(outcome.unwrap()).primary_cidr().unwrap();
                assert_eq!(primary.to_string(), canonical, "{case}");
            }
        }
    }
}

#[test]
fn cidr_association() {
    for case in group("cidr-association") {
        let mut world = World::new();
        let vpc = world.vpc(text(&case["config"], "vpc_cidr"));
        let outcome = associate(&mut world, vpc, text(&case["query"], "associate"));
        // semantics 56
        hold(&case, outcome);
    }
}

#[test]
fn cidr_vs_route() {
    for case in group("cidr-vs-route") {
        let mut world = World::new();
        let vpc = world.vpc(text(&case["config"], "vpc_cidr"));
        // The case's gateway is a virtual private one; what the route leads to does not matter to it.
        let (destination, _) = text(&case["config"], "route").split_once(" -> ").unwrap();
        let target = NewTarget::InternetGateway(world.gateway(vpc));
        let table = world.row::<Vpc>(vpc).main_route_table;
        let destination = prefix(destination);
        world
            .run(CreateRoute {
                table,
                destination,
                target,
            })
            .unwrap();
        let outcome = associate(&mut world, vpc, text(&case["query"], "associate"));
        // semantics 58
        hold(&case, outcome);
    }
}

#[test]
fn subnet_reserved() {
    for case in group("subnet-reserved") {
        let mut world = World::new();
        if case["query"]["where"] == "dns" {
            // semantics 55: of the primary block, whatever the subnet.
            let blocks = case["config"]["vpc"].as_array().unwrap();
            let vpc = world.vpc(blocks[0].as_str().unwrap());
            for block in &blocks[1..] {
                associate(&mut world, vpc, block.as_str().unwrap()).unwrap();
            }
            let dns = world.row::<Vpc>(vpc).primary_cidr().unwrap().nth(2).unwrap();
            assert_eq!(dns.to_string(), text(&case, "expected"), "{case}");
            continue;
        }
        let vpc = world.vpc("10.0.0.0/16");
        let subnet = world.subnet(vpc, text(&case["config"], "subnet"));
        let addr: IpAddr = text(&case["query"], "assign").parse().unwrap();
        let outcome = check_free(&world.region, world.row::<Subnet>(subnet), addr);
        // semantics 54
        hold(&case, outcome);
    }
}

/// Creates a route to the target kind of a case; a kind that no operation makes yet is refused by name at the
/// API's door, and what stands for it here is an internet gateway, which the same rule refuses.
fn create(world: &mut World, table: RouteTableId, destination: &str, kind: &str) -> Result<(), Error> {
    let row = world.row::<RouteTable>(table).clone();
    let subnet = world.region.all::<Subnet>().map(|s| s.id).next();
    let target = match (kind, subnet) {
        ("eni", Some(subnet)) => {
            let ip = world.run(move |tx: &mut Transaction| atoll_region::subnet::free_ipv4(tx, subnet))?;
            NewTarget::NetworkInterface(world.eni(subnet, &ip.to_string()))
        }
        _ => NewTarget::InternetGateway(world.gateway(row.vpc)),
    };
    let destination = prefix(destination);
    world.run(CreateRoute {
        table,
        destination,
        target,
    })
}

#[test]
fn route_reserved() {
    for case in group("route-reserved") {
        let mut world = World::new();
        let vpc = world.vpc6("10.0.0.0/16");
        world.subnet(vpc, "10.0.0.0/24");
        let table = world.row::<Vpc>(vpc).main_route_table;
        // semantics 8
        match case["query"]["create_route"].as_str() {
            Some(destination) => hold(&case, create(&mut world, table, destination, "eni")),
            None => {
                // A larger route is accepted; that it does not carry the packets is `fabric`'s.
                for route in case["config"]["routes"].as_array().unwrap() {
                    if route[1] != "local" {
                        create(&mut world, table, route[0].as_str().unwrap(), "eni").unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn route_more_specific_than_local() {
    for case in group("route-more-specific-than-local") {
        let mut world = World::new();
        let vpc = world.vpc(text(&case["config"], "vpc"));
        for subnet in case["config"]["subnets"].as_array().unwrap() {
            world.subnet(vpc, subnet.as_str().unwrap());
        }
        let table = world.row::<Vpc>(vpc).main_route_table;
        let route = &case["query"]["create_route"];
        let (destination, kind) = (route[0].as_str().unwrap(), route[1].as_str().unwrap());
        // semantics 7
        hold(&case, create(&mut world, table, destination, kind));
    }
}

/// The cases of edge tables that are about commands; the others are about packets.
#[test]
fn gateway_route_table() {
    let mut run = 0;
    for case in group("gateway-route-table") {
        let route = &case["query"]["add_route"];
        let (Some(destination), Some(kind)) = (route[0].as_str(), route[1].as_str()) else {
            continue;
        };
        let Ok(destination) = destination.parse::<Prefix>() else {
            // A prefix list: the API refuses the parameter by its name.
            assert!(destination.starts_with("pl-"), "{case}");
            continue;
        };
        let mut world = World::new();
        let vpc = world.vpc(text(&case["config"], "vpc"));
        world.subnet(vpc, "172.31.0.0/20");
        let gateway = world.gateway(vpc);
        let table = world.row::<Vpc>(vpc).main_route_table;
        let target = NewAssociation::InternetGateway(gateway);
        world.run(AssociateRouteTable { table, target }).unwrap();
        let target = match kind.split('-').next() {
            Some("eni") => {
                let subnet = world.region.all::<Subnet>().map(|s| s.id).next().unwrap();
                NewTarget::NetworkInterface(world.eni(subnet, "172.31.0.9"))
            }
            _ => NewTarget::InternetGateway(gateway),
        };
        // semantics 14, 15
        hold(
            &case,
            world.run(CreateRoute {
                table,
                destination,
                target,
            }),
        );
        run += 1;
    }
    assert_eq!(run, 2);
}
