//! Batches into lines of `sample`, `sample_decimated`, `loss` and `gap`.
//!
//! Computes no joule: volts, amperes and watts are those of the channel's scale, energies what the meter counted.

use std::time::Duration;

use tinywatt_proto::columns::{self, DecodeError};
use tinywatt_proto::sample::{Flags, Reading, ShuntBusScale, joules_per_code, joules_per_count};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;
use tinywatt_proto::v1::channel::Scale;

use super::super::line::{Lines, Point, prefix, push_float};
use super::super::series;
use super::remembered::Remembered;
use crate::result::Kind;
use crate::store::{Axis, FedChannel, StoredBatch};

/// What of the samples is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detail {
    /// Every reading.
    pub raw: bool,
    /// One point for the readings of this many nanoseconds; `None`: no decimated samples.
    pub decimated_period_ns: Option<u64>,
}

/// A channel of a boot, ready to be written.
#[derive(Debug)]
pub struct Writer {
    channel: v1::Channel,
    node: String,
    quantity: Quantity,
    raw_prefix: String,
    decimated_prefix: String,
    volts: Remembered,
    amperes: Remembered,
    watts: Remembered,
}

/// What a reading's codes mean.
#[derive(Debug, Clone, Copy)]
enum Quantity {
    Shunt(ShuntBusScale),
    Interval(Joules),
    Counter(Joules),
    /// A channel of a later version, or one without a shunt.
    Unknown,
}

// === impl Writer ===

impl Writer {
    /// Prepares a channel.
    pub fn new(fed: &FedChannel) -> Self {
        let FedChannel { node, channel } = fed;
        let quantity = match &channel.scale {
            // Without a resistance there is no current, and no line: infinity cannot be written.
            Some(Scale::ShuntBus(scale)) if scale.shunt_nanoohms > 0 => Quantity::Shunt(scale.into()),
            Some(Scale::Energy(scale)) => Quantity::Interval(joules_per_code(scale)),
            Some(Scale::Counter(scale)) => Quantity::Counter(joules_per_count(scale)),
            Some(Scale::ShuntBus(_)) | None => Quantity::Unknown,
        };
        let tags = [
            ("channel", channel.name.as_str()),
            ("kind", Kind::of(channel).map_or("", Kind::code)),
            ("node", node.as_str()),
        ];
        Self {
            quantity,
            raw_prefix: prefix(series::named("sample"), &tags),
            decimated_prefix: prefix(series::named("sample_decimated"), &tags),
            node: node.to_string(),
            channel: channel.clone(),
            volts: Remembered::default(),
            amperes: Remembered::default(),
            watts: Remembered::default(),
        }
    }

    /// Writes the readings of a batch.
    ///
    /// # Errors
    /// When the batch, which was checked on arrival, cannot be decoded now.
    pub fn samples(
        &mut self,
        stored: &StoredBatch,
        axis: Axis,
        detail: Detail,
        lines: &mut Lines,
    ) -> Result<(), DecodeError> {
        let two_columns = columns::has_two_columns(&self.channel);
        let readings = columns::decode(&stored.batch, self.channel.time_unit_ns, two_columns)?;
        if detail.raw {
            readings.iter().for_each(|reading| self.sample(reading, axis, lines));
        }
        if let Some(period_ns) = detail.decimated_period_ns {
            let bin =
                |reading: &Reading| axis.unix_ns(reading.at).div_euclid(i64::try_from(period_ns).unwrap_or(i64::MAX));
            for group in readings.chunk_by(|one, next| bin(one) == bin(next)) {
                self.group(group, axis, lines);
            }
        }
        Ok(())
    }

    fn sample(&mut self, reading: &Reading, axis: Axis, lines: &mut Lines) {
        let text = lines.text_mut();
        let begin = text.len();
        text.push_str(&self.raw_prefix);
        match self.quantity {
            Quantity::Shunt(scale) => {
                let sample = scale.sample(reading);
                text.push_str("volts=");
                self.volts.push(text, reading.second, || sample.bus.get());
                text.push_str(",amperes=");
                self.amperes.push(text, reading.first, || sample.current.get());
                text.push_str(",watts=");
                match one_key(reading) {
                    Some(key) => self.watts.push(text, key, || sample.power.get()),
                    None => push_float(text, sample.power.get()),
                }
            }
            Quantity::Interval(step) => {
                text.push_str("interval_joules=");
                push_float(text, joules(step, reading.first));
            }
            Quantity::Counter(step) => {
                text.push_str("counter_joules=");
                push_float(text, joules(step, reading.first));
            }
            Quantity::Unknown => return text.truncate(begin),
        }
        push_flags(text, reading.flags);
        lines.end(axis.unix_ns(reading.at));
    }

    /// One point for some readings.
    fn group(&self, readings: &[Reading], axis: Axis, lines: &mut Lines) {
        let Some(first) = readings.first() else { return };
        let text = lines.text_mut();
        let begin = text.len();
        text.push_str(&self.decimated_prefix);
        match self.quantity {
            Quantity::Shunt(scale) => {
                let samples: Vec<_> = readings.iter().map(|reading| scale.sample(reading)).collect();
                let count = samples.iter().fold(0.0, |count, _| count + 1.0);
                let watts = || samples.iter().map(|sample| sample.power.get());
                let fields = [
                    ("volts_mean=", samples.iter().map(|sample| sample.bus.get()).sum::<f64>() / count),
                    (",amperes_mean=", samples.iter().map(|sample| sample.current.get()).sum::<f64>() / count),
                    (",watts_mean=", watts().sum::<f64>() / count),
                    (",watts_min=", watts().fold(f64::INFINITY, f64::min)),
                    (",watts_max=", watts().fold(f64::NEG_INFINITY, f64::max)),
                ];
                for (name, value) in fields {
                    text.push_str(name);
                    push_float(text, value);
                }
            }
            Quantity::Interval(step) => {
                text.push_str("interval_joules=");
                push_float(text, joules(step, readings.iter().map(|reading| reading.first).sum()));
            }
            Quantity::Counter(step) => {
                text.push_str("counter_joules=");
                push_float(text, joules(step, first.first));
            }
            Quantity::Unknown => return text.truncate(begin),
        }
        text.push_str(",reading_count=");
        text.push_str(itoa::Buffer::new().format(readings.len()));
        text.push('i');
        push_flags(text, readings.iter().fold(Flags::NONE, |all, reading| all | reading.flags));
        lines.end(axis.unix_ns(first.at));
    }

    /// Writes what a batch tells of readings and batches that are missing.
    pub fn holes(&self, stored: &StoredBatch, axis: Axis, lines: &mut Lines) {
        let batch = &stored.batch;
        let since = stored.before.map(|before| axis.unix_ns(before.at));
        for lost in &batch.lost_readings {
            let reason = lost.reason().as_str_name().trim_start_matches("LOSS_REASON_").to_lowercase();
            Point::new(series::named("loss"))
                .tag("node", &self.node)
                .tag("channel", &self.channel.name)
                .tag("reason", &reason)
                .field("reading_count", lost.count)
                .field("since_unix_ns", since)
                .write(axis.unix_ns(MonoNs(batch.last_mono_ns)), lines);
        }
        let (first, last) = (MonoNs(batch.first_mono_ns), MonoNs(batch.last_mono_ns));
        let missing_before = stored.sequence - stored.before.map_or(0, |before| before.sequence + 1);
        // Nothing was sampled before the first batch that arrived: a gap there has no time of its own.
        let begins = |next: MonoNs| stored.before.map_or(next.before(Duration::from_nanos(1)), |before| before.at);
        // What came late stands in a gap that was written before: its part before this batch may be none by now.
        if let Some(after) = stored.overtaken_by
            && begins(after.at) != begins(first)
        {
            self.gap(0, begins(after.at), after.at, axis, lines);
        }
        if missing_before > 0 || stored.overtaken_by.is_some() {
            self.gap(missing_before, begins(first), first, axis, lines);
        }
        if let Some(after) = stored.overtaken_by
            && after.sequence > stored.sequence + 1
        {
            self.gap(after.sequence - stored.sequence - 1, last, after.at, axis, lines);
        }
    }

    fn gap(&self, batch_count: u64, start: MonoNs, end: MonoNs, axis: Axis, lines: &mut Lines) {
        Point::new(series::named("gap"))
            .tag("node", &self.node)
            .tag("channel", &self.channel.name)
            .field("batch_count", batch_count)
            .field("end_unix_ns", axis.unix_ns(end))
            .field("seconds", end.since(start).as_secs_f64())
            .write(axis.unix_ns(start), lines);
    }
}

/// One number for two codes, another one for any other two; `None` for codes that no chip of 16 bits gives.
fn one_key(reading: &Reading) -> Option<i64> {
    let (first, second) = (i16::try_from(reading.first).ok()?, u16::try_from(reading.second).ok()?);
    Some(i64::from(first) << 16 | i64::from(second))
}

#[expect(clippy::cast_precision_loss, reason = "codes stay below 2^53, where f64 is exact; as the export has them")]
fn joules(step: Joules, code: i64) -> f64 {
    step.get() * code as f64
}

fn push_flags(text: &mut String, flags: Flags) {
    if !flags.is_empty() {
        text.push_str(",flags=");
        text.push_str(itoa::Buffer::new().format(flags.bits()));
        text.push('i');
    }
}
