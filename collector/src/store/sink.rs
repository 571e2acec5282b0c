//! How far a database for dashboards has what is in the store, and what it refused.

use rusqlite::{OptionalExtension, params};

use super::{ReadError, Store, Urgency, WriteError, sql};

/// Refused lines kept of each database, the newest.
const QUARANTINE_COUNT_MAX: u32 = 1_000;

/// Bytes kept of a refused line and of its reason: all of any line that is not broken.
const QUARANTINE_BYTES_MAX: usize = 4 << 10;

/// Everything up to these keys is where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Position {
    /// Key of the last batch.
    pub batch_key: i64,
    /// Key of the last change.
    pub change_key: i64,
}

/// A line that was refused for good, or several of which the database did not say which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// When.
    pub at_unix_ns: u64,
    /// The database's own words.
    pub reason: String,
    /// The line; empty when the database did not say which.
    pub line: String,
    /// Lines it stands for.
    pub line_count: u64,
}

// === impl Store ===

impl Store {
    /// How far a database is, and how many lines it ever refused; at the beginning for one that is new.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn sink_position(&self, target: &str) -> Result<(Position, u64), ReadError> {
        let target = target.to_owned();
        self.read(move |transaction| {
            let row = transaction
                .prepare_cached("SELECT batch_key, change_key, quarantined_count FROM sink WHERE target = ?1")?
                .query_row([target], |row| {
                    Ok((Position { batch_key: row.get(0)?, change_key: row.get(1)? }, sql::unsigned(row, 2)?))
                })
                .optional()?;
            Ok(row.unwrap_or_default())
        })
        .await
    }

    /// Keeps how far a database is.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn set_sink_position(&self, target: &str, position: Position) -> Result<(), WriteError> {
        let target = target.to_owned();
        self.parts
            .writer
            .write(Urgency::CanWait, move |session| {
                session
                    .connection
                    .prepare_cached(
                        "INSERT INTO sink (target, batch_key, change_key) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
                         batch_key = excluded.batch_key, change_key = excluded.change_key",
                    )?
                    .execute(params![target, position.batch_key, position.change_key])
                    .map(|_| ())
            })
            .await
    }

    /// The newest position: that of everything in the store.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn newest_position(&self) -> Result<Position, ReadError> {
        self.read(|transaction| {
            let key = |sql: &str| transaction.prepare_cached(sql)?.query_row([], |row| row.get(0));
            Ok(Position {
                batch_key: key("SELECT coalesce(max(batch_key), 0) FROM batch")?,
                change_key: key("SELECT coalesce(max(change_key), 0) FROM change")?,
            })
        })
        .await
    }

    /// Keeps a refused line and counts it. A repetition of the newest lines of a rebuild is kept and counted again.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn quarantine(&self, target: &str, refused: Quarantined) -> Result<(), WriteError> {
        let target = target.to_owned();
        self.write(move |session| {
            let Quarantined { at_unix_ns, mut reason, mut line, line_count } = refused;
            for text in [&mut reason, &mut line] {
                text.truncate(text.floor_char_boundary(QUARANTINE_BYTES_MAX));
            }
            let connection = &session.connection;
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (target, at_unix_ns, reason, line, line_count) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![target, sql::integer(at_unix_ns), reason, line, sql::integer(line_count)])?;
            connection
                .prepare_cached(
                    "DELETE FROM quarantine WHERE target = ?1 AND quarantine_key <= (SELECT quarantine_key \
                     FROM quarantine WHERE target = ?1 ORDER BY quarantine_key DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![target, QUARANTINE_COUNT_MAX])?;
            connection
                .prepare_cached(
                    "INSERT INTO sink (target, batch_key, change_key, quarantined_count) VALUES (?1, 0, 0, ?2) \
                     ON CONFLICT DO UPDATE SET quarantined_count = quarantined_count + excluded.quarantined_count",
                )?
                .execute(params![target, sql::integer(line_count)])
                .map(|_| ())
        })
        .await
    }

    /// The newest lines that a database refused, newest first.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn quarantined(&self, target: &str, count_max: u32) -> Result<Vec<Quarantined>, ReadError> {
        let target = target.to_owned();
        self.read(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT at_unix_ns, reason, line, line_count FROM quarantine WHERE target = ?1 \
                 ORDER BY quarantine_key DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![target, count_max], |row| {
                Ok(Quarantined {
                    at_unix_ns: sql::unsigned(row, 0)?,
                    reason: row.get(1)?,
                    line: row.get(2)?,
                    line_count: sql::unsigned(row, 3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
