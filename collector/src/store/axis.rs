//! The time axis of each boot in databases that count in Unix time: one offset for ever.
//!
//! An offset that followed the clock would write a repeated batch to other instants than before, and stretch intervals.
//! So the first offset that is known stays, and how far it is off by now is told beside the samples (series `clock`).

use rusqlite::{OptionalExtension, params};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

use super::reader::Failure;
use super::{ReadError, Store, WriteError, sql};
use crate::clock_fit;

/// Probes that place an axis: the first ones, a link sends them in quick succession.
const PROBE_COUNT_MAX: u32 = 64;

/// Unix time less monotonic time of one boot, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The offset.
    pub offset_ns: i64,
}

impl Axis {
    /// Unix time of an instant, ns; exact, and kept within what a database holds.
    pub fn unix_ns(self, at: MonoNs) -> i64 {
        i64::try_from(i128::from(at.0) + i128::from(self.offset_ns)).unwrap_or(i64::MAX)
    }
}

/// What an offset rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    Probe,
    Attempt,
    Arrival,
}

impl Basis {
    fn word(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Attempt => "attempt",
            Self::Arrival => "arrival",
        }
    }
}

/// What is known of a boot that has no axis yet.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    basis: Basis,
    offset_ns: i64,
}

/// Whether a boot can be placed on Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is.
    At(Axis),
    /// Its agent is there and will probe.
    NotYet,
}

// === impl Store ===

impl Store {
    /// The axis of a boot, made when it has none.
    ///
    /// Without a probe, a recording begins where its attempt was started, and whatever else ends now. A boot whose agent
    /// is still connected is waited for instead, unless `is_late`.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn axis(&self, boot_key: i64, now_unix_ns: u64, is_late: bool) -> Result<Placed, AxisError> {
        enum Known {
            Axis(Axis),
            Wanted(Wanted),
            NotYet,
        }
        let known = self
            .read(move |transaction| {
                let axis = transaction
                    .prepare_cached("SELECT offset_ns FROM axis WHERE boot_key = ?1")?
                    .query_row([boot_key], |row| row.get(0))
                    .optional()?;
                if let Some(offset_ns) = axis {
                    return Ok(Known::Axis(Axis { offset_ns }));
                }
                if let Some(wanted) = by_probes(transaction, boot_key)? {
                    return Ok(Known::Wanted(wanted));
                }
                if let Some(wanted) = by_attempt(transaction, boot_key)? {
                    return Ok(Known::Wanted(wanted));
                }
                if is_newest_registration(transaction, boot_key)? && !is_late {
                    return Ok(Known::NotYet);
                }
                Ok(Known::Wanted(by_arrival(transaction, boot_key, now_unix_ns)?))
            })
            .await?;
        let wanted = match known {
            Known::Axis(axis) => return Ok(Placed::At(axis)),
            Known::NotYet => return Ok(Placed::NotYet),
            Known::Wanted(wanted) => wanted,
        };
        let offset_ns = self.write(move |session| place(&session.connection, boot_key, wanted)).await?;
        Ok(Placed::At(Axis { offset_ns }))
    }
}

/// A boot was not placed.
#[derive(Debug, thiserror::Error)]
pub enum AxisError {
    /// What is known of it could not be read.
    #[error("failed to read what places a boot in time")]
    Read(#[from] ReadError),
    /// Its place could not be kept.
    #[error("failed to keep where a boot is placed in time")]
    Write(#[from] WriteError),
}

fn by_probes(transaction: &rusqlite::Transaction<'_>, boot_key: i64) -> Result<Option<Wanted>, Failure> {
    let mut statement = transaction.prepare_cached(
        "SELECT sent_mono_ns, received_unix_ns, answered_unix_ns, returned_mono_ns FROM clock_probe \
         WHERE boot_key = ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let rows = statement.query_map(params![boot_key, PROBE_COUNT_MAX], probe)?;
    let probes: Vec<_> = rows.collect::<Result<_, _>>()?;
    Ok(clock_fit::fit(&probes).map(|fit| Wanted { basis: Basis::Probe, offset_ns: fit.offset_ns }))
}

/// A row of a probe's four times.
pub(super) fn probe(row: &rusqlite::Row<'_>) -> rusqlite::Result<v1::ClockProbe> {
    Ok(v1::ClockProbe {
        sent_mono_ns: sql::unsigned(row, 0)?,
        received_unix_ns: sql::unsigned(row, 1)?,
        answered_unix_ns: sql::unsigned(row, 2)?,
        returned_mono_ns: sql::unsigned(row, 3)?,
    })
}

/// Where the attempt was started whose samples these are, if they are a recording's: under a boot id under which no agent
/// registered. Before the attempt is assessed it is the one that the node executes.
fn by_attempt(transaction: &rusqlite::Transaction<'_>, boot_key: i64) -> Result<Option<Wanted>, Failure> {
    let first_mono_ns = match first_mono_ns(transaction, boot_key)? {
        Some(first_mono_ns) if !is_newest_registration(transaction, boot_key)? => first_mono_ns,
        _ => return Ok(None),
    };
    let (node, boot) = transaction
        .prepare_cached("SELECT node, boot.boot_id FROM boot JOIN node USING (node_key) WHERE boot_key = ?1")?
        .query_row([boot_key], |row| Ok((row.get::<_, String>(0)?, sql::boot_id(row, 1)?)))?;
    let assessed: Option<i64> = transaction
        .prepare_cached(
            "SELECT started_unix_ns FROM attempt WHERE node = ?1 AND result IS NOT NULL \
             AND json_extract(result, '$.measurement.samples_boot_id') = ?2 LIMIT 1",
        )?
        .query_row(params![node, boot.to_string()], |row| row.get(0))
        .optional()?;
    let executing: Option<i64> = transaction
        .prepare_cached(
            "SELECT attempt.started_unix_ns FROM attempt JOIN run USING (run) WHERE node = ?1 AND result IS NULL \
             AND run.ended_unix_ns IS NULL ORDER BY attempt.started_unix_ns DESC LIMIT 1",
        )?
        .query_row([&node], |row| row.get(0))
        .optional()?;
    let started = assessed.or(executing);
    Ok(started.map(|started| Wanted { basis: Basis::Attempt, offset_ns: started - first_mono_ns }))
}

/// So that the newest samples end now.
fn by_arrival(transaction: &rusqlite::Transaction<'_>, boot_key: i64, now_unix_ns: u64) -> Result<Wanted, Failure> {
    let last: Option<i64> = transaction
        .prepare_cached("SELECT max(last_mono_ns) FROM batch JOIN stream USING (stream_key) WHERE boot_key = ?1")?
        .query_row([boot_key], |row| row.get(0))?;
    Ok(Wanted { basis: Basis::Arrival, offset_ns: sql::integer(now_unix_ns) - last.unwrap_or(0) })
}

/// Whether it is the last start of an agent that registered as its node.
fn is_newest_registration(transaction: &rusqlite::Transaction<'_>, boot_key: i64) -> Result<bool, Failure> {
    Ok(transaction
        .prepare_cached("SELECT node.boot_id = boot.boot_id FROM boot JOIN node USING (node_key) WHERE boot_key = ?1")?
        .query_row([boot_key], |row| row.get(0))?)
}

fn first_mono_ns(connection: &rusqlite::Connection, boot_key: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min((SELECT min(first_mono_ns) FROM batch WHERE batch.stream_key = stream.stream_key)) \
             FROM stream WHERE boot_key = ?1",
        )?
        .query_row([boot_key], |row| row.get(0))
}

/// Keeps an offset, moved behind the samples of the node's earlier boots: within a series no instant may come twice, and
/// clocks that drift, or recordings that are played faster than they were taken, would overlap. Live samples and
/// recordings are apart, so that none moves the other.
fn place(connection: &rusqlite::Connection, boot_key: i64, wanted: Wanted) -> rusqlite::Result<i64> {
    let is_recording = wanted.basis == Basis::Attempt;
    let end: Option<i64> = connection
        .prepare_cached(
            "SELECT max(axis.offset_ns + (SELECT max(last_mono_ns) FROM batch WHERE batch.stream_key = stream.stream_key)) \
             FROM axis JOIN boot USING (boot_key) JOIN stream USING (boot_key) \
             WHERE node_key = (SELECT node_key FROM boot WHERE boot_key = ?1) AND (axis.basis = 'attempt') = ?2",
        )?
        .query_row(params![boot_key, is_recording], |row| row.get(0))?;
    let first_mono_ns = first_mono_ns(connection, boot_key)?;
    let after = end.zip(first_mono_ns).map_or(i64::MIN, |(end, first_mono_ns)| end + 1 - first_mono_ns);
    connection
        .prepare_cached(
            "INSERT INTO axis (boot_key, basis, offset_ns) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET basis = basis RETURNING offset_ns",
        )?
        .query_row(params![boot_key, wanted.basis.word(), wanted.offset_ns.max(after)], |row| row.get(0))
}
