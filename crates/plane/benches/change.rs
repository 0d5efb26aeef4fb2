//! A change to one rule of a group with 1,000 and with 10,000 members, of whom 100,000 connections have just begun: how long
//! until nobody obeys an old answer, and how long the engine then takes to look at all answers that the change made stale
//! (`Engine::revalidate`). And the same of a network ACL when answers are kept for both directions of 100,000 connections.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use atoll_fabric::{Fabric, L4, Limits, Packet, Port, Stage};
use atoll_model::Delta;
use atoll_net::PortRange;
use atoll_plane::{Attachment, Capacity, Engine, Outbox};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../../fabric/benches/region/mod.rs"]
mod region;
mod segment;

use region::{NOW, Random, Size};
use segment::LENGTH;

const CONNECTIONS: usize = 100_000;
const SYN: u8 = 2;
const ACK: u8 = 16;
/// A step of a piece, as the data plane's threads take it: packets wait for a tenth of a millisecond of these and one more.
const STEP: usize = 32;

/// What this thread has had of its processor: what others of the machine do is not in it.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Writes a packet as the frame that it comes in.
fn write(frame: &mut [u8; LENGTH], packet: &Packet, flags: u8) {
    let (
        IpAddr::V4(src),
        IpAddr::V4(dst),
        L4::Ports {
            src: from, dst: to, ..
        },
    ) = (packet.src, packet.dst, packet.l4)
    else {
        panic!("TCP over IPv4");
    };
    segment::write(
        frame,
        (packet.src_mac, packet.dst_mac),
        (src, dst),
        (from, to),
        flags,
    );
}

/// The packet that answers one that an interface got.
fn answer(fabric: &Fabric, packet: &Packet, ifindex: u32, enis: &[(u32, Port)]) -> Packet {
    let (_, ingress) = enis[ifindex as usize - 1];
    let Port::Eni(eni) = ingress else {
        panic!("an interface")
    };
    let link = fabric.link(eni).unwrap();
    let L4::Ports { src, dst, .. } = packet.l4 else {
        panic!("ports")
    };
    Packet {
        ingress,
        src_mac: link.mac,
        dst_mac: link.router_mac,
        src: packet.dst,
        dst: packet.src,
        l4: L4::Ports {
            src: dst,
            dst: src,
            tcp_flags: 0,
        },
        ..*packet
    }
}

struct World {
    engine: Engine,
    out: Outbox,
}

impl World {
    /// Sends a packet; the interface that it goes out by comes back.
    fn send(&mut self, packet: &Packet, flags: u8, enis: &[(u32, Port)]) -> u32 {
        let (ifindex, _) = *enis.iter().find(|(_, port)| *port == packet.ingress).unwrap();
        self.send_by(ifindex, packet, flags)
    }

    fn send_by(&mut self, ifindex: u32, packet: &Packet, flags: u8) -> u32 {
        let mut frame = [0; LENGTH];
        write(&mut frame, packet, flags);
        segment::give(&mut self.engine, &mut self.out, NOW, ifindex, &mut frame);
        let [atoll_plane::Emission::Received { ifindex, .. }] = self.out[..] else {
            panic!("{:?}", self.engine.counters());
        };
        ifindex
    }
}

/// A VPC with ports for all of its interfaces, and connections between random ones.
fn world(members: u64, established: bool) -> World {
    let size = Size {
        vpcs: 1,
        subnets: members / 100,
        interfaces: 100,
    };
    let fabric = region::region(size);
    let of = (Stage::Delivered, CONNECTIONS);
    let packets = region::packets(&fabric, size, &mut Random(2), 1000..4000, of);
    let capacity = Capacity {
        flows: Limits {
            per_owner: 1 << 22,
            ..Limits::HOST
        },
        ..Capacity::HOST
    };
    let mut engine = Engine::new(fabric.clone(), capacity, 7, NOW);
    let mut enis: Vec<(u32, Port)> = Vec::new();
    for subnet in 0..size.subnets {
        for number in 0..size.interfaces {
            let (row, _) = region::interface(0, subnet, number);
            let ifindex = enis.len() as u32 + 1;
            engine.port_up(ifindex, Attachment::Eni(row.id)).unwrap();
            enis.push((ifindex, Port::Eni(row.id)));
        }
    }
    let mut world = World {
        engine,
        out: Outbox::new(),
    };
    for packet in &packets {
        let to = world.send(packet, SYN, &enis);
        if established {
            let back = answer(&fabric, packet, to, &enis);
            let from = world.send_by(to, &back, SYN | ACK);
            world.send_by(from, packet, ACK);
            world.send_by(to, &back, ACK);
        }
    }
    world
}

fn change(criterion: &mut Criterion) {
    for members in [1_000, 10_000] {
        let mut world = world(members, false);
        let mut to = 2000;
        let next = move || {
            to = if to == 2000 { 2001 } else { 2000 };
            region::changed_group(0, PortRange { from: 1000, to })
        };
        measure(
            criterion,
            &format!("one rule of a group of {members}"),
            &mut world,
            next,
        );
    }
    let mut world = world(10_000, true);
    let mut number = 50;
    let next = move || {
        number = if number == 50 { 51 } else { 50 };
        region::changed_acl(0, number)
    };
    measure(criterion, "an ACL of 10,000 interfaces", &mut world, next);
}

fn measure(criterion: &mut Criterion, name: &str, world: &mut World, mut next: impl FnMut() -> Delta) {
    let mut group = criterion.benchmark_group("change");
    group.sample_size(10);
    group.bench_function(format!("{name}: until nobody obeys an old answer"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let delta = next();
                let start = Instant::now();
                world.engine.apply(black_box(&delta));
                spent += start.elapsed();
            }
            spent
        });
    });
    let (mut looked, mut rounds, mut steps) = (0, 0, Vec::new());
    group.bench_function(format!("{name}: all stale answers looked at again"), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                world.engine.apply(&next());
                let before = world.engine.counters().revalidated;
                while world.engine.is_revalidating() {
                    let (start, worked_before) = (Instant::now(), worked());
                    world.engine.revalidate(NOW, STEP);
                    spent += start.elapsed();
                    steps.push(worked() - worked_before);
                }
                looked += world.engine.counters().revalidated - before;
                rounds += 1;
            }
            spent
        });
    });
    steps.sort_unstable();
    let longest = |nth: usize| {
        steps
            .get(steps.len().saturating_sub(nth))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{} answers a change; of {} steps the median took {:?} of the processor, the thousandth part's shortest {:?}, the longest {:?}",
        looked / rounds.max(1),
        steps.len(),
        longest(steps.len() / 2),
        longest(steps.len() / 1000 + 1),
        longest(1),
    );
    group.finish();
}

criterion_group!(benches, change);
criterion_main!(benches);
