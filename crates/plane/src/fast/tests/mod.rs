//! The program in the kernel against the engine: the same frames through both, by `BPF_PROG_TEST_RUN`.

mod before;
mod bytes;
mod decided;
mod differential;
mod elsewhere;
mod made;

use std::io::Write;
use std::process::{Command, Stdio};

use hashbrown::{HashMap, HashSet};
use proptest::prelude::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use atoll_fabric::Fabric;
use atoll_model::Timestamp;

use super::*;
use crate::engine::opened::Opened;
use crate::engine::{Capacity, Emission, Engine, Kernel, Outbox};
use crate::port::Attachment;
use crate::sys::ring::Received;
use crate::sys::test_run::{Run, Tap, own_network, test_run};
use crate::vnet;

/// What the program returns: handed to a port, dropped, left to the engine.
const REDIRECT: i32 = 7;
const DROP: i32 = 2;
const TO_ENGINE: i32 = -1;
/// A longer frame cannot be given to a test run.
const LONGEST: usize = 3400;
/// A shorter one neither.
const SHORTEST: usize = 15;

/// Makes interfaces 2 to `last` in a network of the calling thread's own. False, and said, where the kernel takes no
/// programs from this user.
fn machine(last: u32) -> bool {
    match Fast::load(FastCapacity::SMALL) {
        Ok(_) => {}
        Err(FastError::NotPermitted) => {
            println!("SKIPPED: {}", FastError::NotPermitted);
            return false;
        }
        Err(error) => panic!("{error}"),
    }
    own_network().unwrap();
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = ip.stdin.take().unwrap();
    for n in 2..=last {
        let far = 1000 + n;
        writeln!(
            lines,
            "link add p{n} index {n} type veth peer name q{n} index {far}"
        )
        .unwrap();
    }
    drop(lines);
    assert!(ip.wait().unwrap().success());
    true
}

/// A TAP with this index in the calling thread's network. It goes with what comes back.
fn tap(index: u32) -> Tap {
    Tap::new(index).unwrap()
}

/// Two hosts with the same ports and rules: at one the kernel takes part.
struct Twin {
    /// Whose answers the kernel has.
    kernel: Engine,
    fast: Fast,
    changes: Changes,
    waiting: Waiting,
    /// Where every packet comes up.
    plain: Engine,
    now: Timestamp,
    /// Packets that the program dropped.
    dropped: usize,
    /// Whether no packet waits to be read, as far as the kernel's answers go.
    quiet: bool,
}

/// What came of a frame.
#[derive(Debug)]
struct Offered {
    by_kernel: bool,
    /// Vnet header and frame, with the interface each goes out by.
    out: Vec<(u32, Vec<u8>)>,
}

fn through(engine: &mut Engine, now: Timestamp, ifindex: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (mut data, mut out) = (data.to_vec(), Outbox::new());
    let received = Received {
        ifindex,
        tagged: false,
        truncated: false,
        data: &mut data,
    };
    engine.process(now, &mut [received], &mut out);
    let frames = out.into_iter().map(|emission| match emission {
        Emission::Received { ifindex, .. } => (ifindex, data.clone()),
        Emission::Made { ifindex, data } => (ifindex, data),
    });
    frames.collect()
}

impl Twin {
    fn new(fabric: impl Fn() -> Fabric, ports: &[(u32, Attachment)]) -> Twin {
        Twin::of_seed(5, fabric, ports)
    }

    fn of_seed(seed: u64, fabric: impl Fn() -> Fabric, ports: &[(u32, Attachment)]) -> Twin {
        let now = Timestamp(1_000_000_000_000);
        let engine = |kernel: Box<dyn Kernel>| {
            let mut engine = Engine::new(fabric(), Capacity::SMALL, seed, now);
            engine.watch(kernel);
            for (ifindex, attachment) in ports {
                engine.port_up(*ifindex, *attachment).unwrap();
            }
            engine
        };
        let mut fast = Fast::load(FastCapacity::SMALL).unwrap();
        let mut twin = Twin {
            kernel: engine(fast.kernel().unwrap()),
            fast,
            changes: Changes::default(),
            waiting: Waiting::default(),
            // It decides too, though nobody obeys: what it sets aside for that decides about ports.
            plain: engine(Box::<Opened>::default()),
            now,
            dropped: 0,
            quiet: true,
        };
        twin.follow();
        twin.fast.before.take_up(&mut twin.kernel, now);
        twin.follow();
        assert_eq!(twin.fast.counters().refused, 0);
        twin
    }

    /// A packet's key at its port.
    fn key(&self, packet: &atoll_fabric::Packet) -> Key {
        let slot = self.kernel.ports.named(packet.ingress).unwrap().slot;
        let data = crate::frames::frame(packet);
        let Ok(atoll_net::packet::Frame::Ip(headers)) = atoll_net::packet::parse(&data[vnet::LENGTH..])
        else {
            panic!("{packet:?}")
        };
        Key::of_headers(slot, &headers).unwrap()
    }

    /// Carries over to the kernel what changed.
    fn follow(&mut self) {
        self.kernel.take_changes(&mut self.changes);
        let engine = &self.kernel;
        let now = self.now.0 as u32;
        self.fast.follow(
            &mut self.changes,
            &engine.cache,
            &engine.cells,
            now,
            &mut self.waiting,
            |_, _, _| {},
        );
        while self.fast.settle(&mut self.waiting, &engine.cache, self.quiet) {}
        self.plain.take_changes(&mut Changes::default());
    }

    /// Lets time pass.
    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.kernel.sweep(self.now, 10_000);
        self.plain.sweep(self.now, 10_000);
        self.follow();
    }

    fn apply(&mut self, delta: &atoll_model::Delta) {
        self.kernel.apply(delta);
        self.plain.apply(delta);
        self.follow();
    }

    /// Looks at what is stale. Both do, since what they decide again keeps its ports.
    fn revalidate(&mut self, budget: usize) {
        self.kernel.revalidate(self.now, budget);
        self.plain.revalidate(self.now, budget);
        self.follow();
    }

    /// Has a frame come in at an interface of both hosts: they do the same with it, or it fails.
    fn offer(&mut self, ifindex: u32, data: &[u8]) -> Result<Offered, TestCaseError> {
        let plain = through(&mut self.plain, self.now, ifindex, data);
        let frame = &data[vnet::LENGTH..];
        if (SHORTEST..=LONGEST).contains(&frame.len()) {
            let program = self.fast.program.as_fd();
            let run = match test_run(program, frame, ifindex, None) {
                // A test run wants an IP header's worth of bytes; the program wants them too.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && frame.len() < 54 => Run {
                    verdict: TO_ENGINE,
                    data: frame.to_vec(),
                },
                run => run.unwrap(),
            };
            if run.verdict == REDIRECT {
                let sent = [&vnet::Vnet::PLAIN[..], &run.data].concat();
                prop_assert_eq!(
                    plain.len(),
                    1,
                    "the kernel forwards what the engine does not: {:02x?}",
                    frame
                );
                prop_assert_eq!(&plain[0].1, &sent, "of {:02x?}", frame);
                return Ok(Offered {
                    by_kernel: true,
                    out: plain,
                });
            }
            if run.verdict == DROP {
                prop_assert!(
                    plain.is_empty(),
                    "the kernel drops what the engine does not: {:02x?}",
                    frame
                );
                self.dropped += 1;
                return Ok(Offered {
                    by_kernel: false,
                    out: plain,
                });
            }
            prop_assert_eq!(run.verdict, TO_ENGINE);
            prop_assert_eq!(&run.data[..], frame, "what is left to the engine is as it was");
        }
        let out = through(&mut self.kernel, self.now, ifindex, data);
        self.follow();
        prop_assert_eq!(&out, &plain, "of {:02x?}", frame);
        Ok(Offered {
            by_kernel: false,
            out,
        })
    }
}
