//! Which bytes of a packet's data have come.

/// Most gaps and a little more: whoever sends pieces in an order that leaves more runs apart means no good.
const MOST: usize = 64;

/// What a piece is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// All of it is new.
    New,
    /// All of it has come before, as far as places tell.
    Again,
    /// A part of it has come before, or it contradicts where the packet ends, or it scatters what has come too far.
    Not,
}

/// The bytes that have come, as runs in order that neither touch nor overlap. Pieces in order make one.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    runs: Vec<(u32, u32)>,
    /// Where the packet ends, once its last piece has come.
    total: Option<u32>,
}

impl Runs {
    /// Takes a piece up: the bytes from `start` to before `end`, with which the packet ends if it is the `last`.
    pub(super) fn add(&mut self, start: u32, end: u32, last: bool) -> Fit {
        if self.runs.iter().any(|(from, to)| *from <= start && end <= *to) {
            return Fit::Again;
        }
        let at = self.runs.partition_point(|(_, to)| *to < start);
        let follows = self.runs.get(at).is_some_and(|(_, to)| *to == start);
        let next = at + usize::from(follows);
        let meets = self.runs.get(next).map(|(from, _)| *from);
        let ends_wrong = match self.total {
            Some(total) => last || end > total,
            None => last && self.runs.last().is_some_and(|(_, to)| *to > end),
        };
        if start >= end || ends_wrong || meets.is_some_and(|from| from < end) {
            return Fit::Not;
        }
        let leads = meets == Some(end);
        match (follows, leads) {
            (false, false) if self.runs.len() >= MOST => return Fit::Not,
            (false, false) => self.runs.insert(at, (start, end)),
            (true, false) => self.runs[at].1 = end,
            (false, true) => self.runs[next].0 = start,
            (true, true) => {
                self.runs[at].1 = self.runs[next].1;
                self.runs.remove(next);
            }
        }
        if last {
            self.total = Some(end);
        }
        Fit::New
    }

    /// Whether every byte has come.
    pub(super) fn is_whole(&self) -> bool {
        self.total
            .is_some_and(|total| self.runs.first() == Some(&(0, total)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte (eight at a time).
    #[derive(Default)]
    struct Slow {
        come: Vec<bool>,
        total: Option<usize>,
    }

    impl Slow {
        fn add(&mut self, start: usize, end: usize, last: bool) -> Fit {
            self.come.resize(self.come.len().max(end), false);
            let piece = &self.come[start..end];
            if piece.iter().all(|come| *come) {
                return Fit::Again;
            }
            let furthest = self.come.iter().rposition(|come| *come).map_or(0, |at| at + 1);
            let wrong = match self.total {
                Some(total) => last || end > total,
                None => last && furthest > end,
            };
            if wrong || piece.iter().any(|come| *come) {
                return Fit::Not;
            }
            self.come[start..end].fill(true);
            if last {
                self.total = Some(end);
            }
            Fit::New
        }

        fn is_whole(&self) -> bool {
            self.total
                .is_some_and(|total| self.come[..total].iter().all(|come| *come))
        }
    }

    proptest! {
        #[test]
        fn runs_are_the_bytes_that_have_come(
            pieces in proptest::collection::vec((0..40u32, 1..12u32, any::<u8>()), 1..60),
        ) {
            let (mut runs, mut slow) = (Runs::default(), Slow::default());
            for (start, length, last) in pieces {
                let (end, last) = (start + length, last < 20);
                prop_assert_eq!(
                    runs.add(start, end, last),
                    slow.add(start as usize, end as usize, last),
                    "{:?}", runs,
                );
                prop_assert_eq!(runs.is_whole(), slow.is_whole());
                prop_assert!(runs.runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
        }
    }

    #[test]
    fn scattered_pieces_are_bounded() {
        let mut runs = Runs::default();
        let taken = (0..1000).filter(|n| runs.add(n * 16, n * 16 + 8, false) == Fit::New);
        assert_eq!(taken.count(), MOST);
    }
}
