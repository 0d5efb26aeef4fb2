//! The handle by which the rest of the process speaks to the data plane.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use atoll_fabric::{Fabric, Flows, Site};
use atoll_model::{Delta, VpcId};

use crate::counters::Counters;
use crate::drops::DropRecord;
use crate::elsewhere::{Tunnel, Vni};
use crate::engine::{Capacity, Engine};
use crate::error::PlaneError;
use crate::fast::{Fast, FastCapacity, Waiting};
use crate::floods::Floods;
use crate::intake::Intakes;
use crate::live_flows::{Beside, FlowQuery, LiveFlows, Scan};
use crate::port::Attachment;
use crate::sockets::{Groups, Room, Sockets};
use crate::sys::interface;
use crate::sys::sender::Sender;
use crate::worker::{Core, Shared, Worker};

/// How to start a plane.
#[derive(Clone, Copy, Debug)]
pub struct PlaneConfig {
    /// What it keeps.
    pub capacity: Capacity,
    /// Super-segments that may wait to be read, IPv4. Each takes 205 KiB of the kernel's memory, at once.
    pub ipv4_frames: u32,
    /// The same for IPv6, of 64 KiB each.
    pub ipv6_frames: u32,
    /// Frames no longer than 1,800 bytes that may wait in each of a family's ten lanes for them, 2 KiB each.
    pub small_frames: u32,
    /// Whether the kernel forwards what is known by an eBPF program, and how much it keeps.
    pub fast: Option<FastCapacity>,
}

impl PlaneConfig {
    /// For a host: 24 MiB of waiting super-segments of IPv4, 8 MiB of IPv6, and 80 MiB of small frames of each: as many in
    /// a lane as come while the thread that takes them waits for its turn of a processor, 4 to 8 ms.
    pub const HOST: PlaneConfig = PlaneConfig {
        capacity: Capacity::HOST,
        ipv4_frames: 120,
        ipv6_frames: 120,
        small_frames: 4096,
        fast: None,
    };

    /// The same with the kernel forwarding what is known: the rest is little.
    pub const HOST_FAST: PlaneConfig = PlaneConfig {
        small_frames: 1024,
        fast: Some(FastCapacity::HOST),
        ..PlaneConfig::HOST
    };
}

/// Fewest frames of a thread's ring, where several threads share what a host has.
const FEWEST_FRAMES: u32 = 30;
/// The same of small ones in a lane.
const FEWEST_SMALL: u32 = 128;

/// What is known of flows, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// Connections tracked, both ends counted.
    pub connections: usize,
    /// NAT gateways' mappings.
    pub mappings: usize,
    /// Answers kept, one a direction.
    pub kept_answers: usize,
    /// Different ways that kept answers lead.
    pub paths: usize,
    /// Network interfaces that have a port here.
    pub interfaces: usize,
    /// Whether connections and mappings are written down, so that they outlive the process.
    pub written_down: bool,
}

/// How long packets have the engine for themselves between two pieces of a long question.
const BETWEEN_STEPS: Duration = Duration::from_micros(50);

/// A running data plane; clones are handles to the same one. It ends with [`Plane::stop`] or its last handle.
#[derive(Clone)]
pub struct Plane {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// What wakes each of the threads.
    wakes: Arc<[OwnedFd]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Plane {
    /// Starts a plane in the calling thread's network namespace, which must be the fabric's, with an empty
    /// configuration and no ports.
    ///
    /// # Errors
    /// [`PlaneError::Socket`] without `CAP_NET_RAW` over the namespace or memory for the rings;
    /// [`PlaneError::Fast`] if the kernel is to take part and does not: start without then.
    pub fn start(config: PlaneConfig) -> Result<Plane, PlaneError> {
        Plane::begin(config, None)
    }

    /// The same, with the state of flows kept in a file: what an earlier plane left there is taken up, so that
    /// connections and NAT mappings outlive the process (not the machine). [`Plane::settle`] is to be called when all
    /// rows have been applied.
    ///
    /// # Errors
    /// As [`Plane::start`], and [`PlaneError::Journal`] when the file cannot be made.
    pub fn resume(config: PlaneConfig, journal: &Path) -> Result<Plane, PlaneError> {
        Plane::begin(config, Some(journal))
    }

    fn begin(config: PlaneConfig, journal: Option<&Path>) -> Result<Plane, PlaneError> {
        let fast = config.fast.map(Fast::load).transpose()?;
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "seed");
        let shared = Arc::new(Shared::new(config.capacity, seed, fast)?);
        if let Some(path) = journal {
            let kept = shared.lock().remember(path, seed);
            kept.map_err(|source| PlaneError::Journal {
                path: path.to_owned(),
                source,
            })?;
        }
        let processors = shared.processors();
        let each = |frames: u32, fewest: u32| (frames / processors.len() as u32).max(fewest.min(frames));
        let room = Room {
            ipv4: each(config.ipv4_frames, FEWEST_FRAMES),
            ipv6: each(config.ipv6_frames, FEWEST_FRAMES),
            small: each(config.small_frames, FEWEST_SMALL),
        };
        let mut groups = Groups::new(processors.len());
        let (mut sockets, mut wakes) = (Vec::new(), Vec::new());
        for _ in &processors {
            let of_it = Sockets::open(&room, &mut groups)?;
            if shared.lock().fast.is_some() {
                shared.waits_at(of_it.again()?);
            }
            sockets.push(of_it);
            let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
            let wake = eventfd(0, flags).map_err(|error| PlaneError::Socket {
                what: "open an event descriptor",
                source: error.into(),
            })?;
            wakes.push(wake);
        }
        let intakes = Arc::new(Intakes::new(sockets, shared.alone));
        let floods = Arc::new(Floods::new(groups));
        let wakes: Arc<[OwnedFd]> = wakes.into();
        let mut workers = Vec::new();
        for (number, processor) in processors.into_iter().enumerate() {
            workers.push(Worker {
                number,
                intakes: Arc::clone(&intakes),
                floods: Arc::clone(&floods),
                sender: Sender::open().map_err(|source| PlaneError::Socket {
                    what: "open a packet socket for sending",
                    source,
                })?,
                wakes: Arc::clone(&wakes),
                shared: Arc::clone(&shared),
                processor,
            });
        }
        let plane = Plane {
            inner: Arc::new(Inner {
                shared,
                wakes,
                threads: Mutex::new(Vec::new()),
            }),
        };
        for worker in workers {
            let handle = std::thread::Builder::new()
                .name("plane".into())
                .spawn(move || worker.run())
                .map_err(PlaneError::Thread)?;
            plane.inner.threads().push(handle);
        }
        Ok(plane)
    }

    /// Does something between two batches of packets; whoever asks finds it done in the kernel too.
    fn ask<R>(&self, task: impl FnOnce(&mut Engine) -> R) -> Result<R, PlaneError> {
        self.ask_core(|core| task(&mut core.engine))
    }

    /// The same of the kernel's part too.
    fn ask_core<R>(&self, task: impl FnOnce(&mut Core) -> R) -> Result<R, PlaneError> {
        let mut core = self.inner.shared.lock();
        if self.inner.shared.stopping.load(Ordering::Acquire) {
            return Err(PlaneError::Stopped);
        }
        let result = task(&mut core);
        // No packet led to what this put: nothing has to wait.
        let mut waiting = Waiting::default();
        core.follow(&mut waiting);
        // A new port may have had another program before.
        core.take_up_before();
        core.follow(&mut waiting);
        let mut more = core.settle(&mut waiting, true);
        let stale = core.engine.is_revalidating();
        drop(core);
        while more {
            more = self.inner.shared.lock().settle(&mut waiting, true);
        }
        if stale && !self.inner.shared.stale.swap(true, Ordering::AcqRel) {
            self.inner.wake_one();
        }
        Ok(result)
    }

    /// Reads what the engine knows of flows, with all that the kernel had made when it was asked.
    fn ask_knowing<R>(&self, question: impl FnOnce(&Engine) -> R) -> Result<R, PlaneError> {
        let until = self.inner.shared.lock().engine.next_made();
        // A little at a time: changes and packets wait meanwhile.
        while self.inner.shared.lock().take_up_some(until) {
            std::thread::sleep(BETWEEN_STEPS);
        }
        self.ask(|engine| question(engine))
    }

    /// Reads what the engine has, as it stands between two batches of packets.
    fn read<R>(&self, question: impl FnOnce(&Engine) -> R) -> Result<R, PlaneError> {
        let mut core = self.inner.shared.lock();
        if self.inner.shared.stopping.load(Ordering::Acquire) {
            return Err(PlaneError::Stopped);
        }
        core.read_counters();
        core.read_drops();
        Ok(question(&core.engine))
    }

    /// Takes a change of configuration in. When this returns, every packet that is read from then on meets it,
    /// those of established flows too.
    pub fn apply(&self, delta: &Delta) -> Result<(), PlaneError> {
        self.ask(|engine| engine.apply(delta))
    }

    /// Says that all rows that there are have been applied: what was known of flows whose owners are not among them is
    /// forgotten. Only of use after [`Plane::resume`].
    pub fn settle(&self) -> Result<(), PlaneError> {
        self.ask(|engine| engine.settle())
    }

    /// An interface of the fabric's namespace is a port from now on. A port that stood there, or for the same
    /// ENI elsewhere, ends.
    ///
    /// # Errors
    /// [`PlaneError::TooManyPorts`].
    pub fn port_up(&self, ifindex: u32, attachment: Attachment) -> Result<(), PlaneError> {
        self.ask(move |engine| engine.port_up(ifindex, attachment))?
    }

    /// What holds the kernel's program on a port's interface; `None` where there is none. While somebody has it, the
    /// program goes on forwarding what it knew last, also when this plane is no more: a later plane's program stands
    /// before it and leaves to it what it does not know itself. Its answers may be obeyed only until the next change of
    /// configuration.
    ///
    /// # Errors
    /// [`PlaneError::Socket`] when there are too many descriptors.
    pub fn link(&self, ifindex: u32) -> Result<Option<OwnedFd>, PlaneError> {
        let core = self.inner.shared.lock();
        let link = core.fast.as_ref().map(|fast| fast.link(ifindex));
        link.unwrap_or(Ok(None)).map_err(|source| PlaneError::Socket {
            what: "have a link once more",
            source,
        })
    }

    /// A port is gone, or is to be: nothing is received from it or sent to it any more.
    pub fn port_down(&self, ifindex: u32) -> Result<(), PlaneError> {
        self.ask(move |engine| engine.port_down(ifindex))
    }

    /// Packets to other hosts go by this VXLAN device, and come by it, from now on; by none if `None`. Which hosts there are,
    /// what is on them and which networks name VPCs is said by [`Plane::set_host`], [`Plane::place`] and
    /// [`Plane::set_network`].
    ///
    /// # Errors
    /// [`PlaneError::TunnelNeedsKernel`] without the eBPF plane; [`PlaneError::Tunnel`] if the programs cannot stand there.
    pub fn set_tunnel(&self, tunnel: Option<Tunnel>) -> Result<(), PlaneError> {
        // In one go: the engine takes frames from when the programs stand there, and none when they do not any more.
        self.ask_core(|core| {
            let seal = core.engine.seal();
            let Some(fast) = &mut core.fast else {
                return match tunnel {
                    Some(_) => Err(PlaneError::TunnelNeedsKernel),
                    None => Ok(()),
                };
            };
            if fast.tunnels_elsewhere(tunnel.as_ref()) {
                core.engine.set_tunnel(None);
            }
            let stands = fast.tunnel(tunnel.as_ref(), seal);
            stands.map_err(|source| PlaneError::Tunnel {
                ifindex: tunnel.map_or(0, |tunnel| tunnel.ifindex),
                source,
            })?;
            core.engine.set_tunnel(tunnel);
            Ok(())
        })?
    }

    /// Frames of a host are taken, or not any more.
    pub fn set_host(&self, host: IpAddr, is_one: bool) -> Result<(), PlaneError> {
        self.ask(|engine| engine.set_host(host, is_one))
    }

    /// Which network names a VPC between hosts; the same one at all of them.
    pub fn set_network(&self, vpc: VpcId, network: Option<Vni>) -> Result<(), PlaneError> {
        self.ask(|engine| engine.set_network(vpc, network))
    }

    /// Says which host interfaces and gateways are on; `None` for this one, as for all that nothing was said of. When it
    /// returns, no packet goes to where something was before.
    pub fn place(&self, sites: &[(Site, Option<IpAddr>)]) -> Result<(), PlaneError> {
        self.ask(|engine| engine.place(sites))
    }

    /// What holds the kernel's programs on the VXLAN device, as [`Plane::link`] does a port's; none where there is none.
    ///
    /// # Errors
    /// [`PlaneError::Socket`] when there are too many descriptors.
    pub fn tunnel_links(&self) -> Result<Vec<OwnedFd>, PlaneError> {
        let core = self.inner.shared.lock();
        let links = core.fast.as_ref().map(|fast| fast.tunnel_links());
        links
            .unwrap_or(Ok(Vec::new()))
            .map_err(|source| PlaneError::Socket {
                what: "have a link once more",
                source,
            })
    }

    /// The index of an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`PlaneError::NoSuchInterface`].
    pub fn interface_index(name: &str) -> Result<u32, PlaneError> {
        interface::index(name).map_err(|source| PlaneError::NoSuchInterface {
            name: name.into(),
            source,
        })
    }

    /// Recent drops, the oldest first.
    pub fn drops(&self) -> Result<Vec<DropRecord>, PlaneError> {
        self.read(|engine| engine.recent.iter().copied().collect())
    }

    /// What was counted.
    pub fn counters(&self) -> Result<Counters, PlaneError> {
        self.read(|engine| engine.counters.clone())
    }

    /// What is known of flows, in numbers.
    pub fn flows(&self) -> Result<FlowCounts, PlaneError> {
        self.ask_knowing(|engine| {
            let (kept_answers, paths) = engine.kept();
            FlowCounts {
                connections: engine.flows.connections(),
                mappings: engine.flows.mappings(),
                kept_answers,
                paths,
                interfaces: engine.ports.interfaces(),
                written_down: engine.remembers(),
            }
        })
    }

    /// The flows for which answers are kept, in no order. Packets go on meanwhile: a small piece of the tables is looked
    /// at at a time, so that what begins or ends during that may or may not be among them; what the kernel made within
    /// the last 100 milliseconds is not.
    pub fn live_flows(&self, query: &FlowQuery) -> Result<LiveFlows, PlaneError> {
        let shared = &self.inner.shared;
        let mut scan = Scan::default();
        loop {
            {
                let core = shared.lock();
                if shared.stopping.load(Ordering::Acquire) {
                    return Err(PlaneError::Stopped);
                }
                let beside = Beside {
                    fast: core.fast.as_ref(),
                    now: core.now(),
                };
                scan.step(&core.engine, &beside, query);
            }
            if let Some(found) = scan.finished() {
                return Ok(found);
            }
            // The lock goes to whoever is quickest: without this, that is this thread again, and packets wait.
            std::thread::sleep(BETWEEN_STEPS);
        }
    }

    /// Asks the rules and the state of flows that packets meet at this moment: a trace of what would happen now.
    /// Packets wait meanwhile, so the question should take microseconds.
    pub fn with_state<R>(&self, question: impl FnOnce(&Fabric, &Flows) -> R) -> Result<R, PlaneError> {
        self.ask_knowing(|engine| question(&engine.fabric, &engine.flows))
    }

    /// Stops forwarding and closes the sockets. Other handles then get [`PlaneError::Stopped`].
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a thread look at what is to be done.
    fn wake_one(&self) {
        if let Some(wake) = self.wakes.first() {
            // A full counter wakes just as well.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.waits_nowhere();
        let threads = std::mem::take(&mut *self.threads());
        for wake in &*self.wakes {
            // A full counter wakes just as well.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
        for thread in threads {
            let _ = thread.join();
        }
        let mut core = self.shared.lock();
        if let Some(fast) = &core.fast {
            fast.leave();
            // Whoever comes next knows of flows what was written down.
            core.take_up_all();
        }
        // The links go with it, but for those that somebody else has too: there the kernel goes on.
        core.fast = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}
