//! A run as one CSV table: attempts, windows, samples, losses and gaps, so that others can do their own sums.
//!
//! Computes no joule: watts and joules are those of the channel's scale, and of the results.

use std::fmt::{Display, Write};
use std::time::Duration;

use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::sample::{Reading, ShuntBusScale, joules_per_code, joules_per_count};
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tokio::sync::mpsc;

use crate::result::{Kind, Measurement, TrialResult, WindowResult};
use crate::store::{AttemptRow, ChannelSamples, ClockFit, ReadError, RunRow, Store};

/// Time whose readings are held at once: 10,000 of them at 1 kHz, below a megabyte with their text.
const SLICE: Duration = Duration::from_secs(10);

/// Chunks that wait for the receiver: 1 MiB. Reading waits for the network, not the other way round.
const CHUNK_COUNT: usize = 16;

const COLUMNS: &str = "record,trial,attempt,treatment,valid,kind,node,boot_id,channel,phase,mono_ns,end_mono_ns,unix_ns,\
                       volts,amperes,watts,joules,flags,count,reason";

/// An export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error("failed to read what is to be exported")]
    Read(#[from] ReadError),
    /// A result names its samples in a way that none was ever stored under.
    #[error("the result of trial {trial}, attempt {attempt} names no boot id: '{boot_id}'")]
    BootId {
        /// The trial.
        trial: u32,
        /// The attempt.
        attempt: u32,
        /// What stands in its place.
        boot_id: String,
    },
}

/// Writes out a run, or one trial of it, in chunks of at most about 64 KiB. Stops when the receiver is dropped.
pub fn start(store: Store, row: RunRow, trial: Option<u32>) -> mpsc::Receiver<Result<String, ExportError>> {
    let (sender, receiver) = mpsc::channel(CHUNK_COUNT);
    tokio::spawn(async move {
        let mut export = Export { store, text: String::new(), sender };
        match export.run(&row, trial).await {
            Ok(()) | Err(Stop::Left) => {}
            Err(Stop::Failed(error)) => {
                // Whoever asked may have left; then there is nobody to tell.
                let _ = export.sender.send(Err(error)).await;
            }
        }
    });
    receiver
}

struct Export {
    store: Store,
    text: String,
    sender: mpsc::Sender<Result<String, ExportError>>,
}

enum Stop {
    Failed(ExportError),
    Left,
}

impl<E: Into<ExportError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Where an attempt's samples come from.
struct Source {
    node: NodeId,
    boot: BootId,
    clock: Option<ClockFit>,
    place: String,
}

/// What was sampled during an attempt.
struct Taken<'a> {
    boot: BootId,
    channel: u32,
    kind: &'static str,
    /// Rows that still lack their source.
    windows: Vec<Row<'a>>,
}

/// One row. What is not known, or has no meaning for its kind of record, stays empty.
#[derive(Default)]
struct Row<'a> {
    record: &'a str,
    /// Trial, attempt, treatment, valid, kind, node, boot_id, channel.
    source: &'a str,
    phase: &'a str,
    mono_ns: Option<u64>,
    end_mono_ns: Option<u64>,
    unix_ns: Option<u64>,
    volts: Option<f64>,
    amperes: Option<f64>,
    watts: Option<f64>,
    joules: Option<f64>,
    flags: Option<u32>,
    count: Option<u64>,
    reason: &'a str,
}

impl Export {
    async fn run(&mut self, row: &RunRow, trial: Option<u32>) -> Result<(), Stop> {
        self.header(row);
        for attempt in self.store.attempts(&row.run).await? {
            if trial.is_none_or(|wanted| wanted == attempt.attempt.trial) {
                self.attempt(&attempt).await?;
            }
        }
        self.send().await
    }

    fn header(&mut self, row: &RunRow) {
        let text = &mut self.text;
        line(text, format_args!("# tinywatt: run {} of experiment {}", row.run, row.experiment));
        line(
            text,
            format_args!("# record: attempt (one try at a trial, with why it does not count), window (a phase),"),
        );
        line(text, format_args!("#   sample (one reading), lost (readings the agent counted as lost, somewhere in"));
        line(text, format_args!("#   [mono_ns, end_mono_ns)), gap (batches that never arrived, or were refused)"));
        line(
            text,
            format_args!("# units: ns, V, A, W, J; mono_ns counts on the monotonic clock of boot_id, unix_ns is"),
        );
        line(text, format_args!("#   Unix time by the node's clock probes and empty where there are none"));
        line(
            text,
            format_args!("# kind: measured, measured_elsewhere, estimated or simulated: never average over kinds"),
        );
        line(
            text,
            format_args!("# joules: of a window all of its energy (empty: samples are missing); of a sample that of"),
        );
        line(
            text,
            format_args!("#   a metering interval, or of a counter (rapl, nvml, tdp) all since it was opened; where"),
        );
        line(
            text,
            format_args!("#   the counter itself began anew it falls by GJ, and what was used meanwhile is unknown"),
        );
        line(text, format_args!("# flags: 1 clipped, 2 torn, 4 late; count: inferences of a window, readings lost"));
        line(text, format_args!("{COLUMNS}"));
    }

    async fn attempt(&mut self, row: &AttemptRow) -> Result<(), Stop> {
        // What is still executing has neither windows nor a verdict.
        let Some(result) = &row.result else { return Ok(()) };
        let reasons: Vec<_> = result.invalid_reasons.iter().map(|reason| reason.message.as_str()).collect();
        let reason = reasons.join("; ");
        let Some(taken) = self.taken(row, result).await? else {
            let source = format!("{},,{},,", place(result), row.node);
            self.row(&Row { record: "attempt", source: &source, reason: &reason, ..Row::default() });
            return Ok(());
        };
        let clock = self.store.clock_fit(&row.node, taken.boot).await?;
        let source = Source { node: row.node.clone(), boot: taken.boot, clock, place: place(result) };
        let text = source.text(taken.kind, taken.channel);
        self.row(&Row { record: "attempt", source: &text, reason: &reason, ..Row::default() });
        for window in &taken.windows {
            self.row(&Row {
                source: &text,
                unix_ns: window.mono_ns.and_then(|at| source.unix_ns(MonoNs(at))),
                ..*window
            });
        }
        let start = taken.windows.iter().filter_map(|window| window.mono_ns).min();
        let end = taken.windows.iter().filter_map(|window| window.end_mono_ns).max();
        let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
        for channel in self.channels(row, &taken).await? {
            let mut from = MonoNs(start);
            while let Ok(rest) = Window::new(from, MonoNs(end)) {
                let slice =
                    Window::new(from, rest.end().min(from.after(SLICE))).expect("a part of the rest, not empty");
                let samples = match self.store.samples(&source.node, taken.boot, channel, slice).await {
                    // Named by the agent and never announced: the attempt is invalid for it.
                    Err(ReadError::UnknownChannel { .. }) if channel != taken.channel => break,
                    samples => samples?,
                };
                self.slice(&samples, slice, from == MonoNs(start), &source).await?;
                // What an agent says of its windows may end with the clock: the readings there are end the walk, and
                // time without any is skipped. Losses and gaps begin at a reading, so that none is skipped with it.
                let beyond = samples.readings.iter().map(|reading| reading.at).find(|at| *at >= slice.end());
                let Some(next) = beyond else { break };
                from = next;
            }
        }
        Ok(())
    }

    /// The channels that measured an attempt together.
    async fn channels(&self, row: &AttemptRow, taken: &Taken<'_>) -> Result<Vec<u32>, Stop> {
        let outcome = self.store.outcome(&row.attempt).await?;
        let further = outcome.map(|outcome| outcome.samples_further_channels).unwrap_or_default();
        let mut channels = vec![taken.channel];
        for channel in further {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        Ok(channels)
    }

    /// What was sampled during an attempt: by its figures, or without any by what its agent said. `None` when no sample
    /// can be told to be its own.
    async fn taken<'a>(&self, row: &AttemptRow, result: &'a TrialResult) -> Result<Option<Taken<'a>>, Stop> {
        if let Some(measurement) = &result.measurement {
            return Ok(Some(measured(result, measurement)?));
        }
        let Some(outcome) = self.store.outcome(&row.attempt).await? else { return Ok(None) };
        let Some(boot) = BootId::from_bytes(&outcome.samples_boot_id) else { return Ok(None) };
        let channel = outcome.samples_channel;
        let instant = Window::new(MonoNs(0), MonoNs(1)).expect("ascending");
        let kind = match self.store.samples(&row.node, boot, channel, instant).await {
            Ok(samples) => kind_code(&samples.channel),
            // Invalid perhaps for that very reason; there is nothing to show.
            Err(ReadError::UnknownChannel { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let windows = match &outcome.result {
            Some(v1::trial_outcome::Result::Completed(completed)) => completed.windows.as_slice(),
            _ => &[],
        };
        Ok(Some(Taken { boot, channel, kind, windows: windows.iter().filter_map(said).collect() }))
    }

    async fn slice(
        &mut self,
        samples: &ChannelSamples,
        slice: Window,
        is_first: bool,
        source: &Source,
    ) -> Result<(), Stop> {
        let channel = &samples.channel;
        let text = source.text(kind_code(channel), channel.channel);
        // What began before the slice was written with the slice it began in.
        let is_new = |window: Window| slice.contains(window.start()) || (is_first && window.start() < slice.start());
        let stretch = |record: &'static str, between: Window| Row {
            record,
            source: &text,
            mono_ns: Some(between.start().0),
            // At the end of time when nothing has arrived since.
            end_mono_ns: Some(between.end().0).filter(|end| *end != u64::MAX),
            unix_ns: source.unix_ns(between.start()),
            ..Row::default()
        };
        for lost in samples.lost.iter().filter(|lost| is_new(lost.between)) {
            let reason = lost.reason.as_str_name().trim_start_matches("LOSS_REASON_").to_lowercase();
            self.row(&Row { count: Some(lost.count), reason: &reason, ..stretch("lost", lost.between) });
        }
        for gap in samples.gaps.iter().filter(|gap| is_new(**gap)) {
            self.row(&stretch("gap", *gap));
        }
        for reading in samples.readings.iter().filter(|reading| slice.contains(reading.at)) {
            let row = Row {
                record: "sample",
                source: &text,
                mono_ns: Some(reading.at.0),
                unix_ns: source.unix_ns(reading.at),
                flags: Some(reading.flags.bits()).filter(|_| !reading.flags.is_empty()),
                ..quantities(channel, reading)
            };
            self.row(&row);
            if self.text.len() >= CHUNK_BYTES_MAX {
                self.send().await?;
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) {
        let text = &mut self.text;
        write!(text, "{},{},{}", row.record, row.source, field(row.phase)).expect(TAKES_ALL);
        [row.mono_ns, row.end_mono_ns, row.unix_ns].iter().for_each(|value| cell(text, value.as_ref()));
        [row.volts, row.amperes, row.watts, row.joules].iter().for_each(|value| cell(text, value.as_ref()));
        cell(text, row.flags.as_ref());
        cell(text, row.count.as_ref());
        line(text, format_args!(",{}", field(row.reason)));
    }

    async fn send(&mut self) -> Result<(), Stop> {
        let text = std::mem::take(&mut self.text);
        self.sender.send(Ok(text)).await.map_err(|_| Stop::Left)
    }
}

impl Source {
    fn unix_ns(&self, at: MonoNs) -> Option<u64> {
        self.clock.map(|clock| clock.unix_ns(at))
    }

    fn text(&self, kind: &str, channel: u32) -> String {
        format!("{},{kind},{},{},{channel}", self.place, self.node, self.boot)
    }
}

const TAKES_ALL: &str = "a string takes all text";

fn cell<T: Display>(text: &mut String, value: Option<&T>) {
    match value {
        Some(value) => write!(text, ",{value}").expect(TAKES_ALL),
        None => text.push(','),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect(TAKES_ALL);
}

/// Trial, attempt, treatment, valid.
fn place(result: &TrialResult) -> String {
    format!("{},{},{},{}", result.trial, result.attempt, field(&result.treatment), result.is_valid())
}

fn measured<'a>(result: &TrialResult, measurement: &'a Measurement) -> Result<Taken<'a>, ExportError> {
    let boot = uuid::Uuid::parse_str(&measurement.samples_boot_id)
        .ok()
        .and_then(|uuid| BootId::from_bytes(uuid.as_bytes()))
        .ok_or_else(|| ExportError::BootId {
            trial: result.trial,
            attempt: result.attempt,
            boot_id: measurement.samples_boot_id.clone(),
        })?;
    let window = |window: &'a WindowResult| Row {
        record: "window",
        phase: &window.phase,
        mono_ns: Some(window.start_mono_ns),
        end_mono_ns: Some(window.end_mono_ns),
        watts: Some(window.power_watts_mean),
        joules: Some(window.energy_joules.value),
        count: Some(window.inference_count),
        ..Row::default()
    };
    let windows = measurement.windows.iter().map(window).collect();
    Ok(Taken { boot, channel: measurement.samples_channel, kind: measurement.kind.code(), windows })
}

/// A window as the agent said it, without an energy; `None` for phases whose energy nobody asks for.
fn said(window: &v1::Window) -> Option<Row<'static>> {
    let phase = match window.phase() {
        v1::Phase::Idle => "idle",
        v1::Phase::Active => "active",
        _ => return None,
    };
    Some(Row {
        record: "window",
        phase,
        mono_ns: Some(window.start_mono_ns),
        end_mono_ns: Some(window.end_mono_ns),
        count: Some(window.inference_count),
        ..Row::default()
    })
}

/// A row with what the channel gives.
fn quantities(channel: &v1::Channel, reading: &Reading) -> Row<'static> {
    match &channel.scale {
        Some(v1::channel::Scale::ShuntBus(scale)) => {
            let sample = ShuntBusScale::from(scale).sample(reading);
            Row {
                volts: Some(sample.bus.get()),
                amperes: Some(sample.current.get()),
                watts: Some(sample.power.get()),
                ..Row::default()
            }
        }
        Some(v1::channel::Scale::Energy(scale)) => {
            #[expect(clippy::cast_precision_loss, reason = "codes stay below 2^53")]
            let joules = joules_per_code(scale) * (reading.first as f64);
            Row { joules: Some(joules.get()), ..Row::default() }
        }
        Some(v1::channel::Scale::Counter(scale)) => {
            #[expect(clippy::cast_precision_loss, reason = "codes stay below 2^53")]
            let joules = joules_per_count(scale) * (reading.first as f64);
            Row { joules: Some(joules.get()), ..Row::default() }
        }
        None => Row::default(),
    }
}

fn kind_code(channel: &v1::Channel) -> &'static str {
    Kind::of(channel).map_or("", Kind::code)
}

/// A text as a field, in quotes where it needs them (RFC 4180).
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::sample::Flags;

    use super::*;

    #[test]
    fn a_reading_of_a_counter_is_its_joules() {
        let scale = v1::CounterScale { picojoules_per_code: 1_000_000, gain_ppm: None, update_period_ns: 1_000_000 };
        let channel = v1::Channel { scale: Some(v1::channel::Scale::Counter(scale)), ..v1::Channel::default() };
        let reading = Reading { at: MonoNs(5), first: 2_500_000, second: 0, flags: Flags::NONE };
        let row = quantities(&channel, &reading);
        assert_eq!((row.joules, row.watts, row.volts), (Some(2.5), None, None));
    }
}
