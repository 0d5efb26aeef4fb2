//! One plane after the other on hosts between which connections stand: what was known goes on, through the tunnel too.
#![allow(clippy::unwrap_used)]

mod rig;

use std::net::{IpAddr, TcpStream};

use atoll_fabric::Stage;
use rig::lockstep::Lockstep;
use rig::socket::{all_carry, connected, settled};
use rig::two_hosts::TwoHosts;
use rig::{Guest, OUTSIDE_V4, kernel_scenario, rows, socket};

/// An instance on each host, the first of which lets nobody in, and one on the second that speaks to the internet by the
/// first; connections between them. What comes back comes as an answer or not at all.
fn connections() -> (TwoHosts, Vec<Guest>, rig::Namespace, Vec<(TcpStream, TcpStream)>) {
    let mut two = TwoHosts::new(9100, false);
    let near = two.guest(0, 1, 10, &[rows::CLOSED]);
    let far = two.guest(1, 2, 10, &[rows::OPEN]);
    let public = two.guest_with(1, 2, 11, &[rows::CLOSED], Some([203, 0, 113, 9].into()));
    let outside = two.rigs[0].internet();
    let open = vec![
        settled(connected(
            &near.namespace,
            &far.namespace.listen(far.v4, 80),
            far.v4,
        )),
        settled(connected(
            &near.namespace,
            &far.namespace.listen(far.v6, 80),
            far.v6,
        )),
        settled(connected(
            &public.namespace,
            &outside.listen(OUTSIDE_V4, 80),
            OUTSIDE_V4,
        )),
    ];
    (two, vec![near, far, public], outside, open)
}

/// Packets that went to the other host without the engine.
fn sent_elsewhere(two: &TwoHosts, host: usize) -> u64 {
    two.rigs[host]
        .plane
        .counters()
        .unwrap()
        .kernel
        .unwrap()
        .sent_elsewhere
}

#[test]
fn connections_between_hosts_go_on_over_other_planes_and_without_any() {
    kernel_scenario(|| {
        let (mut two, _guests, _outside, mut open) = connections();
        for host in [1, 0] {
            let links = two.links(host);
            two.rigs[host].plane.stop();
            (0..50).for_each(|byte| all_carry(&mut open, byte));
            // One that has neither rules nor ports nor hosts: the same.
            two.rigs[host].start_again();
            (0..50).for_each(|byte| all_carry(&mut open, byte));
            two.tell_again(host);
            (0..50).for_each(|byte| all_carry(&mut open, byte));
            drop(links);
            (0..50).for_each(|byte| all_carry(&mut open, byte));
            // Now by its own answers.
            assert!(sent_elsewhere(&two, host) > 0);
        }
        // Nothing is left that would obey an earlier plane's answers: the rules' next change cuts at once.
        two.apply(&rows::put(vec![rows::acl(
            &[(90, "deny", rows::tcp(80, 80), "0.0.0.0/0")],
            &[],
        )]));
        std::io::Write::write_all(&mut open[0].0, b"x").unwrap();
        let drop = socket::dropped(&two.rigs[1].plane, |drop| drop.drop.stage == Stage::NaclIngress);
        assert_eq!(drop.drop.stage, Stage::NaclIngress);
        // And with the planes goes everything.
        for host in 0..2 {
            let programs = || two.programs(host);
            assert_eq!(programs(), [2, 1], "of this plane alone");
            two.rigs[host].plane.stop();
            assert_eq!(programs(), [0, 0]);
        }
    });
}

#[test]
fn a_connection_that_is_opened_while_there_is_no_plane_waits_for_the_next() {
    kernel_scenario(|| {
        let (mut two, guests, _outside, mut open) = connections();
        let (near, far) = (&guests[0], &guests[1]);
        let listener = far.namespace.listen(far.v4, 81);
        for host in [0, 1] {
            let links = two.links(host);
            two.rigs[host].plane.stop();
            let made = std::thread::scope(|scope| {
                // It waits until there is a plane again.
                let opening = scope.spawn(|| connected(&near.namespace, &listener, far.v4));
                two.rigs[host].start_again();
                two.tell_again(host);
                drop(links);
                opening.join().unwrap()
            });
            open.push(settled(made));
        }
        all_carry(&mut open, 7);
    });
}

#[test]
fn connections_between_hosts_outlive_a_plane_that_is_killed() {
    kernel_scenario(|| {
        let (mut two, _guests, _outside, mut open) = connections();
        for host in [0, 1] {
            // With nothing left in the kernel: a child would hold it, too.
            two.rigs[host].plane.stop();
            let plane = two.start_elsewhere(host);
            (0..20).for_each(|byte| all_carry(&mut open, byte));
            let links = plane.kill();
            (0..20).for_each(|byte| all_carry(&mut open, byte));
            two.rigs[host].start_again();
            two.tell_again(host);
            drop(links);
            (0..20).for_each(|byte| all_carry(&mut open, byte));
        }
    });
}

#[test]
fn not_one_datagram_between_hosts_is_lost_while_planes_come_and_go() {
    kernel_scenario(|| {
        let (mut two, guests, _outside, _open) = connections();
        let (near, far) = (&guests[0], &guests[1]);
        let pairs: [(IpAddr, IpAddr); 2] = [(near.v4.into(), far.v4.into()), (near.v6.into(), far.v6.into())];
        let ends = pairs.map(|(own, to)| (near.namespace.udp(own, 4000), to, far.namespace.udp(to, 5000)));
        let datagrams = Lockstep(ends.into());
        datagrams.exchange(20);
        datagrams.goes_on_while(|some| {
            for host in [0, 1, 0, 1] {
                let links = two.links(host);
                two.rigs[host].plane.stop();
                some();
                two.rigs[host].start_again();
                some();
                two.tell_again(host);
                some();
                drop(links);
                some();
            }
        });
    });
}
