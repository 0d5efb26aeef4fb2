use std::net::Ipv4Addr;

use proptest::prelude::*;

use atoll_model::EniId;
use atoll_net::Mac;
use atoll_net::packet::{Transport, protocol};

use super::*;

const START: Timestamp = Timestamp(1_000_000);

fn near() -> (PortSlot, Port) {
    (PortSlot(1), Port::Eni(EniId::new(1)))
}

fn far() -> (PortSlot, Port) {
    (PortSlot(2), Port::Eni(EniId::new(2)))
}

fn ports(tcp_flags: u8) -> L4 {
    L4::Ports {
        src: 4000,
        dst: 53,
        tcp_flags,
    }
}

/// A piece with its headers.
fn piece(id: u32, offset: u16, length: usize, more: bool) -> (Headers, Fragment) {
    let fragment = Fragment { id, offset, more };
    let headers = Headers {
        src_mac: Mac::default(),
        dst_mac: Mac::default(),
        src: Ipv4Addr::new(10, 0, 1, 10).into(),
        dst: Ipv4Addr::new(10, 0, 2, 10).into(),
        protocol: protocol::UDP,
        hop_limit: 64,
        dont_fragment: false,
        fragment: Some(fragment),
        transport: if offset == 0 {
            Transport::Udp { src: 4000, dst: 53 }
        } else {
            Transport::LaterFragment
        },
        transport_at: 34,
        end: 34 + length,
    };
    (headers, fragment)
}

struct World {
    fragments: Fragments<u16>,
    now: Timestamp,
}

/// What came of a piece, told shortly.
#[derive(Debug, PartialEq)]
enum Told {
    /// The offsets of those that went on.
    Goes(Vec<u16>),
    Waits,
    Dropped,
}

impl World {
    fn new(most: usize) -> World {
        World {
            fragments: Fragments::new(most),
            now: START,
        }
    }

    fn send(&mut self, from: (PortSlot, Port), id: u32, offset: u16, length: usize, more: bool) -> Told {
        let (headers, fragment) = piece(id, offset, length, more);
        let own = if offset == 0 { ports(0x12) } else { L4::Other };
        let arrival = self
            .fragments
            .arrives(from, (&headers, &fragment), own, self.now, length, || offset);
        let first = First {
            protocol: protocol::UDP,
            l4: ports(0),
        };
        match arrival {
            Arrival::First(said, waited) => {
                assert_eq!(said, first);
                Told::Goes([vec![offset], waited].concat())
            }
            Arrival::Follows(said) => {
                assert_eq!(said, first);
                Told::Goes(vec![offset])
            }
            Arrival::Waits => Told::Waits,
            Arrival::Dropped => Told::Dropped,
        }
    }

    fn lost(&mut self) -> Vec<(Port, Lost, u64)> {
        self.fragments.take_lost()
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.fragments.sweep(self.now, 1000);
    }
}

#[test]
fn later_pieces_follow_the_first_and_a_whole_packet_leaves_nothing() {
    let mut world = World::new(64);
    // The same number again and again, as numbers of IPv4 come round.
    for _ in 0..100 {
        assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
        assert_eq!(world.send(near(), 7, 800, 800, true), Told::Goes(vec![800]));
        assert_eq!(world.send(near(), 7, 1600, 11, false), Told::Goes(vec![1600]));
    }
    assert_eq!(world.lost(), []);
    assert_eq!(world.fragments.counts, [0, 0]);
    let orders = world.fragments.ports.values().map(|port| port.orders[1].len());
    assert!(orders.max().unwrap_or(0) < 64);
}

#[test]
fn pieces_that_overtook_the_first_go_on_behind_it_in_order() {
    let mut world = World::new(64);
    assert_eq!(world.send(near(), 7, 1600, 11, false), Told::Waits);
    assert_eq!(world.send(near(), 7, 800, 800, true), Told::Waits);
    assert_eq!(world.fragments.waiting(), (2, 811 + 2 * PIECE));
    // Another packet's, and another port's, are others.
    assert_eq!(world.send(near(), 8, 800, 800, true), Told::Waits);
    assert_eq!(world.send(far(), 7, 0, 800, true), Told::Goes(vec![0]));
    world.pass(WAIT - 1);
    assert_eq!(
        world.send(near(), 7, 0, 800, true),
        Told::Goes(vec![0, 1600, 800])
    );
    assert_eq!(world.fragments.waiting(), (1, 800 + PIECE));
    assert_eq!(world.lost(), []);
}

#[test]
fn what_waits_in_vain_is_dropped_and_counted() {
    let mut world = World::new(64);
    for offset in [800, 1600, 2400] {
        assert_eq!(world.send(near(), 7, offset, 800, true), Told::Waits);
    }
    world.pass(WAIT - 1);
    assert_eq!(world.lost(), []);
    world.pass(1);
    assert_eq!(world.lost(), [(near().1, Lost::Alone, 3)]);
    assert_eq!(world.fragments.waiting(), (0, 0));
    // Too late: nothing waits behind it, and what comes after follows.
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
    assert_eq!(world.send(near(), 7, 800, 800, true), Told::Goes(vec![800]));
    // Not swept yet, what is over counts for nothing all the same.
    world.now = world.now.plus_millis(KNOWN);
    assert_eq!(world.send(near(), 7, 1600, 800, false), Told::Waits);
    world.pass(WAIT);
    assert_eq!(world.lost(), [(near().1, Lost::Alone, 1)]);
    assert!(world.fragments.ports.is_empty());
}

#[test]
fn an_overlap_spoils_the_packet() {
    // RFC 5722: what has passed cannot be taken back, but nothing more of it comes.
    let mut world = World::new(64);
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
    assert_eq!(world.send(near(), 7, 792, 800, true), Told::Dropped);
    assert_eq!(world.send(near(), 7, 800, 800, false), Told::Dropped);
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Dropped);
    assert_eq!(world.lost(), [(near().1, Lost::Overlaps, 3)]);
    world.pass(KNOWN);
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
    // What waits goes with it.
    assert_eq!(world.send(near(), 9, 800, 800, true), Told::Waits);
    assert_eq!(world.send(near(), 9, 1592, 80, true), Told::Dropped);
    assert_eq!(world.send(near(), 9, 0, 800, true), Told::Dropped);
    assert_eq!(world.lost(), [(near().1, Lost::Overlaps, 3)]);
    assert_eq!(world.fragments.waiting(), (0, 0));
    // A first piece that reaches into what waits.
    assert_eq!(world.send(near(), 10, 8, 800, true), Told::Waits);
    assert_eq!(world.send(near(), 10, 0, 16, true), Told::Dropped);
}

#[test]
fn a_piece_that_came_before_is_dropped_alone() {
    // RFC 8200, 4.5.
    let mut world = World::new(64);
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Dropped);
    assert_eq!(world.send(near(), 7, 80, 80, true), Told::Dropped);
    assert_eq!(world.send(near(), 7, 800, 800, true), Told::Goes(vec![800]));
    assert_eq!(world.send(near(), 7, 800, 800, true), Told::Dropped);
    assert_eq!(world.send(near(), 7, 1600, 8, false), Told::Goes(vec![1600]));
    assert_eq!(world.lost(), [(near().1, Lost::Overlaps, 3)]);
}

#[test]
fn a_packet_ends_once() {
    let mut world = World::new(64);
    assert_eq!(world.send(near(), 7, 0, 800, true), Told::Goes(vec![0]));
    assert_eq!(world.send(near(), 7, 1600, 8, false), Told::Goes(vec![1600]));
    assert_eq!(world.send(near(), 7, 2400, 8, false), Told::Dropped);
    assert_eq!(world.send(near(), 7, 800, 800, true), Told::Dropped);
    assert_eq!(world.send(near(), 8, 1600, 800, true), Told::Waits);
    assert_eq!(world.send(near(), 8, 800, 8, false), Told::Dropped);
    assert_eq!(world.send(near(), 8, 0, 800, true), Told::Dropped);
}

#[test]
fn a_flood_of_one_port_takes_nobody_elses_room() {
    let most = 64;
    let mut world = World::new(most);
    let others: Vec<_> = (10..14)
        .map(|n| (PortSlot(n), Port::Eni(EniId::new(n.into()))))
        .collect();
    for other in &others {
        assert_eq!(world.send(*other, 1, 800, 800, true), Told::Waits);
        assert_eq!(world.send(*other, 2, 0, 800, true), Told::Goes(vec![0]));
    }
    // One floods with later pieces, two with first ones, and the internet with both.
    for id in 0..10_000 {
        world.send(near(), id, 800, 1400, true);
        world.send(far(), id, 0, 800, true);
        world.send((PortSlot(9), Port::Internet), id, 0, 800, true);
        world.send((PortSlot(9), Port::Internet), 100_000 + id, 800, 800, true);
        let fragments = &world.fragments;
        assert!(
            fragments.counts.iter().all(|count| *count <= most),
            "{:?}",
            fragments.counts
        );
        assert!(fragments.bytes <= most * BYTES_A_PACKET);
    }
    for other in &others {
        assert_eq!(world.send(*other, 1, 0, 800, true), Told::Goes(vec![0, 800]));
        assert_eq!(world.send(*other, 2, 800, 800, true), Told::Goes(vec![800]));
    }
    let lost = world.lost();
    assert!(
        lost.iter()
            .all(|(port, why, _)| { [near().1, Port::Internet].contains(port) && *why == Lost::Alone })
    );
    assert_eq!(world.fragments.waiting().0, 4 + 32);
}

#[test]
fn where_many_ports_flood_the_largest_gives_way() {
    let most = 64;
    let mut world = World::new(most);
    let flooding: Vec<_> = (100..200)
        .map(|n| (PortSlot(n), Port::Eni(EniId::new(n.into()))))
        .collect();
    for id in 0..20 {
        for port in &flooding {
            world.send(*port, id, 800, 800, true);
        }
    }
    // A hundred ports want four each: there is room for 64 packets. One that comes with its first ones
    // at once gets through.
    for id in 0..50 {
        assert_eq!(world.send(near(), id, 800, 800, false), Told::Waits);
        assert_eq!(world.send(near(), id, 0, 800, true), Told::Goes(vec![0, 800]));
        world.send(flooding[0], 1000 + id, 800, 800, true);
    }
}

#[test]
fn a_few_large_packets_fill_a_ports_bytes() {
    let most = 64;
    let mut world = World::new(most);
    // An interface's sixteenth: four packets, 16 KiB.
    for offset in (8000..64_000).step_by(8000) {
        world.send(near(), 1, offset, 8000, true);
        assert!(world.fragments.waiting().1 <= 4 * BYTES_A_PACKET);
    }
    assert!(world.lost().iter().all(|lost| lost.1 == Lost::Alone));
}

#[test]
fn a_port_that_goes_takes_its_pieces_along() {
    let mut world = World::new(64);
    world.send(near(), 7, 800, 800, true);
    world.send(near(), 8, 0, 800, true);
    world.send(far(), 7, 800, 800, true);
    world.fragments.forget(near().0);
    assert_eq!(world.lost(), [(near().1, Lost::Alone, 1)]);
    assert_eq!(world.fragments.waiting(), (1, 800 + PIECE));
    assert_eq!(world.fragments.counts, [1, 0]);
}

proptest! {
    /// Whatever comes, in whatever order: the counts are those of what is there, all bounds hold, every piece is
    /// told about once (it went on, or it was lost, or it waits), and none goes on without its first.
    #[test]
    fn no_piece_is_lost_sight_of(
        steps in proptest::collection::vec((0..3u32, 0..3u32, 0..6u16, 1..4usize, any::<bool>(), 0..900u64), 1..300),
    ) {
        let mut world = World::new(16);
        let (mut sent, mut gone) = (0usize, 0usize);
        for (port, id, offset, length, more, millis) in steps {
            let ingress = if port == 0 { Port::Internet } else { Port::Eni(EniId::new(port.into())) };
            sent += 1;
            // A first piece that is also the last is no fragment.
            let more = more || offset == 0;
            match world.send((PortSlot(port), ingress), id, offset * 8, length * 8, more) {
                Told::Goes(pieces) => {
                    gone += pieces.len();
                    prop_assert!(pieces.len() == 1 || pieces[0] == 0);
                }
                Told::Waits | Told::Dropped => {}
            }
            if millis % 7 == 0 {
                world.pass(millis);
            }
            gone += world.lost().iter().map(|(_, _, count)| *count as usize).sum::<usize>();
            let fragments = &world.fragments;
            prop_assert_eq!(sent, gone + fragments.waiting().0);
            let mut counts = [0; 2];
            let mut bytes = 0;
            for port in fragments.ports.values() {
                for entry in port.packets.values() {
                    counts[entry.class() as usize] += 1;
                    if let State::Waiting(pieces) = &entry.state {
                        bytes += pieces.iter().map(|(_, weight)| weight).sum::<usize>();
                    }
                }
            }
            prop_assert_eq!((counts, bytes), (fragments.counts, fragments.bytes));
            prop_assert!(counts.iter().all(|count| *count <= 16));
        }
    }
}
