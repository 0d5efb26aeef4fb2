//! A packet of a known flow: reading its headers, finding its answer among a million connections' (two million
//! entries, one a direction), rewriting it. Uniformly random over all of them, in batches of 32.
//!
//! 256 interfaces in two subnets, tracked at both ends by a rule that refers to a group: 65,536 different paths.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use atoll_fabric::{Fabric, Limits};
use atoll_model::Timestamp;
use atoll_net::Mac;
use atoll_plane::{Attachment, Capacity, Engine, Outbox, Received};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/rig/rows.rs"]
#[allow(dead_code)]
mod rows;

const CONNECTIONS: u64 = 1_000_000;
const HOSTS: u64 = 128;
const BATCH: usize = 32;
/// Batches between two looks at the clock.
const GROUP: usize = 32;
const MEMBERS: u64 = 50;
const LENGTH: usize = 10 + 14 + 20 + 20;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Host {
    mac: Mac,
    router: Mac,
    v4: Ipv4Addr,
}

fn host(subnet: u8, n: u64) -> (Host, rows::Interface) {
    let row = rows::Interface {
        subnet,
        host: 4 + n as u8,
        groups: vec![MEMBERS],
        ..rows::Interface::default()
    };
    let host = Host {
        mac: row.mac(),
        router: rows::subnet(subnet).router_mac(),
        v4: row.v4(),
    };
    (host, row)
}

/// A TCP segment with its vnet header, checksum left undone.
fn write(frame: &mut [u8; LENGTH], from: &Host, to: &Host, ports: (u16, u16), flags: u8) {
    frame.fill(0);
    frame[10..16].copy_from_slice(&from.router.0);
    frame[16..22].copy_from_slice(&from.mac.0);
    frame[22] = 8;
    frame[24] = 0x45;
    frame[27] = 40;
    frame[30] = 0x40;
    frame[32] = 64;
    frame[33] = 6;
    frame[36..40].copy_from_slice(&from.v4.octets());
    frame[40..44].copy_from_slice(&to.v4.octets());
    let sum = atoll_net::packet::Sum::default().bytes(&frame[24..44]).checksum();
    frame[34..36].copy_from_slice(&sum.to_be_bytes());
    frame[44..46].copy_from_slice(&ports.0.to_be_bytes());
    frame[46..48].copy_from_slice(&ports.1.to_be_bytes());
    frame[56] = 0x50;
    frame[57] = flags;
}

/// What this thread has used of a processor: others on the machine do not count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct World {
    engine: Engine,
    hosts: [Vec<Host>; 2],
    out: Outbox,
}

impl World {
    /// With its flows written down at a path.
    fn new(journal: Option<&Path>) -> World {
        let capacity = Capacity {
            flows: Limits {
                // All of them are of one VPC, which has at most three quarters.
                ipv4: 2_800_000,
                per_owner: 1 << 22,
                ..Limits::HOST
            },
            ..Capacity::HOST
        };
        let mut engine = Engine::new(Fabric::default(), capacity, 0x5eed, NOW);
        if let Some(path) = journal {
            engine.remember(path, 7, NOW).unwrap();
        }
        engine.apply(&rows::base());
        let member = rows::group(MEMBERS, &[("ingress", rows::all(), rows::in_group(MEMBERS))]);
        engine.apply(&rows::put(vec![member]));
        let hosts = [1u8, 2].map(|subnet| {
            let made = (0..HOSTS).map(|n| {
                let (host, row) = host(subnet, n);
                engine.apply(&row.delta());
                let ifindex = u32::from(subnet) * 1000 + n as u32;
                engine.port_up(ifindex, Attachment::Eni(row.id())).unwrap();
                host
            });
            made.collect()
        });
        World {
            engine,
            hosts,
            out: Outbox::new(),
        }
    }

    /// The frame of a connection in one direction, and the interface it comes in at.
    fn frame(&self, frame: &mut [u8; LENGTH], connection: u64, back: bool, flags: u8) -> u32 {
        let (a, b) = (connection % HOSTS, connection / HOSTS % HOSTS);
        let near = 1024 + (connection / HOSTS / HOSTS) as u16;
        let (from, to) = (&self.hosts[0][a as usize], &self.hosts[1][b as usize]);
        if back {
            write(frame, to, from, (443, near), flags);
            2000 + b as u32
        } else {
            write(frame, from, to, (near, 443), flags);
            1000 + a as u32
        }
    }

    fn send(&mut self, connection: u64, back: bool, flags: u8) {
        let mut frame = [0; LENGTH];
        let ifindex = self.frame(&mut frame, connection, back, flags);
        self.out.clear();
        let received = Received {
            ifindex,
            tagged: false,
            truncated: false,
            data: &mut frame,
        };
        self.engine.process(NOW, &mut [received], &mut self.out);
        assert_eq!(self.out.len(), 1, "{:?}", self.engine.counters());
    }
}

fn flow_cache(criterion: &mut Criterion) {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let mut world = World::new(None);
    for connection in 0..CONNECTIONS {
        world.send(connection, false, SYN);
        world.send(connection, true, SYN | ACK);
        world.send(connection, false, ACK);
        world.send(connection, true, ACK);
    }
    let walks = world.engine.counters().walks;
    let mut group = criterion.benchmark_group("flow_cache");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.measurement_time(Duration::from_secs(5));
    for (name, among) in [
        ("hit_random_of_1m_connections", CONNECTIONS),
        ("hit_of_one_connection", 1),
    ] {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        group.bench_function(name, |bencher| {
            let mut frames = vec![[0u8; LENGTH]; BATCH * GROUP];
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                let mut left = iterations as usize;
                while left > 0 {
                    let batches = left.min(GROUP);
                    let mut received: Vec<Received<'_>> = Vec::with_capacity(BATCH * batches);
                    for frame in frames.iter_mut().take(BATCH * batches) {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        let ifindex = world.frame(frame, (state >> 1) % among, state & 1 == 1, ACK);
                        received.push(Received {
                            ifindex,
                            tagged: false,
                            truncated: false,
                            data: frame,
                        });
                    }
                    let start = processor_time();
                    for batch in received.chunks_mut(BATCH) {
                        world.out.clear();
                        world.engine.process(NOW, black_box(batch), &mut world.out);
                    }
                    spent += processor_time() - start;
                    left -= batches;
                }
                spent
            });
        });
    }
    group.finish();
    assert_eq!(
        world.engine.counters().walks,
        walks,
        "every packet was to meet a kept answer"
    );
}

/// Connections whose walks are measured: their state is far more than the processor's caches hold.
const WALKED: u64 = 200_000;

/// A walk with its commit, without and with the state of flows being written down: first packets, sent again.
fn walk(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let mut group = criterion.benchmark_group("walk");
    group.measurement_time(Duration::from_secs(5));
    for (name, path) in [
        ("not_written_down", None),
        ("written_down", Some(directory.path().join("flows"))),
    ] {
        let mut world = World::new(path.as_deref());
        for connection in 0..WALKED {
            world.send(connection, false, 2);
        }
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        group.bench_function(name, |bencher| {
            let mut frame = [0u8; LENGTH];
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let ifindex = world.frame(&mut frame, (state >> 1) % WALKED, false, 2);
                    let data = &mut frame[..];
                    let mut received = [Received {
                        ifindex,
                        tagged: false,
                        truncated: false,
                        data,
                    }];
                    let start = processor_time();
                    world.out.clear();
                    world
                        .engine
                        .process(NOW, black_box(&mut received), &mut world.out);
                    spent += processor_time() - start;
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, flow_cache, walk);
criterion_main!(benches);
