//! Where a change becomes durable, and from where it is watched.
//!
//! A [`Store`] keeps *rows*: a table's name, a key, and bytes it does not look into. It loads all of
//! them, commits [`Delta`]s atomically and durably at an expected [`Revision`], and lets others follow
//! what was committed. It knows nothing of VPCs, and nothing here may: what a row means is `region`'s.
//!
//! - [`Embedded`]: one file of redb, synced before a commit returns. One process at a time.
//! - [`Memory`]: the same contract, nothing kept: `atoll serve --ephemeral`.
//! - [`testing::Failing`]: wraps another store and fails where a test tells it to.
//!
//! Start at [`Store`] (`store.rs`), then `embedded.rs`. `delta.rs` holds the bounds, which are etcd's,
//! so that what fits one store fits the other.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod delta;
mod embedded;
mod error;
mod feed;
mod memory;
mod store;
pub mod testing;

pub use delta::{Delta, MAX_DELTA_BYTES, MAX_DELTA_ROWS, MAX_KEY_BYTES, MAX_TABLE_BYTES, Row, Write};
pub use embedded::{Embedded, FORMAT};
pub use error::StoreError;
pub use feed::{Committed, Lagged, Watch};
pub use memory::Memory;
pub use store::{Revision, Snapshot, Store};
