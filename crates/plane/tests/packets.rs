//! Real packets between real namespaces: what is delivered is received, what is dropped is named.
#![allow(clippy::unwrap_used)]

mod rig;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use atoll_fabric::{Port, Stage, Verdict, walk};
use atoll_model::Timestamp;
use atoll_plane::{Capacity, DropRecord, PlaneError};
use rig::socket::{
    DEADLINE, carries, carries_whole, connected, delivers, dropped, forbid_fragments, noise, pad_header,
    path_mtu,
};
use rig::{OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario};

/// What a trace of a dropped packet says now.
fn traced(rig: &Rig, drop: &DropRecord) -> Stage {
    let (packet, time) = (drop.packet.unwrap(), drop.time);
    rig.plane
        .with_state(move |fabric, flows| walk(fabric, flows, &packet, time, &mut Vec::new()).stage())
        .unwrap()
}

#[test]
fn packets_of_both_families_reach_the_other_subnet_and_the_own_link() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b, c) = (
            rig.guest(1, 10, &[rows::OPEN]),
            rig.guest(2, 10, &[rows::OPEN]),
            rig.guest(1, 11, &[rows::OPEN]),
        );
        for to in [&b, &c] {
            for (from, at) in [
                (IpAddr::from(a.v4), IpAddr::from(to.v4)),
                (a.v6.into(), to.v6.into()),
            ] {
                let (near, far) = (a.namespace.udp(from, 4000), to.namespace.udp(at, 5000));
                for n in 0..50u8 {
                    assert_eq!(delivers(&near, at, &far, &[n; 100]).ip(), from);
                    assert_eq!(delivers(&far, from, &near, &[n; 100]).ip(), at);
                }
            }
        }
        // ARP was answered for the router and for the neighbour on the link (semantics 10).
        let arp = a
            .namespace
            .run(|| std::fs::read_to_string("/proc/thread-self/net/arp").unwrap());
        assert!(arp.contains(&rows::subnet(1).router_mac().to_string()), "{arp}");
        assert!(arp.contains(&c.mac.to_string()), "{arp}");
        let counters = rig.plane.counters().unwrap();
        let hits = counters.hits + counters.kernel.map_or(0, |kernel| kernel.delivered);
        assert!(hits > counters.walks, "{counters:?}");
        assert!(counters.stage(Stage::Delivered) >= 400);
    });
}

#[test]
fn a_security_group_drops_and_says_so() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::CLOSED]));
        let near = a.namespace.udp(a.v4, 4000);
        let far = b.namespace.udp(b.v4, 5000);
        near.send_to(b"x", (b.v4, 5000)).unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert!(matches!(
            drop.drop.stage,
            Stage::SecurityGroupIngress | Stage::SecurityGroupEmpty
        ));
        assert_eq!(traced(&rig, &drop), drop.drop.stage);
        // Still alike when the verdict is a kept one.
        for _ in 0..3 {
            near.send_to(b"x", (b.v4, 5000)).unwrap();
        }
        dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni) && d.count >= 4);
        // semantics 43: what it begins itself is answered, and now the other's packets are such answers.
        delivers(&far, a.v4, &near, b"question");
        delivers(&near, b.v4, &far, b"answer");
    });
}

#[test]
fn a_rule_that_refers_to_a_group_lets_its_members_in() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let member = rig.guest(1, 10, &[rows::OPEN]);
        let stranger = rig.guest(1, 11, &[rows::CLOSED]);
        let b = rig.guest(2, 10, &[rows::FROM_OPEN]);
        let far = b.namespace.udp(b.v4, 5000);
        delivers(&member.namespace.udp(member.v4, 4000), b.v4, &far, b"x");
        stranger
            .namespace
            .udp(stranger.v4, 4000)
            .send_to(b"x", (b.v4, 5000))
            .unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(stranger.eni));
        assert_eq!(drop.drop.stage, Stage::SecurityGroupIngress);
    });
}

#[test]
fn a_network_acl_cuts_an_established_connection_at_once() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let listener = b.namespace.listen(b.v4, 80);
        let (mut near, mut far) = connected(&a.namespace, &listener, b.v4);
        for byte in 0..20 {
            carries(&mut near, &mut far, byte);
            carries(&mut far, &mut near, byte);
        }
        // semantics 22, 28.
        rig.apply(&rows::put(vec![rows::acl(
            &[(90, "deny", rows::tcp(80, 80), "0.0.0.0/0")],
            &[],
        )]));
        near.write_all(b"x").unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert_eq!(drop.drop.stage, Stage::NaclIngress);
        assert_eq!(traced(&rig, &drop), Stage::NaclIngress);
        far.set_nonblocking(true).unwrap();
        assert_eq!(
            far.read(&mut [0]).unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock
        );
        // Allowed again, the sender's repetition arrives.
        far.set_nonblocking(false).unwrap();
        rig.apply(&rows::put(vec![rows::acl(&[], &[])]));
        let mut got = [0];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
    });
}

#[test]
fn bulk_data_arrives_whole_through_offloads() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let data = noise(8 << 20, 5);
        for at in [IpAddr::from(b.v4), b.v6.into()] {
            let listener = b.namespace.listen(at, 80);
            let (mut near, mut far) = connected(&a.namespace, &listener, at);
            carries_whole(&mut near, &mut far, &data);
            // And the other way, on the same connection.
            carries_whole(&mut far, &mut near, &data);
        }
        let counters = rig.plane.counters().unwrap();
        match counters.kernel {
            // Super-segments: with an acknowledgement for every two, packets of 9,001 bytes would come to 6,000.
            None => assert!(counters.bytes / counters.packets > 6100, "{counters:?}"),
            // The kernel's: all but what opens and closes the connections, and what comes before it has been told of them.
            Some(kernel) => {
                assert!(kernel.bytes + counters.bytes > 32 << 20, "{counters:?}");
                assert!(counters.bytes < 1 << 20, "{counters:?}");
            }
        }
    });
}

#[test]
fn the_internet_sees_the_public_address_and_reaches_it() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = Ipv4Addr::new(203, 0, 113, 7);
        let web = rig.guest_with(1, 10, &[rows::OPEN], Some(public));
        let hidden = rig.guest(1, 11, &[rows::OPEN]);
        let outside = rig.internet();
        // semantics 66: the instance knows only its private address.
        let listener = web.namespace.listen(web.v4, 80);
        let (mut near, mut far) = connected(&outside, &listener, public);
        assert_eq!(near.peer_addr().unwrap().ip(), IpAddr::from(public));
        assert_eq!(far.local_addr().unwrap().ip(), IpAddr::from(web.v4));
        carries(&mut near, &mut far, 1);
        carries(&mut far, &mut near, 2);
        let server = outside.udp(OUTSIDE_V4, 53);
        let client = web.namespace.udp(web.v4, 4000);
        assert_eq!(
            delivers(&client, OUTSIDE_V4, &server, b"x").ip(),
            IpAddr::from(public)
        );
        delivers(&server, public, &client, b"y");
        // IPv6 goes untranslated.
        let (six, far_six) = (web.namespace.udp(web.v6, 4000), outside.udp(OUTSIDE_V6, 53));
        assert_eq!(
            delivers(&six, OUTSIDE_V6, &far_six, b"x").ip(),
            IpAddr::from(web.v6)
        );
        // semantics 67, 69.
        hidden
            .namespace
            .udp(hidden.v4, 4000)
            .send_to(b"x", (OUTSIDE_V4, 53))
            .unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(hidden.eni));
        assert_eq!(drop.drop.stage, Stage::IgwNoPublicAddress);
        server.send_to(b"x", (Ipv4Addr::new(203, 0, 113, 8), 53)).unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Internet);
        assert_eq!(drop.drop.stage, Stage::IgwUnknownPublicDestination);
    });
}

#[test]
fn a_nat_gateway_hides_its_subnet_and_translates_what_comes_back() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, outside) = (rig.guest(1, 10, &[rows::OPEN]), rig.internet());
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        let nat = IpAddr::from(rows::NAT_PUBLIC);
        // semantics 79: TCP and UDP.
        let listener = outside.listen(OUTSIDE_V4, 80);
        let (mut near, mut far) = connected(&a.namespace, &listener, OUTSIDE_V4);
        assert_eq!(far.peer_addr().unwrap().ip(), nat);
        for byte in 0..10 {
            carries(&mut near, &mut far, byte);
            carries(&mut far, &mut near, byte);
        }
        let (client, server) = (a.namespace.udp(a.v4, 4000), outside.udp(OUTSIDE_V4, 53));
        let seen = delivers(&client, OUTSIDE_V4, &server, b"question");
        assert_eq!(seen.ip(), nat);
        server.send_to(b"answer", seen).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(
            client.recv_from(&mut buffer).unwrap(),
            (6, (OUTSIDE_V4, 53).into())
        );
        // semantics 82: fragments of UDP pass, translated by what their first one says.
        forbid_fragments(&client, false);
        assert_eq!(delivers(&client, OUTSIDE_V4, &server, &noise(20_000, 1)), seen);
        // An error about a translated packet is translated with what it quotes, or its socket would not know it.
        let lost = a.namespace.udp(a.v4, 4001);
        lost.connect((OUTSIDE_V4, 9)).unwrap();
        lost.send(b"x").unwrap();
        assert_eq!(
            lost.recv(&mut buffer).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        // semantics 85: nobody begins from outside.
        server.send_to(b"x", (rows::NAT_PUBLIC, 4444)).unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Internet);
        assert_eq!(drop.drop.stage, Stage::NatNoMapping);
        // semantics 75: IPv6 goes out by the egress-only gateway, and only answers come in.
        let (six, far_six) = (a.namespace.udp(a.v6, 4000), outside.udp(OUTSIDE_V6, 53));
        far_six.send_to(b"x", (a.v6, 4000)).unwrap();
        let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::EigwInbound);
        assert_eq!(drop.ingress, Port::Internet);
        delivers(&six, OUTSIDE_V6, &far_six, b"x");
        delivers(&far_six, a.v6, &six, b"y");
    });
}

#[test]
fn packets_too_long_for_the_internet_are_cut_or_refused_with_their_limit() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = Ipv4Addr::new(203, 0, 113, 7);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(public));
        let b = rig.guest(2, 10, &[rows::OPEN]);
        let outside = rig.internet();
        let server = outside.udp(OUTSIDE_V4, 53);
        let client = a.namespace.udp(a.v4, 4000);
        // semantics 129: inside, 9001 bytes pass as they are.
        forbid_fragments(&client, true);
        let inside = b.namespace.udp(b.v4, 53);
        delivers(&client, b.v4, &inside, &noise(9001 - 28, 1));
        // To the internet they are cut.
        forbid_fragments(&client, false);
        delivers(&client, OUTSIDE_V4, &server, &noise(5000, 2));
        // What came in pieces goes on in pieces, all of them translated.
        delivers(&client, OUTSIDE_V4, &server, &noise(30_000, 3));
        delivers(&client, b.v4, &inside, &noise(60_000, 4));
        // With "don't fragment", the sender learns the limit.
        forbid_fragments(&client, true);
        client.connect((OUTSIDE_V4, 53)).unwrap();
        client.send(&noise(5000, 5)).unwrap();
        let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::MtuExceeded);
        assert_eq!(drop.packet.map(|p| p.length), Some(5028));
        until(|| path_mtu(&client) == 1500);
        // semantics 130: IPv6 likewise.
        let six = a.namespace.udp(a.v6, 4000);
        let server_six = outside.udp(OUTSIDE_V6, 53);
        six.connect((OUTSIDE_V6, 53)).unwrap();
        six.send(&noise(5000, 6)).unwrap();
        until(|| path_mtu(&six) == 1500);
        // And its sender cuts what follows.
        let six = a.namespace.udp(a.v6, 4001);
        delivers(&six, OUTSIDE_V6, &server_six, &noise(5000, 7));
    });
}

/// Waits until something holds.
fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
}

#[test]
fn spoofed_frames_and_addresses_are_dropped() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        // semantics 65: a source that is not the interface's.
        a.namespace.ip("addr add 10.0.1.77/24 dev eth0");
        a.namespace
            .udp(Ipv4Addr::new(10, 0, 1, 77), 4000)
            .send_to(b"x", (b.v4, 5000))
            .unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert_eq!(drop.drop.stage, Stage::SourceDestCheck);
        let ignored = rig.plane.counters().unwrap().neighbours_ignored;
        let router = rows::subnet(1).router_mac();
        a.namespace.ip("link set eth0 address 02:66:66:66:66:66");
        // ARP in that MAC's name is not answered either.
        a.namespace
            .udp(a.v4, 4001)
            .send_to(b"x", (Ipv4Addr::new(10, 0, 1, 99), 5000))
            .unwrap();
        until(|| rig.plane.counters().unwrap().neighbours_ignored > ignored);
        a.namespace
            .ip(&format!("neigh replace 10.0.1.1 lladdr {router} dev eth0"));
        a.namespace.ip("route replace default via 10.0.1.1 dev eth0");
        a.namespace.udp(a.v4, 4000).send_to(b"x", (b.v4, 5000)).unwrap();
        let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::MacSpoofed);
        assert_eq!(drop.ingress, Port::Eni(a.eni));
    });
}

#[test]
fn a_hop_limit_that_ends_is_reported_to_the_sender() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(Ipv4Addr::new(203, 0, 113, 7)));
        let outside = rig.internet();
        let client = a.namespace.udp(a.v4, 4000);
        let server = outside.udp(OUTSIDE_V4, 53);
        for _ in 0..3 {
            delivers(&client, OUTSIDE_V4, &server, b"x");
        }
        // A kept answer does not carry a packet further than its hop limit.
        client.set_ttl(1).unwrap();
        client.send_to(b"x", (OUTSIDE_V4, 53)).unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert_eq!(drop.drop.stage, Stage::HopLimit);
        assert_eq!(rig.plane.counters().unwrap().answers, 1);
    });
}

#[test]
fn a_port_that_goes_takes_its_flows_with_it() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let (near, far) = (a.namespace.udp(a.v4, 4000), b.namespace.udp(b.v4, 5000));
        for _ in 0..5 {
            delivers(&near, b.v4, &far, b"x");
        }
        rig.plane.port_down(b.port.1).unwrap();
        near.send_to(b"x", (b.v4, 5000)).unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert_eq!(drop.drop.stage, Stage::NotRunning);
        let attachment = atoll_plane::Attachment::Eni(b.eni);
        rig.plane.port_up(b.port.1, attachment).unwrap();
        delivers(&near, b.v4, &far, b"y");
        // A stopped plane forwards nothing and says so.
        let plane = rig.plane.clone();
        rig.plane.stop();
        assert!(matches!(plane.counters(), Err(PlaneError::Stopped)));
    });
}

#[test]
fn what_no_rule_may_see_is_malformed() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let a = rig.guest(1, 10, &[rows::OPEN]);
        // A VLAN tag is taken off by the kernel, but remembered.
        a.namespace.ip("addr del 10.0.1.10/24 dev eth0");
        let socket = a.namespace.run(|| {
            let kind = rustix::net::SocketType::RAW;
            rustix::net::socket(rustix::net::AddressFamily::PACKET, kind, None).unwrap()
        });
        let index = a
            .namespace
            .run(|| atoll_plane::Plane::interface_index("eth0").unwrap());
        let mut tagged = [rows::subnet(1).router_mac().0, a.mac.0].concat();
        tagged.extend([0x81, 0, 0, 5, 8, 0]);
        tagged.extend([
            0x45, 0, 0, 20, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 1, 10, 10, 0, 2, 10,
        ]);
        rig::socket::send_frame(&socket, index, &tagged);
        let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::Malformed);
        assert_eq!((drop.ingress, drop.packet), (Port::Eni(a.eni), None));
    });
}

#[test]
fn a_walk_of_a_delivered_packet_says_delivered() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let router = rows::subnet(1).router_mac();
        let packet = atoll_fabric::Packet {
            ingress: Port::Eni(a.eni),
            src_mac: a.mac,
            dst_mac: router,
            src: a.v4.into(),
            dst: b.v4.into(),
            protocol: 17,
            l4: atoll_fabric::L4::Ports {
                src: 1,
                dst: 2,
                tcp_flags: 0,
            },
            hop_limit: 64,
            length: 100,
            dont_fragment: false,
            fragment: None,
            quote: None,
        };
        let verdict = rig
            .plane
            .with_state(move |fabric, flows| walk(fabric, flows, &packet, Timestamp(0), &mut ()).verdict)
            .unwrap();
        assert!(matches!(verdict, Verdict::Forward(action) if action.out == Port::Eni(b.eni)));
    });
}

#[test]
fn headers_with_options_are_judged_and_translated_as_others_are() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = Ipv4Addr::new(203, 0, 113, 7);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(public));
        let b = rig.guest(2, 10, &[rows::OPEN]);
        let closed = rig.guest(2, 11, &[rows::CLOSED]);
        let outside = rig.internet();
        for (from, there, refuses, beyond, seen) in [
            (
                IpAddr::from(a.v4),
                IpAddr::from(b.v4),
                IpAddr::from(closed.v4),
                IpAddr::from(OUTSIDE_V4),
                IpAddr::from(public),
            ),
            (
                a.v6.into(),
                b.v6.into(),
                closed.v6.into(),
                OUTSIDE_V6.into(),
                a.v6.into(),
            ),
        ] {
            let (near, far) = (a.namespace.udp(from, 4000), b.namespace.udp(there, 5000));
            let server = outside.udp(beyond, 53);
            // On flows whose plain packets the kernel forwards by now.
            for n in 0..20u8 {
                delivers(&near, there, &far, &[n; 40]);
                delivers(&far, from, &near, &[n; 41]);
                assert_eq!(delivers(&near, beyond, &server, &[n; 42]).ip(), seen);
            }
            pad_header(&near);
            for n in 0..5u8 {
                assert_eq!(delivers(&near, there, &far, &[n; 50]).ip(), from);
                assert_eq!(delivers(&near, beyond, &server, &[n; 51]).ip(), seen);
            }
            near.send_to(b"x", (refuses, 5000)).unwrap();
            let drop = dropped(&rig.plane, |d| d.packet.is_some_and(|p| p.dst == refuses));
            assert!(matches!(
                drop.drop.stage,
                Stage::SecurityGroupIngress | Stage::SecurityGroupEmpty
            ));
        }
        if let Some(kernel) = rig.plane.counters().unwrap().kernel {
            assert!(kernel.odd >= 20, "{kernel:?}");
        }
    });
}

#[test]
fn a_tunnel_of_the_guests_own_carries_bulk_data() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        for (guest, peer, host) in [(&a, &b, 1), (&b, &a, 2)] {
            // As instances' interfaces are: the guest's kernel cuts the tunnel's segments.
            let off = [
                "-K",
                "eth0",
                "tx-udp_tnl-segmentation",
                "off",
                "tx-udp_tnl-csum-segmentation",
                "off",
            ];
            let cut = guest.namespace.run(|| rig::quiet("ethtool", &off).status());
            if !cut.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: there is no ethtool");
                return;
            }
            let (near, far) = (guest.v4, peer.v4);
            guest.namespace.ip(&format!(
                "link add vx0 type vxlan id 7 local {near} remote {far} dstport 4789 dev eth0"
            ));
            guest
                .namespace
                .ip(&format!("addr add 192.168.9.{host}/24 dev vx0"));
            guest.namespace.ip("link set vx0 up");
        }
        let at = Ipv4Addr::new(192, 168, 9, 2);
        let data = noise(2 << 20, 9);
        let listener = b.namespace.listen(at, 80);
        let (mut near, mut far) = connected(&a.namespace, &listener, at);
        carries_whole(&mut near, &mut far, &data);
        assert_eq!(rig.plane.counters().unwrap().stage(Stage::Malformed), 0);
    });
}
