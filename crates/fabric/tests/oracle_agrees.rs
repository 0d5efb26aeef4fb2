//! The walk against a naive second opinion, over random regions, packets, replies, changes and time.
//!
//! A failure prints the seed, what was found, what led there, and the region.
#![allow(clippy::unwrap_used)]

mod oracle;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use atoll_fabric::flows::{Effect, Mapping};
use atoll_fabric::{Flows, Limits, Outcome, Packet, Stage, walk};
use atoll_model::{Change, Timestamp};
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
        let expected = without_macs(oracle.judge(&world, &packet, now, &taken));
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
        prop_assert_eq!(oracle.wrong_port, None);
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
    ];
    !later.iter().any(|prefix| stage.as_str().starts_with(prefix))
        && !matches!(stage, Stage::TableFull | Stage::NatPortExhausted)
}
