//! The handle by which the rest of the process speaks to the data plane.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use atoll_fabric::{Fabric, Flows};
use atoll_model::Delta;

use crate::counters::Counters;
use crate::drops::DropRecord;
use crate::engine::{Capacity, Engine};
use crate::error::PlaneError;
use crate::fast::{Fast, FastCapacity};
use crate::port::Attachment;
use crate::sys::interface;
use crate::worker::{Sockets, Worker};

/// How to start a plane.
#[derive(Clone, Copy, Debug)]
pub struct PlaneConfig {
    /// What it keeps.
    pub capacity: Capacity,
    /// Frames that may wait to be read, IPv4. Each takes 64 KiB of the kernel's memory, at once.
    pub ipv4_frames: u32,
    /// The same for IPv6.
    pub ipv6_frames: u32,
    /// Whether the kernel forwards what is known by an eBPF program, and how much it keeps.
    pub fast: Option<FastCapacity>,
}

impl PlaneConfig {
    /// For a host: 32 MiB of waiting IPv4 and 16 MiB of IPv6 frames.
    pub const HOST: PlaneConfig = PlaneConfig {
        capacity: Capacity::HOST,
        ipv4_frames: 510,
        ipv6_frames: 255,
        fast: None,
    };

    /// The same with the kernel forwarding what is known.
    pub const HOST_FAST: PlaneConfig = PlaneConfig {
        fast: Some(FastCapacity::HOST),
        ..PlaneConfig::HOST
    };
}

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
}

/// Something for the engine's thread to do between two batches; what it returns tells whoever asked.
pub(crate) type Task = Box<dyn FnOnce(&mut Engine) -> Box<dyn FnOnce()> + Send>;

/// A running data plane; clones are handles to the same one. It ends with [`Plane::stop`] or its last handle.
#[derive(Clone)]
pub struct Plane {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once stopped.
    tasks: Mutex<Option<Sender<Task>>>,
    wake: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Plane {
    /// Starts a plane in the calling thread's network namespace, which must be the fabric's, with an empty
    /// configuration and no ports.
    ///
    /// # Errors
    /// [`PlaneError::Socket`] without `CAP_NET_RAW` over the namespace or memory for the rings;
    /// [`PlaneError::Fast`] if the kernel is to take part and does not: start without then.
    pub fn start(config: PlaneConfig) -> Result<Plane, PlaneError> {
        let fast = config.fast.map(Fast::load).transpose()?;
        let sockets = Sockets::open(config.ipv4_frames, config.ipv6_frames)?;
        let wake = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC,
        )
        .map_err(|error| PlaneError::Socket {
            what: "open an event descriptor",
            source: error.into(),
        })?;
        let wake = Arc::new(wake);
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "seed");
        let (tasks, queue) = channel();
        let worker_wake = Arc::clone(&wake);
        let thread = std::thread::Builder::new()
            .name("plane".into())
            .spawn(move || Worker::new(sockets, worker_wake, queue, config.capacity, seed, fast).run())
            .map_err(PlaneError::Thread)?;
        Ok(Plane {
            inner: Arc::new(Inner {
                tasks: Mutex::new(Some(tasks)),
                wake,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Does something on the engine's thread, between two batches of packets, and waits for it.
    fn ask<R: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Engine) -> R + Send + 'static,
    ) -> Result<R, PlaneError> {
        let (answer, answered) = sync_channel(1);
        let task: Task = Box::new(move |engine| {
            let result = task(engine);
            Box::new(move || {
                // Whoever asked may have gone; the task is done all the same.
                let _ = answer.send(result);
            })
        });
        match &*self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tasks) => tasks.send(task).map_err(|_| PlaneError::Stopped)?,
            None => return Err(PlaneError::Stopped),
        }
        self.inner.wake();
        answered.recv().map_err(|_| PlaneError::Stopped)
    }

    /// Takes a change of configuration in. When this returns, every packet that is read from then on meets it,
    /// those of established flows too.
    pub fn apply(&self, delta: &Delta) -> Result<(), PlaneError> {
        let delta = delta.clone();
        self.ask(move |engine| engine.apply(&delta))
    }

    /// An interface of the fabric's namespace is a port from now on. A port that stood there, or for the same
    /// ENI elsewhere, ends.
    ///
    /// # Errors
    /// [`PlaneError::TooManyPorts`].
    pub fn port_up(&self, ifindex: u32, attachment: Attachment) -> Result<(), PlaneError> {
        self.ask(move |engine| engine.port_up(ifindex, attachment))?
    }

    /// A port is gone, or is to be: nothing is received from it or sent to it any more.
    pub fn port_down(&self, ifindex: u32) -> Result<(), PlaneError> {
        self.ask(move |engine| engine.port_down(ifindex))
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
        self.ask(|engine| engine.recent.iter().copied().collect())
    }

    /// What was counted.
    pub fn counters(&self) -> Result<Counters, PlaneError> {
        self.ask(|engine| engine.counters.clone())
    }

    /// What is known of flows, in numbers.
    pub fn flows(&self) -> Result<FlowCounts, PlaneError> {
        self.ask(|engine| {
            let (kept_answers, paths) = engine.kept();
            FlowCounts {
                connections: engine.flows.connections(),
                mappings: engine.flows.mappings(),
                kept_answers,
                paths,
            }
        })
    }

    /// Asks the rules and the state of flows that packets meet at this moment: a trace of what would happen now.
    /// Packets wait meanwhile, so the question should take microseconds.
    pub fn with_state<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Fabric, &Flows) -> R + Send + 'static,
    ) -> Result<R, PlaneError> {
        self.ask(move |engine| question(&engine.fabric, &engine.flows))
    }

    /// Stops forwarding and closes the sockets. Other handles then get [`PlaneError::Stopped`].
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn wake(&self) {
        // A full counter wakes just as well.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    fn stop(&self) {
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
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
