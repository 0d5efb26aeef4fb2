//! What is left to a device that there is not: super-segments longer than a path takes, and tunnels of the guests' own.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::{Port, Stage};
use atoll_net::packet::{Transport, protocol};
use atoll_plane::Capacity;
use rig::errors::segments_of;
use rig::socket::{
    carries_whole, connected, delivers, dropped, eventually, forbid_fragments, noise, path_mtu,
};
use rig::wire::{Datagram, Wire, is_right};
use rig::{Guest, Namespace, OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario};

const PUBLIC: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(203, 0, 113, 8)];

/// Carries data from one namespace to another over TCP.
fn bulk(from: &Namespace, to: &Namespace, listens: IpAddr, dials: IpAddr, bytes: usize) {
    let data = noise(bytes, 7);
    let listener = to.listen(listens, 80);
    let (mut near, mut far) = connected(from, &listener, dials);
    carries_whole(&mut near, &mut far, &data);
}

#[test]
fn datagrams_of_a_super_segment_are_cut_or_refused_with_the_limit() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(PUBLIC[0]));
        let outside = rig.internet();
        let data = noise(8_000, 3);
        let server = outside.udp(OUTSIDE_V4, 53);
        let socket = a.namespace.udp(a.v4, 4000);
        // So that the kernel of the eBPF plane knows the flow.
        for _ in 0..5 {
            delivers(&socket, OUTSIDE_V4, &server, b"x");
        }
        // semantics 129: three datagrams, each of which is cut by itself.
        forbid_fragments(&socket, false);
        segments_of(&socket, 3_000);
        socket.send_to(&data, (OUTSIDE_V4, 53)).unwrap();
        let mut buffer = vec![0; 4_000];
        for part in data.chunks(3_000) {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(from.ip(), IpAddr::from(PUBLIC[0]));
            assert!(buffer[..length] == *part);
        }
        // Those that fit go on as they are.
        segments_of(&socket, 1_000);
        socket.send_to(&data, (OUTSIDE_V4, 53)).unwrap();
        for part in data.chunks(1_000) {
            let (length, _) = server.recv_from(&mut buffer).unwrap();
            assert!(buffer[..length] == *part);
        }
        // What its sender does not allow to be cut is refused with the limit (semantics 130: IPv6 never does).
        for (from, to) in [
            (IpAddr::from(a.v4), IpAddr::from(OUTSIDE_V4)),
            (a.v6.into(), OUTSIDE_V6.into()),
        ] {
            let socket = a.namespace.udp(from, 4001);
            socket.connect((to, 53)).unwrap();
            if to.is_ipv4() {
                forbid_fragments(&socket, true);
            }
            segments_of(&socket, 3_000);
            socket.send(&data).unwrap();
            let drop = dropped(&rig.plane, |d| {
                d.drop.stage == Stage::MtuExceeded && d.packet.is_some_and(|p| p.dst == to)
            });
            let header = if to.is_ipv4() { 28 } else { 48 };
            // The length that counts is that of the datagrams, not of what holds them.
            assert_eq!(drop.packet.unwrap().length, 3_000 + header);
            eventually(|| (path_mtu(&socket) == 1500).then_some(()));
        }
    });
}

#[test]
fn a_stream_whose_segments_are_too_long_for_the_gateway_arrives() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(PUBLIC[0]));
        let b = rig.guest_with(2, 10, &[rows::OPEN], Some(PUBLIC[1]));
        // semantics 71, 76: by their public addresses, both behind links of 9,001 bytes. The sender learns the limit.
        bulk(&a.namespace, &b.namespace, b.v4.into(), PUBLIC[1].into(), 1 << 20);
        // One that does not ask for it ("don't fragment" is not set): each segment is cut.
        a.namespace.sysctl("ipv4/ip_no_pmtu_disc", "1");
        a.namespace.ip("route flush cache");
        let wire = Wire::new(&b.namespace);
        let refused = |rig: &Rig| rig.plane.counters().unwrap().stage(Stage::MtuExceeded);
        let before = refused(&rig);
        bulk(&a.namespace, &b.namespace, b.v4.into(), PUBLIC[1].into(), 1 << 20);
        let (_, headers) =
            wire.read(|_, headers| headers.protocol == protocol::TCP && headers.fragment.is_some());
        assert_eq!(headers.dst, IpAddr::from(b.v4));
        assert!(before > 0 && refused(&rig) == before);
    });
}

/// Turns the guests' tunnel segmentation off, as instances' interfaces have it, or on.
fn tunnel_segmentation(guest: &Guest, on: bool) -> bool {
    let to = if on { "on" } else { "off" };
    let words = [
        "-K",
        "eth0",
        "tx-udp_tnl-segmentation",
        to,
        "tx-udp_tnl-csum-segmentation",
        to,
    ];
    let cut = guest.namespace.run(|| rig::quiet("ethtool", &words).status());
    cut.is_ok_and(|status| status.success())
}

#[test]
fn a_tunnel_through_the_gateway_keeps_both_its_checksums() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(PUBLIC[0]));
        let b = rig.guest_with(2, 10, &[rows::OPEN], Some(PUBLIC[1]));
        for (guest, far, host) in [(&a, PUBLIC[1], 1), (&b, PUBLIC[0], 2)] {
            if !tunnel_segmentation(guest, false) {
                eprintln!("SKIPPED: there is no ethtool");
                return;
            }
            guest.namespace.ip(&format!(
                "link add vx0 mtu 1400 type vxlan id 7 local {} remote {far} dstport 4789 srcport 40000 40001 udpcsum dev eth0",
                guest.v4
            ));
            guest
                .namespace
                .ip(&format!("addr add 192.168.9.{host}/24 dev vx0"));
            guest.namespace.ip("link set vx0 up");
        }
        let inner = IpAddr::from([192, 168, 9, 2]);
        bulk(&a.namespace, &b.namespace, inner, inner, 1 << 20);
        // On a flow that is known by now, with an inner checksum that is left to the device: the outer one counts on it.
        let wire = Wire::new(&b.namespace);
        let near = a.namespace.udp(Ipv4Addr::new(192, 168, 9, 1), 5000);
        let far = b.namespace.udp(inner, 5000);
        for n in 0..20 {
            delivers(&near, inner, &far, &noise(100 + n, 3));
            let (frame, headers) = wire.read(|_, headers| {
                matches!(headers.transport, Transport::Udp { dst: 4789, .. })
                    && headers.length() == 20 + 8 + 8 + 14 + 28 + 100 + n
            });
            assert_eq!((headers.src, headers.dst), (PUBLIC[0].into(), b.v4.into()));
            let at = headers.transport_at + 6;
            assert_ne!(frame[at..at + 2], [0, 0], "the outer checksum is asked for");
            assert!(is_right(&frame, &headers), "{n}: {:02x?}", &frame[..64]);
        }
        assert_eq!(rig.plane.counters().unwrap().stage(Stage::Malformed), 0);
        // Where the kernel forwards, segments that only the device could cut go on as well, once their flow is known.
        if rig.plane.counters().unwrap().kernel.is_some() {
            tunnel_segmentation(&a, true);
            bulk(&a.namespace, &b.namespace, inner, inner, 1 << 20);
        }
    });
}

#[test]
fn runts_are_malformed_and_the_rest_is_judged_by_what_can_be_read() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest(1, 10, &[rows::OPEN]);
        let (b, closed) = (rig.guest(2, 10, &[rows::OPEN]), rig.guest(2, 11, &[rows::CLOSED]));
        let wire = Wire::new(&a.namespace);
        for to in [IpAddr::from(b.v4), b.v6.into()] {
            let datagram = Datagram::from(&a, to, (4000, 5000), b"0123456789");
            let whole = datagram.frame(17, &datagram.segment(), (1, 0));
            let counted = || rig.plane.counters().unwrap().stage(Stage::Malformed);
            let before = counted();
            let cuts: Vec<usize> = (15..whole.len()).collect();
            for cut in &cuts {
                wire.send(&whole[..*cut]);
            }
            eventually(|| (counted() == before + cuts.len() as u64).then_some(()));
            let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::Malformed);
            assert_eq!((drop.ingress, drop.packet), (Port::Eni(a.eni), None));
        }
        // An authentication header hides the ports: rules about every protocol let it in, and those about none do not.
        let through = Wire::new(&b.namespace);
        for (to, refuses) in [
            (IpAddr::from(b.v4), IpAddr::from(closed.v4)),
            (b.v6.into(), closed.v6.into()),
        ] {
            let hidden = [&[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0; 20]].concat();
            let datagram = Datagram::from(&a, to, (4000, 5000), b"");
            wire.send(&datagram.frame(51, &hidden, (2, 0)));
            let (_, headers) = through.read(|_, headers| headers.protocol == 51);
            assert_eq!((headers.dst, headers.transport), (to, Transport::Other));
            let datagram = Datagram::from(&a, refuses, (4000, 5000), b"");
            wire.send(&datagram.frame(51, &hidden, (2, 0)));
            let drop = dropped(&rig.plane, |d| d.packet.is_some_and(|p| p.dst == refuses));
            assert_eq!(drop.packet.unwrap().protocol, 51);
            assert!(matches!(
                drop.drop.stage,
                Stage::SecurityGroupIngress | Stage::SecurityGroupEmpty
            ));
        }
        // Headers that lead nowhere, and those that lead to the ports.
        let datagram = Datagram::from(&a, b.v6.into(), (4000, 5000), b"behind three headers");
        let segment = datagram.segment();
        let option = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let chain = |headers: &[[u8; 8]]| [&headers.concat()[..], &segment].concat();
        let before = rig.plane.counters().unwrap().stage(Stage::Malformed);
        // Hop-by-hop options not first, a route left to go, a chain without end.
        wire.send(&datagram.frame(60, &chain(&[option(0), option(17)]), (0, 0)));
        wire.send(&datagram.frame(43, &chain(&[[17, 0, 4, 1, 0, 0, 0, 0]]), (0, 0)));
        wire.send(&datagram.frame(60, &chain(&[option(60); 20]), (0, 0)));
        eventually(|| {
            let counted = rig.plane.counters().unwrap().stage(Stage::Malformed);
            (counted == before + 3).then_some(())
        });
        let receiver = b.namespace.udp(b.v6, 5000);
        let readable = chain(&[option(60), option(43), [17, 0, 4, 0, 0, 0, 0, 0]]);
        wire.send(&datagram.frame(0, &readable, (0, 0)));
        let (_, headers) =
            through.read(|_, headers| headers.transport == Transport::Udp { src: 4000, dst: 5000 });
        assert_eq!((headers.protocol, headers.src), (protocol::UDP, a.v6.into()));
        drop(receiver);
    });
}
