//! Stores for tests: one that fails where it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Delta, Revision, Snapshot, Store, StoreError, Watch};

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and the caller is told so.
    NotWritten,
    /// Nothing is written, and the caller is told that this is not known.
    UnknownNotWritten,
    /// Everything is written, and the caller is told that this is not known.
    UnknownWritten,
}

/// A store that fails once, at its n-th commit.
#[derive(Debug)]
pub struct Failing<S> {
    inner: S,
    fail_at: u64,
    fault: Fault,
    commits: AtomicU64,
}

impl<S: Store> Failing<S> {
    /// Wraps `inner`; the commit number `fail_at`, counted from 1, fails with `fault`.
    pub fn new(inner: S, fail_at: u64, fault: Fault) -> Self {
        Self {
            inner,
            fail_at,
            fault,
            commits: AtomicU64::new(0),
        }
    }

    /// How many commits were tried.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The store underneath.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Store> Store for Failing<S> {
    fn load(&self) -> Result<Snapshot, StoreError> {
        self.inner.load()
    }

    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.fail_at {
            return self.inner.commit(expected, deltas);
        }
        let why = format!("commit {number} was told to fail");
        match self.fault {
            Fault::NotWritten => Err(StoreError::NotWritten { why }),
            Fault::UnknownNotWritten => Err(StoreError::OutcomeUnknown { why }),
            Fault::UnknownWritten => {
                self.inner.commit(expected, deltas)?;
                Err(StoreError::OutcomeUnknown { why })
            }
        }
    }

    fn watch(&self, from: Revision) -> Watch {
        self.inner.watch(from)
    }
}
