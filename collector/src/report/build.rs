//! From a run to the report's values: which attempts count, and which of them share a row.

use std::collections::BTreeSet;

use tinywatt_proto::v1::RunState;

use super::comparable;
use super::input::{RunReport, Workload};
use super::row;
use super::table::{Counts, Header, INCOMPLETE, InvalidAttempt, Recording, Report, Row};
use super::utc::rfc3339;
use super::words::{kind_banner, kind_note};
use crate::result::{InvalidReason, Kind, Measurement, TrialResult};

/// A valid attempt with its measurement.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) result: &'a TrialResult,
    pub(super) measurement: &'a Measurement,
}

/// Builds the values of a report.
pub(super) fn build(run: &RunReport) -> Report {
    let mut attempts: Vec<&TrialResult> = run.attempts.iter().collect();
    attempts.sort_by_key(|result| (result.replicate, result.trial, result.attempt));
    let mut rows: Vec<Row> = Vec::new();
    let mut recordings = Vec::new();
    for (treatment, node) in cells(run) {
        let here: Vec<&TrialResult> =
            attempts.iter().copied().filter(|result| result.treatment == treatment && result.node == node).collect();
        let (cell_rows, cell_recordings) = cell(run, treatment, node, &here);
        rows.extend(cell_rows);
        recordings.extend(cell_recordings);
    }
    // Kinds stand apart; inside one, the experiment's order stays. Rows without a kind come last.
    rows.sort_by_key(|row| (row.kind.is_none(), row.kind));
    Report {
        header: header(run),
        banners: banners(&rows),
        notes: comparable::notes(&rows),
        rows,
        recordings,
        invalid_attempts: invalid_attempts(run),
    }
}

/// Every treatment on every node of the design, then whatever else was attempted: nothing measured goes unseen.
fn cells(run: &RunReport) -> Vec<(&str, &str)> {
    let mut cells = Vec::new();
    for treatment in &run.treatments {
        cells.extend(run.nodes.iter().map(|node| (treatment.name.as_str(), node.as_str())));
    }
    let planned: BTreeSet<_> = cells.iter().copied().collect();
    let attempted: BTreeSet<_> =
        run.attempts.iter().map(|result| (result.treatment.as_str(), result.node.as_str())).collect();
    cells.extend(attempted.difference(&planned));
    cells
}

/// The rows of one treatment on one node: one for each kind that a valid attempt has, or one without figures.
fn cell(run: &RunReport, treatment: &str, node: &str, attempts: &[&TrialResult]) -> (Vec<Row>, Vec<Recording>) {
    let workload = run.treatments.iter().find(|facts| facts.name == treatment).map(|facts| &facts.workload);
    let counted: Vec<Counted<'_>> = attempts.iter().filter_map(|result| counted(result)).collect();
    let kinds: BTreeSet<Kind> = counted.iter().map(|counted| counted.measurement.kind).collect();
    let counts = |valid| Counts {
        replicate_count_valid: valid,
        replicate_count_attempted: attempts.iter().map(|result| result.replicate).collect::<BTreeSet<_>>().len(),
        attempt_count: attempts.len(),
        attempt_count_invalid: attempts.iter().filter(|result| self::counted(result).is_none()).count(),
    };
    let empty = empty_row(treatment, node, workload, counts(0));
    if kinds.is_empty() {
        let note = if attempts.is_empty() { "no trial has ended" } else { "no valid trial: see the invalid attempts" };
        return (vec![Row { notes: vec![note.to_owned()], ..empty }], Vec::new());
    }
    let is_recording = matches!(workload, Some(Workload::Recording));
    let (mut rows, mut recordings) = (Vec::new(), Vec::new());
    for kind in kinds {
        let mut replicates: Vec<Counted<'_>> =
            counted.iter().copied().filter(|counted| counted.measurement.kind == kind).collect();
        // Sorted by replicate, then attempt: the first valid attempt of a replicate is the replicate.
        replicates.dedup_by_key(|counted| counted.result.replicate);
        let kind_only = Row {
            kind: Some(kind),
            kind_note: Some(kind_note(kind)),
            counts: counts(replicates.len()),
            ..empty.clone()
        };
        rows.push(row::filled(kind_only, &replicates, is_recording));
        if is_recording {
            recordings.extend(row::recording(treatment, node, &replicates));
        }
    }
    (rows, recordings)
}

/// An attempt that counts: valid, and with figures that are numbers.
fn counted(result: &TrialResult) -> Option<Counted<'_>> {
    let measurement = result.measurement.as_ref().filter(|_| result.is_valid())?;
    measurement.energy_joules_per_inference.value.is_finite().then_some(Counted { result, measurement })
}

fn empty_row(treatment: &str, node: &str, workload: Option<&Workload>, counts: Counts) -> Row {
    let model = match workload {
        Some(Workload::Model { number_format, file_bytes, thread_count }) => {
            Some((number_format, *file_bytes, *thread_count))
        }
        Some(Workload::Recording) | None => None,
    };
    Row {
        treatment: treatment.to_owned(),
        node: node.to_owned(),
        kind: None,
        kind_note: None,
        number_format: model.map(|(number_format, ..)| number_format.clone()),
        model_file_bytes: model.map(|(_, file_bytes, _)| file_bytes),
        thread_count: model.map(|(.., thread_count)| thread_count),
        runtimes: Vec::new(),
        counts,
        quality: None,
        latency: None,
        inferences_per_second: None,
        memory: None,
        energy: None,
        notes: Vec::new(),
    }
}

fn header(run: &RunReport) -> Header {
    Header {
        collector_version: env!("CARGO_PKG_VERSION"),
        run: run.run.clone(),
        experiment: run.experiment.clone(),
        dataset: run.dataset.clone(),
        class_names: run.class_names.clone(),
        seed: run.seed,
        state: match run.state {
            RunState::Running => "running",
            RunState::Completed => "completed",
            RunState::Cancelled => "cancelled",
            RunState::Incomplete => INCOMPLETE,
            RunState::Unspecified => "unknown",
        },
        started_utc: rfc3339(run.started_unix_ns),
        started_unix_ns: run.started_unix_ns,
        ended_utc: run.ended_unix_ns.map(rfc3339),
        ended_unix_ns: run.ended_unix_ns,
        replicate_count_planned: run.replicate_count,
        attempt_count: run.attempts.len(),
        attempt_count_valid: run.attempts.iter().filter_map(counted).count(),
        attempt_count_running: run.attempt_count_running,
    }
}

fn banners(rows: &[Row]) -> Vec<String> {
    let figures = rows.iter().filter(|row| row.kind.is_some()).count();
    [Kind::Simulated, Kind::Estimated, Kind::MeasuredElsewhere]
        .into_iter()
        .filter_map(|kind| {
            let count = rows.iter().filter(|row| row.kind == Some(kind)).count();
            (count > 0).then(|| kind_banner(kind, count, figures))
        })
        .collect()
}

fn invalid_attempts(run: &RunReport) -> Vec<InvalidAttempt> {
    let mut invalid: Vec<_> = run
        .attempts
        .iter()
        .filter(|result| counted(result).is_none())
        .map(|result| InvalidAttempt {
            treatment: result.treatment.clone(),
            node: result.node.clone(),
            trial: result.trial,
            attempt: result.attempt,
            block: result.block,
            replicate: result.replicate,
            reasons: reasons(result),
        })
        .collect();
    invalid.sort_by_key(|attempt| (attempt.trial, attempt.attempt));
    invalid
}

fn reasons(result: &TrialResult) -> Vec<InvalidReason> {
    if result.is_valid() {
        let message = "the attempt ended without a reason, and without an energy that is a number".to_owned();
        return vec![InvalidReason { code: "no_measurement".to_owned(), message }];
    }
    result.invalid_reasons.clone()
}
