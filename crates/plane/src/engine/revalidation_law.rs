//! The revalidation law: an engine that looks at stale answers in the background does with every packet what one does that
//! waits for the packet, and knows the same of connections; what it has looked at is what a fresh walk says.

use std::cell::Cell;
use std::collections::HashSet;

use proptest::prelude::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use atoll_fabric::flows::{Effect, State};
use atoll_fabric::walk;
use atoll_model::EniId;
use atoll_net::packet::{protocol, tcp_flags};

use super::decision_law::next_packet;
use super::law_host::read;
use super::*;
use crate::cache::Path;
use crate::frames;
use crate::world::packets::Arrived;
use crate::world::{Choices, World, for_random_cases};

fn engine(world: &World, now: Timestamp) -> Engine {
    let mut engine = Engine::new(world.fabric(128), Capacity::SMALL, 5, now);
    engine.port_up(1, frames::INTERNET).unwrap();
    for (n, eni) in world.instance_enis().into_iter().enumerate() {
        engine.port_up(n as u32 + 2, Attachment::Eni(eni)).unwrap();
    }
    engine
}

/// Sends a frame; what goes out comes back.
fn send(engine: &mut Engine, now: Timestamp, packet: &Packet) -> (Outbox, Vec<u8>) {
    let (mut out, mut data) = (Outbox::new(), frames::frame(packet));
    let Some(standing) = engine.ports.named(packet.ingress).copied() else {
        return (out, data);
    };
    let received = Received {
        ifindex: standing.ifindex,
        tagged: false,
        truncated: false,
        data: &mut data,
    };
    engine.process(now, &mut [received], &mut out);
    (out, data)
}

/// What interfaces know of a packet's connection.
fn known(engine: &Engine, enis: &[EniId], now: Timestamp, packet: &Packet) -> Vec<Option<State>> {
    // Whether TCP is a stream says nothing (semantics 46).
    let counts = |state: State| match packet.protocol {
        protocol::TCP => State(state.0 & !State::STREAM),
        _ => state,
    };
    let both = enis.iter().flat_map(|eni| [(eni, false), (eni, true)]);
    both.map(|(eni, outbound)| {
        let state = engine.fabric.tracked(&engine.flows, *eni, packet, outbound, now);
        state.map(counts)
    })
    .collect()
}

/// The answers that hold: what they are about, for how long they do, how they lead, and their flow's next packet.
fn holding(engine: &Engine, now: Timestamp) -> Vec<(Key, Found, Path, Packet)> {
    let at = now.0 as u32;
    let Engine { cache, cells, .. } = engine;
    let kept = cache.stretch(0..cache.places());
    let holds = kept.filter_map(|(_, key, found)| Some((key, found, *cache.answer(&found, cells, at)?)));
    holds
        .map(|(key, found, path)| {
            let flags = match key.protocol() {
                protocol::TCP => tcp_flags::ACK,
                _ => 0,
            };
            (
                key,
                found,
                path,
                engine.imagine_of(&key, path.macs, flags).unwrap(),
            )
        })
        .collect()
}

/// For how many milliseconds an answer holds.
fn left(found: &Found, now: Timestamp) -> u32 {
    found.expires.wrapping_sub(now.0 as u32)
}

/// Whatever is kept and holds is what a fresh walk of its flow's next packet says, and says until then.
fn as_walked(engine: &Engine, now: Timestamp) -> Result<usize, TestCaseError> {
    let holding = holding(engine, now);
    for (_, found, path, packet) in &holding {
        let outcome = walk(&engine.fabric, &engine.flows, packet, now, &mut ());
        let atoll_fabric::Verdict::Forward(action) = outcome.verdict else {
            return Err(TestCaseError::fail(format!(
                "{} of {packet:?}, but kept is {path:?}",
                outcome.stage()
            )));
        };
        let standing = engine.ports.named(action.out).unwrap();
        prop_assert_eq!((path.out, path.ifindex), (standing.slot, standing.ifindex));
        prop_assert_eq!(
            (path.rewrite.src, path.rewrite.dst, path.mtu),
            (action.rewrite.src, action.rewrite.dst, action.mtu)
        );
        let rewrite = path.rewrite_with(found.number);
        prop_assert_eq!(
            (rewrite.src_port, rewrite.dst_port, rewrite.icmp_id),
            (
                action.rewrite.src_port,
                action.rewrite.dst_port,
                action.rewrite.icmp_id
            )
        );
        // No answer outlives what is known of its connection. Mostly that is known for its whole idle time after the answer's
        // last packet; a little shorter where the connection met another interface's packets after the answer was left.
        remembered(engine, now, packet, (0, left(found, now)))?;
    }
    Ok(holding.len())
}

/// Whether what is known of what a packet belongs to is known for so long, counted in its idle time and in milliseconds.
fn remembered(
    engine: &Engine,
    now: Timestamp,
    packet: &Packet,
    (idle, more): (u64, u32),
) -> Result<(), TestCaseError> {
    let outcome = walk(&engine.fabric, &engine.flows, packet, now, &mut ());
    for effect in outcome.effects.iter() {
        let (Effect::Track { timeout, begins, .. } | Effect::Map { timeout, begins, .. }) = effect;
        if let Some(until) = engine.flows.known_until(effect, now).filter(|_| !begins) {
            prop_assert!(
                until >= now.plus_millis(u64::from(*timeout) * idle + u64::from(more)),
                "{:?} until {:?} of {:?}",
                effect,
                until,
                packet
            );
        }
    }
    Ok(())
}

/// A pause after which connections with a short idle time are forgotten, whenever within their hold it was that they were
/// last refreshed, and others are not; and one after which all are. Between two of the first is one of the second.
const LONG: u64 = 120_000;
const ENDLESS: u64 = 1_000_000_000;

#[derive(Default)]
struct Counts {
    looked: Cell<u64>,
    hits_more: Cell<u64>,
    holding: Cell<usize>,
}

fn same(words: &[u32], steps: &[[u32; 14]], counts: &Counts) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut now = Timestamp(1_000_000_000_000);
    let mut engines = [engine(&world, now), engine(&world, now)];
    let enis: Vec<EniId> = world.enis.keys().copied().collect();
    let mut arrived: Vec<Arrived> = Vec::new();
    let (mut last, mut paused) = (None, false);
    for words in steps {
        let mut choices = Choices::new(words);
        now = now.plus_millis(10);
        match choices.below(20) {
            17 => now = now.plus_millis(100),
            18 => {
                now = now.plus_millis(if paused { ENDLESS } else { LONG });
                paused = !paused;
                engines.iter_mut().for_each(|engine| engine.sweep(now, 10_000));
            }
            19 => {
                let before = world.clone();
                world.change(&mut choices);
                let delta = world.delta_from(&before);
                engines.iter_mut().for_each(|engine| engine.apply(&delta));
            }
            nth => {
                let packet = if nth < 6 {
                    last
                } else {
                    next_packet(&world, &arrived, &mut choices)
                };
                let Some(packet) = packet else { continue };
                last = Some(packet);
                let [one, other] = &mut engines;
                let hits = [one.counters.hits, other.counters.hits];
                let (got, wanted) = (send(one, now, &packet), send(other, now, &packet));
                prop_assert_eq!(&got, &wanted, "{:?}", packet);
                for (engine, hits) in [&*one, &*other].into_iter().zip(hits) {
                    prop_assert_eq!(
                        known(engine, &enis, now, &packet),
                        known(other, &enis, now, &packet),
                        "{:?}",
                        packet
                    );
                    if !got.0.is_empty() && engine.counters.hits == hits {
                        remembered(engine, now, &packet, (1, 0))?;
                    }
                }
                if let [Emission::Received { ifindex, .. }] = got.0[..] {
                    let to = one.ports.at(ifindex).unwrap().attachment.port();
                    arrived.extend(read(to, &got.1).map(|(_, packet)| (to, packet)));
                }
            }
        }
        let engine = &mut engines[0];
        let whole = choices.chance(40);
        if whole || choices.chance(50) {
            let (looked, before) = (engine.counters.revalidated, engine.counters.clone());
            let known = (engine.flows.connections(), engine.flows.mappings());
            let held: HashSet<Key> = holding(engine, now).iter().map(|(key, ..)| *key).collect();
            let budget = if whole { 10_000 } else { choices.below(8) };
            engine.revalidate(now, budget);
            while whole && engine.is_revalidating() {
                engine.revalidate(now, budget);
            }
            let mut counters = engine.counters.clone();
            let more = std::mem::replace(&mut counters.revalidated, looked) - looked;
            counts.looked.set(counts.looked.get() + more);
            prop_assert_eq!(&counters, &before);
            prop_assert_eq!(known, (engine.flows.connections(), engine.flows.mappings()));
            // Who is given an answer again is remembered as if its last packet had been walked.
            for (key, found, _, packet) in holding(engine, now) {
                if !held.contains(&key) {
                    remembered(engine, now, &packet, (1, left(&found, now)))?;
                }
            }
        }
        counts.holding.set(counts.holding.get() + as_walked(engine, now)?);
    }
    let [one, other] = &engines;
    let ended = |engine: &Engine| engine.counters.stages().collect::<Vec<_>>();
    prop_assert_eq!(ended(one), ended(other));
    let more = one.counters.hits.saturating_sub(other.counters.hits);
    counts.hits_more.set(counts.hits_more.get() + more);
    Ok(())
}

#[test]
fn looking_at_stale_answers_in_the_background_changes_nothing_that_a_packet_meets() {
    let counts = Counts::default();
    for_random_cases(4000, 80, |words, steps| same(words, steps, &counts));
    let (looked, more) = (counts.looked.get(), counts.hits_more.get());
    println!(
        "{looked} stale answers looked at, {more} packets more that met a kept one; {} answers held against walks",
        counts.holding.get()
    );
    assert!(looked > 300 && more > 10);
}
