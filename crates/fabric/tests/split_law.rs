//! Leaving, a wire and arriving, spread over hosts that share no state, equal one host.
#![allow(clippy::unwrap_used)]

mod rows;
mod world;

use std::cell::Cell;

use atoll_fabric::{
    Destination, Fabric, Flows, Limits, Outcome, Packet, Port, Stretch, Wire, arrive, leave, walk,
};
use atoll_model::{ResourceId, Timestamp};
use proptest::prelude::*;
use world::packets::Arrived;
use world::{Choices, World, for_random_cases};

const HOSTS: usize = 3;
/// Where the internet gateways' and egress-only gateways' side of things is done.
const EDGE: usize = 0;

/// The host of an interface, by its id; that of a NAT gateway is its interface's.
fn host_of_interface(id: impl ResourceId) -> usize {
    id.digits().bits() as usize % HOSTS
}

fn host_of(world: &World, to: Destination) -> usize {
    match to {
        Destination::Interface(id) => host_of_interface(id),
        Destination::NatGateway(id) => world
            .nats
            .get(&id)
            .and_then(|nat| nat.eni)
            .map_or(EDGE, host_of_interface),
        Destination::InternetGateway(_) | Destination::EgressOnlyGateway(_) | Destination::Internet => EDGE,
    }
}

fn host_of_port(port: Port) -> usize {
    match port {
        Port::Eni(id) => host_of_interface(id),
        Port::Internet => EDGE,
    }
}

/// Does a stretch's effects, as its end must before anything else happens there.
fn commit(flows: &mut Flows, stretch: &Stretch, now: Timestamp) -> bool {
    let effects = match stretch {
        Stretch::Onward { effects, .. } => effects,
        Stretch::Done(outcome) => &outcome.effects,
    };
    flows.commit(effects, now, 0).is_ok()
}

/// One stretch at a host of its own and at the one host that knows everything, which must be the same.
fn both(
    hosts: &mut [Flows],
    one: &mut Flows,
    host: usize,
    now: Timestamp,
    part: impl Fn(&Flows) -> Stretch,
) -> Result<Option<Stretch>, TestCaseError> {
    let (split, whole) = (part(&hosts[host]), part(one));
    prop_assert_eq!(&split, &whole, "host {} answers otherwise", host);
    let committed = commit(&mut hosts[host], &split, now);
    prop_assert_eq!(committed, commit(one, &whole, now));
    Ok(committed.then_some(split))
}

/// The packet as it goes out of the last stretch.
fn end(outcome: &Outcome, packet: &Packet) -> Result<Arrived, atoll_fabric::Stage> {
    match (&outcome.verdict, outcome.forwarded(packet)) {
        (atoll_fabric::Verdict::Forward(action), Some(out)) => Ok((action.out, out)),
        _ => Err(outcome.stage()),
    }
}

/// A packet of something new, or an answer to one that arrived.
fn next_packet(world: &World, arrived: &[Arrived], choices: &mut Choices) -> Option<Packet> {
    if choices.chance(45) {
        let got = arrived.iter().rev().nth(choices.below(arrived.len().min(4)))?;
        return world.reply(got, choices);
    }
    world.packet(choices)
}

fn new_flows(now: Timestamp) -> Flows {
    Flows::new(Limits::SMALL, now)
}

fn change(world: &mut World, fabric: &mut Fabric, choices: &mut Choices) {
    let before = world.clone();
    world.change(choices);
    fabric.apply(&world.delta_from(&before));
}

/// Hosts joined by a wire that loses and reorders; beside them one host where the same happens in the same order.
fn lossy(words: &[u32], steps: &[[u32; 14]], crossings: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut fabric = world.fabric(7);
    let mut now = Timestamp(1_000_000_000_000);
    let mut hosts: Vec<Flows> = (0..HOSTS).map(|_| new_flows(now)).collect();
    let mut one = new_flows(now);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut wire: Vec<Wire> = Vec::new();
    for words in steps {
        let mut choices = Choices::new(words);
        let (host, stretch, packet) = match choices.below(20) {
            // A wire's packet arrives, any of them; one in eight is lost.
            0..=10 if !wire.is_empty() => {
                let sent = wire.swap_remove(choices.below(wire.len()));
                if choices.chance(12) {
                    continue;
                }
                let host = host_of(&world, sent.to);
                let part = |flows: &Flows| arrive(&fabric, flows, &sent, now, &mut ());
                let packet = sent.packet;
                (host, both(&mut hosts, &mut one, host, now, part)?, packet)
            }
            18 => {
                now = now.plus_millis([1, 29, 31, 61, 181, 351][choices.below(6)] * 1000);
                continue;
            }
            19 => {
                change(&mut world, &mut fabric, &mut choices);
                continue;
            }
            _ => {
                let Some(packet) = next_packet(&world, &arrived, &mut choices) else {
                    continue;
                };
                let host = host_of_port(packet.ingress);
                let part = |flows: &Flows| leave(&fabric, flows, &packet, now, &mut ());
                (host, both(&mut hosts, &mut one, host, now, part)?, packet)
            }
        };
        match stretch {
            Some(Stretch::Onward { wire: sent, .. }) => {
                crossings.set(crossings.get() + usize::from(host_of(&world, sent.to) != host));
                wire.push(*sent);
            }
            Some(Stretch::Done(outcome)) => arrived.extend(end(&outcome, &packet)),
            None => return Ok(()), // a loop that takes a NAT port twice: its end is not the same twice
        }
    }
    Ok(())
}

#[test]
fn hosts_that_share_nothing_answer_as_one_host_over_a_wire_that_loses_and_reorders() {
    let crossings = Cell::new(0);
    for_random_cases(2000, 80, |words, steps| lossy(words, steps, &crossings));
    println!("{} packets went from host to host", crossings.get());
    assert!(crossings.get() > 2000);
}

/// Stretch after stretch, each committed, against one walk committed as a whole.
fn composed(words: &[u32], steps: &[[u32; 14]], long: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut fabric = world.fabric(128);
    let mut now = Timestamp(1_000_000_000_000);
    let (mut parts, mut whole) = (new_flows(now), new_flows(now));
    let mut arrived: Vec<Arrived> = Vec::new();
    for words in steps {
        let mut choices = Choices::new(words);
        match choices.below(20) {
            18 => now = now.plus_millis([1, 29, 31, 61, 181, 351][choices.below(6)] * 1000),
            19 => change(&mut world, &mut fabric, &mut choices),
            _ => {
                let Some(packet) = next_packet(&world, &arrived, &mut choices) else {
                    continue;
                };
                let outcome = walk(&fabric, &whole, &packet, now, &mut ());
                if outcome.stage() == atoll_fabric::Stage::RoutingLoop {
                    return Ok(()); // (as above)
                }
                prop_assert!(whole.commit(&outcome.effects, now, 0).is_ok());
                let mut stretch = leave(&fabric, &parts, &packet, now, &mut ());
                let mut sent = packet;
                let mut legs = 0;
                let last = loop {
                    prop_assert!(commit(&mut parts, &stretch, now));
                    match stretch {
                        Stretch::Done(outcome) => break outcome,
                        Stretch::Onward { wire, .. } => {
                            legs += 1;
                            sent = wire.packet;
                            stretch = arrive(&fabric, &parts, &wire, now, &mut ());
                        }
                    }
                };
                long.set(long.get() + usize::from(legs > 1));
                let (split, at_once) = (end(&last, &sent), end(&outcome, &packet));
                prop_assert_eq!(&split, &at_once, "{:?}", packet);
                arrived.extend(at_once);
            }
        }
    }
    Ok(())
}

#[test]
fn leaving_and_arriving_one_after_another_is_the_walk() {
    let long = Cell::new(0);
    for_random_cases(1500, 60, |words, steps| composed(words, steps, &long));
    println!("{} packets had more than one leg after leaving", long.get());
    assert!(long.get() > 500);
}
