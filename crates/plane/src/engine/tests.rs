//! The cache law: whatever the order of packets, configuration and time, the engine does with a packet what a
//! fresh walk with the same state of flows says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use atoll_fabric::{CellId, Dependencies, Verdict, walk};
use atoll_net::Mac;
use atoll_net::packet::{Frame, Sum, parse, protocol, tcp_flags};

use super::*;

use crate::{frames, rig_rows as rows};

const STATION: Mac = Mac([2, 0xff, 0, 0, 0, 2]);
const OUTSIDE_ROUTER: Mac = Mac([2, 0xff, 0, 0, 0, 1]);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// A frame of a transport without options and data.
fn frame(macs: (Mac, Mac), src: IpAddr, dst: IpAddr, number: u8, segment: &[u8], hop_limit: u8) -> Vec<u8> {
    let mut frame = vec![0; vnet::LENGTH];
    frame.extend(macs.1.0);
    frame.extend(macs.0.0);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&(20 + segment.len() as u16).to_be_bytes());
            (header[8], header[9]) = (hop_limit, number);
            header[12..16].copy_from_slice(&src.octets());
            header[16..].copy_from_slice(&dst.octets());
            let sum = Sum::default().bytes(&header).checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((segment.len() as u16).to_be_bytes());
            frame.extend([number, hop_limit]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        _ => panic!("one family"),
    }
    frame.extend(segment);
    frame
}

fn segment(number: u8, ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![0u8; if number == protocol::TCP { 20 } else { 8 }];
    match number {
        protocol::TCP => {
            bytes[..2].copy_from_slice(&ports.0.to_be_bytes());
            bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
            (bytes[12], bytes[13]) = (0x50, flags);
        }
        protocol::UDP => {
            bytes[..2].copy_from_slice(&ports.0.to_be_bytes());
            bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
            bytes[5] = 8;
        }
        _ => {
            // Echo or its reply, by a bit of the flags.
            let reply = flags & tcp_flags::ACK != 0;
            bytes[0] = match (number, reply) {
                (protocol::ICMP, false) => 8,
                (protocol::ICMP, true) => 0,
                (_, false) => 128,
                (_, true) => 129,
            };
            bytes[4..6].copy_from_slice(&(ports.0 ^ ports.1).to_be_bytes());
        }
    }
    bytes
}

struct World {
    engine: Engine,
    now: Timestamp,
    out: Outbox,
}

/// The interfaces: two in subnet 1, two in subnet 2. Their ports are 1 to 4, the internet's is 9.
fn hosts() -> [rows::Interface; 4] {
    let interface = |subnet, host, group, public| rows::Interface {
        subnet,
        host,
        groups: vec![group],
        public,
        source_dest_check: true,
    };
    [
        interface(1, 10, rows::OPEN, None),
        interface(1, 11, rows::CLOSED, None),
        interface(2, 10, rows::FROM_OPEN, Some(PUBLIC)),
        interface(2, 11, rows::CLOSED, None),
    ]
}

impl World {
    fn new() -> World {
        let now = Timestamp(1_700_000_000_000);
        let mut world = World {
            engine: Engine::new(Fabric::default(), Capacity::SMALL, 11, now),
            now,
            out: Outbox::new(),
        };
        world.engine.apply(&rows::base());
        world.engine.apply(&rows::nat_gateway());
        world.engine.apply(&rows::put(vec![rows::private_table()]));
        for (n, host) in hosts().iter().enumerate() {
            world.engine.apply(&host.delta());
            world
                .engine
                .port_up(n as u32 + 1, Attachment::Eni(host.id()))
                .unwrap();
        }
        let internet = Attachment::Internet {
            router: OUTSIDE_ROUTER,
            station: STATION,
        };
        world.engine.port_up(9, internet).unwrap();
        world
    }

    /// Sends a frame into a port and compares what comes of it with a fresh walk's saying.
    fn send(&mut self, ifindex: u32, bytes: &mut [u8]) -> Result<Stage, TestCaseError> {
        let Ok(Frame::Ip(headers)) = parse(&bytes[vnet::LENGTH..]) else {
            panic!("a frame that was made cannot be read")
        };
        let standing = *self.engine.ports.at(ifindex).unwrap();
        let packet = frames::seen(standing.attachment.port(), &headers);
        let fresh = walk(
            &self.engine.fabric,
            &self.engine.flows,
            &packet,
            self.now,
            &mut (),
        );
        let before = self.engine.counters.clone();
        self.out.clear();
        let received = Received {
            ifindex,
            tagged: false,
            truncated: false,
            data: bytes,
        };
        self.engine.process(self.now, &mut [received], &mut self.out);
        let stage = fresh.stage();
        prop_assert_eq!(
            self.engine.counters.stage(stage),
            before.stage(stage) + 1,
            "a walk says {} of {:?}; counted {:?}",
            stage,
            packet,
            self.engine.counters
        );
        match fresh.verdict {
            Verdict::Forward(action) => {
                let sent = fresh.forwarded(&packet).unwrap();
                let to = self.engine.ports.named(action.out).unwrap().ifindex;
                prop_assert_eq!(
                    &self.out[..],
                    &[Emission::Received {
                        ifindex: to,
                        index: 0
                    }]
                );
                let Ok(Frame::Ip(got)) = parse(&bytes[vnet::LENGTH..]) else {
                    return Err(TestCaseError::fail("what was sent cannot be read"));
                };
                prop_assert_eq!(
                    (got.src, got.dst, got.hop_limit),
                    (sent.src, sent.dst, sent.hop_limit)
                );
                prop_assert_eq!(l4(got.transport), sent.l4);
                let macs = match action.out {
                    Port::Eni(_) => (action.src_mac, action.dst_mac),
                    Port::Internet => (OUTSIDE_ROUTER, STATION),
                };
                prop_assert_eq!((got.src_mac, got.dst_mac), macs);
            }
            Verdict::Drop(drop) => {
                let answered = usize::from(drop.answer.is_some());
                prop_assert!(self.out.len() <= answered, "{:?}", self.out);
            }
        }
        Ok(stage)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// From one station to another (5 is outside), protocol, port choices, TCP flags, whether it answers the
    /// sender's last translation.
    Packet {
        from: usize,
        to: usize,
        number: u8,
        near: u16,
        far: u16,
        flags: u8,
        six: bool,
        hop_limit: u8,
    },
    /// The last packet that was forwarded is answered from where it arrived.
    Answer {
        flags: u8,
    },
    /// The last packet again.
    Again,
    Time(u64),
    Acl(u8),
    Group(u8),
    Routes(u8),
    Interface(u8),
    Port(u8),
    /// So many walks' worth of what is stale is looked at again.
    Revalidate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        6 => Just(tcp_flags::ACK),
        2 => Just(tcp_flags::SYN),
        1 => Just(tcp_flags::SYN | tcp_flags::ACK),
        1 => Just(tcp_flags::FIN | tcp_flags::ACK),
        1 => Just(tcp_flags::RST),
    ];
    let packet = (
        0..5usize,
        0..6usize,
        0..4u8,
        0..2u16,
        0..2u16,
        flags.clone(),
        any::<bool>(),
        0..8u8,
    )
        .prop_map(|(from, to, number, near, far, flags, six, hop)| Step::Packet {
            from,
            to,
            number: [protocol::TCP, protocol::UDP, protocol::ICMP, 47][usize::from(number)],
            near: 4000 + near,
            far: 80 + far,
            flags,
            six,
            hop_limit: if hop == 0 { 1 } else { 64 },
        });
    prop_oneof![
        10 => packet,
        8 => flags.prop_map(|flags| Step::Answer { flags }),
        8 => Just(Step::Again),
        2 => (0..3000u64).prop_map(Step::Time),
        1 => (0..700_000u64).prop_map(Step::Time),
        1 => any::<u8>().prop_map(Step::Acl),
        1 => any::<u8>().prop_map(Step::Group),
        1 => any::<u8>().prop_map(Step::Routes),
        1 => any::<u8>().prop_map(Step::Interface),
        1 => any::<u8>().prop_map(Step::Port),
        4 => (0..600usize).prop_map(Step::Revalidate),
    ]
}

const OUTSIDE: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(198, 51, 100, 10),
    Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x10),
);

/// Where a station sends from: port, MACs (own and the router's), addresses.
fn station(n: usize) -> (u32, (Mac, Mac), Ipv4Addr, Ipv6Addr) {
    match hosts().get(n) {
        Some(host) => {
            let macs = (host.mac(), rows::subnet(host.subnet).router_mac());
            (n as u32 + 1, macs, host.v4(), host.v6())
        }
        None => (9, (STATION, OUTSIDE_ROUTER), OUTSIDE.0, OUTSIDE.1),
    }
}

fn run(steps: &[Step]) -> Result<(u64, u64, u64), TestCaseError> {
    let mut world = World::new();
    let mut last: Option<(u32, Vec<u8>)> = None;
    let mut answer: Option<(u32, Packet)> = None;
    for step in steps {
        match *step {
            Step::Packet {
                from,
                to,
                number,
                near,
                far,
                flags,
                six,
                hop_limit,
            } => {
                let (ifindex, macs, v4, v6) = station(from);
                let (_, their_macs, to_v4, to_v6) = station(to);
                let (to_v4, to_v6) = match to {
                    5 if from == 4 => (rows::NAT_PUBLIC, OUTSIDE.1),
                    5 => (PUBLIC, OUTSIDE.1),
                    _ if from == 4 && to == 2 => (PUBLIC, to_v6),
                    _ => (to_v4, to_v6),
                };
                let on_link = from < 4 && to < 4 && hosts()[from].subnet == hosts()[to].subnet;
                let macs = (macs.0, if on_link { their_macs.0 } else { macs.1 });
                let number = if six && number == protocol::ICMP {
                    protocol::ICMPV6
                } else {
                    number
                };
                let (src, dst): (IpAddr, IpAddr) = if six {
                    (v6.into(), to_v6.into())
                } else {
                    (v4.into(), to_v4.into())
                };
                let bytes = frame(
                    macs,
                    src,
                    dst,
                    number,
                    &segment(number, (near, far), flags),
                    hop_limit,
                );
                last = Some((ifindex, bytes));
            }
            Step::Answer { flags } => {
                let Some((ifindex, sent)) = answer else { continue };
                let ports = match sent.l4 {
                    L4::Ports { src, dst, .. } => (dst, src),
                    L4::Icmp { id, .. } => (id, 0),
                    L4::Other => (0, 0),
                };
                let kind = match sent.l4 {
                    L4::Icmp { kind: 8 | 128, .. } => tcp_flags::ACK,
                    L4::Icmp { .. } => 0,
                    _ => flags,
                };
                let macs = (sent.dst_mac, sent.src_mac);
                let segment = segment(sent.protocol, ports, kind);
                last = Some((
                    ifindex,
                    frame(macs, sent.dst, sent.src, sent.protocol, &segment, 64),
                ));
            }
            Step::Again => {}
            Step::Time(millis) => {
                world.now = world.now.plus_millis(millis);
                world.engine.sweep(world.now, 1 + millis as usize % 3000);
                continue;
            }
            Step::Acl(n) => {
                let deny = (90, "deny", rows::tcp(80, 80), "0.0.0.0/0");
                let all = (90, "deny", rows::all(), "::/0");
                let row = match n % 4 {
                    0 => rows::acl(&[], &[]),
                    1 => rows::acl(&[deny], &[]),
                    2 => rows::acl(&[all], &[]),
                    _ => rows::acl(&[], &[deny]),
                };
                world.engine.apply(&rows::put(vec![row]));
                continue;
            }
            Step::Group(n) => {
                let ingress = |block: &str| ("ingress", rows::tcp(80, 80), rows::cidr(block));
                let row = match n % 4 {
                    0 => rows::group(rows::CLOSED, &[]),
                    1 => rows::group(rows::CLOSED, &[ingress("10.0.0.0/16")]),
                    2 => rows::group(rows::OPEN, &[]),
                    _ => rows::group(
                        rows::OPEN,
                        &[
                            ("ingress", rows::all(), rows::cidr("0.0.0.0/0")),
                            ("ingress", rows::all(), rows::cidr("::/0")),
                        ],
                    ),
                };
                world.engine.apply(&rows::put(vec![row]));
                continue;
            }
            Step::Routes(n) => {
                let igw = serde_json::json!({"kind": "internet_gateway", "id": "igw-00000000000000001"});
                let row = match n % 3 {
                    0 => rows::route_table(&[]),
                    1 => rows::route_table(&[("0.0.0.0/0", igw)]),
                    _ => rows::route_table(&[("0.0.0.0/0", igw.clone()), ("::/0", igw)]),
                };
                world.engine.apply(&rows::put(vec![row]));
                continue;
            }
            Step::Interface(n) => {
                let mut host = hosts()[usize::from(n & 3)].clone();
                match n >> 2 & 3 {
                    0 => host.groups = vec![rows::OPEN],
                    1 => host.source_dest_check = false,
                    2 => host.public = None,
                    _ => {}
                }
                world.engine.apply(&host.delta());
                continue;
            }
            Step::Revalidate(budget) => {
                world.engine.revalidate(world.now, budget);
                continue;
            }
            Step::Port(n) => {
                let host = &hosts()[usize::from(n & 3)];
                let ifindex = u32::from(n & 3) + 1;
                world.engine.port_down(ifindex);
                world.engine.port_up(ifindex, Attachment::Eni(host.id())).unwrap();
                continue;
            }
        }
        let Some((ifindex, bytes)) = last.clone() else {
            continue;
        };
        let mut copy = bytes;
        world.send(ifindex, &mut copy)?;
        if let [Emission::Received { ifindex: to, .. }] = world.out[..]
            && let Ok(Frame::Ip(got)) = parse(&copy[vnet::LENGTH..])
        {
            let port = world.engine.ports.at(to).unwrap().attachment.port();
            answer = Some((to, packet_of(port, &got)));
        }
    }
    let counters = &world.engine.counters;
    Ok((counters.hits, counters.walks, counters.drop_hits))
}

fn packet_of(port: Port, headers: &Headers) -> Packet {
    Packet {
        dont_fragment: false,
        ..frames::seen(port, headers)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_kept_answer_is_what_a_fresh_walk_says(steps in proptest::collection::vec(step(), 1..150)) {
        run(&steps)?;
    }

    #[test]
    fn no_frame_makes_the_engine_panic(
        frames in proptest::collection::vec((1u32..5, proptest::collection::vec(any::<u8>(), 0..120), 0..4u8), 1..20),
    ) {
        let mut world = World::new();
        for (ifindex, mut bytes, kind) in frames {
            let at = vnet::LENGTH + 12;
            if let Some(place) = bytes.get_mut(at..at + 2) {
                place.copy_from_slice(&[[8, 0], [0x86, 0xdd], [8, 6], [0, 0]][usize::from(kind)]);
            }
            let mut out = Outbox::new();
            let received = Received { ifindex, tagged: false, truncated: false, data: &mut bytes };
            world.engine.process(world.now, &mut [received], &mut out);
        }
    }
}

#[test]
fn the_law_is_tested_on_kept_answers() {
    // A stream of packets there and back meets the cache, so that the law above is about something.
    let there = Step::Packet {
        from: 2,
        to: 4,
        number: protocol::UDP,
        near: 4000,
        far: 80,
        flags: 0,
        six: false,
        hop_limit: 64,
    };
    let mut steps = vec![];
    for _ in 0..10 {
        steps.extend([there, Step::Answer { flags: 0 }, Step::Again]);
    }
    let (hits, walks, _) = run(&steps).unwrap();
    assert!(hits > walks, "{hits} hits, {walks} walks");
    let refused = Step::Packet {
        from: 0,
        to: 3,
        number: protocol::UDP,
        near: 4000,
        far: 80,
        flags: 0,
        six: false,
        hop_limit: 64,
    };
    let (_, _, kept_drops) = run(&[refused, Step::Again, Step::Again]).unwrap();
    assert!(kept_drops >= 1);
}

#[test]
fn a_checksum_unfinished_inside_a_datagram_is_finished() {
    // A guest's own tunnel: a TCP segment in the data of a datagram, whose checksum is left to the device.
    let (near, far) = ([192, 168, 0, 1], [192, 168, 0, 2]);
    let pseudo = |bytes: usize| {
        let (near, far) = (Ipv4Addr::from(near).into(), Ipv4Addr::from(far).into());
        Sum::default().pseudo_header(near, far, protocol::TCP, bytes as u32)
    };
    let mut inner = segment(protocol::TCP, (1234, 80), tcp_flags::ACK);
    inner.extend(b"what the tunnel carries");
    let partial = pseudo(inner.len()).fold().to_be_bytes();
    inner[16..18].copy_from_slice(&partial);
    let mut datagram = segment(protocol::UDP, (4000, 4789), 0);
    datagram[5] = (8 + 8 + inner.len()) as u8;
    datagram.extend([8, 0, 0, 0, 0, 0, 1, 0]);
    datagram.extend(&inner);
    let (ifindex, macs, src, _) = station(0);
    let dst = station(2).2;
    let whole = frame(
        (macs.0, macs.1),
        src.into(),
        dst.into(),
        protocol::UDP,
        &datagram,
        64,
    );
    let transport = 14 + 20;
    let asks = |start: usize, offset: u16| {
        let mut data = whole.clone();
        data[0] = 1;
        data[6..8].copy_from_slice(&(start as u16).to_ne_bytes());
        data[8..10].copy_from_slice(&offset.to_ne_bytes());
        data
    };
    let mut world = World::new();
    let mut data = asks(transport + 16, 16);
    assert_eq!(world.send(ifindex, &mut data).unwrap(), Stage::Delivered);
    assert_eq!(data[..vnet::LENGTH], Vnet::PLAIN);
    let carried = &data[vnet::LENGTH + transport + 16..].to_vec();
    assert_eq!(carried[18..], inner[18..]);
    let sum = Sum::default().bytes(carried).fold();
    let pseudo = pseudo(carried.len()).fold();
    assert_eq!(Sum::default().word(sum).word(pseudo).fold(), 0xffff);
    // GRE is judged by its number alone, so it may be unfinished anywhere behind its header.
    let tunnel = [&[0, 0, 8, 0][..], &inner].concat();
    let mut data = frame((macs.0, macs.1), src.into(), dst.into(), 47, &tunnel, 64);
    data[0] = 1;
    data[6..8].copy_from_slice(&(transport as u16 + 4).to_ne_bytes());
    data[8..10].copy_from_slice(&16u16.to_ne_bytes());
    assert_eq!(world.send(ifindex, &mut data).unwrap(), Stage::Delivered);
    assert_eq!(data[..vnet::LENGTH], Vnet::PLAIN);
    assert_eq!(data[vnet::LENGTH + transport + 4..], *carried);
    // Nowhere else: not in the headers that the rules judge, not behind the packet.
    for (start, offset) in [
        (14, 10),
        (transport, 0),
        (transport + 4, 2),
        (transport + 16, 200),
        (0xfff0, 16),
    ] {
        let mut data = asks(start, offset);
        let received = Received {
            ifindex,
            tagged: false,
            truncated: false,
            data: &mut data,
        };
        let before = world.engine.counters.stage(Stage::Malformed);
        let mut out = Outbox::new();
        world.engine.process(world.now, &mut [received], &mut out);
        assert_eq!(out, [], "{start} {offset}");
        assert_eq!(world.engine.counters.stage(Stage::Malformed), before + 1);
    }
}

#[test]
fn a_connection_that_finds_room_for_one_end_makes_stale_what_was_answered_for_want_of_it() {
    let now = Timestamp(1_700_000_000_000);
    let mut capacity = Capacity::SMALL;
    capacity.flows.ipv4 = 1;
    let mut engine = Engine::new(Fabric::default(), capacity, 11, now);
    // Nobody's share is looked at: there is room for one end, whosever.
    engine.fabric.apply(&rows::base());
    let [_, client, server, _] = hosts();
    let members = [("ingress", rows::all(), rows::in_group(rows::CLOSED))];
    engine
        .fabric
        .apply(&rows::put(vec![rows::group(rows::FROM_OPEN, &members)]));
    for (ifindex, host) in [(1, &client), (2, &server)] {
        engine.fabric.apply(&host.delta());
        engine.port_up(ifindex, Attachment::Eni(host.id())).unwrap();
    }
    let opening = Packet {
        ingress: Port::Eni(client.id()),
        src_mac: client.mac(),
        dst_mac: rows::subnet(client.subnet).router_mac(),
        src: client.v4().into(),
        dst: server.v4().into(),
        protocol: protocol::UDP,
        l4: L4::Ports {
            src: 4000,
            dst: 53,
            tcp_flags: 0,
        },
        hop_limit: 64,
        length: 60,
        dont_fragment: true,
        fragment: None,
        quote: None,
    };
    let outcome = engine.walk_from_here(&engine.flows, &opening, now, &mut ());
    assert_eq!(outcome.stage(), Stage::Delivered);
    let cells: Vec<CellId> = outcome
        .effects
        .begun()
        .map(|connection| {
            let mut wanted = Dependencies::default();
            wanted.add(connection);
            engine.cells.intern(&wanted)
        })
        .collect();
    assert_eq!(cells.len(), 2, "both ends track it");
    let before = engine.cells.generation(cells[0]);
    assert!(!engine.commit(&outcome.effects, now, 0));
    assert_eq!(engine.flows.connections(), 1);
    assert_ne!(engine.cells.generation(cells[0]), before);
    // Where nothing of it stands, nothing has changed.
    let other = Packet {
        l4: L4::Ports {
            src: 4001,
            dst: 53,
            tcp_flags: 0,
        },
        ..opening
    };
    let empty = Flows::new(capacity.flows, now);
    let outcome = engine.walk_from_here(&empty, &other, now, &mut ());
    let before = engine.cells.generation(cells[0]);
    assert!(!engine.commit(&outcome.effects, now, 0));
    assert_eq!(engine.cells.generation(cells[0]), before);
}
