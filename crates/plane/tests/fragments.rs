//! Packets in pieces, in order and out of it: what arrives is received whole, what is dropped is named.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, Ipv4Addr};

use atoll_fabric::{Port, Stage, walk};
use atoll_plane::Capacity;
use rig::socket::{delivers, dropped, eventually, noise};
use rig::wire::{Datagram, Wire, arrives};
use rig::{OUTSIDE_ROUTER, OUTSIDE_STATION, OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario};

/// Orders in which pieces may come: as they are, the first last, backwards.
const ORDERS: [fn(&mut Vec<Vec<u8>>); 3] =
    [|_| {}, |pieces| pieces.rotate_left(1), |pieces| pieces.reverse()];

#[test]
fn pieces_arrive_in_whatever_order_they_come() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let public = Ipv4Addr::new(203, 0, 113, 7);
        let a = rig.guest_with(1, 10, &[rows::OPEN], Some(public));
        let b = rig.guest(2, 10, &[rows::OPEN]);
        let outside = rig.internet();
        let wire = Wire::new(&a.namespace);
        let data = noise(9_000, 1);
        for (at, to, seen) in [
            (&b.namespace, IpAddr::from(b.v4), IpAddr::from(a.v4)),
            (&b.namespace, b.v6.into(), a.v6.into()),
            // semantics 66: later pieces are translated as their first one is.
            (&outside, OUTSIDE_V4.into(), public.into()),
            (&outside, OUTSIDE_V6.into(), a.v6.into()),
        ] {
            let receiver = at.udp(to, 5000);
            for order in ORDERS {
                let datagram = Datagram::from(&a, to, (4000, 5000), &data);
                assert_eq!(arrives(&wire, &receiver, &datagram, order).ip(), seen);
            }
        }
        assert!(rig.plane.counters().unwrap().fragments_waited >= 4 * (1 + 1));
    });
}

#[test]
fn a_nat_gateway_takes_udp_in_pieces_in_whatever_order() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, outside) = (rig.guest(1, 10, &[rows::OPEN]), rig.internet());
        rig.apply(&rows::nat_gateway());
        rig.apply(&rows::put(vec![rows::private_table()]));
        let (wire, server) = (Wire::new(&a.namespace), outside.udp(OUTSIDE_V4, 53));
        let data = noise(9_000, 1);
        let datagram = Datagram::from(&a, OUTSIDE_V4.into(), (4000, 53), &data);
        let mut seen = None;
        for order in ORDERS {
            let from = arrives(&wire, &server, &datagram, order);
            assert_eq!(from.ip(), IpAddr::from(rows::NAT_PUBLIC));
            assert_eq!(*seen.get_or_insert(from), from);
        }
        // And back: what answers comes in pieces too, which only the first one's ports lead inside.
        let Some(seen) = seen else { unreachable!() };
        let (outside_wire, client) = (Wire::new(&outside), a.namespace.udp(a.v4, 4000));
        let answer = Datagram {
            macs: (OUTSIDE_STATION, OUTSIDE_ROUTER),
            src: OUTSIDE_V4.into(),
            dst: rows::NAT_PUBLIC.into(),
            ports: (53, seen.port()),
            data: &data,
        };
        for order in ORDERS {
            let from = arrives(&outside_wire, &client, &answer, order);
            assert_eq!(from, (OUTSIDE_V4, 53).into());
        }
        // semantics 82: of ICMP it takes none, whichever piece comes first.
        for (offset, more) in [(1400, false), (0, true)] {
            let field = (offset / 8) | (u16::from(more) << 13);
            wire.send(&datagram.frame(1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0], (77, field)));
        }
        let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::NatFragment);
        assert_eq!(drop.ingress, Port::Eni(a.eni));
    });
}

#[test]
fn later_pieces_fare_as_their_first_one() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::CLOSED]));
        let wire = Wire::new(&a.namespace);
        let data = noise(4_000, 1);
        for to in [IpAddr::from(b.v4), b.v6.into()] {
            let datagram = Datagram::from(&a, to, (4000, 5000), &data);
            let record = || {
                let drops = rig.plane.drops().unwrap();
                drops
                    .into_iter()
                    .find(|drop| drop.packet.is_some_and(|packet| packet.dst == to))
            };
            let alone = || rig.plane.counters().unwrap().stage(Stage::FragmentAlone);
            // Backwards, and again should they have waited in vain.
            let drop = (1..10)
                .find_map(|id| {
                    let (had, before) = (record().map_or(0, |drop| drop.count), alone());
                    let mut pieces = datagram.pieces(id, 1400);
                    pieces.reverse();
                    pieces.iter().for_each(|piece| wire.send(piece));
                    eventually(|| match record() {
                        // All alike.
                        Some(drop) if drop.count == had + pieces.len() as u64 => Some(Some(drop)),
                        _ => (alone() > before).then_some(None),
                    })
                })
                .unwrap();
            assert!(matches!(
                drop.drop.stage,
                Stage::SecurityGroupIngress | Stage::SecurityGroupEmpty
            ));
            // A trace of a later piece, with the ports that it is judged by, says the same.
            let (mut packet, time) = (drop.packet.unwrap(), drop.time);
            packet.fragment = Some(atoll_fabric::Fragment {
                id: 1,
                offset: 1400,
                more: true,
            });
            let traced = rig
                .plane
                .with_state(move |fabric, flows| walk(fabric, flows, &packet, time, &mut ()).stage());
            assert_eq!(traced.unwrap(), drop.drop.stage);
        }
    });
}

#[test]
fn pieces_that_overlap_hide_or_are_alone_are_dropped() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::OPEN]), rig.guest(2, 10, &[rows::OPEN]));
        let wire = Wire::new(&a.namespace);
        let data = noise(4_000, 1);
        for to in [IpAddr::from(b.v4), b.v6.into()] {
            let from = if to.is_ipv4() {
                IpAddr::from(a.v4)
            } else {
                a.v6.into()
            };
            let (near, far) = (a.namespace.udp(from, 4001), b.namespace.udp(to, 5000));
            let datagram = Datagram::from(&a, to, (4000, 5000), &data);
            let segment = datagram.segment();
            let counted = |stage| rig.plane.counters().unwrap().stage(stage);
            // RFC 5722: the second reaches into the first, and nothing that follows is taken.
            let before = counted(Stage::FragmentOverlap);
            wire.send(&datagram.piece(900, 0, &segment[..1400], true));
            wire.send(&datagram.piece(900, 1392, &segment[1392..2800], true));
            wire.send(&datagram.piece(900, 1400, &segment[1400..2800], true));
            wire.send(&datagram.piece(900, 2800, &segment[2800..], false));
            eventually(|| (counted(Stage::FragmentOverlap) == before + 3).then_some(()));
            // RFC 1858: the first has to hold the ports. For UDP eight bytes do, for TCP twenty.
            let before = counted(Stage::Malformed);
            let tiny = match to {
                IpAddr::V4(_) => datagram.frame(6, &segment[..16], (901, 0x2000)),
                IpAddr::V6(_) => {
                    let header = [6, 0, 0, 1, 0, 0, 3, 0x85];
                    datagram.frame(44, &[&header[..], &segment[..16]].concat(), (0, 0))
                }
            };
            wire.send(&tiny);
            // All pieces but the last are whole words of eight bytes, and what they make has an end.
            wire.send(&datagram.piece(902, 0, &segment[..1397], true));
            wire.send(&datagram.piece(903, 65_528, &segment[..80], false));
            eventually(|| (counted(Stage::Malformed) == before + 3).then_some(()));
            // Without its first one, a piece waits and goes.
            let before = counted(Stage::FragmentAlone);
            wire.send(&datagram.piece(904, 1400, &segment[1400..2800], true));
            eventually(|| (counted(Stage::FragmentAlone) == before + 1).then_some(()));
            let drop = dropped(&rig.plane, |d| d.drop.stage == Stage::FragmentAlone);
            assert_eq!((drop.ingress, drop.packet), (Port::Eni(a.eni), None));
            // None of it was received: what is sent now comes first.
            delivers(&near, to, &far, b"whole");
        }
    });
}
