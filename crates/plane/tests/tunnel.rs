//! Packets between instances on two hosts, over VXLAN on the eBPF plane.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use atoll_fabric::{Site, Stage};
use atoll_net::packet::{Sum, protocol};
use atoll_plane::{Capacity, Plane, PlaneError};
use rig::errors::segments_of;
use rig::two_hosts::{NETWORK, TwoHosts};
use rig::wire::{Datagram, Wire};
use rig::{Guest, OUTSIDE_V4, Rig, kernel_scenario, rows, socket};

const BULK: usize = 20_000_000;

/// The addresses of two instances, by family.
fn addresses(one: &Guest, other: &Guest) -> [(IpAddr, IpAddr); 2] {
    [(one.v4.into(), other.v4.into()), (one.v6.into(), other.v6.into())]
}

fn streams_both_ways(mtu: u32, v6: bool) {
    let mut two = TwoHosts::new(mtu, v6);
    let near = two.guest(0, 1, 10, &[rows::OPEN]);
    let neighbour = two.guest(1, 1, 11, &[rows::OPEN]);
    let far = two.guest(1, 2, 10, &[rows::OPEN]);
    let data = socket::noise(BULK, 7);
    for peer in [&neighbour, &far] {
        for (own, theirs) in addresses(&near, peer) {
            let listener = peer.namespace.listen(theirs, 80);
            let (mut client, mut server) = socket::connected(&near.namespace, &listener, theirs);
            socket::carries_whole(&mut client, &mut server, &data);
            socket::carries_whole(&mut server, &mut client, &data);
            let (here, there) = (near.namespace.udp(own, 5000), peer.namespace.udp(theirs, 53));
            for n in 0..20 {
                let from = socket::delivers(&here, theirs, &there, &[n; 900]);
                assert_eq!(from.ip(), own);
                socket::delivers(&there, own, &here, &[n; 700]);
            }
        }
    }
    for rig in &two.rigs {
        let counters = rig.plane.counters().unwrap();
        let kernel = counters.kernel.unwrap();
        assert!(kernel.sent_elsewhere > 1000, "{counters:#?}");
        assert!(kernel.delivered > 1000, "{counters:#?}");
        assert_eq!(
            (counters.wire_unknown, counters.wire_spoofed, kernel.wire_refused),
            (0, 0, 0)
        );
    }
}

#[test]
fn streams_and_datagrams_go_from_host_to_host() {
    kernel_scenario(|| streams_both_ways(9100, false));
}

#[test]
fn streams_and_datagrams_go_over_an_underlay_of_ipv6_and_short_packets() {
    kernel_scenario(|| streams_both_ways(1500, true));
}

#[test]
fn super_segments_of_datagrams_go_from_host_to_host_be_they_known_or_new() {
    kernel_scenario(|| {
        for underlay in [false, true] {
            let (_two, near, far) = TwoHosts::with_guests(1500, underlay);
            let data = socket::noise(12_000, 3);
            for port in 5000..5004 {
                for (own, theirs) in addresses(&near, &far) {
                    let (here, there) = (near.namespace.udp(own, port), far.namespace.udp(theirs, 53));
                    segments_of(&here, 1_000);
                    segments_of(&there, 1_000);
                    // The first of each way is the engines'.
                    for _ in 0..3 {
                        for (from, to, at) in [(&here, &there, theirs), (&there, &here, own)] {
                            let number = to.local_addr().unwrap().port();
                            from.send_to(&data, (at, number)).unwrap();
                            let mut buffer = vec![0; 2_000];
                            for part in data.chunks(1_000) {
                                let (length, _) = to.recv_from(&mut buffer).unwrap();
                                assert!(buffer[..length] == *part);
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_group_that_names_the_senders_group_lets_it_in_from_another_host() {
    kernel_scenario(|| {
        let mut two = TwoHosts::new(9100, false);
        let member = two.guest(0, 1, 10, &[rows::OPEN]);
        let other = two.guest(0, 1, 11, &[rows::CLOSED]);
        let server = two.guest(1, 2, 10, &[rows::FROM_OPEN]);
        let at_server = server.namespace.udp(server.v4, 53);
        let from_member = member.namespace.udp(member.v4, 5000);
        socket::delivers(&from_member, server.v4, &at_server, b"a member");
        let from_other = other.namespace.udp(other.v4, 5000);
        from_other.send_to(b"no member", (server.v4, 53)).unwrap();
        let drop = socket::dropped(&two.rigs[1].plane, |drop| {
            drop.ingress == atoll_fabric::Port::Eni(other.eni)
        });
        assert_eq!(drop.drop.stage, Stage::SecurityGroupIngress);
        // The answer to what is tracked comes back through a group that lets nothing in.
        socket::delivers(&at_server, member.v4, &from_member, b"an answer");
    });
}

#[test]
fn a_changed_acl_cuts_what_goes_from_host_to_host_at_either_end() {
    kernel_scenario(|| {
        for (ingress, stage, at) in [(true, Stage::NaclIngress, 1), (false, Stage::NaclEgress, 0)] {
            let (two, near, far) = TwoHosts::with_guests(9100, false);
            let (here, there) = (near.namespace.udp(near.v4, 5000), far.namespace.udp(far.v4, 53));
            for _ in 0..5 {
                socket::delivers(&here, far.v4, &there, b"there");
                socket::delivers(&there, near.v4, &here, b"back");
            }
            let deny = [(90, "deny", rows::all(), "10.0.0.0/16")];
            let row = if ingress {
                rows::acl(&deny, &[])
            } else {
                rows::acl(&[], &deny)
            };
            two.apply(&rows::put(vec![row]));
            here.send_to(b"cut", (far.v4, 53)).unwrap();
            let from_near =
                |drop: &atoll_plane::DropRecord| drop.ingress == atoll_fabric::Port::Eni(near.eni);
            assert_eq!(socket::dropped(&two.rigs[at].plane, from_near).drop.stage, stage);
            two.apply(&rows::put(vec![rows::acl(&[], &[])]));
            socket::delivers(&here, far.v4, &there, b"again");
        }
    });
}

/// A sender names the place of a checksum that is left to the device. Between hosts it is written after the packet was judged.
#[test]
fn a_checksum_that_is_finished_on_the_way_to_another_host_is_not_written_over_what_was_judged() {
    kernel_scenario(|| {
        let (two, near, far) = TwoHosts::with_guests(1500, false);
        // As a device that finishes none.
        let words = ["-K", "eth0", "tx", "off"];
        match two.underlays[0].run(|| rig::quiet("ethtool", &words).status()) {
            Ok(status) => assert!(status.success()),
            Err(_) => {
                eprintln!("SKIPPED: there is no ethtool");
                return;
            }
        }
        let here = near.namespace.udp(near.v4, 5000);
        let (there, other) = (far.namespace.udp(far.v4, 53), far.namespace.udp(far.v4, 22));
        for _ in 0..5 {
            socket::delivers(&here, far.v4, &there, b"there");
            socket::delivers(&there, near.v4, &here, b"back");
        }
        let left = |offset: u16| {
            let mut header = [0; 10];
            header[0] = 1;
            header[6..8].copy_from_slice(&34_u16.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
            header
        };
        let datagram = Datagram::from(&near, far.v4.into(), (5000, 53), &[0; 4]);
        let mut segment = datagram.segment();
        segment[6..8].fill(0);
        // The sum of all is, inverted, the number of another port.
        let sum = !Sum::default().bytes(&segment).fold();
        let missing = Sum::default()
            .bytes(&sum.to_be_bytes())
            .bytes(&(!22_u16).to_be_bytes());
        segment[8..10].copy_from_slice(&missing.fold().to_be_bytes());
        let wire = Wire::new(&near.namespace);
        let frame = datagram.frame(protocol::UDP, &segment, (0, 0));
        let elsewhere = || {
            two.rigs[0]
                .plane
                .counters()
                .unwrap()
                .kernel
                .unwrap()
                .sent_elsewhere
        };
        let before = elsewhere();
        wire.send_behind(&left(2), &frame);
        // What is behind it is as the sender says.
        wire.send_behind(&left(10), &frame);
        let mut buffer = [0; 100];
        let (length, _) = there.recv_from(&mut buffer).unwrap();
        assert_eq!((length, &buffer[..2]), (4, &segment[8..10]));
        assert_eq!(elsewhere(), before + 2, "both are known");
        socket::delivers(&here, far.v4, &there, b"and those that are right");
        // What was sent first would have come first.
        here.send_to(b"for that port", (far.v4, 22)).unwrap();
        let (length, _) = other.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"for that port");
    });
}

#[test]
fn what_is_too_long_for_the_underlay_is_told_to_its_sender() {
    kernel_scenario(|| {
        for (v6, mtu) in [(false, 1450), (true, 1430)] {
            let mut two = TwoHosts::new(1500, v6);
            // Its group lets nothing in: it is told all the same.
            let near = two.guest(0, 1, 10, &[rows::CLOSED]);
            let far = two.guest(1, 2, 10, &[rows::OPEN]);
            for (own, theirs) in addresses(&near, &far) {
                let here = near.namespace.udp(own, 5000);
                if own.is_ipv4() {
                    socket::forbid_fragments(&here, true);
                }
                here.connect((theirs, 53)).unwrap();
                here.send(&[1; 3000]).unwrap();
                socket::eventually(|| (socket::path_mtu(&here) == mtu).then_some(()));
                // Another socket, which is told nothing any more.
                let (again, there) = (near.namespace.udp(own, 5001), far.namespace.udp(theirs, 53));
                let headers = if own.is_ipv4() { 28 } else { 48 };
                socket::delivers(&again, theirs, &there, &vec![2; mtu as usize - headers]);
            }
            // semantics 129: what may be cut is cut.
            let (here, there) = (near.namespace.udp(near.v4, 5002), far.namespace.udp(far.v4, 54));
            socket::forbid_fragments(&here, false);
            socket::delivers(&here, far.v4, &there, &socket::noise(8000, 3));
        }
    });
}

#[test]
fn an_instance_on_another_host_reaches_the_internet_by_the_host_of_the_gateways() {
    kernel_scenario(|| {
        let mut two = TwoHosts::new(9100, false);
        let public = "203.0.113.9".parse().unwrap();
        let far = two.guest_with(1, 1, 10, &[rows::OPEN], Some(public));
        let outside = two.rigs[0].internet();
        let (here, there) = (far.namespace.udp(far.v4, 5000), outside.udp(OUTSIDE_V4, 53));
        for _ in 0..5 {
            assert_eq!(socket::delivers(&here, OUTSIDE_V4, &there, b"out").ip(), public);
            socket::delivers(&there, public, &here, b"in");
        }
        // semantics 76: the gateway's host tells whom it concerns.
        socket::forbid_fragments(&here, true);
        here.connect((OUTSIDE_V4, 53)).unwrap();
        here.send(&[1; 3000]).unwrap();
        socket::eventually(|| (socket::path_mtu(&here) == 1500).then_some(()));
    });
}

#[test]
fn an_interface_that_moves_to_the_other_host_is_found_there() {
    kernel_scenario(|| {
        let (mut two, near, far) = TwoHosts::with_guests(9100, false);
        let here = near.namespace.udp(near.v4, 5000);
        {
            let there = far.namespace.udp(far.v4, 53);
            for _ in 0..5 {
                socket::delivers(&here, far.v4, &there, b"there");
                socket::delivers(&there, near.v4, &here, b"back");
            }
        }
        two.rigs[1].plane.port_down(far.port.1).unwrap();
        two.rigs[0]
            .plane
            .place(&[(Site::Interface(far.eni), None)])
            .unwrap();
        let moved = two.rigs[0].guest(2, 10, &[rows::OPEN]);
        let there = moved.namespace.udp(moved.v4, 53);
        let before = two.rigs[0]
            .plane
            .counters()
            .unwrap()
            .kernel
            .unwrap()
            .sent_elsewhere;
        for _ in 0..5 {
            socket::delivers(&here, moved.v4, &there, b"there");
            socket::delivers(&there, near.v4, &here, b"back");
        }
        let after = two.rigs[0]
            .plane
            .counters()
            .unwrap()
            .kernel
            .unwrap()
            .sent_elsewhere;
        assert_eq!(before, after);
    });
}

/// A frame of VXLAN with its group policy, and an inner datagram, from somewhere on the underlay.
fn forged(network: u32, tag: u16, macs: [[u8; 6]; 2], inner: &Datagram<'_>) -> Vec<u8> {
    surrounded(
        network,
        tag,
        macs,
        &inner.frame(17, &inner.segment(), (1, 0x4000)),
    )
}

/// The same around any frame, whose MAC addresses are replaced.
fn surrounded(network: u32, tag: u16, macs: [[u8; 6]; 2], frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x88, 0];
    bytes.extend(tag.to_be_bytes());
    bytes.extend((network << 8).to_be_bytes());
    bytes.extend(macs.concat());
    bytes.extend(&frame[12..]);
    bytes
}

#[test]
fn frames_that_no_host_would_send_are_dropped_and_counted() {
    kernel_scenario(|| {
        let mut two = TwoHosts::new(9100, false);
        let near = two.guest(0, 1, 10, &[rows::OPEN]);
        let beside = two.guest(1, 2, 11, &[rows::OPEN]);
        let far = two.guest(1, 2, 10, &[rows::OPEN]);
        let there = far.namespace.udp(far.v4, 53);
        let inner = |src: Ipv4Addr| Datagram {
            macs: (near.mac, far.mac),
            src: src.into(),
            dst: far.v4.into(),
            ports: (5000, 53),
            data: b"forged",
        };
        let tag = 0x8020;
        let right = forged(NETWORK, tag, [far.mac.0, near.mac.0], &inner(near.v4));
        two.underlays[0].ip("addr add 192.0.2.66/24 dev eth0");
        let sender = |at: &str| -> UdpSocket { two.underlays[0].udp(at.parse::<IpAddr>().unwrap(), 40_000) };
        let (host, stranger) = (sender("192.0.2.1"), sender("192.0.2.66"));
        let plane = &two.rigs[1].plane;
        let counts = || {
            let counters = plane.counters().unwrap();
            let kernel = counters.kernel.unwrap();
            (kernel.wire_refused, counters.wire_unknown, counters.wire_spoofed)
        };
        let send = |from: &UdpSocket, frame: &[u8]| from.send_to(frame, ("192.0.2.2", 4789)).unwrap();
        let refused = |from: &UdpSocket, frame: &[u8], which: usize| {
            let before = counts();
            send(from, frame);
            socket::eventually(|| {
                let after = counts();
                let rose = [after.0 - before.0, after.1 - before.1, after.2 - before.2];
                let mut wanted = [0; 3];
                wanted[which] = 1;
                (rose == wanted).then_some(())
            });
        };
        // As a host sends it, it arrives: what follows differs from it in one thing each.
        send(&host, &right);
        let mut buffer = [0; 100];
        assert_eq!(there.recv(&mut buffer).unwrap(), 6);
        refused(&stranger, &right, 0);
        let mut without_tag = right.clone();
        (without_tag[0], without_tag[2], without_tag[3]) = (8, 0, 0);
        refused(&host, &without_tag, 0);
        refused(
            &host,
            &forged(NETWORK + 1, tag, [far.mac.0, near.mac.0], &inner(near.v4)),
            1,
        );
        refused(
            &host,
            &forged(NETWORK, 0x8005, [far.mac.0, near.mac.0], &inner(near.v4)),
            1,
        );
        refused(
            &host,
            &forged(NETWORK, tag, [far.mac.0, [2, 0, 0, 0, 0, 9]], &inner(near.v4)),
            2,
        );
        refused(
            &host,
            &forged(NETWORK, tag, [[2, 0, 0, 0, 0, 9], near.mac.0], &inner(near.v4)),
            2,
        );
        // In the name of an instance of the receiving host, of an address that is not the sender's, of the gateways.
        refused(
            &host,
            &forged(NETWORK, tag, [far.mac.0, beside.mac.0], &inner(beside.v4)),
            2,
        );
        refused(
            &host,
            &forged(NETWORK, tag, [far.mac.0, near.mac.0], &inner(beside.v4)),
            2,
        );
        refused(
            &host,
            &forged(NETWORK, 0x8008, [far.mac.0, near.mac.0], &inner(near.v4)),
            2,
        );
        // An answer that is none.
        refused(
            &host,
            &forged(NETWORK, 0x8004, [far.mac.0, near.mac.0], &inner(near.v4)),
            2,
        );
    });
}

#[test]
fn answers_about_what_an_instance_cannot_have_sent_are_dropped_and_counted() {
    kernel_scenario(|| {
        let (two, near, far) = TwoHosts::with_guests(9100, false);
        let beside: Ipv4Addr = "10.0.2.77".parse().unwrap();
        let packet = |src: Ipv4Addr, dst: Ipv4Addr, ports| Datagram {
            macs: (near.mac, far.mac),
            src: src.into(),
            dst: dst.into(),
            ports,
            data: b"",
        };
        let around = |frame: &[u8]| surrounded(NETWORK, 0x8004, [far.mac.0, near.mac.0], frame);
        let error = |about: Ipv4Addr, to: Ipv4Addr| {
            let quoted = packet(about, near.v4, (53, 5000));
            let quoted = quoted.frame(17, &quoted.segment(), (1, 0x4000));
            let mut icmp = [&[3, 4, 0, 0, 0, 0, 5, 20][..], &quoted[14..]].concat();
            let sum = Sum::default().bytes(&icmp).checksum();
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            around(&packet(near.v4, to, (0, 0)).frame(1, &icmp, (1, 0x4000)))
        };
        let reset = |to: Ipv4Addr| {
            let mut tcp = [[0, 80, 16, 0].as_slice(), &[0; 8], &[0x50, 4, 0, 0, 0, 0, 0, 0]].concat();
            let sum = Sum::default().pseudo_header(near.v4.into(), to.into(), 6, 20);
            let sum = sum.bytes(&tcp).checksum();
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
            around(&packet(near.v4, to, (0, 0)).frame(6, &tcp, (1, 0x4000)))
        };
        let host = two.underlays[0].udp(two.addresses[0], 40_000);
        let send = |frame: &[u8]| host.send_to(frame, (two.addresses[1], 4789)).unwrap();
        let counters = || two.rigs[1].plane.counters().unwrap();
        // About its own it is told.
        let there = far.namespace.udp(far.v4, 53);
        there.connect((near.v4, 5000)).unwrap();
        send(&error(far.v4, far.v4));
        socket::eventually(|| (socket::path_mtu(&there) == 1300).then_some(()));
        assert_eq!(counters().wire_spoofed, 0);
        let wrong = [
            error(beside, far.v4),
            error(beside, beside),
            error(far.v4, beside),
            reset(beside),
        ];
        for (before, frame) in wrong.iter().enumerate() {
            send(frame);
            socket::eventually(|| (counters().wire_spoofed == before as u64 + 1).then_some(()));
        }
        assert_eq!(counters().wire_unknown, 0);
    });
}

#[test]
fn what_comes_where_no_program_stands_is_not_believed_to_be_from_a_host() {
    kernel_scenario(|| {
        let (two, near, far) = TwoHosts::with_guests(9100, false);
        two.underlays[0].ip("addr add 192.0.2.66/24 dev eth0");
        let stranger = two.underlays[0].udp("192.0.2.66".parse::<IpAddr>().unwrap(), 40_000);
        let there = far.namespace.udp(far.v4, 53);
        let inner = Datagram {
            macs: (near.mac, far.mac),
            src: near.v4.into(),
            dst: far.v4.into(),
            ports: (5000, 53),
            data: b"forged",
        };
        let frame = inner.frame(17, &inner.segment(), (1, 0x4000));
        // As the programs put it before a frame, but for what only they and the engine know.
        let mut label = vec![192, 0, 2, 1];
        label.extend([0; 12]);
        label.extend(NETWORK.to_ne_bytes());
        label.extend(0x8020_u16.to_ne_bytes());
        label.extend([0; 10]);
        let labelled = [&frame[..14], &label, &frame[14..]].concat();
        socket::detach(&two.rigs[1].plane.tunnel_links().unwrap());
        let bytes = surrounded(NETWORK, 0x8020, [far.mac.0, near.mac.0], &labelled);
        stranger.send_to(&bytes, (two.addresses[1], 4789)).unwrap();
        let counters = || two.rigs[1].plane.counters().unwrap();
        socket::eventually(|| (counters().wire_unknown == 1).then_some(()));
        there.set_nonblocking(true).unwrap();
        assert!(there.recv(&mut [0; 16]).is_err());
    });
}

#[test]
fn a_device_that_is_made_anew_with_the_same_index_gets_the_programs_when_it_is_named_again() {
    kernel_scenario(|| {
        let (two, near, far) = TwoHosts::with_guests(9100, false);
        let (here, there) = (near.namespace.udp(near.v4, 5000), far.namespace.udp(far.v4, 53));
        socket::delivers(&here, far.v4, &there, b"before");
        let (fabric, ifindex) = (&two.rigs[0].fabric, two.tunnels[0].ifindex);
        fabric.ip("link del vxlan");
        two.underlays[0].ip(&format!(
            "link add vxlan index {ifindex} type vxlan external gbp dstport 4789"
        ));
        two.underlays[0].ip(&format!("link set vxlan netns {}", fabric.path()));
        fabric.ip("link set vxlan mtu 9200 up");
        assert_eq!(fabric.run(|| Plane::interface_index("vxlan")).unwrap(), ifindex);
        assert_eq!(two.programs(0), [0, 0]);
        two.rigs[0].plane.set_tunnel(Some(two.tunnels[0])).unwrap();
        assert_eq!(two.programs(0), [2, 1]);
        socket::delivers(&here, far.v4, &there, b"there");
        socket::delivers(&there, near.v4, &here, b"back");
    });
}

#[test]
fn the_userspace_plane_says_that_it_reaches_no_other_hosts() {
    let rig = Rig::new(Capacity::SMALL);
    let tunnel = atoll_plane::Tunnel {
        ifindex: 1,
        address: "192.0.2.1".parse().unwrap(),
        mtu: 1500,
    };
    let refused = rig.plane.set_tunnel(Some(tunnel));
    assert!(matches!(refused, Err(PlaneError::TunnelNeedsKernel)));
}
