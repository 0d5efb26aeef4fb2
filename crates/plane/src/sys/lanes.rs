//! Rings side by side, over which the kernel spreads what comes in of one EtherType: by the processor that sent it, by
//! its length, and by the port that it came from.
//!
//! By length, since places are of one size in a ring: a super-segment takes a hundred times what an acknowledgement
//! does. By port, so that one that floods fills its own lane and no other. While lanes are not crowded their frames
//! are taken in the order in which they came in, as from a single ring; one that is half full waits for its turns.
//!
//! A port that floods is given another lane, and goes back. Until all is taken that it sent before, both lanes
//! wait for turns together and are taken in the order in which frames came in, crowded or not.

use std::cmp::Reverse;
use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Change, Group, LANES, Switch};
use super::ring::{BATCH, EtherType, Place, Received, Ring};

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
    lanes: Vec<Lane>,
    switch: Arc<Switch>,
    /// The number of the latest change that was heard of.
    heard: u16,
    following: Option<Following>,
}

/// One ring, with what is known of those that fill it.
struct Lane {
    ring: Ring,
    /// Frames taken since the start.
    taken: u64,
    /// Batches in which it was more than half full.
    crowded: u64,
    /// Who had much of its places when it was last looked at.
    fillers: Fillers,
    told: Told,
}

/// What was said of a lane last, and when.
struct Told {
    time: Instant,
    taken: u64,
    crowded: u64,
    lost: u32,
}

/// A change of the program until all has been taken that came in before it.
struct Following {
    change: Change,
    /// How many frames will have been taken of the lane that was left, then; known once the kernel obeys the change.
    end: Option<u64>,
}

/// What came to a lane since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came {
    /// How long ago that was.
    pub passed: Duration,
    pub taken: u64,
    /// What found no place.
    pub lost: u32,
    /// Whether anything did lately, now or when it was asked before.
    pub overran: bool,
    /// Whether it was more than half full.
    pub crowded: bool,
    /// The interfaces that much of it came from while it was so full, a quarter or more each, of which the first one most.
    pub fillers: Fillers,
    /// How many places it has.
    pub places: usize,
}

/// Interfaces that have a quarter of something each.
pub(crate) type Fillers = [Option<u32>; 4];

/// How many places are looked at to see who fills a lane, and in every how many batches.
const SAMPLE: usize = 16;
const EVERY: u64 = 16;

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
        for _ in 1..LANES {
            rings.push(Ring::open(kind, Place::Small, small)?);
        }
        for ring in &rings {
            group.join(ring)?;
        }
        let lanes = rings.into_iter().map(|ring| Lane {
            ring,
            taken: 0,
            crowded: 0,
            fillers: Fillers::default(),
            told: Told {
                time: Instant::now(),
                taken: 0,
                crowded: 0,
                lost: 0,
            },
        });
        Ok(Lanes {
            lanes: lanes.collect(),
            switch: group.switch(),
            heard: 0,
            following: None,
        })
    }

    /// Takes up to [`BATCH`] frames of several lanes and gives them to `process`, then gives their places back to the
    /// kernel. Returns how many there were; none when all lanes are empty.
    pub(crate) fn receive(lanes: &mut [&mut Lanes], process: impl FnOnce(&mut [Received<'_>])) -> Taken {
        let latest = latest(lanes.iter().flat_map(|lanes| &lanes.lanes));
        // After that: who sees a frame that came in after a change has heard of the change.
        let mut joined = Vec::new();
        for (nth, lanes) in lanes.iter_mut().enumerate() {
            let both = lanes.follow();
            joined.extend(both.map(|change| (nth * LANES + change.from, nth * LANES + change.to)));
        }
        let Some(latest) = latest else {
            return Taken::default();
        };
        let mut lanes: Vec<&mut Lane> = lanes.iter_mut().flat_map(|lanes| &mut lanes.lanes).collect();
        let counts = choose(&mut lanes, latest, &joined);
        let mut batch: Vec<(u64, Received<'_>)> = Vec::with_capacity(BATCH);
        let mut large = 0;
        for (lane, count) in lanes.iter_mut().zip(&counts) {
            let times: Vec<u64> = times(&lane.ring, *count).collect();
            large += if lane.ring.is_small() { 0 } else { *count };
            lane.taken += *count as u64;
            batch.extend(times.into_iter().zip(lane.ring.frames(*count)));
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
        for (lane, count) in lanes.iter_mut().zip(counts) {
            lane.ring.give_back(count);
        }
        taken
    }

    /// Hears of changes of the program. The one under way, until all is taken that came in before it.
    fn follow(&mut self) -> Option<Change> {
        if let Some(change) = self.switch.latest()
            && change.number != self.heard
        {
            self.heard = change.number;
            self.following = Some(Following { change, end: None });
        }
        let following = self.following.as_mut()?;
        if self.switch.is_settled() {
            let left = self.lanes.get(following.change.from);
            let (taken, ready) = left.map_or((0, 0), |left| match following.end {
                None => (left.taken, left.ring.ready(usize::MAX) as u64),
                Some(_) => (left.taken, 0),
            });
            if taken >= *following.end.get_or_insert(taken + ready) {
                self.following = None;
                self.switch.caught_up();
                return None;
            }
        }
        Some(following.change)
    }

    /// Whether a frame lies there to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.lanes.iter().any(|lane| lane.ring.is_ready())
    }

    /// Its rings, to be waited for.
    pub(crate) fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.lanes.iter().map(|lane| &lane.ring)
    }

    /// One of them, to be changed by tests.
    #[cfg(test)]
    pub(crate) fn ring_mut(&mut self, lane: usize) -> &mut Ring {
        &mut self.lanes[lane].ring
    }

    /// What came to each lane since it was last asked. The kernel counts what it lost until it is asked, a system call
    /// for each lane: unless `all` are to be asked, it is those alone that were crowded meanwhile.
    pub(crate) fn came(&mut self, now: Instant, all: bool) -> impl Iterator<Item = (usize, Came)> {
        let lanes = self.lanes.iter_mut().enumerate();
        lanes
            .filter(move |(_, lane)| all || lane.crowded > lane.told.crowded)
            .map(move |(nth, lane)| (nth, lane.came(now)))
    }
}

impl Lane {
    fn came(&mut self, now: Instant) -> Came {
        let now = Told {
            time: now,
            taken: self.taken,
            crowded: self.crowded,
            lost: self.ring.lost(),
        };
        let before = std::mem::replace(&mut self.told, now);
        Came {
            passed: self.told.time.saturating_duration_since(before.time),
            taken: self.taken - before.taken,
            lost: self.told.lost,
            overran: self.told.lost > 0 || before.lost > 0,
            crowded: self.crowded > before.crowded,
            fillers: std::mem::take(&mut self.fillers),
            places: self.ring.places(),
        }
    }

    /// Sees, as soon as it was asked and now and then, who fills a lane that is more than half full.
    fn look(&mut self) {
        let batches = self.crowded - self.told.crowded;
        self.crowded += 1;
        if !batches.is_multiple_of(EVERY) {
            return;
        }
        let distance = (self.ring.places() / 2 / SAMPLE).max(1);
        let met = (0..SAMPLE).filter_map(|n| self.ring.came_from(n * distance));
        let met: Vec<u32> = met.collect();
        let of = |ifindex: u32| met.iter().filter(|other| **other == ifindex).count();
        let mut much: Vec<u32> = met
            .iter()
            .copied()
            .filter(|ifindex| 4 * of(*ifindex) >= met.len())
            .collect();
        much.sort_unstable_by_key(|ifindex| (Reverse(of(*ifindex)), *ifindex));
        much.dedup();
        let mut much = much.into_iter();
        self.fillers = std::array::from_fn(|_| much.next());
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

/// When the latest of the frames came in that are next in any lane; `None` where all are empty.
fn latest<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Option<u64> {
    let last = |lane: &Lane| times(&lane.ring, lane.ring.ready(BATCH)).last();
    lanes.filter_map(last).max()
}

/// How many frames of each lane are next; some, where any lie there. `last` is what [`latest`] said just before;
/// `joined` are pairs of lanes that are one as far as order and turns go.
fn choose(lanes: &mut [&mut Lane], last: u64, joined: &[(usize, usize)]) -> Vec<usize> {
    let mut counts = vec![0; lanes.len()];
    let partner = |lane| {
        joined
            .iter()
            .find(|(first, _)| *first == lane)
            .map(|(_, second)| *second)
    };
    let follows = |lane| joined.iter().any(|(_, second)| *second == lane);
    let alone = {
        let is_ready = |lane: usize| lanes.get(lane).is_some_and(|lane| lane.ring.is_ready());
        let firsts = (0..lanes.len()).filter(|lane| !follows(*lane));
        let busy = firsts.filter(|lane| is_ready(*lane) || partner(*lane).is_some_and(is_ready));
        busy.count() < 2
    };
    // What one processor sent into two lanes is in order once every lane was looked at after the later frame was
    // seen, and nothing is taken that came in after that.
    let mut candidates = Vec::with_capacity(2 * BATCH);
    let mut crowded = Vec::new();
    for first in (0..lanes.len()).filter(|lane| !follows(*lane)) {
        let pair = [Some(first), partner(first)];
        let is_ready = |nth: usize| lanes.get(nth).is_some_and(|lane| lane.ring.is_ready());
        if !pair.into_iter().flatten().any(is_ready) {
            continue;
        }
        let mut is_crowded = false;
        for nth in pair.into_iter().flatten() {
            if let Some(lane) = lanes.get_mut(nth)
                && lane.ring.is_half_full()
            {
                lane.look();
                is_crowded = true;
            }
        }
        let of_both = pair.into_iter().flatten().flat_map(|nth| {
            let ring = lanes.get(nth).map(|lane| &lane.ring);
            let of_it = ring.into_iter().flat_map(|ring| times(ring, ring.ready(BATCH)));
            of_it
                .take_while(|time| *time <= last)
                .map(move |time| (time, nth))
        });
        if is_crowded && !alone {
            // Out of order, but for a turn.
            let mut turn: Vec<(u64, usize)> = of_both.collect();
            turn.sort_by_key(|(time, _)| *time);
            turn.truncate(TURN);
            crowded.extend(turn.first().map(|(time, _)| *time).map(|time| (time, turn)));
        } else {
            candidates.extend(of_both);
        }
    }
    // However many are crowded, the others have a half, and of the crowded ones those go first that have waited longest.
    let kept = candidates.len().min(BATCH / 2);
    let mut left = BATCH - kept;
    crowded.sort_unstable();
    for (_, turn) in crowded {
        let turn = turn.into_iter().take(left);
        left -= turn.len();
        turn.for_each(|(_, lane)| counts[lane] += 1);
    }
    candidates.sort_by_key(|(time, _)| *time);
    for (_, lane) in candidates.into_iter().take(left + kept) {
        counts[lane] += 1;
    }
    counts
}
