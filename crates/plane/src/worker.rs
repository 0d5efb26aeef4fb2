//! The engine's thread: waits for frames and tasks, gives them to the engine, sends what it leaves.
//!
//! One thread: the frames of a flow stay in order.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use atoll_fabric::Fabric;
use atoll_model::Timestamp;

use crate::engine::{Capacity, Emission, Engine, Outbox};
use crate::error::PlaneError;
use crate::fast::{Changes, Fast};
use crate::plane::Task;
use crate::sys::ring::{EtherType, Ring};
use crate::sys::sender::{Outgoing, Sender};

/// The sockets: one a protocol for all ports together, so that a port costs nothing here.
pub(crate) struct Sockets {
    ipv4: Ring,
    ipv6: Ring,
    arp: Ring,
    sender: Sender,
}

impl Sockets {
    /// Opens them in the calling thread's network namespace.
    pub(crate) fn open(ipv4_frames: u32, ipv6_frames: u32) -> Result<Sockets, PlaneError> {
        let receive = |source: io::Error| PlaneError::Socket {
            what: "open a packet socket with its ring",
            source,
        };
        Ok(Sockets {
            ipv4: Ring::open(EtherType::Ipv4, ipv4_frames).map_err(receive)?,
            ipv6: Ring::open(EtherType::Ipv6, ipv6_frames).map_err(receive)?,
            arp: Ring::open(EtherType::Arp, 512).map_err(receive)?,
            sender: Sender::open().map_err(|source| PlaneError::Socket {
                what: "open a packet socket for sending",
                source,
            })?,
        })
    }
}

/// The thread's state.
pub(crate) struct Worker {
    sockets: Sockets,
    wake: Arc<OwnedFd>,
    tasks: Receiver<Task>,
    engine: Engine,
    clock: Clock,
    outbox: Outbox,
    swept: Instant,
    /// The kernel's copy of what is kept, where there is one.
    fast: Option<Fast>,
    changes: Changes,
}

/// Unix time that never goes back: the system's at the start, and the monotonic clock from there.
struct Clock {
    start: Timestamp,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.start.plus_millis(self.since.elapsed().as_millis() as u64)
    }
}

/// How often what is over is forgotten.
const SWEEP: Duration = Duration::from_millis(10);
/// Places looked at in one sweep: a table of a million is gone over in twenty seconds.
const SWEEP_BUDGET: usize = 512;
/// How long the thread sleeps when nothing comes.
const IDLE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long the thread looks for another frame before it sleeps. Under a stream the next one is mostly there within
/// that; waking it costs the sender an interrupt to the other processor (0.61 of a bare pair's TCP without, 0.69 with: medians).
const LINGER: Duration = Duration::from_micros(30);

/// Keeps the calling thread on one processor: the second of those that it may use (the first mostly has the
/// interrupts). Moved about, it takes turns with the sender on the sender's own processor (0.69 of a bare pair's TCP;
/// kept in one place 0.76: medians). With one processor there is nothing to choose.
fn stay_on_one_processor() {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else {
        return;
    };
    let second = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .nth(1);
    if let Some(cpu) = second {
        let mut one = rustix::thread::CpuSet::new();
        one.set(cpu);
        // Refused, it is slower and no less right.
        let _ = rustix::thread::sched_setaffinity(None, &one);
    }
}

impl Worker {
    pub(crate) fn new(
        sockets: Sockets,
        wake: Arc<OwnedFd>,
        tasks: Receiver<Task>,
        capacity: Capacity,
        seed: u64,
        fast: Option<Fast>,
    ) -> Worker {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let clock = Clock {
            start: Timestamp(unix.as_millis() as u64),
            since: Instant::now(),
        };
        let mut engine = Engine::new(Fabric::default(), capacity, seed, clock.start);
        if fast.is_some() {
            engine.watch();
        }
        Worker {
            engine,
            fast,
            changes: Changes::default(),
            sockets,
            wake,
            tasks,
            clock,
            outbox: Outbox::new(),
            swept: Instant::now(),
        }
    }

    /// Works until the last handle is gone.
    pub(crate) fn run(mut self) {
        stay_on_one_processor();
        loop {
            loop {
                match self.tasks.try_recv() {
                    Ok(task) => {
                        // The kernel counts what it lost until it is asked.
                        self.read_counters();
                        let answer = task(&mut self.engine);
                        // Whoever asked finds it done in the kernel too.
                        self.follow(false);
                        answer();
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let received = self.receive();
            if self.swept.elapsed() >= SWEEP {
                // A thread that slept has more to go over.
                let rounds = self.swept.elapsed().div_duration_f32(SWEEP).min(10.0) as usize;
                self.swept = Instant::now();
                self.engine.sweep(self.clock.now(), SWEEP_BUDGET * rounds);
            }
            self.follow(received == 0);
            if received == 0 && !self.linger() {
                self.wait();
            }
        }
    }

    /// Works one batch of each socket off. Returns how many frames there were.
    fn receive(&mut self) -> usize {
        let Sockets {
            ipv4,
            ipv6,
            arp,
            sender,
        } = &mut self.sockets;
        let (engine, outbox, clock) = (&mut self.engine, &mut self.outbox, &self.clock);
        let mut received = 0;
        for ring in [arp, ipv4, ipv6] {
            received += ring.receive(|batch| {
                outbox.clear();
                engine.process(clock.now(), batch, outbox);
                let mut frames = Vec::with_capacity(outbox.len());
                for send in &*outbox {
                    let (ifindex, data) = match send {
                        Emission::Received { ifindex, index } => match batch.get(*index) {
                            Some(received) => (*ifindex, &*received.data),
                            None => continue,
                        },
                        Emission::Made { ifindex, data } => (*ifindex, &data[..]),
                    };
                    frames.push(Outgoing { ifindex, data });
                }
                engine.counters.refused += sender.send(&frames);
            });
        }
        received
    }

    /// Carries over to the kernel what changed; `quiet` when no packet waits to be read.
    fn follow(&mut self, quiet: bool) {
        if let Some(fast) = &mut self.fast {
            self.engine.take_changes(&mut self.changes);
            let now = self.clock.now().0 as u32;
            fast.follow(
                &mut self.changes,
                &self.engine.cache,
                &self.engine.cells,
                now,
                quiet,
            );
        }
    }

    fn read_counters(&mut self) {
        if let Some(fast) = &self.fast {
            self.engine.counters.kernel = Some(fast.counters());
        }
        let Sockets { ipv4, ipv6, arp, .. } = &self.sockets;
        for ring in [ipv4, ipv6, arp] {
            self.engine.counters.overrun += u64::from(ring.lost());
        }
    }

    /// Looks for another frame a little longer before sleeping: being woken costs more than that.
    fn linger(&self) -> bool {
        let end = Instant::now() + LINGER;
        while Instant::now() < end {
            if self.sockets.ipv4.is_ready() || self.sockets.ipv6.is_ready() {
                return true;
            }
            for _ in 0..32 {
                std::hint::spin_loop();
            }
        }
        false
    }

    fn wait(&mut self) {
        let Sockets { ipv4, ipv6, arp, .. } = &self.sockets;
        let mut descriptors = [
            PollFd::new(ipv4, PollFlags::IN),
            PollFd::new(ipv6, PollFlags::IN),
            PollFd::new(arp, PollFlags::IN),
            PollFd::new(&*self.wake, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut descriptors, Some(&IDLE));
        let woken = !descriptors[3].revents().is_empty();
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
        }
    }
}
