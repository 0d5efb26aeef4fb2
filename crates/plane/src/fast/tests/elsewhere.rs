//! The programs and other hosts: what the one at a port makes of a packet that goes there, and what the one at the VXLAN device
//! makes of a frame that has nothing around it.

use std::net::IpAddr;

use atoll_fabric::{Fabric, Site};
use atoll_model::VpcId;
use atoll_net::packet::protocol;

use super::bytes::{ACK, flags, from, hosts};
use super::*;
use crate::elsewhere::{Seal, Tunnel, Vni};
use crate::frames;
use crate::rig_rows as rows;

/// The veth that stands for the VXLAN device.
const DEVICE: u32 = 4;

struct Host {
    engine: Engine,
    fast: Fast,
    now: Timestamp,
}

impl Host {
    fn new() -> Host {
        let now = Timestamp(1_000_000_000_000);
        let mut engine = Engine::new(Fabric::default(), Capacity::SMALL, 5, now);
        let mut fast = Fast::load(FastCapacity::SMALL).unwrap();
        engine.watch(fast.kernel().unwrap());
        engine.apply(&rows::base());
        for host in hosts() {
            engine.apply(&host.delta());
        }
        engine.port_up(2, Attachment::Eni(hosts()[0].id())).unwrap();
        let tunnel = Tunnel {
            ifindex: DEVICE,
            address: "192.0.2.1".parse().unwrap(),
            mtu: 1500,
        };
        fast.tunnel(Some(&tunnel), engine.seal()).unwrap();
        engine.set_tunnel(Some(tunnel));
        let other: IpAddr = "192.0.2.7".parse().unwrap();
        engine.set_host(other, true);
        engine.set_network(VpcId::new(1), Vni::new(4711));
        engine.place(&[(Site::Interface(hosts()[2].id()), Some(other))]);
        let mut host = Host { engine, fast, now };
        host.follow();
        host
    }

    fn follow(&mut self) {
        let (mut changes, mut waiting) = (Changes::default(), Waiting::default());
        self.engine.take_changes(&mut changes);
        let Engine { cache, cells, .. } = &self.engine;
        let now = self.now.0 as u32;
        self.fast
            .follow(&mut changes, cache, cells, now, &mut waiting, |_, _, _| {});
        self.fast.settle(&mut waiting, cache, true);
    }

    fn run(&self, frame: &[u8]) -> Run {
        test_run(self.fast.program.as_fd(), frame, 2, None).unwrap()
    }
}

#[test]
fn a_known_packet_leaves_for_another_host_with_the_ends_macs_until_that_is_not_there_any_more() {
    if !machine(5) {
        return;
    }
    let mut host = Host::new();
    let to = &hosts()[2];
    let opening = from(0, to.v4().into(), protocol::TCP, (4000, 80));
    let opening = flags(&opening, atoll_net::packet::tcp_flags::SYN);
    let sent = through(&mut host.engine, host.now, 2, &frames::frame(&opening));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, DEVICE);
    // What answers comes by the wire: it is enough that this end has seen both ways of it.
    let packet = flags(&opening, ACK);
    through(&mut host.engine, host.now, 2, &frames::frame(&packet));
    host.follow();
    let frame = frames::frame(&packet)[vnet::LENGTH..].to_vec();
    let run = host.run(&frame);
    assert_eq!(run.verdict, REDIRECT);
    let mut wanted = frame.clone();
    wanted[..6].copy_from_slice(&to.mac().0);
    wanted[6..12].copy_from_slice(&hosts()[0].mac().0);
    assert_eq!(run.data, wanted);
    assert_eq!(host.fast.counters().sent_elsewhere, 1);
    assert_eq!(host.fast.counters().delivered, 0);
    // It has moved: nothing goes to where it was.
    host.engine.place(&[(Site::Interface(to.id()), None)]);
    host.follow();
    assert_eq!(host.run(&frame).verdict, TO_ENGINE);
}

#[test]
fn a_frame_with_nothing_around_it_is_dropped_at_the_vxlan_device() {
    if !machine(5) {
        return;
    }
    let host = Host::new();
    let packet = from(0, hosts()[2].v4().into(), protocol::UDP, (4000, 53));
    let frame = frames::frame(&packet);
    let [ingress, last, egress] = host.fast.tunnel_programs();
    let run = test_run(ingress, &frame[vnet::LENGTH..], DEVICE, None).unwrap();
    assert_eq!(run.verdict, TO_ENGINE);
    let run = test_run(last, &frame[vnet::LENGTH..], DEVICE, None).unwrap();
    assert_eq!(run.verdict, DROP);
    assert_eq!(host.fast.counters().wire_refused, 1);
    // What is sent there with a label loses it.
    let label = crate::elsewhere::Label {
        host: "192.0.2.7".parse().unwrap(),
        network: Vni::new(4711).unwrap(),
        tag: 0x8020,
    };
    let seal = host.engine.seal();
    let labelled = label.put(seal, &vnet::Vnet::PLAIN, &frame[vnet::LENGTH..]);
    let run = test_run(egress, &labelled[vnet::LENGTH..], 0, None).unwrap();
    assert_eq!((run.verdict, &run.data[..]), (0, &frame[vnet::LENGTH..]));
    // What has none, or another's, or names no host, stays here: the kernel sends such a report when the device comes up.
    let mut report = vec![0x33, 0x33, 0, 0, 0, 0x16, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    report.extend([0x60, 0, 0, 0, 0, 36, 0, 1]);
    report.extend([0; 16]); // from no address
    report.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
    report.extend([0; 36]);
    let stranger = crate::elsewhere::Label {
        host: "192.0.2.8".parse().unwrap(),
        ..label
    };
    let elsewhere = stranger.put(seal, &vnet::Vnet::PLAIN, &frame[vnet::LENGTH..]);
    let unsealed = label.put(Seal::of(9), &vnet::Vnet::PLAIN, &frame[vnet::LENGTH..]);
    for frame in [&report, &elsewhere[vnet::LENGTH..], &unsealed[vnet::LENGTH..]] {
        assert_eq!(test_run(egress, frame, 0, None).unwrap().verdict, DROP);
    }
}

#[test]
fn each_host_has_a_share_of_its_own_in_the_kernel_and_leaves_none_behind() {
    if !machine(5) {
        return;
    }
    let mut host = Host::new();
    let [one, two, three] =
        ["192.0.2.7", "192.0.2.8", "192.0.2.9"].map(|host| host.parse::<IpAddr>().unwrap());
    let left = |fast: &Fast, nth: u32| {
        let word = fast
            .ports
            .nth_word((INTERFACES + nth) as usize, MAY_COME)
            .unwrap();
        word.load(Ordering::Relaxed)
    };
    host.engine.set_host(two, true);
    host.follow();
    let limits = |share| Allowance {
        more: 0,
        most: if share == Share::Host(one) { 10 } else { 20 },
    };
    host.fast.admit(Some(limits));
    assert_eq!((left(&host.fast, 0), left(&host.fast, 1)), (11, 21));
    host.engine.set_host(one, false);
    host.follow();
    assert_eq!(host.fast.shares().count(), 2, "the other host's, and the port's");
    // Another host begins anew in its place.
    host.engine.set_host(three, true);
    host.follow();
    assert_eq!((left(&host.fast, 0), left(&host.fast, 1)), (0, 21));
    assert_eq!(host.fast.shares().count(), 3);
}
