//! From a run to the report's values: which attempts count, and which of them share a row.

use std::collections::{BTreeMap, BTreeSet};

use tinywatt_proto::v1::RunState;

use super::input::{RunReport, TreatmentFacts, Workload};
use super::table::{Counts, Header, INCOMPLETE, INFERENCE, InvalidAttempt, RECORDING, Recording, Report, Row};
use super::utc::rfc3339;
use super::words::{kind_banner, kind_note};
use super::{comparable, relations, row, study, warnings};
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
    complete_from_training(&mut rows);
    let invalid_attempts = invalid_attempts(run);
    let relations = relations::relations(run, &rows);
    let warnings = warnings::warnings(run, &rows, &relations, &invalid_attempts);
    Report {
        header: header(run),
        banners: banners(&rows),
        study: study::study(&rows, relations),
        warnings,
        notes: comparable::notes(&rows),
        rows,
        recordings,
        invalid_attempts,
    }
}

/// Gives models whose files do not tell their parameters and work those of the network that was trained.
fn complete_from_training(rows: &mut [Row]) {
    let trained: Vec<Row> =
        rows.iter().filter(|row| row.workload == "train" && row.family.is_some()).cloned().collect();
    for row in rows.iter_mut() {
        let of_family = |trained: &&Row| trained.family == row.family && trained.framework == row.framework;
        if let Some(trained) = trained.iter().find(of_family) {
            row.parameter_count = row.parameter_count.or(trained.parameter_count);
            row.mac_count = row.mac_count.or(trained.mac_count);
        }
    }
}

/// Every treatment on every node of the design, then whatever else was attempted: nothing measured goes unseen.
fn cells(run: &RunReport) -> Vec<(&str, &str)> {
    let mut cells = Vec::new();
    for treatment in &run.treatments {
        let nodes = if treatment.nodes.is_empty() { &run.nodes } else { &treatment.nodes };
        cells.extend(nodes.iter().map(|node| (treatment.name.as_str(), node.as_str())));
    }
    let planned: BTreeSet<_> = cells.iter().copied().collect();
    let attempted: BTreeSet<_> =
        run.attempts.iter().map(|result| (result.treatment.as_str(), result.node.as_str())).collect();
    cells.extend(attempted.difference(&planned));
    cells
}

/// The rows of one treatment on one node: one for each kind that a valid attempt has, or one without figures.
fn cell(run: &RunReport, treatment: &str, node: &str, attempts: &[&TrialResult]) -> (Vec<Row>, Vec<Recording>) {
    let facts = run.treatments.iter().find(|facts| facts.name == treatment);
    let counted: Vec<Counted<'_>> = attempts.iter().filter_map(|result| counted(result)).collect();
    let kinds: BTreeSet<Kind> = counted.iter().map(|counted| counted.measurement.kind).collect();
    let counts = |valid| Counts {
        replicate_count_valid: valid,
        replicate_count_attempted: attempts.iter().map(|result| result.replicate).collect::<BTreeSet<_>>().len(),
        attempt_count: attempts.len(),
        attempt_count_invalid: attempts.iter().filter(|result| self::counted(result).is_none()).count(),
    };
    let empty = empty_row(treatment, node, facts, counts(0));
    if kinds.is_empty() {
        let note = if attempts.is_empty() { "no trial has ended" } else { "no valid trial: see the invalid attempts" };
        return (vec![Row { notes: vec![note.to_owned()], ..empty }], Vec::new());
    }
    let is_recording = empty.workload == RECORDING;
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
        rows.push(row::filled(kind_only, &replicates, run.carbon.as_ref()));
        if is_recording {
            recordings.extend(row::recording(treatment, node, &replicates));
        }
    }
    (rows, recordings)
}

/// An attempt that counts: valid, and with figures that are numbers.
pub(super) fn counted(result: &TrialResult) -> Option<Counted<'_>> {
    let measurement = result.measurement.as_ref().filter(|_| result.is_valid())?;
    measurement.energy_joules_per_inference.value.is_finite().then_some(Counted { result, measurement })
}

fn empty_row(treatment: &str, node: &str, facts: Option<&TreatmentFacts>, counts: Counts) -> Row {
    let (mut number_format, mut model_file_bytes, mut thread_count) = (None, None, None);
    let workload = match facts.map(|facts| &facts.workload) {
        Some(Workload::Model { number_format: format, file_bytes, thread_count: count, made_by }) => {
            number_format = Some(format.clone()).filter(|_| made_by.is_none());
            model_file_bytes = Some(*file_bytes).filter(|_| made_by.is_none());
            thread_count = Some(*count);
            INFERENCE
        }
        Some(Workload::Job { kind, .. }) => kind,
        Some(Workload::Recording) => RECORDING,
        None => INFERENCE,
    };
    let stated = |text: fn(&TreatmentFacts) -> &String| facts.map(text).filter(|text| !text.is_empty()).cloned();
    Row {
        treatment: treatment.to_owned(),
        node: node.to_owned(),
        workload,
        family: stated(|facts| &facts.family),
        framework: stated(|facts| &facts.framework),
        technique: stated(|facts| &facts.technique),
        recipe: match facts.map(|facts| &facts.workload) {
            Some(Workload::Job { recipe, .. }) => recipe.clone(),
            _ => BTreeMap::new(),
        },
        kind: None,
        kind_note: None,
        number_format,
        model_file_bytes,
        parameter_count: facts.and_then(|facts| facts.parameter_count),
        mac_count: facts.and_then(|facts| facts.mac_count),
        inputs_sha256: stated(|facts| &facts.inputs_sha256),
        thread_count,
        runtimes: Vec::new(),
        counts,
        quality: None,
        latency: None,
        inferences_per_second: None,
        memory: None,
        energy: None,
        job: None,
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
        carbon: run.carbon.clone(),
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
