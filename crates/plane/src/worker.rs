//! The engine's threads: they wait for frames, give them to the engine, send what it leaves.
//!
//! There is one thread a processor, kept on it, that takes what was sent there: waking one on another processor takes
//! longer than everything else about a new flow. Where every packet comes up, bulk is taken by another one
//! ([`Intakes`], `docs/decisions/0006`). Either way what one processor sends stays in order. The engine is one, behind
//! a lock.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use atoll_fabric::Fabric;
use atoll_model::Timestamp;

use crate::engine::{Capacity, Emission, Engine, Outbox};
use crate::error::PlaneError;
use crate::fast::{Changes, Fast, Waiting};
use crate::floods::Floods;
use crate::intake::{Intakes, Next};
use crate::losses::Losses;
use crate::sockets::packets_wait;
use crate::sys::lanes::{Lanes, Taken};
use crate::sys::ring::BATCH;
use crate::sys::sender::{Outgoing, Sender};
use crate::sys::slab::Pages;

/// What the threads share.
pub(crate) struct Core {
    pub engine: Engine,
    /// The kernel's copy of what is kept, where there is one.
    pub fast: Option<Fast>,
    losses: Losses,
    clock: Clock,
    changes: Changes,
    swept: Instant,
    /// When flows of the kernel's were last taken up.
    taken_up: Instant,
    /// When it was last read what the kernel dropped.
    read: Instant,
}

/// [`Core`] behind its lock.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Threads that wait for the lock.
    wanting: AtomicUsize,
    /// Whether there are stale answers to be looked at again.
    pub stale: AtomicBool,
    /// Every thread's sockets: whether packets wait anywhere.
    sockets: Mutex<Vec<OwnedFd>>,
    pub stopping: AtomicBool,
    /// Whether every packet comes up.
    pub alone: bool,
}

impl Shared {
    pub(crate) fn new(capacity: Capacity, seed: u64, mut fast: Option<Fast>) -> Result<Shared, PlaneError> {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let clock = Clock {
            start: Timestamp(unix.as_millis() as u64),
            since: Instant::now(),
        };
        let mut engine = Engine::new(Fabric::default(), capacity, seed, clock.start);
        if let Some(kernel) = fast.as_mut().and_then(Fast::kernel) {
            engine.watch(kernel);
        }
        Ok(Shared {
            alone: fast.is_none(),
            core: Mutex::new(Core {
                engine,
                fast,
                losses: Losses::default(),
                clock,
                changes: Changes::default(),
                swept: Instant::now(),
                taken_up: Instant::now(),
                read: Instant::now(),
            }),
            wanting: AtomicUsize::new(0),
            stale: AtomicBool::new(false),
            sockets: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.wanting.fetch_add(1, Ordering::Relaxed);
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanting.fetch_sub(1, Ordering::Relaxed);
        core
    }

    /// Lets whoever waits for the lock have it: it goes to whoever is quickest, and that is the thread that had it.
    fn let_others(&self) {
        let end = Instant::now() + HANDOVER;
        while self.wanting.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            std::thread::yield_now();
        }
    }

    /// Packets of flows may wait at these sockets too.
    pub(crate) fn waits_at(&self, more: Vec<OwnedFd>) {
        self.sockets().extend(more);
    }

    /// Has every socket let go.
    pub(crate) fn waits_nowhere(&self) {
        self.sockets().clear();
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no packet waits at any thread's sockets, nor is being worked off.
    fn is_quiet(&self) -> bool {
        !packets_wait(&self.sockets())
    }

    /// The same for a thread that has packets in its hands: a lock that another one has for microseconds is looked at
    /// until it is free, since being woken takes longer.
    fn lock_soon(&self) -> MutexGuard<'_, Core> {
        let mut looked = 0;
        loop {
            match self.core.try_lock() {
                Ok(core) => return core,
                Err(TryLockError::WouldBlock) if looked < LOOKS => looked += 1,
                Err(_) => return self.lock(),
            }
            for _ in 0..16 {
                std::hint::spin_loop();
            }
        }
    }

    /// The processors that threads are to stay on.
    pub(crate) fn processors(&self) -> Vec<Option<usize>> {
        let allowed: Vec<usize> = match sched_getaffinity(None) {
            Ok(allowed) => (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect(),
            Err(_) => Vec::new(),
        };
        if allowed.is_empty() {
            return vec![None];
        }
        allowed.into_iter().take(MOST_THREADS).map(Some).collect()
    }
}

impl Core {
    /// Takes up what an earlier process knew of flows, and has every change written down.
    pub(crate) fn remember(&mut self, path: &Path, nonce: u64) -> io::Result<()> {
        let now = self.clock.now();
        self.engine.remember(path, nonce, now)
    }

    /// Carries over to the kernel what changed. New answers are left in `waiting`.
    pub(crate) fn follow(&mut self, waiting: &mut Waiting) {
        if let Some(fast) = &mut self.fast {
            self.engine.take_changes(&mut self.changes);
            let now = self.clock.now().0 as u32;
            let mut told = Vec::new();
            fast.follow(
                &mut self.changes,
                &self.engine.cache,
                &self.engine.cells,
                now,
                waiting,
                |packet, drop, count| told.push((*packet, *drop, count)),
            );
            for (packet, drop, count) in told {
                self.engine
                    .dropped_before(self.clock.now(), &packet, &drop, count);
            }
        }
    }

    /// Learns what the kernel dropped.
    pub(crate) fn read_drops(&mut self) {
        if let Some(fast) = &mut self.fast {
            let now = self.clock.now();
            fast.read_drops(now, |packet, drop, count| {
                self.engine.dropped_before(now, packet, drop, count);
            });
            fast.read_refusals(|share, count| self.engine.refused_before(now, share, count));
        }
    }

    /// Takes up all that the kernel made.
    pub(crate) fn take_up_all(&mut self) {
        self.engine.take_up_all(self.clock.now());
    }

    /// Takes up some of what the kernel made before the flow with this number; whether there is more of it.
    pub(crate) fn take_up_some(&mut self, until: u32) -> bool {
        self.engine.take_up_some(self.clock.now(), TAKEN_UP) && !self.engine.is_known(until)
    }

    /// Takes up what an earlier engine's program made and that engine never heard of, as far as both ends have ports here.
    pub(crate) fn take_up_before(&mut self) {
        if let Some(fast) = &mut self.fast {
            fast.before.take_up(&mut self.engine, self.clock.now());
        }
    }

    /// Gives the kernel a part of the answers that wait, if no packet of their flows can wait any more. Returns whether there
    /// are more of them.
    pub(crate) fn settle(&mut self, waiting: &mut Waiting, quiet: bool) -> bool {
        let fast = self.fast.as_mut();
        fast.is_some_and(|fast| fast.settle(waiting, &self.engine.cache, quiet))
    }

    /// Looks at a piece of what changes have made stale: steps of so many until `end`, but at least one. False when there is
    /// nothing left.
    fn revalidate(&mut self, step: usize, end: Instant, waiting: &mut Waiting) -> bool {
        let now = self.clock.now();
        self.engine.revalidate(now, step);
        while self.engine.is_revalidating() && Instant::now() < end {
            self.engine.revalidate(now, step);
        }
        self.follow(waiting);
        self.engine.is_revalidating()
    }

    /// The engine's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Walks keep packets waiting: ports get no more than their share.
    fn crowded(&mut self) {
        self.engine.crowded(self.clock.now());
        if let Some(fast) = &mut self.fast {
            fast.admit(self.engine.allowance(0));
        }
    }

    /// Brings the counters up to date.
    pub(crate) fn read_counters(&mut self) {
        if let Some(fast) = &self.fast {
            self.engine.counters.kernel = Some(fast.counters());
        }
        self.losses.let_go(&self.engine.ports);
        self.engine.counters.lost = self.losses.told(&self.engine.ports);
        self.engine.counters.flooding = self.losses.flooding(&self.engine.ports);
        self.engine.counters.lanes_given = self.losses.given;
    }

    fn sweep(&mut self) {
        let passed = self.swept.elapsed();
        if passed >= SWEEP {
            // A thread that slept has more to go over.
            let rounds = passed.div_duration_f32(SWEEP).min(10.0) as usize;
            self.swept = Instant::now();
            self.taken_up = self.swept;
            if self.read.elapsed() >= READ_DROPS {
                self.read = Instant::now();
                self.read_drops();
                if let Some(fast) = &self.fast {
                    fast.look_at_taps();
                }
            }
            if let Some(fast) = &mut self.fast {
                fast.admit(self.engine.allowance(passed.as_millis().min(1000) as u32));
            }
            self.engine.sweep(self.clock.now(), SWEEP_BUDGET * rounds);
            if let Some(fast) = &self.fast {
                fast.refill(|slot| self.engine.may_make(slot));
            }
            let unfetched: Vec<Pages> = self.engine.cache.unfetched().collect();
            if !unfetched.is_empty() {
                // Without such a thread they come one by one, when packets want them.
                let _ = std::thread::Builder::new()
                    .name("pages".into())
                    .spawn(|| unfetched.into_iter().for_each(Pages::fetch));
            }
        } else if self.engine.is_behind() && self.taken_up.elapsed() >= SWEEP_BEHIND {
            // Nothing else: how much is gone over, and let in, goes by the time of a whole sweep.
            self.taken_up = Instant::now();
            self.engine.take_up_due(self.clock.now());
        }
    }
}

/// Most threads: more processors share them.
const MOST_THREADS: usize = 8;

/// How often a lock is looked at before it is waited for, some 0.7 microseconds apart.
const LOOKS: u32 = 40;

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
/// How often flows of the kernel's are taken up while there are more than one sweep does.
const SWEEP_BEHIND: Duration = Duration::from_micros(500);
/// Flows of the kernel's that are taken up in one step of a question: some 0.3 milliseconds.
const TAKEN_UP: usize = 64;
/// Places looked at in one sweep: a table of a million is gone over in twenty seconds.
const SWEEP_BUDGET: usize = 512;
/// How often it is read what the kernel dropped.
const READ_DROPS: Duration = Duration::from_millis(100);
/// In every how many batches it is asked whether to look who floods.
const WATCHED: u64 = 16;
/// How long the thread sleeps when nothing comes.
const IDLE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The same while the kernel makes flows that the engine has to look at.
const BUSY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// How long a thread that takes bulk looks for another frame before it sleeps. Under a stream the next one is mostly there
/// within that; waking it costs the sender an interrupt to the other processor (0.61 of a bare pair's TCP without, 0.69
/// with: medians).
const LINGER: Duration = Duration::from_micros(30);

/// Stale answers are looked at in steps of so many, until so long a time is over where nothing else is to be done; after a
/// batch of packets it is one shorter step. Packets wait for that and one step more, which takes some 40 microseconds.
const STEP: usize = 32;
const PIECE: Duration = Duration::from_micros(100);
const STEP_BESIDE: usize = 16;
/// How long another thread may take to wake and get the lock that it waits for.
const HANDOVER: Duration = Duration::from_micros(200);

/// How long a thread waits before it asks again whether others have taken their packets.
const A_LITTLE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Walks of a batch with which it is walks that keep others waiting.
const MANY_WALKS: u64 = BATCH as u64 * 3 / 4;

/// A thread's state.
pub(crate) struct Worker {
    /// Its number among the threads.
    pub number: usize,
    /// All processors' lanes.
    pub intakes: Arc<Intakes>,
    /// Who has a lane of their own.
    pub floods: Arc<Floods>,
    pub sender: Sender,
    /// What wakes each of the threads.
    pub wakes: Arc<[OwnedFd]>,
    pub shared: Arc<Shared>,
    /// The processor that it stays on, if there is a choice.
    pub processor: Option<usize>,
}

/// What a thread keeps from one batch to the next.
struct Batch {
    outbox: Outbox,
    waiting: Waiting,
    /// What was looked at again: packets of these flows may wait at any thread's sockets.
    again: Waiting,
    refused: u64,
    /// When the kernel was last asked what it lost.
    asked: Instant,
    /// When it was last looked whether somebody floods.
    watched: Instant,
    rounds: u64,
    /// Whether a batch was walked while another one waited.
    crowded: bool,
    /// When what is to be done beside packets was last done, and how long may be slept since.
    idled: (Instant, Timespec),
}

/// Stops the plane when dropped.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Release);
    }
}

impl Worker {
    /// Works until the plane stops.
    pub(crate) fn run(self) {
        if let Some(processor) = self.processor {
            let mut one = CpuSet::new();
            one.set(processor);
            // Refused, it is slower and no less right.
            let _ = sched_setaffinity(None, &one);
        }
        // However it ends, the plane ends with it rather than with a part of its packets lost.
        let _ends = Ends(Arc::clone(&self.shared));
        let mut batch = Batch {
            outbox: Outbox::default(),
            waiting: Waiting::default(),
            again: Waiting::default(),
            refused: 0,
            asked: Instant::now(),
            watched: Instant::now(),
            rounds: 0,
            crowded: false,
            idled: (Instant::now(), IDLE),
        };
        while !self.shared.stopping.load(Ordering::Acquire) {
            let received = self.receive(&mut batch);
            batch.rounds += 1;
            // Where batches follow each other, not at each.
            if received == 0 || batch.rounds.is_multiple_of(WATCHED) {
                self.watch(&mut batch);
            }
            if received > 0 {
                self.revalidate(STEP_BESIDE, Duration::ZERO, &mut batch.again);
                continue;
            }
            if self.revalidate(STEP, PIECE, &mut batch.again) {
                self.shared.let_others();
                continue;
            }
            if !batch.again.is_empty() {
                // Another thread is still to take its packets: this one does not take its processor meanwhile.
                self.wait(A_LITTLE);
                continue;
            }
            let (idled, idle) = &mut batch.idled;
            // Where packets make it sleep ten thousand times a second, not each time.
            if !self.shared.alone || idled.elapsed() >= SWEEP {
                *idled = Instant::now();
                let mut core = self.shared.lock();
                core.engine.counters.refused += std::mem::take(&mut batch.refused);
                core.sweep();
                core.follow(&mut batch.waiting);
                if core.settle(&mut batch.waiting, true) {
                    continue;
                }
                *idle = if core.engine.is_behind() {
                    A_LITTLE
                } else if core.engine.has_fresh() || core.engine.allowance(0).is_some() {
                    BUSY
                } else {
                    IDLE
                };
            }
            let idle = *idle;
            if !self.linger() {
                self.wait(idle);
            }
        }
    }

    /// Looks at a piece of what changes have made stale; false when there is nothing left but what waits in
    /// `again` for other threads.
    fn revalidate(&self, step: usize, most: Duration, again: &mut Waiting) -> bool {
        if !self.shared.stale.load(Ordering::Acquire) && again.is_empty() {
            return false;
        }
        let mut core = self.shared.lock();
        core.sweep();
        let more = core.revalidate(step, Instant::now() + most, again);
        let mut behind = false;
        if !again.is_empty() {
            // Asked last: whoever has a packet in its hands may have waited for the lock meanwhile.
            let quiet = self.shared.is_quiet();
            behind = core.settle(again, quiet);
        }
        self.shared.stale.store(more, Ordering::Release);
        more || behind
    }

    /// Works one batch of each EtherType off. Returns how many frames there were.
    fn receive(&self, batch: &mut Batch) -> usize {
        let (
            shared,
            Batch {
                outbox,
                waiting,
                refused,
                crowded,
                ..
            },
        ) = (&self.shared, batch);
        let mut mine = self.intakes.take(self.number);
        let [mut arp, mut ipv4, mut ipv6] = [const { Vec::new() }; 3];
        for inside in &mut mine {
            let [of_arp, of_ipv4, of_ipv6] = inside.sockets.lanes_mut();
            arp.push(of_arp);
            ipv4.push(of_ipv4);
            ipv6.push(of_ipv6);
        }
        let mut all = Taken::default();
        for lanes in [&mut arp, &mut ipv4, &mut ipv6] {
            let mut walks = 0;
            all += Lanes::receive(lanes, |frames| {
                outbox.clear();
                {
                    let mut core = shared.lock_soon();
                    let now = core.clock.now();
                    if std::mem::take(crowded) {
                        core.crowded();
                    }
                    let before = core.engine.toil();
                    core.engine.process(now, frames, outbox);
                    walks = core.engine.toil() - before;
                    core.sweep();
                    core.follow(waiting);
                }
                let mut outgoing = Vec::with_capacity(outbox.len());
                for send in &*outbox {
                    let (ifindex, data) = match send {
                        Emission::Received { ifindex, index } => match frames.get(*index) {
                            Some(received) => (*ifindex, &*received.data),
                            None => continue,
                        },
                        Emission::Made { ifindex, data } => (*ifindex, &data[..]),
                    };
                    outgoing.push(Outgoing { ifindex, data });
                }
                *refused += self.sender.send(&outgoing);
            });
            *crowded |= walks >= MANY_WALKS && lanes.iter().any(|lanes| lanes.is_ready());
        }
        if all.frames > 0 && !waiting.is_empty() {
            let mut core = self.shared.lock();
            let quiet = !mine.iter().any(|inside| inside.sockets.is_ready());
            core.settle(waiting, quiet);
        }
        let next = self.intakes.note(self.number, &mut mine, all);
        drop(mine);
        let wakes = match next {
            None => &[],
            Some(Next::One(next)) => self.wakes.get(next..=next).unwrap_or_default(),
            Some(Next::All) => &*self.wakes,
        };
        for wake in wakes {
            // A full counter wakes just as well.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
        all.frames
    }

    /// Looks for another frame a little longer where bulk comes: being woken costs more than that.
    fn linger(&self) -> bool {
        if !self.intakes.is_gatherer(self.number) {
            return false;
        }
        let mine = self.intakes.take(self.number);
        let end = Instant::now() + LINGER;
        while Instant::now() < end {
            if mine.iter().any(|inside| inside.sockets.is_ready()) {
                return true;
            }
            for _ in 0..32 {
                std::hint::spin_loop();
            }
        }
        false
    }

    fn wait(&self, most: Timespec) {
        let Some(wake) = self.wakes.get(self.number) else {
            return;
        };
        let mut descriptors = vec![PollFd::new(wake, PollFlags::IN)];
        let sockets = self.intakes.descriptors(self.number);
        descriptors.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut descriptors, Some(&most));
        let woken = descriptors.first().is_some_and(|wake| !wake.revents().is_empty());
        if woken {
            let _ = rustix::io::read(wake, &mut [0u8; 8]);
        }
    }
}

mod watch;

#[cfg(test)]
mod tests;
