//! Says why rows may not be compared. A reader will put any two rows side by side, so the report warns first.

use std::collections::BTreeMap;

use super::table::{Energy, Row};
use super::words::kind_word;

/// Active windows end with the inference under way, so that lengths differ a little between rows of one setting. More
/// than this part is another setting.
const WINDOW_RATIO_MAX: f64 = 1.1;

/// A reader looks the other rows up; a note names this many.
const ROWS_NAMED_MAX: usize = 3;

/// Compares rows with each other: kinds over all rows, everything else among the rows of one kind. Nobody sets a job
/// beside an inference, so the two are looked at apart.
pub(super) fn notes(rows: &[Row]) -> Vec<String> {
    let of = |is_job: bool| rows.iter().filter(move |row| row.is_job() == is_job);
    let mut notes = among(of(false));
    notes.extend(among(of(true)).into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
    notes
}

fn among<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
    let measured: Vec<(&Row, &Energy)> = rows.filter_map(|row| Some((row, row.energy.as_ref()?))).collect();
    let mut notes = Vec::new();
    notes.extend(difference("kinds of energy figures", &measured, |row, _| {
        row.kind.map_or_else(String::new, |kind| kind_word(kind).to_owned())
    }));
    let mut kinds: Vec<_> = measured.iter().filter_map(|(row, _)| row.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let alike: Vec<_> = measured.iter().copied().filter(|(row, _)| row.kind == Some(kind)).collect();
        notes.extend(difference("sensors", &alike, |_, energy| energy.sensors.join(" and ")));
        notes.extend(difference("sample rates", &alike, |_, energy| {
            energy.sample_rates_hz.iter().map(|rate| format!("{rate:.0} Hz")).collect::<Vec<_>>().join(" and ")
        }));
        // A job's window is as long as the job takes: that is a figure of it, and no setting.
        notes.extend(window_note(&alike).filter(|_| alike.iter().all(|(row, _)| !row.is_job())));
        let executed: Vec<_> = alike.into_iter().filter(|(row, _)| !row.runtimes.is_empty()).collect();
        // Another framework's models have another runtime: comparing those is what a study is for.
        let mut frameworks: Vec<_> = executed.iter().map(|(row, _)| row.framework.clone()).collect();
        frameworks.sort();
        frameworks.dedup();
        for framework in frameworks {
            let of_framework: Vec<_> = executed.iter().copied().filter(|(row, _)| row.framework == framework).collect();
            notes.extend(difference("runtimes", &of_framework, |row, _| row.runtimes.join(" and ")));
        }
        notes.extend(difference("thread counts", &executed, |row, _| match row.thread_count {
            Some(1) => "1 thread".to_owned(),
            Some(count) => format!("{count} threads"),
            None => "unknown".to_owned(),
        }));
    }
    notes
}

/// Notes that a property is not the same in all rows, and where it is what.
fn difference(property: &str, rows: &[(&Row, &Energy)], text: impl Fn(&Row, &Energy) -> String) -> Option<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (row, energy) in rows {
        places.entry(text(row, energy)).or_default().push(place(row));
    }
    let parts: Vec<_> = places.iter().map(|(value, rows)| format!("{value} ({})", named(rows))).collect();
    (parts.len() > 1).then(|| format!("Not comparable over different {property}: {}.", parts.join("; ")))
}

fn window_note(rows: &[(&Row, &Energy)]) -> Option<String> {
    let (shortest_row, shortest) = rows
        .iter()
        .min_by(|a, b| a.1.active_window_seconds_min.total_cmp(&b.1.active_window_seconds_min))
        .map(|(row, energy)| (place(row), energy.active_window_seconds_min))?;
    let (longest_row, longest) = rows
        .iter()
        .max_by(|a, b| a.1.active_window_seconds_max.total_cmp(&b.1.active_window_seconds_max))
        .map(|(row, energy)| (place(row), energy.active_window_seconds_max))?;
    (longest > shortest * WINDOW_RATIO_MAX).then(|| {
        format!(
            "Not comparable over different window lengths: from {shortest:.3} s ({shortest_row}) to {longest:.3} s \
             ({longest_row})."
        )
    })
}

fn place(row: &Row) -> String {
    format!("{} on {}", row.treatment, row.node)
}

pub(super) fn named(rows: &[String]) -> String {
    let named = rows.iter().take(ROWS_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match rows.len().saturating_sub(ROWS_NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
