//! What a program made whose engine did not live to hear of it.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use atoll_fabric::Packet;
use atoll_net::packet::{protocol, tcp_flags};

use super::bytes::{
    OUTSIDE_V4, answer, established, flags, from, hosts, ifindex, offer, twin_of_groups, twin_of_seed,
    twin_with,
};
use super::*;
use crate::frames;
use crate::rig_rows as rows;

const ACK: u8 = tcp_flags::ACK;

/// Connections of every kind that a program has made: what is to be known of them, and what is over.
struct Left {
    links: Vec<OwnedFd>,
    living: Vec<[Packet; 2]>,
    over: Vec<[Packet; 2]>,
}

/// Makes connections of somebody whom nobody may reach, and ends engine and program's owner at once.
fn killed(prepare: impl Fn(&Twin)) -> Left {
    killed_of(rows::CLOSED, prepare)
}

/// The same of somebody of a group.
fn killed_of(group: u64, prepare: impl Fn(&Twin)) -> Left {
    let mut twin = twin_with(group);
    let [_, b, _] = hosts();
    let (mut living, mut over) = (Vec::new(), Vec::new());
    // Within, and through the NAT gateway by ports of the block that the first connection lies in.
    for dst in [IpAddr::from(b.v4()), b.v6().into(), OUTSIDE_V4.into()] {
        established(&mut twin, &from(0, dst, protocol::TCP, (4000, 80)));
        let mut made = |port| {
            let there = from(0, dst, protocol::TCP, (port, 80));
            let before = twin.fast.counters().made;
            let opened = offer(&mut twin, &flags(&there, tcp_flags::SYN));
            assert_eq!(twin.fast.counters().made, before + 1);
            let back = answer(&twin, &opened, protocol::TCP);
            for (packet, bits) in [(&back, tcp_flags::SYN | ACK), (&there, ACK), (&back, ACK)] {
                assert!(offer(&mut twin, &flags(packet, bits)).by_kernel);
            }
            [flags(&there, ACK), flags(&back, ACK)]
        };
        living.push(made(4001));
        let half = made(4002);
        let reset = made(4003);
        assert!(offer(&mut twin, &flags(&half[0], ACK | tcp_flags::FIN)).by_kernel);
        assert!(offer(&mut twin, &flags(&reset[1], tcp_flags::RST)).by_kernel);
        living.push(half);
        over.push(reset);
    }
    prepare(&twin);
    let links = (2..=5).filter_map(|port| twin.fast.link(port).unwrap()).collect();
    Left { links, living, over }
}

/// What the program and, behind it, the engine do with a packet.
fn passes(twin: &mut Twin, packet: &Packet) -> (bool, bool) {
    let (data, at) = (frames::frame(packet), ifindex(twin, packet));
    let run = test_run(twin.fast.program.as_fd(), &data[vnet::LENGTH..], at, None).unwrap();
    let by_kernel = run.verdict == REDIRECT;
    let by_engine = !by_kernel && !through(&mut twin.kernel, twin.now, at, &data).is_empty();
    twin.follow();
    (by_kernel, by_engine)
}

#[test]
fn the_next_engine_knows_what_a_program_made_whose_engine_was_killed() {
    if !machine(5) {
        return;
    }
    are_known(&killed(|_| {}));
}

#[test]
fn what_an_engine_was_taking_up_when_it_was_killed_is_known_to_the_next() {
    if !machine(5) {
        return;
    }
    are_known(&killed(|twin| {
        let kernel = twin.kernel.kernel().unwrap();
        (1..kernel.next()).for_each(|sequence| {
            kernel.take(sequence);
        });
    }));
}

fn are_known(left: &Left) {
    assert_eq!(left.links.len(), 4);
    // By itself it would give other ports.
    let mut next = twin_of_seed(6, rows::CLOSED);
    for [_, back] in &left.living {
        // The rules alone let nobody in.
        let (data, at) = (frames::frame(back), ifindex(&next, back));
        assert!(through(&mut next.plain, next.now, at, &data).is_empty());
        let (by_kernel, by_engine) = passes(&mut next, back);
        assert!(by_kernel || by_engine, "{back:?}");
    }
    for [_, back] in &left.over {
        assert_eq!(passes(&mut next, back), (false, false));
    }
    // They are known as any other: what ends them is the engine's.
    for [there, back] in left.living.iter().step_by(2) {
        for packet in [there, back] {
            assert_eq!(passes(&mut next, packet), (true, false));
        }
        let fin = flags(back, ACK | tcp_flags::FIN);
        assert_eq!(passes(&mut next, &fin), (false, true));
    }
}

#[test]
fn what_the_rules_of_now_would_not_let_in_is_not_let_in_by_its_answer() {
    if !machine(5) {
        return;
    }
    // semantics 44: everybody may reach everybody, so nothing is tracked but by the NAT gateway.
    let left = killed_of(rows::OPEN, |_| {});
    // When the next engine comes, nobody may reach the servers, which may reach anybody.
    let mut next = twin_of_groups(5, [rows::OPEN, rows::CLOSED, rows::CLOSED]);
    for [there, _] in &left.living {
        let (data, at) = (frames::frame(there), ifindex(&next, there));
        let by_rules = !through(&mut next.plain, next.now, at, &data).is_empty();
        let (by_kernel, by_engine) = passes(&mut next, there);
        assert_eq!(by_kernel || by_engine, by_rules, "{there:?}");
    }
}

#[test]
fn what_a_program_of_another_layout_made_is_judged_as_new() {
    if !machine(5) {
        return;
    }
    let left = killed(|twin| {
        twin.fast
            .now
            .set_nth_word(0, layout::LAYOUT_OF, layout::LAYOUT ^ 1);
    });
    let mut next = twin_with(rows::CLOSED);
    for [_, back] in &left.living {
        assert_eq!(passes(&mut next, back), (false, false));
    }
}
