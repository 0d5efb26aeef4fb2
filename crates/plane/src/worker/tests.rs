//! Which packets lie where, and in which order they are taken: whether every place where one may wait is looked at
//! before the kernel is given answers, and whether nothing overtakes.

use std::process::Command;
use std::time::Instant;

use super::*;
use crate::cache::Key;
use crate::engine::{Kernel, Life, Made, Seen};
use crate::sockets::{Groups, Room, Sockets};
use crate::sys::fanout::{Group, LANES, SHARED, own_lane, shared_lane};
use crate::sys::lanes::Lanes;
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
/// One port for each lane that ports share, and one that shares the first one's.
const PORTS: u32 = SHARED as u32 + 1;
const SHARER: u32 = SHARED as u32;

/// EtherTypes, by where their lanes are among all.
const IPV4: usize = 1;
const IPV6: usize = 2;

/// One thread's sockets, with ports to send by.
struct Wired {
    sockets: Sockets,
    groups: [Group; 3],
    sender: Sender,
}

impl Wired {
    fn new() -> Wired {
        for nth in 0..PORTS {
            let (port, end) = (FIRST + nth, FIRST + OTHER_END + nth);
            ip(&format!(
                "link add p{nth} index {port} mtu 9000 type veth peer name q{nth} index {end} mtu 9000"
            ));
            ip(&format!("link set p{nth} up"));
            ip(&format!("link set q{nth} up"));
        }
        let room = Room {
            ipv4: 4,
            ipv6: 4,
            small: 64,
        };
        let mut groups = Groups::new(1);
        Wired {
            sockets: Sockets::open(&room, &mut groups).unwrap(),
            groups: groups.into_each(),
            sender: Sender::open().unwrap(),
        }
    }

    fn lanes(&mut self, kind: usize) -> &mut Lanes {
        let [arp, ipv4, ipv6] = self.sockets.lanes_mut();
        [arp, ipv4, ipv6][kind]
    }

    /// How many frames lie in each lane.
    fn ready(&mut self, kind: usize) -> [usize; LANES] {
        let mut rings = self.lanes(kind).rings().map(|ring| ring.ready(usize::MAX));
        std::array::from_fn(|_| rings.next().unwrap())
    }

    /// Sends frames of such lengths by a port, and waits until all of them lie there to be taken.
    fn send(&mut self, kind: usize, port: u32, lengths: impl IntoIterator<Item = usize>) {
        let ethertype = [[8, 6], [8, 0], [0x86, 0xdd]][kind];
        let mut expected: usize = self.ready(kind).iter().sum();
        for length in lengths {
            let data = frame(ethertype, length);
            let ifindex = FIRST + OTHER_END + port;
            let outgoing = Outgoing { ifindex, data: &data };
            assert_eq!(self.sender.send(&[outgoing]), 0);
            expected += 1;
        }
        until("all frames have come in", || {
            self.ready(kind).iter().sum::<usize>() == expected
        });
    }

    /// Takes a batch; the lengths of its frames.
    fn take(&mut self, kind: usize) -> Vec<usize> {
        let mut met = Vec::new();
        Lanes::receive(&mut [self.lanes(kind)], |frames| {
            met.extend(frames.iter().map(|frame| frame.data.len() - vnet::LENGTH));
        });
        met
    }

    /// Has ports come in at lanes of their own, and waits until the kernel obeys. One goes from one lane to another.
    fn change(&mut self, kind: usize, moved: &[(u32, usize)], from: usize, to: usize) {
        let moved = moved.iter().map(|(port, lane)| (FIRST + port, *lane));
        self.groups[kind].change(moved.collect(), from, to);
        let switch = self.groups[kind].switch();
        until("the kernel obeys", || switch.is_settled());
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes that {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_came_before_the_clock_was_set_back_goes_first() {
    in_a_namespace(|| {
        let mut wired = Wired::new();
        let lengths = [100, 101, 102];
        wired.send(IPV4, 0, lengths);
        wired
            .lanes(IPV4)
            .ring_mut(shared_lane(FIRST))
            .came_in_later(0, 3600);
        assert_eq!(wired.take(IPV4), lengths);
    });
}

#[test]
fn crowded_lanes_leave_room_for_others() {
    in_a_namespace(|| {
        let mut wired = Wired::new();
        for port in 0..SHARED as u32 {
            wired.send(IPV4, port, [100; 60]);
        }
        wired.send(IPV4, 0, [4000]);
        let first = wired.take(IPV4);
        assert_eq!((first.len(), first.contains(&4000)), (BATCH, true));
        // Of the crowded ones, each has had its turn before one has its second.
        wired.take(IPV4);
        let left = wired.ready(IPV4);
        assert!(left[1..=SHARED].iter().all(|left| *left < 60), "{left:?}");
    });
}

#[test]
fn a_packet_that_waits_in_any_lane_is_seen() {
    in_a_namespace(|| {
        let mut wired = Wired::new();
        let shared = Shared::new(Capacity::SMALL, 1, None).unwrap();
        shared.waits_at(wired.sockets.again().unwrap());
        assert!(shared.is_quiet());
        for kind in [IPV4, IPV6] {
            let mut met = [0; LANES];
            let mut one = |wired: &mut Wired, port: u32, length: usize| {
                wired.send(kind, port, [length]);
                assert!(!shared.is_quiet(), "{kind}: of {length} at {port}");
                met.iter_mut()
                    .zip(wired.ready(kind))
                    .for_each(|(met, ready)| *met += ready);
                assert_eq!(wired.take(kind), [length]);
                assert!(shared.is_quiet(), "{kind}: of {length} has been taken");
            };
            // By each port a small one, and a large one.
            (0..SHARED as u32).for_each(|port| one(&mut wired, port, 100));
            one(&mut wired, 0, 4000);
            let [first, second] = [own_lane(0), own_lane(1)];
            wired.change(kind, &[(0, first)], shared_lane(FIRST), first);
            one(&mut wired, 0, 100);
            wired.change(kind, &[(0, first), (1, second)], shared_lane(FIRST + 1), second);
            one(&mut wired, 1, 100);
            assert_eq!(met, [1; LANES], "each lane once");
        }
    });
}

/// Takes everything while another port's frames keep coming; what was taken but those.
fn taken_beside_others(wired: &mut Wired) -> Vec<usize> {
    const OTHERS: usize = 1700;
    let mut met = Vec::new();
    loop {
        wired.send(IPV4, 3, [OTHERS]);
        let is_crowded = wired.ready(IPV4).iter().any(|ready| *ready > 32);
        let taken = wired.take(IPV4);
        assert!(
            !is_crowded || taken.contains(&OTHERS),
            "others do not wait for it"
        );
        met.extend(taken.into_iter().filter(|length| *length != OTHERS));
        if wired.ready(IPV4) == [0; LANES] {
            return met;
        }
    }
}

#[test]
fn nothing_overtakes_where_a_port_is_given_another_lane_and_goes_back() {
    in_a_namespace(|| {
        let mut wired = Wired::new();
        let (shared, own) = (shared_lane(FIRST), own_lane(1));
        let is_over = |wired: &mut Wired| {
            wired.take(IPV4);
            wired.groups[IPV4].switch().is_over() == Some(Ok(()))
        };
        // All these lanes are crowded, before and after.
        wired.send(IPV4, 0, 100..150);
        wired.send(IPV4, SHARER, 1000..1005);
        wired.change(IPV4, &[(0, own)], shared, own);
        wired.send(IPV4, 0, 150..200);
        wired.send(IPV4, SHARER, 1005..1010);
        let ready = wired.ready(IPV4);
        assert_eq!((ready[shared], ready[own]), (60, 50));
        let is_of = |sharer: bool| move |length: &usize| (*length >= 1000) == sharer;
        let of = |taken: &[usize], sharer| {
            let of_it = taken.iter().copied().filter(is_of(sharer));
            of_it.collect::<Vec<_>>()
        };
        let taken = taken_beside_others(&mut wired);
        assert_eq!(of(&taken, false), (100..200).collect::<Vec<_>>());
        assert_eq!(of(&taken, true), (1000..1010).collect::<Vec<_>>());
        assert!(is_over(&mut wired));

        wired.send(IPV4, 0, 200..250);
        wired.send(IPV4, SHARER, 1010..1050);
        wired.change(IPV4, &[], own, shared);
        wired.send(IPV4, 0, 250..270);
        let ready = wired.ready(IPV4);
        assert_eq!((ready[shared], ready[own]), (60, 50));
        let taken = taken_beside_others(&mut wired);
        assert_eq!(of(&taken, false), (200..270).collect::<Vec<_>>());
        assert_eq!(of(&taken, true), (1010..1050).collect::<Vec<_>>());
        assert!(is_over(&mut wired));
    });
}

#[test]
fn who_fills_a_lane_is_seen_and_what_it_lost_is_counted() {
    in_a_namespace(|| {
        let mut wired = Wired::new();
        let lane = shared_lane(FIRST);
        wired.send(IPV4, SHARER, [100; 10]);
        wired.send(IPV4, 0, [100; 54]);
        assert_eq!(wired.ready(IPV4)[lane], 64, "it is full");
        let data = frame([8, 0], 100);
        for _ in 0..7 {
            let ifindex = FIRST + OTHER_END;
            assert_eq!(wired.sender.send(&[Outgoing { ifindex, data: &data }]), 0);
        }
        let mut lost = 0;
        // Before anything is taken: they may arrive late, and there is to be no place for them.
        until("what finds no place is counted", || {
            let came: Vec<_> = wired.lanes(IPV4).came(Instant::now(), true).collect();
            lost += came[lane].1.lost;
            assert!(came.iter().all(|(nth, came)| *nth == lane || came.lost == 0));
            lost >= 7
        });
        wired.take(IPV4);
        let mut came = wired.lanes(IPV4).came(Instant::now(), true);
        let (_, came) = came.nth(lane).unwrap();
        // Of those in front, ten of 32 are another's: who has most is first.
        let fillers = [Some(FIRST), Some(FIRST + SHARER), None, None];
        assert_eq!((lost, came.fillers), (7, fillers));
    });
}

/// A kernel that makes more flows than anybody takes up.
#[derive(Default)]
struct Tireless(Arc<AtomicUsize>);

impl Kernel for Tireless {
    fn seen(&self, _: &Key) -> Option<Seen> {
        None
    }

    fn next(&self) -> u32 {
        0
    }

    fn opener(&self, _: u32) -> Option<crate::port::PortSlot> {
        None
    }

    fn life(&self, _: u32) -> Option<Life> {
        let over = true;
        Some(Life {
            over,
            ..Life::default()
        })
    }

    fn made(&self, _: u32) -> Option<Made> {
        None
    }

    fn take(&self, _: u32) -> Life {
        Life::default()
    }

    fn known(&self, _: u32) {}

    fn give_back(&self, _: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self, _: &[Key]) {}
}

#[test]
fn who_is_behind_with_what_the_kernel_made_forgets_and_admits_all_the_same() {
    let shared = Shared::new(Capacity::SMALL, 1, None).unwrap();
    let mut core = shared.lock();
    let taken_up = Arc::new(AtomicUsize::new(0));
    core.engine.watch(Box::new(Tireless(Arc::clone(&taken_up))));
    let mut sweeps = 0;
    // Each sweep goes over as much as its time is long: a shorter time than that of one would be none.
    while sweeps < 3 || taken_up.load(Ordering::Relaxed) < 10 {
        let before = core.swept;
        core.sweep();
        if core.swept != before {
            assert!(core.swept - before >= SWEEP);
            assert!(core.engine.is_behind());
            sweeps += 1;
        }
    }
}
