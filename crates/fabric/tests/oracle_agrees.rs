//! The walk against a naive second opinion, over random regions, packets, replies, changes and time.
//!
//! A failure prints the seed, what was found, what led there, and the region.
#![allow(clippy::unwrap_used)]

mod oracle;
mod rows;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use atoll_fabric::flows::{Effect, Mapping};
use atoll_fabric::packet::tcp;
use atoll_fabric::{Flows, L4, Limits, Outcome, Packet, Port, Stage, walk};
use atoll_model::route_table::AssociationTarget;
use atoll_model::{
    Change, NetworkAclAssociationId, RouteTable, RouteTableAssociationId, RouteTableId, RouteTarget, Subnet,
    SubnetId, Timestamp,
};
use oracle::Oracle;
use proptest::prelude::*;
use world::packets::Arrived;
use world::{Choices, World, for_random_cases};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    New(Box<Packet>),
    Reply,
    Again,
    Wait(u64),
    Change,
}

fn step(world: &World, choices: &mut Choices) -> Option<Step> {
    Some(match choices.below(20) {
        0..=7 => Step::New(Box::new(world.packet(choices)?)),
        8..=13 => Step::Reply,
        14 | 15 => Step::Again,
        16 | 17 => Step::Wait([1, 29, 31, 59, 61, 179, 181, 349, 351, 599, 601, 432_001][choices.below(12)]),
        _ => Step::Change,
    })
}

/// Where the interesting parts of an outcome end up: the port and the packet, or the stage.
fn end(outcome: &Outcome, packet: &Packet) -> oracle::End {
    match (outcome.forwarded(packet), &outcome.verdict) {
        (Some(out), atoll_fabric::Verdict::Forward(action)) => Ok((action.out, out)),
        _ => Err(outcome.stage()),
    }
}

/// MACs are compared by the plane's tests; the oracle rewrites none.
fn without_macs(end: oracle::End) -> oracle::End {
    end.map(|(port, mut packet)| {
        packet.src_mac = Default::default();
        packet.dst_mac = Default::default();
        (port, packet)
    })
}

/// Runs one case; counts the stages that came up.
fn case(words: &[u32], steps: &[[u32; 14]], seen: &mut BTreeMap<Stage, usize>) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut fabric = world.fabric(128);
    let mut now = Timestamp(1_000_000_000_000);
    let mut flows = Flows::new(Limits::SMALL, now);
    let mut oracle = Oracle::default();
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut sent: Vec<Packet> = Vec::new();
    let mut story: Vec<String> = Vec::new();
    for words in steps {
        let mut choices = Choices::new(words);
        let packet = match step(&world, &mut choices) {
            None => continue,
            Some(Step::New(packet)) => *packet,
            Some(Step::Reply) => {
                let back = choices.below(arrived.len().min(4));
                let got = arrived.iter().rev().nth(back);
                match got.and_then(|got| world.reply(got, &mut choices)) {
                    Some(packet) => packet,
                    None => continue,
                }
            }
            Some(Step::Again) => match choices.pick(&sent) {
                Some(packet) => packet,
                None => continue,
            },
            Some(Step::Wait(seconds)) => {
                now = now.plus_millis(seconds * 1000);
                story.push(format!("{seconds} s pass"));
                continue;
            }
            Some(Step::Change) => {
                let before = world.clone();
                world.change(&mut choices);
                let delta = world.delta_from(&before);
                let changed = fabric.apply(&delta);
                flows.forget(&changed);
                let text = delta.changes.iter().map(|c| match c {
                    Change::Put(row) => format!("changed to {row:?}"),
                    Change::Delete(key) => format!("gone: {key:?}"),
                });
                story.extend(text);
                continue;
            }
        };
        let outcome = walk(&fabric, &flows, &packet, now, &mut ());
        let maps = outcome.effects.iter().filter_map(|e| match e {
            Effect::Map { mapping, .. } => Some(*mapping),
            Effect::Track { .. } => None,
        });
        let taken: Vec<Mapping> = maps.collect();
        let expected = without_macs(oracle.judge(&world, packet, now, &taken));
        let got = end(&outcome, &packet);
        let committed = flows.commit(&outcome.effects, now, 0);
        *seen.entry(outcome.stage()).or_default() += 1;
        if without_macs(got) != expected {
            let mut hops = Vec::new();
            walk(&fabric, &flows, &packet, now, &mut hops);
            prop_assert!(
                false,
                "fabric: {:?} {:?}\noracle: {:?}\npacket: {:?}\nhops (after commit): {:#?}\nstory: {:#?}\nworld: {:#?}",
                outcome.stage(),
                got,
                expected,
                packet,
                hops,
                story,
                world
            );
        }
        if outcome.stage() == Stage::RoutingLoop {
            // What a loop leaves behind is nobody's concern, and differs.
            return Ok(());
        }
        prop_assert_eq!(committed, Ok(()));
        prop_assert!(comes_up(outcome.stage()), "{}", outcome.stage());
        story.push(format!("{packet:?} -> {}", outcome.stage()));
        if let Ok((port, out)) = got {
            arrived.push((port, out));
        }
        sent.push(packet);
    }
    Ok(())
}

#[test]
fn walk_agrees_with_the_oracle() {
    let seen = RefCell::new(BTreeMap::new());
    for_random_cases(3000, 60, |words, steps| {
        case(words, steps, &mut seen.borrow_mut())
    });
    let seen = seen.into_inner();
    let total: usize = seen.values().sum();
    let share = |stage: Stage| 100 * seen.get(&stage).copied().unwrap_or(0) / total.max(1);
    println!("{total} packets: {seen:#?}");
    // Laws about packets that all end at the first check would show nothing.
    assert!(
        share(Stage::Delivered) >= 15,
        "{}% delivered",
        share(Stage::Delivered)
    );
    assert!(
        share(Stage::ExitsToInternet) >= 4,
        "{}% exit",
        share(Stage::ExitsToInternet)
    );
    for stage in Stage::ALL.iter().filter(|stage| comes_up(**stage)) {
        assert!(seen.contains_key(stage), "{stage} never came up");
    }
}

/// A second opinion is worth something as long as it can be read at a sitting and held against the facts.
#[test]
fn the_oracle_keeps_within_500_lines() {
    let files = [
        include_str!("oracle/mod.rs"),
        include_str!("oracle/filters.rs"),
        include_str!("oracle/gateways.rs"),
    ];
    let lines: usize = files.iter().map(|file| file.lines().count()).sum();
    assert!(lines <= 500, "{lines} lines");
}

/// Whether these regions and packets can meet a stage: all but those of later nouns and of full tables.
fn comes_up(stage: Stage) -> bool {
    let later = [
        "peering-",
        "tgw-",
        "vgw-",
        "gateway-endpoint-",
        "endpoint-",
        "lb-",
        "vpn-",
        "to-vpn",
        // The data plane's.
        "fragment-",
    ];
    !later.iter().any(|prefix| stage.as_str().starts_with(prefix))
        && !matches!(stage, Stage::TableFull | Stage::NatPortExhausted)
}

/// Found by the law above: an answer to a NAT gateway's own address was translated round and round when a route
/// led it there.
#[test]
fn an_answer_finds_its_way_back_through_a_local_route_led_to_the_nat_gateway() {
    let mut plain = Choices::new(&[]);
    let mut world = World::random(&mut plain);
    let vpc = world.vpcs.values().next().unwrap().clone();
    let first = world.subnets.values().next().unwrap().clone();
    let mut another = |block: &str| {
        let id = SubnetId::new(world.next_id());
        let (cidr, ipv6_cidrs) = (Some(world::prefix(block)), Vec::new());
        let subnet = Subnet {
            id,
            cidr,
            ipv6_cidrs,
            ..first.clone()
        };
        let association = NetworkAclAssociationId::new(world.next_id());
        let acl = world.acls.get_mut(&vpc.default_network_acl).unwrap();
        acl.associations.insert(association, id);
        world.subnets.insert(id, subnet);
        id
    };
    let (middle, far) = (another("10.0.8.0/24"), another("10.0.9.0/24"));
    let [near_eni, far_eni] = world.instance_enis()[..2] else {
        panic!()
    };
    let remote = world.enis.get_mut(&far_eni).unwrap();
    remote.subnet = far;
    remote.ipv6_addresses.clear();
    remote.private_addresses[0].ip = [10, 0, 9, 7].into();
    world.add_nat_gateway(&vpc, &mut plain);
    let nat = world.nats.values_mut().next().unwrap();
    nat.subnet = middle;
    nat.addresses[0].private = [10, 0, 8, 7].into();
    let nat = nat.clone();
    let nat_eni = world.enis.get_mut(&nat.eni.unwrap()).unwrap();
    nat_eni.subnet = middle;
    nat_eni.private_addresses[0].ip = [10, 0, 8, 7].into();
    // The gateway's subnet keeps the local route; everybody else's leads to the gateway (semantics 6).
    let main = world.tables[&vpc.main_route_table].clone();
    let mut own = RouteTable {
        id: RouteTableId::new(world.next_id()),
        ..main
    };
    let association = RouteTableAssociationId::new(world.next_id());
    own.associations = [(association, AssociationTarget::Subnet(middle))].into();
    world.tables.insert(own.id, own);
    let main = world.tables.get_mut(&vpc.main_route_table).unwrap();
    main.routes.get_mut(&world::prefix("10.0.0.0/16")).unwrap().target = RouteTarget::NatGateway(nat.id);

    let fabric = world.fabric(128);
    let now = Timestamp(0);
    let mut flows = Flows::new(Limits::SMALL, now);
    let mut send = |packet: &Packet| {
        let outcome = walk(&fabric, &flows, packet, now, &mut ());
        flows.commit(&outcome.effects, now, 0).unwrap();
        end(&outcome, packet).unwrap()
    };
    let near = &world.enis[&near_eni];
    let l4 = L4::Ports {
        src: 40_000,
        dst: 80,
        tcp_flags: tcp::SYN,
    };
    let question = Packet {
        ingress: Port::Eni(near_eni),
        src_mac: near.mac,
        dst_mac: first.router_mac(),
        l4,
        ..world::packets::plain(near.primary_ip().unwrap().into(), [10, 0, 9, 7].into())
    };
    let got = send(&question);
    assert_eq!((got.0, got.1.src), (Port::Eni(far_eni), [10, 0, 8, 7].into()));
    let answer = world.reply(&got, &mut Choices::new(&[])).unwrap();
    let (port, back) = send(&answer);
    assert_eq!(
        (port, back.src, back.dst),
        (Port::Eni(near_eni), question.dst, question.src)
    );
    assert!(matches!(
        back.l4,
        L4::Ports {
            src: 80,
            dst: 40_000,
            ..
        }
    ));
}
