//! The contract every store keeps.

use crate::{Delta, Row, StoreError, Watch};

/// How many deltas a store has made durable since it was created: the first delta makes revision 1.
pub type Revision = u64;

/// Everything a store holds, at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The revision the rows stand at.
    pub revision: Revision,
    /// The rows, ascending by table and key.
    pub rows: Vec<Row>,
}

/// A place where deltas become durable.
///
/// The laws, which `tests/` hold for every implementation:
/// - after `commit` returns `Ok`, `load` by any later process gives the deltas' effect;
/// - after an error other than [`StoreError::OutcomeUnknown`], nothing of the deltas is in the store;
/// - after `OutcomeUnknown` either all of them are or none, and `load` tells which;
/// - a watcher sees a delta only once it is durable, and every delta once, in order.
pub trait Store: Send + Sync {
    /// Reads every row. Also the way back after [`StoreError::OutcomeUnknown`].
    ///
    /// # Errors
    /// When the store cannot be read.
    fn load(&self) -> Result<Snapshot, StoreError>;

    /// Makes all of `deltas` durable in order, or none of them, with one sync, provided the store
    /// stands at `expected`. Returns the new revision, `expected + deltas.len()`. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the store stands elsewhere; a bound's error when a delta is too
    /// large; else see the laws above.
    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError>;

    /// Follows what is committed after revision `from`.
    fn watch(&self, from: Revision) -> Watch;
}
