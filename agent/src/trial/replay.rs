//! A recorded trace as a trial: its readings go into the spool as if they had been measured here, under a boot id of
//! their own, because their time is the recording's.

use std::ffi::OsStr;
use std::path::Path;

use tinywatt_proto::columns::{Encoder, READING_COUNT_MAX};
use tinywatt_proto::ids::BootId;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::Phase;
use tinywatt_proto::v1::record::Fact;

use super::executor::{Executed, Workshop, append_all};
use super::{Launch, TrialError};
use crate::batch::BATCH_PERIOD;
use crate::clock::Clock;
use crate::sensor::replay::Trace;

/// Where a recording's clock begins. Not at 0, so that an instant before the first reading is still an instant.
const START: MonoNs = MonoNs(1_000_000_000);

/// Batches in one transaction: 64 of them are 16 s of a recording and commit in a few milliseconds.
const BATCH_COUNT_PER_APPEND: usize = 64;

/// Name of the channel when the trace's own gives none.
const CHANNEL_NAME: &str = "recording";

/// Longest name of a channel, in bytes.
const CHANNEL_NAME_BYTES_MAX: usize = 64;

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// Plays a trace as fast as the spool takes it.
    pub(super) async fn replay(
        &self,
        trial: &v1::TrialKey,
        workload: &v1::ReplayWorkload,
    ) -> Result<Executed, TrialError> {
        let show = |fraction| self.board.show(trial, Phase::Prepare, fraction);
        let path = self.equipment.artifacts.fetch("trace", workload.trace.as_ref(), show).await?;
        let reading = tokio::task::spawn_blocking(move || Trace::read(&path));
        let trace = reading.await.expect("reading a trace does not panic")?;

        let boot = BootId::random();
        let channel = trace.channel(&channel_name(workload.trace.as_ref().map_or("", |trace| &trace.name)));
        let per_batch = BATCH_PERIOD.as_nanos() / u128::from(channel.sample_period_ns.max(1));
        let per_batch = usize::try_from(per_batch).unwrap_or(READING_COUNT_MAX).clamp(1, READING_COUNT_MAX);
        let mut facts = vec![Fact::ChannelOpened(channel.clone())];
        let mut encoder = Encoder::default();
        let reading_count = trace.readings(START).count();
        for (index, reading) in trace.readings(START).enumerate() {
            encoder.push(&reading, channel.time_unit_ns, false);
            if encoder.reading_count() == per_batch {
                facts.extend(encoder.finish(channel.channel, Vec::new()).map(Fact::Batch));
            }
            if facts.len() == BATCH_COUNT_PER_APPEND {
                append_all(&self.equipment.spool, boot, std::mem::take(&mut facts)).await?;
                self.board.show(trial, Phase::Active, fraction(index, reading_count));
            }
        }
        facts.extend(encoder.finish(channel.channel, Vec::new()).map(Fact::Batch));
        append_all(&self.equipment.spool, boot, facts).await?;

        let mut windows = Vec::new();
        for (window, inference_count) in trace.windows(START) {
            self.mark(boot, trial, Phase::Active, window).await?;
            windows.push(v1::Window {
                phase: Phase::Active.into(),
                start_mono_ns: window.start().0,
                end_mono_ns: window.end().0,
                inference_count,
                simulated_true_joules: None,
            });
        }
        let completed = v1::Completed { windows, ..v1::Completed::default() };
        let samples_channel = channel.channel;
        Ok(Executed { samples_boot: boot, samples_channel, samples_further_channels: Vec::new(), completed })
    }
}

/// Names the channel after the trace's file: none of the node's channels recorded it.
fn channel_name(trace: &str) -> String {
    let stem = Path::new(trace).file_stem().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let name: String = stem.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    let name = name.trim_start_matches('-');
    let name = name[..name.len().min(CHANNEL_NAME_BYTES_MAX)].trim_end_matches('-');
    if name.is_empty() { CHANNEL_NAME.to_owned() } else { name.to_owned() }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn fraction(index: usize, count: usize) -> f64 {
    index as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::ids::ChannelName;

    use super::*;

    #[test]
    fn a_recordings_channel_is_named_after_its_file() {
        let long = "x".repeat(100);
        for (trace, name) in [
            ("infer_energy_1K.json", "infer-energy-1k"),
            ("traces/Pi 5 (Größe).v2.json", "pi-5--gr--e--v2"),
            ("__.json", "recording"),
            ("", "recording"),
            (&*long, &long[..64]),
        ] {
            assert_eq!(channel_name(trace), name);
            channel_name(trace).parse::<ChannelName>().expect(trace);
        }
    }
}
