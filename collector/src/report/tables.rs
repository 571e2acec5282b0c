//! The tables that people read: which columns they have, and in which unit. The same for terminal and Markdown.

use std::collections::BTreeSet;

use super::row::ONE_REPLICATE;
use super::scale::Prefix;
use super::study;
use super::table::{Energy, InvalidAttempt, JoulesOverReplicates, Recording, Report, Row};
use super::text::{ABSENT, Scale, Table, TextTable};
use super::utc::{duration_text, utc_text};
use super::words::kind_word;
use crate::result::{InvalidReason, Kind};

/// Significant digits of the smallest figure of an energy, latency, power or size column.
const FIGURE_DIGITS: i32 = 4;

/// Significant digits of the smallest doubt of a column; more would claim to know the doubt itself well.
const DOUBT_DIGITS: i32 = 2;

/// Everything before the first table, one fact each.
pub(super) fn header_facts(report: &Report) -> Vec<(&'static str, String)> {
    let header = &report.header;
    let running = match header.attempt_count_running {
        0 => String::new(),
        count => format!(", {count} executing"),
    };
    let ended = header.ended_unix_ns.map_or_else(String::new, |ended| {
        format!(", took {}", duration_text(ended.saturating_sub(header.started_unix_ns)))
    });
    let dataset = match header.class_names.len() {
        _ if header.dataset.is_empty() => ABSENT.to_owned(),
        0 => header.dataset.clone(),
        count => format!("{} ({count} classes)", header.dataset),
    };
    vec![
        ("experiment", header.experiment.clone()),
        ("data set", dataset),
        ("seed", header.seed.to_string()),
        ("state", header.state.to_owned()),
        ("started", format!("{}{ended}", utc_text(header.started_unix_ns))),
        ("replicates", format!("{} planned of each treatment on each node", header.replicate_count_planned)),
        ("attempts", format!("{} ended, {} of them valid{running}", header.attempt_count, header.attempt_count_valid)),
        ("collector", format!("tinywatt {}", header.collector_version)),
    ]
}

/// All tables of a report that have a row.
pub(super) fn tables(report: &Report) -> Vec<TextTable> {
    let mut tables = match &report.study {
        Some(study) => study::tables(report, study),
        None => without_jobs(report),
    };
    tables.push(if report.study.is_some() { study::evidence(report) } else { evidence(report) });
    tables.extend(report.recordings.iter().map(recording));
    tables.push(invalid(report));
    tables.push(remarks(report));
    tables.retain(|table| !table.rows.is_empty());
    tables
}

/// The tables of a run that trains nothing: treatments beside each other.
fn without_jobs(report: &Report) -> Vec<TextTable> {
    let mut tables = vec![quality(report), speed(report)];
    // A table for each kind, so that no column holds two.
    let mut kinds: Vec<_> = report.rows.iter().filter_map(|row| row.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let rows: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.kind == Some(kind))
            .filter_map(|row| Some((row, row.energy.as_ref()?)))
            .collect();
        tables.push(energy(&format!("Energy per inference, {}", kind_word(kind)), &rows));
    }
    tables
}

/// The line that MLPerf Tiny's own runner ends with, to its digits.
pub(super) fn score(recording: &Recording) -> String {
    format!("Median energy cost is {} uJ/inf.", Prefix::MICRO.text(recording.joules_per_inference_median, 4))
}

fn quality(report: &Report) -> TextTable {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.model_file_bytes.is_some()).collect();
    let size = own_scale(rows.iter().filter_map(|row| bytes(row.model_file_bytes)));
    let mut table = Table::new("Quality and size");
    table.words("treatment", rows.iter().map(|row| row.treatment.clone()));
    table.words("node", rows.iter().map(|row| row.node.clone()));
    kind_column(&mut table, &rows);
    table.words("number\nformat", rows.iter().map(|row| text_or_absent(row.number_format.as_deref())));
    table.figures(size.head("size", "B"), rows.iter().map(|row| size.cell(bytes(row.model_file_bytes))));
    let mut score = |head: &str, score: fn(&Row) -> Option<f64>| {
        let cell = |row: &&Row| score(row).map_or_else(|| ABSENT.to_owned(), |score| format!("{score:.4}"));
        table.figures(head.to_owned(), rows.iter().map(cell));
    };
    score("accuracy", |row| Some(row.quality.as_ref()?.scores.accuracy));
    score("macro\nprecis.", |row| Some(row.quality.as_ref()?.scores.precision_macro));
    score("macro\nrecall", |row| Some(row.quality.as_ref()?.scores.recall_macro));
    score("macro\nF1", |row| Some(row.quality.as_ref()?.scores.f1_macro));
    let outputs = |row: &&Row| match row.quality.as_ref().and_then(|quality| quality.outputs_equal) {
        Some(true) => "equal".to_owned(),
        Some(false) => "DIFFER".to_owned(),
        None => ABSENT.to_owned(),
    };
    table.words("outputs", rows.iter().map(outputs));
    let inputs: BTreeSet<u64> =
        rows.iter().filter_map(|row| row.quality.as_ref()).map(|quality| quality.input_count).collect();
    if !inputs.is_empty() {
        let inputs = inputs.iter().map(u64::to_string).collect::<Vec<_>>().join(" or ");
        table.note(format!("Each model was evaluated on {inputs} inputs."));
    }
    table.finish()
}

fn speed(report: &Report) -> TextTable {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.latency.is_some() || row.memory.is_some()).collect();
    let latency = own_scale(rows.iter().filter_map(|row| Some(row.latency?.seconds_p50)));
    let memory = own_scale(rows.iter().filter_map(|row| bytes(Some(row.memory?.bytes_increase))));
    let mut table = Table::new("Latency and memory");
    table.words("treatment", rows.iter().map(|row| row.treatment.clone()));
    table.words("node", rows.iter().map(|row| row.node.clone()));
    table.words("runtime", rows.iter().map(|row| text_or_absent(Some(&row.runtimes.join(", ")))));
    table.figures("threads".to_owned(), rows.iter().map(|row| count(row.thread_count.map(u64::from))));
    // Without a prefix: a rate of inferences is read against counts and seconds.
    let rate = Scale::new(Prefix::NONE, rows.iter().filter_map(|row| row.inferences_per_second), FIGURE_DIGITS);
    let rates = rows.iter().map(|row| rate.cell(row.inferences_per_second));
    table.figures("inferences\nper second".to_owned(), rates);
    let mut percentile = |head: &str, seconds: fn(&Row) -> Option<f64>| {
        table.figures(latency.head(head, "s"), rows.iter().map(|row| latency.cell(seconds(row))));
    };
    percentile("latency\np50", |row| Some(row.latency?.seconds_p50));
    percentile("p95", |row| Some(row.latency?.seconds_p95));
    percentile("p99", |row| Some(row.latency?.seconds_p99));
    let peak = |row: &&Row| memory.cell(row.memory.and_then(|memory| bytes(Some(memory.bytes_peak))));
    table.figures(memory.head("peak\nmemory", "B"), rows.iter().map(peak));
    let increase = |row: &&Row| memory.cell(row.memory.and_then(|memory| bytes(Some(memory.bytes_increase))));
    table.figures(memory.head("increase", "B"), rows.iter().map(increase));
    table.finish()
}

fn energy(title: &str, rows: &[(&Row, &Energy)]) -> TextTable {
    // One prefix for all joules of the table: total, above idle and per correct are read against each other.
    let joules = Prefix::for_column(rows.iter().map(|(_, energy)| energy.per_inference.joules_mean));
    let watts = own_scale(rows.iter().filter_map(|(_, energy)| energy.power_watts_mean));
    let mut table = Table::new(title);
    table.words("treatment", rows.iter().map(|(row, _)| row.treatment.clone()));
    table.words("node", rows.iter().map(|(row, _)| row.node.clone()));
    let totals: Vec<_> = rows.iter().map(|(_, energy)| Some(&energy.per_inference)).collect();
    three_columns(&mut table, "total", joules, &totals);
    let above: Vec<_> = rows.iter().map(|(_, energy)| energy.per_inference_above_idle.as_ref()).collect();
    three_columns(&mut table, "above\nidle", joules, &above);
    let correct = |(_, energy): &(&Row, &Energy)| energy.joules_per_correct_inference;
    let scale = Scale::new(joules, rows.iter().filter_map(correct), FIGURE_DIGITS);
    table.figures(scale.head("per\ncorrect", "J"), rows.iter().map(|row| scale.cell(correct(row))));
    table.figures(watts.head("mean\npower", "W"), rows.iter().map(|(_, energy)| watts.cell(energy.power_watts_mean)));
    table.finish()
}

/// An energy with its two doubts, each with as many decimals as it needs, all in one prefix.
fn three_columns(table: &mut Table, head: &str, joules: Prefix, figures: &[Option<&JoulesOverReplicates>]) {
    let known = || figures.iter().copied().flatten();
    let mean = Scale::new(joules, known().map(|figure| figure.joules_mean), FIGURE_DIGITS);
    table
        .figures(mean.head(head, "J"), figures.iter().map(|figure| mean.cell(figure.map(|figure| figure.joules_mean))));
    let interval = Scale::new(joules, known().filter_map(|figure| figure.joules_interval95_half_width), DOUBT_DIGITS);
    let interval_cell = |figure: &Option<&JoulesOverReplicates>| match figure {
        // An interval that cannot exist says so: a dash would read like a figure that went missing.
        Some(figure) if figure.replicate_count == 1 => "n = 1".to_owned(),
        figure => interval.cell(figure.and_then(|figure| figure.joules_interval95_half_width)),
    };
    table.figures(interval.head("95 %\nint. ±", "J"), figures.iter().map(interval_cell));
    let uncertainty = Scale::new(joules, known().filter_map(|figure| figure.joules_expanded_uncertainty), DOUBT_DIGITS);
    let uncertainty_cell = |figure: &Option<&JoulesOverReplicates>| {
        uncertainty.cell(figure.and_then(|figure| figure.joules_expanded_uncertainty))
    };
    table.figures(uncertainty.head("uncert.\nk=2 ±", "J"), figures.iter().map(uncertainty_cell));
}

fn evidence(report: &Report) -> TextTable {
    let mut table = Table::new("What stands behind the energy");
    let rows = &report.rows;
    let energy =
        |cell: fn(&Energy) -> String| move |row: &Row| row.energy.as_ref().map_or_else(|| ABSENT.to_owned(), cell);
    table.words("treatment", rows.iter().map(|row| row.treatment.clone()));
    table.words("node", rows.iter().map(|row| row.node.clone()));
    kind_column(&mut table, &rows.iter().collect::<Vec<_>>());
    table.words("sensor", rows.iter().map(energy(|energy| energy.sensors.join(", "))));
    let rates =
        |energy: &Energy| energy.sample_rates_hz.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
    table.figures("rate\n(Hz)".to_owned(), rows.iter().map(energy(rates)));
    table.figures("window\n(s)".to_owned(), rows.iter().map(energy(window_cell)));
    table.figures("inferences".to_owned(), rows.iter().map(energy(|energy| energy.inference_count.to_string())));
    table.figures("samples".to_owned(), rows.iter().map(energy(|energy| energy.sample_count.to_string())));
    table.figures("lost".to_owned(), rows.iter().map(energy(|energy| energy.lost_reading_count.to_string())));
    let valid = |row: &Row| format!("{}/{}", row.counts.replicate_count_valid, row.counts.replicate_count_attempted);
    table.figures("valid".to_owned(), rows.iter().map(valid));
    table.finish()
}

fn window_cell(energy: &Energy) -> String {
    let shortest = format!("{:.2}", energy.active_window_seconds_min);
    let longest = format!("{:.2}", energy.active_window_seconds_max);
    if shortest == longest { shortest } else { format!("{shortest}-{longest}") }
}

/// To the digits that MLPerf Tiny's runner prints, so that the two can be compared character by character.
fn recording(recording: &Recording) -> TextTable {
    let windows = &recording.windows;
    let mut table =
        Table::new(&format!("Recording {} on {}, {}", recording.treatment, recording.node, recording.sensor));
    table.figures("window".to_owned(), (0..windows.len()).map(|index| index.to_string()));
    table.words("kind", windows.iter().map(|_| kind_word(recording.kind).to_owned()));
    table.figures("length\n(s)".to_owned(), windows.iter().map(|window| format!("{:.3}", window.seconds)));
    table.figures("inferences".to_owned(), windows.iter().map(|window| window.inference_count.to_string()));
    let power = |watts| Prefix::MILLI.text(watts, 4);
    table.figures("mean power\n(mW)".to_owned(), windows.iter().map(|window| power(window.power_watts_mean)));
    table.figures("energy\n(µJ)".to_owned(), windows.iter().map(|window| Prefix::MICRO.text(window.joules, 3)));
    let one = |joules: Option<f64>| joules.map_or_else(|| ABSENT.to_owned(), |joules| Prefix::MICRO.text(joules, 3));
    table.figures("per inference\n(µJ)".to_owned(), windows.iter().map(|window| one(window.joules_per_inference)));
    table.finish()
}

fn invalid(report: &Report) -> TextTable {
    let groups = alike(&report.invalid_attempts);
    let mut table = Table::new("Invalid attempts");
    table.words("treatment", groups.iter().map(|group| group[0].treatment.clone()));
    table.words("node", groups.iter().map(|group| group[0].node.clone()));
    table.figures("count".to_owned(), groups.iter().map(|group| group.len().to_string()));
    let places = |group: &Vec<&InvalidAttempt>| {
        group.iter().map(|attempt| format!("{}.{}", attempt.trial, attempt.attempt)).collect::<Vec<_>>().join(", ")
    };
    table.words("trial.attempt", groups.iter().map(places));
    table.words("reasons", groups.iter().map(|group| InvalidReason::text(&group[0].reasons)));
    table.finish()
}

/// Attempts of one treatment on one node with the same reasons, together; each group where its first attempt stood.
fn alike(attempts: &[InvalidAttempt]) -> Vec<Vec<&InvalidAttempt>> {
    let key = |attempt: &InvalidAttempt| (attempt.treatment.clone(), attempt.node.clone(), attempt.reasons.clone());
    let mut groups: Vec<Vec<&InvalidAttempt>> = Vec::new();
    for attempt in attempts {
        match groups.iter_mut().find(|group| key(group[0]) == key(attempt)) {
            Some(group) => group.push(attempt),
            None => groups.push(vec![attempt]),
        }
    }
    groups
}

fn remarks(report: &Report) -> TextTable {
    // Rows of one node and kind with the same remarks, together; each group where its first row stood.
    // A study has said in a warning, and beside each figure, how many replicates there are.
    let remarks = |row: &Row| -> Vec<String> {
        let is_said = |note: &&String| report.study.is_some() && *note == ONE_REPLICATE;
        row.notes.iter().filter(|note| !is_said(note)).cloned().collect()
    };
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in report.rows.iter().filter(|row| !remarks(row).is_empty()) {
        let is_alike = |group: &&mut Vec<&Row>| {
            (&group[0].node, group[0].kind, remarks(group[0])) == (&row.node, row.kind, remarks(row))
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let treatments = |group: &Vec<&Row>| group.iter().map(|row| row.treatment.as_str()).collect::<Vec<_>>().join(", ");
    let mut table = Table::new("Remarks");
    table.words("treatment", groups.iter().map(treatments));
    table.words("node", groups.iter().map(|group| group[0].node.clone()));
    table.words("kind", groups.iter().map(|group| kind_cell(group[0])));
    table.words("remark", groups.iter().map(|group| remarks(group[0]).join("; ")));
    table.finish()
}

/// A column of kinds, where rows differ in it: otherwise a title or a banner has said it.
pub(super) fn kind_column(table: &mut Table, rows: &[&Row]) {
    let kinds: BTreeSet<Kind> = rows.iter().filter_map(|row| row.kind).collect();
    if kinds.len() > 1 {
        table.words("kind", rows.iter().map(|row| kind_cell(row)));
    }
}

fn kind_cell(row: &Row) -> String {
    row.kind.map_or(ABSENT, kind_word).to_owned()
}

fn text_or_absent(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or(ABSENT).to_owned()
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| ABSENT.to_owned(), |count| count.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "shown to four digits")]
fn bytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| bytes as f64)
}

/// Scale of a column that needs no common prefix with another.
fn own_scale(figures: impl Iterator<Item = f64> + Clone) -> Scale {
    Scale::new(Prefix::for_column(figures.clone()), figures, FIGURE_DIGITS)
}
