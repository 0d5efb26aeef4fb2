//! The decision law where a NAT gateway is on the way of every connection: clients whose source ports lie close
//! together, a few destinations, and ACL rules whose limits lie among the ports on both sides of the gateway.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use hashbrown::HashSet;
use proptest::prelude::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use atoll_fabric::{Verdict, flows, walk};
use atoll_model::EniId;
use atoll_net::packet::{protocol, tcp_flags};

use super::decide::answer_to;
use super::decision_law::{holds, made_or_seen, pause, some_ports, with_flags};
use super::law_host::Host;
use super::*;
use crate::rig_rows as rows;
use crate::world::packets::Arrived;
use crate::world::{Choices, for_random_cases};

const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 51, 100, 11)];

/// Three behind the gateway.
fn clients() -> Vec<rows::Interface> {
    let client = |host| rows::Interface {
        subnet: 1,
        host,
        groups: vec![rows::OPEN],
        ..rows::Interface::default()
    };
    vec![client(10), client(11), client(12)]
}

fn enis() -> Vec<EniId> {
    clients().iter().map(rows::Interface::id).collect()
}

fn host(now: Timestamp) -> Host {
    let mut fabric = Fabric::default();
    let mut deltas = vec![
        rows::base(),
        rows::nat_gateway(),
        rows::put(vec![rows::private_table()]),
    ];
    deltas.extend(clients().iter().map(rows::Interface::delta));
    for delta in deltas {
        fabric.apply(&delta);
    }
    Host::of(fabric, &enis(), now)
}

/// What opens a connection from a port of two blocks, mostly.
fn opening(choices: &mut Choices) -> Packet {
    let client = &clients()[choices.below(3)];
    let udp = choices.chance(30);
    let src = match choices.below(10) {
        0 => choices.below(65_536) as u16,
        1 => choices.below(512) as u16,
        _ => 40_000 + choices.below(400) as u16,
    };
    Packet {
        ingress: Port::Eni(client.id()),
        src_mac: client.mac(),
        dst_mac: rows::subnet(1).router_mac(),
        src: IpAddr::V4(client.v4()),
        dst: IpAddr::V4(REMOTES[choices.below(2)]),
        protocol: if udp { protocol::UDP } else { protocol::TCP },
        l4: L4::Ports {
            src,
            dst: [80, 443][choices.below(2)],
            tcp_flags: if udp { 0 } else { tcp_flags::SYN },
        },
        hop_limit: 64,
        length: 60,
        dont_fragment: true,
        fragment: None,
        quote: None,
    }
}

/// Denies some ports near one that was seen, in one direction or both.
fn acl(arrived: &[Arrived], choices: &mut Choices) -> Delta {
    let mut near = || {
        let seen = arrived.iter().rev().nth(choices.below(4)).map(|got| got.1.l4);
        let port = match seen {
            Some(L4::Ports { src, .. }) if choices.chance(60) => src,
            _ => 40_000 + choices.below(400) as u16,
        };
        let from = port.saturating_add(choices.below(60) as u16).saturating_sub(30);
        (from, from.saturating_add(choices.below(40) as u16))
    };
    let ranges = [near(), near()];
    let entries: Vec<_> = ranges
        .iter()
        .enumerate()
        .map(|(n, (from, to))| (90 + n as u16, "deny", rows::tcp(*from, *to), "0.0.0.0/0"))
        .collect();
    let (ingress, egress) = entries.split_at(choices.below(3));
    rows::put(vec![rows::acl(ingress, egress)])
}

/// The mappings that there are, with what is known of their connections.
fn mappings(flows: &Flows, now: Timestamp) -> HashSet<(flows::Mapping, flows::State)> {
    let places = (0..flows.mappings() as u32).map(|number| flows::Place {
        shelf: flows::Shelf::Mappings,
        number,
    });
    let live = places.filter_map(|place| match flows.remembered(place)? {
        flows::Remembered::Mapping {
            mapping,
            state,
            until,
            ..
        } => (until > now).then_some((mapping, state)),
        flows::Remembered::Connection { .. } => None,
    });
    live.collect()
}

/// No two connections to a destination have one port outside.
fn apart(flows: &Flows, now: Timestamp) -> Result<(), TestCaseError> {
    let mut seen = HashSet::new();
    for (m, _) in mappings(flows, now) {
        let alone = seen.insert((m.outside, m.outside_port, m.remote, m.remote_port, m.protocol));
        prop_assert!(alone, "{:?}", m);
    }
    Ok(())
}

const PAUSES: [u64; 6] = [1, 3, 11, 31, 61, 351];

/// What ends a connection, or seems to: whether its client says it, and the flags.
fn ends(choices: &mut Choices) -> &'static [(bool, u8)] {
    const ACK: u8 = tcp_flags::ACK;
    const FIN: u8 = tcp_flags::FIN | ACK;
    const ALL: [&[(bool, u8)]; 8] = [
        &[],
        &[(true, FIN)],
        &[(false, FIN)],
        &[(true, FIN), (false, FIN), (true, ACK)],
        &[(false, FIN), (true, FIN), (false, FIN)],
        &[(true, tcp_flags::RST)],
        &[(false, tcp_flags::RST)],
        &[(false, tcp_flags::RST), (true, ACK), (false, ACK)],
    ];
    ALL[choices.below(ALL.len())]
}

/// What a kept answer forwards, a fresh walk forwards as well.
fn kept_as_walked(host: &Host, now: Timestamp, packet: &Packet) -> Result<(), TestCaseError> {
    let packet = with_flags(packet, tcp_flags::ACK);
    let Engine {
        fabric,
        flows,
        cache,
        cells,
        ..
    } = &host.engine;
    let Some(found) = host.key(&packet).and_then(|key| cache.peek(&key)) else {
        return Ok(());
    };
    let Some(path) = cache.answer(&found, cells, now.0 as u32) else {
        return Ok(());
    };
    let fresh = walk(fabric, flows, &packet, now, &mut ());
    let Verdict::Forward(action) = fresh.verdict else {
        return Err(TestCaseError::fail(format!("{} of {packet:?}", fresh.stage())));
    };
    let (kept, rewrite) = (path.rewrite_with(found.number), action.rewrite);
    prop_assert_eq!(
        (kept.src, kept.dst, kept.src_port, kept.dst_port),
        (rewrite.src, rewrite.dst, rewrite.src_port, rewrite.dst_port)
    );
    Ok(())
}

fn decisions_hold(words: &[u32], steps: &[[u32; 14]], checked: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut now = Timestamp(1_000_000_000_000);
    let mut host = host(now);
    let mut arrived: Vec<Arrived> = Vec::new();
    let mut asked: Vec<Packet> = Vec::new();
    let mut both: Vec<[Packet; 2]> = Vec::new();
    host.engine.apply(&acl(&[], &mut Choices::new(words)));
    for words in steps {
        let mut choices = Choices::new(words);
        now = now.plus_millis(10);
        match choices.below(20) {
            18 => {
                now = now.plus_millis(PAUSES[choices.below(6)] * 1000);
                host.engine.sweep(now, 10_000);
            }
            19 => host.engine.apply(&acl(&arrived, &mut choices)),
            _ => {
                let packet = opening(&mut choices);
                asked.push(packet);
                let Some(got) = host.send(now, &packet) else {
                    continue;
                };
                let answer = answer_to(&got.1, got.0);
                if choices.chance(60) {
                    host.send(now, &answer);
                }
                for (from_client, flags) in ends(&mut choices) {
                    let one = if *from_client { &packet } else { &answer };
                    host.send(now, &with_flags(one, *flags));
                }
                both.push([packet, answer]);
                arrived.push(got);
            }
        }
        apart(&host.engine.flows, now)?;
        for packet in both.iter().rev().take(5).flatten() {
            kept_as_walked(&host, now, packet)?;
        }
        for packet in asked.iter().rev().take(5) {
            if let Some(kept) = host.decision(now, packet) {
                for port in some_ports(&kept.1, &mut choices) {
                    checked.set(checked.get() + 1);
                    holds(&host, now, packet, &kept, port, &mut choices)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_kept_decision_is_what_fresh_walks_say_where_a_nat_gateway_is_on_the_way() {
    // semantics 79, 83
    let checked = Cell::new(0);
    for_random_cases(60, 80, |words, steps| decisions_hold(words, steps, &checked));
    println!("{} connections walked that a decision is about", checked.get());
    assert!(checked.get() > 2000);
}

fn takes_up(words: &[u32], steps: &[[u32; 14]], taken: &Cell<usize>) -> Result<(), TestCaseError> {
    let mut now = Timestamp(1_000_000_000_000);
    let mut hosts = [host(now), host(now)];
    let mut arrived: Vec<Arrived> = Vec::new();
    let apply = |hosts: &mut [Host; 2], delta: Delta| {
        hosts.iter_mut().for_each(|host| host.engine.apply(&delta));
    };
    apply(&mut hosts, acl(&[], &mut Choices::new(words)));
    let changes = steps.len().is_multiple_of(2);
    for words in steps {
        let mut choices = Choices::new(words);
        now = now.plus_millis(10);
        match choices.below(20) {
            18 => {
                now = match changes {
                    true => pause(now, changes, choices.below(6)),
                    false => now.plus_millis(PAUSES[choices.below(6)] * 1000),
                };
                hosts.iter_mut().for_each(|host| host.engine.sweep(now, 10_000));
            }
            19 => apply(&mut hosts, acl(&arrived, &mut choices)),
            _ => {
                let packet = opening(&mut choices);
                let [a, b] = &mut hosts;
                let (one, other) = (a.send(now, &packet), b.send(now, &packet));
                prop_assert_eq!(one, other, "{:?}", packet);
                arrived.extend(one);
                if let Some((_, decision)) = hosts[0].decision(now, &packet) {
                    let port = some_ports(&decision, &mut choices)[2];
                    let between = changes && choices.chance(30);
                    let last = made_or_seen(
                        &mut hosts,
                        &enis(),
                        now,
                        &packet,
                        port,
                        &mut choices,
                        |hosts, choices| {
                            if between {
                                apply(hosts, acl(&arrived, choices));
                            }
                        },
                    )?;
                    taken.set(taken.get() + usize::from(last.is_some()));
                    let [a, b] = hosts.each_ref().map(|host| mappings(&host.engine.flows, now));
                    prop_assert_eq!(a, b);
                }
                apart(&hosts[0].engine.flows, now)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_flow_made_with_a_port_set_aside_leaves_what_its_packets_would_have_left() {
    // semantics 79, 80
    let taken = Cell::new(0);
    for_random_cases(60, 80, |words, steps| takes_up(words, steps, &taken));
    println!("{} flows taken up", taken.get());
    assert!(taken.get() > 300);
}
