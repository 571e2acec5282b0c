//! The report as one CSV table, a line for each row, in SI base units and full precision.
//!
//! Without comment lines, which many readers take for data: what the other formats say in a banner stands in the
//! columns `kind` and `kind_note` of every line.

use super::table::{Energy, InvalidAttempt, JoulesOverReplicates, Report, Row};
use super::words::kind_code;

/// Name of a column and its cell.
type Field = (&'static str, String);

/// Prints a report.
pub(super) fn render(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut head_is_written = false;
    for row in &report.rows {
        let fields = fields(report, row);
        if !head_is_written {
            writer.write_record(fields.iter().map(|(name, _)| name)).expect("memory takes every line");
            head_is_written = true;
        }
        writer.write_record(fields.iter().map(|(_, cell)| cell)).expect("all lines have the same columns");
    }
    let bytes = writer.into_inner().expect("memory takes every line");
    String::from_utf8(bytes).expect("made of text")
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
        ("kind", row.kind.map_or("", kind_code).to_owned()),
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
