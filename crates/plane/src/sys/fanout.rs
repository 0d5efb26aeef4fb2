//! The group of sockets that share what comes in of one EtherType, and the classic program that chooses among them.
//!
//! The program is changed while packets come: a port that floods gets a lane of its own, and goes back. Who takes
//! frames hears of a change before the kernel does, and when no packet meets the earlier program any more
//! ([`Switch`]): the kernel waits for that (`synchronize_net`) before it answers, for some ten milliseconds, so
//! a thread of its own asks it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::ring::{Ring, SMALL, set_option};

/// Lanes for small frames that ports share, a power of two: a port has one of them.
pub(crate) const SHARED: usize = 8;
/// Lanes for ports that flood.
pub(crate) const OWN: usize = 2;
/// All lanes of a thread: the one for large frames, those that are shared, those for ports that flood.
pub(crate) const LANES: usize = 1 + SHARED + OWN;

/// The lane that a port's small frames come in at as long as it does not flood.
pub(crate) fn shared_lane(ifindex: u32) -> usize {
    1 + ifindex as usize % SHARED
}

/// One of the lanes for ports that flood, counted from 0.
pub(crate) fn own_lane(nth: usize) -> usize {
    1 + SHARED + nth % OWN
}

/// Sockets of one EtherType: lanes of as many threads as it was made for, each of which gets what was sent on its
/// processor.
pub(crate) struct Group {
    threads: u32,
    /// Given by the kernel to the first that joins.
    number: Option<u16>,
    /// The first that joined, which the program is given to.
    first: Option<Arc<OwnedFd>>,
    switch: Arc<Switch>,
}

/// A change of the program, as those see it that take frames. One at a time.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    /// The latest one: its number, from which lane, to which, sixteen bits each; 0 before the first.
    latest: AtomicU64,
    /// Whether no packet meets the program before it any more.
    settled: AtomicBool,
    /// Whether the kernel did not take it.
    failed: AtomicBool,
    /// How many threads' lanes still hold frames together that came in before it and after it.
    behind: AtomicUsize,
}

/// A change that moves a port's frames from one lane to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub number: u16,
    pub from: usize,
    pub to: usize,
}

impl Switch {
    /// The latest change.
    pub(crate) fn latest(&self) -> Option<Change> {
        let said = self.latest.load(Ordering::Acquire);
        (said != 0).then_some(Change {
            number: (said >> 32) as u16,
            from: said as u16 as usize,
            to: (said >> 16) as u16 as usize,
        })
    }

    /// Whether every packet meets its program.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Says that a thread's lanes have given away all that came in before it.
    pub(crate) fn caught_up(&self) {
        self.behind.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all have, so that another one may begin; an error if the kernel did not take it.
    pub(crate) fn is_over(&self) -> Option<Result<(), ()>> {
        let over = self.behind.load(Ordering::Acquire) == 0;
        over.then(|| match self.failed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(()),
        })
    }

    /// Tells those that take frames of a change, before the kernel hears of it.
    fn begin(&self, from: usize, to: usize, threads: usize) {
        self.behind.store(threads, Ordering::Release);
        self.settled.store(false, Ordering::Release);
        self.failed.store(false, Ordering::Release);
        let number = (self.latest.load(Ordering::Acquire) >> 32) as u16;
        let number = number.wrapping_add(1).max(1);
        let said = u64::from(number) << 32 | (to as u64 & 0xffff) << 16 | (from as u64 & 0xffff);
        self.latest.store(said, Ordering::Release);
    }

    fn settle(&self, taken: bool) {
        self.failed.store(!taken, Ordering::Release);
        self.settled.store(true, Ordering::Release);
    }
}

/// `PACKET_FANOUT_CBPF`, and the wish for a group that nobody has.
const FANOUT_PROGRAM: u32 = 6;
const FANOUT_UNIQUE: u32 = 0x2000;

/// Where a classic program finds what is not in the packet (`SKF_AD_OFF` and what is added to it).
const BESIDE: u32 = -0x1000i32 as u32;
const INTERFACE: u32 = BESIDE + 8;
const PROCESSOR: u32 = BESIDE + 36;

impl Group {
    pub(crate) fn new(threads: usize) -> Group {
        Group {
            threads: threads.max(1) as u32,
            number: None,
            first: None,
            switch: Arc::default(),
        }
    }

    /// What is said of changes.
    pub(crate) fn switch(&self) -> Arc<Switch> {
        Arc::clone(&self.switch)
    }

    /// Adds a socket. The first one brings the program that chooses among them.
    pub(super) fn join(&mut self, ring: &Ring) -> io::Result<()> {
        let (group, flags) = match self.number {
            Some(group) => (u32::from(group), 0),
            None => (0, FANOUT_UNIQUE),
        };
        let request = group | (FANOUT_PROGRAM | flags) << 16;
        set_option(ring, libc::PACKET_FANOUT, &request)?;
        if self.number.is_none() {
            let mut joined = 0u32;
            let mut length = size_of::<u32>() as libc::socklen_t;
            // SAFETY: the kernel writes at most `length` bytes into `joined`.
            let failed = unsafe {
                libc::getsockopt(
                    ring.as_fd().as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_FANOUT,
                    (&raw mut joined).cast(),
                    &raw mut length,
                )
            };
            if failed != 0 {
                return Err(io::Error::last_os_error());
            }
            self.number = Some(joined as u16);
            self.first = Some(ring.descriptor());
            choose_by(ring, self.threads, &[])?;
        }
        Ok(())
    }

    /// Has the frames of ports come in at lanes of their own, as (interface, lane), and of all others at those they
    /// share. That is another lane for one port: `from` there before, `to` there from now on. To be called once the
    /// earlier change is over.
    pub(crate) fn change(&self, moved: Vec<(u32, usize)>, from: usize, to: usize) {
        self.switch.begin(from, to, self.threads as usize);
        let (switch, threads, first) = (self.switch(), self.threads, self.first.clone());
        // It ends by itself, as soon as the kernel answers.
        let thread = std::thread::Builder::new().name("lanes".into()).spawn(move || {
            let taken = first.is_some_and(|first| choose_by(&*first, threads, &moved).is_ok());
            switch.settle(taken);
        });
        if thread.is_err() {
            self.switch.settle(false);
        }
    }
}

/// Gives the kernel the program of a group. Returns when no packet meets the earlier one any more.
fn choose_by(socket: &impl AsFd, threads: u32, moved: &[(u32, usize)]) -> io::Result<()> {
    let mut program = program(threads, moved);
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set_option(socket, libc::PACKET_FANOUT_DATA, &filter)
}

/// Returns the number of the socket that gets a packet: those of a thread follow each other.
fn program(threads: u32, moved: &[(u32, usize)]) -> Vec<libc::sock_filter> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    use libc::{
        BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD,
        BPF_LEN, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_TAX, BPF_W, BPF_X,
    };
    // What stands between here and where the lane is known: three steps for each port that has moved, two for others.
    let ahead = |ports: usize| 3 * ports as u32 + 2;
    let mut program = vec![
        // The IP packet's length: there is no Ethernet header where the program looks.
        step(BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
        step(BPF_JMP | BPF_JGT | BPF_K, 0, 2, SMALL),
        step(BPF_LD | BPF_IMM, 0, 0, 0),
        step(BPF_JMP | BPF_JA, 0, 0, 1 + ahead(moved.len())),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, INTERFACE),
    ];
    for (nth, (ifindex, lane)) in moved.iter().enumerate() {
        program.extend([
            step(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, *ifindex),
            step(BPF_LD | BPF_IMM, 0, 0, *lane as u32),
            step(BPF_JMP | BPF_JA, 0, 0, ahead(moved.len() - nth - 1)),
        ]);
    }
    program.extend([
        step(BPF_ALU | BPF_AND | BPF_K, 0, 0, SHARED as u32 - 1),
        step(BPF_ALU | BPF_ADD | BPF_K, 0, 0, 1),
        step(BPF_MISC | BPF_TAX, 0, 0, 0),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, PROCESSOR),
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, threads),
        step(BPF_ALU | BPF_MUL | BPF_K, 0, 0, LANES as u32),
        step(BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0),
        step(BPF_RET | BPF_A, 0, 0, 0),
    ]);
    program
}
