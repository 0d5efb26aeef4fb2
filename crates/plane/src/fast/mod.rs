//! The flow cache's copy in the kernel: what the engine keeps is obeyed there without it.
//!
//! The program (`bpf/fast.bpf.c`) stands at tcx ingress of every port's host end. A packet whose flow it knows it
//! rewrites and hands to the receiving port; every other one goes on to the packet socket and so to the engine. The
//! engine stays the only one who decides, and but for the connections that the program makes (`made.rs`) the only one who
//! inserts and deletes: after each batch its [`Changes`] are carried over by [`Fast::follow`].
//!
//! What keeps a copy from being obeyed too long: the generation of its dependency cell, written here before a change
//! of configuration is acknowledged, and its path's version, since places of paths are used again.

mod before;
mod changes;
mod drops;
mod error;
pub(crate) mod layout;
mod made;
mod permitted;
mod renew;
mod tables;
mod tunnel;
mod words;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use aya::EbpfLoader;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::{ProgramFd, SchedClassifier};
use hashbrown::{HashMap as Map, HashSet};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use atoll_fabric::{Cells, Drop, Packet};
use atoll_model::Timestamp;
use atoll_net::packet::protocol;

use crate::cache::{Decision, FlowCache, Found, Key};
use crate::engine::{Allowance, Kernel, Share};
use crate::port::PortSlot;
use crate::sys::bpf::{Place, SharedArray, attach_tcx, programs_at};
use crate::sys::interface;
use before::Before;
use changes::Wait;
pub(crate) use changes::{Changes, Waiting};
use drops::Drops;
pub use error::FastError;
use layout::Flow;
pub use layout::KernelCounters;
use made::MadeFlows;
pub use permitted::permitted;
use renew::Renewals;
use tables::{Decisions, Flows};
use tunnel::Tunnels;
use words::{KernelAsk, KernelKey, kernels};

/// The program, compiled by the build.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fast.bpf.o"));

/// Its name, by which a later engine finds it.
const PROGRAM_NAME: &str = "port_ingress";

/// How much the kernel keeps. What does not fit stays with the engine.
#[derive(Clone, Copy, Debug)]
pub struct FastCapacity {
    /// IPv4 flows, one a direction, about 130 bytes each, taken as they are used.
    pub ipv4_flows: u32,
    /// The same for IPv6, about 160 bytes each.
    pub ipv6_flows: u32,
    /// Different ways that flows lead, 80 bytes each, taken at once.
    pub paths: u32,
    /// Sets of components that flows depend on, 8 bytes each, taken at once.
    pub cells: u32,
}

impl FastCapacity {
    /// For a host: as many flows as the engine's cache.
    pub const HOST: FastCapacity = FastCapacity {
        ipv4_flows: 2_000_000,
        ipv6_flows: 400_000,
        paths: 65_536,
        cells: 262_146,
    };

    /// For a test.
    pub const SMALL: FastCapacity = FastCapacity {
        ipv4_flows: 4096,
        ipv6_flows: 4096,
        paths: 1024,
        cells: 1026,
    };
}

/// Flows that the packets of one port may make before the engine has looked again, which it does every 10 ms, or
/// 100 ms when nothing else is to be done. More come up and are walked.
const MADE_A_PORT: u32 = 8192;
/// Flows that all ports together may have made before the engine has looked at the first of them.
pub(crate) const MOST_MADE: u32 = layout::MADE_PLACES - layout::MADE_SPARE;
/// Interface indexes below this can be ports of the kernel's: a namespace counts them up from 1.
const INTERFACES: u32 = 65_536;
/// Batches for which a flow's answer waits at most before the kernel has it.
const PATIENCE: u32 = 16;
/// Most answers that the kernel is given at once: each takes a system call or two, some half a microsecond each.
const MOST_SETTLED: usize = 128;

/// The program with its maps.
pub(crate) struct Fast {
    program: ProgramFd,
    /// Its number in the kernel.
    id: u32,
    flows: Flows,
    paths: SharedArray,
    cells: SharedArray,
    now: SharedArray,
    ports: SharedArray,
    decisions: Decisions,
    renewals: Renewals,
    drops: Drops,
    /// The engine's way to what the program makes, until the engine has it.
    kernel: Option<MadeFlows>,
    counts: PerCpuArray<MapData, [u64; layout::COUNTS]>,
    /// What programs made that stood at the ports before.
    pub before: Before,
    links: Map<u32, OwnedFd>,
    tunnels: Tunnels,
    /// Ports that are no veth, and so have no other end: TAPs.
    taps: HashSet<u32>,
    /// Packets that were refused for a port's sake, or another host's, as they were last read: by the place of its share.
    refusals: Map<u32, u32>,
    /// Whether ports may send the engine only so much.
    limited: bool,
    /// Where the ports stand.
    namespace: File,
    refused: u64,
}

impl Fast {
    /// Loads the program. Needs `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN` of the whole machine.
    pub(crate) fn load(capacity: FastCapacity) -> Result<Fast, FastError> {
        permitted()?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("flows4", capacity.ipv4_flows)
            .map_max_entries("flows6", capacity.ipv6_flows)
            .map_max_entries("paths", capacity.paths)
            .map_max_entries("cells", capacity.cells)
            .map_max_entries("ports", INTERFACES + tunnel::HOSTS)
            .map_max_entries("tunnels", capacity.paths)
            .map_max_entries("wires", tunnel::WIRES)
            .map_max_entries("decisions4", crate::cache::MOST_DECISIONS as u32)
            .map_max_entries("decisions6", crate::cache::MOST_DECISIONS as u32)
            .map_max_entries("drops4", drops::PLACES)
            .map_max_entries("drops6", drops::PLACES)
            .load(PROGRAM)?;
        let program: &mut SchedClassifier = ebpf
            .program_mut(PROGRAM_NAME)
            .ok_or(FastError::Missing("program port_ingress"))?
            .try_into()?;
        program.load()?;
        let id = program.info()?.id();
        let program = program.fd()?.try_clone().map_err(FastError::Share)?;
        let renew: &mut SchedClassifier = ebpf
            .program_mut(renew::PROGRAM_NAME)
            .ok_or(FastError::Missing("program renew"))?
            .try_into()?;
        renew.load()?;
        let renew = renew.fd()?.try_clone().map_err(FastError::Share)?;
        let programs = Tunnels::programs(&mut ebpf)?;
        let mut take = |name| ebpf.take_map(name).ok_or(FastError::Missing(name));
        let mut shared = |name, length, value| match take(name)? {
            aya::maps::Map::Array(map) => {
                SharedArray::new(map.fd().as_fd(), length, value).map_err(FastError::Share)
            }
            _ => Err(FastError::Missing(name)),
        };
        let paths = shared("paths", capacity.paths, size_of::<layout::Path>())?;
        let cells = shared("cells", capacity.cells, size_of::<u32>())?;
        let ports = shared("ports", INTERFACES + tunnel::HOSTS, size_of::<layout::Port>())?;
        let renewals = shared("renewals", layout::RENEWALS, size_of::<layout::Renewal>())?;
        let made = shared("made", layout::MADE_PLACES, size_of::<layout::Made>())?;
        let tunnels = Tunnels::new(
            programs,
            shared("tunnels", capacity.paths, size_of::<layout::Tunnel>())?,
            shared("own", 1, size_of::<layout::Own>())?,
        );
        let (now, clock) = match take("now")? {
            aya::maps::Map::Array(map) => {
                let map = map.fd().as_fd();
                let new = || SharedArray::new(map, 1, size_of::<layout::Clock>()).map_err(FastError::Share);
                (new()?, new()?)
            }
            _ => return Err(FastError::Missing("now")),
        };
        // A place's first flow has another number than nothing has.
        for (nth, word) in [
            (layout::LAYOUT_OF, layout::LAYOUT),
            (layout::FREED, 1),
            (layout::NEXT_MADE, 1),
        ] {
            now.set_nth_word(0, nth, word);
        }
        let flows = Flows::new(take("flows4")?, take("flows6")?)?;
        Ok(Fast {
            paths,
            cells,
            now,
            kernel: Some(MadeFlows {
                flows: flows.again()?,
                made,
                clock,
            }),
            flows,
            ports,
            decisions: Decisions::new(take("decisions4")?, take("decisions6")?)?,
            renewals: Renewals::new(renew, renewals),
            drops: Drops::new(&mut take)?,
            counts: PerCpuArray::try_from(take("counts")?)?,
            program,
            id,
            before: Before::default(),
            links: Map::new(),
            tunnels: tunnels.with_wires(take("wires")?)?,
            taps: HashSet::new(),
            refusals: Map::new(),
            limited: false,
            namespace: namespace().map_err(FastError::Share)?,
            refused: 0,
        })
    }

    /// What holds the program at an interface, once more: it stays there as long as either is open.
    pub(crate) fn link(&self, ifindex: u32) -> io::Result<Option<OwnedFd>> {
        self.links.get(&ifindex).map(OwnedFd::try_clone).transpose()
    }

    /// Carries over what changed. What ends answers is carried over at once; new answers are left in `waiting`.
    pub(crate) fn follow(
        &mut self,
        changes: &mut Changes,
        cache: &FlowCache,
        cells: &Cells,
        now: u32,
        waiting: &mut Waiting,
        mut tell: impl FnMut(&Packet, &Drop, u64),
    ) {
        self.now.set_nth_word(0, layout::ALIVE, machine_millis());
        self.now.set_word(0, now);
        for cell in changes.cells.drain(..) {
            self.cells.set_word(cell.0 as usize, cells.generation(cell));
        }
        for (ifindex, slot) in changes.ports.drain(..) {
            self.port(ifindex, slot);
        }
        for number in changes.paths.drain(..) {
            let (path, version) = cache.path(number);
            if let Some(path) = path {
                self.tunnels.set(number, version, path);
            }
            let path = path
                .map(|path| kernels(path, number, version, !self.taps.contains(&path.ifindex)))
                .unwrap_or_default();
            self.paths.set_path(number as usize, &path);
        }
        changes.leave_each_once();
        changes.keys.retain(|key| match cache.peek(key) {
            Some(_) => {
                waiting.queue.push_back((Wait::Flow(*key), waiting.round));
                false
            }
            None => true,
        });
        self.flows.remove_all(changes.keys.drain(..).as_slice().iter());
        let renewed = changes.renewed.drain(..);
        waiting
            .queue
            .extend(renewed.map(|key| (Wait::Renewed(key), waiting.round)));
        for ask in changes.decisions.drain(..) {
            match cache.decision(&ask) {
                // Whoever opens a connection of TCP waits for an answer before it sends more: nothing can be overtaken.
                Some(decision) if ask.protocol() == protocol::TCP => self.put_decision(&ask, decision, cache),
                Some(_) => waiting.queue.push_back((Wait::Decision(ask), waiting.round)),
                None => self.decisions.remove(&ask),
            }
        }
        for change in changes.wires.drain(..) {
            self.wire(&change);
        }
        for kept in changes.drops.drain(..) {
            self.drops.put(&kept, &mut tell);
        }
    }

    /// Tells what the kernel dropped by verdicts since it was last asked.
    pub(crate) fn read_drops(&mut self, now: Timestamp, mut tell: impl FnMut(&Packet, &Drop, u64)) {
        self.drops.read(now, &mut tell);
    }

    /// Gives the kernel the answers that wait. To be called when the packets that led to them are out; `quiet` says
    /// that no other packet waits to be read. Only then, or after some rounds, so that no packet overtakes an earlier
    /// one of its flow that waits. No more than some at once, since packets wait meanwhile: returns whether there are more
    /// whose time has come.
    pub(crate) fn settle(&mut self, waiting: &mut Waiting, cache: &FlowCache, quiet: bool) -> bool {
        waiting.round = waiting.round.wrapping_add(1);
        let mut more = false;
        for nth in 0.. {
            let Some((wait, since)) = waiting.queue.front().copied() else {
                break;
            };
            if !quiet && waiting.round.wrapping_sub(since) < PATIENCE {
                break;
            }
            if nth == MOST_SETTLED {
                more = true;
                break;
            }
            waiting.queue.pop_front();
            match wait {
                Wait::Flow(key) => match cache.peek(&key) {
                    Some(found) => self.put(&key, &found, cache),
                    None => self.flows.remove(&key),
                },
                Wait::Decision(ask) => match cache.decision(&ask) {
                    Some(decision) => self.put_decision(&ask, decision, cache),
                    None => self.decisions.remove(&ask),
                },
                Wait::Renewed(key) => {
                    if let Some(found) = cache.peek(&key) {
                        self.renewals.add(&key, &found, cache);
                    }
                    if self.renewals.is_full() {
                        self.renew(cache);
                    }
                }
            }
        }
        self.renew(cache);
        more
    }

    fn renew(&mut self, cache: &FlowCache) {
        for key in self.renewals.run() {
            // Refused: entry by entry then.
            if let Some(found) = cache.peek(&key) {
                self.put(&key, &found, cache);
            }
        }
    }

    fn put_decision(&mut self, ask: &Key, decision: &Decision, cache: &FlowCache) {
        let ((_, there_version), (_, back_version)) =
            (cache.path(decision.there.0), cache.path(decision.back.0));
        let reply = KernelKey::from(&decision.reply);
        let (reply_slot, reply_src, reply_dst) = match reply {
            KernelKey::V4(key) => (key.slot, [key.src, 0, 0, 0], [key.dst, 0, 0, 0]),
            KernelKey::V6(key) => (key.slot, key.src, key.dst),
        };
        let decision = layout::Decision {
            tag: KernelAsk::from(ask).tag(),
            number: decision.number,
            path: decision.there.0,
            path_version: there_version,
            generation: decision.there.1,
            reply_path: decision.back.0,
            reply_path_version: back_version,
            reply_generation: decision.back.1,
            reply_slot,
            reply_src,
            reply_dst,
            expires: decision.expires,
            hold: decision.hold,
            lowest: *decision.ports.start(),
            highest: *decision.ports.end(),
            block: decision.translated.map_or(0, |translated| translated.block),
            reserved: 0,
            again: decision.number,
        };
        self.refused += u64::from(!self.decisions.put(ask, decision));
    }

    /// Lets each port's packets make flows again, as many as there is `room` for.
    pub(crate) fn refill(&self, room: impl Fn(PortSlot) -> u32) {
        for ifindex in self.links.keys() {
            let word = |nth| self.ports.nth_word(*ifindex as usize, nth);
            if let (Some(slot_and_one), Some(may_make)) = (word(0), word(1)) {
                let slot = PortSlot(slot_and_one.load(Ordering::Relaxed).wrapping_sub(1));
                may_make.store(room(slot).min(MADE_A_PORT), Ordering::Relaxed);
            }
        }
    }

    /// All shares, with their places.
    fn shares(&self) -> impl Iterator<Item = (u32, Share)> {
        let ports = self.links.keys().map(|ifindex| (*ifindex, Share::Port(*ifindex)));
        ports.chain(self.tunnels.shares())
    }

    /// Lets packets of each share come to the engine again: `more` of them, together at most `most`; as many as there are
    /// if `None`.
    pub(crate) fn admit(&mut self, limits: Option<impl Fn(Share) -> Allowance>) {
        let Some(limits) = limits else {
            if std::mem::take(&mut self.limited) {
                for (place, _) in self.shares() {
                    self.ports.set_nth_word(place as usize, MAY_COME, 0);
                }
            }
            return;
        };
        let first = !std::mem::replace(&mut self.limited, true);
        for (place, share) in self.shares() {
            let Some(word) = self.ports.nth_word(place as usize, MAY_COME) else {
                continue;
            };
            let Allowance { more, most } = limits(share);
            let left = match word.load(Ordering::Relaxed) {
                0 if first => most,
                left => left.saturating_sub(1),
            };
            word.store(left.saturating_add(more).min(most) + 1, Ordering::Relaxed);
        }
    }

    /// Tells the packets that were refused since it was last asked, by whose share they were.
    pub(crate) fn read_refusals(&mut self, mut tell: impl FnMut(Share, u64)) {
        let mut refusals = std::mem::take(&mut self.refusals);
        for (place, share) in self.shares() {
            let Some(word) = self.ports.nth_word(place as usize, REFUSED) else {
                continue;
            };
            let count = word.load(Ordering::Relaxed);
            let told = refusals.entry(place).or_insert(0);
            let more = count.wrapping_sub(std::mem::replace(told, count));
            if more > 0 {
                tell(share, u64::from(more));
            }
        }
        self.refusals = refusals;
    }

    /// Says that there is no engine any more: no flows are made that it would have to hear of.
    pub(crate) fn leave(&self) {
        self.now
            .set_nth_word(0, layout::ALIVE, machine_millis().wrapping_sub(layout::GONE));
    }

    /// The engine's way to what the program makes. There is one.
    pub(crate) fn kernel(&mut self) -> Option<Box<dyn Kernel>> {
        let kernel = self.kernel.take()?;
        Some(Box::new(kernel))
    }

    fn port(&mut self, ifindex: u32, slot: Option<PortSlot>) {
        if ifindex >= INTERFACES {
            // There are other hosts' shares.
            self.refused += u64::from(slot.is_some());
            return;
        }
        let Some(slot) = slot else {
            // First it is no port any more, then nothing is asked.
            self.ports.set_word(ifindex as usize, 0);
            self.links.remove(&ifindex);
            self.taps.remove(&ifindex);
            self.refusals.remove(&ifindex);
            return;
        };
        // Until it is known to be a veth: the engine does more than is needed then, and nothing wrong.
        self.taps.insert(ifindex);
        for (nth, word) in [(1, MADE_A_PORT), (MAY_COME, 0), (REFUSED, 0), (SUMS, 0)] {
            self.ports.set_nth_word(ifindex as usize, nth, word);
        }
        self.refusals.remove(&ifindex);
        if !self.ports.set_word(ifindex as usize, slot.0.wrapping_add(1)) {
            self.refused += 1;
            return;
        }
        match self.attach(ifindex) {
            Ok(attached) => {
                self.links.insert(ifindex, attached.link);
                self.before.look(&attached.standing, self.id);
                if attached.veth {
                    self.taps.remove(&ifindex);
                }
                self.ports
                    .set_nth_word(ifindex as usize, SUMS, u32::from(attached.sums));
            }
            // Its packets all go to the engine then.
            Err(_) => self.refused += 1,
        }
    }

    /// Attaches the program at a port.
    fn attach(&self, ifindex: u32) -> io::Result<Attached> {
        let program = self.program.as_fd();
        self.there(move || {
            let link = attach_tcx(program, ifindex, Place::First)?;
            io::Result::Ok(Attached {
                link,
                // Not to know what was there before is to judge it as new.
                standing: programs_at(ifindex).unwrap_or_default(),
                // Sending by a port's own queue is right for every kind, handing to the other end quicker.
                veth: interface::driver(ifindex).is_ok_and(|driver| driver == "veth"),
                sums: interface::takes_unfinished_sums(ifindex).unwrap_or(false),
            })
        })
    }

    /// Does something in the namespace where the ports stand, wherever the calling thread does.
    fn there<T: Send>(&self, attach: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let here = namespace()?;
        let same = |a: &File, b: &File| io::Result::Ok(a.metadata()?.ino() == b.metadata()?.ino());
        let namespace = self.namespace.as_fd();
        if same(&here, &self.namespace)? {
            return attach();
        }
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
                attach()
            });
            there.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        })
    }

    /// Looks what the readers of TAPs take by now: a machine says that when it starts, and its next system anew. To be called
    /// where the ports stand.
    pub(crate) fn look_at_taps(&self) {
        for ifindex in &self.taps {
            let sums = interface::takes_unfinished_sums(*ifindex).unwrap_or(false);
            self.ports.set_nth_word(*ifindex as usize, SUMS, u32::from(sums));
        }
    }

    fn put(&mut self, key: &Key, found: &Found, cache: &FlowCache) {
        let (Some(_), version) = cache.path(found.path) else {
            return self.flows.remove(key);
        };
        let mut flow = Flow {
            tag: KernelKey::from(key).tag(),
            path: found.path,
            path_version: version,
            generation: found.generation,
            expires: found.expires,
            number: found.number.to_be(),
            ..Flow::default()
        };
        if let Some(old) = self.flows.get(key) {
            (flow.packets, flow.bytes, flow.last_seen) = (old.packets, old.bytes, old.last_seen);
        }
        // Full: the flow stays with the engine.
        self.refused += u64::from(!self.flows.put(key, flow));
    }

    /// What the kernel knows of a flow: packets, bytes and when it was last seen.
    pub(crate) fn counted(&self, key: &Key) -> Option<(u64, u64, u32)> {
        let flow = self.flows.get(key)?;
        Some((flow.packets, flow.bytes, flow.last_seen))
    }

    /// What the program has counted.
    pub(crate) fn counters(&self) -> KernelCounters {
        let mut sums = [0u64; layout::COUNTS];
        if let Ok(processors) = self.counts.get(&0, 0) {
            for counts in processors.iter() {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum = sum.wrapping_add(*count);
                }
            }
        }
        KernelCounters {
            refused: self.refused,
            ..KernelCounters::from(sums)
        }
    }
}

/// The words of a port by which its packets are let to the engine, and counted if not.
const MAY_COME: usize = 2;
const REFUSED: usize = 3;
/// The word of a TAP's port that says what its reader takes.
const SUMS: usize = 4;

/// What there is at an interface where the program was attached.
struct Attached {
    link: OwnedFd,
    /// All programs that stand there.
    standing: Vec<u32>,
    veth: bool,
    /// Whether packets may leave by it with their checksums unfinished.
    sums: bool,
}

/// The machine's time as the program reads it, in milliseconds, wrapping.
fn machine_millis() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000) as u32
}

/// The calling thread's network namespace.
fn namespace() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

#[cfg(test)]
mod tests;
