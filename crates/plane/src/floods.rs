//! Ports that flood: which of them have a lane of their own, and until when.
//!
//! A port that floods fills the lane that it shares with others, and they lose frames. So when a lane overruns, the
//! port that fills it is given another one, until it has been calm for a while. There are few such lanes, and few ports at a
//! time have them; changes are made one after the other, since two lanes at a time are kept in order
//! ([`Lanes`](crate::sys::lanes::Lanes)).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sockets::Groups;
use crate::sys::fanout::{Group, OWN, own_lane, shared_lane};
use crate::sys::lanes::{Came, Fillers};

/// Of every EtherType, with its group of sockets: ARP, IPv4, IPv6.
pub(crate) struct Floods {
    each: [Mutex<(Group, Flooding)>; 3],
}

impl Floods {
    pub(crate) fn new(groups: Groups) -> Floods {
        Floods {
            each: groups
                .into_each()
                .map(|group| Mutex::new((group, Flooding::default()))),
        }
    }

    /// Learns what came to lanes of one EtherType, and gives ports other lanes. `shares` says whether others have the
    /// same lane as a port. Tells who has which lane of their own from now on, if that is changed, before another one does.
    pub(crate) fn note(
        &self,
        kind: usize,
        now: Instant,
        came: &[(usize, Came)],
        shares: impl Fn(u32) -> bool,
        tell: impl FnOnce(Vec<(u32, usize)>),
    ) {
        let Some(both) = self.each.get(kind) else {
            return;
        };
        let mut both: MutexGuard<'_, _> = both.lock().unwrap_or_else(PoisonError::into_inner);
        let (group, flooding) = &mut *both;
        let before = flooding.moved();
        if let Some(over) = group.switch().is_over() {
            flooding.changed(now, over.is_ok());
        }
        for (lane, came) in came.iter().filter(|(_, came)| came.floods()) {
            flooding.goes_on(now, *lane, &came.fillers);
        }
        let overrun = came.iter().filter(|(_, came)| came.overran);
        let step = overrun
            .filter_map(|(lane, came)| came.fillers[0].filter(|filler| shared_lane(*filler) == *lane))
            .filter(|filler| shares(*filler))
            .find_map(|filler| flooding.begins(now, filler))
            .or_else(|| flooding.ends(now));
        if let Some(step) = step {
            group.change(flooding.moved(), step.from, step.to);
        }
        let moved = flooding.moved();
        if moved != before {
            tell(moved);
        }
    }
}

/// Most ports that have lanes of their own at a time.
const MOST: usize = 2 * OWN;
/// How long a port must have been calm to go back; each time that it floods again soon, twice as long.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing is changed after the kernel refused it.
const REFUSED: Duration = Duration::from_secs(60);
/// A port still floods as long as it would fill its lane within this time: ten times what a thread waits for its turn of
/// a processor.
const FILLS: Duration = Duration::from_millis(40);

impl Came {
    /// Whether it is a flood, in a lane of its own.
    fn floods(&self) -> bool {
        let least = self.places as f64 * (self.passed.as_secs_f64() / FILLS.as_secs_f64());
        self.lost > 0 || self.crowded || self.taken > 0 && self.taken as f64 >= least
    }
}

/// Who has lanes of their own, of one EtherType.
#[derive(Debug, Default)]
struct Flooding {
    moved: Vec<Moved>,
    under_way: Option<UnderWay>,
    /// Who went back lately, with how long it will have to be calm the next time.
    lately: Vec<(u32, Instant, Duration)>,
    not_before: Option<Instant>,
}

/// A port with a lane of its own.
#[derive(Clone, Copy, Debug)]
struct Moved {
    ifindex: u32,
    lane: usize,
    /// When it was last seen to flood.
    last: Instant,
    patience: Duration,
}

/// A change that the kernel does not yet obey everywhere.
#[derive(Clone, Copy, Debug)]
enum UnderWay {
    Out(u32),
    Back(Moved),
}

/// Which lane a port goes from and to.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    from: usize,
    to: usize,
}

impl Flooding {
    /// Who has which lane.
    fn moved(&self) -> Vec<(u32, usize)> {
        self.moved.iter().map(|port| (port.ifindex, port.lane)).collect()
    }

    fn may_change(&self, now: Instant) -> bool {
        self.under_way.is_none() && self.not_before.is_none_or(|time| now >= time)
    }

    /// A port overruns the lane that it shares.
    fn begins(&mut self, now: Instant, ifindex: u32) -> Option<Step> {
        let is_moved = self.moved.iter().any(|port| port.ifindex == ifindex);
        if is_moved || self.moved.len() >= MOST || !self.may_change(now) {
            return None;
        }
        let in_it = |lane: &usize| self.moved.iter().filter(|port| port.lane == *lane).count();
        let lane = (0..OWN).map(own_lane).min_by_key(in_it)?;
        let again = self.lately.iter().find(|(before, ..)| *before == ifindex);
        let patience = again.map_or(PATIENCE, |(_, went, next)| {
            if now.saturating_duration_since(*went) < 4 * *next {
                *next
            } else {
                PATIENCE
            }
        });
        self.moved.push(Moved {
            ifindex,
            lane,
            last: now,
            patience,
        });
        self.under_way = Some(UnderWay::Out(ifindex));
        Some(Step {
            from: shared_lane(ifindex),
            to: lane,
        })
    }

    /// Those that have a lane of their own still flood: of several in one, those that fill it, where that was seen. Who is calm,
    /// or gone, would else stay beside another one's flood for as long as that lasts.
    fn goes_on(&mut self, now: Instant, lane: usize, fillers: &Fillers) {
        let fills = |port: &Moved| fillers.contains(&Some(port.ifindex));
        let mut in_it = self.moved.iter().filter(|port| port.lane == lane);
        let is_seen = in_it.any(fills);
        for port in self.moved.iter_mut().filter(|port| port.lane == lane) {
            if !is_seen || fills(port) {
                port.last = now;
            }
        }
    }

    /// Whose flood has ended goes back.
    fn ends(&mut self, now: Instant) -> Option<Step> {
        if !self.may_change(now) {
            return None;
        }
        let is_calm = |port: &Moved| now.saturating_duration_since(port.last) >= port.patience;
        let calm = self.moved.iter().position(is_calm)?;
        let port = self.moved.remove(calm);
        self.lately.retain(|(before, ..)| *before != port.ifindex);
        if self.lately.len() >= MOST {
            self.lately.remove(0);
        }
        let next = (2 * port.patience).min(MOST_PATIENCE);
        self.lately.push((port.ifindex, now, next));
        self.under_way = Some(UnderWay::Back(port));
        Some(Step {
            from: port.lane,
            to: shared_lane(port.ifindex),
        })
    }

    /// The latest change is over, and all is taken that came in before it; or the kernel refused it.
    fn changed(&mut self, now: Instant, taken: bool) {
        let Some(before) = self.under_way.take() else {
            return;
        };
        if !taken {
            self.not_before = Some(now + REFUSED);
            match before {
                UnderWay::Out(ifindex) => self.moved.retain(|port| port.ifindex != ifindex),
                UnderWay::Back(port) => self.moved.push(port),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_has_its_lane_until_it_has_been_over_for_a_while() {
        let (mut now, mut flooding) = (Instant::now(), Flooding::default());
        let (own, shared) = (own_lane(0), shared_lane(11));
        let step = flooding.begins(now, 11).unwrap();
        assert_eq!((step.from, step.to), (shared, own));
        assert_eq!(flooding.moved(), [(11, own)]);
        assert_eq!(flooding.begins(now, 12), None, "one change after the other");
        flooding.changed(now, true);
        assert_eq!(flooding.begins(now, 11), None, "it is there already");
        for _ in 0..100 {
            now += SECOND / 2;
            flooding.goes_on(now, own, &[None; 4]);
            assert_eq!(flooding.ends(now), None);
        }
        now += SECOND;
        let step = flooding.ends(now).unwrap();
        assert_eq!((step.from, step.to), (own, shared));
        assert_eq!(flooding.moved(), []);
        flooding.changed(now, true);
        // Again, soon: it has to be calm for longer.
        flooding.begins(now + SECOND, 11).unwrap();
        flooding.changed(now, true);
        assert_eq!(flooding.ends(now + 2 * SECOND), None);
        assert!(flooding.ends(now + 3 * SECOND).is_some());
    }

    #[test]
    fn lanes_are_few_and_the_emptiest_is_next() {
        let (now, mut flooding) = (Instant::now(), Flooding::default());
        let mut lanes = Vec::new();
        for port in 1..=MOST as u32 {
            let step = flooding.begins(now, port).unwrap();
            lanes.push(step.to);
            assert_eq!(flooding.moved.len(), port as usize);
            flooding.changed(now, true);
        }
        let each = (0..OWN).map(|nth| lanes.iter().filter(|lane| **lane == own_lane(nth)).count());
        assert!(each.clone().all(|ports| ports == MOST / OWN), "{lanes:?}");
        assert_eq!(flooding.begins(now, 100), None);
    }

    #[test]
    fn who_is_calm_or_gone_does_not_stay_beside_who_floods() {
        let (mut now, mut flooding) = (Instant::now(), Flooding::default());
        for port in 1..=MOST as u32 {
            flooding.begins(now, port).unwrap();
            flooding.changed(now, true);
        }
        let lanes = [0, 1].map(own_lane);
        let first = |lane| {
            flooding
                .moved
                .iter()
                .find(|port| port.lane == lane)
                .map(|port| port.ifindex)
        };
        let floods = lanes.map(first);
        for _ in 0..10 {
            now += SECOND / 4;
            for (lane, port) in lanes.into_iter().zip(floods) {
                flooding.goes_on(now, lane, &[port, None, None, None]);
            }
            if flooding.ends(now).is_some() {
                flooding.changed(now, true);
            }
        }
        let left: Vec<_> = flooding.moved().into_iter().map(|(port, _)| Some(port)).collect();
        assert_eq!(left, floods);
    }

    #[test]
    fn what_the_kernel_refuses_is_as_before_and_is_not_asked_again_soon() {
        let (now, mut flooding) = (Instant::now(), Flooding::default());
        flooding.begins(now, 1).unwrap();
        flooding.changed(now, false);
        assert_eq!(flooding.begins(now + SECOND, 1), None);
        flooding.begins(now + REFUSED, 1).unwrap();
        flooding.changed(now + REFUSED, true);
        let later = now + REFUSED + SECOND;
        flooding.ends(later).unwrap();
        flooding.changed(later, false);
        assert_eq!(flooding.moved.len(), 1);
    }
}
