//! Rows, changes of rows, and how large a change may be.

use std::collections::BTreeSet;

use crate::StoreError;

/// The most rows one delta may change: etcd's default bound on operations in a transaction.
pub const MAX_DELTA_ROWS: usize = 128;
/// The most bytes one delta may carry, tables' names and keys included: etcd's default request bound.
pub const MAX_DELTA_BYTES: usize = 3 * 512 * 1024;
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest table name, in bytes.
pub const MAX_TABLE_BYTES: usize = 64;

/// One stored row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The table the row is in.
    pub table: String,
    /// Its key, unique in the table.
    pub key: Vec<u8>,
    /// What it holds; bytes to the store.
    pub bytes: Vec<u8>,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The row is as given from now on, whether or not it was there.
    Upsert(Row),
    /// The row is gone from now on; one that was not there stays so.
    Delete {
        /// The table the row was in.
        table: String,
        /// Its key.
        key: Vec<u8>,
    },
}

impl Write {
    /// The table and key this write is about.
    pub fn address(&self) -> (&str, &[u8]) {
        match self {
            Write::Upsert(row) => (&row.table, &row.key),
            Write::Delete { table, key } => (table, key),
        }
    }

    fn bytes(&self) -> usize {
        let (table, key) = self.address();
        let value = match self {
            Write::Upsert(row) => row.bytes.len(),
            Write::Delete { .. } => 0,
        };
        table.len().saturating_add(key.len()).saturating_add(value)
    }
}

/// What one command changed: the unit of atomicity, and one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// The changes; no row appears twice.
    pub writes: Vec<Write>,
}

impl Delta {
    /// Holds the delta against the bounds.
    ///
    /// # Errors
    /// The first bound it breaks.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.writes.len() > MAX_DELTA_ROWS {
            return Err(StoreError::TooManyRows {
                rows: self.writes.len(),
            });
        }
        let bytes = self
            .writes
            .iter()
            .map(Write::bytes)
            .fold(0, usize::saturating_add);
        if bytes > MAX_DELTA_BYTES {
            return Err(StoreError::TooLarge { bytes });
        }
        let mut seen = BTreeSet::new();
        for write in &self.writes {
            let (table, key) = write.address();
            if table.is_empty() || table.len() > MAX_TABLE_BYTES || key.len() > MAX_KEY_BYTES {
                return Err(StoreError::BadKey {
                    table: table.to_owned(),
                    key_bytes: key.len(),
                });
            }
            if !seen.insert((table, key)) {
                return Err(StoreError::WrittenTwice {
                    table: table.to_owned(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upsert(key: usize, bytes: usize) -> Write {
        Write::Upsert(Row {
            table: "vpc".into(),
            key: key.to_be_bytes().to_vec(),
            bytes: vec![0; bytes],
        })
    }

    #[test]
    fn a_delta_of_128_rows_fits_and_one_of_129_does_not() {
        let delta = |n| Delta {
            writes: (0..n).map(|k| upsert(k, 1)).collect(),
        };
        assert!(delta(128).check().is_ok());
        assert!(matches!(
            delta(129).check(),
            Err(StoreError::TooManyRows { rows: 129 })
        ));
    }

    #[test]
    fn a_delta_of_one_and_a_half_mebibytes_fits_and_one_byte_more_does_not() {
        let room = MAX_DELTA_BYTES - "vpc".len() - 8;
        assert!(
            Delta {
                writes: vec![upsert(0, room)]
            }
            .check()
            .is_ok()
        );
        let over = Delta {
            writes: vec![upsert(0, room + 1)],
        }
        .check();
        assert!(matches!(over, Err(StoreError::TooLarge { bytes }) if bytes == MAX_DELTA_BYTES + 1));
    }

    #[test]
    fn a_row_may_be_written_once_in_a_delta() {
        let twice = Delta {
            writes: vec![
                upsert(7, 1),
                Write::Delete {
                    table: "vpc".into(),
                    key: 7usize.to_be_bytes().to_vec(),
                },
            ],
        };
        assert!(matches!(twice.check(), Err(StoreError::WrittenTwice { .. })));
    }

    #[test]
    fn a_key_over_a_kibibyte_or_a_nameless_table_is_refused() {
        let long = Write::Delete {
            table: "vpc".into(),
            key: vec![0; MAX_KEY_BYTES + 1],
        };
        let nameless = Write::Delete {
            table: String::new(),
            key: vec![0],
        };
        for write in [long, nameless] {
            assert!(matches!(
                Delta { writes: vec![write] }.check(),
                Err(StoreError::BadKey { .. })
            ));
        }
    }
}
