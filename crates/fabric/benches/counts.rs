//! What `bench/counts` counts the instructions of: a case, named as the argument, is prepared, and then done in `measured`, the
//! one function that is looked at. Prints how often. Without an argument it prints the cases.
#![allow(missing_docs)]

use std::hint::black_box;

use atoll_fabric::{Cells, Fabric, FlowView, Flows, NoFlows, Packet, Stage, walk};
use atoll_model::Delta;
use atoll_net::PortRange;

mod region;

/// As the daemon has it.
#[global_allocator]
static MEMORY: atoll_memory::HugePages = atoll_memory::HugePages;

use region::{NOW, Random, Size};

const SIZE: Size = Size {
    vpcs: 2,
    subnets: 10,
    interfaces: 50,
};
const WALKS: usize = 4096;

mod measured {
    use super::*;

    #[inline(never)]
    pub fn walks(fabric: &Fabric, flows: &impl FlowView, packets: &[Packet]) {
        for packet in packets {
            black_box(walk(fabric, flows, packet, NOW, &mut ()));
        }
    }

    #[inline(never)]
    pub fn commits(fabric: &Fabric, flows: &mut Flows, packets: &[Packet]) {
        for packet in packets {
            let outcome = walk(fabric, flows, packet, NOW, &mut ());
            black_box(flows.commit(&outcome.effects, NOW, outcome.hold)).ok();
        }
    }

    #[inline(never)]
    pub fn changes(fabric: &mut Fabric, cells: &mut Cells, deltas: &[Delta]) {
        for delta in deltas {
            let changed = fabric.apply(delta);
            black_box(cells.bump(&changed));
        }
    }
}

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let count = match case.as_str() {
        "walk-delivered" | "walk-dropped" | "walk-tracked" | "walk-and-commit" => {
            let fabric = region::region(SIZE);
            let (stage, ports) = match case.as_str() {
                "walk-dropped" => (Stage::SecurityGroupEgress, 1..65536),
                _ => (Stage::Delivered, 1000..4000),
            };
            let packets = region::packets(&fabric, SIZE, &mut Random(1), ports, (stage, WALKS));
            let mut flows = region::tables();
            match case.as_str() {
                "walk-tracked" => {
                    let established = region::establish(&fabric, &mut flows, &packets);
                    measured::walks(&fabric, &flows, &established);
                }
                "walk-and-commit" => measured::commits(&fabric, &mut flows, &packets),
                _ => measured::walks(&fabric, &NoFlows, &packets),
            }
            WALKS
        }
        "one-rule-changed" => {
            let mut fabric = region::region(SIZE);
            let mut cells = Cells::new(1 << 16);
            for packet in region::packets(
                &fabric,
                SIZE,
                &mut Random(2),
                1000..4000,
                (Stage::Delivered, WALKS),
            ) {
                cells.intern(&walk(&fabric, &NoFlows, &packet, NOW, &mut ()).dependencies);
            }
            let changes = [2000, 2001].map(|to| region::changed_group(0, PortRange { from: 1000, to }));
            measured::changes(&mut fabric, &mut cells, &changes);
            changes.len()
        }
        "a-vpc-from-nothing" => {
            let deltas = region::deltas(Size { vpcs: 1, ..SIZE }, 0);
            measured::changes(&mut Fabric::new(), &mut Cells::new(1), &deltas);
            1
        }
        _ => {
            println!(
                "walk-delivered walk-dropped walk-tracked walk-and-commit one-rule-changed a-vpc-from-nothing"
            );
            return;
        }
    };
    println!("{count}");
}
