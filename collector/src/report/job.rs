//! What jobs took and gave, over the replicates of one row.

use std::collections::BTreeMap;

use serde::Serialize;

use super::build::Counted;
use super::input::Carbon;
use super::row::{distinct, over_replicates};
use super::table::{Figure, JoulesOverReplicates};
use crate::carbon::grams;
use crate::result::{Epoch, JobPhase, JobResult, Uncertain};
use crate::statistics::mean;

/// Name of the row that stands for a job's whole window: start, loading and saving included.
pub const WHOLE_JOB: &str = "whole job";

/// What jobs of one treatment took and gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobFigures {
    /// Framework with its version, each that occurs.
    pub frameworks: Vec<String>,
    /// The phases that the job told, then the whole job.
    pub phases: Vec<PhaseFigures>,
    /// Parameters of the model, as the job states them: the same in all frameworks. A file may fold some away.
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference, as the job states them.
    pub mac_count: Option<u64>,
    /// Size of the deployable file, the largest of the replicates.
    pub model_file_bytes: Option<u64>,
    /// Size of what the framework saves to go on training, optimiser state included; the largest of the replicates.
    pub checkpoint_file_bytes: Option<u64>,
    /// Largest resident memory of the job's processes.
    pub memory_bytes_peak: u64,
    /// Epochs, each the mean over the replicates.
    pub epochs: Vec<Epoch>,
    /// Carbon intensities that the jobs reckoned with themselves; the report uses the run's.
    pub grid_intensities_g_per_kwh: Vec<f64>,
    /// What the jobs want people to know.
    pub notes: Vec<String>,
}

/// One phase of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseFigures {
    /// "train", "evaluate", "optimise", or "whole job".
    pub phase: String,
    /// Its length.
    pub duration_seconds: Figure,
    /// Its energy, over the replicates that have one; absent when all were refused.
    pub energy_joules: Option<JoulesOverReplicates>,
    /// The same above the idle power around the job.
    pub energy_joules_above_idle: Option<JoulesOverReplicates>,
    /// CO2-equivalent of the energy by the run's intensity; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub co2_grams: Option<f64>,
    /// Replicates without an energy.
    pub refusal_count: usize,
    /// Why, each reason once.
    pub refusals: Vec<String>,
    /// Constant words for these reasons, in their order; an empty one where an earlier version kept none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusal_codes: Vec<String>,
    /// Replicates with an energy whose part above idle was refused.
    pub above_idle_refusal_count: usize,
    /// Why, each reason once.
    pub above_idle_refusals: Vec<String>,
}

/// Averages what jobs took; `None` when the row holds no job.
pub(super) fn figures(replicates: &[Counted<'_>], carbon: Option<&Carbon>) -> Option<JobFigures> {
    let jobs: Vec<&JobResult> = replicates.iter().filter_map(|counted| counted.measurement.job.as_ref()).collect();
    if jobs.is_empty() {
        return None;
    }
    let size = |role: &str| {
        let artifacts = jobs.iter().flat_map(|job| &job.artifacts).filter(|artifact| artifact.role == role);
        artifacts.map(|artifact| artifact.file_bytes).max()
    };
    Some(JobFigures {
        frameworks: distinct(jobs.iter().map(|job| format!("{} {}", job.framework, job.framework_version))),
        phases: phases(&jobs, carbon),
        parameter_count: jobs.iter().filter_map(|job| job.parameter_count).max(),
        mac_count: jobs.iter().filter_map(|job| job.mac_count).max(),
        model_file_bytes: size("model"),
        checkpoint_file_bytes: size("checkpoint"),
        memory_bytes_peak: jobs.iter().map(|job| job.memory_bytes_peak).max().unwrap_or(0),
        epochs: epochs(&jobs),
        grid_intensities_g_per_kwh: distinct(jobs.iter().filter_map(|job| job.grid_intensity_g_per_kwh)),
        notes: distinct(jobs.iter().flat_map(|job| job.notes.iter().cloned())),
    })
}

/// One stretch of one job.
struct Stretch<'a> {
    seconds: f64,
    joules: Option<Uncertain>,
    above_idle: Option<Uncertain>,
    refusal: Option<(&'a str, &'a str)>,
    above_idle_refusal: Option<&'a str>,
}

fn phases(jobs: &[&JobResult], carbon: Option<&Carbon>) -> Vec<PhaseFigures> {
    let names = distinct(jobs.iter().flat_map(|job| job.phases.iter().map(|phase| phase.phase.as_str())));
    let told = names.into_iter().filter_map(|name| {
        let stretches: Vec<_> = jobs.iter().filter_map(|job| stretch(job, name)).collect();
        phase(name, &stretches, carbon)
    });
    let whole = jobs.iter().map(|job| Stretch {
        seconds: job.duration_seconds,
        joules: Some(job.energy_joules),
        above_idle: job.energy_joules_above_idle,
        refusal: None,
        above_idle_refusal: job.above_idle_refusal.as_deref(),
    });
    let whole = phase(WHOLE_JOB, &whole.collect::<Vec<_>>(), carbon);
    told.chain(whole).collect()
}

/// What a job says of a phase; a phase that it told several times is added up, and refused when a part of it was.
fn stretch<'a>(job: &'a JobResult, name: &str) -> Option<Stretch<'a>> {
    let parts: Vec<&JobPhase> = job.phases.iter().filter(|phase| phase.phase == name).collect();
    Some(Stretch {
        seconds: parts.iter().map(|part| part.duration_seconds).sum(),
        joules: added(parts.iter().map(|part| part.energy_joules)),
        above_idle: added(parts.iter().map(|part| part.energy_joules_above_idle)),
        refusal: parts
            .iter()
            .find_map(|part| Some((part.refusal_code.as_deref().unwrap_or_default(), part.refusal.as_deref()?))),
        above_idle_refusal: job.above_idle_refusal.as_deref(),
    })
    .filter(|_| !parts.is_empty())
}

/// Energies of one sensor, whose errors are the same in all of them and so are added like the figures.
fn added(mut parts: impl Iterator<Item = Option<Uncertain>>) -> Option<Uncertain> {
    let first = parts.next()??;
    parts.try_fold(first, |sum, part| {
        let part = part?;
        Some(Uncertain {
            value: sum.value + part.value,
            expanded_uncertainty: sum.expanded_uncertainty.zip(part.expanded_uncertainty).map(|(a, b)| a + b),
        })
    })
}

fn phase(name: &str, stretches: &[Stretch<'_>], carbon: Option<&Carbon>) -> Option<PhaseFigures> {
    let finite = |figure: &Uncertain| figure.value.is_finite();
    let joules: Vec<Uncertain> = stretches.iter().filter_map(|stretch| stretch.joules).filter(finite).collect();
    let above: Vec<Uncertain> = stretches.iter().filter_map(|stretch| stretch.above_idle).filter(finite).collect();
    // A stretch without any energy is refused as a whole.
    let whole = stretches.iter().filter(|stretch| stretch.joules.is_some());
    let above_idle_refusals: Vec<&str> = whole.filter_map(|stretch| stretch.above_idle_refusal).collect();
    let seconds = stretches.iter().map(|stretch| stretch.seconds).filter(|seconds| seconds.is_finite()).collect();
    let refusals = distinct(stretches.iter().filter_map(|stretch| stretch.refusal));
    let energy_joules = over_replicates(&joules, false);
    Some(PhaseFigures {
        phase: name.to_owned(),
        duration_seconds: Figure::new(seconds)?,
        co2_grams: energy_joules
            .as_ref()
            .zip(carbon)
            .map(|(energy, carbon)| grams(energy.joules_mean, carbon.intensity_g_per_kwh, carbon.pue)),
        energy_joules_above_idle: over_replicates(&above, false),
        refusal_count: stretches.len() - joules.len(),
        refusal_codes: refusals.iter().map(|(code, _)| (*code).to_owned()).collect(),
        refusals: refusals.into_iter().map(|(_, message)| message.to_owned()).collect(),
        above_idle_refusal_count: above_idle_refusals.len(),
        above_idle_refusals: distinct(above_idle_refusals.into_iter().map(str::to_owned)),
        energy_joules,
    })
}

/// Epochs by their number, each figure the mean over the jobs that state it.
fn epochs(jobs: &[&JobResult]) -> Vec<Epoch> {
    let mut by_number: BTreeMap<u32, Vec<&Epoch>> = BTreeMap::new();
    for epoch in jobs.iter().flat_map(|job| &job.epochs) {
        by_number.entry(epoch.epoch).or_default().push(epoch);
    }
    let averaged = |(epoch, told): (u32, Vec<&Epoch>)| {
        let over = |figure: fn(&Epoch) -> Option<f64>| {
            let figures = told.iter().filter_map(|epoch| figure(epoch)).filter(|figure| figure.is_finite());
            mean(&figures.collect::<Vec<_>>())
        };
        Epoch {
            epoch,
            train_loss: over(|epoch| epoch.train_loss),
            train_accuracy: over(|epoch| epoch.train_accuracy),
            validation_loss: over(|epoch| epoch.validation_loss),
            validation_accuracy: over(|epoch| epoch.validation_accuracy),
        }
    };
    by_number.into_iter().map(averaged).collect()
}
