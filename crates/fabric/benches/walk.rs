//! `walk` at the size that is promised: 1,000 security-group rules on the interface (half of them group
//! references), 40 ACL rules, 100 routes, a region of 1,000,000 interfaces, random keys, both verdicts.
//! Wanted: at most 800 ns for a first packet. And what changes of configuration cost there.

use std::hint::black_box;
use std::time::Duration;

use atoll_fabric::{Cells, Fabric, NoFlows, Stage, walk};
use atoll_model::*;
use atoll_net::PortRange;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_main};

mod region;

/// As the daemon has it.
#[global_allocator]
static MEMORY: atoll_memory::HugePages = atoll_memory::HugePages;

use region::{NOW, Random, Size};

const SIZE: Size = Size {
    vpcs: 20,
    subnets: 200,
    interfaces: 250,
};

const BATCH: usize = 32;

/// The time that this thread has had a processor for: what others do on the machine meanwhile does not count
/// (but for what they take of its caches).
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn walks(c: &mut Criterion<ThreadTime>) {
    let fabric = region::region(SIZE);
    let mut random = Random(1);
    let mut packets = |stage, ports| region::packets(&fabric, SIZE, &mut random, ports, (stage, 1 << 17));
    let delivered = packets(Stage::Delivered, 1000..4000);
    let dropped = packets(Stage::SecurityGroupEgress, 1..65536);
    let mut group = c.benchmark_group("walk");
    for (name, packets) in [
        ("first packet, delivered", &delivered),
        ("first packet, dropped", &dropped),
    ] {
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) & (packets.len() - 1);
                black_box(walk(&fabric, &NoFlows, &packets[at], NOW, &mut ()))
            });
        });
    }

    // As a data plane meets them that has more than one to walk.
    for (name, packets) in [
        ("first packets in batches of 32, delivered", &delivered),
        ("first packets in batches of 32, dropped", &dropped),
    ] {
        let mut batches = packets.chunks(BATCH).cycle();
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let batch = batches.next().unwrap_or_default();
                fabric.look_ahead(&NoFlows, batch.iter().filter_map(region::ahead));
                for packet in batch {
                    black_box(walk(&fabric, &NoFlows, packet, NOW, &mut ()));
                }
            });
        });
    }
    group.throughput(Throughput::Elements(1));

    let mut flows = region::tables();
    let established = region::establish(&fabric, &mut flows, &delivered);
    println!("{} tracked connection ends", flows.connections());
    let mut at = 0;
    group.bench_function("tracked, delivered", |b| {
        b.iter(|| {
            at = (at + 1) % established.len();
            black_box(walk(&fabric, &flows, &established[at], NOW, &mut ()))
        });
    });
    let mut at = 0;
    group.bench_function("first packet with live tables, delivered, and its commit", |b| {
        b.iter(|| {
            at = (at + 1) & (delivered.len() - 1);
            let outcome = walk(&fabric, &flows, &delivered[at], NOW, &mut ());
            black_box(flows.commit(&outcome.effects, NOW, outcome.hold))
        });
    });
    group.finish();
    changes(c, fabric);
}

/// What walks wait for, and the measure of their times on another machine: one line of memory after another, each of which
/// says where the next one stands, at random among so many. A million interfaces take 128 MB, each index to them 16.
fn memory(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("memory");
    for megabytes in [1usize, 4, 16, 128] {
        let lines = (megabytes << 20) / size_of::<Line>();
        let order = region::round(&mut Random(3), lines);
        let mut huge = vec![Line([0; 16]); lines];
        // Vectors of a mebibyte are on small pages.
        let mut small = vec![vec![Line([0; 16]); SHARE]; lines / SHARE];
        for (at, next) in order.iter().enumerate() {
            huge[at].0[0] = *next;
            small[at / SHARE][at % SHARE].0[0] = *next;
        }
        let mut at = 0;
        group.bench_function(format!("a line of {megabytes} MB, huge pages"), |b| {
            b.iter(|| at = huge[at].0[0] as usize);
        });
        group.bench_function(format!("a line of {megabytes} MB, small pages"), |b| {
            b.iter(|| at = small[at / SHARE][at % SHARE].0[0] as usize);
        });
    }
    group.finish();
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u32; 16]);

/// Lines of a mebibyte.
const SHARE: usize = (1 << 20) / size_of::<Line>();

/// What a change costs until every kept answer that it concerns is stale: from then on the next packet obeys it.
fn changes(c: &mut Criterion<ThreadTime>, mut fabric: Fabric) {
    let mut group = c.benchmark_group("apply");
    let (row, _) = region::interface(3, 7, 9);
    let mut checks = false;
    group.bench_function("one interface in a region of 1,000,000", |b| {
        b.iter_batched(
            || {
                checks = !checks;
                Delta {
                    changes: vec![Change::Put(
                        NetworkInterface {
                            source_dest_check: checks,
                            ..row.clone()
                        }
                        .into(),
                    )],
                }
            },
            |delta| black_box(fabric.apply(&delta)),
            BatchSize::SmallInput,
        );
    });

    drop(fabric);
    for members in [1_000, 10_000] {
        let size = Size {
            vpcs: 1,
            subnets: members / 100,
            interfaces: 100,
        };
        let deltas = region::deltas(size, 0);
        group.bench_function(format!("a VPC of {members} interfaces, from nothing"), |b| {
            b.iter_with_large_drop(|| {
                let mut fabric = Fabric::new();
                for delta in &deltas {
                    black_box(fabric.apply(delta));
                }
                fabric
            });
        });
        // Ten kept answers a member, each of another pair of interfaces: each has a cell of its own.
        let mut fabric = region::region(size);
        let mut cells = Cells::new(1 << 18);
        let count = 10 * members as usize;
        let of = (Stage::Delivered, count);
        for packet in region::packets(&fabric, size, &mut Random(2), 1000..4000, of) {
            cells.intern(&walk(&fabric, &NoFlows, &packet, NOW, &mut ()).dependencies);
        }
        let mut to = 2000;
        group.bench_function(
            format!(
                "one rule of a group of {members}, and {} answers stale",
                cells.len()
            ),
            |b| {
                b.iter_batched(
                    || {
                        to = if to == 2000 { 2001 } else { 2000 };
                        region::changed_group(0, PortRange { from: 1000, to })
                    },
                    |delta| {
                        let changed = fabric.apply(&delta);
                        black_box(cells.bump(&changed))
                    },
                    BatchSize::SmallInput,
                );
            },
        );
    }
    group.finish();
}

#[allow(missing_docs, reason = "the macro makes a public function")]
mod harness {
    use super::{memory, walks};

    criterion::criterion_group! {
        name = benches;
        config = criterion::Criterion::default().with_measurement(super::ThreadTime);
        targets = walks, memory
    }
}

criterion_main!(harness::benches);
