//! The rows of each kind of record.

use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};
use tinywatt_proto::v1;

use super::check::{self, Refusal};
use super::session::{Coding, Head};
use super::sql;

/// Where the rows of one record go.
pub(super) struct Slot<'a> {
    pub(super) connection: &'a Connection,
    pub(super) boot_key: i64,
    pub(super) sequence: u64,
    pub(super) is_late: bool,
}

/// The outer error is the store's, the inner the record's.
pub(super) type Stored = rusqlite::Result<Result<(), Refusal>>;

impl Slot<'_> {
    pub(super) fn batch(&self, head: &mut Head, batch: &v1::SampleBatch) -> Stored {
        if head.coding.is_none() {
            head.coding = self.known_channel(batch.channel)?.as_ref().map(Coding::from);
        }
        let Some(coding) = head.coding else { return Ok(Err(Refusal::ChannelUnknown(batch.channel))) };
        let (before, after) = if self.is_late { self.neighbours(head)? } else { (head.last_mono_ns, None) };
        if let Err(refusal) = check::batch(batch, coding).and_then(|()| check::between(batch, before, after)) {
            return Ok(Err(refusal));
        }
        let lost = (!batch.lost_readings.is_empty()).then(|| {
            v1::SampleBatch { lost_readings: batch.lost_readings.clone(), ..Default::default() }.encode_to_vec()
        });
        self.connection
            .prepare_cached(
                "INSERT INTO batch (stream_key, sequence, first_mono_ns, last_mono_ns, reading_count, lost, columns, columns_crc32) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                head.stream_key,
                sql::integer(self.sequence),
                sql::integer(batch.first_mono_ns),
                sql::integer(batch.last_mono_ns),
                batch.reading_count,
                lost,
                &batch.columns[..],
                batch.columns_crc32,
            ])?;
        if !self.is_late {
            head.last_mono_ns = Some(batch.last_mono_ns);
        }
        Ok(Ok(()))
    }

    /// End of the batch before and begin of the batch after this sequence.
    fn neighbours(&self, head: &Head) -> rusqlite::Result<(Option<u64>, Option<u64>)> {
        let keys = params![head.stream_key, sql::integer(self.sequence)];
        let before = self
            .connection
            .prepare_cached(
                "SELECT last_mono_ns FROM batch WHERE stream_key = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT 1",
            )?
            .query_row(keys, |row| sql::unsigned(row, 0))
            .optional()?;
        let after = self
            .connection
            .prepare_cached(
                "SELECT first_mono_ns FROM batch WHERE stream_key = ?1 AND sequence > ?2 ORDER BY sequence LIMIT 1",
            )?
            .query_row(keys, |row| sql::unsigned(row, 0))
            .optional()?;
        Ok((before, after))
    }

    fn known_channel(&self, channel: u32) -> rusqlite::Result<Option<v1::Channel>> {
        self.connection
            .prepare_cached("SELECT description FROM channel WHERE boot_key = ?1 AND channel = ?2")?
            .query_row(params![self.boot_key, channel], |row| sql::message(row, 0))
            .optional()
    }

    pub(super) fn channel(&self, channel: &v1::Channel) -> Stored {
        if let Err(refusal) = check::channel(channel) {
            return Ok(Err(refusal));
        }
        if let Some(known) = self.known_channel(channel.channel)? {
            let same = known == *channel;
            return Ok(if same { Ok(()) } else { Err(Refusal::ChannelChanged(channel.channel)) });
        }
        self.connection
            .prepare_cached("INSERT INTO channel (boot_key, channel, description) VALUES (?1, ?2, ?3)")?
            .execute(params![self.boot_key, channel.channel, channel.encode_to_vec()])?;
        Ok(Ok(()))
    }

    pub(super) fn marker(&self, marker: &v1::Marker) -> Stored {
        let attempt = match check::marker(marker) {
            Ok(attempt) => attempt,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.connection
            .prepare_cached(
                "INSERT INTO marker (boot_key, sequence, run, trial, attempt, mono_ns, phase, edge) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                self.boot_key,
                sql::integer(self.sequence),
                attempt.run.as_str(),
                attempt.trial,
                attempt.attempt,
                sql::integer(marker.mono_ns),
                marker.phase,
                marker.edge,
            ])?;
        Ok(Ok(()))
    }

    pub(super) fn clock_probe(&self, probe: &v1::ClockProbe) -> Stored {
        if let Err(refusal) = check::clock_probe(probe) {
            return Ok(Err(refusal));
        }
        self.connection
            .prepare_cached(
                "INSERT INTO clock_probe (boot_key, sequence, sent_mono_ns, received_unix_ns, answered_unix_ns, \
                 returned_mono_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.boot_key,
                sql::integer(self.sequence),
                sql::integer(probe.sent_mono_ns),
                sql::integer(probe.received_unix_ns),
                sql::integer(probe.answered_unix_ns),
                sql::integer(probe.returned_mono_ns),
            ])?;
        Ok(Ok(()))
    }

    pub(super) fn health(&self, health: &v1::NodeHealth) -> Stored {
        if let Err(refusal) = check::health(health) {
            return Ok(Err(refusal));
        }
        self.connection
            .prepare_cached("INSERT INTO agent_health (boot_key, sequence, mono_ns, health) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                self.boot_key,
                sql::integer(self.sequence),
                sql::integer(health.mono_ns),
                health.encode_to_vec(),
            ])?;
        Ok(Ok(()))
    }

    pub(super) fn outcome(&self, outcome: &v1::TrialOutcome) -> Stored {
        let attempt = match check::outcome(outcome) {
            Ok(attempt) => attempt,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // There is room for one outcome of an attempt: another node's, as after renaming one, must not take it.
        let is_anothers = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM attempt WHERE run = ?1 AND trial = ?2 AND attempt = ?3 \
                 AND node <> (SELECT node FROM boot JOIN node USING (node_key) WHERE boot_key = ?4))",
            )?
            .query_row(params![attempt.run.as_str(), attempt.trial, attempt.attempt, self.boot_key], |row| {
                row.get(0)
            })?;
        if is_anothers {
            return Ok(Err(Refusal::OutcomeOfAnother(attempt)));
        }
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO outcome (run, trial, attempt, boot_key, sequence, outcome) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                attempt.run.as_str(),
                attempt.trial,
                attempt.attempt,
                self.boot_key,
                sql::integer(self.sequence),
                outcome.encode_to_vec(),
            ])?;
        Ok(if inserted == 0 { Err(Refusal::OutcomeKnown(attempt)) } else { Ok(()) })
    }
}
