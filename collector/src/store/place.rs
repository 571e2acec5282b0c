//! Where a record belongs in its stream: known, next, or late. A stream's head and its gaps decide it; no look at the
//! records themselves.

use rusqlite::{Connection, OptionalExtension, params};

use super::session::Head;
use super::sql;

/// The place of a new record in its stream.
pub(super) enum Place {
    /// At the head, or beyond it: then what lies between is missing.
    Head,
    /// Inside the missing stretch `[expected, found)`.
    Gap { expected: u64, found: u64 },
}

impl Place {
    /// `None` when the record has arrived before.
    pub(super) fn find(connection: &Connection, head: &Head, sequence: u64) -> rusqlite::Result<Option<Self>> {
        if sequence >= head.next_sequence {
            return Ok(Some(Self::Head));
        }
        if !head.may_have_gaps {
            return Ok(None);
        }
        let around = connection
            .prepare_cached(
                "SELECT expected_sequence, found_sequence, cause = 'missing' FROM gap \
                 WHERE stream_key = ?1 AND expected_sequence <= ?2 ORDER BY expected_sequence DESC LIMIT 1",
            )?
            .query_row(params![head.stream_key, sql::integer(sequence)], |row| {
                Ok((sql::unsigned(row, 0)?, sql::unsigned(row, 1)?, row.get::<_, bool>(2)?))
            })
            .optional()?;
        Ok(around
            .filter(|(_, found, is_missing)| sequence < *found && *is_missing)
            .map(|(expected, found, _)| Self::Gap { expected, found }))
    }

    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Gap { .. })
    }

    /// Marks the place as taken: moves the head on, or narrows or splits the gap.
    pub(super) fn occupy(&self, connection: &Connection, head: &mut Head, sequence: u64) -> rusqlite::Result<()> {
        match *self {
            Self::Head => {
                if sequence > head.next_sequence {
                    insert_gap(connection, head.stream_key, head.next_sequence, sequence, "missing")?;
                    head.may_have_gaps = true;
                }
                head.next_sequence = sequence + 1;
            }
            Self::Gap { expected, found } => {
                connection
                    .prepare_cached("DELETE FROM gap WHERE stream_key = ?1 AND expected_sequence = ?2")?
                    .execute(params![head.stream_key, sql::integer(expected)])?;
                for (expected, found) in [(expected, sequence), (sequence + 1, found)] {
                    if expected < found {
                        insert_gap(connection, head.stream_key, expected, found, "missing")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Writes down that sequences `[expected, found)` hold no record.
pub(super) fn insert_gap(
    connection: &Connection,
    stream_key: i64,
    expected: u64,
    found: u64,
    cause: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gap (stream_key, expected_sequence, found_sequence, cause) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![stream_key, sql::integer(expected), sql::integer(found), cause])?;
    Ok(())
}
