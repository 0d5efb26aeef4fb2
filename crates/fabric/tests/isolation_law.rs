//! VPCs are isolated, also with equal CIDRs: what passes from one to another goes out through a gateway of the one
//! and in through a gateway of the other. (No later noun joins VPCs yet: peering, transit gateways, endpoints.)
#![allow(clippy::unwrap_used)]

mod rows;
mod world;

use std::cell::Cell;

use atoll_fabric::{Fabric, Flows, Hop, Limits, NoFlows, Outcome, Packet, Place, Port, Verdict, walk};
use atoll_model::{EniId, Timestamp, VpcId};
use proptest::prelude::*;
use world::packets::Arrived;
use world::{Choices, World, for_random_cases};

fn vpc_of_eni(world: &World, id: EniId) -> Option<VpcId> {
    world.enis.get(&id).map(|eni| eni.vpc)
}

/// The VPC that a component is a part of; `None` outside.
fn vpc_of(world: &World, place: Place) -> Option<VpcId> {
    match place {
        Place::Interface(id) | Place::SecurityGroups(id, _) => vpc_of_eni(world, id),
        Place::Subnet(id) | Place::NetworkAcl(_, id, _) => world.subnets.get(&id).map(|s| s.vpc),
        Place::RouteTable(id) => world.tables.get(&id).map(|t| t.vpc),
        Place::NatGateway(id) => world.nats.get(&id).map(|n| n.vpc),
        Place::InternetGateway(id) => world.igws.get(&id).and_then(|g| g.vpc),
        Place::EgressOnlyGateway(id) => world.eigws.get(&id).map(|g| g.vpc),
        Place::Internet => None,
    }
}

fn is_gateway(place: Place) -> bool {
    matches!(place, Place::InternetGateway(_) | Place::EgressOnlyGateway(_))
}

/// Every step of a way stays in its VPC, or goes out and in by gateways.
fn keeps_apart(
    world: &World,
    packet: &Packet,
    outcome: &Outcome,
    hops: &[Hop],
) -> Result<bool, TestCaseError> {
    let from = match packet.ingress {
        Port::Eni(id) => vpc_of_eni(world, id),
        Port::Internet => None,
    };
    let mut last: (Option<VpcId>, bool) = (from, false);
    let mut crossed = false;
    for hop in hops {
        let here = (vpc_of(world, hop.place), is_gateway(hop.place));
        if here.0 != last.0 {
            let out = last.0.is_none() || last.1;
            let into = here.0.is_none() || here.1;
            prop_assert!(
                out && into,
                "{:?} reaches {:?} past its gateways: {:#?}",
                packet,
                hop.place,
                hops
            );
            crossed |= from.is_some() && here.0.is_some() && here.0 != from;
        }
        last = here;
    }
    if let Verdict::Forward(action) = outcome.verdict {
        let to = match action.out {
            Port::Eni(id) => vpc_of_eni(world, id),
            Port::Internet => None,
        };
        prop_assert_eq!(
            to,
            last.0,
            "the trace of {:?} ends elsewhere than the packet",
            packet
        );
        prop_assert!(to == from || hops.iter().any(|h| is_gateway(h.place)));
    }
    Ok(crossed)
}

/// The region without the other VPCs.
fn alone(world: &World, vpc: VpcId) -> World {
    let mut alone = world.clone();
    alone.vpcs.retain(|id, _| *id == vpc);
    alone.subnets.retain(|_, s| s.vpc == vpc);
    alone.tables.retain(|_, t| t.vpc == vpc);
    alone.igws.retain(|_, g| g.vpc == Some(vpc));
    alone.eigws.retain(|_, g| g.vpc == vpc);
    alone.nats.retain(|_, n| n.vpc == vpc);
    alone.acls.retain(|_, a| a.vpc == vpc);
    alone.groups.retain(|_, g| g.vpc == vpc);
    alone.enis.retain(|_, e| e.vpc == vpc);
    alone.instances.retain(|_, i| i.vpc == vpc);
    alone
}

/// A packet, with care for what could lead it astray: MACs and addresses of another VPC's.
fn stray(world: &World, arrived: &[Arrived], choices: &mut Choices) -> Option<Packet> {
    if choices.chance(30) {
        let got = arrived.iter().rev().nth(choices.below(arrived.len().min(4)))?;
        return world.reply(got, choices);
    }
    let mut packet = world.packet(choices)?;
    if let Port::Eni(_) = packet.ingress
        && choices.chance(15)
    {
        let enis: Vec<_> = world.enis.values().collect();
        let other = choices.pick(&enis)?;
        match choices.below(3) {
            0 => packet.dst_mac = other.mac,
            1 => packet.dst_mac = world.subnets.get(&other.subnet)?.router_mac(),
            _ => packet.dst = other.addresses().find(|a| a.is_ipv4() == packet.src.is_ipv4())?,
        }
    }
    Some(packet)
}

fn isolated(words: &[u32], steps: &[[u32; 14]], crossings: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut fabric = world.fabric(128);
    let mut now = Timestamp(1_000_000_000_000);
    let mut flows = Flows::new(Limits::SMALL, now);
    let mut arrived: Vec<Arrived> = Vec::new();
    for words in steps {
        let mut choices = Choices::new(words);
        match choices.below(20) {
            18 => now = now.plus_millis(31_000),
            19 => {
                let before = world.clone();
                world.change(&mut choices);
                flows.forget(&fabric.apply(&world.delta_from(&before)));
            }
            _ => {
                let Some(packet) = stray(&world, &arrived, &mut choices) else {
                    continue;
                };
                let mut hops = Vec::new();
                let outcome = walk(&fabric, &flows, &packet, now, &mut hops);
                if keeps_apart(&world, &packet, &outcome, &hops)? {
                    crossings.set(crossings.get() + 1);
                }
                if flows.commit(&outcome.effects, now, 0).is_err() {
                    return Ok(()); // a loop that takes a NAT port twice
                }
                if let (Some(out), Verdict::Forward(action)) = (outcome.forwarded(&packet), outcome.verdict) {
                    arrived.push((action.out, out));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_passes_between_vpcs_but_out_and_in_by_their_gateways() {
    let crossings = Cell::new(0);
    for_random_cases(2500, 50, |words, steps| isolated(words, steps, &crossings));
    println!("{} packets crossed by gateways", crossings.get());
    assert!(crossings.get() > 20, "the law was hardly tried");
}

/// Where a way ended, in terms that other VPCs do not enter into.
fn end(fabric: &Fabric, packet: &Packet) -> (Outcome, Vec<Hop>) {
    let mut hops = Vec::new();
    let outcome = walk(fabric, &NoFlows, packet, Timestamp(0), &mut hops);
    (outcome, hops)
}

fn undisturbed(words: &[u32], steps: &[[u32; 14]], compared: &Cell<usize>) -> Result<(), TestCaseError> {
    let world = World::random(&mut Choices::new(words));
    let fabric = world.fabric(128);
    let apart: Vec<(VpcId, Fabric)> = world
        .vpcs
        .keys()
        .map(|id| (*id, alone(&world, *id).fabric(128)))
        .collect();
    for words in steps {
        let Some(packet) = stray(&world, &[], &mut Choices::new(words)) else {
            continue;
        };
        let Port::Eni(id) = packet.ingress else { continue };
        let home = vpc_of_eni(&world, id);
        let (among, hops) = end(&fabric, &packet);
        // What leaves for another VPC's address ends elsewhere when there is no such VPC.
        let stays = |hop: &Hop| vpc_of(&world, hop.place).is_none_or(|vpc| Some(vpc) == home);
        let turned = hops.iter().any(|h| h.place == Place::Internet) && among.forwarded(&packet).is_none();
        if !hops.iter().all(stays) || turned {
            continue;
        }
        for (vpc, fabric) in &apart {
            if Some(*vpc) == home {
                let (single, _) = end(fabric, &packet);
                prop_assert_eq!(
                    &single.verdict,
                    &among.verdict,
                    "other VPCs change what becomes of {:?}",
                    packet
                );
                compared.set(compared.get() + 1);
            }
        }
    }
    Ok(())
}

#[test]
fn what_stays_in_a_vpc_ends_the_same_without_the_others() {
    let compared = Cell::new(0);
    for_random_cases(1500, 40, |words, steps| undisturbed(words, steps, &compared));
    println!("{} packets compared", compared.get());
    assert!(compared.get() > 2000);
}
