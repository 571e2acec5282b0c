//! What training and optimising cost, in the study's units: seconds, Wh, grams of CO2.

use super::super::input::Carbon;
use super::super::job::{PhaseFigures, WHOLE_JOB};
use super::super::scale::Prefix;
use super::super::table::{JoulesOverReplicates, Report, Row};
use super::super::text::{Table, TextTable};
use super::Study;
use super::cells::{PLUS_MINUS, joules_cell, largest_scale, plus_minus, spread_scale};
use super::tables::{lead, title};
use crate::result::Kind;

/// Joules of a Wh.
const JOULES_PER_WH: f64 = 3_600.0;

/// Framework and phase.
pub(super) fn training(report: &Report, study: &Study, rows: &[&Row], kind: Kind) -> TextTable {
    let teachers: Vec<String> = rows.iter().filter_map(|row| taught(report, study, row)).collect();
    let lines: Vec<(&Row, &PhaseFigures)> = rows
        .iter()
        .filter_map(|row| Some((*row, row.job.as_ref()?)))
        .flat_map(|(row, job)| job.phases.iter().map(move |phase| (row, phase)))
        .collect();
    let rows: Vec<&Row> = lines.iter().map(|(row, _)| *row).collect();
    let phases: Vec<&PhaseFigures> = lines.iter().map(|(_, phase)| *phase).collect();
    let mut table = Table::new(&title("RQ1 What training and evaluation cost", report, &rows, Some(kind)));
    lead(&mut table, report, &rows, false);
    table.words("phase", phases.iter().map(|phase| phase.phase.clone()));
    costs(&mut table, report, &phases);
    table.note(format!(
        "{PLUS_MINUS}; k=2 how far the sensor may be off. \"{WHOLE_JOB}\" includes starting, loading and saving."
    ));
    teachers.into_iter().for_each(|note| table.note(note));
    refusals(&mut table, &lines);
    above_idle_refusals(&mut table, &lines);
    carbon_note(&mut table, report.header.carbon.as_ref());
    table.finish()
}

/// What a training costs beside its own rows: that of the model from which it learns.
fn taught(report: &Report, study: &Study, row: &Row) -> Option<String> {
    let is_training = |job: &&String| {
        **job != row.treatment && report.rows.iter().any(|other| other.treatment == **job && other.workload == "train")
    };
    let relation = study.relations.iter().find(|relation| {
        relation.jobs.contains(&row.treatment)
            && report.rows.iter().any(|model| model.treatment == relation.treatment && model.family == row.family)
    })?;
    let teachers: Vec<&str> = relation.jobs.iter().filter(is_training).map(String::as_str).collect();
    (!teachers.is_empty()).then(|| {
        format!(
            "{} learns from what {} made, whose cost comes on top here, and is counted in the break-even.",
            row.treatment,
            teachers.join(" and ")
        )
    })
}

/// Framework and technique.
pub(super) fn optimising(report: &Report, rows: &[&Row], kind: Kind) -> TextTable {
    let lines: Vec<(&Row, &PhaseFigures)> =
        rows.iter().filter_map(|row| Some((*row, row.job.as_ref()?.phases.last()?))).collect();
    let rows: Vec<&Row> = lines.iter().map(|(row, _)| *row).collect();
    let phases: Vec<&PhaseFigures> = lines.iter().map(|(_, phase)| *phase).collect();
    let mut table = Table::new(&title("RQ1 What optimising costs, whole jobs", report, &rows, Some(kind)));
    lead(&mut table, report, &rows, true);
    costs(&mut table, report, &phases);
    above_idle_refusals(&mut table, &lines);
    carbon_note(&mut table, report.header.carbon.as_ref());
    table.finish()
}

fn costs(table: &mut Table, report: &Report, phases: &[&PhaseFigures]) {
    let seconds = phases.iter().map(|phase| &phase.duration_seconds);
    let scale = spread_scale(Prefix::NONE, seconds.clone().map(|figure| figure.mean));
    table.figures(scale.head("duration", "s"), seconds.map(|figure| plus_minus(&scale, Some(figure))));
    let joules: Vec<Option<&JoulesOverReplicates>> = phases.iter().map(|phase| phase.energy_joules.as_ref()).collect();
    let watt_hours = |joules: &JoulesOverReplicates| joules.joules_mean / JOULES_PER_WH;
    let scale = largest_scale(joules.iter().filter_map(|joules| joules.map(watt_hours)));
    let cell = |(phase, joules): (&&PhaseFigures, &Option<&JoulesOverReplicates>)| match joules {
        None if phase.refusal_count > 0 => "refused".to_owned(),
        joules => joules_cell(&scale, *joules, JOULES_PER_WH),
    };
    table.figures(scale.head("energy", "Wh"), phases.iter().zip(&joules).map(cell));
    let doubt = |joules: &JoulesOverReplicates| Some(joules.joules_expanded_uncertainty? / JOULES_PER_WH);
    table.figures(scale.head("k=2 ±", "Wh"), joules.iter().map(|joules| scale.cell(joules.and_then(doubt))));
    let above: Vec<_> = phases.iter().map(|phase| phase.energy_joules_above_idle.as_ref()).collect();
    let scale = largest_scale(above.iter().filter_map(|joules| joules.map(|joules| joules.joules_mean)));
    let cell = |(phase, joules): (&&PhaseFigures, &Option<&JoulesOverReplicates>)| match joules {
        None if phase.above_idle_refusal_count > 0 => "refused".to_owned(),
        joules => joules_cell(&scale, *joules, 1.0),
    };
    table.figures(scale.head("above idle", "J"), phases.iter().zip(&above).map(cell));
    if report.header.carbon.is_some() {
        let scale = largest_scale(phases.iter().filter_map(|phase| phase.co2_grams));
        table.figures(scale.head("CO2", "g"), phases.iter().map(|phase| scale.cell(phase.co2_grams)));
    }
    table.figures("n".to_owned(), phases.iter().map(|phase| phase.duration_seconds.by_replicate.len().to_string()));
}

fn refusals(table: &mut Table, lines: &[(&Row, &PhaseFigures)]) {
    for (row, phase) in lines.iter().filter(|(_, phase)| phase.refusal_count > 0) {
        let count = phase.duration_seconds.by_replicate.len();
        table.note(format!(
            "Refused: {} of {}, {} of {count} replicates: {}.",
            phase.phase,
            row.treatment,
            phase.refusal_count,
            phase.refusals.join("; ")
        ));
    }
}

/// The idle windows are those of the whole job, so that it alone is told.
fn above_idle_refusals(table: &mut Table, lines: &[(&Row, &PhaseFigures)]) {
    for (row, phase) in lines.iter().filter(|(_, phase)| phase.phase == WHOLE_JOB && phase.above_idle_refusal_count > 0)
    {
        let count = phase.duration_seconds.by_replicate.len();
        table.note(format!(
            "Above idle refused: {}, {} of {count} replicates: {}. The totals do not depend on them.",
            row.treatment,
            phase.above_idle_refusal_count,
            phase.above_idle_refusals.join("; ")
        ));
    }
}

/// Says once what every CO2 of a table rests on, or how a CO2 is had.
fn carbon_note(table: &mut Table, carbon: Option<&Carbon>) {
    table.note(match carbon {
        Some(carbon) => format!(
            "CO2: energy × {} g/kWh × PUE {}, the same for every figure; intensity: {}.",
            carbon.intensity_g_per_kwh, carbon.pue, carbon.source
        ),
        None => {
            "No CO2: the experiment states no carbon intensity. A `[carbon]` table in it, such as `country = \"DE\"`, \
                 gives the column."
                .to_owned()
        }
    });
}
