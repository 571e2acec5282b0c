//! Turns an outcome and the samples behind it into a result: figures, and whether they count.
//!
//! An attempt is judged, never repaired. All joules come from `tinywatt-energy`.

mod bounds;
mod inputs;
mod job;
mod rail;
mod summary;
mod validity;
mod window;

use tinywatt_proto::hex;
use tinywatt_proto::ids::{AttemptId, BootId, NodeId, Sha256};
use tinywatt_proto::rail::Overlap;
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;
use tinywatt_proto::v1::trial_outcome::Result as OutcomeResult;

use crate::result::{InferenceResult, InvalidReason, Kind, Measurement, TrialResult, Uncertain, WindowResult};
use crate::store::{ReadError, Store};
pub use bounds::{sample_period, window_advice, window_min};
use job::Told;
use rail::Rail;
use window::Source;

/// Channels that may measure one attempt together: packages, memories and GPUs of a large host.
const CHANNEL_COUNT_MAX: usize = 32;

/// Windows of one outcome: a job that evaluates after each of many epochs has two for each.
const WINDOW_COUNT_MAX: usize = 20_000;

/// Assesses an outcome that the store holds, with its samples; `workload` is what was to be executed.
///
/// # Errors
/// When the store cannot be read. Whatever is wrong with the trial itself is a reason in the result instead.
pub async fn run(
    store: &Store,
    attempt: &AttemptId,
    planned: &v1::PlannedTrial,
    workload: Option<&Workload>,
    outcome: &v1::TrialOutcome,
) -> Result<TrialResult, ReadError> {
    let blank = blank(attempt, planned);
    let completed = match &outcome.result {
        Some(OutcomeResult::Completed(completed)) => completed,
        Some(OutcomeResult::Failure(failure)) => return Ok(invalid(blank, failed(failure))),
        None => return Ok(invalid(blank, reason("unreadable", "the outcome carries no result"))),
    };
    let boot = BootId::from_bytes(&outcome.samples_boot_id);
    let node = planned.node.parse::<NodeId>().ok();
    let (Some(boot), Some(node), false) = (boot, node, completed.windows.is_empty()) else {
        return Ok(invalid(blank, reason("unreadable", "the outcome names no samples and no windows")));
    };
    if completed.windows.len() > WINDOW_COUNT_MAX {
        let message = format!("the outcome has {} windows, more than {WINDOW_COUNT_MAX}", completed.windows.len());
        return Ok(invalid(blank, reason("unreadable", message)));
    }
    let expected = Expected::of(workload);
    let channels = match channels(outcome) {
        Ok(channels) => channels,
        Err(why) => return Ok(invalid(blank, why)),
    };
    let mut rails = Vec::new();
    for channel in channels {
        let source = Source::Stored { store, node: &node, boot, channel };
        match rail::look(expected, completed, &source).await? {
            Ok(rail) => rails.push(rail),
            Err(why) => return Ok(invalid(blank, why)),
        }
    }
    let job = match (workload, &completed.job) {
        (Some(Workload::Job(job)), Some(summary)) => Some(job::read(&store.artifacts(), job, summary).await),
        _ => None,
    };
    Ok(assess(blank, expected, completed, boot, rails, job))
}

/// What kind of workload was to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Inference,
    Replay,
    Job(v1::JobKind),
}

impl Expected {
    fn of(workload: Option<&Workload>) -> Self {
        match workload {
            Some(Workload::Inference(_)) => Self::Inference,
            Some(Workload::Job(job)) => Self::Job(job.kind()),
            Some(Workload::Replay(_)) | None => Self::Replay,
        }
    }

    fn is_job(self) -> bool {
        matches!(self, Self::Job(_))
    }
}

/// The channels that measured, each once: their energies are added up.
fn channels(outcome: &v1::TrialOutcome) -> Result<Vec<u32>, InvalidReason> {
    let mut channels = vec![outcome.samples_channel];
    for channel in &outcome.samples_further_channels {
        if channels.contains(channel) || channels.len() == CHANNEL_COUNT_MAX {
            let message =
                format!("the outcome names channel {channel} twice, or more than {CHANNEL_COUNT_MAX} channels");
            return Err(reason("unreadable", message));
        }
        channels.push(*channel);
    }
    Ok(channels)
}

/// An attempt that broke before it could give an outcome.
pub fn broken(attempt: &AttemptId, planned: &v1::PlannedTrial, code: &str, message: &str) -> TrialResult {
    invalid(blank(attempt, planned), reason(code, message))
}

/// Judges a completed attempt. Pure.
fn assess(
    mut result: TrialResult,
    expected: Expected,
    completed: &v1::Completed,
    boot: BootId,
    rails: Vec<Rail>,
    job: Option<Result<Told, InvalidReason>>,
) -> TrialResult {
    let reasons = &mut result.invalid_reasons;
    for rail in &rails {
        let name = (rails.len() > 1).then_some(rail.channel.name.as_str());
        reasons.extend(rail.reasons.iter().map(|reason| named(reason, name)));
    }
    reasons.extend(validity::throttled(completed));
    let first = rails.first().expect("an outcome names one channel at least");
    if rails.iter().any(|rail| rail.kind != first.kind) {
        let message = "the channels are of different kinds, and a measured joule is never added to an estimated one";
        reasons.push(reason("mixed_kinds", format!("{message}: {}", sensors(&rails))));
    }
    let channels: Vec<&v1::Channel> = rails.iter().map(|rail| &rail.channel).collect();
    let overlaps = Overlap::among(&channels);
    reasons.extend(overlaps.iter().map(|overlap| reason("channels_overlap", overlap.to_string())));
    let active = |window: &&v1::Window| window.phase() == v1::Phase::Active;
    let active: Vec<_> = completed.windows.iter().filter(active).collect();
    let is_idle = active.is_empty() || active.iter().any(|window| window.inference_count == 0);
    if !expected.is_job() && is_idle {
        reasons.push(reason("no_inference", "no inference was completed in the active window"));
    }
    let mut told = None;
    match (expected, job) {
        (Expected::Job(_), _) if active.len() != 1 => {
            let message = format!("the outcome has {} active windows, and a job has one", active.len());
            reasons.push(reason("unreadable", message));
        }
        (Expected::Job(_), None) => reasons.push(reason("unreadable", "the outcome says nothing of the job's result")),
        (Expected::Job(_), Some(Err(why))) => reasons.push(why),
        (Expected::Job(_), Some(Ok(read))) => told = Some(read),
        (Expected::Inference, _) => reasons.extend(summary::unreadable(completed.inference.as_ref())),
        (Expected::Replay, _) => {}
    }
    let is_whole = rails.iter().all(|rail| rail.is_whole) && !active.is_empty();
    let has_figures = is_whole && (expected.is_job() || !is_idle) && told.is_some() == expected.is_job();
    // Kinds that differ have no sum, nor have channels that hold each other, and broken windows or results no figures.
    if has_figures && overlaps.is_empty() && rails.iter().all(|rail| rail.kind == first.kind) {
        result.measurement = Some(measurement(completed, boot, &rails, told));
    }
    result
}

/// All figures of windows that each rail could integrate.
fn measurement(completed: &v1::Completed, boot: BootId, rails: &[Rail], told: Option<Told>) -> Measurement {
    let first = &rails[0];
    let mut windows: Vec<WindowResult> = (0..first.windows.len()).map(|index| rail::added(rails, index)).collect();
    if told.is_some() {
        // A job counts as one inference.
        windows.iter_mut().for_each(|window| window.inference_count = u64::from(window.phase == "active"));
    }
    let active: Vec<usize> = (0..windows.len()).filter(|index| first.windows[*index].is_active()).collect();
    let count = |index: usize| window::whole(windows[index].inference_count.max(1));
    let share = |index: usize, energy: Uncertain| Uncertain {
        value: energy.value / count(index),
        // The count is exact, so the uncertainty divides alike.
        expanded_uncertainty: energy.expanded_uncertainty.map(|half| half / count(index)),
    };
    let per_inference = active.iter().map(|index| share(*index, windows[*index].energy_joules)).collect();
    let above: Option<Vec<Uncertain>> =
        active.iter().map(|index| Some(share(*index, rail::above_idle(rails, *index)?))).collect();
    let job =
        told.zip(active.first()).map(|(told, index)| job::result(told, completed, rails, &windows[*index], *index));
    Measurement {
        kind: first.kind,
        sensor: sensors(rails),
        sample_rate_hz: rails.iter().map(|rail| rail.sample_rate_hz).fold(f64::INFINITY, f64::min),
        samples_boot_id: boot.to_string(),
        samples_channel: first.channel.channel,
        energy_joules_per_inference: median(per_inference),
        energy_joules_per_inference_above_idle: above.map(median),
        inference: completed.inference.as_ref().map(inference),
        windows,
        model: None,
        job,
    }
}

/// For people: "rapl (package) + nvml (gpu)".
fn sensors(rails: &[Rail]) -> String {
    let sensor = |rail: &Rail| format!("{} ({})", rail.channel.source, rail.channel.name);
    rails.iter().map(sensor).collect::<Vec<_>>().join(" + ")
}

/// A reason with the channel it was found on, where there are several.
fn named(why: &InvalidReason, channel: Option<&str>) -> InvalidReason {
    let message =
        channel.map_or_else(|| why.message.clone(), |channel| format!("channel '{channel}': {}", why.message));
    InvalidReason { code: why.code.clone(), message }
}

fn blank(attempt: &AttemptId, planned: &v1::PlannedTrial) -> TrialResult {
    TrialResult {
        run: attempt.run.to_string(),
        trial: attempt.trial,
        attempt: attempt.attempt,
        block: planned.block,
        node: planned.node.clone(),
        treatment: planned.treatment.clone(),
        replicate: planned.replicate,
        invalid_reasons: Vec::new(),
        measurement: None,
    }
}

fn invalid(mut result: TrialResult, why: InvalidReason) -> TrialResult {
    result.invalid_reasons.push(why);
    result
}

fn reason(code: &str, message: impl Into<String>) -> InvalidReason {
    InvalidReason { code: code.to_owned(), message: message.into() }
}

fn failed(failure: &v1::Failure) -> InvalidReason {
    let code = match failure.reason() {
        v1::FailureReason::Unspecified => "failed",
        v1::FailureReason::Cancelled => "cancelled",
        v1::FailureReason::Artifact => "artifact",
        v1::FailureReason::Runtime => "runtime",
        v1::FailureReason::Model => "model",
        v1::FailureReason::Worker => "worker",
        v1::FailureReason::Sensor => "sensor",
        v1::FailureReason::Job => "job",
    };
    reason(code, failure.message.clone())
}

/// Energies of several channels as one: errors of different sensors are independent, so they add in squares.
fn sum(parts: impl IntoIterator<Item = Uncertain>) -> Uncertain {
    let zero = Uncertain { value: 0.0, expanded_uncertainty: Some(0.0) };
    parts.into_iter().fold(zero, |sum, part| Uncertain {
        value: sum.value + part.value,
        expanded_uncertainty: sum.expanded_uncertainty.zip(part.expanded_uncertainty).map(|(a, b)| a.hypot(b)),
    })
}

/// The middle figure; of an even count the mean of the two in the middle, with the larger uncertainty.
fn median(mut figures: Vec<Uncertain>) -> Uncertain {
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    let upper = figures[figures.len() / 2];
    let lower = figures[(figures.len() - 1) / 2];
    let wider = |a: f64, b: f64| a.max(b);
    Uncertain {
        value: (lower.value + upper.value) / 2.0,
        expanded_uncertainty: lower.expanded_uncertainty.zip(upper.expanded_uncertainty).map(|(a, b)| wider(a, b)),
    }
}

fn uncertain(joules: Joules, uncertainty: Option<tinywatt_energy::Uncertainty>) -> Uncertain {
    Uncertain { value: joules.get(), expanded_uncertainty: uncertainty.map(|causes| causes.expanded().get()) }
}

fn inference(summary: &v1::InferenceSummary) -> InferenceResult {
    let class_count = usize::try_from(summary.class_count).unwrap_or(0).max(1);
    InferenceResult {
        runtime: summary.runtime.clone(),
        runtime_version: summary.runtime_version.clone(),
        thread_count: summary.thread_count,
        latency_histogram: hex::encode(&summary.latency_histogram),
        confusion: summary.confusion.chunks(class_count).map(<[u64]>::to_vec).collect(),
        outputs_sha256: Sha256::from_bytes(&summary.outputs_sha256)
            .map(|sha256| sha256.to_string())
            .unwrap_or_default(),
        memory_bytes_before: summary.memory_bytes_before,
        memory_bytes_peak: summary.memory_bytes_peak,
        input: summary.input.as_ref().map(tensor).unwrap_or_default(),
        output: summary.output.as_ref().map(tensor).unwrap_or_default(),
    }
}

/// For people: `int8 1×32×32×3`.
fn tensor(info: &v1::TensorInfo) -> String {
    let shape = info.shape.iter().map(u32::to_string).collect::<Vec<_>>();
    format!("{} {}", info.element, shape.join("×"))
}

#[cfg(test)]
mod tests;
