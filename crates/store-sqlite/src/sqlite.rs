//! The store's handle: opening the file, and each method of the contract as a job for the right thread.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{
    Archive, Audit, AuditQuery, AuditRow, Change, Changes, Delivery, Entry, KeyId, Snapshot, Store, StoreFuture, UsageBatch,
    UsageQuery, UsageRow,
};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use crate::hold::{Hold, HoldError};
use crate::schema::{self, MigrateError};
use crate::worker::Worker;
use crate::{archive, ledger, questions};

/// How long a statement waits for a lock another process holds (a backup, a shell). Longer would hold up the delivery of
/// usage behind it; the caller repeats.
const BUSY: Duration = Duration::from_secs(1);

/// A ledger in one SQLite file. Dropping it finishes what was queued and lets the next process in.
pub struct Sqlite {
    // In this order: both connections are closed before the lock is let go.
    writer: Worker,
    reader: Worker,
    _hold: Hold,
}

/// Why the ledger can't be opened. Displays what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    Taken {
        /// The file.
        path: PathBuf,
        /// Whose, as far as known.
        process: Option<u32>,
    },
    /// The folder or a file in it can't be made, read or written.
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A later version of Outgate wrote it.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The last schema known here.
        known: usize,
    },
    /// SQLite can't use it.
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { path, process } => {
                write!(f, "{} is in use by another gateway", path.display())?;
                if let Some(process) = process {
                    write!(f, " (process {process})")?;
                }
                f.write_str(": stop that one first, or give this one a data folder of its own")
            }
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Newer { path, found, known } => write!(
                f,
                "{} was written by a newer version of outgate (schema {found}, this one knows {known}): use that version",
                path.display()
            ),
            Self::Database { path, error } => {
                write!(
                    f,
                    "{} can't be used as a ledger: {error}. If it is damaged, restore it from a backup or move it away",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Database { error, .. } => Some(error),
            Self::Taken { .. } | Self::Newer { .. } => None,
        }
    }
}

impl Sqlite {
    /// Opens the ledger at `path`, creating it and its folder (readable by the owner only) when they are missing, and brings
    /// its schema up to date. Blocks for as long as that takes.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io { path, error }
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io(folder))?;
        }
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let hold = Hold::take(&lock).map_err(|error| match error {
            HoldError::Taken(process) => OpenError::Taken { path: path.to_owned(), process },
            HoldError::Io(error) => OpenError::Io { path: lock.clone(), error },
        })?;
        // SQLite gives its -wal and -shm files the mode of the database; made here first so that the mode isn't the umask's.
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(io(path))?;

        let database = |error| OpenError::Database { path: path.to_owned(), error };
        let mut write = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(database)?;
        write
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
            .map_err(database)?;
        schema::migrate(&mut write).map_err(|error| match error {
            MigrateError::Newer { found, known } => OpenError::Newer { path: path.to_owned(), found, known },
            MigrateError::Sqlite(error) => OpenError::Database { path: path.to_owned(), error },
        })?;
        let read = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(database)?;
        Ok(Self {
            writer: Worker::spawn("ledger-writer", write).map_err(io(path))?,
            reader: Worker::spawn("ledger-reader", read).map_err(io(path))?,
            _hold: hold,
        })
    }
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection stays on its thread, so SQLite needs no mutex of its own.
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

impl Store for Sqlite {
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot> {
        self.reader.run(move |connection| questions::load(connection, now))
    }

    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()> {
        self.writer.run(move |connection| ledger::change(connection, &change, seen, &audit))
    }

    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>> {
        // On the writer: a change may be queued there, and the caller knows of it.
        self.writer.run(move |connection| questions::changes_after(connection, seen, limit))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // The hold keeps everybody else out.
        Box::pin(std::future::pending())
    }

    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>> {
        self.reader.run(move |connection| questions::audit(connection, &query))
    }

    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery> {
        self.writer.run(move |connection| ledger::add_usage(connection, &batch))
    }

    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64> {
        let gateway = gateway.to_owned();
        // On the writer: a batch of this gateway may be queued there, and its number is the answer.
        self.writer.run(move |connection| ledger::last_sequence(connection, &gateway))
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        self.reader.run(move |connection| questions::usage(connection, &query))
    }

    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64> {
        let key = key.clone();
        self.reader.run(move |connection| questions::used_since(connection, key.as_str(), since))
    }
}

impl Archive for Sqlite {
    fn export(&self, entries: mpsc::Sender<Entry>) -> StoreFuture<'_, ()> {
        self.reader.run(move |connection| archive::export(connection, &entries))
    }

    fn import(&self, entries: mpsc::Receiver<Entry>) -> StoreFuture<'_, ()> {
        self.writer.run(move |connection| archive::import(connection, entries, Timestamp::now()))
    }

    fn check(&self) -> StoreFuture<'_, Vec<String>> {
        self.reader.run(move |connection| archive::check(connection, Timestamp::now()))
    }
}
