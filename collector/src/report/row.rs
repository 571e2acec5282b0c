//! The figures of one row, from its replicates: all valid, all of one kind, in the order of their index.

use super::build::Counted;
use super::input::Carbon;
use super::job;
use super::latency::{self, Latency};
use super::quality;
use super::scale::Prefix;
use super::table::{Energy, JoulesOverReplicates, Memory, Quality, RECORDING, RecordedWindow, Recording, Row};
use crate::result::{InferenceResult, Uncertain, WindowResult};
use crate::statistics::{mean, mean_interval95};

/// Note of a row that rests on one replicate.
pub(super) const ONE_REPLICATE: &str = "one replicate: no interval";

/// Fills the figures of a row in.
pub(super) fn filled(row: Row, replicates: &[Counted<'_>], carbon: Option<&Carbon>) -> Row {
    let is_recording = row.workload == RECORDING;
    let inferences: Vec<&InferenceResult> =
        replicates.iter().filter_map(|counted| counted.measurement.inference.as_ref()).collect();
    let quality = quality::quality(&row, replicates);
    let energy = energy(replicates, quality.as_ref().filter(|_| !row.is_job()), is_recording);
    let latency = latency::pooled(inferences.iter().map(|inference| inference.latency_histogram.as_str()));
    let mut notes = Vec::new();
    if replicates.len() == 1 && !is_recording {
        notes.push(ONE_REPLICATE.to_owned());
    }
    if is_recording && replicates.iter().any(|replicate| !plays_alike(*replicate, replicates[0])) {
        notes.push("replays of one recording differ: suspect the replay, or a changed file".to_owned());
    }
    if quality.as_ref().is_some_and(|quality| quality.outputs_equal == Some(false)) {
        notes.push("outputs differ between replicates: scores are those of the first valid one".to_owned());
    }
    if quality.is_none() && !inferences.is_empty() {
        notes.push("no scores: the confusion matrix holds no input".to_owned());
    }
    if latency.is_none() && !inferences.is_empty() {
        notes.push("no latency: a replicate's histogram is empty or cannot be read".to_owned());
    }
    if let Some(energy) = &energy {
        notes.extend(energy_notes(energy));
    }
    let jobs = replicates.iter().filter_map(|counted| counted.measurement.job.as_ref());
    let made = jobs.flat_map(|job| &job.artifacts).filter_map(|artifact| artifact.model.as_ref());
    let executed = replicates.iter().filter_map(|counted| counted.measurement.model.as_ref());
    let models: Vec<_> = executed.chain(made).collect();
    let job = job::figures(replicates, carbon);
    notes.extend(job.as_ref().into_iter().flat_map(|job| &job.notes).map(|note| format!("job: {note}")));
    let inferences_per_second = if is_recording || job.is_some() { None } else { inferences_per_second(replicates) };
    let energy = energy.map(|energy| Energy {
        joule_seconds_per_inference: inferences_per_second.map(|rate| energy.per_inference.joules_mean / rate),
        ..energy
    });
    notes.extend(inferences_per_second.zip(latency).and_then(|(rate, latency)| slower_than_latency(rate, &latency)));
    Row {
        thread_count: inferences.first().map_or(row.thread_count, |inference| Some(inference.thread_count)),
        runtimes: distinct(
            inferences.iter().map(|inference| format!("{} {}", inference.runtime, inference.runtime_version)),
        ),
        number_format: models
            .iter()
            .map(|model| model.precision.clone())
            .find(|precision| !precision.is_empty())
            .or(row.number_format.clone().filter(|format| !format.is_empty())),
        model_file_bytes: models
            .iter()
            .map(|model| model.file_bytes)
            .max()
            .or(job.as_ref().and_then(|job| job.model_file_bytes))
            .or(row.model_file_bytes.filter(|_| models.is_empty())),
        // A trainer knows its network; a file holds what its converter has left of it.
        parameter_count: job
            .as_ref()
            .and_then(|job| job.parameter_count)
            .or(models.iter().filter_map(|model| model.parameter_count).max())
            .or(row.parameter_count),
        mac_count: job
            .as_ref()
            .and_then(|job| job.mac_count)
            .or(models.iter().filter_map(|model| model.mac_count).max())
            .or(row.mac_count),
        framework: row.framework.clone().or_else(|| {
            let told = replicates.iter().filter_map(|counted| counted.measurement.job.as_ref());
            told.map(|job| job.framework.clone()).find(|framework| !framework.is_empty())
        }),
        quality,
        latency,
        inferences_per_second,
        memory: memory(&inferences),
        energy,
        job,
        notes,
        ..row
    }
}

fn energy_notes(energy: &Energy) -> Vec<String> {
    let (total, above) = (&energy.per_inference, &energy.per_inference_above_idle);
    let mut notes = Vec::new();
    match above {
        Some(above) if above.replicate_count < total.replicate_count => notes.push(format!(
            "above idle: known for {} of {} replicates only",
            above.replicate_count, total.replicate_count
        )),
        Some(above) if above.joules_mean <= 0.0 => {
            notes.push("above idle: not more than the noise of the idle windows".to_owned());
        }
        _ => {}
    }
    if total.joules_expanded_uncertainty.is_none() {
        notes.push("no measurement uncertainty: the sensor states no error".to_owned());
    }
    notes
}

fn memory(inferences: &[&InferenceResult]) -> Option<Memory> {
    let increase =
        |inference: &&InferenceResult| inference.memory_bytes_peak.saturating_sub(inference.memory_bytes_before);
    Some(Memory {
        bytes_peak: inferences.iter().map(|inference| inference.memory_bytes_peak).max()?,
        bytes_increase: inferences.iter().map(increase).max()?,
    })
}

fn energy(replicates: &[Counted<'_>], quality: Option<&Quality>, is_recording: bool) -> Option<Energy> {
    let totals: Vec<Uncertain> =
        replicates.iter().map(|counted| counted.measurement.energy_joules_per_inference).collect();
    let above: Vec<Uncertain> = replicates
        .iter()
        .filter_map(|counted| counted.measurement.energy_joules_per_inference_above_idle)
        .filter(|figure| figure.value.is_finite())
        .collect();
    let per_inference = over_replicates(&totals, is_recording)?;
    let active: Vec<&WindowResult> = replicates.iter().flat_map(|counted| active_windows(counted)).collect();
    let seconds: Vec<f64> = active.iter().map(|window| window_seconds(window)).collect();
    let sum = |count: fn(&WindowResult) -> u64| active.iter().map(|window| count(window)).sum();
    let per_correct_inference = quality.and_then(|quality| per_correct(replicates, &per_inference, quality));
    Some(Energy {
        joules_per_correct_inference: per_correct_inference.as_ref().map(|figure| figure.joules_mean),
        per_correct_inference,
        joule_seconds_per_inference: None,
        power_watts_mean: mean(&replicates.iter().filter_map(|counted| power_watts(counted)).collect::<Vec<_>>()),
        simulated_true_joules_per_inference: true_joules_per_inference(replicates),
        sensors: distinct(replicates.iter().map(|counted| counted.measurement.sensor.clone())),
        sample_rates_hz: distinct(replicates.iter().map(|counted| counted.measurement.sample_rate_hz)),
        active_window_seconds_min: seconds.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0),
        active_window_seconds_max: seconds.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0),
        inference_count: sum(|window| window.inference_count),
        sample_count: sum(|window| window.sample_count),
        lost_reading_count: replicates
            .iter()
            .flat_map(|counted| &counted.measurement.windows)
            .map(|window| window.lost_reading_count)
            .sum(),
        per_inference,
        per_inference_above_idle: over_replicates(&above, is_recording),
    })
}

/// Averages replicates. Their expanded uncertainties are averaged too and not divided by √n: all replicates went
/// through the same shunt and converter, so an error of these is the same in each of them.
pub(super) fn over_replicates(figures: &[Uncertain], is_recording: bool) -> Option<JoulesOverReplicates> {
    let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    let interval = mean_interval95(&values)?;
    let uncertainties: Option<Vec<f64>> =
        figures.iter().map(|figure| figure.expanded_uncertainty.filter(|half_width| half_width.is_finite())).collect();
    Some(JoulesOverReplicates {
        joules_mean: interval.mean,
        replicate_count: values.len(),
        joules_interval95_half_width: interval.half_width.filter(|_| !is_recording),
        joules_expanded_uncertainty: uncertainties.as_deref().and_then(mean),
        joules_by_replicate: values,
    })
}

/// Energy of one inference by the accuracy: the row's by the row's, and each replicate's by its own model's.
fn per_correct(
    replicates: &[Counted<'_>],
    per_inference: &JoulesOverReplicates,
    quality: &Quality,
) -> Option<JoulesOverReplicates> {
    let accuracy = quality.scores.accuracy;
    if accuracy <= 0.0 {
        return None;
    }
    let own = |counted: &Counted<'_>| {
        let scores = quality.by_replicate.iter().find(|scores| scores.replicate == counted.result.replicate);
        // A model from a file is the same in all replicates.
        scores.map_or(accuracy, |scores| scores.scores.accuracy)
    };
    let quotients = per_inference.joules_by_replicate.iter().zip(replicates);
    let joules_by_replicate: Vec<f64> = quotients.map(|(joules, counted)| joules / own(counted)).collect();
    // Without a scatter of the energies there is none to tell of here: a single replicate, or replays of one recording.
    let interval = mean_interval95(&joules_by_replicate).filter(|interval| interval.mean.is_finite());
    let half_width = interval.and_then(|interval| interval.half_width);
    Some(JoulesOverReplicates {
        joules_mean: per_inference.joules_mean / accuracy,
        replicate_count: per_inference.replicate_count,
        joules_interval95_half_width: half_width.filter(|_| per_inference.joules_interval95_half_width.is_some()),
        joules_expanded_uncertainty: per_inference.joules_expanded_uncertainty.map(|half_width| half_width / accuracy),
        joules_by_replicate,
    })
}

/// Mean power of a replicate: of its active windows, weighted by their length.
fn power_watts(counted: &Counted<'_>) -> Option<f64> {
    let weighted: f64 = active_windows(counted).map(|window| window.power_watts_mean * window_seconds(window)).sum();
    let seconds: f64 = active_windows(counted).map(window_seconds).sum();
    Some(weighted / seconds).filter(|watts| watts.is_finite())
}

/// Inferences of a replicate's active windows per second of them, the mean over replicates.
fn inferences_per_second(replicates: &[Counted<'_>]) -> Option<f64> {
    let of_replicate = |counted: &Counted<'_>| {
        let inference_count: u64 = active_windows(counted).map(|window| window.inference_count).sum();
        let seconds: f64 = active_windows(counted).map(window_seconds).sum();
        Some(as_f64(inference_count) / seconds).filter(|rate| rate.is_finite() && *rate > 0.0)
    };
    mean(&replicates.iter().filter_map(of_replicate).collect::<Vec<_>>())
}

/// Part by which the mean time of an inference may exceed the median latency unremarked.
const MEAN_TO_MEDIAN_MAX: f64 = 1.5;

/// Energy and latency do not belong together when the active window held much else than median inferences.
fn slower_than_latency(inferences_per_second: f64, latency: &Latency) -> Option<String> {
    let (mean, median) = (1.0 / inferences_per_second, latency.seconds_p50);
    (mean > MEAN_TO_MEDIAN_MAX * median).then(|| {
        let micro = |seconds: f64| Prefix::MICRO.text(seconds, 1);
        format!(
            "the active window took {} µs per inference, the median inference {} µs: the device was busy with \
             something else, or the latency has a long tail",
            micro(mean),
            micro(median)
        )
    })
}

/// The emulated load's own joules per inference, the mean over replicates; absent unless every window knows them.
fn true_joules_per_inference(replicates: &[Counted<'_>]) -> Option<f64> {
    let of_replicate = |counted: &Counted<'_>| {
        let joules: f64 = active_windows(counted).map(|window| window.simulated_true_joules).sum::<Option<f64>>()?;
        let inference_count = active_windows(counted).map(|window| window.inference_count).sum();
        Some(joules / as_f64(inference_count)).filter(|joules| joules.is_finite())
    };
    mean(&replicates.iter().map(of_replicate).collect::<Option<Vec<_>>>()?)
}

/// Whether two replays went alike, to the last bit.
fn plays_alike(one: Counted<'_>, other: Counted<'_>) -> bool {
    let windows = |counted: &Counted<'_>| {
        active_windows(counted).map(|window| (window.energy_joules.value, window.inference_count)).collect::<Vec<_>>()
    };
    windows(&one) == windows(&other)
}

/// The windows of a recording, of its first valid replay.
pub(super) fn recording(treatment: &str, node: &str, replicates: &[Counted<'_>]) -> Option<Recording> {
    let first = replicates.first()?;
    let windows = active_windows(first)
        .map(|window| RecordedWindow {
            seconds: window_seconds(window),
            inference_count: window.inference_count,
            power_watts_mean: window.power_watts_mean,
            joules: window.energy_joules.value,
            joules_per_inference: (window.inference_count > 0)
                .then(|| window.energy_joules.value / as_f64(window.inference_count)),
        })
        .collect();
    Some(Recording {
        treatment: treatment.to_owned(),
        node: node.to_owned(),
        kind: first.measurement.kind,
        sensor: first.measurement.sensor.clone(),
        joules_per_inference_median: first.measurement.energy_joules_per_inference.value,
        windows,
    })
}

fn active_windows<'a>(counted: &Counted<'a>) -> impl Iterator<Item = &'a WindowResult> + use<'a> {
    counted.measurement.windows.iter().filter(|window| window.phase == "active")
}

fn window_seconds(window: &WindowResult) -> f64 {
    as_f64(window.end_mono_ns.saturating_sub(window.start_mono_ns)) / 1e9
}

/// The values in their order, each once.
pub(super) fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53: counts, and windows below 104 days in ns")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
