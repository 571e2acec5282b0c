//! Recorded energy traces: the joules of every millisecond of a bench, as published.
//!
//! A file is a JSON list of recordings. Of each, `power.samples` holds joules per interval, `power.timestamps` pairs of
//! a label and the index of a sample; the measured window is what lies between the last two (before the first of them
//! the device is set up, between an earlier pair it downloads its input), and `infer.iterations` the inferences in it.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::rail;
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, Window, nanoseconds};
use tinywatt_proto::v1;

use super::decimal::Decimal;

/// Length of the intervals: the recorder of these benches samples at 1 kHz. The files do not state it.
const INTERVAL: Duration = Duration::from_millis(1);
/// Pause between two recordings. They do not touch: nobody may integrate from one into the next.
const PAUSE_INTERVALS: u64 = 10;
/// Largest file read. The published ones are about 1 MB; a recording of an hour is 40 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Codes stay exact in an `f64`, which the energy is computed in.
const CODE_MAX: i64 = 1 << 53;

/// A recorded trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("failed to read the energy trace {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any trace.
    #[error("the energy trace {} has {bytes} bytes; at most {FILE_BYTES_MAX} are read: is it a trace?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is not a list of recordings.
    #[error("{} is not an energy trace: expected a JSON list with `power.samples` and `infer.iterations`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A recording does not hold what it should.
    #[error("{}, recording {recording}: {problem}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// Position in the list, from 0.
        recording: usize,
        /// What is wrong.
        problem: Problem,
    },
    /// The list is empty.
    #[error("{} holds no recording", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A sample is no number that can be kept exactly.
    #[error(
        "power.samples[{index}] = {text} is not an energy in joules that can be kept exactly (whole picojoules, up to \
         18 digits)"
    )]
    Sample {
        /// Position of the sample.
        index: usize,
        /// What is there.
        text: String,
    },
    /// There are fewer than two time stamps.
    #[error("power.timestamps has {0} entries; the measured window lies between the last two")]
    Timestamps(usize),
    /// The time stamps are no window of the samples.
    #[error("the measured window, samples {start} to {end}, does not lie in the {sample_count} samples")]
    Window {
        /// First sample inside.
        start: usize,
        /// First sample after.
        end: usize,
        /// Number of samples.
        sample_count: usize,
    },
    /// No inferences are stated.
    #[error("infer.iterations is 0; energy per inference would be infinite")]
    NoInferences,
}

/// A recorded energy trace, exact to the last digit.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Recordings, in the order of the file.
    pub windows: Vec<TraceWindow>,
    /// Energy of one code, pJ: the largest power of ten of which all samples are whole multiples.
    pub picojoules_per_code: u64,
    /// Length of every sample's interval.
    pub interval: Duration,
    /// Of the file's text: the same recording under another name is no other one.
    pub sha256: Sha256,
}

/// One recording with its measured window.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceWindow {
    /// Name of the input that was inferred, for people.
    pub name: String,
    /// Energy of each interval of the recording, also around the measured window.
    pub energy_codes: Vec<i64>,
    /// Intervals of the measured window.
    pub measured: Range<usize>,
    /// Inferences in the measured window.
    pub inference_count: u64,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default)]
    file: String,
    infer: Infer,
    #[serde(borrow)]
    power: Power<'a>,
}

#[derive(Deserialize)]
struct Infer {
    iterations: u64,
}

#[derive(Deserialize)]
struct Power<'a> {
    #[serde(borrow)]
    samples: Vec<&'a RawValue>,
    timestamps: Vec<(String, usize)>,
}

impl Trace {
    /// Reads a file.
    ///
    /// # Errors
    /// Any [`TraceError`], naming file and place.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let failed = |source| TraceError::Read { path: path.to_owned(), source };
        let bytes = fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(TraceError::TooLarge { path: path.to_owned(), bytes });
        }
        Self::parse(path, &fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads a file's text; `path` is for messages.
    ///
    /// # Errors
    /// Any [`TraceError`] but those of reading.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TraceError> {
        let entries: Vec<Entry> =
            serde_json::from_str(text).map_err(|source| TraceError::Format { path: path.to_owned(), source })?;
        if entries.is_empty() {
            return Err(TraceError::Empty { path: path.to_owned() });
        }
        let in_recording =
            |recording| move |problem| TraceError::Recording { path: path.to_owned(), recording, problem };
        let mut decimals = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            decimals.push(entry.decimals().map_err(in_recording(index))?);
        }
        // A picojoule is the finest unit of the wire.
        const FINEST: i32 = -12;
        let unit = decimals.iter().flatten().filter(|sample| sample.digits != 0).map(|sample| sample.exponent).min();
        let unit = unit.unwrap_or(FINEST).clamp(FINEST, 0);
        let mut windows = Vec::with_capacity(entries.len());
        for (index, (entry, decimals)) in entries.iter().zip(&decimals).enumerate() {
            windows.push(entry.window(decimals, unit).map_err(in_recording(index))?);
        }
        let picojoules_per_code = 10u64.pow((unit - FINEST).unsigned_abs());
        Ok(Self { windows, picojoules_per_code, interval: INTERVAL, sha256: Sha256::of(text.as_bytes()) })
    }

    /// Measured windows and their inferences, when the first recording begins at `start`.
    pub fn windows(&self, start: MonoNs) -> Vec<(Window, u64)> {
        let windows = self.windows.iter().zip(self.starts(start)).map(|(window, start)| {
            let at = |index: usize| self.instant(start, index);
            let measured = Window::new(at(window.measured.start), at(window.measured.end));
            (measured.expect("checked when the trace was read"), window.inference_count)
        });
        windows.collect()
    }

    /// All readings, when the first recording begins at `start`. A reading's instant is the end of its interval.
    pub fn readings(&self, start: MonoNs) -> impl Iterator<Item = Reading> + '_ {
        self.windows.iter().zip(self.starts(start)).flat_map(move |(window, start)| {
            window.energy_codes.iter().enumerate().map(move |(index, &code)| Reading {
                at: self.instant(start, index + 1),
                first: code,
                second: 0,
                flags: Flags::NONE,
            })
        })
    }

    /// First instant after the last reading.
    pub fn end(&self, start: MonoNs) -> MonoNs {
        let last = self.windows.iter().zip(self.starts(start)).last();
        last.map_or(start, |(window, start)| self.instant(start, window.energy_codes.len()))
    }

    /// What a channel that plays this trace is.
    pub fn channel(&self, name: &str) -> v1::Channel {
        v1::Channel {
            channel: 0,
            name: name.to_owned(),
            source: "replay".to_owned(),
            kind: v1::FigureKind::MeasuredElsewhere.into(),
            sample_period_ns: nanoseconds(self.interval),
            time_unit_ns: 1_000,
            scale: Some(v1::channel::Scale::Energy(v1::EnergyScale {
                picojoules_per_code: self.picojoules_per_code,
                // The recordings do not state what their meter may do wrong.
                gain_ppm: None,
            })),
            rail: format!("{}/{}", rail::RECORDING, self.sha256),
        }
    }

    /// Where each recording begins.
    fn starts(&self, start: MonoNs) -> impl Iterator<Item = MonoNs> + '_ {
        self.windows.iter().scan(start, |next, window| {
            let this = *next;
            *next = this.after(self.next_recording_after(window));
            Some(this)
        })
    }

    /// Time from the start of a recording to the start of the next.
    pub(super) fn next_recording_after(&self, window: &TraceWindow) -> Duration {
        let intervals = window.energy_codes.len() as u64 + PAUSE_INTERVALS;
        Duration::from_nanos(intervals * nanoseconds(self.interval))
    }

    fn instant(&self, start: MonoNs, index: usize) -> MonoNs {
        MonoNs(start.0 + index as u64 * nanoseconds(self.interval))
    }
}

impl Entry<'_> {
    fn decimals(&self) -> Result<Vec<Decimal>, Problem> {
        let parse = |(index, raw): (usize, &&RawValue)| {
            Decimal::parse(raw.get()).ok_or_else(|| Problem::Sample { index, text: shortened(raw.get()) })
        };
        self.power.samples.iter().enumerate().map(parse).collect()
    }

    fn window(&self, decimals: &[Decimal], unit: i32) -> Result<TraceWindow, Problem> {
        let code = |(index, decimal): (usize, &Decimal)| {
            let exact = decimal.in_units(unit).filter(|code| code.abs() < CODE_MAX);
            exact.ok_or_else(|| Problem::Sample { index, text: shortened(self.power.samples[index].get()) })
        };
        let energy_codes = decimals.iter().enumerate().map(code).collect::<Result<Vec<_>, _>>()?;
        let [.., (_, start), (_, end)] = self.power.timestamps[..] else {
            return Err(Problem::Timestamps(self.power.timestamps.len()));
        };
        let sample_count = energy_codes.len();
        if start >= end || end > sample_count {
            return Err(Problem::Window { start, end, sample_count });
        }
        if self.infer.iterations == 0 {
            return Err(Problem::NoInferences);
        }
        let name = self.file.clone();
        Ok(TraceWindow { name, energy_codes, measured: start..end, inference_count: self.infer.iterations })
    }
}

/// At most 40 characters of what may be a whole nested document.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Trace, TraceError> {
        Trace::parse(Path::new("trace.json"), text)
    }

    fn recording(samples: &str, timestamps: &str, iterations: u32) -> String {
        format!(
            r#"{{"file": "a.bin", "infer": {{"iterations": {iterations}}},
               "power": {{"samples": {samples}, "timestamps": {timestamps}, "voltage": 3}}, "mode": "e"}}"#
        )
    }

    #[test]
    fn samples_become_exact_codes_of_the_coarsest_step_that_fits() {
        let text = format!("[{}]", recording("[1.542e-05, 7.383e-06, 0, 2e-05]", r#"[["00", 1], ["01", 3]]"#, 250));
        let trace = parse(&text).expect("a trace");
        assert_eq!(trace.picojoules_per_code, 1_000);
        assert_eq!(trace.windows[0].energy_codes, [15_420, 7_383, 0, 20_000]);
        let [(window, inferences)] = trace.windows(MonoNs(5_000_000))[..] else { panic!("one window") };
        assert_eq!((window.start(), window.end(), inferences), (MonoNs(6_000_000), MonoNs(8_000_000), 250));
        let ends: Vec<u64> = trace.readings(MonoNs(5_000_000)).map(|reading| reading.at.0 / 1_000_000).collect();
        assert_eq!(ends, [6, 7, 8, 9]);
    }

    #[test]
    fn recordings_do_not_touch() {
        let one = recording("[1e-5, 2e-5]", r#"[["00", 0], ["01", 2]]"#, 1);
        let trace = parse(&format!("[{one},{one}]")).expect("a trace");
        let windows = trace.windows(MonoNs(0));
        assert_eq!(windows[1].0.start().since(windows[0].0.end()), Duration::from_millis(10));
        assert_eq!(trace.end(MonoNs(0)), MonoNs(14_000_000));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let stamps = r#"[["00", 0], ["01", 2]]"#;
        for (text, expected) in [
            ("[]".to_owned(), "trace.json holds no recording"),
            (format!("[{}]", recording("[1e-5, null]", stamps, 1)), "recording 0: power.samples[1] = null"),
            (format!("[{}]", recording("[1e-5, 1e-13]", stamps, 1)), "recording 0: power.samples[1] = 1e-13"),
            (format!("[{}]", recording("[1e-5]", stamps, 1)), "samples 0 to 2, does not lie in the 1 samples"),
            (format!("[{}]", recording("[1e-5]", "[]", 1)), "power.timestamps has 0 entries"),
            (format!("[{}]", recording("[1e-5, 1e-5]", stamps, 0)), "infer.iterations is 0"),
            ("{}".to_owned(), "trace.json is not an energy trace"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let cut = &format!("[{}]", recording("[1e-5, 2e-5]", stamps, 1))[..80];
        let error = parse(cut).expect_err("cut");
        let source = std::error::Error::source(&error).expect("says where").to_string();
        assert!(source.contains("line"), "{source}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Trace::read(Path::new("/nowhere/trace.json")).expect_err("not there");
        assert_eq!(error.to_string(), "failed to read the energy trace /nowhere/trace.json");
    }
}
