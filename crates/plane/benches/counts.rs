//! What `bench/counts` counts the instructions of: a case, named as the argument, is prepared, and then done in `measured`, the
//! one function that is looked at. Prints how often. Without an argument it prints the cases.
#![allow(missing_docs)]

use std::hint::black_box;

use atoll_plane::{Engine, Outbox, Received};

mod world;

/// As the daemon has it.
#[global_allocator]
static MEMORY: atoll_memory::HugePages = atoll_memory::HugePages;

use world::{ACK, BATCH, LENGTH, NOW, SYN, World};

const CONNECTIONS: u64 = 2048;
const PACKETS: usize = 4096;

mod measured {
    use super::*;

    #[inline(never)]
    pub fn packets(engine: &mut Engine, out: &mut Outbox, received: &mut [Received<'_>]) {
        for batch in received.chunks_mut(BATCH) {
            out.clear();
            engine.process(NOW, black_box(batch), out);
        }
    }
}

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let flags = match case.as_str() {
        "hit" => ACK,
        "first-packet" => SYN,
        _ => {
            println!("hit first-packet");
            return;
        }
    };
    let mut world = World::new(None);
    for connection in 0..CONNECTIONS {
        world.open(connection);
    }
    let walks = world.engine.counters().walks;
    let mut frames = vec![[0u8; LENGTH]; PACKETS];
    let mut received = Vec::with_capacity(PACKETS);
    for (nth, frame) in (0u64..).zip(&mut frames) {
        // First packets are of connections that nobody knows.
        let connection = if flags == SYN {
            CONNECTIONS + nth
        } else {
            nth * 997 % CONNECTIONS
        };
        let ifindex = world.frame(frame, connection, flags == ACK && nth & 1 == 1, flags);
        received.push(Received {
            ifindex,
            tagged: false,
            truncated: false,
            data: frame,
        });
    }
    measured::packets(&mut world.engine, &mut world.out, &mut received);
    assert_eq!(
        world.engine.counters().walks - walks,
        if flags == SYN { PACKETS as u64 } else { 0 }
    );
    println!("{PACKETS}");
}
