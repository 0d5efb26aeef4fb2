//! Packets from several other hosts, as an engine takes them.

use std::net::IpAddr;

use atoll_fabric::{Site, Tag};
use atoll_model::VpcId;
use atoll_net::packet::protocol;

use super::*;
use crate::elsewhere::{Label, Tunnel, Vni};
use crate::frames;
use crate::rig_rows as rows;

const TUNNEL: u32 = 900;
const NETWORK: u32 = 4711;
const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn interface(host: u8) -> rows::Interface {
    rows::Interface {
        subnet: 1,
        host,
        groups: vec![rows::OPEN],
        ..rows::Interface::default()
    }
}

fn address(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

/// An engine with the interface 10; the interfaces 11 and 12 are on hosts of that number.
fn engine() -> Engine {
    let mut engine = Engine::new(Fabric::default(), Capacity::SMALL, 3, NOW);
    engine.apply(&rows::base());
    engine.apply(&interface(10).delta());
    engine.port_up(2, Attachment::Eni(interface(10).id())).unwrap();
    engine.set_tunnel(Some(Tunnel {
        ifindex: TUNNEL,
        address: address(1),
        mtu: 9100,
    }));
    engine.set_network(VpcId::new(1), Vni::new(NETWORK));
    for host in [11, 12] {
        engine.apply(&interface(host).delta());
        engine.set_host(address(host), true);
        engine.place(&[(Site::Interface(interface(host).id()), Some(address(host)))]);
    }
    engine
}

/// Gives it a datagram of another host's interface, as the programs leave it to the engine.
fn send(engine: &mut Engine, host: u8, tag: u16, ports: (u16, u16)) {
    let (from, to) = (interface(host), interface(10));
    let packet = Packet {
        ingress: Port::Eni(from.id()),
        src_mac: from.mac(),
        dst_mac: to.mac(),
        src: from.v4().into(),
        dst: to.v4().into(),
        protocol: protocol::UDP,
        l4: L4::Ports {
            src: ports.0,
            dst: ports.1,
            tcp_flags: 0,
        },
        hop_limit: 64,
        length: 100,
        dont_fragment: true,
        fragment: None,
        quote: None,
    };
    let label = Label {
        host: address(host),
        network: Vni::new(NETWORK).unwrap(),
        tag,
    };
    assert!(Tag::from_bits(tag).is_some());
    let frame = frames::frame(&packet);
    let (header, frame) = frame.split_first_chunk().unwrap();
    let mut data = label.put(engine.seal(), header, frame);
    let mut received = [Received {
        ifindex: TUNNEL,
        tagged: false,
        truncated: false,
        data: &mut data,
    }];
    engine.process(NOW, &mut received, &mut Outbox::new());
}

#[test]
fn a_host_that_floods_new_flows_leaves_other_hosts_and_known_flows_theirs() {
    let mut engine = engine();
    send(&mut engine, 11, 0x8028, (1, 53));
    engine.crowded(NOW);
    let before = engine.counters.clone();
    // What it says beside its packets makes its share no larger.
    for port in 1000..6000 {
        send(
            &mut engine,
            11,
            [0x8028, 0x8008, 0x8048, 0x8068][port as usize % 4],
            (port, 53),
        );
    }
    assert_eq!(engine.counters.walks - before.walks, 4000);
    assert_eq!(engine.counters.misses_refused, 1000);
    for port in 1000..4000 {
        send(&mut engine, 12, 0x8028, (port, 53));
    }
    assert_eq!(engine.counters.walks - before.walks, 7000);
    send(&mut engine, 11, 0x8028, (1, 53));
    assert_eq!(engine.counters.walks - before.walks, 7001);
    assert_eq!(engine.counters.misses_refused, 1000);
    let spoofed = engine.counters.wire_spoofed + engine.counters.wire_unknown;
    assert_eq!(spoofed, 0, "{:?}", engine.counters);
}

#[test]
fn what_holds_already_and_is_said_again_makes_nothing_stale() {
    let mut engine = engine();
    engine.cells.watch();
    let mut risen = Vec::new();
    let mut said = |engine: &mut Engine, mtu, network, is_one: bool| {
        let tunnel = Tunnel {
            ifindex: TUNNEL,
            address: address(1),
            mtu,
        };
        let site = Site::Interface(interface(11).id());
        let place = is_one.then_some(address(11));
        let steps: [&dyn Fn(&mut Engine); 4] = [
            &|engine| engine.set_tunnel(Some(tunnel)),
            &|engine| engine.set_network(VpcId::new(1), Vni::new(network)),
            &|engine| engine.set_host(address(11), is_one),
            &|engine| engine.place(&[(site, place)]),
        ];
        steps.map(|step| {
            step(engine);
            risen.clear();
            engine.cells.take_risen(&mut risen);
            let mut wires = Vec::new();
            engine.elsewhere.take_changes(&mut wires);
            (!risen.is_empty(), !wires.is_empty())
        })
    };
    send(&mut engine, 11, 0x8000, (5000, 7));
    said(&mut engine, 9100, NETWORK, true);
    assert_eq!(said(&mut engine, 9100, NETWORK, true), [(false, false); 4]);
    // What is another one is one.
    let changed = said(&mut engine, 9000, NETWORK + 1, false);
    assert_eq!(changed.map(|(risen, _)| risen), [true; 4]);
    assert_eq!(said(&mut engine, 9000, NETWORK + 1, false), [(false, false); 4]);
    let changed = said(&mut engine, 9000, NETWORK + 1, true);
    assert_eq!(changed.map(|(risen, _)| risen), [false, false, true, true]);
}
