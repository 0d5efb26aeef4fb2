//! A packet of a known flow: reading its headers, finding its answer among a million connections' (two million
//! entries, one a direction), rewriting it. Uniformly random over all of them, in batches of 32.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use atoll_plane::Received;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod world;

/// As the daemon has it.
#[global_allocator]
static MEMORY: atoll_memory::HugePages = atoll_memory::HugePages;

use world::{ACK, BATCH, LENGTH, NOW, World};

const CONNECTIONS: u64 = 1_000_000;
/// Batches between two looks at the clock.
const GROUP: usize = 32;

/// What this thread has used of a processor: others on the machine do not count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn flow_cache(criterion: &mut Criterion) {
    let mut world = World::new(None);
    for connection in 0..CONNECTIONS {
        world.open(connection);
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
