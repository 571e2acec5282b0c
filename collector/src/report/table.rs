//! A report as values: what every format prints, and word for word what the JSON holds.
//!
//! Names carry their unit; a figure that cannot be given is absent, never zero and never NaN.

use std::collections::BTreeMap;

use serde::Serialize;

use super::input::Carbon;
use super::job::JobFigures;
use super::latency::Latency;
use super::study::Study;
use super::warnings::Warning;
use crate::result::{InvalidReason, Kind};
use crate::statistics::{ClassScores, Scores, mean_interval95};

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which run it is about.
    pub header: Header,
    /// What a reader must know before the first figure: that figures are simulated, or not from here.
    pub banners: Vec<String>,
    /// What a reader must doubt before using a figure.
    pub warnings: Vec<Warning>,
    /// The three questions with their answers; absent for a run without jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub study: Option<Study>,
    /// One row for each treatment, node and kind.
    pub rows: Vec<Row>,
    /// The windows of replayed recordings.
    pub recordings: Vec<Recording>,
    /// Attempts that count for nothing, and why.
    pub invalid_attempts: Vec<InvalidAttempt>,
    /// Why rows may not be compared.
    pub notes: Vec<String>,
}

/// Which run a report is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Header {
    /// Version of the collector that wrote the report.
    pub collector_version: &'static str,
    /// Id of the run.
    pub run: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the data set; empty for replays.
    pub dataset: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Seed of the trials' order.
    pub seed: u64,
    /// "running", "completed", "cancelled", "incomplete" or "unknown".
    pub state: &'static str,
    /// Start, RFC 3339.
    pub started_utc: String,
    /// Start, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// End, RFC 3339; absent while the run is running.
    pub ended_utc: Option<String>,
    /// End, ns since the Unix epoch; absent while the run is running.
    pub ended_unix_ns: Option<u64>,
    /// What turns joules into CO2; absent when the experiment states nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carbon: Option<Carbon>,
    /// Replicates of each treatment on each node, as planned.
    pub replicate_count_planned: u32,
    /// Attempts that have ended.
    pub attempt_count: usize,
    /// Attempts that count.
    pub attempt_count_valid: usize,
    /// Attempts that are executing.
    pub attempt_count_running: u32,
}

impl Header {
    /// Whether the run ended without a valid attempt at every trial.
    pub(super) fn is_incomplete(&self) -> bool {
        self.state == INCOMPLETE
    }
}

/// Word for a run that ended without a valid attempt at every trial.
pub(super) const INCOMPLETE: &str = "incomplete";

/// One treatment on one node, over its valid replicates of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Treatment.
    pub treatment: String,
    /// Node.
    pub node: String,
    /// "inference", "recording", or the kind of a job: "train", "optimise", "build".
    pub workload: &'static str,
    /// Model family: the training entry; absent for models from files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Framework that trains or trained the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// Optimisation technique; absent for training jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub technique: Option<String>,
    /// What a job was told, by key, with device, threads and data; empty for all others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, String>,
    /// Where the energy figures come from; absent when no trial is valid.
    pub kind: Option<Kind>,
    /// The kind in a sentence.
    pub kind_note: Option<&'static str>,
    /// Number format read from the model's tensors; absent for recordings.
    pub number_format: Option<String>,
    /// Size of the deployable file, the largest of the replicates where each has its own; absent for recordings.
    pub model_file_bytes: Option<u64>,
    /// Parameters of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_count: Option<u64>,
    /// SHA-256 of the input set that the model was asked; absent for jobs and recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs_sha256: Option<String>,
    /// Threads the runtime had; absent for recordings.
    pub thread_count: Option<u32>,
    /// Runtime and version; empty for recordings.
    pub runtimes: Vec<String>,
    /// How many replicates and attempts there were.
    pub counts: Counts,
    /// Scores: of an inference on the node, of a training job on its host; absent for recordings.
    pub quality: Option<Quality>,
    /// Latency over all valid replicates; absent for recordings.
    pub latency: Option<Latency>,
    /// Inferences per second of active window, the mean over the valid replicates; absent for recordings. Below one over
    /// the latency: the window holds everything between inferences, too.
    pub inferences_per_second: Option<f64>,
    /// Memory of the worker process; absent for recordings.
    pub memory: Option<Memory>,
    /// Energy; absent when no trial is valid.
    pub energy: Option<Energy>,
    /// What a job took and gave; its whole energy stands in `energy` too, as that of one inference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFigures>,
    /// What is remarkable about this row.
    pub notes: Vec<String>,
}

impl Row {
    /// Whether the row is a job's.
    pub(super) fn is_job(&self) -> bool {
        !matches!(self.workload, INFERENCE | RECORDING)
    }

    /// Accuracies of the replicates.
    pub(super) fn accuracy(&self) -> Option<f64> {
        self.quality.as_ref().map(|quality| quality.scores.accuracy)
    }
}

/// Word for a row of a model on a runtime.
pub(super) const INFERENCE: &str = "inference";

/// Word for a row of a recording.
pub(super) const RECORDING: &str = "recording";

/// Replicates and attempts of one treatment on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Replicates behind the row's figures.
    pub replicate_count_valid: usize,
    /// Replicates of the treatment on the node with at least one attempt that has ended.
    pub replicate_count_attempted: usize,
    /// Attempts that have ended.
    pub attempt_count: usize,
    /// Attempts that count for nothing.
    pub attempt_count_invalid: usize,
}

/// How well a model classifies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// Scores: of a model from a file those of the first valid replicate, as all compute the same; of models that the run
    /// trained the mean over the replicates, each of which has a model of its own.
    #[serde(flatten)]
    pub scores: Scores,
    /// Half widths of the 95 % t intervals of these means; absent for a model from a file and for a single replicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval95_half_widths: Option<Scores>,
    /// Scores of the replicates, in their order; empty for a model from a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_replicate: Vec<ReplicateScores>,
    /// Inputs that each replicate evaluated.
    pub input_count: u64,
    /// Whether all valid replicates gave the same outputs, bit for bit; absent for a single one, and for models that the
    /// run trained.
    pub outputs_equal: Option<bool>,
    /// SHA-256 over the output tensor's bytes of every input, in their order; of the first valid replicate.
    pub outputs_sha256: String,
    /// Row = label, column = prediction: `[label][prediction]`; of the first valid replicate, or of models that the run
    /// trained the sum over the replicates.
    pub confusion: Vec<Vec<u64>>,
    /// Scores of each class, in the order of the classes, from this matrix.
    pub by_class: Vec<ClassScores>,
}

/// Scores of one replicate's model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReplicateScores {
    /// Replicate, from 0.
    pub replicate: u32,
    /// Its scores.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Resident memory of the worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Largest peak of the replicates.
    pub bytes_peak: u64,
    /// Largest increase of a replicate's peak over what the process held before it loaded the model.
    pub bytes_increase: u64,
}

/// Energy of one treatment on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Energy {
    /// Energy of one inference, all of the rail.
    pub per_inference: JoulesOverReplicates,
    /// Energy of one inference above idle; absent without idle windows.
    pub per_inference_above_idle: Option<JoulesOverReplicates>,
    /// Energy of one inference divided by the accuracy; absent for recordings and for a model that is never right.
    pub joules_per_correct_inference: Option<f64>,
    /// The same with its doubts: of each replicate its energy by the accuracy of its own model.
    pub per_correct_inference: Option<JoulesOverReplicates>,
    /// Energy of one inference times the time that it took in the active window (energy-delay product); absent for jobs
    /// and recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joule_seconds_per_inference: Option<f64>,
    /// Mean power of the active windows.
    pub power_watts_mean: Option<f64>,
    /// What the emulated load really took for one inference; absent for real sensors.
    pub simulated_true_joules_per_inference: Option<f64>,
    /// Sensors and channels.
    pub sensors: Vec<String>,
    /// Nominal sample rates.
    pub sample_rates_hz: Vec<f64>,
    /// Shortest active window.
    pub active_window_seconds_min: f64,
    /// Longest active window.
    pub active_window_seconds_max: f64,
    /// Inferences in the active windows.
    pub inference_count: u64,
    /// Samples in the active windows.
    pub sample_count: u64,
    /// Readings known to be lost, in all windows.
    pub lost_reading_count: u64,
}

/// A figure over replicates. Its unit stands in the name of the field that holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Mean of the replicates.
    pub mean: f64,
    /// Half width of the 95 % t interval of the mean; absent for one replicate.
    pub interval95_half_width: Option<f64>,
    /// The replicates, in their order.
    pub by_replicate: Vec<f64>,
}

impl Figure {
    /// Averages; `None` for no values.
    pub(super) fn new(by_replicate: Vec<f64>) -> Option<Self> {
        let interval = mean_interval95(&by_replicate)?;
        Some(Self { mean: interval.mean, interval95_half_width: interval.half_width, by_replicate })
    }
}

/// An energy over replicates, with two statements of doubt that have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JoulesOverReplicates {
    /// Mean of the replicates.
    pub joules_mean: f64,
    /// Replicates in the mean.
    pub replicate_count: usize,
    /// How far the replicates scatter: half width of the 95 % t interval of the mean. Absent for one replicate, and for
    /// replays of one recording, which are no replicates of anything.
    pub joules_interval95_half_width: Option<f64>,
    /// How far all of them may be off together: expanded measurement uncertainty (k = 2), the mean of the replicates'.
    /// Systematic, so more replicates do not shrink it. Absent when the sensor states no error.
    pub joules_expanded_uncertainty: Option<f64>,
    /// The replicates, in their order.
    pub joules_by_replicate: Vec<f64>,
}

/// The windows of a replayed recording, scored as MLPerf Tiny scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recording {
    /// Treatment.
    pub treatment: String,
    /// Node that replayed it; it had no part in the energy.
    pub node: String,
    /// Where the figures come from.
    pub kind: Kind,
    /// Sensor of the recording.
    pub sensor: String,
    /// Median of the windows' energy of one inference.
    pub joules_per_inference_median: f64,
    /// Active windows, in time order.
    pub windows: Vec<RecordedWindow>,
}

/// One window of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RecordedWindow {
    /// Length.
    pub seconds: f64,
    /// Inferences in it.
    pub inference_count: u64,
    /// Mean power.
    pub power_watts_mean: f64,
    /// Energy of the window.
    pub joules: f64,
    /// Energy of one inference; absent for a window without inferences.
    pub joules_per_inference: Option<f64>,
}

/// An attempt that counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidAttempt {
    /// Treatment.
    pub treatment: String,
    /// Node.
    pub node: String,
    /// Position in the run's trial list.
    pub trial: u32,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Block.
    pub block: u32,
    /// Replicate, from 0.
    pub replicate: u32,
    /// Why; never empty.
    pub reasons: Vec<InvalidReason>,
}
