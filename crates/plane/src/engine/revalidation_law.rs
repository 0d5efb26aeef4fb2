//! The revalidation law: an engine that looks at stale answers in the background does with every packet what one does that
//! waits for the packet, and knows the same of connections; what it has looked at is what a fresh walk says.

use std::cell::Cell;

use proptest::prelude::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use atoll_fabric::flows::{Effect, State};
use atoll_fabric::walk;
use atoll_model::EniId;
use atoll_net::packet::{protocol, tcp_flags};

use super::decision_law::{next_packet, read};
use super::*;
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

/// Whatever is kept and holds is what a fresh walk of its flow's next packet says, and says until then.
fn as_walked(engine: &Engine, now: Timestamp) -> Result<usize, TestCaseError> {
    let Engine { cache, cells, .. } = engine;
    let mut holding = 0;
    for (_, key, found) in cache.stretch(0..cache.places()) {
        let Some(path) = cache.answer(&found, cells, now.0 as u32) else {
            continue;
        };
        holding += 1;
        let flags = if key.protocol() == protocol::TCP {
            tcp_flags::ACK
        } else {
            0
        };
        let packet = engine.imagine_of(&key, path.macs, flags).unwrap();
        let outcome = walk(&engine.fabric, &engine.flows, &packet, now, &mut ());
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
        remembered(engine, now, &packet)?;
    }
    Ok(holding)
}

/// What a packet that has just been forwarded belongs to is known for its whole idle time from now on. But for a TCP
/// connection that has ended at one end alone, by a RST that was dropped on its way: whatever was kept of the other
/// direction goes on until its time is over.
fn remembered(engine: &Engine, now: Timestamp, packet: &Packet) -> Result<(), TestCaseError> {
    let outcome = walk(&engine.fabric, &engine.flows, packet, now, &mut ());
    for effect in outcome.effects.iter() {
        let (Effect::Track { timeout, begins, .. } | Effect::Map { timeout, begins, .. }) = effect;
        let ended = packet.protocol == protocol::TCP && *timeout == 60_000;
        let known = engine.flows.known_until(effect, now);
        if let Some(until) = known.filter(|_| !begins && !ended) {
            prop_assert!(
                until >= now.plus_millis(u64::from(*timeout)),
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
                let (got, wanted) = (send(one, now, &packet), send(other, now, &packet));
                prop_assert_eq!(&got, &wanted, "{:?}", packet);
                for engine in [&*one, &*other] {
                    prop_assert_eq!(
                        known(engine, &enis, now, &packet),
                        known(other, &enis, now, &packet),
                        "{:?}",
                        packet
                    );
                    if !got.0.is_empty() {
                        remembered(engine, now, &packet)?;
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
