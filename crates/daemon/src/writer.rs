//! The one writer of a region: commands are applied to a speculative region, many share one durable
//! commit, and nobody sees a revision before it is durable.
//!
//! [`Writer`] is the rule without threads or clocks, so that a test can fail its store at every write in
//! turn. `region_handle.rs` runs it.
//!
//! Every answer waits for the commit, refusals included: a command may have been refused because of what
//! a command before it in the same batch did, and that may yet come to nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use atoll_model::row::{DecodeError, Revision};
use atoll_model::{Change, Delta, Row};
use atoll_region::{Config, Error, Region};
use atoll_store::{Store, StoreError};

/// The most commands that share one commit.
pub const MAX_BATCH: usize = 256;

/// Tells a caller what became of its command: `Ok` once it is durable.
pub type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What a command came to on the speculative region.
pub struct Step {
    /// The region after it and what changed, if anything did: one delta a revision, shown together.
    pub next: Option<(Region, Vec<Delta>)>,
    /// Told when the batch is durable or failed.
    pub answer: Answer,
}

/// A command on its way to the writer.
pub type Job = Box<dyn FnOnce(&Region) -> Step + Send>;

/// A revision that became durable.
#[derive(Debug)]
pub struct Published {
    /// The region at it.
    pub region: Arc<Region>,
    /// What changed since the region shown before, mostly one revision before.
    pub delta: Delta,
}

/// Why a region could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row could not be read.
    #[error("row {key:?} of table {table:?}: {source}")]
    Row {
        /// Its table.
        table: String,
        /// Its key.
        key: String,
        /// What was wrong.
        source: DecodeError,
    },
}

/// A region, its store, and what is applied but not yet durable.
pub struct Writer {
    store: Arc<dyn Store>,
    config: Config,
    durable: Arc<Region>,
    ahead: Region,
    pending: Vec<(Region, Vec<Delta>)>,
    answers: Vec<Answer>,
    /// Set while it is not known what the store holds.
    lost: bool,
}

impl Writer {
    /// Loads the region from its store.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn open(store: Arc<dyn Store>, config: Config) -> Result<Self, LoadError> {
        let durable = Arc::new(load(&*store, &config)?);
        let ahead = (*durable).clone();
        Ok(Self {
            store,
            config,
            durable,
            ahead,
            pending: Vec::new(),
            answers: Vec::new(),
            lost: false,
        })
    }

    /// The region as it is durable.
    pub fn durable(&self) -> &Arc<Region> {
        &self.durable
    }

    /// Applies a command to the speculative region. Its answer comes with the next [`Writer::commit`].
    pub fn take(&mut self, job: Job) {
        // Regions are values: a command that panics leaves this one as it was, and its caller learns of it
        // because the answer is dropped.
        let Ok(Step { next, answer }) = catch_unwind(AssertUnwindSafe(|| job(&self.ahead))) else {
            tracing::error!("a command panicked; nothing of it was applied");
            return;
        };
        if let Some((region, deltas)) = next
            && deltas.iter().any(|delta| !delta.changes.is_empty())
        {
            self.ahead = region.clone();
            self.pending.push((region, deltas));
        }
        self.answers.push(answer);
    }

    /// Makes durable what was taken, shows it through `publish`, and then answers.
    pub fn commit(&mut self, publish: &mut dyn FnMut(Published)) {
        let pending = std::mem::take(&mut self.pending);
        let answers = std::mem::take(&mut self.answers);
        let outcome = self.make_durable(pending, publish);
        // What failed leaves the speculation; what succeeded is the durable region by now.
        self.ahead = (*self.durable).clone();
        for answer in answers {
            answer(outcome.clone());
        }
    }

    fn make_durable(
        &mut self,
        pending: Vec<(Region, Vec<Delta>)>,
        publish: &mut dyn FnMut(Published),
    ) -> Result<(), Error> {
        if self.lost {
            self.reload(publish)?;
            if !pending.is_empty() {
                return Err(unavailable(
                    "the store had failed and was read again; nothing was changed",
                ));
            }
        }
        if pending.is_empty() {
            return Ok(());
        }
        let deltas: Vec<_> = pending
            .iter()
            .flat_map(|(_, deltas)| deltas)
            .map(encode)
            .collect::<Result<_, _>>()?;
        let expected = self.durable.revision().0;
        let made = expected + deltas.len() as u64;
        match self.store.commit(expected, deltas) {
            Ok(_) => {}
            Err(error @ (StoreError::OutcomeUnknown { .. } | StoreError::Conflict { .. })) => {
                tracing::error!(%error, "reading the store again");
                self.lost = true;
                let found = self.store.load().map_err(|reload| {
                    tracing::error!(error = %reload, "the store cannot be read");
                    unavailable(&error.to_string())
                })?;
                if found.revision != made || !error.outcome_unknown() {
                    self.reload(publish)?;
                    return Err(unavailable(&format!("{error}; it was not")));
                }
                self.lost = false;
            }
            Err(error) => {
                // A store may need to be read again before it takes another commit.
                tracing::error!(%error, "a commit failed");
                self.lost = true;
                let _ = self.reload(publish);
                return Err(unavailable(&error.to_string()));
            }
        }
        for (region, deltas) in pending {
            let region = Arc::new(region);
            let changes = deltas.into_iter().flat_map(|delta| delta.changes).collect();
            let delta = Delta { changes };
            self.durable = region.clone();
            publish(Published { region, delta });
        }
        Ok(())
    }

    /// Takes the store's word for what is durable.
    fn reload(&mut self, publish: &mut dyn FnMut(Published)) -> Result<(), Error> {
        let found = load(&*self.store, &self.config).map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            unavailable(&error.to_string())
        })?;
        self.lost = false;
        if found.revision() != self.durable.revision() {
            let delta = difference(&self.durable, &found);
            self.durable = Arc::new(found);
            publish(Published {
                region: self.durable.clone(),
                delta,
            });
        }
        Ok(())
    }
}

fn unavailable(why: &str) -> Error {
    Error::new(
        "Unavailable",
        format!("The change could not be made durable: {why}"),
    )
}

/// What leads from one region to another, however far apart they are.
pub fn difference(from: &Region, to: &Region) -> Delta {
    let put = to
        .rows()
        .filter(|row| from.row(row.key()).as_ref() != Some(row))
        .map(Change::Put);
    let gone = from
        .rows()
        .map(|row| row.key())
        .filter(|key| to.row(*key).is_none())
        .map(Change::Delete);
    let mut changes: Vec<Change> = put.chain(gone).collect();
    changes.sort_by_key(Change::key);
    Delta { changes }
}

fn encode(delta: &Delta) -> Result<atoll_store::Delta, Error> {
    let write = |change: &Change| {
        let key = change.key();
        let (table, text) = (key.table().to_owned(), key.text().into_bytes());
        Ok(match change {
            Change::Put(row) => {
                let bytes = row.encode().map_err(|e| Error::internal(e.to_string()))?;
                atoll_store::Write::Upsert(atoll_store::Row {
                    table,
                    key: text,
                    bytes,
                })
            }
            Change::Delete(_) => atoll_store::Write::Delete { table, key: text },
        })
    };
    Ok(atoll_store::Delta {
        writes: delta.changes.iter().map(write).collect::<Result<_, Error>>()?,
    })
}

/// Reads a region from its store; indexes are derived anew.
///
/// # Errors
/// When the store or a row cannot be read.
pub fn load(store: &dyn Store, config: &Config) -> Result<Region, LoadError> {
    let snapshot = store.load()?;
    let rows = snapshot.rows.iter().map(|row| {
        Row::decode(&row.table, &row.bytes).map_err(|source| LoadError::Row {
            table: row.table.clone(),
            key: String::from_utf8_lossy(&row.key).into_owned(),
            source,
        })
    });
    let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
    Ok(Region::load(config.clone(), Revision(snapshot.revision), rows))
}
