//! The report as one CSV table, a line for each row, in SI base units and full precision. A job has a line for each of its
//! phases and one for the whole.
//!
//! Without comment lines, which many readers take for data: what the other formats say in a banner stands in the
//! columns `kind` and `kind_note` of every line.

use super::job::PhaseFigures;
use super::relations::{BreakEven, Relation};
use super::table::{Energy, InvalidAttempt, JoulesOverReplicates, Report, Row};
use crate::result::Kind;

/// Name of a column and its cell.
type Field = (&'static str, String);

/// Prints a report.
pub(super) fn render(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut head_is_written = false;
    for (row, phase) in report.rows.iter().flat_map(lines) {
        let mut fields = fields(report, row);
        fields.extend(study_fields(report, row, phase));
        if !head_is_written {
            writer.write_record(fields.iter().map(|(name, _)| name)).expect("memory takes every line");
            head_is_written = true;
        }
        writer.write_record(fields.iter().map(|(_, cell)| cell)).expect("all lines have the same columns");
    }
    let bytes = writer.into_inner().expect("memory takes every line");
    String::from_utf8(bytes).expect("made of text")
}

/// A row with its phases; a row that is no job has none.
fn lines(row: &Row) -> Vec<(&Row, Option<&PhaseFigures>)> {
    match &row.job {
        Some(job) => job.phases.iter().map(|phase| (row, Some(phase))).collect(),
        None => vec![(row, None)],
    }
}

/// What a run that trains and optimises adds; empty for others.
fn study_fields(report: &Report, row: &Row, phase: Option<&PhaseFigures>) -> Vec<Field> {
    let carbon = report.header.carbon.as_ref();
    let half_widths = row.quality.as_ref().and_then(|quality| quality.interval95_half_widths);
    let mut fields = vec![
        ("workload", row.workload.to_owned()),
        ("family", words(row.family.as_deref().unwrap_or_default())),
        ("framework", words(row.framework.as_deref().unwrap_or_default())),
        ("technique", words(row.technique.as_deref().unwrap_or_default())),
        ("parameter_count", cell(row.parameter_count)),
        ("mac_count", cell(row.mac_count)),
        ("checkpoint_file_bytes", cell(row.job.as_ref().and_then(|job| job.checkpoint_file_bytes))),
        ("job_memory_bytes_peak", cell(row.job.as_ref().map(|job| job.memory_bytes_peak))),
        ("accuracy_interval95_half_width", cell(half_widths.map(|scores| scores.accuracy))),
        ("precision_macro_interval95_half_width", cell(half_widths.map(|scores| scores.precision_macro))),
        ("recall_macro_interval95_half_width", cell(half_widths.map(|scores| scores.recall_macro))),
        ("f1_macro_interval95_half_width", cell(half_widths.map(|scores| scores.f1_macro))),
        ("phase", words(phase.map(|phase| phase.phase.as_str()).unwrap_or_default())),
        ("phase_seconds_mean", cell(phase.map(|phase| phase.duration_seconds.mean))),
        (
            "phase_seconds_interval95_half_width",
            cell(phase.and_then(|phase| phase.duration_seconds.interval95_half_width)),
        ),
        ("phase_refusals", words(&phase.map(|phase| phase.refusals.join("; ")).unwrap_or_default())),
        (
            "phase_above_idle_refusals",
            words(&phase.map(|phase| phase.above_idle_refusals.join("; ")).unwrap_or_default()),
        ),
        ("phase_co2_grams", cell(phase.and_then(|phase| phase.co2_grams))),
        ("grid_intensity_g_per_kwh", cell(carbon.map(|carbon| carbon.intensity_g_per_kwh))),
        ("pue", cell(carbon.map(|carbon| carbon.pue))),
        ("grid_intensity_source", words(carbon.map(|carbon| carbon.source.as_str()).unwrap_or_default())),
    ];
    fields.extend(joules(
        phase.and_then(|phase| phase.energy_joules.as_ref()),
        [
            "phase_joules_mean",
            "phase_joules_interval95_half_width",
            "phase_joules_expanded_uncertainty",
            "phase_joules_replicate_count",
        ],
    ));
    fields.extend(joules(
        phase.and_then(|phase| phase.energy_joules_above_idle.as_ref()),
        [
            "phase_joules_above_idle_mean",
            "phase_joules_above_idle_interval95_half_width",
            "phase_joules_above_idle_expanded_uncertainty",
            "phase_joules_above_idle_replicate_count",
        ],
    ));
    fields.extend(relation_fields(report, row));
    fields.push(("warnings", words(&warnings(report))));
    fields
}

fn relation_fields(report: &Report, row: &Row) -> Vec<Field> {
    let study = report.study.as_ref();
    let relation = study.and_then(|study| study.relation(row));
    let comparison = study.and_then(|study| study.of_technique(row));
    let product = row.energy.as_ref().and_then(|energy| energy.joule_seconds_per_inference);
    let interval = comparison.and_then(|comparison| comparison.interval95);
    let break_even = relation.and_then(|relation| relation.break_even).map(|break_even| match break_even {
        BreakEven::Inferences(count) => count.to_string(),
        BreakEven::Never => "never".to_owned(),
    });
    vec![
        ("joule_seconds_per_inference", cell(product)),
        ("float32_treatment", words(relation.and_then(|relation| relation.parent.as_deref()).unwrap_or_default())),
        ("accuracy_points_to_float32", cell(relation.and_then(|relation| relation.accuracy_points_to_parent))),
        ("is_suspect", cell(relation.map(Relation::is_suspect))),
        ("energy_percent_to_float32", cell(comparison.and_then(|comparison| comparison.difference))),
        ("energy_percent_to_float32_interval95_low", cell(interval.map(|interval| interval.low))),
        ("energy_percent_to_float32_interval95_high", cell(interval.and_then(|interval| interval.high))),
        ("p_welch", cell(comparison.and_then(|comparison| comparison.welch).map(|welch| welch.p))),
        ("p_holm", cell(comparison.and_then(|comparison| comparison.p_holm))),
        ("hedges_g", cell(comparison.and_then(|comparison| comparison.hedges_g))),
        ("jobs_joules", cell(relation.and_then(|relation| relation.jobs_joules))),
        ("break_even_inferences", break_even.unwrap_or_default()),
        ("is_on_pareto_front", cell(relation.map(|relation| relation.is_on_pareto_front))),
    ]
}

fn warnings(report: &Report) -> String {
    report.warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>().join(" ")
}

fn fields(report: &Report, row: &Row) -> Vec<Field> {
    let header = &report.header;
    let energy = row.energy.as_ref();
    let invalid = || {
        report.invalid_attempts.iter().filter(|attempt| attempt.treatment == row.treatment && attempt.node == row.node)
    };
    let mut fields = vec![
        ("run", words(&header.run)),
        ("experiment", words(&header.experiment)),
        ("dataset", words(&header.dataset)),
        ("seed", header.seed.to_string()),
        ("started_utc", header.started_utc.clone()),
        ("run_state", header.state.to_owned()),
        ("collector_version", header.collector_version.to_owned()),
        ("treatment", words(&row.treatment)),
        ("node", words(&row.node)),
        ("kind", row.kind.map_or("", Kind::code).to_owned()),
        ("kind_note", row.kind_note.unwrap_or_default().to_owned()),
        ("number_format", words(row.number_format.as_deref().unwrap_or_default())),
        ("model_file_bytes", cell(row.model_file_bytes)),
        ("thread_count", cell(row.thread_count)),
        ("runtimes", words(&row.runtimes.join("; "))),
        ("replicate_count_planned", header.replicate_count_planned.to_string()),
        ("replicate_count_attempted", row.counts.replicate_count_attempted.to_string()),
        ("replicate_count_valid", row.counts.replicate_count_valid.to_string()),
        ("attempt_count", row.counts.attempt_count.to_string()),
        ("attempt_count_invalid", row.counts.attempt_count_invalid.to_string()),
        ("invalid_reasons", words(&invalid().map(reasons).collect::<Vec<_>>().join("; "))),
        ("accuracy", cell(row.quality.as_ref().map(|quality| quality.scores.accuracy))),
        ("precision_macro", cell(row.quality.as_ref().map(|quality| quality.scores.precision_macro))),
        ("recall_macro", cell(row.quality.as_ref().map(|quality| quality.scores.recall_macro))),
        ("f1_macro", cell(row.quality.as_ref().map(|quality| quality.scores.f1_macro))),
        ("input_count", cell(row.quality.as_ref().map(|quality| quality.input_count))),
        ("outputs_equal", cell(row.quality.as_ref().and_then(|quality| quality.outputs_equal))),
        ("latency_seconds_p50", cell(row.latency.map(|latency| latency.seconds_p50))),
        ("latency_seconds_p95", cell(row.latency.map(|latency| latency.seconds_p95))),
        ("latency_seconds_p99", cell(row.latency.map(|latency| latency.seconds_p99))),
        ("inferences_per_second", cell(row.inferences_per_second)),
        ("memory_bytes_peak", cell(row.memory.map(|memory| memory.bytes_peak))),
        ("memory_bytes_increase", cell(row.memory.map(|memory| memory.bytes_increase))),
    ];
    fields.extend(joules(
        energy.map(|energy| &energy.per_inference),
        [
            "joules_per_inference_mean",
            "joules_per_inference_interval95_half_width",
            "joules_per_inference_expanded_uncertainty",
            "joules_per_inference_replicate_count",
        ],
    ));
    fields.extend(joules(
        energy.and_then(|energy| energy.per_inference_above_idle.as_ref()),
        [
            "joules_per_inference_above_idle_mean",
            "joules_per_inference_above_idle_interval95_half_width",
            "joules_per_inference_above_idle_expanded_uncertainty",
            "joules_per_inference_above_idle_replicate_count",
        ],
    ));
    fields.extend(evidence(energy));
    fields.push(("recorded_windows_joules_per_inference", recorded_windows(report, row)));
    fields.push(("notes", words(&row.notes.join("; "))));
    fields.push(("run_notes", words(&report.notes.join(" "))));
    fields
}

fn joules(
    figure: Option<&JoulesOverReplicates>,
    [mean, interval, uncertainty, count]: [&'static str; 4],
) -> Vec<Field> {
    vec![
        (mean, cell(figure.map(|figure| figure.joules_mean))),
        (interval, cell(figure.and_then(|figure| figure.joules_interval95_half_width))),
        (uncertainty, cell(figure.and_then(|figure| figure.joules_expanded_uncertainty))),
        (count, cell(figure.map(|figure| figure.replicate_count))),
    ]
}

fn evidence(energy: Option<&Energy>) -> Vec<Field> {
    let list = |energy: &Energy| energy.sample_rates_hz.iter().map(f64::to_string).collect::<Vec<_>>().join("; ");
    vec![
        ("joules_per_correct_inference", cell(energy.and_then(|energy| energy.joules_per_correct_inference))),
        ("power_watts_mean", cell(energy.and_then(|energy| energy.power_watts_mean))),
        (
            "simulated_true_joules_per_inference",
            cell(energy.and_then(|energy| energy.simulated_true_joules_per_inference)),
        ),
        ("sensors", words(&energy.map(|energy| energy.sensors.join("; ")).unwrap_or_default())),
        ("sample_rates_hz", cell(energy.map(list))),
        ("active_window_seconds_min", cell(energy.map(|energy| energy.active_window_seconds_min))),
        ("active_window_seconds_max", cell(energy.map(|energy| energy.active_window_seconds_max))),
        ("inference_count", cell(energy.map(|energy| energy.inference_count))),
        ("sample_count", cell(energy.map(|energy| energy.sample_count))),
        ("lost_reading_count", cell(energy.map(|energy| energy.lost_reading_count))),
    ]
}

/// The windows of the row's recording, in time order; a window without inferences leaves its place empty.
fn recorded_windows(report: &Report, row: &Row) -> String {
    let recording = report.recordings.iter().find(|recording| {
        recording.treatment == row.treatment && recording.node == row.node && Some(recording.kind) == row.kind
    });
    let windows = recording.map(|recording| recording.windows.as_slice()).unwrap_or_default();
    windows.iter().map(|window| cell(window.joules_per_inference)).collect::<Vec<_>>().join("; ")
}

fn reasons(attempt: &InvalidAttempt) -> String {
    let mut codes: Vec<&str> = Vec::new();
    for reason in &attempt.reasons {
        if !codes.contains(&reason.code.as_str()) {
            codes.push(&reason.code);
        }
    }
    format!("trial {} attempt {}: {}", attempt.trial, attempt.attempt, codes.join(", "))
}

/// A figure with all of its digits; empty when there is none.
fn cell<T: ToString>(figure: Option<T>) -> String {
    figure.map(|figure| figure.to_string()).unwrap_or_default()
}

/// A text that no spreadsheet takes for a formula and no terminal for a command: names and messages come from files
/// and nodes of other people.
fn words(text: &str) -> String {
    let plain: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if plain.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_a_formula() {
        assert_eq!(words("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(words("\t@SUM(1)"), "' @SUM(1)");
        assert_eq!(words("full-integer"), "full-integer");
    }
}
