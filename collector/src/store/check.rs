//! What a record must be to be stored. Pure; looks no further into samples than to see that they can be read.

use tinywatt_proto::columns::{self, DecodeError};
use tinywatt_proto::ids::{AttemptId, BootId, NameError};
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use super::session::Coding;
use super::sql::INTEGER_MAX;

/// Channels of one boot. A gateway with four INA219 has four; beyond 256 an index is a mistake.
const CHANNEL_COUNT_MAX: u32 = 256;

/// Absolute zero.
const MILLICELSIUS_MIN: i32 = -273_150;

/// Why a record was refused. Kept as text beside the record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the boot id has {0} bytes instead of 16")]
    BootId(usize),
    #[error("the record holds none of the facts this collector knows: the agent may be newer, update the collector")]
    UnknownFact,
    #[error("channel {0} is beyond the {CHANNEL_COUNT_MAX} that a boot may have")]
    ChannelIndex(u32),
    #[error("{name} = {value} is beyond the largest number that is kept, {INTEGER_MAX}")]
    TooLarge { name: &'static str, value: u64 },
    #[error("channel {0} has no time unit or no scale")]
    ChannelIncomplete(u32),
    #[error("channel {0} was announced before with another description")]
    ChannelChanged(u32),
    #[error("channel {0} was never announced")]
    ChannelUnknown(u32),
    #[error("the batch holds no readings")]
    BatchEmpty,
    #[error("{0}")]
    BatchUnreadable(DecodeError),
    #[error("the batch begins at {first_mono_ns} ns, not after its predecessor's end at {before_mono_ns} ns")]
    BatchOverlapsPredecessor { first_mono_ns: u64, before_mono_ns: u64 },
    #[error("the batch ends at {last_mono_ns} ns, not before its successor's begin at {after_mono_ns} ns")]
    BatchOverlapsSuccessor { last_mono_ns: u64, after_mono_ns: u64 },
    #[error("the record names no trial")]
    TrialMissing,
    #[error("{0}")]
    TrialName(NameError),
    #[error("the marker has an unknown phase {phase} or edge {edge}")]
    Marker { phase: i32, edge: i32 },
    #[error("the probe's times run backwards")]
    ProbeBackwards,
    #[error("the agent's health tells {0} thousandths of a degree Celsius, which is below absolute zero")]
    TemperatureImpossible(i32),
    #[error("an outcome of attempt {0} is already stored")]
    OutcomeKnown(AttemptId),
    #[error("attempt {0} was given to another node: was this one renamed, or its card copied?")]
    OutcomeOfAnother(AttemptId),
    #[error("the outcome says neither completed nor failed")]
    OutcomeEmpty,
}

/// A numbered sequence of records within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    /// Batches of one channel.
    Batches(u32),
    /// All other records.
    Events,
}

impl Stream {
    /// The stream as `stream.channel` has it.
    pub(super) fn column(self) -> i64 {
        match self {
            Self::Batches(channel) => i64::from(channel),
            Self::Events => -1,
        }
    }
}

/// What makes a record the same as another, within its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) boot: BootId,
    pub(super) stream: Stream,
    pub(super) sequence: u64,
}

/// Reads the key of a record. A record without one is refused, and cannot be told from its repetition.
pub(super) fn key(record: &v1::Record) -> Result<Key, Refusal> {
    let boot = BootId::from_bytes(&record.boot_id).ok_or(Refusal::BootId(record.boot_id.len()))?;
    let stream = match record.fact.as_ref().ok_or(Refusal::UnknownFact)? {
        Fact::Batch(batch) => Stream::Batches(channel_index(batch.channel)?),
        Fact::ChannelOpened(_) | Fact::Marker(_) | Fact::ClockProbe(_) | Fact::Outcome(_) | Fact::Health(_) => {
            Stream::Events
        }
    };
    // The sequence after it must be a number, too.
    Ok(Key { boot, stream, sequence: number("sequence", record.sequence.saturating_add(1))? - 1 })
}

/// Refuses what no column can hold.
pub(super) fn number(name: &'static str, value: u64) -> Result<u64, Refusal> {
    if value <= INTEGER_MAX { Ok(value) } else { Err(Refusal::TooLarge { name, value }) }
}

fn channel_index(channel: u32) -> Result<u32, Refusal> {
    if channel < CHANNEL_COUNT_MAX { Ok(channel) } else { Err(Refusal::ChannelIndex(channel)) }
}

/// Checks the description of a channel.
pub(super) fn channel(channel: &v1::Channel) -> Result<(), Refusal> {
    channel_index(channel.channel)?;
    if channel.time_unit_ns == 0 || channel.scale.is_none() {
        return Err(Refusal::ChannelIncomplete(channel.channel));
    }
    Ok(())
}

/// Checks a batch by itself: its numbers, and that its columns can be read.
pub(super) fn batch(batch: &v1::SampleBatch, coding: Coding) -> Result<(), Refusal> {
    number("last_mono_ns", batch.last_mono_ns)?;
    if batch.reading_count == 0 {
        return Err(Refusal::BatchEmpty);
    }
    columns::decode(batch, coding.time_unit_ns, coding.two_columns).map(|_| ()).map_err(Refusal::BatchUnreadable)
}

/// Checks that a batch lies in time between the batches before and after it in sequence.
pub(super) fn between(batch: &v1::SampleBatch, before: Option<u64>, after: Option<u64>) -> Result<(), Refusal> {
    let (first_mono_ns, last_mono_ns) = (batch.first_mono_ns, batch.last_mono_ns);
    if let Some(before_mono_ns) = before.filter(|before| *before >= first_mono_ns) {
        return Err(Refusal::BatchOverlapsPredecessor { first_mono_ns, before_mono_ns });
    }
    if let Some(after_mono_ns) = after.filter(|after| *after <= last_mono_ns) {
        return Err(Refusal::BatchOverlapsSuccessor { last_mono_ns, after_mono_ns });
    }
    Ok(())
}

/// Checks a marker and gives its attempt.
pub(super) fn marker(marker: &v1::Marker) -> Result<AttemptId, Refusal> {
    number("mono_ns", marker.mono_ns)?;
    let known = marker.phase() != v1::Phase::Unspecified && marker.edge() != v1::Edge::Unspecified;
    if !known {
        return Err(Refusal::Marker { phase: marker.phase, edge: marker.edge });
    }
    attempt(marker.trial.as_ref())
}

/// Checks a clock probe.
pub(super) fn clock_probe(probe: &v1::ClockProbe) -> Result<(), Refusal> {
    number("returned_mono_ns", probe.returned_mono_ns)?;
    number("answered_unix_ns", probe.answered_unix_ns)?;
    let forwards = probe.sent_mono_ns <= probe.returned_mono_ns && probe.received_unix_ns <= probe.answered_unix_ns;
    if forwards { Ok(()) } else { Err(Refusal::ProbeBackwards) }
}

/// Checks a look at an agent's health.
pub(super) fn health(health: &v1::NodeHealth) -> Result<(), Refusal> {
    number("mono_ns", health.mono_ns)?;
    number("agent_cpu_ns", health.agent_cpu_ns)?;
    number("agent_memory_bytes", health.agent_memory_bytes)?;
    number("spool_record_count", health.spool_record_count)?;
    number("lost_reading_count", health.lost_reading_count)?;
    number("disk_free_bytes", health.disk_free_bytes.unwrap_or(0))?;
    number("memory_available_bytes", health.memory_available_bytes.unwrap_or(0))?;
    match health.temperature_millicelsius {
        Some(temperature) if temperature < MILLICELSIUS_MIN => Err(Refusal::TemperatureImpossible(temperature)),
        _ => Ok(()),
    }
}

/// Checks an outcome and gives its attempt.
pub(super) fn outcome(outcome: &v1::TrialOutcome) -> Result<AttemptId, Refusal> {
    if outcome.result.is_none() {
        return Err(Refusal::OutcomeEmpty);
    }
    attempt(outcome.trial.as_ref())
}

fn attempt(key: Option<&v1::TrialKey>) -> Result<AttemptId, Refusal> {
    AttemptId::try_from(key.ok_or(Refusal::TrialMissing)?).map_err(Refusal::TrialName)
}
