//! A region's rows on another of its hosts: what comes over a connection put together, and what leads from the copy
//! that is there to it. Without I/O; `join.rs` has the connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use atoll_model::{Change, Delta, Key, Row};
use atoll_region::Region;
use atoll_store::{MAX_DELTA_BYTES, MAX_DELTA_ROWS};

/// Most rows of a region: more than any that could be served, less than what would fill a host's memory.
const MAX_ROWS: usize = 8 * 1024 * 1024;
/// Most revisions that a data plane may be behind before it is no longer known which exactly it has.
const MAX_BEHIND: usize = 64 * 1024;

/// Rows and deltas on their way.
#[derive(Debug, Default)]
pub struct Arriving {
    rows: Vec<Row>,
    /// The revision that has been handed on last; `None` until all rows have come, and while they come again.
    at: Option<u64>,
}

/// What has come whole.
#[derive(Debug, PartialEq)]
pub enum Arrived {
    /// All rows there are.
    Whole {
        /// The region's revision.
        revision: u64,
        /// The rows.
        rows: Vec<Row>,
    },
    /// What the next revision changed.
    Delta {
        /// That revision.
        revision: u64,
        /// What changed; may be nothing.
        delta: Delta,
    },
}

/// What came makes no sense after what came before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// A change came before all rows, or not in its turn.
    #[error("the change to revision {found} came after revision {at:?}")]
    Delta {
        /// Which it should have followed.
        at: Option<u64>,
        /// Which it is.
        found: u64,
    },
    /// More than there can be.
    #[error("{0} are more than a region can have")]
    TooMany(String),
}

impl Arriving {
    /// Some of all rows.
    ///
    /// # Errors
    /// When they are too many.
    pub fn rows(&mut self, rows: Vec<Row>) -> Result<(), OutOfOrder> {
        self.at = None;
        if self.rows.len().saturating_add(rows.len()) > MAX_ROWS {
            return Err(OutOfOrder::TooMany(format!("{} rows and more", self.rows.len())));
        }
        self.rows.extend(rows);
        Ok(())
    }

    /// Those were all.
    pub fn whole(&mut self, revision: u64) -> Arrived {
        self.at = Some(revision);
        Arrived::Whole {
            revision,
            rows: std::mem::take(&mut self.rows),
        }
    }

    /// What a revision changed.
    ///
    /// # Errors
    /// When it is not the next one, or changes more than a revision may.
    pub fn delta(&mut self, revision: u64, changes: Vec<Change>) -> Result<Arrived, OutOfOrder> {
        if self.at.and_then(|at| at.checked_add(1)) != Some(revision) {
            return Err(OutOfOrder::Delta {
                at: self.at,
                found: revision,
            });
        }
        let keys: BTreeSet<Key> = changes.iter().map(Change::key).collect();
        if changes.len() > MAX_DELTA_ROWS || keys.len() != changes.len() {
            return Err(OutOfOrder::TooMany(format!("{} changes at once", changes.len())));
        }
        self.at = Some(revision);
        Ok(Arrived::Delta {
            revision,
            delta: Delta { changes },
        })
    }
}

/// What leads from a copy to these rows, in steps that a store takes.
pub fn difference(copy: &Region, rows: Vec<Row>) -> Vec<Delta> {
    let keys: BTreeSet<Key> = rows.iter().map(Row::key).collect();
    let gone = copy
        .rows()
        .map(|row| row.key())
        .filter(|key| !keys.contains(key))
        .map(Change::Delete);
    // One row a key, the last: a store takes each once in a step.
    let mut changes: BTreeMap<Key, Change> = gone.map(|change| (change.key(), change)).collect();
    for row in rows {
        let key = row.key();
        if copy.row(key).as_ref() == Some(&row) {
            changes.remove(&key);
        } else {
            changes.insert(key, Change::Put(row));
        }
    }
    steps(changes.into_values())
}

fn steps(changes: impl Iterator<Item = Change>) -> Vec<Delta> {
    let (mut steps, mut step, mut bytes) = (Vec::new(), Delta::default(), 0);
    for change in changes {
        let size = size(&change);
        if step.changes.len() == MAX_DELTA_ROWS || bytes + size > MAX_DELTA_BYTES {
            steps.push(std::mem::take(&mut step));
            bytes = 0;
        }
        bytes += size;
        step.changes.push(change);
    }
    if !step.changes.is_empty() {
        steps.push(step);
    }
    steps
}

/// As a store counts it.
fn size(change: &Change) -> usize {
    let key = change.key();
    let value = match change {
        // One that cannot be written fails when it is.
        Change::Put(row) => row.encode().map_or(0, |bytes| bytes.len()),
        Change::Delete(_) => 0,
    };
    key.table().len() + key.text().len() + value
}

/// Which of the region's revisions the copy's own stand for: a copy that caught up in steps counts otherwise.
#[derive(Debug, Default)]
pub struct Stands {
    /// Of the copy, of the region; both rise.
    pairs: VecDeque<(u64, u64)>,
}

impl Stands {
    /// The copy's revision `own` will be the region's `revision`.
    pub fn took(&mut self, own: u64, revision: u64) {
        while self.pairs.back().is_some_and(|last| last.0 >= own) {
            self.pairs.pop_back();
        }
        if self.pairs.len() == MAX_BEHIND {
            self.pairs.pop_front();
        }
        self.pairs.push_back((own, revision));
    }

    /// The region's revision that who has the copy's revision `own` has; forgets those before.
    pub fn of(&mut self, own: u64) -> Option<u64> {
        while self.pairs.get(1).is_some_and(|next| next.0 <= own) {
            self.pairs.pop_front();
        }
        self.pairs.front().filter(|pair| pair.0 <= own).map(|pair| pair.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::{AccountId, InternetGateway, InternetGatewayId, RegionName, Tags};
    use atoll_region::Config;
    use proptest::prelude::*;

    fn gateway(bits: u64, name: &str) -> Row {
        let mut tags = Tags::default();
        if !name.is_empty() {
            tags = serde_json::from_value(serde_json::json!({ "Name": name })).unwrap();
        }
        InternetGateway {
            id: InternetGatewayId::new(bits),
            owner: AccountId::DEFAULT,
            vpc: None,
            tags,
        }
        .into()
    }

    fn copy(rows: &[Row]) -> Region {
        let config = Config::default_for(RegionName::DEFAULT, 0);
        Region::load(config, atoll_model::row::Revision(3), rows.to_vec())
    }

    fn sorted(region: &Region) -> Vec<Row> {
        region.rows().collect()
    }

    #[test]
    fn changes_count_only_after_all_rows_and_in_their_turn() {
        let mut arriving = Arriving::default();
        assert!(arriving.delta(1, Vec::new()).is_err());
        arriving.rows(vec![gateway(1, "")]).unwrap();
        arriving.rows(vec![gateway(2, "")]).unwrap();
        let Arrived::Whole { revision: 7, rows } = arriving.whole(7) else {
            panic!()
        };
        assert_eq!(rows.len(), 2);
        assert!(arriving.delta(9, Vec::new()).is_err());
        assert!(arriving.delta(8, Vec::new()).is_ok());
        assert!(arriving.delta(8, Vec::new()).is_err());
        // Rows begin again whenever the region's host thinks fit, and changes stop meanwhile.
        arriving.rows(vec![gateway(1, "")]).unwrap();
        assert!(arriving.delta(9, Vec::new()).is_err());
        assert!(matches!(arriving.whole(u64::MAX), Arrived::Whole { .. }));
        assert!(arriving.delta(0, Vec::new()).is_err());
    }

    #[test]
    fn a_change_of_one_row_twice_or_of_too_many_is_refused() {
        let mut arriving = Arriving::default();
        arriving.whole(0);
        let put = |bits| Change::Put(gateway(bits, ""));
        assert!(arriving.delta(1, vec![put(1), put(1)]).is_err());
        assert!(arriving.delta(1, (0..=128).map(put).collect()).is_err());
        assert!(arriving.delta(1, (0..128).map(put).collect()).is_ok());
    }

    #[test]
    fn a_row_that_comes_twice_stands_as_it_came_last() {
        let before = copy(&[gateway(1, "a")]);
        let steps = difference(&before, vec![gateway(1, "b"), gateway(1, "a")]);
        assert_eq!(steps, []);
        let steps = difference(&before, vec![gateway(1, "a"), gateway(1, "b")]);
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].changes, [Change::Put(gateway(1, "b"))]);
    }

    #[test]
    fn it_is_known_which_revision_of_the_region_the_copy_has() {
        let mut stands = Stands::default();
        assert_eq!(stands.of(5), None);
        stands.took(5, 100);
        stands.took(6, 101);
        stands.took(6, 102); // nothing of 102 concerned the copy
        stands.took(7, 103);
        assert_eq!(stands.of(4), None);
        assert_eq!(stands.of(5), Some(100));
        assert_eq!(stands.of(6), Some(102));
        assert_eq!(stands.of(9), Some(103));
        assert_eq!(stands.of(9), Some(103));
        // A region that was restored begins again with lower numbers.
        stands.took(8, 3);
        assert_eq!(stands.of(8), Some(3));
    }

    proptest! {
        #[test]
        fn the_difference_leads_to_the_rows_in_steps_that_a_store_takes(
            before in proptest::collection::btree_map(0u64..400, 0u8..3, 0..400),
            after in proptest::collection::btree_map(0u64..400, 0u8..3, 0..400),
        ) {
            let rows = |map: &BTreeMap<u64, u8>| -> Vec<Row> {
                map.iter().map(|(bits, name)| gateway(*bits, &name.to_string())).collect()
            };
            let (before, after) = (copy(&rows(&before)), rows(&after));
            let steps = difference(&before, after.clone());
            prop_assert!(steps.iter().all(|step| (1..=MAX_DELTA_ROWS).contains(&step.changes.len())));
            let reached = steps.iter().fold(before.clone(), |copy, step| copy.after(step));
            prop_assert_eq!(reached.revision().0, before.revision().0 + steps.len() as u64);
            prop_assert_eq!(sorted(&reached), sorted(&copy(&after)));
            prop_assert!(reached.index_is_true());
            prop_assert_eq!(difference(&reached, after), vec![]);
        }
    }
}
