//! Turns an outcome and the samples behind it into a result: figures, and whether they count.
//!
//! An attempt is judged, never repaired. All joules come from `tinywatt-energy`.

mod bounds;
mod validity;
mod window;

use tinywatt_energy::{AboveIdle, Energy, Series, above_idle};
use tinywatt_proto::ids::{AttemptId, BootId, NodeId, Sha256};
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;
use tinywatt_proto::v1::trial_outcome::Result as OutcomeResult;

use crate::result::{InferenceResult, InvalidReason, Kind, Measurement, TrialResult, Uncertain};
use crate::store::{ChannelSamples, ReadError, Store};
use tinywatt_proto::hex;

/// Assesses an outcome that the store holds, with its samples.
///
/// # Errors
/// When the store cannot be read. Whatever is wrong with the trial itself is a reason in the result instead.
pub async fn run(
    store: &Store,
    attempt: &AttemptId,
    planned: &v1::PlannedTrial,
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
    let span = span(&completed.windows);
    let (Some(boot), Some(node), Some(span)) = (boot, node, span) else {
        return Ok(invalid(blank, reason("unreadable", "the outcome names no samples and no windows")));
    };
    let samples = store.samples(&node, boot, outcome.samples_channel, span).await?;
    Ok(assess(blank, completed, boot, &samples))
}

/// An attempt that broke before it could give an outcome.
pub fn broken(attempt: &AttemptId, planned: &v1::PlannedTrial, code: &str, message: &str) -> TrialResult {
    invalid(blank(attempt, planned), reason(code, message))
}

/// Judges a completed attempt. Pure.
fn assess(mut result: TrialResult, completed: &v1::Completed, boot: BootId, samples: &ChannelSamples) -> TrialResult {
    let Some(kind) = kind(&samples.channel) else {
        return invalid(result, reason("unreadable", "the channel states no kind"));
    };
    let Some(series) = Series::from_readings(&samples.channel, &samples.readings) else {
        return invalid(result, reason("unreadable", "the channel states no scale"));
    };
    let mut windows = Vec::new();
    for wire in completed.windows.iter().filter(|window| window::phase(window).is_some()) {
        match window::measure(&series, samples, wire) {
            Ok(measured) => windows.push(measured),
            Err(why) => return invalid(result, why),
        }
    }
    let active: Vec<_> = windows.iter().filter(|window| window.is_active()).collect();
    let idle: Vec<Energy> = windows.iter().filter(|window| !window.is_active()).map(|window| window.energy).collect();
    if active.is_empty() || active.iter().any(|window| window.row.inference_count == 0) {
        return invalid(result, reason("no_inference", "no inference was completed in the active window"));
    }
    let per_inference = active.iter().map(|window| window.per_inference()).collect();
    let above: Option<Vec<AboveIdle>> = active.iter().map(|window| above_idle(&window.energy, &idle)).collect();
    let above_per_inference = above.as_ref().map(|above| {
        let of = |(above, window): (&AboveIdle, &&window::Measured)| window.share(above.joules, above.uncertainty);
        median(above.iter().zip(&active).map(of).collect())
    });
    result.invalid_reasons = validity::reasons(&windows, samples, completed);
    result.measurement = Some(Measurement {
        kind,
        sensor: format!("{} ({})", samples.channel.source, samples.channel.name),
        sample_rate_hz: 1e9 / window::whole(samples.channel.sample_period_ns.max(1)),
        samples_boot_id: boot.to_string(),
        samples_channel: samples.channel.channel,
        energy_joules_per_inference: median(per_inference),
        energy_joules_per_inference_above_idle: above_per_inference,
        inference: completed.inference.as_ref().map(inference),
        windows: windows.into_iter().map(|window| window.row).collect(),
        model: None,
        job: None,
    });
    result
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

fn kind(channel: &v1::Channel) -> Option<Kind> {
    match channel.kind() {
        v1::FigureKind::Unspecified => None,
        v1::FigureKind::Measured => Some(Kind::Measured),
        v1::FigureKind::MeasuredElsewhere => Some(Kind::MeasuredElsewhere),
        v1::FigureKind::Estimated => Some(Kind::Estimated),
        v1::FigureKind::Simulated => Some(Kind::Simulated),
    }
}

/// From the start of the first window to the end of the last.
fn span(windows: &[v1::Window]) -> Option<Window> {
    let start = windows.iter().map(|window| window.start_mono_ns).min()?;
    let end = windows.iter().map(|window| window.end_mono_ns).max()?;
    Window::new(MonoNs(start), MonoNs(end)).ok()
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
