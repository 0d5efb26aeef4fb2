//! Rings side by side, over which the kernel spreads what comes in of one EtherType: by the processor that sent it, by
//! its length, and by the port that it came from.
//!
//! By length, since places are of one size in a ring: a super-segment takes a hundred times what an acknowledgement
//! does. By port, so that one that floods fills its own lane and no other. While lanes are not crowded their frames
//! are taken in the order in which they came in, as from a single ring; one that is half full waits for its turns.

use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd, AsRawFd};

use super::ring::{BATCH, EtherType, Place, Received, Ring, SMALL, set_option};

/// Lanes for small frames, a power of two: a port has one of them.
pub(crate) const PORTS: usize = 8;
/// Most frames of a batch that a crowded lane gets while others wait.
const TURN: usize = BATCH / 8;

/// How much was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub frames: usize,
    /// Super-segments among them.
    pub large: usize,
}

impl AddAssign for Taken {
    fn add_assign(&mut self, more: Taken) {
        self.frames += more.frames;
        self.large += more.large;
    }
}

/// What a processor's instances send of one EtherType.
pub(crate) struct Lanes {
    /// Large frames first, then the small ones by port.
    rings: Vec<Ring>,
}

impl Lanes {
    /// Opens lanes in the calling thread's network namespace: `large` places for super-segments of a size, and `small`
    /// ones in each of the others. `group` is shared by all threads' lanes of the EtherType.
    pub(crate) fn open(
        kind: EtherType,
        (place, large): (Place, u32),
        small: u32,
        group: &mut Group,
    ) -> io::Result<Lanes> {
        let mut rings = vec![Ring::open(kind, place, large)?];
        for _ in 0..PORTS {
            rings.push(Ring::open(kind, Place::Small, small)?);
        }
        for ring in &rings {
            group.join(ring)?;
        }
        Ok(Lanes { rings })
    }

    /// Takes up to [`BATCH`] frames of several lanes and gives them to `process`, then gives their places back to the
    /// kernel. Returns how many there were; none when all lanes are empty.
    pub(crate) fn receive(lanes: &mut [&mut Lanes], process: impl FnOnce(&mut [Received<'_>])) -> Taken {
        if !lanes.iter().any(|lanes| lanes.is_ready()) {
            return Taken::default();
        }
        let mut rings: Vec<&mut Ring> = lanes.iter_mut().flat_map(|lanes| &mut lanes.rings).collect();
        let counts = choose(&rings);
        let mut batch: Vec<(u64, Received<'_>)> = Vec::with_capacity(BATCH);
        let mut large = 0;
        for (ring, count) in rings.iter_mut().zip(&counts) {
            let times: Vec<u64> = times(ring, *count).collect();
            large += if ring.is_small() { 0 } else { *count };
            batch.extend(times.into_iter().zip(ring.frames(*count)));
        }
        batch.sort_by_key(|(time, _)| *time);
        let mut frames: Vec<Received<'_>> = batch.into_iter().map(|(_, frame)| frame).collect();
        let taken = Taken {
            frames: frames.len(),
            large,
        };
        if taken.frames > 0 {
            process(&mut frames);
        }
        drop(frames);
        for (ring, count) in rings.iter_mut().zip(counts) {
            ring.give_back(count);
        }
        taken
    }

    /// Whether a frame lies there to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.rings.iter().any(Ring::is_ready)
    }

    /// Its rings, to be waited for.
    pub(crate) fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// The same, to be changed by tests.
    #[cfg(test)]
    pub(crate) fn rings_mut(&mut self) -> &mut [Ring] {
        &mut self.rings
    }

    /// Frames that found no free place since the last call.
    pub(crate) fn lost(&self) -> u32 {
        self.rings.iter().map(Ring::lost).sum()
    }
}

/// When each of a lane's next `count` frames came in, but none before the one in front of it: clocks are set back, and
/// where processors share a lane they take its places in another order than they look at the clock. A lane's own
/// stay in order, whatever their times say.
fn times(ring: &Ring, count: usize) -> impl Iterator<Item = u64> {
    (0..count).scan(0, |latest, n| {
        *latest = ring.came_in(n).max(*latest);
        Some(*latest)
    })
}

/// How many frames of each lane are next; some, where any lie there.
fn choose(rings: &[&mut Ring]) -> Vec<usize> {
    let mut counts = vec![0; rings.len()];
    let (mut last, mut busy) = (0, 0);
    for ring in rings {
        if let Some(latest) = times(ring, ring.ready(BATCH)).last() {
            busy += 1;
            last = last.max(latest);
        }
    }
    // What one processor sent into two lanes is in order once every lane was looked at after the later frame was
    // seen, and nothing is taken that came in after that.
    let mut candidates = Vec::with_capacity(2 * BATCH);
    let mut crowded = Vec::new();
    for (lane, ring) in rings.iter().enumerate() {
        let of_it = times(ring, ring.ready(BATCH)).take_while(|time| *time <= last);
        if busy > 1 && ring.is_half_full() {
            // Out of order, but for a turn.
            let mut of_it = of_it.take(TURN);
            if let Some(first) = of_it.next() {
                crowded.push((first, lane, 1 + of_it.count()));
            }
        } else {
            candidates.extend(of_it.map(|time| (time, lane)));
        }
    }
    // However many are crowded, the others have a half, and of the crowded ones those go first that have waited longest.
    let kept = candidates.len().min(BATCH / 2);
    let mut left = BATCH - kept;
    crowded.sort_unstable();
    for (_, lane, turn) in crowded {
        counts[lane] = turn.min(left);
        left -= counts[lane];
    }
    candidates.sort_by_key(|(time, _)| *time);
    for (_, lane) in candidates.into_iter().take(left + kept) {
        counts[lane] += 1;
    }
    counts
}

/// A group of sockets that share what comes in of one EtherType: lanes of as many threads as it was made for, each of
/// which gets what was sent on its processor.
pub(crate) struct Group {
    threads: u32,
    /// Given by the kernel to the first that joins.
    number: Option<u16>,
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
        }
    }

    /// Adds a socket. The first one brings the program that chooses among them.
    fn join(&mut self, ring: &Ring) -> io::Result<()> {
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
            let mut program = self.program();
            let filter = libc::sock_fprog {
                len: program.len() as u16,
                filter: program.as_mut_ptr(),
            };
            set_option(ring, libc::PACKET_FANOUT_DATA, &filter)?;
        }
        Ok(())
    }

    /// Returns the number of the socket that gets a packet: those of a thread follow each other.
    fn program(&self) -> Vec<libc::sock_filter> {
        let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        use libc::{
            BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_IMM, BPF_JA, BPF_JGT, BPF_JMP, BPF_K, BPF_LD,
            BPF_LEN, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_TAX, BPF_W, BPF_X,
        };
        vec![
            // The IP packet's length: there is no Ethernet header where the program looks.
            step(BPF_LD | BPF_W | BPF_LEN, 0, 0, 0),
            step(BPF_JMP | BPF_JGT | BPF_K, 0, 2, SMALL),
            step(BPF_LD | BPF_IMM, 0, 0, 0),
            step(BPF_JMP | BPF_JA, 0, 0, 3),
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0, INTERFACE),
            step(BPF_ALU | BPF_AND | BPF_K, 0, 0, PORTS as u32 - 1),
            step(BPF_ALU | BPF_ADD | BPF_K, 0, 0, 1),
            step(BPF_MISC | BPF_TAX, 0, 0, 0),
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0, PROCESSOR),
            step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, self.threads),
            step(BPF_ALU | BPF_MUL | BPF_K, 0, 0, PORTS as u32 + 1),
            step(BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0),
            step(BPF_RET | BPF_A, 0, 0, 0),
        ]
    }
}
