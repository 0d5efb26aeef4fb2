//! Ports that are TAPs, as virtual machines have them, beside veths: the same packets both ways.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, Ipv4Addr};

use atoll_plane::Capacity;
use rig::socket::{carries, carries_whole, connected, delivers, eventually, noise};
use rig::{Guest, OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario, tap};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// Addresses of both, by family.
fn pairs(a: &Guest, b: &Guest) -> [(IpAddr, IpAddr); 2] {
    [(a.v4.into(), b.v4.into()), (a.v6.into(), b.v6.into())]
}

/// Carries data over TCP there and back, more than fits any one packet.
fn bulk(from: &Guest, to: &Guest, (dials, listens): (IpAddr, IpAddr), bytes: usize) {
    let data = noise(bytes, 11);
    let listener = to.namespace.listen(listens, 80);
    let (mut near, mut far) = connected(&from.namespace, &listener, listens);
    assert_eq!(far.peer_addr().unwrap().ip(), dials);
    carries(&mut near, &mut far, 1);
    for _ in 0..2 {
        carries_whole(&mut near, &mut far, &data);
        std::mem::swap(&mut near, &mut far);
    }
}

/// What the kernel forwarded, where it takes part.
fn forwarded(rig: &Rig) -> Option<u64> {
    let kernel = rig.plane.counters().unwrap().kernel?;
    Some(kernel.delivered + kernel.exited)
}

#[test]
fn a_machine_behind_a_tap_and_an_instance_reach_each_other() {
    if !tap::can_be_made() {
        return;
    }
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let machine = rig.machine(1, 10, &[rows::OPEN], None);
        let neighbour = rig.guest(1, 11, &[rows::OPEN]);
        let routed = rig.guest(2, 10, &[rows::OPEN]);
        let other = rig.machine(2, 11, &[rows::OPEN], None);
        for guest in [&neighbour, &routed, &other] {
            for (own, theirs) in pairs(&machine, guest) {
                let (near, far) = (
                    machine.namespace.udp(own, 4000),
                    guest.namespace.udp(theirs, 5000),
                );
                for n in 0..20u8 {
                    assert_eq!(delivers(&near, theirs, &far, &[n; 100]).ip(), own);
                    assert_eq!(
                        delivers(&far, own, &near, &noise(1 + usize::from(n), 5)).ip(),
                        theirs
                    );
                }
                let before = forwarded(&rig);
                bulk(&machine, guest, (own, theirs), 2 << 20);
                bulk(guest, &machine, (theirs, own), 2 << 20);
                // Super-segments count as what they stand for: 8 MiB are more than 900 packets of 9,001 bytes, of which the
                // engine had a few, and would be 130 of 64 KiB.
                if let (Some(before), Some(after)) = (before, forwarded(&rig)) {
                    assert!(after - before > 450, "{before} {after}");
                }
            }
        }
        // Both answered ARP: the machine knows its router and its neighbour (semantics 10).
        let arp = machine
            .namespace
            .run(|| std::fs::read_to_string("/proc/thread-self/net/arp").unwrap());
        assert!(arp.contains(&rows::subnet(1).router_mac().to_string()), "{arp}");
        assert!(arp.contains(&neighbour.mac.to_string()), "{arp}");
    });
}

#[test]
fn a_machine_reaches_the_internet_by_its_public_address() {
    if !tap::can_be_made() {
        return;
    }
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let machine = rig.machine(1, 10, &[rows::OPEN], Some(PUBLIC));
        let outside = rig.internet();
        for (own, seen, server) in [
            (
                IpAddr::from(machine.v4),
                IpAddr::from(PUBLIC),
                IpAddr::from(OUTSIDE_V4),
            ),
            (machine.v6.into(), machine.v6.into(), OUTSIDE_V6.into()),
        ] {
            let (near, far) = (machine.namespace.udp(own, 4000), outside.udp(server, 53));
            for n in 0..20u8 {
                assert_eq!(delivers(&near, server, &far, &[n; 64]).ip(), seen);
                assert_eq!(delivers(&far, seen, &near, &[n; 65]).ip(), server);
            }
            let listener = outside.listen(server, 80);
            let (mut near, mut far) = connected(&machine.namespace, &listener, server);
            let data = noise(1 << 20, 13);
            for _ in 0..2 {
                carries_whole(&mut near, &mut far, &data);
                std::mem::swap(&mut near, &mut far);
            }
        }
    });
}

#[test]
fn a_machine_that_takes_no_unfinished_checksums_gets_finished_ones() {
    if !tap::can_be_made() {
        return;
    }
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let machine = rig.machine(1, 10, &[rows::OPEN], None);
        let guest = rig.guest(2, 10, &[rows::OPEN]);
        let port = &machine.relay.as_ref().unwrap().port;
        for (own, theirs) in pairs(&machine, &guest) {
            port.takes(tap::EVERYTHING);
            bulk(&guest, &machine, (theirs, own), 1 << 20);
            // Another system starts in it, which knows of none of that.
            port.takes(0);
            bulk(&guest, &machine, (theirs, own), 1 << 20);
            let (near, far) = (
                guest.namespace.udp(theirs, 4000),
                machine.namespace.udp(own, 5000),
            );
            for n in 0..20u8 {
                delivers(&near, own, &far, &[n; 100]);
            }
            // From when that is seen, every such packet is looked at by the engine.
            if rig.plane.counters().unwrap().kernel.is_some() {
                eventually(|| {
                    let odd = || rig.plane.counters().unwrap().kernel.unwrap().odd;
                    let before = odd();
                    delivers(&near, own, &far, b"x");
                    (odd() > before).then_some(())
                });
            }
        }
    });
}
