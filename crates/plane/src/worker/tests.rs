//! Whether every place where a packet may wait is looked at before the kernel is given answers.

use std::process::Command;
use std::time::Instant;

use super::*;
use crate::sockets::{Groups, Room, Sockets};
use crate::sys::lanes::{Lanes, PORTS};
use crate::sys::test_run::own_network;
use crate::vnet;

/// Set in the process that an ordinary user's test runs again in, with a user namespace of its own.
const INSIDE: &str = "ATOLL_WORKER_INSIDE";

/// Runs something in a thread with a network namespace of its own, where nobody else sends anything.
fn in_a_namespace(test: fn()) {
    if !rustix::process::geteuid().is_root() && std::env::var_os(INSIDE).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{name} failed in its user namespace");
        return;
    }
    let inside = std::thread::spawn(move || {
        own_network().unwrap();
        // Or interfaces would speak by themselves as soon as they are up.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        test();
    });
    if let Err(panic) = inside.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {said}");
}

/// A frame with its vnet header.
fn frame(ethertype: [u8; 2], length: usize) -> Vec<u8> {
    let mut data = vec![0; vnet::LENGTH];
    data.extend([0xff; 6]);
    data.extend([2, 0, 0, 0, 0, 1]);
    data.extend(ethertype);
    data.resize(vnet::LENGTH + length, 0);
    data
}

/// The ports' interfaces; those at their other ends are a hundred farther.
const FIRST: u32 = 1000;
const OTHER_END: u32 = 100;

/// One for each lane.
fn ports() {
    for nth in 0..PORTS as u32 {
        let (port, end) = (FIRST + nth, FIRST + OTHER_END + nth);
        ip(&format!(
            "link add p{nth} index {port} mtu 9000 type veth peer name q{nth} index {end} mtu 9000"
        ));
        ip(&format!("link set p{nth} up"));
        ip(&format!("link set q{nth} up"));
    }
}

/// Sends frames of IPv4 of such lengths by a port, and waits until the lane that they come in at has so many.
fn send(sender: &Sender, lanes: &Lanes, lane: usize, port: u32, lengths: &[usize]) {
    for length in lengths {
        let data = frame([8, 0], *length);
        let outgoing = Outgoing {
            ifindex: FIRST + OTHER_END + port,
            data: &data,
        };
        assert_eq!(sender.send(&[outgoing]), 0);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while lanes.rings()[lane].ready(usize::MAX) < lengths.len() {
        assert!(Instant::now() < deadline, "lane {lane}");
        std::thread::yield_now();
    }
}

#[test]
fn what_came_before_the_clock_was_set_back_goes_first() {
    in_a_namespace(|| {
        ports();
        let room = Room {
            ipv4: 4,
            ipv6: 4,
            small: 64,
        };
        let mut sockets = Sockets::open(&room, &mut Groups::new(1)).unwrap();
        let sender = Sender::open().unwrap();
        let [_, lanes, _] = sockets.lanes_mut();
        let lengths = [100, 101, 102];
        let lane = 1 + FIRST as usize % PORTS;
        send(&sender, lanes, lane, 0, &lengths);
        lanes.rings_mut()[lane].came_in_later(0, 3600);
        let mut met = Vec::new();
        Lanes::receive(&mut [&mut *lanes], |frames| {
            met.extend(frames.iter().map(|frame| frame.data.len() - vnet::LENGTH));
        });
        assert_eq!(met, lengths);
    });
}

#[test]
fn crowded_lanes_leave_room_for_others() {
    in_a_namespace(|| {
        ports();
        let room = Room {
            ipv4: 4,
            ipv6: 4,
            small: 64,
        };
        let mut sockets = Sockets::open(&room, &mut Groups::new(1)).unwrap();
        let sender = Sender::open().unwrap();
        let [_, lanes, _] = sockets.lanes_mut();
        for port in 0..PORTS as u32 {
            let lane = 1 + (FIRST + port) as usize % PORTS;
            send(&sender, lanes, lane, port, &[100; 60]);
        }
        send(&sender, lanes, 0, 0, &[4000]);
        let taken = Lanes::receive(&mut [&mut *lanes], |_| ());
        assert_eq!((taken.frames, taken.large), (BATCH, 1));
        // Of the crowded ones, each has had its turn before one has its second.
        Lanes::receive(&mut [&mut *lanes], |_| ());
        let left = lanes.rings()[1..].iter().map(|ring| ring.ready(usize::MAX));
        assert!(
            left.clone().all(|left| left < 60),
            "{:?}",
            left.collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_packet_that_waits_in_any_lane_is_seen() {
    in_a_namespace(|| {
        ports();
        let shared = Shared::new(Capacity::SMALL, 1, None).unwrap();
        let room = Room {
            ipv4: 4,
            ipv6: 4,
            small: 64,
        };
        let mut sockets = Sockets::open(&room, &mut Groups::new(1)).unwrap();
        shared.waits_at(sockets.again().unwrap());
        assert!(shared.is_quiet());
        let sender = Sender::open().unwrap();
        let [_, ipv4, ipv6] = sockets.lanes_mut();
        let families: [([u8; 2], &mut Lanes); 2] = [([8, 0], ipv4), ([0x86, 0xdd], ipv6)];
        for (ethertype, lanes) in families {
            let mut met = vec![0; lanes.rings().len()];
            // By each port a small one, and a large one.
            for (nth, length) in (0..PORTS as u32).map(|nth| (nth, 100)).chain([(0, 4000)]) {
                let data = frame(ethertype, length);
                let ifindex = FIRST + OTHER_END + nth;
                let outgoing = Outgoing { ifindex, data: &data };
                assert_eq!(sender.send(&[outgoing]), 0, "{ifindex}");
                let deadline = Instant::now() + Duration::from_secs(30);
                while !lanes.is_ready() {
                    assert!(Instant::now() < deadline, "{ethertype:?} of {length} never comes");
                    std::thread::yield_now();
                }
                assert!(!shared.is_quiet(), "{ethertype:?} of {length} at {ifindex}");
                let ready = lanes.rings().iter().map(|ring| ring.ready(1));
                met.iter_mut().zip(ready).for_each(|(met, ready)| *met += ready);
                assert_eq!(Lanes::receive(&mut [&mut *lanes], |_| ()).frames, 1);
                assert!(shared.is_quiet(), "{ethertype:?} of {length} has been taken");
            }
            assert_eq!(met, vec![1; met.len()], "each lane once");
        }
    });
}
