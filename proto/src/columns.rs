//! The record format: readings as packed, delta-coded columns.
//!
//! Instants are kept in whole time units (1 µs for an INA219) and coded as second differences, because the sensor
//! ticks evenly; codes are coded as first differences, because power changes little between readings. Packed zigzag
//! varints then take one or two bytes each.

use prost::Message;

use crate::sample::{Flags, Reading};
use crate::time::MonoNs;
use crate::v1;

/// Whether a channel's readings have a bus-voltage code beside the shunt's.
pub fn has_two_columns(channel: &v1::Channel) -> bool {
    matches!(channel.scale, Some(v1::channel::Scale::ShuntBus(_)))
}

/// Most readings in one batch. 250 ms at 1.24 kHz are 310; ten times that is no batch but a mistake, or an attack.
pub const READING_COUNT_MAX: usize = 4_096;

/// A batch's columns could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not those that were sent.
    #[error("the columns do not have their checksum")]
    Checksum,
    /// The bytes are not a `Columns` message.
    #[error("the columns are not readable")]
    Message(#[source] prost::DecodeError),
    /// The columns have different lengths, or others than the batch or the channel says.
    #[error("the batch states {stated} readings and holds {time} instants, {first} first and {second} second codes")]
    Length {
        /// `SampleBatch.reading_count`.
        stated: u32,
        /// Length of the time column.
        time: usize,
        /// Length of the first code column.
        first: usize,
        /// Length of the second code column.
        second: usize,
    },
    /// More readings than a batch may hold.
    #[error("the batch holds {0} readings, more than {READING_COUNT_MAX}")]
    TooMany(usize),
    /// Time does not ascend, or leaves the range of 64 bits.
    #[error("the instant of reading {0} is not later than the one before")]
    Time(usize),
    /// A code leaves the range of 64 bits.
    #[error("the code of reading {0} is out of range")]
    Code(usize),
    /// A flag names a reading that is not there.
    #[error("a flag names reading {0}, which is not in the batch")]
    Flag(u32),
    /// The instants of the header and of the columns differ.
    #[error("the last instant of the columns differs from the header's")]
    LastInstant,
}

/// Builds one batch. Reused from batch to batch, so that its buffers are allocated once.
#[derive(Debug, Default)]
pub struct Encoder {
    columns: v1::Columns,
    origin: MonoNs,
    last: MonoNs,
    previous_step: i64,
    previous_first: i64,
    previous_second: i64,
}

impl Encoder {
    /// Adds a reading. Its instant is rounded down to whole units counted from the batch's first reading.
    ///
    /// `two_columns` is false on energy channels. Readings must ascend in time by at least one unit; one that does
    /// not is moved to one unit after its predecessor, so that no reading is lost to clock granularity.
    pub fn push(&mut self, reading: &Reading, time_unit_ns: u32, two_columns: bool) {
        let unit = u64::from(time_unit_ns.max(1));
        let step = if self.columns.time.is_empty() {
            self.origin = reading.at;
            self.last = reading.at;
            0
        } else {
            let target = reading.at.0.saturating_sub(self.origin.0) / unit;
            let reached = (self.last.0 - self.origin.0) / unit;
            let step = target.saturating_sub(reached).max(1);
            self.last = MonoNs(self.last.0 + step * unit);
            i64::try_from(step).unwrap_or(i64::MAX)
        };
        if !reading.flags.is_empty() {
            let index = u32::try_from(self.columns.time.len()).unwrap_or(u32::MAX);
            self.columns.flagged.push(v1::FlaggedReading { index, flags: reading.flags.bits() });
        }
        self.columns.time.push(step.wrapping_sub(self.previous_step));
        self.columns.first.push(reading.first.wrapping_sub(self.previous_first));
        self.previous_step = step;
        self.previous_first = reading.first;
        if two_columns {
            self.columns.second.push(reading.second.wrapping_sub(self.previous_second));
            self.previous_second = reading.second;
        }
    }

    /// Readings added since the last batch.
    pub fn reading_count(&self) -> usize {
        self.columns.time.len()
    }

    /// Takes the batch and starts the next one. `None` when no reading was added.
    pub fn finish(&mut self, channel: u32, lost_readings: Vec<v1::LostReadings>) -> Option<v1::SampleBatch> {
        let reading_count = u32::try_from(self.reading_count()).unwrap_or(u32::MAX);
        if reading_count == 0 {
            return None;
        }
        let columns = self.columns.encode_to_vec();
        let batch = v1::SampleBatch {
            channel,
            first_mono_ns: self.origin.0,
            last_mono_ns: self.last.0,
            reading_count,
            lost_readings,
            columns_crc32: crc32fast::hash(&columns),
            columns: columns.into(),
        };
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        *self = Self { columns, ..Self::default() };
        Some(batch)
    }
}

/// Reads all readings of a batch and checks that it is what its header says.
///
/// `two_columns` is false on energy channels. A shunt channel's batch without its bus voltages is an error: it would read
/// as 0 V, and so as no energy at all.
///
/// # Errors
/// Any [`DecodeError`]; nothing is repaired.
pub fn decode(batch: &v1::SampleBatch, time_unit_ns: u32, two_columns: bool) -> Result<Vec<Reading>, DecodeError> {
    if crc32fast::hash(&batch.columns) != batch.columns_crc32 {
        return Err(DecodeError::Checksum);
    }
    let columns = v1::Columns::decode(&batch.columns[..]).map_err(DecodeError::Message)?;
    let count = columns.time.len();
    let second_count = columns.second.len();
    if count > READING_COUNT_MAX {
        return Err(DecodeError::TooMany(count));
    }
    if usize::try_from(batch.reading_count).ok() != Some(count)
        || columns.first.len() != count
        || second_count != if two_columns { count } else { 0 }
    {
        return Err(DecodeError::Length {
            stated: batch.reading_count,
            time: count,
            first: columns.first.len(),
            second: second_count,
        });
    }
    let unit = u64::from(time_unit_ns.max(1));
    let mut readings = Vec::with_capacity(count);
    let (mut at, mut step, mut first, mut second) = (batch.first_mono_ns, 0i64, 0i64, 0i64);
    for index in 0..count {
        step = step.checked_add(columns.time[index]).ok_or(DecodeError::Time(index))?;
        if index > 0 && step < 1 || index == 0 && step != 0 {
            return Err(DecodeError::Time(index));
        }
        at = step.unsigned_abs().checked_mul(unit).and_then(|ns| at.checked_add(ns)).ok_or(DecodeError::Time(index))?;
        first = first.checked_add(columns.first[index]).ok_or(DecodeError::Code(index))?;
        let second_step = columns.second.get(index).copied().unwrap_or(0);
        second = second.checked_add(second_step).ok_or(DecodeError::Code(index))?;
        readings.push(Reading { at: MonoNs(at), first, second, flags: Flags::NONE });
    }
    for flagged in &columns.flagged {
        let slot = usize::try_from(flagged.index).ok().and_then(|index| readings.get_mut(index));
        slot.ok_or(DecodeError::Flag(flagged.index))?.flags = Flags::from_bits(flagged.flags);
    }
    if count > 0 && at != batch.last_mono_ns {
        return Err(DecodeError::LastInstant);
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(readings: &[Reading], unit: u32, two_columns: bool) -> v1::SampleBatch {
        let mut encoder = Encoder::default();
        readings.iter().for_each(|reading| encoder.push(reading, unit, two_columns));
        encoder.finish(0, Vec::new()).expect("readings were pushed")
    }

    prop_compose! {
        fn ascending_readings()(
            start in 0u64..1 << 60,
            rows in prop::collection::vec((1u64..1 << 40, any::<i32>(), any::<u16>(), 0u32..8), 1..400),
        ) -> Vec<Reading> {
            let mut at = start;
            rows.into_iter().map(|(step, first, second, flags)| {
                at += step;
                Reading {
                    at: MonoNs(at), first: first.into(), second: second.into(), flags: Flags::from_bits(flags),
                }
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn readings_survive_the_wire(readings in ascending_readings()) {
            let batch = encode(&readings, 1, true);
            prop_assert_eq!(decode(&batch, 1, true).expect("own encoding"), readings);
        }

        #[test]
        fn coarse_time_is_off_by_less_than_a_unit_and_still_ascends(readings in ascending_readings()) {
            let decoded = decode(&encode(&readings, 1_000, true), 1_000, true).expect("own encoding");
            for (index, (original, coarse)) in readings.iter().zip(&decoded).enumerate() {
                // Neighbours closer than a unit are pushed apart, one unit each at most.
                prop_assert!(coarse.at.0.abs_diff(original.at.0) < 1_000 * (index as u64 + 1));
            }
            prop_assert!(decoded.windows(2).all(|pair| pair[0].at < pair[1].at));
        }

        #[test]
        fn a_truncated_batch_is_an_error(readings in ascending_readings(), cut in 0usize..4_000) {
            let mut batch = encode(&readings, 1, true);
            if cut < batch.columns.len() {
                batch.columns.truncate(cut);
                prop_assert!(decode(&batch, 1, true).is_err());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0u32..100, two_columns in any::<bool>()) {
            let columns_crc32 = crc32fast::hash(&bytes);
            let batch = v1::SampleBatch { reading_count: count, columns: bytes.into(), columns_crc32, ..Default::default() };
            let _ = decode(&batch, u32::MAX, two_columns);
        }
    }

    #[test]
    fn an_energy_channel_has_one_column() {
        let readings: Vec<_> = (1..=5)
            .map(|index| Reading { at: MonoNs(index * 1_000_000), first: 15_420, second: 0, flags: Flags::NONE })
            .collect();
        let batch = encode(&readings, 1_000, false);
        assert_eq!(decode(&batch, 1_000, false).expect("own encoding"), readings);
        assert!(batch.columns.len() < 20);
    }

    #[test]
    fn a_batch_with_more_or_fewer_columns_than_its_channel_is_refused() {
        let reading = Reading { at: MonoNs(7_000), first: 3, second: 4, flags: Flags::NONE };
        for two_columns in [true, false] {
            let error =
                decode(&encode(&[reading], 1_000, two_columns), 1_000, !two_columns).expect_err("another channel's");
            assert!(matches!(error, DecodeError::Length { .. }), "{error}");
        }
    }

    #[test]
    fn an_encoder_starts_afresh_after_a_batch() {
        let mut encoder = Encoder::default();
        let reading = Reading { at: MonoNs(7_000), first: 3, second: 4, flags: Flags::CLIPPED };
        encoder.push(&reading, 1_000, true);
        let first = encoder.finish(0, Vec::new());
        encoder.push(&reading, 1_000, true);
        assert_eq!(encoder.finish(0, Vec::new()), first);
        assert_eq!(encoder.finish(0, Vec::new()), None);
    }
}
