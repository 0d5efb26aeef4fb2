//! The decision law: a kept decision is what fresh walks say of every connection that it is about, both ways, and a
//! flow that the kernel made and the engine takes up leaves what its packets would have left had they come up.

use std::cell::Cell;

use hashbrown::HashMap;
use proptest::prelude::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use atoll_fabric::flows::State;
use atoll_fabric::{Action, Outcome, Verdict, walk};
use atoll_model::EniId;
use atoll_net::packet::{protocol, tcp_flags};

use super::after::After;
use super::decide::answer_to;
use super::law_host::Host;
use super::made::{Life, Made};
use super::*;
use crate::cache::{Decision, Path, PortRole};
use crate::frames;
use crate::world::packets::Arrived;
use crate::world::{Choices, World, for_random_cases};

/// The same connection's packet with other TCP flags.
pub(super) fn with_flags(packet: &Packet, flags: u8) -> Packet {
    let L4::Ports { src, dst, .. } = packet.l4 else {
        panic!("ports")
    };
    let tcp_flags = if packet.protocol == protocol::TCP {
        flags
    } else {
        0
    };
    let l4 = L4::Ports { src, dst, tcp_flags };
    Packet { l4, ..*packet }
}

/// The packet that opens a connection from a port, as a decision is about it.
fn opening(packet: &Packet, path: &Path, port: u16) -> Packet {
    let L4::Ports { dst, .. } = packet.l4 else {
        panic!("ports")
    };
    let (src_mac, dst_mac) = path.macs.unwrap_or((packet.src_mac, packet.dst_mac));
    let l4 = L4::Ports {
        src: port,
        dst,
        tcp_flags: 0,
    };
    let packet = Packet {
        src_mac,
        dst_mac,
        l4,
        hop_limit: 64,
        length: 60,
        fragment: None,
        quote: None,
        ..*packet
    };
    with_flags(&packet, tcp_flags::SYN)
}

/// Holds what a walk says against a kept path and the flow's own number.
fn same(
    host: &Host,
    packet: &Packet,
    outcome: &Outcome,
    (path, number): (&Path, u16),
) -> Result<Action, TestCaseError> {
    let Verdict::Forward(action) = outcome.verdict else {
        return Err(TestCaseError::fail(format!(
            "{} of {packet:?}, but kept is {path:?}",
            outcome.stage()
        )));
    };
    let Some(standing) = host.engine.ports.named(action.out) else {
        return Err(TestCaseError::fail("a path to a port that is not here"));
    };
    let macs = match action.out {
        Port::Eni(_) => (action.src_mac, action.dst_mac),
        Port::Internet => (frames::ROUTER, frames::STATION),
    };
    let rewrite = action.rewrite;
    prop_assert_eq!(
        (rewrite.src_port, rewrite.dst_port, rewrite.icmp_id),
        match path.role {
            PortRole::None => (None, None, None),
            PortRole::Source => (Some(number), None, None),
            PortRole::Destination => (None, Some(number), None),
            PortRole::IcmpId => (None, None, Some(number)),
        }
    );
    prop_assert_eq!(
        (path.out, path.ifindex, path.exits),
        (standing.slot, standing.ifindex, action.out == Port::Internet)
    );
    prop_assert_eq!((path.src_mac, path.dst_mac), macs);
    prop_assert_eq!((path.rewrite.src, path.rewrite.dst), (rewrite.src, rewrite.dst));
    prop_assert_eq!(
        (path.hop_limit_decrement, path.mtu),
        (action.hop_limit_decrement, action.mtu)
    );
    prop_assert_eq!(action.clamp_mss, None);
    Ok(action)
}

/// What a decision about a key's like is kept for.
fn ask_of(key: &Key, decision: &Decision) -> Key {
    match decision.translated {
        None => key.any_source_port(),
        Some(_) => key.any_port_of_block(),
    }
}

/// Walks a connection from a port that a decision is about: packet after packet there and back.
pub(super) fn holds(
    host: &Host,
    now: Timestamp,
    packet: &Packet,
    (ask, decision): &(Key, Decision),
    port: u16,
    choices: &mut Choices,
) -> Result<(), TestCaseError> {
    let (there, back) = (host.path(decision.there.0), host.path(decision.back.0));
    let seen_port = decision.seen_port(port);
    let Engine { fabric, flows, .. } = &host.engine;
    let mut after = After {
        flows,
        effects: Vec::new(),
    };
    // Whatever the program lets pass.
    let mut vary = |packet: Packet, path: &Path| Packet {
        hop_limit: [64, path.hop_limit_decrement + 1, 255][choices.below(3)],
        length: [60, path.mtu, 1400][choices.below(3)],
        dont_fragment: choices.chance(50),
        ..packet
    };
    let syn = vary(opening(packet, &there, port), &there);
    let first = walk(fabric, &after, &syn, now, &mut ());
    let action = same(host, &syn, &first, (&there, seen_port))?;
    let sent = first.forwarded(&syn).unwrap();
    let reply_key = Key::of_reply(there.out, &sent);
    prop_assert_eq!(reply_key.any_destination_port(), decision.reply);
    prop_assert_eq!(reply_key.words()[1] as u16, seen_port);
    prop_assert_eq!(host.key(&syn).map(|key| ask_of(&key, decision)), Some(*ask));

    let mut answer = answer_to(&sent, action.out);
    if let Some((src_mac, dst_mac)) = back.macs {
        prop_assert_eq!((answer.src_mac, answer.dst_mac), (src_mac, dst_mac));
    }
    answer = vary(answer, &back);
    after.effects.push(first.effects);
    let second = walk(fabric, &after, &answer, now, &mut ());
    same(host, &answer, &second, (&back, port))?;
    let returned = second.forwarded(&answer).unwrap();
    prop_assert_eq!((returned.src, returned.dst), (syn.dst, syn.src));
    let L4::Ports { src, dst, .. } = syn.l4 else {
        panic!()
    };
    let turned = matches!(returned.l4, L4::Ports { src: s, dst: d, .. } if (s, d) == (dst, src));
    prop_assert!(turned, "{:?}", returned);

    // And those after them.
    after.effects.push(second.effects);
    let third = vary(with_flags(&syn, tcp_flags::ACK), &there);
    let outcome = walk(fabric, &after, &third, now, &mut ());
    same(host, &third, &outcome, (&there, seen_port))?;
    after.effects.push(outcome.effects);
    let fourth = vary(with_flags(&answer, tcp_flags::ACK), &back);
    let outcome = walk(fabric, &after, &fourth, now, &mut ());
    same(host, &fourth, &outcome, (&back, port))?;
    Ok(())
}

/// A packet of something new, or an answer to one that arrived.
pub(super) fn next_packet(world: &World, arrived: &[Arrived], choices: &mut Choices) -> Option<Packet> {
    if choices.chance(45) {
        let got = arrived.iter().rev().nth(choices.below(arrived.len().min(4)))?;
        return world.reply(got, choices);
    }
    let packet = world.packet(choices)?;
    // No frame can say anything else.
    (packet.src.is_ipv4() == packet.dst.is_ipv4()).then_some(packet)
}

fn change(world: &mut World, engines: &mut [&mut Engine], choices: &mut Choices) {
    let before = world.clone();
    world.change(choices);
    let delta = world.delta_from(&before);
    engines.iter_mut().for_each(|engine| engine.apply(&delta));
}

pub(super) fn some_ports(decision: &Decision, choices: &mut Choices) -> [u16; 4] {
    let (from, to) = (*decision.ports.start(), *decision.ports.end());
    let mut within = || from + choices.below(usize::from(to - from) + 1) as u16;
    [from, to, within(), within()]
}

const PAUSES: [u64; 6] = [1, 29, 31, 61, 181, 351];

fn decisions_hold(
    words: &[u32],
    steps: &[[u32; 14]],
    [checked, translated]: [&Cell<usize>; 2],
) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut now = Timestamp(1_000_000_000_000);
    let mut host = Host::new(&world, now);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut asked: Vec<Packet> = Vec::new();
    for words in steps {
        let mut choices = Choices::new(words);
        now = now.plus_millis(10);
        match choices.below(20) {
            18 => {
                now = now.plus_millis(PAUSES[choices.below(6)] * 1000);
                host.engine.sweep(now, 10_000);
            }
            19 => change(&mut world, &mut [&mut host.engine], &mut choices),
            _ => {
                let Some(packet) = next_packet(&world, &arrived, &mut choices) else {
                    continue;
                };
                arrived.extend(host.send(now, &packet));
                if matches!(packet.l4, L4::Ports { .. }) && packet.fragment.is_none() {
                    asked.push(packet);
                }
            }
        }
        // Looked at again or not.
        if choices.chance(60) {
            host.engine.revalidate(now, choices.below(32));
        }
        // Whatever is kept, now and after what has changed since.
        for packet in asked.iter().rev().take(6) {
            if let Some(kept) = host.decision(now, packet) {
                for port in some_ports(&kept.1, &mut choices) {
                    checked.set(checked.get() + 1);
                    translated.set(translated.get() + usize::from(kept.1.translated.is_some()));
                    holds(&host, now, packet, &kept, port, &mut choices)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_kept_decision_is_what_fresh_walks_say_of_each_of_its_connections() {
    let (checked, translated) = (Cell::new(0), Cell::new(0));
    for_random_cases(400, 60, |words, steps| {
        decisions_hold(words, steps, [&checked, &translated])
    });
    println!(
        "{} connections walked that a decision is about, {} of them by a NAT gateway",
        checked.get(),
        translated.get()
    );
    assert!(checked.get() > 2000);
}

/// What comes of a connection, packet by packet: whether the client sends it, and its flags.
fn life(tcp: bool, choices: &mut Choices) -> Vec<(bool, u8)> {
    const ACK: u8 = tcp_flags::ACK;
    let mut packets = vec![(true, tcp_flags::SYN), (false, tcp_flags::SYN | ACK), (true, ACK)];
    for _ in 0..choices.below(4) {
        packets.extend([(false, ACK), (true, ACK)]);
    }
    // What says RST is ended by the kernel and never taken up.
    match choices.below(4) {
        _ if !tcp => {}
        2 => packets.extend([(true, tcp_flags::FIN | ACK), (false, tcp_flags::FIN | ACK)]),
        1 => packets.push((false, tcp_flags::FIN | ACK)),
        3 => packets.push((true, tcp_flags::FIN | ACK)),
        _ => {}
    }
    let most = packets.len();
    packets.truncate(most - choices.below(most));
    packets
}

/// Has the same connection happen in the kernel of one host, and come up packet by packet at the other. Then, `before` it is
/// known to the first one too, something else may happen to both. What arrived last comes back.
pub(super) fn made_or_seen(
    hosts: &mut [Host; 2],
    enis: &[EniId],
    now: Timestamp,
    packet: &Packet,
    port: u16,
    choices: &mut Choices,
    before: impl FnOnce(&mut [Host; 2], &mut Choices),
) -> Result<Option<Arrived>, TestCaseError> {
    let Some((ask, decision)) = hosts[0].decision(now, packet) else {
        return Ok(None);
    };
    let there = hosts[0].path(decision.there.0);
    let syn = opening(packet, &there, port);
    let [made, seen] = &mut *hosts;
    let known = |host: &Host, packet: &Packet, outbound| -> Vec<_> {
        let Engine { fabric, flows, .. } = &host.engine;
        let states = enis
            .iter()
            .map(|eni| fabric.tracked(flows, *eni, packet, outbound, now));
        // Whether TCP is a stream says nothing (semantics 46), and the packet that would make it one may be forwarded by
        // an answer that was kept before, where its answers come another way.
        let counts = |state: State| match packet.protocol {
            protocol::TCP => State(state.0 & !State::STREAM),
            _ => state,
        };
        states.map(|state| state.map(counts)).collect()
    };
    let Some(key) = made.key(&syn) else {
        return Ok(None);
    };
    // The kernel makes flows only of what it does not know.
    if known(made, &syn, true)
        .iter()
        .chain(&known(made, &syn, false))
        .any(Option::is_some)
    {
        return Ok(None);
    }
    let tcp = syn.protocol == protocol::TCP;
    let (mut near, mut far) = ((0, false), (0, false));
    let mut answer: Option<Packet> = None;
    let mut last = None;
    for (from_client, flags) in life(tcp, choices) {
        let (base, count) = match (from_client, answer) {
            (true, _) => (syn, &mut near),
            (false, Some(answer)) => (answer, &mut far),
            (false, None) => panic!("an answer to nothing"),
        };
        let Some((to, got)) = seen.send(now, &with_flags(&base, flags)) else {
            return Err(TestCaseError::fail(format!(
                "flags {flags:#x} of {base:?} dropped"
            )));
        };
        last = Some((to, got));
        if answer.is_none() {
            answer = Some(answer_to(&got, to));
        }
        count.0 += 1;
        count.1 |= tcp && flags & tcp_flags::FIN != 0;
    }
    let answer = answer.unwrap();
    let Some(back) = made.key(&answer) else {
        return Err(TestCaseError::fail("an answer without a key"));
    };
    prop_assert_eq!(back.any_destination_port(), decision.reply);
    prop_assert_eq!(ask_of(&key, &decision), ask);
    let path = |number: u32| (number, made.engine.cache.path(number).1);
    let flow = Made {
        there: key,
        back,
        there_path: path(decision.there.0),
        back_path: path(decision.back.0),
        decision: decision.number,
    };
    {
        let mut one = made.seen.0.lock().unwrap();
        one.count += 1;
        one.packets = HashMap::from_iter([(key, near.0), (back, far.0)]);
        let life = Life {
            since: now.0 as u32,
            fin: (near.1, far.1),
            ..Life::default()
        };
        one.last = Some((flow, life));
    }
    before(hosts, choices);
    let [made, seen] = &mut *hosts;
    prop_assert!(made.engine.has_fresh());
    made.engine.take_up_all(now);
    prop_assert!(!made.engine.has_fresh());
    for packet in [&syn, &answer] {
        for outbound in [false, true] {
            prop_assert_eq!(
                known(made, packet, outbound),
                known(seen, packet, outbound),
                "of {:?} after {:?} and {:?}",
                packet,
                near,
                far
            );
        }
    }
    Ok(last)
}

/// Lets time pass. Where rules change before a flow is taken up, nothing is kept of it, and its time begins then; the host that
/// met its packets remembers it as much longer as an answer to them held. So either less passes than the shortest timeout, in
/// all steps together, or all is forgotten.
pub(super) fn pause(now: Timestamp, changes: bool, choice: usize) -> Timestamp {
    const SECOND: u64 = 1000;
    if !changes {
        return now.plus_millis(PAUSES[choice] * SECOND);
    }
    now.plus_millis([50, 100, 200, 300, 400, 500_000 * SECOND][choice])
}

fn takes_up(
    words: &[u32],
    steps: &[[u32; 14]],
    [taken, translated, changed]: [&Cell<usize>; 3],
) -> Result<(), TestCaseError> {
    let mut world = World::random(&mut Choices::new(words));
    let mut now = Timestamp(1_000_000_000_000);
    // Both set the same ports aside, so that they choose the same.
    let mut hosts = [Host::new(&world, now), Host::new(&world, now)];
    let enis: Vec<EniId> = world.enis.keys().copied().collect();
    let mut arrived: Vec<Arrived> = Vec::new();
    let changes = steps.len().is_multiple_of(2);
    for words in steps {
        let mut choices = Choices::new(words);
        now = now.plus_millis(10);
        match choices.below(20) {
            18 => {
                now = pause(now, changes, choices.below(6));
                hosts.iter_mut().for_each(|host| host.engine.sweep(now, 10_000));
            }
            19 => {
                let [a, b] = &mut hosts;
                change(&mut world, &mut [&mut a.engine, &mut b.engine], &mut choices);
            }
            _ => {
                let Some(packet) = next_packet(&world, &arrived, &mut choices) else {
                    continue;
                };
                let [a, b] = &mut hosts;
                let (one, other) = (a.send(now, &packet), b.send(now, &packet));
                prop_assert_eq!(one, other, "{:?}", packet);
                prop_assert_eq!(&a.out, &b.out);
                arrived.extend(one);
                if matches!(packet.l4, L4::Ports { .. })
                    && packet.fragment.is_none()
                    && let Some((_, decision)) = hosts[0].decision(now, &packet)
                {
                    let port = some_ports(&decision, &mut choices)[2];
                    let between = changes && choices.chance(50);
                    let last = made_or_seen(
                        &mut hosts,
                        &enis,
                        now,
                        &packet,
                        port,
                        &mut choices,
                        |[a, b], choices| {
                            if between {
                                changed.set(changed.get() + 1);
                                change(&mut world, &mut [&mut a.engine, &mut b.engine], choices);
                                // Another decision may have come in the place of the one that it was made by.
                                let looks = choices.below(100);
                                a.engine.revalidate(now, looks);
                                b.engine.revalidate(now, looks);
                            }
                        },
                    )?;
                    taken.set(taken.get() + usize::from(last.is_some()));
                    let both = last.is_some() && decision.translated.is_some();
                    translated.set(translated.get() + usize::from(both));
                    arrived.extend(last);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_made_flow_that_is_taken_up_leaves_what_its_packets_would_have_left() {
    let [taken, translated, changed] = [const { Cell::new(0) }; 3];
    for_random_cases(400, 60, |words, steps| {
        takes_up(words, steps, [&taken, &translated, &changed])
    });
    println!(
        "{} flows taken up, {} of them by a NAT gateway, {} after a change",
        taken.get(),
        translated.get(),
        changed.get()
    );
    assert!(taken.get() > 300 && changed.get() > 100);
}
