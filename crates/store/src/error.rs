//! What can go wrong on the way to the disk.

use std::path::PathBuf;

use crate::{FORMAT, MAX_DELTA_BYTES, MAX_DELTA_ROWS, MAX_KEY_BYTES, MAX_TABLE_BYTES, Revision};

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("{} is in use by another atoll process; end that one, or name another --data-dir", path.display())]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// A later version wrote the file.
    #[error(
        "{} was written in format {found}, and this atoll reads formats up to {FORMAT}: use the atoll that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        found: u64,
    },
    /// The file is not one of ours.
    #[error("{} holds no atoll data: {why}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What is amiss.
        why: String,
    },
    /// The file could not be opened or read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The store stands at another revision: somebody else wrote.
    #[error("the store stands at revision {found}, and the change was made against revision {expected}")]
    Conflict {
        /// The revision the writer knew.
        expected: Revision,
        /// The revision the store has.
        found: Revision,
    },
    /// Too many rows in one delta.
    #[error("a change of {rows} rows is over the bound of {MAX_DELTA_ROWS} rows")]
    TooManyRows {
        /// How many it had.
        rows: usize,
    },
    /// Too many bytes in one delta.
    #[error("a change of {bytes} bytes is over the bound of {MAX_DELTA_BYTES} bytes")]
    TooLarge {
        /// How many it had.
        bytes: usize,
    },
    /// A table's name or a key is outside its bounds.
    #[error(
        "a row of table {table:?} with a key of {key_bytes} bytes: a table's name has 1 to {MAX_TABLE_BYTES} bytes and a key at most {MAX_KEY_BYTES}"
    )]
    BadKey {
        /// The table named.
        table: String,
        /// The key's length.
        key_bytes: usize,
    },
    /// One delta writes one row twice.
    #[error("a change writes one row of table {table:?} twice")]
    WrittenTwice {
        /// The table.
        table: String,
    },
    /// Nothing was written.
    #[error("the change was not written: {why}")]
    NotWritten {
        /// What the system said.
        why: String,
    },
    /// The write was under way when it failed: all of it is in the store or nothing. Load again.
    #[error("it is not known whether the change was written: {why}")]
    OutcomeUnknown {
        /// What the system said.
        why: String,
    },
}

impl StoreError {
    /// Whether the writer must load again to learn what the store holds.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, StoreError::OutcomeUnknown { .. })
    }
}
