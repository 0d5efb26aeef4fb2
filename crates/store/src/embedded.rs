//! One file of redb: the default store.
//!
//! Rows stand in one redb table keyed by (table, key); a second one holds the format and the revision.
//! A commit is one redb transaction with immediate durability, that is, one sync however many deltas
//! it carries. After an I/O error redb refuses further work, so the file is opened again by the next
//! `load`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
    TableError,
};

use crate::feed::Feed;
use crate::{Delta, Revision, Row, Snapshot, Store, StoreError, Watch, Write};

/// The format this version writes. A file that says a higher one is refused.
pub const FORMAT: u64 = 1;

const ROWS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";

type Backend = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

/// A store in one file, held by one process.
pub struct Embedded {
    path: PathBuf,
    open: Backend,
    /// `None` after an I/O error, until the next `load`.
    database: Mutex<Option<Database>>,
    feed: Feed,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the file, or makes it with mode 0600. The directory must exist.
    ///
    /// # Errors
    /// [`StoreError::AlreadyOpen`], [`StoreError::NewerFormat`], [`StoreError::NotAStore`], or
    /// [`StoreError::Unreadable`] with what the system said.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let file = path.clone();
        Self::open_by(path, Box::new(move || open_file(&file)))
    }

    /// Opens a store on a redb backend of the caller's: how tests inject faults under redb itself.
    /// `backend` is called again when the store is reopened after an I/O error.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let path = PathBuf::from("(backend)");
        let named = path.clone();
        Self::open_by(
            path,
            Box::new(move || {
                let database = Database::builder().create_with_backend(backend());
                database.map_err(|e| database_error(&named, e))
            }),
        )
    }

    fn open_by(path: PathBuf, open: Backend) -> Result<Self, StoreError> {
        let database = open()?;
        let revision = prepare(&path, &database)?;
        let feed = Feed::default();
        feed.restart(revision);
        Ok(Self {
            path,
            open,
            database: Mutex::new(Some(database)),
            feed,
        })
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, why: impl ToString) -> StoreError {
        StoreError::Unreadable {
            path: self.path.clone(),
            why: why.to_string(),
        }
    }

    fn read(&self, database: &Database) -> Result<Snapshot, StoreError> {
        let read = database.begin_read().map_err(|e| self.unreadable(e))?;
        let meta = read.open_table(META).map_err(|e| self.unreadable(e))?;
        let revision = meta.get(META_REVISION).map_err(|e| self.unreadable(e))?;
        let revision = revision.map_or(0, |value| value.value());
        let table = read.open_table(ROWS).map_err(|e| self.unreadable(e))?;
        let mut rows = Vec::new();
        for entry in table.iter().map_err(|e| self.unreadable(e))? {
            let (address, bytes) = entry.map_err(|e| self.unreadable(e))?;
            let (table, key) = address.value();
            rows.push(Row {
                table: table.to_owned(),
                key: key.to_vec(),
                bytes: bytes.value().to_vec(),
            });
        }
        Ok(Snapshot { revision, rows })
    }
}

impl Store for Embedded {
    fn load(&self) -> Result<Snapshot, StoreError> {
        let mut held = self.database();
        let database = match held.take() {
            Some(database) => database,
            None => {
                let database = (self.open)()?;
                prepare(&self.path, &database)?;
                database
            }
        };
        let snapshot = self.read(&database)?;
        *held = Some(database);
        self.feed.restart(snapshot.revision);
        Ok(snapshot)
    }

    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError> {
        deltas.iter().try_for_each(Delta::check)?;
        let mut held = self.database();
        let Some(database) = held.as_ref() else {
            return Err(StoreError::NotWritten {
                why: "the file was closed after an earlier failure and has not been loaded again".into(),
            });
        };
        match write(database, expected, &deltas) {
            Ok(revision) => {
                // Published under the lock, so that followers see commits in their order.
                self.feed.publish(deltas);
                Ok(revision)
            }
            Err(error @ StoreError::Conflict { .. }) => Err(error),
            Err(error) => {
                // redb answers PreviousIo to everything from now on; the next load opens it again.
                *held = None;
                Err(error)
            }
        }
    }

    fn watch(&self, from: Revision) -> Watch {
        self.feed.watch(from)
    }
}

fn write(database: &Database, expected: Revision, deltas: &[Delta]) -> Result<Revision, StoreError> {
    fn before(error: impl ToString) -> StoreError {
        StoreError::NotWritten {
            why: error.to_string(),
        }
    }
    let transaction = database.begin_write().map_err(before)?;
    let revision = expected.saturating_add(deltas.len() as u64);
    {
        let mut meta = transaction.open_table(META).map_err(before)?;
        let found = meta
            .get(META_REVISION)
            .map_err(before)?
            .map_or(0, |value| value.value());
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        let mut rows = transaction.open_table(ROWS).map_err(before)?;
        for write in deltas.iter().flat_map(|delta| &delta.writes) {
            match write {
                Write::Upsert(row) => {
                    rows.insert((row.table.as_str(), row.key.as_slice()), row.bytes.as_slice())
                        .map_err(before)?;
                }
                Write::Delete { table, key } => {
                    rows.remove((table.as_str(), key.as_slice())).map_err(before)?;
                }
            }
        }
        meta.insert(META_REVISION, revision).map_err(before)?;
    }
    // From here on the bytes may have reached the disk even if an error comes back.
    transaction
        .commit()
        .map_err(|e| StoreError::OutcomeUnknown { why: e.to_string() })?;
    Ok(revision)
}

/// Checks the format of a file, or writes it into a new one. Returns the revision.
fn prepare(path: &Path, database: &Database) -> Result<Revision, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable {
        path: path.to_path_buf(),
        why,
    };
    let read = database.begin_read().map_err(|e| unreadable(e.to_string()))?;
    match read.open_table(META) {
        Ok(meta) => {
            let get = |key| {
                let value = meta
                    .get(key)
                    .map_err(|e: StorageError| unreadable(e.to_string()))?;
                Ok::<_, StoreError>(value.map(|value| value.value()))
            };
            let Some(found) = get(META_FORMAT)? else {
                return Err(StoreError::NotAStore {
                    path: path.to_path_buf(),
                    why: "it does not say which format it has".into(),
                });
            };
            if found > FORMAT {
                return Err(StoreError::NewerFormat {
                    path: path.to_path_buf(),
                    found,
                });
            }
            Ok(get(META_REVISION)?.unwrap_or(0))
        }
        Err(TableError::TableDoesNotExist(_)) => {
            let mut tables = read.list_tables().map_err(|e| unreadable(e.to_string()))?;
            if tables.next().is_some() {
                return Err(StoreError::NotAStore {
                    path: path.to_path_buf(),
                    why: "it is another program's redb file".into(),
                });
            }
            let create = || -> Result<(), redb::Error> {
                let transaction = database.begin_write()?;
                {
                    let mut meta = transaction.open_table(META)?;
                    meta.insert(META_FORMAT, FORMAT)?;
                    meta.insert(META_REVISION, 0)?;
                    transaction.open_table(ROWS)?;
                }
                transaction.commit()?;
                Ok(())
            };
            create().map_err(|e| unreadable(e.to_string()))?;
            Ok(0)
        }
        Err(e) => Err(StoreError::NotAStore {
            path: path.to_path_buf(),
            why: e.to_string(),
        }),
    }
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    let unreadable = |e: std::io::Error| StoreError::Unreadable {
        path: path.to_path_buf(),
        why: e.to_string(),
    };
    if !path.try_exists().map_err(unreadable)? {
        create_file(path)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(unreadable)?;
    // The rows hold user data and tags: an older, wider mode is narrowed.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(unreadable)?;
    database_on(path, file)
}

/// Makes a whole new file beside `path` and gives it its name last, so that a process killed at any
/// moment leaves either no file or one that opens.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let unreadable = |e: std::io::Error| StoreError::Unreadable {
        path: path.to_path_buf(),
        why: e.to_string(),
    };
    let unfinished = path.with_extension("unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unreadable(e)),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(unreadable)?;
    let database = database_on(&unfinished, file)?;
    prepare(&unfinished, &database)?;
    drop(database);
    // A link, unlike a rename, never replaces a file that another process made meanwhile.
    std::fs::hard_link(&unfinished, path).map_err(unreadable)?;
    std::fs::remove_file(&unfinished).map_err(unreadable)?;
    // The name is durable only once its directory is.
    match path.parent().filter(|d| !d.as_os_str().is_empty()) {
        Some(directory) => File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(unreadable),
        None => Ok(()),
    }
}

fn database_on(path: &Path, file: File) -> Result<Database, StoreError> {
    let backend = FileBackend::new(file).map_err(|e| database_error(path, e))?;
    Database::builder()
        .create_with_backend(backend)
        .map_err(|e| database_error(path, e))
}

fn database_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::AlreadyOpen { path }
        }
        DatabaseError::UpgradeRequired(_) => StoreError::NotAStore {
            path,
            why: error.to_string(),
        },
        DatabaseError::Storage(StorageError::Corrupted(why)) => StoreError::NotAStore { path, why },
        other => StoreError::Unreadable {
            path,
            why: other.to_string(),
        },
    }
}
