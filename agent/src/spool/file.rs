//! The SQLite file behind the spool. Blocking; used by the spool's thread only.

use std::fs::TryLockError;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use rusqlite::{Connection, ErrorCode, params};
use tinywatt_proto::ids::BootId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use super::{AppendError, OpenError, Page, SpoolBroken, SpoolConfig};

/// Pages of 4 KiB in the write-ahead log before they are synced into the file. A commit of one batch touches about
/// four, so a channel with four batches a second syncs every eight seconds: that much a power cut can take.
pub(super) const CHECKPOINT_PAGES: u32 = 128;

/// Part of the limit that batches leave free for markers, probes and outcomes, which cost little and explain much. Health
/// leaves it free too: it goes on for as long as an outage does, and is the record that may be left out. What it takes
/// of the rest pushes out no samples: about a megabyte a day, where one channel at 1 kHz takes four hundred.
const RESERVE_DIVISOR: u64 = 8;

/// Bytes of facts in a page. A batch has about 2 KB, so a page of the link's 128 records rarely meets this.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// "TWSP": marks the file as ours.
const APPLICATION_ID: i64 = 0x5457_5350;
const VERSION: i64 = 1;

/// `AUTOINCREMENT`, because a delivery id must not come back after its record was deleted.
const SCHEMA: &str = "
CREATE TABLE record (
    delivery_id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot BLOB NOT NULL CHECK (length(boot) = 16),
    stream INTEGER NOT NULL CHECK (stream >= -1),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    fact BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX record_key ON record (boot, stream, sequence);
CREATE TABLE stream (
    boot BLOB NOT NULL CHECK (length(boot) = 16),
    stream INTEGER NOT NULL CHECK (stream >= -1),
    next_sequence INTEGER NOT NULL CHECK (next_sequence > 0),
    PRIMARY KEY (boot, stream)
) STRICT, WITHOUT ROWID;
";

/// The open file and the lock on its folder.
#[derive(Debug)]
pub(super) struct File {
    connection: Connection,
    dir: PathBuf,
    size_bytes_max: u64,
    last_delivery_id: u64,
    _lock: std::fs::File,
}

/// Which sequence a record counts in: -1 for everything but batches, else the channel's index.
fn stream(fact: &Fact) -> i64 {
    match fact {
        Fact::Batch(batch) => batch.channel.into(),
        _ => -1,
    }
}

impl File {
    pub(super) fn open(dir: &Path, config: &SpoolConfig) -> Result<Self, OpenError> {
        make_folder(dir)?;
        let lock = lock(dir)?;
        let file = dir.join("spool.db");
        let opened = connect(&file).map_err(|error| explain(dir, &file, error))?;
        let (application, version) = opened.identity;
        if (application, version) != (APPLICATION_ID, VERSION) {
            if application == APPLICATION_ID && version > VERSION {
                return Err(OpenError::Version { file, version, known: VERSION });
            }
            return Err(OpenError::Corrupt { file, source: None });
        }
        let connection = opened.connection;
        let last_delivery_id = prepare(&connection).map_err(|error| explain(dir, &file, error))?;
        let size_bytes_max = config.size_bytes_max;
        Ok(Self { connection, dir: dir.to_owned(), size_bytes_max, last_delivery_id, _lock: lock })
    }

    pub(super) fn last_delivery_id(&self) -> u64 {
        self.last_delivery_id
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")
    }

    /// Undoes what was not committed. SQLite may have done so itself, so a failure says nothing.
    pub(super) fn roll_back(&mut self, last_delivery_id: u64) {
        let _ = self.connection.execute_batch("ROLLBACK");
        self.last_delivery_id = last_delivery_id;
    }

    /// Appends within the open transaction. After [`AppendError::Full`] the transaction is as before, after any other
    /// error it must be rolled back.
    pub(super) fn append(&mut self, boot: BootId, facts: &[Fact]) -> Result<u64, AppendError> {
        let broken = |error| failed(&self.dir, error);
        let used = self.used_bytes().map_err(broken)?;
        let reserve = self.size_bytes_max / RESERVE_DIVISOR;
        let leaves_reserve = facts.iter().any(|fact| matches!(fact, Fact::Batch(_) | Fact::Health(_)));
        let limit = if leaves_reserve { self.size_bytes_max - reserve } else { self.size_bytes_max };
        let bytes: Vec<_> = facts.iter().map(encode).collect();
        let added: u64 = bytes.iter().map(|fact| fact.len() as u64).sum();
        if used.saturating_add(added) > limit {
            return Err(AppendError::Full { dir: self.dir.clone(), size_bytes_max: self.size_bytes_max });
        }
        let delivery_id = self.insert(boot, facts, &bytes).map_err(broken)?;
        self.last_delivery_id = delivery_id.max(self.last_delivery_id);
        Ok(delivery_id)
    }

    fn insert(&self, boot: BootId, facts: &[Fact], bytes: &[Vec<u8>]) -> rusqlite::Result<u64> {
        let mut number = self.connection.prepare_cached(
            "INSERT INTO stream (boot, stream, next_sequence) VALUES (?1, ?2, 1)
             ON CONFLICT DO UPDATE SET next_sequence = next_sequence + 1 RETURNING next_sequence - 1",
        )?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO record (boot, stream, sequence, fact) VALUES (?1, ?2, ?3, ?4)")?;
        let boot = boot.as_bytes();
        for (fact, bytes) in facts.iter().zip(bytes) {
            let stream = stream(fact);
            let sequence: i64 = number.query_row(params![boot, stream], |row| row.get(0))?;
            insert.execute(params![boot, stream, sequence, bytes])?;
        }
        Ok(u64::try_from(self.connection.last_insert_rowid()).unwrap_or(0))
    }

    pub(super) fn read(&self, after: u64, record_count_max: usize) -> rusqlite::Result<Page> {
        let mut query = self.connection.prepare_cached(
            "SELECT delivery_id, boot, sequence, fact FROM record WHERE delivery_id > ?1 ORDER BY delivery_id LIMIT ?2",
        )?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(record_count_max).unwrap_or(i64::MAX);
        let mut rows = query.query(params![after, limit])?;
        let mut page = Page::default();
        let mut page_bytes = 0;
        while let Some(row) = rows.next()? {
            let fact = row.get_ref(3)?.as_blob()?;
            let mut record = v1::Record::decode(fact).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Blob, error.into())
            })?;
            record.delivery_id = row.get::<_, i64>(0)?.unsigned_abs();
            record.boot_id = row.get(1)?;
            record.sequence = row.get::<_, i64>(2)?.unsigned_abs();
            page_bytes += fact.len();
            page.records.push(record);
            if page_bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    /// Deletes within the open transaction.
    pub(super) fn acknowledge(&self, through: u64) -> rusqlite::Result<()> {
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        self.connection.prepare_cached("DELETE FROM record WHERE delivery_id <= ?1")?.execute([through]).map(drop)
    }

    /// Bytes of the file in use. Pages freed by acknowledgements are used again, so they do not count.
    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok(pages.unsigned_abs() * pragma("page_size")?.unsigned_abs())
    }
}

/// What an error of SQLite means for an append.
pub(super) fn failed(dir: &Path, error: rusqlite::Error) -> AppendError {
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        AppendError::DiskFull { dir: dir.to_owned() }
    } else {
        AppendError::Broken(SpoolBroken::new(dir, error))
    }
}

/// The fact as a record without its keys, which are columns.
fn encode(fact: &Fact) -> Vec<u8> {
    v1::Record { fact: Some(fact.clone()), ..v1::Record::default() }.encode_to_vec()
}

fn make_folder(dir: &Path) -> Result<(), OpenError> {
    if dir.exists() && !dir.is_dir() {
        return Err(OpenError::NotAFolder { dir: dir.to_owned() });
    }
    std::fs::create_dir_all(dir).map_err(|source| OpenError::MakeFolder { dir: dir.to_owned(), source })
}

/// Takes the folder's lock, which the system releases however the process ends, and leaves our process id in it.
fn lock(dir: &Path) -> Result<std::fs::File, OpenError> {
    let not_writable = |source| OpenError::NotWritable { dir: dir.to_owned(), source };
    let options = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).to_owned();
    let mut lock = options.open(dir.join("lock")).map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(not_writable(source)),
    }
    let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            Err(OpenError::DiskFull { dir: dir.to_owned() })
        }
        Err(source) => Err(not_writable(source)),
        Ok(()) => Ok(lock),
    }
}

struct Opened {
    connection: Connection,
    /// Application id and version.
    identity: (i64, i64),
}

/// Opens the file, and makes it when it is empty.
fn connect(file: &Path) -> rusqlite::Result<Opened> {
    let connection = Connection::open(file)?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let table_count: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let mut identity = (number("application_id")?, number("user_version")?);
    let is_empty = table_count == 0 && identity == (0, 0);
    if !is_empty && identity != (APPLICATION_ID, VERSION) {
        // Refused by the caller. The log's mode would be written into a file that is not ours.
        return Ok(Opened { connection, identity });
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if is_empty {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
        ))?;
        identity = (APPLICATION_ID, VERSION);
    }
    Ok(Opened { connection, identity })
}

/// Forgets the counters of earlier boots whose records are all delivered (a boot id never comes back) and gives the
/// last delivery id.
fn prepare(connection: &Connection) -> rusqlite::Result<u64> {
    connection.execute("DELETE FROM stream WHERE boot NOT IN (SELECT boot FROM record)", [])?;
    let last: Option<i64> =
        connection.query_row("SELECT max(seq) FROM sqlite_sequence WHERE name = 'record'", [], |row| row.get(0))?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

fn explain(dir: &Path, file: &Path, error: rusqlite::Error) -> OpenError {
    let io = |text: &str| std::io::Error::other(text.to_owned());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Corrupt { file: file.to_owned(), source: Some(error) }
        }
        Some(ErrorCode::DiskFull) => OpenError::DiskFull { dir: dir.to_owned() },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            OpenError::NotWritable { dir: dir.to_owned(), source: io(&error.to_string()) }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Locked { dir: dir.to_owned(), holder: None }
        }
        _ => OpenError::Sqlite { file: file.to_owned(), source: error },
    }
}
