//! What a reader must doubt: the faults that have made published comparisons worthless, looked for in every run.

use serde::Serialize;

use super::build::counted;
use super::input::RunReport;
use super::job::{JobFigures, PhaseFigures};
use super::relations::{POINTS_LOST_MAX, Relation};
use super::table::{InvalidAttempt, Row};
use crate::result::ModelFile;

/// Part by which a job's carbon intensity may differ from the run's unremarked: digits lost in writing it.
const INTENSITY_RATIO_MAX: f64 = 1.001;

/// Part by which a deployable file may exceed its weights, for tables, scales and names ...
const FILE_RATIO_MAX: f64 = 1.5;

/// ... and what a small model's file may hold besides: structure, and code in TorchScript.
const FILE_BYTES_BESIDES: f64 = 65_536.0;

/// Something about the run that makes figures doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Constant word for programs: "grid_intensity", "checkpoint_as_model", "suspect_pipeline", "single_replicate",
    /// "too_short", "no_energy".
    pub code: &'static str,
    /// For people, with the figures that decided.
    pub message: String,
}

/// Looks for all faults, in the order of their weight.
pub(super) fn warnings(
    run: &RunReport,
    rows: &[Row],
    relations: &[Relation],
    invalid: &[InvalidAttempt],
) -> Vec<Warning> {
    let mut warnings = suspect_pipelines(rows, relations);
    warnings.extend(checkpoints(run, rows));
    warnings.extend(intensities(run, rows));
    warnings.extend(single_replicates(run, rows));
    warnings.extend(without_energy(run, rows, invalid));
    warnings
}

/// Quantised models far below their float32 parent: inputs quantised with a wrong scale, or a wrong calibration.
fn suspect_pipelines(rows: &[Row], relations: &[Relation]) -> Vec<Warning> {
    let suspect = relations.iter().filter(|relation| relation.is_suspect());
    suspect
        .filter_map(|relation| {
            let parent = relation.parent.as_ref()?;
            let of = |treatment: &str| {
                let row = rows.iter().find(|row| row.treatment == treatment && row.node == relation.node)?;
                Some((row.accuracy()?, row.family.is_some()))
            };
            let ((own, is_of_family), (parents, _)) = (of(&relation.treatment)?, of(parent)?);
            let replicates = match relation.suspect_replicates.as_slice() {
                _ if !is_of_family => String::new(),
                [one] => format!(" in replicate {one}"),
                several => format!(
                    " in replicates {}",
                    several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
                ),
            };
            let looks = if is_of_family { "its float32 parent" } else { "the float32 model of the same size and work," };
            Some(Warning {
                code: "suspect_pipeline",
                message: format!(
                    "{} on {} has an accuracy of {own:.4}, {looks} {parent} {parents:.4}: more than \
                     {POINTS_LOST_MAX:.0} points lost{replicates}. Right calibration keeps within about one. Look at the \
                     scale of its inputs and at the calibration; its gain in energy is not listed as an answer.",
                    relation.treatment, relation.node
                ),
            })
        })
        .collect()
}

/// Files that hold more than the weights of a model.
fn checkpoints(run: &RunReport, rows: &[Row]) -> Vec<Warning> {
    let mut warned: Vec<String> = Vec::new();
    let mut warnings = Vec::new();
    let mut check = |of: &str, model: &Deployable<'_>| {
        if let Some(message) = model.holds_more_than_weights(of).filter(|_| !warned.iter().any(|name| name == of)) {
            warned.push(of.to_owned());
            warnings.push(Warning { code: "checkpoint_as_model", message });
        }
    };
    for attempt in run.attempts.iter().filter(|attempt| attempt.is_valid()) {
        let Some(measurement) = &attempt.measurement else { continue };
        let row = rows.iter().find(|row| row.treatment == attempt.treatment && row.node == attempt.node);
        let stated = |model: &ModelFile| model.parameter_count.or(row.and_then(|row| row.parameter_count));
        let artifacts = measurement.job.iter().flat_map(|job| &job.artifacts).filter(|file| file.role == "model");
        for model in measurement.model.iter().chain(artifacts.filter_map(|file| file.model.as_ref())) {
            let deployable = Deployable {
                file_bytes: model.file_bytes,
                parameter_count: stated(model),
                number_format: &model.precision,
            };
            check(&attempt.treatment, &deployable);
        }
    }
    for row in rows.iter().filter(|row| !row.is_job()) {
        let (Some(file_bytes), Some(number_format)) = (row.model_file_bytes, &row.number_format) else { continue };
        check(&row.treatment, &Deployable { file_bytes, parameter_count: row.parameter_count, number_format });
    }
    warnings
}

/// A file that is said to be a deployable model.
struct Deployable<'a> {
    file_bytes: u64,
    parameter_count: Option<u64>,
    number_format: &'a str,
}

impl Deployable<'_> {
    /// Bytes of one weight; of a format that is not known as many as the largest has.
    fn weight_bytes(&self) -> f64 {
        match self.number_format {
            "float16" => 2.0,
            "full-integer" | "full-integer-float-io" | "dynamic-range" | "int16x8" | "qat" => 1.0,
            _ => 4.0,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes stay below 2^53")]
    fn holds_more_than_weights(&self, of: &str) -> Option<String> {
        let parameters = self.parameter_count?;
        let weights = parameters as f64 * self.weight_bytes();
        let kilobytes = |bytes: f64| format!("{:.0} kB", bytes / 1e3);
        (self.file_bytes as f64 > FILE_RATIO_MAX * weights + FILE_BYTES_BESIDES).then(|| {
            format!(
                "{of}: the deployable file has {}, its {parameters} weights take {}. It holds more than its weights: a \
                 checkpoint with optimiser slots? Its size is not comparable.",
                kilobytes(self.file_bytes as f64),
                kilobytes(weights)
            )
        })
    }
}

/// Jobs that reckoned with another carbon intensity than the run, or than each other.
fn intensities(run: &RunReport, rows: &[Row]) -> Option<Warning> {
    let of_job = |row: &Row, job: &JobFigures| {
        job.grid_intensities_g_per_kwh.iter().map(|intensity| (row.treatment.clone(), *intensity)).collect::<Vec<_>>()
    };
    let own: Vec<(String, f64)> =
        rows.iter().filter_map(|row| Some(of_job(row, row.job.as_ref()?))).flatten().collect();
    let all =
        own.iter().map(|(_, intensity)| *intensity).chain(run.carbon.iter().map(|carbon| carbon.intensity_g_per_kwh));
    let smallest = all.clone().min_by(f64::total_cmp)?;
    let largest = all.max_by(f64::total_cmp)?;
    if largest <= smallest * INTENSITY_RATIO_MAX {
        return None;
    }
    let told: Vec<_> = own.iter().map(|(job, intensity)| format!("{job} {intensity:.0} g/kWh")).collect();
    let ours = match &run.carbon {
        Some(carbon) => format!("this report uses {:.0} g/kWh for all of them", carbon.intensity_g_per_kwh),
        None => "this report gives no CO2, as the experiment states no intensity".to_owned(),
    };
    Some(Warning {
        code: "grid_intensity",
        message: format!(
            "jobs reckoned their own CO2 with different grid intensities ({}): their figures order treatments by the \
             grid and not by the energy. Do not compare them; {ours}.",
            told.join(", ")
        ),
    })
}

/// Rows that rest on one replicate.
fn single_replicates(run: &RunReport, rows: &[Row]) -> Option<Warning> {
    let counted: Vec<&Row> =
        rows.iter().filter(|row| row.workload != super::table::RECORDING && row.kind.is_some()).collect();
    let single: Vec<String> = counted
        .iter()
        .filter(|row| row.counts.replicate_count_valid == 1)
        .map(|row| format!("{} on {}", row.treatment, row.node))
        .collect();
    if single.is_empty() {
        return None;
    }
    let (which, advice) = match (run.replicate_count, single.len() == counted.len()) {
        (1, _) => ("everything".to_owned(), "Set `replicates = 3` or more in the experiment."),
        (_, true) => ("everything so far".to_owned(), "Read on when more of them have ended."),
        (_, false) => (super::comparable::named(&single), "Look at the invalid attempts, or wait for the run's end."),
    };
    Some(Warning {
        code: "single_replicate",
        message: format!(
            "a single replicate of {which}: no interval and no test, so another run may order them differently. {advice}"
        ),
    })
}

/// Phases and windows without an energy. An attempt that a valid one stands in for took nothing from the report.
fn without_energy(run: &RunReport, rows: &[Row], invalid: &[InvalidAttempt]) -> Vec<Warning> {
    let refused = rows.iter().filter_map(|row| Some((row, row.job.as_ref()?))).flat_map(|(row, job)| {
        job.phases.iter().filter(|phase| phase.refusal_count > 0).map(move |phase| Refused::new(row, phase))
    });
    let is_replaced = |attempt: &&InvalidAttempt| {
        run.attempts.iter().any(|other| {
            other.treatment == attempt.treatment
                && other.node == attempt.node
                && other.replicate == attempt.replicate
                && counted(other).is_some()
        })
    };
    let mut places: Vec<String> = Vec::new();
    let windows = invalid.iter().filter(|attempt| !is_replaced(attempt)).filter_map(|attempt| {
        let why = attempt.reasons.iter().find(|reason| reason.code == TOO_SHORT)?;
        let place = format!("{} on {}", attempt.treatment, attempt.node);
        let message = format!("{place}: no energy, as it is too short for its sensor ({}).", why.message);
        let is_first = !places.contains(&place);
        places.push(place);
        is_first.then_some(Warning { code: "too_short", message })
    });
    Refused::warnings(refused).into_iter().chain(windows).collect()
}

/// Code of what is too short for its sensor, in stored results.
const TOO_SHORT: &str = "window_too_short";

/// A phase that lacks its energy, in some replicates or all.
struct Refused<'a> {
    treatment: &'a str,
    phase: &'a str,
    /// " of 1 of 3 replicates"; empty for all of them.
    which: String,
    /// Only what is too short could be longer.
    is_short: bool,
    why: String,
}

impl<'a> Refused<'a> {
    fn new(row: &'a Row, phase: &'a PhaseFigures) -> Self {
        let count = phase.refusal_count + phase.energy_joules.as_ref().map_or(0, |energy| energy.replicate_count);
        let which = match (phase.refusal_count, count) {
            (refused, count) if refused == count => String::new(),
            (refused, count) => format!(" of {refused} of {count} replicates"),
        };
        let first = phase.refusals.first().map_or("no reason given", String::as_str);
        let is_short = !phase.refusal_codes.is_empty() && phase.refusal_codes.iter().all(|code| code == TOO_SHORT);
        let more = match phase.refusals.len().saturating_sub(1) {
            more if more > 0 && !is_short => format!(", and {more} more reasons"),
            _ => String::new(),
        };
        Self { treatment: &row.treatment, phase: &phase.phase, which, is_short, why: format!("{first}{more}") }
    }

    /// One warning for what several treatments lack alike, with the reason of the first.
    fn warnings(all: impl Iterator<Item = Self>) -> Vec<Warning> {
        let mut groups: Vec<Vec<Self>> = Vec::new();
        for one in all {
            match groups.iter_mut().find(|group| group[0].is_alike(&one)) {
                Some(group) => group.push(one),
                None => groups.push(vec![one]),
            }
        }
        groups.iter().map(|group| Self::warning(group)).collect()
    }

    fn is_alike(&self, other: &Self) -> bool {
        let whole = |one: &Self| (one.phase.to_owned(), one.which.clone(), one.is_short);
        whole(self) == whole(other) && (self.is_short || self.why == other.why)
    }

    fn warning(group: &[Self]) -> Warning {
        let Self { treatment, phase, which, is_short, why } = &group[0];
        let names: Vec<String> = group.iter().map(|one| one.treatment.to_owned()).collect();
        let place = format!("phase {phase} of {}: no energy{which}", super::comparable::named(&names));
        if *is_short {
            let whose = if group.len() > 1 { format!("{treatment}: ") } else { String::new() };
            Warning {
                code: "too_short",
                message: format!("{place}, as it is too short for its sensor ({whose}{why})."),
            }
        } else {
            Warning { code: "no_energy", message: format!("{place}: {why}.") }
        }
    }
}
