//! Connections that the program makes by decisions: of which ports, and all of their life.

use std::net::IpAddr;

use atoll_fabric::{L4, Packet};
use atoll_net::packet::{protocol, tcp_flags};

use super::bytes::{ACK, OUTSIDE_V4, answer, established, flags, from, hosts, offer, twin};
use super::*;

use crate::rig_rows as rows;

/// All of a connection that was opened is the kernel's, to the end.
fn whole_life(twin: &mut Twin, opened: &Offered, opening: &Packet) {
    let back = answer(twin, opened, opening.protocol);
    for (packet, bits) in [
        (&back, tcp_flags::SYN | ACK),
        (opening, ACK),
        (&back, ACK | tcp_flags::FIN),
        (opening, ACK | tcp_flags::FIN),
    ] {
        assert!(
            offer(twin, &flags(packet, bits)).by_kernel,
            "{bits:#x} of {opening:?}"
        );
    }
}

#[test]
fn the_program_makes_flows_with_the_ports_of_a_nat_gateway_that_are_set_aside() {
    // semantics 79
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    for number in [protocol::TCP, protocol::UDP] {
        let syn = |port| {
            let packet = from(0, OUTSIDE_V4.into(), number, (port, 80));
            flags(&packet, tcp_flags::SYN)
        };
        established(&mut twin, &syn(4000));
        // The block of 256 ports that 4000 lies in, first and last included; the next one is another decision.
        let made_from = |twin: &mut Twin, port| {
            let made = twin.fast.counters().made;
            let opened = offer(twin, &syn(port));
            assert!(opened.by_kernel, "{port}");
            assert_eq!(twin.fast.counters().made, made + 1);
            whole_life(twin, &opened, &syn(port));
        };
        for port in [3840, 3999, 4095] {
            made_from(&mut twin, port);
        }
        // So that as many decisions may be made as are wanted.
        twin.pass(10);
        assert!(!offer(&mut twin, &syn(4096)).by_kernel);
        established(&mut twin, &syn(4096));
        for port in [4097, 4351] {
            made_from(&mut twin, port);
        }
        // What lives is taken up: first heard of, then old enough.
        let settle = |twin: &mut Twin| [1, 110, 110].map(|millis| twin.pass(millis));
        settle(&mut twin);
        let opened = offer(&mut twin, &syn(3900));
        assert!(opened.by_kernel);
        let back = flags(&answer(&twin, &opened, number), tcp_flags::SYN | ACK);
        assert!(offer(&mut twin, &back).by_kernel);
        let mappings = twin.kernel.flows.mappings();
        settle(&mut twin);
        assert_eq!(twin.kernel.flows.mappings(), mappings + 1);
        // Its next packet may be walked; by the same port it goes.
        offer(&mut twin, &flags(&syn(3900), ACK));
        assert!(offer(&mut twin, &flags(&syn(3900), ACK)).by_kernel);
        // And outside, where a rule begins to tell ports apart, so does the decision.
        let L4::Ports { dst: seen, .. } = back.l4 else {
            panic!("{back:?}")
        };
        let deny = [(90, "deny", rows::tcp(seen + 20, seen + 29), "198.51.100.0/24")];
        twin.apply(&rows::put(vec![rows::acl(&deny, &[])]));
        if number == protocol::TCP {
            for (port, by_kernel) in [
                (3901, false),
                (3919, true),
                (3920, false),
                (3921, false),
                (3930, false),
                (3931, true),
            ] {
                twin.pass(10);
                assert_eq!(offer(&mut twin, &syn(port)).by_kernel, by_kernel, "{port}");
            }
        }
        twin.apply(&rows::put(vec![rows::acl(&[], &[])]));
    }
}

#[test]
fn ports_of_a_nat_gateway_are_set_aside_ahead_of_who_takes_them_in_turn() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    let syn = |block: u16| {
        let packet = from(0, OUTSIDE_V4.into(), protocol::TCP, (block << 8 | 7, 80));
        flags(&packet, tcp_flags::SYN)
    };
    // As many blocks ahead as it has gone through, and all that the program makes there has a walk's ports.
    let mut walked = Vec::new();
    for block in 40..80 {
        twin.pass(10);
        let opened = offer(&mut twin, &syn(block));
        if opened.by_kernel {
            whole_life(&mut twin, &opened, &syn(block));
        } else {
            walked.push(block);
            established(&mut twin, &syn(block));
        }
    }
    assert_eq!(walked, [40, 41, 43, 47, 55, 63, 71, 79]);
    // Who takes any port gets nothing set aside but around those.
    for (block, by_kernel) in [(120, false), (200, false), (121, false), (202, false)] {
        twin.pass(10);
        assert_eq!(offer(&mut twin, &syn(block)).by_kernel, by_kernel, "{block}");
    }
}

#[test]
fn only_decisions_about_tcp_are_obeyed_while_packets_wait() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    twin.quiet = false;
    let [_, b, _] = hosts();
    // Each datagram of a flow may be on its way at once. Who opens a connection of TCP waits for the answer.
    for (number, by_kernel) in [(protocol::TCP, true), (protocol::UDP, false)] {
        let first = |port| {
            let packet = from(0, b.v4().into(), number, (port, 80));
            flags(&packet, tcp_flags::SYN)
        };
        assert!(!offer(&mut twin, &first(4000)).by_kernel);
        assert_eq!(offer(&mut twin, &first(4001)).by_kernel, by_kernel, "{number}");
    }
}

#[test]
fn the_program_makes_flows_from_the_ports_that_a_decision_is_about_and_no_others() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    let [_, b, _] = hosts();
    // Ports 7000 to 7999 are asked for both ways, so they are decided apart from the others.
    let deny = |block| (90, "deny", rows::tcp(7000, 7999), block);
    twin.apply(&rows::put(vec![rows::acl(&[deny("192.0.2.0/24")], &[])]));
    for dst in [IpAddr::from(b.v4()), b.v6().into()] {
        established(&mut twin, &from(0, dst, protocol::TCP, (4000, 80)));
        let syn = |port| flags(&from(0, dst, protocol::TCP, (port, 80)), tcp_flags::SYN);
        for port in [1, 79, 81, 6999] {
            let made = twin.fast.counters().made;
            let opened = offer(&mut twin, &syn(port));
            assert!(opened.by_kernel, "{port}");
            assert_eq!(twin.fast.counters().made, made + 1);
            whole_life(&mut twin, &opened, &syn(port));
        }
        // The decision about the others is another; it stands in the place of the first.
        for (port, by_kernel) in [
            (7000, false),
            (7001, true),
            (7999, true),
            (8000, false),
            (65_535, true),
            (6998, false),
        ] {
            assert_eq!(offer(&mut twin, &syn(port)).by_kernel, by_kernel, "{port}");
        }
    }
}
