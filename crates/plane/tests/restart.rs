//! One plane after the other over the same ports, while connections stand: what was known goes on.
#![allow(clippy::unwrap_used)]

mod rig;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use atoll_fabric::{Port, Stage};
use atoll_plane::Capacity;
use rig::lockstep::Lockstep;
use rig::socket::{all_carry, connected, dropped, noise, settled};
use rig::{Guest, Namespace, OUTSIDE_V4, OUTSIDE_V6, Rig, rows, scenario};

/// An instance whose group lets nobody in, one that is open, and connections of the first: to the other, and through
/// the NAT gateway and the egress-only one to the internet. What comes back to it comes as an answer or not at all.
fn connections(rig: &mut Rig) -> (Guest, Guest, Namespace, Vec<(TcpStream, TcpStream)>) {
    let (a, b) = (rig.guest(1, 10, &[rows::CLOSED]), rig.guest(2, 10, &[rows::OPEN]));
    let outside = rig.internet();
    rig.apply(&rows::nat_gateway());
    rig.apply(&rows::put(vec![rows::private_table()]));
    let open = vec![
        settled(connected(&a.namespace, &b.namespace.listen(b.v4, 80), b.v4)),
        settled(connected(&a.namespace, &b.namespace.listen(b.v6, 80), b.v6)),
        settled(connected(
            &a.namespace,
            &outside.listen(OUTSIDE_V4, 80),
            OUTSIDE_V4,
        )),
        settled(connected(
            &a.namespace,
            &outside.listen(OUTSIDE_V6, 80),
            OUTSIDE_V6,
        )),
    ];
    assert_eq!(
        open[2].1.peer_addr().unwrap().ip(),
        IpAddr::from(rows::NAT_PUBLIC)
    );
    (a, b, outside, open)
}

#[test]
fn established_connections_go_on_over_another_plane_and_without_any() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, _b, _outside, mut open) = connections(&mut rig);
        let known = rig.plane.flows().unwrap();
        assert!(known.written_down);
        let links = rig.links();
        let kernel = !links.is_empty();
        rig.plane.stop();
        // No plane: the kernel forwards what it knew.
        if kernel {
            (0..50).for_each(|byte| all_carry(&mut open, byte));
        }
        rig.start_again();
        // One that has neither rules nor ports: the same.
        if kernel {
            (0..50).for_each(|byte| all_carry(&mut open, byte));
        }
        rig.tell_again();
        let flows = rig.plane.flows().unwrap();
        assert_eq!(
            (flows.connections, flows.mappings),
            (known.connections, known.mappings)
        );
        drop(links);
        // Now by its own answers.
        (0..20).for_each(|byte| all_carry(&mut open, byte));
        if kernel {
            assert!(rig.plane.counters().unwrap().kernel.unwrap().delivered > 0);
        }
        // Nothing is left that would obey an earlier plane's answers: the rules' next change cuts at once.
        rig.apply(&rows::put(vec![rows::acl(
            &[(90, "deny", rows::tcp(80, 80), "0.0.0.0/0")],
            &[],
        )]));
        open[0].0.write_all(b"x").unwrap();
        let drop = dropped(&rig.plane, |d| d.ingress == Port::Eni(a.eni));
        assert_eq!(drop.drop.stage, Stage::NaclIngress);
    });
}

#[test]
fn a_stream_loses_nothing_while_planes_come_and_go() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (_a, _b, _outside, open) = connections(&mut rig);
        let data = noise(1 << 16, 9);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut received = Vec::new();
            for (near, far) in &open {
                let (mut sender, mut receiver) = (near, far);
                let (data, done) = (&data, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        sender.write_all(data).unwrap();
                    }
                    sender.shutdown(std::net::Shutdown::Write).unwrap();
                });
                received.push(scope.spawn(move || {
                    let (mut piece, mut bytes) = (vec![0; data.len()], 0_usize);
                    loop {
                        match receiver.read(&mut piece).unwrap() {
                            0 => return bytes,
                            count => {
                                let begin = bytes % data.len();
                                let wanted = data[begin..].iter().chain(data.iter());
                                assert!(piece[..count].iter().eq(wanted.take(count)));
                                bytes += count;
                            }
                        }
                    }
                }));
            }
            for _ in 0..3 {
                let links = rig.links();
                rig.plane.stop();
                rig.start_again();
                rig.tell_again();
                drop(links);
            }
            done.store(true, Ordering::Release);
            for bytes in received {
                let bytes = bytes.join().unwrap();
                assert!(bytes > 0 && bytes.is_multiple_of(data.len()));
            }
        });
    });
}

#[test]
fn connections_that_the_kernel_made_are_known_to_the_next_plane_and_none_is_made_without_one() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::CLOSED]), rig.guest(2, 10, &[rows::OPEN]));
        let listener = b.namespace.listen(b.v4, 80);
        // All but the first few are made by the kernel.
        let more = || (0..20).map(|_| connected(&a.namespace, &listener, b.v4));
        let mut open: Vec<_> = more().collect();
        let links = rig.links();
        if let Some(kernel) = rig.plane.counters().unwrap().kernel {
            assert!(kernel.made > 0, "{kernel:?}");
        }
        // Those whom nobody has asked about yet are known as well.
        open.extend(more());
        rig.plane.stop();
        let made = std::thread::scope(|scope| {
            // It waits until there is a plane again.
            let opening = scope.spawn(|| connected(&a.namespace, &listener, b.v4));
            rig.start_again();
            rig.tell_again();
            drop(links);
            opening.join().unwrap()
        });
        open.push(made);
        // Their far ends speak first: unknown, that would not get in.
        all_carry(&mut open, 7);
    });
}

#[test]
fn connections_that_the_kernel_made_are_known_after_a_kill() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b) = (rig.guest(1, 10, &[rows::CLOSED]), rig.guest(2, 10, &[rows::OPEN]));
        rig.plane.stop();
        let plane = rig.start_elsewhere();
        let (v4, v6) = (b.namespace.listen(b.v4, 80), b.namespace.listen(b.v6, 80));
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(connected(&a.namespace, &v4, b.v4));
            open.push(connected(&a.namespace, &v6, b.v6));
        }
        // At once: of the latest nobody has asked.
        let links = plane.kill();
        rig.start_again();
        rig.tell_again();
        drop(links);
        // Their far ends speak first: unknown, that would not get in.
        all_carry(&mut open, 7);
    });
}

#[test]
fn where_the_kernel_forwards_not_one_packet_is_lost_in_between() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, b, outside, _open) = connections(&mut rig);
        let datagrams = Lockstep(vec![
            (
                a.namespace.udp(a.v4, 4000),
                IpAddr::from(b.v4),
                b.namespace.udp(b.v4, 5000),
            ),
            (
                a.namespace.udp(a.v6, 4000),
                b.v6.into(),
                b.namespace.udp(b.v6, 5000),
            ),
            (
                a.namespace.udp(a.v4, 4001),
                OUTSIDE_V4.into(),
                outside.udp(OUTSIDE_V4, 5000),
            ),
            (
                a.namespace.udp(a.v6, 4001),
                OUTSIDE_V6.into(),
                outside.udp(OUTSIDE_V6, 5000),
            ),
        ]);
        datagrams.exchange(20);
        if rig.links().is_empty() {
            return;
        }
        let rounds = datagrams.goes_on_while(|some| {
            for _ in 0..5 {
                let links = rig.links();
                rig.plane.stop();
                some();
                rig.start_again();
                some();
                rig.tell_again();
                some();
                drop(links);
                some();
            }
        });
        eprintln!("{} datagrams, over five restarts", rounds * datagrams.0.len() * 2);
    });
}

#[test]
fn flows_of_an_interface_that_is_no_more_are_forgotten() {
    scenario(|| {
        let mut rig = Rig::new(Capacity::SMALL);
        let (a, _b, _outside, _open) = connections(&mut rig);
        let known = rig.plane.flows().unwrap();
        rig.plane.stop();
        // Deleted, and nobody told a plane of it.
        rig.forget_row(a.eni);
        rig.start_again();
        assert_eq!(rig.plane.flows().unwrap().connections, known.connections);
        rig.tell_again();
        let start = std::time::Instant::now();
        while rig.plane.flows().unwrap().connections >= known.connections {
            assert!(start.elapsed() < rig::socket::DEADLINE);
            std::thread::yield_now();
        }
        // Its own; the gateways' stay.
        let left = rig.plane.flows().unwrap();
        assert_eq!((left.connections, left.mappings), (1, known.mappings));
    });
}
