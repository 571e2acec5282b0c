//! What came of one attempt at one trial: the row behind every figure of a report.
//!
//! Kept as JSON in the store; every name carries its unit.

use std::fmt;

use serde::{Deserialize, Serialize};
use tinywatt_proto::v1;

/// Where a figure comes from. Kinds never share a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Read from a power sensor on the node.
    Measured,
    /// Measured on another bench, replayed from its recording.
    MeasuredElsewhere,
    /// Computed from a model of the load.
    Estimated,
    /// Made by an emulated sensor.
    Simulated,
}

impl Kind {
    /// Its word for programs: in JSON, CSV and tags.
    pub fn code(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::MeasuredElsewhere => "measured_elsewhere",
            Self::Estimated => "estimated",
            Self::Simulated => "simulated",
        }
    }

    /// That of a channel's figures; `None` when an agent does not tell.
    pub fn of(channel: &v1::Channel) -> Option<Self> {
        match channel.kind() {
            v1::FigureKind::Unspecified => None,
            v1::FigureKind::Measured => Some(Self::Measured),
            v1::FigureKind::MeasuredElsewhere => Some(Self::MeasuredElsewhere),
            v1::FigureKind::Estimated => Some(Self::Estimated),
            v1::FigureKind::Simulated => Some(Self::Simulated),
        }
    }
}

/// One attempt, executed and assessed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// Run.
    pub run: String,
    /// Position in the run's trial list, from 0.
    pub trial: u32,
    /// From 1.
    pub attempt: u32,
    /// Block of the seeded order: one replicate of everything.
    pub block: u32,
    /// Node that executed it.
    pub node: String,
    /// Treatment, from the experiment.
    pub treatment: String,
    /// Replicate, from 0.
    pub replicate: u32,
    /// Why the attempt does not count; empty for a valid one.
    pub invalid_reasons: Vec<InvalidReason>,
    /// Everything that was measured; absent when the attempt failed before its windows were complete.
    pub measurement: Option<Measurement>,
}

impl TrialResult {
    /// Whether the attempt counts.
    pub fn is_valid(&self) -> bool {
        self.invalid_reasons.is_empty()
    }
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Why an attempt does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidReason {
    /// Constant word for programs: "readings_lost", "clipped", "idle_drift", "window_too_short",
    /// "agent_restarted", "node_lost", "outcome_missing", "failed" ...
    pub code: String,
    /// For people, with the figures that decided.
    pub message: String,
}

impl InvalidReason {
    /// Reasons as one text for people: each code once, with all that was said under it.
    pub fn text(reasons: &[Self]) -> String {
        let mut codes: Vec<&str> = Vec::new();
        for reason in reasons {
            if !codes.contains(&reason.code.as_str()) {
                codes.push(&reason.code);
            }
        }
        let of = |code: &str| {
            let said: Vec<_> =
                reasons.iter().filter(|reason| reason.code == code).map(|reason| reason.message.as_str()).collect();
            format!("{code}: {}", said.join(", and "))
        };
        codes.into_iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

/// What an attempt measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Where the energy figures come from.
    pub kind: Kind,
    /// Sensor and channel, for people: "ina219-emulator (rail)".
    pub sensor: String,
    /// Nominal sample rate.
    pub sample_rate_hz: f64,
    /// Boot id of the samples, a UUID.
    pub samples_boot_id: String,
    /// Channel index within the boot id.
    pub samples_channel: u32,
    /// All windows, in time order.
    pub windows: Vec<WindowResult>,
    /// Joules of one inference, all of the rail: mean of the active window, or for a recording of several windows the
    /// median of the windows, as MLPerf Tiny scores.
    pub energy_joules_per_inference: Uncertain,
    /// Joules of one inference above the idle power around it; absent without idle windows.
    pub energy_joules_per_inference_above_idle: Option<Uncertain>,
    /// What the runtime reported; absent for recordings.
    pub inference: Option<InferenceResult>,
    /// The model file that was executed, when the run made it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelFile>,
    /// What a job took and gave; absent for other workloads. A job counts as one inference in the figures above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobResult>,
}

/// A figure with its expanded uncertainty, coverage factor 2 (about 95 %).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Uncertain {
    /// The figure.
    pub value: f64,
    /// Half width of the interval; absent when the source states no error.
    pub expanded_uncertainty: Option<f64>,
}

/// One window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowResult {
    /// "idle" or "active".
    pub phase: String,
    /// First instant, on the monotonic clock of the samples' boot id.
    pub start_mono_ns: u64,
    /// First instant after.
    pub end_mono_ns: u64,
    /// Inferences completed inside.
    pub inference_count: u64,
    /// Samples inside.
    pub sample_count: u64,
    /// Readings known to be lost inside.
    pub lost_reading_count: u64,
    /// All energy of the window.
    pub energy_joules: Uncertain,
    /// Mean power of the window.
    pub power_watts_mean: f64,
    /// What the emulated load really took; absent for real sensors.
    pub simulated_true_joules: Option<f64>,
}

/// What the runtime reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceResult {
    /// "litert".
    pub runtime: String,
    /// Version of its library.
    pub runtime_version: String,
    /// Threads the runtime was given.
    pub thread_count: u32,
    /// Latency of every inference of the active window: HdrHistogram V2, ns, hexadecimal.
    pub latency_histogram: String,
    /// Row = label, column = prediction: `[label][prediction]`.
    pub confusion: Vec<Vec<u64>>,
    /// SHA-256 of all raw outputs, hexadecimal.
    pub outputs_sha256: String,
    /// Resident memory before the model was loaded.
    pub memory_bytes_before: u64,
    /// Peak resident memory of the worker process.
    pub memory_bytes_peak: u64,
    /// Input tensor, for people: "int8 1×32×32×3".
    pub input: String,
    /// Output tensor, for people.
    pub output: String,
}

/// What is known of a deployable model from its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Size of the file.
    pub file_bytes: u64,
    /// Precision read from its tensors: "float32", "full-integer" ...; empty when the file's kind does not tell.
    pub precision: String,
    /// Parameters, when the file tells.
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference, when the file tells.
    pub mac_count: Option<u64>,
}

/// What a job took and gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// "train", "optimise" or "build".
    pub kind: String,
    /// Framework, as the job names it.
    pub framework: String,
    /// Its version.
    pub framework_version: String,
    /// Length of the job's whole window.
    pub duration_seconds: f64,
    /// Energy of the whole window.
    pub energy_joules: Uncertain,
    /// Energy above the idle power around it; absent without idle windows, and when they contradict each other.
    pub energy_joules_above_idle: Option<Uncertain>,
    /// Why it and its phases have no energy above idle, though there were idle windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_idle_refusal: Option<String>,
    /// Parts of the window that the job told, in time order.
    pub phases: Vec<JobPhase>,
    /// Parameters of the model.
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference.
    pub mac_count: Option<u64>,
    /// Over the test inputs, on the training host: `[label][prediction]`; empty when the job did not evaluate.
    pub confusion: Vec<Vec<u64>>,
    /// Peak resident memory of the job's processes.
    pub memory_bytes_peak: u64,
    /// What the job told of each epoch.
    pub epochs: Vec<Epoch>,
    /// What it made.
    pub artifacts: Vec<JobArtifact>,
    /// Carbon intensity that the job itself reckoned with; the report uses the run's.
    pub grid_intensity_g_per_kwh: Option<f64>,
    /// What the job wants people to know.
    pub notes: Vec<String>,
}

/// Part of a job's window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobPhase {
    /// "train", "evaluate" or "optimise".
    pub phase: String,
    /// Its length.
    pub duration_seconds: f64,
    /// Its energy; absent when it cannot be told, for the reason in `refusal`.
    pub energy_joules: Option<Uncertain>,
    /// Its energy above the idle power around the job.
    pub energy_joules_above_idle: Option<Uncertain>,
    /// Why it has no energy, for people.
    pub refusal: Option<String>,
    /// Constant word for that reason: "window_too_short", "edges", "samples_missing", "outside", "unreadable". Absent in
    /// what earlier versions kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal_code: Option<String>,
}

/// One epoch of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Mean loss over the training inputs.
    pub train_loss: Option<f64>,
    /// 0 to 1.
    pub train_accuracy: Option<f64>,
    /// Mean loss over the validation inputs.
    pub validation_loss: Option<f64>,
    /// 0 to 1.
    pub validation_accuracy: Option<f64>,
}

/// A file that a job made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobArtifact {
    /// "model", "checkpoint", "log" for what it wrote to standard output and error, or the job's own word.
    pub role: String,
    /// Plain name of the file.
    pub name: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Size of the file.
    pub file_bytes: u64,
    /// What a deployable model's file tells; absent for other files.
    pub model: Option<ModelFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_of_an_earlier_version_is_read() {
        let kept = r#"{"phase":"train","duration_seconds":1.5,"energy_joules":null,"energy_joules_above_idle":null,
            "refusal":"it takes 1.5 s"}"#;
        let phase: JobPhase = serde_json::from_str(kept).expect("still read");
        assert_eq!((phase.refusal.as_deref(), phase.refusal_code), (Some("it takes 1.5 s"), None));
    }

    #[test]
    fn a_code_stands_once() {
        let reason = |code: &str, message: &str| InvalidReason { code: code.to_owned(), message: message.to_owned() };
        let reasons = [reason("lost", "3 idle"), reason("clipped", "far"), reason("lost", "4 active")];
        assert_eq!(InvalidReason::text(&reasons), "lost: 3 idle, and 4 active; clipped: far");
    }
}
