//! Frames of every shape: what the program does with each, byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_fabric::{Fragment, L4, Packet, Port};
use atoll_net::Mac;
use atoll_net::packet::{Frame, parse, protocol, tcp_flags};

use super::*;
use crate::frames::{self, Dress};
use crate::vnet;

use crate::rig_rows as rows;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub(super) const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x10);
const INTERNET: u32 = 2;
pub(super) const ACK: u8 = tcp_flags::ACK;

/// One behind the NAT gateway in subnet 1, one in subnet 2, one there with a public address: ports 3 to 5.
pub(super) fn hosts() -> [rows::Interface; 3] {
    let host = |subnet, host, public| rows::Interface {
        subnet,
        host,
        groups: vec![rows::OPEN],
        public,
        ..rows::Interface::default()
    };
    [host(1, 10, None), host(2, 10, None), host(2, 12, Some(PUBLIC))]
}

pub(super) fn twin() -> Twin {
    twin_with(rows::OPEN)
}

/// The same, the first of them in this group.
pub(super) fn twin_with(group: u64) -> Twin {
    twin_of_seed(5, group)
}

/// The same; the seed decides about ports.
pub(super) fn twin_of_seed(seed: u64, group: u64) -> Twin {
    twin_of_groups(seed, [group, rows::OPEN, rows::OPEN])
}

/// The same, each in a group.
pub(super) fn twin_of_groups(seed: u64, groups: [u64; 3]) -> Twin {
    let fabric = || {
        let mut fabric = Fabric::default();
        fabric.apply(&rows::base());
        fabric.apply(&rows::nat_gateway());
        fabric.apply(&rows::put(vec![rows::private_table()]));
        for (host, group) in hosts().into_iter().zip(groups) {
            let groups = vec![group];
            fabric.apply(&rows::Interface { groups, ..host }.delta());
        }
        fabric
    };
    let mut ports = vec![(INTERNET, frames::INTERNET)];
    for (n, host) in hosts().iter().enumerate() {
        ports.push((n as u32 + 3, Attachment::Eni(host.id())));
    }
    Twin::of_seed(seed, fabric, &ports)
}

/// A packet from one of the hosts by its router.
pub(super) fn from(host: usize, dst: IpAddr, number: u8, ports: (u16, u16)) -> Packet {
    let host = &hosts()[host];
    let src = if dst.is_ipv4() {
        host.v4().into()
    } else {
        host.v6().into()
    };
    Packet {
        ingress: Port::Eni(host.id()),
        src_mac: host.mac(),
        dst_mac: rows::subnet(host.subnet).router_mac(),
        src,
        dst,
        protocol: number,
        l4: match number {
            protocol::ICMP => L4::Icmp {
                kind: 8,
                code: 0,
                id: ports.0,
            },
            protocol::ICMPV6 => L4::Icmp {
                kind: 128,
                code: 0,
                id: ports.0,
            },
            _ => L4::Ports {
                src: ports.0,
                dst: ports.1,
                tcp_flags: 0,
            },
        },
        hop_limit: 64,
        length: 100,
        dont_fragment: true,
        fragment: None,
        quote: None,
    }
}

pub(super) fn flags(packet: &Packet, flags: u8) -> Packet {
    let l4 = match packet.l4 {
        L4::Ports { src, dst, .. } if packet.protocol == protocol::TCP => L4::Ports {
            src,
            dst,
            tcp_flags: flags,
        },
        other => other,
    };
    Packet { l4, ..*packet }
}

pub(super) fn ifindex(twin: &Twin, packet: &Packet) -> u32 {
    twin.plain.ports.named(packet.ingress).unwrap().ifindex
}

pub(super) fn offer(twin: &mut Twin, packet: &Packet) -> Offered {
    let at = ifindex(twin, packet);
    twin.offer(at, &frames::frame(packet)).unwrap()
}

/// What answers what went out.
pub(super) fn answer(twin: &Twin, offered: &Offered, number: u8) -> Packet {
    let [(out, data)] = &offered.out[..] else {
        panic!("{offered:?}")
    };
    let Ok(Frame::Ip(headers)) = parse(&data[vnet::LENGTH..]) else {
        panic!("{data:02x?}")
    };
    let ingress = twin.plain.ports.at(*out).unwrap().attachment.port();
    let l4 = match headers.transport {
        atoll_net::packet::Transport::Tcp { src, dst, .. }
        | atoll_net::packet::Transport::Udp { src, dst } => L4::Ports {
            src: dst,
            dst: src,
            tcp_flags: 0,
        },
        atoll_net::packet::Transport::Icmp { kind, id, .. } => L4::Icmp {
            kind: if kind == 8 { 0 } else { 129 },
            code: 0,
            id: id.unwrap(),
        },
        other => panic!("{other:?}"),
    };
    Packet {
        ingress,
        src_mac: headers.dst_mac,
        dst_mac: headers.src_mac,
        src: headers.dst,
        dst: headers.src,
        protocol: number,
        l4,
        hop_limit: 64,
        length: 100,
        dont_fragment: true,
        fragment: None,
        quote: None,
    }
}

/// Has a flow go there and back until the program forwards both ways: its packets as they come in.
pub(super) fn established(twin: &mut Twin, opening: &Packet) -> [Packet; 2] {
    let opened = offer(twin, &flags(opening, tcp_flags::SYN));
    let back = answer(twin, &opened, opening.protocol);
    offer(twin, &flags(&back, tcp_flags::SYN | ACK));
    let flow = [flags(opening, ACK), flags(&back, ACK)];
    for _ in 0..3 {
        flow.iter().for_each(|packet| drop(offer(twin, packet)));
    }
    for packet in &flow {
        assert!(offer(twin, packet).by_kernel, "{packet:?}");
    }
    flow
}

/// The flows that everything is tried on: within, through the NAT gateway, through the internet gateway's translation.
fn flows() -> Vec<Packet> {
    let [_, b, _] = hosts();
    let mut flows = Vec::new();
    for (nth, (number, six)) in [
        (protocol::TCP, protocol::TCP),
        (protocol::UDP, protocol::UDP),
        (protocol::ICMP, protocol::ICMPV6),
    ]
    .into_iter()
    .enumerate()
    {
        let ports = (4000 + nth as u16, 80);
        flows.push(from(0, b.v4().into(), number, ports));
        flows.push(from(0, b.v6().into(), six, ports));
        flows.push(from(0, OUTSIDE_V4.into(), number, ports));
        flows.push(from(2, OUTSIDE_V4.into(), number, ports));
        flows.push(from(2, OUTSIDE_V6.into(), six, ports));
    }
    flows
}

/// Which of the program's counters rose, and whether it forwarded.
fn dressed(twin: &mut Twin, packet: &Packet, dress: &Dress) -> (bool, KernelCounters) {
    let data = frames::dressed(packet, dress);
    bytes(twin, packet, &data)
}

fn bytes(twin: &mut Twin, packet: &Packet, data: &[u8]) -> (bool, KernelCounters) {
    let before = twin.fast.counters();
    let at = ifindex(twin, packet);
    let offered = twin.offer(at, data).unwrap();
    let after = twin.fast.counters();
    let rose = KernelCounters {
        no_flow: after.no_flow - before.no_flow,
        stale: after.stale - before.stale,
        control: after.control - before.control,
        odd: after.odd - before.odd,
        too_big: after.too_big - before.too_big,
        hop_limit: after.hop_limit - before.hop_limit,
        mac: after.mac - before.mac,
        ..KernelCounters::default()
    };
    (offered.by_kernel, rose)
}

fn none() -> KernelCounters {
    KernelCounters::default()
}

fn odd() -> KernelCounters {
    KernelCounters { odd: 1, ..none() }
}

/// Where a packet's transport header begins, behind vnet header and Ethernet's.
pub(super) fn transport_at(packet: &Packet) -> usize {
    vnet::LENGTH + 14 + if packet.src.is_ipv4() { 20 } else { 40 }
}

/// The sum of a packet's pseudo header, with so many bytes behind the IP header.
fn pseudo_sum(packet: &Packet, length: u16) -> u16 {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let addresses = [octets(packet.src), octets(packet.dst)].concat();
    let words = addresses
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let sum = words
        .chain([u16::from(packet.protocol), length])
        .fold(0u32, |sum, word| sum + u32::from(word));
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn the_program_forwards_plain_packets_as_the_engine_does() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    for opening in flows() {
        for packet in established(&mut twin, &opening) {
            // Every length of data, odd ones too, up to what the way takes.
            for length in (60..130).chain([1399, 1400, 1499, 1500]) {
                let packet = Packet { length, ..packet };
                assert_eq!(
                    dressed(&mut twin, &packet, &Dress::default()),
                    (true, none()),
                    "{packet:?}"
                );
            }
            for hop_limit in [3, 255] {
                let packet = Packet {
                    hop_limit,
                    dont_fragment: false,
                    ..packet
                };
                assert_eq!(
                    dressed(&mut twin, &packet, &Dress::default()),
                    (true, none()),
                    "{packet:?}"
                );
            }
            let no_sum = Dress {
                no_sum: true,
                ..Dress::default()
            };
            if packet.src.is_ipv4() && packet.protocol == protocol::UDP {
                assert_eq!(dressed(&mut twin, &packet, &no_sum), (true, none()));
            }
            let options = Dress {
                tcp_options: vec![1; 12],
                ..Dress::default()
            };
            assert_eq!(dressed(&mut twin, &packet, &options), (true, none()));
            // Every sum that a segment may have, that of its pseudo header among them: one that is not finished has that.
            if packet.protocol == protocol::TCP {
                let frame = frames::frame(&packet);
                let (at, check) = (ifindex(&twin, &packet), transport_at(&packet) + 16);
                let pseudo = pseudo_sum(&packet, (frame.len() - transport_at(&packet)) as u16);
                for sum in (0..=u16::MAX).step_by(251).chain([pseudo, !pseudo, u16::MAX]) {
                    let mut frame = frame.clone();
                    frame[check..check + 2].copy_from_slice(&sum.to_be_bytes());
                    assert!(twin.offer(at, &frame).unwrap().by_kernel);
                }
            }
            // A sum that comes to 0 is written as ffff in UDP: every value of two bytes of data leads through it.
            if packet.protocol == protocol::UDP {
                let frame = frames::frame(&packet);
                let at = ifindex(&twin, &packet);
                for filler in 0..=u16::MAX {
                    if filler % 251 != 0 && filler < 65_000 {
                        continue;
                    }
                    let mut frame = frame.clone();
                    let end = frame.len();
                    frame[end - 2..].copy_from_slice(&filler.to_be_bytes());
                    assert!(twin.offer(at, &frame).unwrap().by_kernel);
                }
            }
        }
    }
}

#[test]
fn the_program_leaves_what_is_not_plain_to_the_engine() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    for opening in flows() {
        for packet in established(&mut twin, &opening) {
            let data = frames::frame(&packet);
            let ip = vnet::LENGTH + 14;
            let v4 = packet.src.is_ipv4();
            let changed = |at: usize, to: &[u8]| {
                let mut data = data.clone();
                data[at..at + to.len()].copy_from_slice(to);
                data
            };
            // Lengths that do not agree, both ways.
            let padded = Dress {
                padding: 7,
                ..Dress::default()
            };
            assert_eq!(dressed(&mut twin, &packet, &padded), (false, odd()));
            assert_eq!(bytes(&mut twin, &packet, &data[..data.len() - 1]), (false, odd()));
            // Runts: the kernel refuses a test run over some.
            for end in [ip + 1, ip + 19, ip + 20] {
                assert!(!bytes(&mut twin, &packet, &data[..end]).0);
            }
            let transport = ip + if v4 { 20 } else { 40 };
            assert_eq!(bytes(&mut twin, &packet, &data[..transport + 4]), (false, odd()));
            // A tag is another protocol: nothing that the program looks at.
            let tagged = [&data[..ip - 2], &[0x81, 0, 0, 5], &data[ip - 2..]].concat();
            assert_eq!(bytes(&mut twin, &packet, &tagged), (false, none()));
            // Another version than Ethernet says.
            assert_eq!(bytes(&mut twin, &packet, &changed(ip, &[0x55])), (false, odd()));
            if v4 {
                let sum = [data[ip + 10] ^ 1];
                assert_eq!(bytes(&mut twin, &packet, &changed(ip + 10, &sum)), (false, odd()));
                let options = Dress {
                    options: vec![1, 1, 1, 0],
                    ..Dress::default()
                };
                assert_eq!(dressed(&mut twin, &packet, &options), (false, odd()));
                for (id, offset, more) in [(7, 0, true), (7, 80, true), (7, 160, false), (8, 160, false)] {
                    let fragment = Some(Fragment { id, offset, more });
                    let piece = Packet {
                        fragment,
                        dont_fragment: false,
                        ..packet
                    };
                    assert_eq!(dressed(&mut twin, &piece, &Dress::default()), (false, odd()));
                }
            } else {
                // Hop-by-hop options, and destination options.
                for first in [0, 60] {
                    let extensions = Some((first, vec![packet.protocol, 0, 1, 4, 0, 0, 0, 0]));
                    let dress = Dress {
                        extensions,
                        ..Dress::default()
                    };
                    assert_eq!(dressed(&mut twin, &packet, &dress), (false, odd()));
                }
                let fragment = Some((44, vec![packet.protocol, 0, 0, 1, 0, 0, 0, 9]));
                let dress = Dress {
                    extensions: fragment,
                    ..Dress::default()
                };
                assert_eq!(dressed(&mut twin, &packet, &dress), (false, odd()));
            }
            match packet.protocol {
                protocol::TCP => {
                    // A header that is too short, and one that is longer than the packet.
                    assert_eq!(
                        bytes(&mut twin, &packet, &changed(transport + 12, &[0x40])),
                        (false, odd())
                    );
                    let short = Packet {
                        length: 60 + if v4 { 0 } else { 20 },
                        ..packet
                    };
                    let mut data = frames::frame(&short);
                    data.truncate(transport + 40);
                    data[transport + 12] = 0xf0;
                    assert_eq!(bytes(&mut twin, &short, &data), (false, odd()));
                }
                protocol::UDP => {
                    for length in [7u16, 600] {
                        let data = changed(transport + 4, &length.to_be_bytes());
                        assert_eq!(bytes(&mut twin, &packet, &data), (false, odd()));
                    }
                }
                _ => {}
            }
            // Whose MAC it is not, and whom it is not for; the internet's are not looked at.
            if packet.ingress != Port::Internet {
                let mac = KernelCounters { mac: 1, ..none() };
                let stranger = Packet {
                    src_mac: Mac([2, 6, 6, 6, 6, 6]),
                    ..packet
                };
                assert_eq!(dressed(&mut twin, &stranger, &Dress::default()), (false, mac));
                let astray = Packet {
                    dst_mac: Mac([2, 6, 6, 6, 6, 6]),
                    ..packet
                };
                assert_eq!(dressed(&mut twin, &astray, &Dress::default()), (false, mac));
            }
            let outside = [packet.src, packet.dst]
                .iter()
                .any(|a| *a == OUTSIDE_V4 || *a == OUTSIDE_V6);
            if outside {
                let hop_limit = KernelCounters {
                    hop_limit: 1,
                    ..none()
                };
                let ends = Packet {
                    hop_limit: 1,
                    ..packet
                };
                assert_eq!(dressed(&mut twin, &ends, &Dress::default()), (false, hop_limit));
                let too_big = KernelCounters { too_big: 1, ..none() };
                for dont_fragment in [true, false] {
                    let long = Packet {
                        length: 1501,
                        dont_fragment,
                        ..packet
                    };
                    assert_eq!(dressed(&mut twin, &long, &Dress::default()), (false, too_big));
                }
            }
            // The flow itself is as it was.
            assert!(offer(&mut twin, &packet).by_kernel, "{packet:?}");
        }
        if opening.protocol == protocol::TCP {
            let control = KernelCounters { control: 1, ..none() };
            for bits in [
                tcp_flags::SYN,
                tcp_flags::SYN | ACK,
                tcp_flags::FIN | ACK,
                tcp_flags::RST,
            ] {
                let packet = flags(&opening, bits);
                assert_eq!(
                    dressed(&mut twin, &packet, &Dress::default()),
                    (false, control),
                    "{packet:?}"
                );
            }
        }
    }
}

#[test]
fn the_program_obeys_no_answer_that_does_not_hold_any_more() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    let stale = KernelCounters { stale: 1, ..none() };
    let [_, b, _] = hosts();
    let plain = Dress::default();
    for dst in [IpAddr::from(b.v4()), b.v6().into()] {
        let [there, _] = established(&mut twin, &from(0, dst, protocol::TCP, (4000, 80)));
        // Its time is over: the engine walks it again, and it goes on.
        twin.now = twin.now.plus_millis(40_000);
        twin.follow();
        assert_eq!(dressed(&mut twin, &there, &plain), (false, stale));
        assert_eq!(dressed(&mut twin, &there, &plain), (true, none()));
        // A change that its answer depends on: the generation is another. And the ACL cuts (semantics 28).
        let deny = (
            90,
            "deny",
            rows::all(),
            if dst.is_ipv4() { "0.0.0.0/0" } else { "::/0" },
        );
        twin.apply(&rows::put(vec![rows::acl(&[deny], &[])]));
        let at = ifindex(&twin, &there);
        assert!(twin.offer(at, &frames::frame(&there)).unwrap().out.is_empty());
        twin.apply(&rows::put(vec![rows::acl(&[], &[])]));
        assert!(!offer(&mut twin, &there).by_kernel);
        assert!(offer(&mut twin, &there).by_kernel);
        // Another path stands where its path stood: an answer that is left over does not lead there.
        let key = twin_key(&twin, &there);
        let mut flow = twin.fast.flows.get(&key).unwrap();
        flow.path_version = flow.path_version.wrapping_sub(2);
        assert!(twin.fast.flows.put(&key, flow));
        assert_eq!(dressed(&mut twin, &there, &plain), (false, stale));
        // And an entry's memory may be another flow's by now.
        flow.path_version = flow.path_version.wrapping_add(2);
        assert!(twin.fast.flows.put(&key, flow));
        assert_eq!(dressed(&mut twin, &there, &plain), (true, none()));
        flow.tag ^= 1;
        assert!(twin.fast.flows.put(&key, flow));
        assert_eq!(dressed(&mut twin, &there, &plain), (false, stale));
    }
}

fn twin_key(twin: &Twin, packet: &Packet) -> Key {
    let data = frames::frame(packet);
    let Ok(Frame::Ip(headers)) = parse(&data[vnet::LENGTH..]) else {
        panic!()
    };
    let slot = twin.plain.ports.named(packet.ingress).unwrap().slot;
    Key::of_headers(slot, &headers).unwrap()
}

#[test]
fn the_program_measures_super_segments_by_their_packets() {
    if !machine(5) {
        return;
    }
    let mut twin = twin();
    let [there, back] = established(&mut twin, &from(2, OUTSIDE_V4.into(), protocol::TCP, (4000, 80)));
    for packet in [there, back] {
        let data = frames::frame(&Packet {
            length: 3000,
            ..packet
        });
        let at = ifindex(&twin, &packet);
        let run =
            |segments| test_run(twin.fast.program.as_fd(), &data[vnet::LENGTH..], at, segments).unwrap();
        // semantics 76: 1500 through the internet gateway, 40 of which are headers.
        assert_eq!(run(None).verdict, TO_ENGINE);
        assert_eq!(run(Some((1461, 3))).verdict, TO_ENGINE);
        let before = twin.fast.counters();
        assert_eq!(run(Some((1460, 3))).verdict, REDIRECT);
        let after = twin.fast.counters();
        assert_eq!(
            after.delivered + after.exited,
            before.delivered + before.exited + 3
        );
        // A virtual machine's come uncounted: 2,960 bytes of data are three packets of 1,460.
        assert_eq!(run(Some((1460, 0))).verdict, REDIRECT);
        let counted = twin.fast.counters();
        assert_eq!(
            counted.delivered + counted.exited,
            after.delivered + after.exited + 3
        );
        // More packets than one may stand for.
        assert_eq!(run(Some((3, 0))).verdict, REDIRECT);
        assert_eq!(run(Some((2, 0))).verdict, TO_ENGINE);
    }
}

#[test]
fn the_program_hands_packets_to_a_tap_whose_reader_takes_unfinished_checksums() {
    if !machine(4) {
        return;
    }
    let tap = tap(5);
    tap.takes(0);
    let mut twin = twin();
    let [_, b, c] = hosts();
    assert!(c.v4().octets()[3] == 12, "the third host is at the TAP");
    for (dst, number) in [
        (IpAddr::from(c.v4()), protocol::TCP),
        (c.v6().into(), protocol::TCP),
        (c.v4().into(), protocol::UDP),
        (c.v6().into(), protocol::UDP),
    ] {
        let opening = from(0, dst, number, (4000, 80));
        // Without, the engine looks at all that goes there; what comes from there goes on.
        tap.takes(0);
        twin.fast.look_at_taps();
        let opened = offer(&mut twin, &flags(&opening, tcp_flags::SYN));
        let back = answer(&twin, &opened, opening.protocol);
        offer(&mut twin, &flags(&back, tcp_flags::SYN | ACK));
        let (there, back) = (flags(&opening, ACK), flags(&back, ACK));
        for _ in 0..3 {
            offer(&mut twin, &there);
            offer(&mut twin, &back);
        }
        assert_eq!(dressed(&mut twin, &there, &Dress::default()), (false, odd()));
        assert_eq!(dressed(&mut twin, &back, &Dress::default()), (true, none()));
        // With, both do, byte for byte as the engine does it.
        tap.takes(1);
        twin.fast.look_at_taps();
        for length in [60, 61, 1400, 1500] {
            for packet in [there, back] {
                let packet = Packet { length, ..packet };
                assert_eq!(dressed(&mut twin, &packet, &Dress::default()), (true, none()));
            }
        }
    }
    // Between others nothing is different.
    established(&mut twin, &from(0, b.v4().into(), protocol::TCP, (4001, 80)));
}
