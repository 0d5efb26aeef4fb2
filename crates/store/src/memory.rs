//! The store of `--ephemeral`: the same contract, nothing kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::feed::Feed;
use crate::{Delta, Revision, Row, Snapshot, Store, StoreError, Watch, Write};

/// Rows in memory. "Durable" means as long as the value lives.
#[derive(Debug, Default)]
pub struct Memory {
    held: Mutex<Held>,
    feed: Feed,
}

#[derive(Debug, Default)]
struct Held {
    revision: Revision,
    rows: BTreeMap<(String, Vec<u8>), Vec<u8>>,
}

impl Memory {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn load(&self) -> Result<Snapshot, StoreError> {
        let held = self.held();
        let rows = held
            .rows
            .iter()
            .map(|((table, key), bytes)| Row {
                table: table.clone(),
                key: key.clone(),
                bytes: bytes.clone(),
            })
            .collect();
        Ok(Snapshot {
            revision: held.revision,
            rows,
        })
    }

    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError> {
        deltas.iter().try_for_each(Delta::check)?;
        let mut held = self.held();
        if held.revision != expected {
            return Err(StoreError::Conflict {
                expected,
                found: held.revision,
            });
        }
        for write in deltas.iter().flat_map(|delta| &delta.writes) {
            match write {
                Write::Upsert(row) => {
                    held.rows
                        .insert((row.table.clone(), row.key.clone()), row.bytes.clone());
                }
                Write::Delete { table, key } => {
                    held.rows.remove(&(table.clone(), key.clone()));
                }
            }
        }
        held.revision += deltas.len() as u64;
        // Published under the lock, so that followers see commits in their order.
        self.feed.publish(deltas);
        Ok(held.revision)
    }

    fn watch(&self, from: Revision) -> Watch {
        self.feed.watch(from)
    }
}
