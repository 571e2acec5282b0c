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
    /// What will place it may still arrive.
    NotYet {
        /// Records of it that have arrived: as long as that grows, more do.
        record_count: i64,
    },
}

/// How long a boot has been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Not yet.
    No,
    /// As long as its first samples take.
    Briefly,
    /// As long as whatever could place it may take.
    Long,
}

/// Farthest that an axis is moved: a clock that was wrong by more shall not push all later starts of a node with it.
const MOVE_MAX_NS: i64 = 3_600_000_000_000;

// === impl Store ===

impl Store {
    /// The axis of a boot, made when it has none.
    ///
    /// Its first clock probes place it. Without one it is a recording, which begins where its attempt was started, as its
    /// markers tell. Probes and markers come behind the samples, so they are waited for; in the end its samples end now, or
    /// before the node's next start.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn axis(&self, boot_key: i64, now_unix_ns: u64, waited: Waited) -> Result<Placed, AxisError> {
        enum Known {
            Axis(Axis),
            Wanted(Wanted),
            NotYet { record_count: i64 },
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
                // Where it begins is known with its first batch, which a sensor may never give.
                let has_begun = waited != Waited::No || first_mono_ns(transaction, boot_key)?.is_some();
                if has_begun && let Some(wanted) = by_probes(transaction, boot_key)? {
                    return Ok(Known::Wanted(wanted));
                }
                if has_begun && let Some(wanted) = by_markers(transaction, boot_key)? {
                    return Ok(Known::Wanted(wanted));
                }
                if waited == Waited::Long {
                    return Ok(Known::Wanted(by_arrival(transaction, boot_key, now_unix_ns)?));
                }
                let record_count = transaction
                    .prepare_cached("SELECT coalesce(sum(next_sequence), 0) FROM stream WHERE boot_key = ?1")?
                    .query_row([boot_key], |row| row.get(0))?;
                Ok(Known::NotYet { record_count })
            })
            .await?;
        let wanted = match known {
            Known::Axis(axis) => return Ok(Placed::At(axis)),
            Known::NotYet { record_count } => return Ok(Placed::NotYet { record_count }),
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

/// Where the attempt was started whose recording this is: it marks its windows under the recording's own boot id.
fn by_markers(transaction: &rusqlite::Transaction<'_>, boot_key: i64) -> Result<Option<Wanted>, Failure> {
    let Some(first_mono_ns) = first_mono_ns(transaction, boot_key)? else { return Ok(None) };
    let started: Option<i64> = transaction
        .prepare_cached(
            "SELECT started_unix_ns FROM marker JOIN attempt USING (run, trial, attempt) WHERE boot_key = ?1 \
             ORDER BY sequence LIMIT 1",
        )?
        .query_row([boot_key], |row| row.get(0))
        .optional()?;
    Ok(started.map(|started| Wanted { basis: Basis::Attempt, offset_ns: started.saturating_sub(first_mono_ns) }))
}

/// So that the newest samples end now, or before the samples of the node's next start.
fn by_arrival(transaction: &rusqlite::Transaction<'_>, boot_key: i64, now_unix_ns: u64) -> Result<Wanted, Failure> {
    let mut end = sql::integer(now_unix_ns);
    if let Some(next) = next_start(transaction, boot_key)?
        && let Some(first_mono_ns) = first_mono_ns(transaction, next)?
    {
        let known: Option<i64> = transaction
            .prepare_cached("SELECT offset_ns FROM axis WHERE boot_key = ?1")?
            .query_row([next], |row| row.get(0))
            .optional()?;
        let offset_ns = match known {
            Some(offset_ns) => Some(offset_ns),
            None => by_probes(transaction, next)?.map(|wanted| wanted.offset_ns),
        };
        if let Some(offset_ns) = offset_ns {
            end = end.min(offset_ns.saturating_add(first_mono_ns).saturating_sub(1));
        }
    }
    let last = last_mono_ns(transaction, boot_key)?.unwrap_or(0);
    Ok(Wanted { basis: Basis::Arrival, offset_ns: end.saturating_sub(last) })
}

/// The node's next boot with probes. A spool delivers one start after the other, and a start that never had a collector
/// gets its key only then, after the next one has registered: the order is that of the first batches.
fn next_start(transaction: &rusqlite::Transaction<'_>, boot_key: i64) -> Result<Option<i64>, Failure> {
    let mut statement = transaction.prepare_cached(
        "SELECT boot_key, min((SELECT batch_key FROM batch WHERE batch.stream_key = stream.stream_key \
         ORDER BY sequence LIMIT 1)) FROM boot JOIN stream USING (boot_key) \
         WHERE node_key = (SELECT node_key FROM boot WHERE boot_key = ?1) AND (boot_key = ?1 \
         OR EXISTS (SELECT 1 FROM clock_probe WHERE clock_probe.boot_key = boot.boot_key)) GROUP BY boot_key",
    )?;
    let rows = statement.query_map([boot_key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let starts: Vec<(i64, Option<i64>)> = rows.collect::<Result<_, _>>()?;
    let Some(own) = starts.iter().find(|(key, _)| *key == boot_key).and_then(|(_, first)| *first) else {
        return Ok(None);
    };
    let later = starts.into_iter().filter_map(|(key, first)| Some((first.filter(|first| *first > own)?, key)));
    Ok(later.min().map(|(_, key)| key))
}

fn first_mono_ns(connection: &rusqlite::Connection, boot_key: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min((SELECT min(first_mono_ns) FROM batch WHERE batch.stream_key = stream.stream_key)) \
             FROM stream WHERE boot_key = ?1",
        )?
        .query_row([boot_key], |row| row.get(0))
}

/// The last batch of a stream is the one that begins last.
fn last_mono_ns(connection: &rusqlite::Connection, boot_key: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT max((SELECT last_mono_ns FROM batch WHERE batch.stream_key = stream.stream_key \
             ORDER BY first_mono_ns DESC LIMIT 1)) FROM stream WHERE boot_key = ?1",
        )?
        .query_row([boot_key], |row| row.get(0))
}

/// Keeps an offset, moved behind the samples of the node's earlier boots: within a series no instant may come twice, and
/// clocks that drift, or recordings that are played faster than they were taken, would overlap. Samples with probes and
/// recordings are apart, so that none moves the other; what ended when it arrived is not moved and moves nothing.
fn place(connection: &rusqlite::Connection, boot_key: i64, wanted: Wanted) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached(
        "SELECT boot_key, offset_ns FROM axis JOIN boot USING (boot_key) \
         WHERE node_key = (SELECT node_key FROM boot WHERE boot_key = ?1) AND basis = ?2 AND basis <> 'arrival'",
    )?;
    let others = statement.query_map(params![boot_key, wanted.basis.word()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let others: Vec<(i64, i64)> = others.collect::<Result<_, _>>()?;
    let mut end = i64::MIN;
    for (other, offset_ns) in others {
        if let Some(last_mono_ns) = last_mono_ns(connection, other)? {
            end = end.max(offset_ns.saturating_add(last_mono_ns));
        }
    }
    let begin = first_mono_ns(connection, boot_key)?.map(|first| wanted.offset_ns.saturating_add(first));
    let move_ns = begin.map_or(0, |begin| end.saturating_add(1).saturating_sub(begin));
    let move_ns = if (0..=MOVE_MAX_NS).contains(&move_ns) { move_ns } else { 0 };
    connection
        .prepare_cached(
            "INSERT INTO axis (boot_key, basis, offset_ns) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET basis = basis RETURNING offset_ns",
        )?
        .query_row(params![boot_key, wanted.basis.word(), wanted.offset_ns.saturating_add(move_ns)], |row| row.get(0))
}
