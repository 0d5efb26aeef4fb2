//! Connections that the program makes by decisions, to their ends.

use std::net::IpAddr;

use atoll_fabric::{Fragment, L4, Packet, Quote};
use atoll_net::packet::{protocol, tcp_flags};

use super::bytes::{
    OUTSIDE_V4, answer, established, flags, from, hosts, ifindex, offer, transport_at, twin, twin_with,
};
use super::*;
use crate::frames;
use crate::rig_rows as rows;

const ACK: u8 = tcp_flags::ACK;

/// Two hosts, and connections that decisions are about.
fn open() -> Option<(Twin, [IpAddr; 2])> {
    if !machine(5) {
        return None;
    }
    let mut twin = twin();
    let [_, b, _] = hosts();
    let services = [IpAddr::from(b.v4()), b.v6().into()];
    for dst in services {
        established(&mut twin, &from(0, dst, protocol::TCP, (4000, 80)));
    }
    Some((twin, services))
}

fn syn(dst: IpAddr, port: u16) -> Packet {
    flags(&from(0, dst, protocol::TCP, (port, 80)), tcp_flags::SYN)
}

/// Opens a connection in the kernel: what its client and what its server sends.
fn made(twin: &mut Twin, dst: IpAddr, port: u16) -> [Packet; 2] {
    made_of(twin, syn(dst, port))
}

fn made_of(twin: &mut Twin, there: Packet) -> [Packet; 2] {
    let before = twin.fast.counters().made;
    let opened = offer(twin, &there);
    assert!(opened.by_kernel, "{there:?}");
    assert_eq!(twin.fast.counters().made, before + 1);
    let back = answer(twin, &opened, protocol::TCP);
    assert!(offer(twin, &flags(&back, tcp_flags::SYN | ACK)).by_kernel);
    assert!(offer(twin, &flags(&there, ACK)).by_kernel);
    [there, back]
}

#[test]
fn of_what_ends_nothing_is_left() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    let before = twin.fast.flows.len();
    for dst in services {
        for side in 0..2 {
            let both = made(&mut twin, dst, 5000);
            assert_eq!(twin.fast.flows.len(), before + 2);
            // RST: the program's own, at once.
            assert!(offer(&mut twin, &flags(&both[side], tcp_flags::RST)).by_kernel);
            assert_eq!(twin.fast.flows.len(), before);
        }
        // FIN: its last packets may come for a while.
        let [there, back] = made(&mut twin, dst, 5001);
        for packet in [there, back] {
            assert!(offer(&mut twin, &flags(&packet, ACK | tcp_flags::FIN)).by_kernel);
        }
        assert!(offer(&mut twin, &flags(&there, ACK)).by_kernel);
        twin.pass(99);
        assert_eq!(twin.fast.flows.len(), before + 2);
        twin.pass(1);
        assert_eq!(twin.fast.flows.len(), before);
        assert!(!twin.kernel.has_fresh());
    }
}

/// A segment with so many bytes, numbered as TCP does.
fn numbered(packet: &Packet, bits: u8, (seq, ack): (u32, u32), bytes: u32) -> Vec<u8> {
    let length = bytes + if packet.src.is_ipv4() { 40 } else { 60 };
    let mut data = frames::frame(&flags(&Packet { length, ..*packet }, bits));
    let at = transport_at(packet);
    data[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
    data[at + 8..at + 12].copy_from_slice(&ack.to_be_bytes());
    data
}

#[test]
fn when_both_fins_are_acknowledged_nothing_is_left() {
    const FIN: u8 = ACK | tcp_flags::FIN;
    let Some((mut twin, mut openings)) = open().map(|(twin, services)| {
        let openings = services.map(|dst| syn(dst, 5000)).to_vec();
        (twin, openings)
    }) else {
        return;
    };
    // semantics 79
    let outside = from(0, OUTSIDE_V4.into(), protocol::TCP, (4000, 80));
    established(&mut twin, &outside);
    openings.push(flags(&from_port(&outside, 4001), tcp_flags::SYN));
    // Sequence numbers wrap.
    let (a, b) = (u32::MAX, 7000_u32);
    let after = |number: u32, bytes: u32| number.wrapping_add(bytes + 1);
    // Who sends, what, its number and what it acknowledges, and how many bytes.
    type Segment = (usize, u8, (u32, u32), u32);
    let closings: [&[Segment]; 4] = [
        &[
            (0, FIN, (a, b), 0),
            (1, ACK, (b, after(a, 0)), 0),
            (1, FIN, (b, after(a, 0)), 0),
            (0, ACK, (after(a, 0), after(b, 0)), 0),
        ],
        // The other one has more to say first.
        &[
            (0, FIN, (a, b), 9),
            (1, ACK, (b, after(a, 9)), 50),
            (0, ACK, (after(a, 9), b + 50), 0),
            (1, FIN, (b + 50, after(a, 9)), 3),
            (0, ACK, (after(a, 9), b + 50), 0),
            (0, ACK, (after(a, 9), after(b + 50, 3)), 0),
        ],
        // Both at once: each acknowledges then.
        &[
            (0, FIN, (a, b), 0),
            (1, FIN, (b, a), 0),
            (0, ACK, (after(a, 0), after(b, 0)), 0),
            (1, ACK, (after(b, 0), after(a, 0)), 0),
        ],
        // Said twice.
        &[
            (0, FIN, (a, b), 0),
            (1, FIN, (b, a), 0),
            (0, FIN, (a, b), 0),
            (1, FIN, (b, after(a, 0)), 0),
            (0, ACK, (after(a, 0), after(b, 0)), 0),
        ],
    ];
    let before = twin.fast.flows.len();
    for opening in openings {
        for (first, closing) in [0, 1].into_iter().flat_map(|first| closings.map(|c| (first, c))) {
            let both = made_of(&mut twin, opening);
            for (who, bits, numbers, bytes) in closing {
                assert_eq!(twin.fast.flows.len(), before + 2, "{closing:?}");
                let packet = &both[who ^ first];
                let at = ifindex(&twin, packet);
                let offered = twin.offer(at, &numbered(packet, *bits, *numbers, *bytes));
                assert!(offered.unwrap().by_kernel);
            }
            assert_eq!(twin.fast.flows.len(), before, "{closing:?}");
            // The engine sees no more of it than that.
            twin.pass(10);
            assert!(!twin.kernel.has_fresh());
        }
    }
}

#[test]
fn what_opens_again_after_a_fin_is_another_connection() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    for dst in services {
        let before = twin.fast.flows.len();
        let [there, back] = made(&mut twin, dst, 5000);
        for packet in [there, back] {
            assert!(offer(&mut twin, &flags(&packet, ACK | tcp_flags::FIN)).by_kernel);
        }
        twin.pass(50);
        let [there, back] = made(&mut twin, dst, 5000);
        // The earlier one's time comes, and is not this one's.
        twin.pass(60);
        assert_eq!(twin.fast.flows.len(), before + 2);
        // Known to the engine by then, it ends with it.
        twin.pass(60);
        assert!(!twin.kernel.has_fresh());
        assert!(offer(&mut twin, &flags(&there, ACK)).by_kernel);
        for packet in [there, back] {
            assert!(!offer(&mut twin, &flags(&packet, ACK | tcp_flags::FIN)).by_kernel);
        }
    }
}

#[test]
fn an_end_that_comes_when_the_engine_has_taken_a_flow_is_the_engines() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    for dst in services {
        for (port, end) in [(5000, tcp_flags::RST), (5001, ACK | tcp_flags::FIN)] {
            let [there, _] = made(&mut twin, dst, port);
            // Taken, and the kernel has not been told what of it is kept.
            twin.kernel.take_up_all(twin.now);
            assert!(!twin.kernel.has_fresh());
            let run = test_run(
                twin.fast.program.as_fd(),
                &frames::frame(&flags(&there, end))[vnet::LENGTH..],
                ifindex(&twin, &there),
                None,
            );
            assert_eq!(run.unwrap().verdict, TO_ENGINE);
            twin.follow();
        }
    }
}

/// An ICMP error that whoever got a packet sends back about it.
fn error_about(got: &Packet) -> Packet {
    let (number, kind, code) = match got.src {
        IpAddr::V4(_) => (protocol::ICMP, 3, 3),
        IpAddr::V6(_) => (protocol::ICMPV6, 1, 4),
    };
    // As they were sent: what answers has them exchanged.
    let L4::Ports { src, dst, .. } = got.l4 else {
        panic!("{got:?}")
    };
    let quoted = L4::Ports {
        src: dst,
        dst: src,
        tcp_flags: 0,
    };
    Packet {
        protocol: number,
        l4: L4::Icmp { kind, code, id: 0 },
        quote: Some(Quote {
            src: got.dst,
            dst: got.src,
            protocol: got.protocol,
            l4: quoted,
        }),
        ..*got
    }
}

#[test]
fn what_speaks_about_a_flow_or_is_a_piece_of_one_has_that_one_taken_up_and_no_other() {
    // semantics 79
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    let opening = |port| from(0, OUTSIDE_V4.into(), protocol::UDP, (port, 80));
    established(&mut twin, &opening(4000));
    let open = |twin: &mut Twin, port| {
        let opened = offer(twin, &opening(port));
        assert!(opened.by_kernel, "{port}");
        answer(twin, &opened, protocol::UDP)
    };
    let before = twin.kernel.flows.mappings();
    let backs: Vec<Packet> = (3900..3920).map(|port| open(&mut twin, port)).collect();
    assert_eq!(twin.kernel.flows.mappings(), before, "nobody has heard of them");
    let told = offer(&mut twin, &error_about(&backs[7]));
    assert_eq!(told.out.len(), 1, "it goes to who sent that");
    assert_eq!(twin.kernel.flows.mappings(), before + 1);
    // From inside, about what answered.
    assert!(offer(&mut twin, &backs[8]).by_kernel);
    assert_eq!(offer(&mut twin, &error_about(&opening(3908))).out.len(), 1);
    assert_eq!(twin.kernel.flows.mappings(), before + 2);
    // A piece of a datagram that answers.
    let piece = |offset, more| Packet {
        fragment: Some(Fragment { id: 7, offset, more }),
        dont_fragment: false,
        ..backs[9]
    };
    for piece in [piece(0, true), piece(80, false)] {
        assert_eq!(offer(&mut twin, &piece).out.len(), 1);
        assert_eq!(twin.kernel.flows.mappings(), before + 3);
    }
    // About what nobody has sent, and by who never got it.
    let unknown = Packet {
        l4: L4::Ports {
            src: 80,
            dst: 1,
            tcp_flags: 0,
        },
        ..backs[0]
    };
    assert!(offer(&mut twin, &error_about(&unknown)).out.is_empty());
    assert_eq!(twin.kernel.flows.mappings(), before + 3);
    twin.pass(100);
    assert!(!twin.kernel.has_fresh());
    assert_eq!(twin.kernel.flows.mappings(), before + 20);
}

#[test]
fn places_are_used_again() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    let before = twin.fast.flows.len();
    let [there, _] = made(&mut twin, services[0], 5000);
    let at = ifindex(&twin, &there);
    let run = |twin: &Twin, bits| {
        let data = frames::frame(&flags(&there, bits));
        let run = test_run(twin.fast.program.as_fd(), &data[vnet::LENGTH..], at, None).unwrap();
        run.verdict
    };
    assert_eq!(run(&twin, tcp_flags::RST), REDIRECT);
    let made = twin.fast.counters().made;
    // Nobody gives places back: at some time there is none.
    let mut count = 0;
    while run(&twin, tcp_flags::SYN) == REDIRECT {
        assert_eq!(run(&twin, tcp_flags::RST), REDIRECT);
        count += 1;
        twin.fast.refill(|_| u32::MAX);
        assert!(count < layout::MADE_PLACES);
    }
    assert!(count > layout::MADE_PLACES / 2, "{count}");
    assert_eq!(twin.fast.counters().made, made + u64::from(count));
    assert_eq!(twin.fast.flows.len(), before);
    // One look, and there are.
    for _ in 0..3 {
        twin.pass(1);
    }
    assert!(!twin.kernel.has_fresh());
    for _ in 0..layout::MADE_PLACES / 2 {
        assert_eq!(run(&twin, tcp_flags::SYN), REDIRECT);
        assert_eq!(run(&twin, tcp_flags::RST), REDIRECT);
        twin.fast.refill(|_| u32::MAX);
    }
    assert_eq!(twin.fast.flows.len(), before);
}

#[test]
fn whoever_takes_all_places_leaves_others_theirs() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    let [_, _, c] = hosts();
    let other = from(1, c.v4().into(), protocol::TCP, (4000, 80));
    established(&mut twin, &other);
    let other = flags(&from_port(&other, 5000), tcp_flags::SYN);
    let runs = |twin: &Twin, opening: &Packet, bits| {
        let data = frames::frame(&flags(opening, bits));
        let at = ifindex(twin, opening);
        let run = test_run(twin.fast.program.as_fd(), &data[vnet::LENGTH..], at, None);
        run.unwrap().verdict == REDIRECT
    };
    let sweep = |twin: &mut Twin| {
        twin.pass(1);
        twin.fast.refill(|slot| twin.kernel.may_make(slot));
    };
    // Opened and ended, over and over, faster than the engine looks at what has ended.
    let made = |twin: &mut Twin, opening: &Packet| {
        let mut made = 0;
        while runs(twin, opening, tcp_flags::SYN) {
            assert!(runs(twin, opening, tcp_flags::RST));
            made += 1;
            if made % 1024 == 0 {
                twin.kernel.count_made();
                twin.fast.refill(|slot| twin.kernel.may_make(slot));
            }
        }
        made
    };
    sweep(&mut twin);
    let greedy = made(&mut twin, &syn(services[0], 5000));
    assert!((MOST_MADE / 3..MOST_MADE * 2 / 3).contains(&greedy), "{greedy}");
    let next = made(&mut twin, &other);
    assert!(next > MOST_MADE / 8, "{next}");
    for _ in 0..4 {
        sweep(&mut twin);
    }
    assert!(!twin.kernel.has_fresh());
    assert!(runs(&twin, &syn(services[0], 5000), tcp_flags::SYN));
}

#[test]
fn two_processors_that_make_a_ports_last_flow_at_once_leave_it_no_others() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    for dst in services {
        let opening = syn(dst, 5000);
        let at = ifindex(&twin, &opening);
        let left = twin.fast.ports.nth_word(at as usize, 1).unwrap();
        // Both have seen one, and both have counted theirs.
        left.store(1_u32.wrapping_sub(2), std::sync::atomic::Ordering::Relaxed);
        assert!(!offer(&mut twin, &opening).by_kernel);
        twin.fast.refill(|_| 1);
        assert!(offer(&mut twin, &syn(dst, 5001)).by_kernel);
    }
}

/// A host that only members of a group reach, and so tracks who does; a connection to it, which decisions are about by now.
fn tracking() -> Option<(Twin, [Packet; 2])> {
    if !machine(5) {
        return None;
    }
    let mut twin = twin_with(rows::FROM_OPEN);
    let [a, ..] = hosts();
    let both = [IpAddr::from(a.v4()), a.v6().into()].map(|dst| {
        let opening = from(1, dst, protocol::TCP, (4000, 80));
        established(&mut twin, &opening);
        flags(&opening, tcp_flags::SYN)
    });
    Some((twin, both))
}

/// The same from another port.
fn from_port(opening: &Packet, src: u16) -> Packet {
    let L4::Ports { dst, tcp_flags, .. } = opening.l4 else {
        panic!("{opening:?}")
    };
    let l4 = L4::Ports { src, dst, tcp_flags };
    Packet { l4, ..*opening }
}

/// Lets the group's members in again, and with them a connection that decisions are about from then on.
fn open_again(twin: &mut Twin, mut more: Vec<atoll_model::Row>, opening: &Packet) {
    more.push(rows::group(
        rows::FROM_OPEN,
        &[("ingress", rows::all(), rows::in_group(rows::OPEN))],
    ));
    twin.apply(&rows::put(more));
    established(twin, &from_port(opening, 6000));
    twin.pass(10);
}

#[test]
fn a_change_is_obeyed_at_once_and_what_was_made_before_is_known_as_it_was_decided() {
    let Some((mut twin, openings)) = tracking() else {
        return;
    };
    for opening in openings {
        let tracked = |twin: &Twin| twin.kernel.flows.connections();
        let before = tracked(&twin);
        let live = made_of(&mut twin, from_port(&opening, 5000));
        let ended = made_of(&mut twin, from_port(&opening, 5001));
        for packet in &ended {
            assert!(offer(&mut twin, &flags(packet, ACK | tcp_flags::FIN)).by_kernel);
        }
        // Nobody is let in any more. What was made is not looked at for that.
        twin.apply(&rows::put(vec![rows::group(rows::FROM_OPEN, &[])]));
        assert!(twin.kernel.has_fresh());
        assert_eq!(tracked(&twin), before);
        let refused = offer(&mut twin, &from_port(&opening, 5002));
        assert!(!refused.by_kernel && refused.out.is_empty());
        assert_eq!(tracked(&twin), before);
        // semantics 43: what is tracked goes on, also the last acknowledgement of what has ended.
        assert_eq!(offer(&mut twin, &flags(&ended[0], ACK)).out.len(), 1);
        for _ in 0..2 {
            for packet in &live {
                assert_eq!(offer(&mut twin, &flags(packet, ACK)).out.len(), 1);
            }
        }
        assert!(
            live.iter()
                .all(|packet| offer(&mut twin, &flags(packet, ACK)).by_kernel)
        );
        assert!(tracked(&twin) > before);
        // semantics 28: an ACL is asked for every packet.
        let deny = [
            (90, "deny", rows::all(), "0.0.0.0/0"),
            (91, "deny", rows::all(), "::/0"),
        ];
        twin.apply(&rows::put(vec![rows::acl(&deny, &[])]));
        for packet in &live {
            assert!(offer(&mut twin, &flags(packet, ACK)).out.is_empty());
        }
        let acl = rows::acl(&[], &[]);
        open_again(&mut twin, vec![acl], &openings[1]);
    }
}

#[test]
fn what_was_made_before_a_change_and_said_nothing_since_is_known_in_its_time() {
    // semantics 43
    let Some((mut twin, openings)) = tracking() else {
        return;
    };
    for opening in openings {
        let before = twin.kernel.flows.connections();
        let both = made_of(&mut twin, from_port(&opening, 5000));
        twin.apply(&rows::put(vec![rows::group(rows::FROM_OPEN, &[])]));
        twin.pass(100);
        assert!(!twin.kernel.has_fresh());
        assert_eq!(twin.kernel.flows.connections(), before + 1);
        for packet in both {
            assert_eq!(offer(&mut twin, &flags(&packet, ACK)).out.len(), 1);
        }
        open_again(&mut twin, Vec::new(), &openings[1]);
    }
}

#[test]
fn what_was_made_just_before_a_decision_ended_goes_on_and_is_taken_up() {
    let Some((mut twin, openings)) = tracking() else {
        return;
    };
    // A decision holds for 30 seconds; decisions are looked through every second.
    twin.pass(29_000);
    twin.pass(960);
    let before = twin.kernel.flows.connections();
    let made = openings.map(|opening| made_of(&mut twin, from_port(&opening, 5000)));
    twin.pass(50);
    for opening in &openings {
        let key = twin.kernel.cache.decision(&twin.key(opening).any_source_port());
        assert!(key.is_none(), "it has ended");
    }
    assert!(twin.kernel.has_fresh());
    // Nobody else goes by its paths, and they stand.
    for packet in made.iter().flatten() {
        assert!(offer(&mut twin, &flags(packet, ACK)).by_kernel);
    }
    twin.pass(60);
    assert!(!twin.kernel.has_fresh());
    assert_eq!(twin.kernel.flows.connections(), before + 2);
    for packet in made.iter().flatten() {
        assert!(offer(&mut twin, &flags(packet, ACK)).by_kernel);
    }
}

#[test]
fn who_says_fin_again_and_again_keeps_no_place_from_others() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    for dst in services {
        let both = made(&mut twin, dst, 5000);
        // As long as its answers hold, both sides end it again sooner than it would be over.
        for _ in 0..12 {
            for packet in &both {
                offer(&mut twin, &flags(packet, ACK | tcp_flags::FIN));
            }
            twin.pass(90);
        }
        assert!(!twin.kernel.has_fresh());
    }
}

#[test]
fn a_decision_is_obeyed_only_where_it_is_of_one_piece_and_about_what_was_asked() {
    let Some((mut twin, services)) = open() else {
        return;
    };
    for dst in services {
        let ask = twin.key(&syn(dst, 5000)).any_source_port();
        let whole = twin.fast.decisions.get(&ask).unwrap();
        // As its memory looks when another one is written there, from its beginning on.
        let others = [
            (whole.tag ^ 1, whole.number, whole.again),
            (whole.tag, whole.number + 1, whole.again),
            (whole.tag, whole.number, whole.again + 1),
        ];
        for (tag, number, again) in others {
            let torn = layout::Decision {
                tag,
                number,
                again,
                ..whole
            };
            assert!(twin.fast.decisions.put(&ask, torn));
            let flows = twin.fast.flows.len();
            let data = frames::frame(&syn(dst, 5001));
            let at = ifindex(&twin, &syn(dst, 5001));
            let run = test_run(twin.fast.program.as_fd(), &data[vnet::LENGTH..], at, None);
            assert_eq!(run.unwrap().verdict, TO_ENGINE);
            assert_eq!(twin.fast.flows.len(), flows);
        }
        assert!(twin.fast.decisions.put(&ask, whole));
        made(&mut twin, dst, 5000);
        // The places that were taken in vain hold nobody up.
        twin.pass(100);
        assert!(!twin.kernel.has_fresh());
    }
}
