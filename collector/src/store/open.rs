//! Opening: the folder, its lock, the file and its layout. Looks at no row, so that a large store opens as fast as an
//! empty one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::migrate;
use crate::artifacts::ArtifactError;

/// Name of the database in the store's folder.
pub const DATABASE_NAME: &str = "tinywatt.db";

/// Name of the lock in the store's folder.
const LOCK_NAME: &str = "collector.lock";

/// How long a statement waits for another program that holds the database, a backup or a shell. Agents keep their
/// records meanwhile.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages of the write-ahead log after which it is copied into the file: 4 MiB. Recovery after a crash reads the log
/// once, so this also bounds how long that takes.
const CHECKPOINT_PAGES: i64 = 1_000;

/// Prepared statements a connection keeps; all of ours together are fewer.
const STATEMENT_COUNT: usize = 64;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not there and cannot be made.
    #[error("failed to make the store's folder {folder}: name another one, or let this user write there")]
    Folder {
        /// Folder of the store.
        folder: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be written to.
    #[error("failed to write to the store's folder {folder}: let this user write there, or name another folder")]
    NotWritable {
        /// Folder of the store.
        folder: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Another collector has it.
    #[error(
        "the store in {folder} is in use by another collector (process {process}): stop that one, or name another folder"
    )]
    Locked {
        /// Folder of the store.
        folder: PathBuf,
        /// Process id it left in the lock file.
        process: String,
    },
    /// The file is something else.
    #[error("{path} is not a store of tinywatt: move it away, or name another folder")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer program.
    #[error(
        "{path} has layout {found}, this program knows layouts up to {known}: use the newer collector that wrote it"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Layout of the file.
        found: i64,
        /// Newest layout of this program.
        known: i64,
    },
    /// SQLite failed.
    #[error("failed to open the store {path}: check the disk, or restore the file from a copy")]
    Database {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread that writes could not be started.
    #[error("failed to start the store's writer thread")]
    Thread(#[source] io::Error),
    /// The folder of artifacts is unusable.
    #[error("failed to prepare the artifacts in {folder}")]
    Artifacts {
        /// Folder of the store.
        folder: PathBuf,
        /// Cause.
        #[source]
        source: ArtifactError,
    },
}

/// Takes the folder for this process. The lock is held until the file is closed, also by a crash.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })?;
    let not_writable = |source| OpenError::NotWritable { folder: folder.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK_NAME))
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // For people only: an unreadable id is left out.
            let _ = file.read_to_string(&mut process);
            return Err(OpenError::Locked { folder: folder.to_owned(), process: process.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(not_writable(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(not_writable)?;
    Ok(file)
}

/// Opens the connection that writes and brings the file to the known layout.
///
/// `synchronous = FULL`: every commit is on the disk before it is acknowledged, because an agent deletes what is
/// acknowledged. `NORMAL` would survive a killed process but not a power cut. Group commit shares the flush between
/// all nodes: with 20 of them live the bench `ingest` shows 0.74 to 0.91 µs of CPU per sample, against 0.75 with
/// `NORMAL`; when nodes catch up there is no difference.
pub(super) fn writer(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
        _ => OpenError::Database { path: path.to_owned(), source },
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let version =
        migrate::version(&connection).map_err(failed)?.ok_or_else(|| OpenError::Foreign { path: path.to_owned() })?;
    let known = migrate::version_known();
    if version > known {
        return Err(OpenError::TooNew { path: path.to_owned(), found: version, known });
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_COUNT);
    migrate::apply(&mut connection, version).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_COUNT);
    Ok(connection)
}
