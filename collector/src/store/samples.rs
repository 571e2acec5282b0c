//! Readings of a window, with everything that is known to be missing from it.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use tinywatt_proto::columns;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use super::reader::Failure;
use super::{ReadError, Store, sql};

/// Readings given at once: an hour at 4.6 kHz, 640 MiB.
const READING_COUNT_MAX: u64 = 1 << 24;

/// Readings of one channel around a window.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelSamples {
    /// The channel, with its scale.
    pub channel: v1::Channel,
    /// All readings of the window, and one beyond each edge if there is one. Ascending.
    pub readings: Vec<Reading>,
    /// Losses that the agent counted and that may lie in the window.
    pub lost: Vec<Lost>,
    /// Stretches that touch the window and whose batches are missing or were refused. Up to the end of time when
    /// nothing has arrived after it.
    pub gaps: Vec<Window>,
}

/// Readings that an agent knows it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub reason: v1::LossReason,
    /// How many.
    pub count: u64,
    /// When: somewhere in here.
    pub between: Window,
}

/// A stored batch, not decoded.
struct BatchRow {
    sequence: u64,
    /// Nothing but lost readings.
    lost: v1::SampleBatch,
    /// Everything else.
    batch: v1::SampleBatch,
}

// === impl Store ===

impl Store {
    /// Readings of a channel in a window of its boot's monotonic clock.
    ///
    /// # Errors
    /// [`ReadError::UnknownChannel`] when it was never announced, [`ReadError::TooManyReadings`] for a window that does
    /// not fit in memory, and when the store failed.
    pub async fn samples(
        &self,
        node: &NodeId,
        boot: BootId,
        channel: u32,
        window: Window,
    ) -> Result<ChannelSamples, ReadError> {
        let node = node.clone();
        self.read(move |transaction| read_samples(transaction, &node, boot, channel, window)).await
    }
}

fn read_samples(
    transaction: &Transaction<'_>,
    node: &NodeId,
    boot: BootId,
    channel_index: u32,
    window: Window,
) -> Result<ChannelSamples, Failure> {
    let announced = transaction
        .prepare_cached(
            "SELECT description, boot_key FROM channel JOIN boot USING (boot_key) JOIN node USING (node_key) \
             WHERE node = ?1 AND boot.boot_id = ?2 AND channel = ?3",
        )?
        .query_row(params![node.as_str(), boot.as_bytes(), channel_index], |row| {
            Ok((sql::message::<v1::Channel>(row, 0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let (channel, boot_key) =
        announced.ok_or_else(|| ReadError::UnknownChannel { node: node.clone(), boot, channel: channel_index })?;
    let mut samples = ChannelSamples { channel, readings: Vec::new(), lost: Vec::new(), gaps: Vec::new() };
    let stream_key: Option<i64> = transaction
        .prepare_cached("SELECT stream_key FROM stream WHERE boot_key = ?1 AND channel = ?2")?
        .query_row(params![boot_key, channel_index], |row| row.get(0))
        .optional()?;
    let Some(stream_key) = stream_key else { return Ok(samples) };

    let span = Span::around(transaction, stream_key, window)?;
    let batches = span.batches(transaction, stream_key)?;
    samples.gaps = gaps(&span.missing(transaction, stream_key)?, &batches, window);
    // The first batch may stand before the span, only to tell when the losses of the next one began.
    for pair in batches.windows(2) {
        samples.lost.extend(lost(MonoNs(pair[0].batch.last_mono_ns), &pair[1], window));
    }
    if let Some(first) = batches.first().filter(|_| !span.has_predecessor) {
        samples.lost.splice(0..0, lost(MonoNs(0), first, window));
    }
    let (time_unit_ns, two_columns) = (samples.channel.time_unit_ns, columns::has_two_columns(&samples.channel));
    let decoded = batches.iter().skip(usize::from(span.has_predecessor));
    for row in decoded {
        let readings = columns::decode(&row.batch, time_unit_ns, two_columns).map_err(|source| ReadError::Batch {
            node: node.clone(),
            channel: channel_index,
            sequence: row.sequence,
            source,
        })?;
        samples.readings.extend(readings);
    }
    trim(&mut samples.readings, window);
    Ok(samples)
}

/// Batches that hold a window and one reading beyond each of its edges, as a range of `first_mono_ns`.
struct Span {
    first_mono_ns: i64,
    last_mono_ns: i64,
    /// Whether a batch before the span is read, too.
    has_predecessor: bool,
    /// Sequences of the first and the last batch, as bounds for gaps; 0 and the end when there is none.
    first_sequence: i64,
    last_sequence: i64,
}

impl Span {
    fn around(transaction: &Transaction<'_>, stream_key: i64, window: Window) -> Result<Self, Failure> {
        let edge = |sql: &str, instant: i64| {
            transaction
                .prepare_cached(sql)?
                .query_row(params![stream_key, instant], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
                .optional()
        };
        let before = "SELECT first_mono_ns, sequence FROM batch WHERE stream_key = ?1 AND first_mono_ns < ?2 \
                      ORDER BY first_mono_ns DESC LIMIT 1";
        let after = "SELECT first_mono_ns, sequence FROM batch WHERE stream_key = ?1 AND first_mono_ns >= ?2 \
                     ORDER BY first_mono_ns LIMIT 1";
        let start = edge(before, sql::integer(window.start().0))?;
        let end = edge(after, sql::integer(window.end().0))?;
        let (start_mono_ns, _) = start.unwrap_or((0, 0));
        let predecessor = edge(before, start_mono_ns)?;
        Ok(Self {
            first_mono_ns: predecessor.map_or(start_mono_ns, |(first_mono_ns, _)| first_mono_ns),
            last_mono_ns: end.map_or(i64::MAX, |(first_mono_ns, _)| first_mono_ns),
            has_predecessor: predecessor.is_some(),
            first_sequence: predecessor.map_or(0, |(_, sequence)| sequence),
            last_sequence: end.map_or(i64::MAX, |(_, sequence)| sequence),
        })
    }

    fn batches(&self, transaction: &Transaction<'_>, stream_key: i64) -> Result<Vec<BatchRow>, Failure> {
        let range = params![stream_key, self.first_mono_ns, self.last_mono_ns];
        let reading_count = transaction
            .prepare_cached(
                "SELECT coalesce(sum(reading_count), 0) FROM batch \
                 WHERE stream_key = ?1 AND first_mono_ns BETWEEN ?2 AND ?3",
            )?
            .query_row(range, |row| sql::unsigned(row, 0))?;
        if reading_count > READING_COUNT_MAX {
            return Err(ReadError::TooManyReadings { reading_count, max: READING_COUNT_MAX }.into());
        }
        let mut statement = transaction.prepare_cached(
            "SELECT sequence, first_mono_ns, last_mono_ns, reading_count, lost, columns, columns_crc32 FROM batch \
             WHERE stream_key = ?1 AND first_mono_ns BETWEEN ?2 AND ?3 ORDER BY first_mono_ns",
        )?;
        let rows = statement.query_map(range, batch_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sequences `[expected, found)` without a batch, from before the first batch to after the last.
    fn missing(&self, transaction: &Transaction<'_>, stream_key: i64) -> Result<Vec<(u64, u64)>, Failure> {
        let mut statement = transaction.prepare_cached(
            "SELECT expected_sequence, found_sequence FROM gap \
             WHERE stream_key = ?1 AND expected_sequence BETWEEN ?2 AND ?3 ORDER BY expected_sequence",
        )?;
        let rows = statement.query_map(params![stream_key, self.first_sequence, self.last_sequence], |row| {
            Ok((sql::unsigned(row, 0)?, sql::unsigned(row, 1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn batch_row(row: &Row<'_>) -> rusqlite::Result<BatchRow> {
    let lost = match row.get_ref(4)?.as_blob_or_null()? {
        Some(_) => sql::message(row, 4)?,
        None => v1::SampleBatch::default(),
    };
    let columns: Vec<u8> = row.get(5)?;
    Ok(BatchRow {
        sequence: sql::unsigned(row, 0)?,
        lost,
        batch: v1::SampleBatch {
            first_mono_ns: sql::unsigned(row, 1)?,
            last_mono_ns: sql::unsigned(row, 2)?,
            reading_count: row.get(3)?,
            columns: columns.into(),
            columns_crc32: row.get(6)?,
            ..v1::SampleBatch::default()
        },
    })
}

/// Losses that a batch tells of, where they may lie in the window.
fn lost(after: MonoNs, row: &BatchRow, window: Window) -> Vec<Lost> {
    // Not empty: a batch ends after its predecessor does. The very first may stand at 0.
    let end = MonoNs(row.batch.last_mono_ns.max(after.0 + 1));
    let Some(between) = Window::new(after, end).ok().filter(|between| overlap(*between, window)) else {
        return Vec::new();
    };
    let entries = row.lost.lost_readings.iter();
    entries.map(|entry| Lost { reason: entry.reason(), count: entry.count, between }).collect()
}

/// Stretches of time between the batches around each hole, where they touch the window.
fn gaps(missing: &[(u64, u64)], batches: &[BatchRow], window: Window) -> Vec<Window> {
    let mut gaps: Vec<Window> = Vec::new();
    for (expected, found) in missing {
        let after = batches.partition_point(|row| row.sequence < *found);
        let before = batches.partition_point(|row| row.sequence < *expected).checked_sub(1);
        let start = before.map_or(0, |index| batches[index].batch.last_mono_ns);
        let end = batches.get(after).map_or(u64::MAX, |row| row.batch.first_mono_ns);
        let Ok(gap) = Window::new(MonoNs(start), MonoNs(end)) else { continue };
        // Holes without a batch between them are one stretch of time.
        if overlap(gap, window) && gaps.last() != Some(&gap) {
            gaps.push(gap);
        }
    }
    gaps
}

fn overlap(a: Window, b: Window) -> bool {
    a.start() < b.end() && b.start() < a.end()
}

/// Leaves one reading beyond each edge.
fn trim(readings: &mut Vec<Reading>, window: Window) {
    let end = readings.partition_point(|reading| reading.at < window.end());
    readings.truncate(end + 1);
    let start = readings.partition_point(|reading| reading.at < window.start());
    readings.drain(..start.saturating_sub(1));
}
