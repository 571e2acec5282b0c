//! What stands behind a study's energies: rows of one sensor together, as a study has too many to name each.

use super::super::table::{Energy, Report, Row};
use super::super::tables::kind_column;
use super::super::text::{ABSENT, Table, TextTable};

/// Each sensor with what it saw.
pub(in crate::report) fn evidence(report: &Report) -> TextTable {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in &report.rows {
        match groups.iter_mut().find(|group| is_alike(group[0], row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let mut table = Table::new("What stands behind the energy");
    let what = |group: &Vec<&Row>| {
        let noun = if group[0].is_job() { "job" } else { group[0].workload };
        format!("{} {noun}{}", group.len(), if group.len() == 1 { "" } else { "s" })
    };
    table.words("treatments", groups.iter().map(what));
    table.words("node", groups.iter().map(|group| group[0].node.clone()));
    kind_column(&mut table, &groups.iter().map(|group| group[0]).collect::<Vec<_>>());
    let energies = |group: &Vec<&Row>, cell: &dyn Fn(&[&Energy]) -> String| {
        let energies: Vec<&Energy> = group.iter().filter_map(|row| row.energy.as_ref()).collect();
        if energies.is_empty() { ABSENT.to_owned() } else { cell(&energies) }
    };
    let mut column = |head: &str, is_words: bool, cell: &dyn Fn(&[&Energy]) -> String| {
        let cells: Vec<String> = groups.iter().map(|group| energies(group, cell)).collect();
        if is_words {
            table.words(head, cells.into_iter());
        } else {
            table.figures(head.to_owned(), cells.into_iter());
        }
    };
    column("sensor", true, &|energies| energies[0].sensors.join(", "));
    column("rate\n(Hz)", false, &|energies| {
        energies[0].sample_rates_hz.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ")
    });
    column("window\n(s)", false, &|energies| {
        let shortest = energies.iter().map(|energy| energy.active_window_seconds_min).fold(f64::INFINITY, f64::min);
        let longest = energies.iter().map(|energy| energy.active_window_seconds_max).fold(0.0, f64::max);
        let (shortest, longest) = (format!("{shortest:.1}"), format!("{longest:.1}"));
        if shortest == longest { shortest } else { format!("{shortest}-{longest}") }
    });
    column("samples", false, &|energies| energies.iter().map(|energy| energy.sample_count).sum::<u64>().to_string());
    column("lost", false, &|energies| energies.iter().map(|energy| energy.lost_reading_count).sum::<u64>().to_string());
    let valid = |group: &Vec<&Row>| {
        let valid: usize = group.iter().map(|row| row.counts.replicate_count_valid).sum();
        let attempted: usize = group.iter().map(|row| row.counts.replicate_count_attempted).sum();
        format!("{valid}/{attempted}")
    };
    table.figures("valid".to_owned(), groups.iter().map(valid));
    table.finish()
}

/// Whether two rows were measured alike.
fn is_alike(one: &Row, other: &Row) -> bool {
    let measured =
        |row: &Row| row.energy.as_ref().map(|energy| (energy.sensors.clone(), energy.sample_rates_hz.clone()));
    one.node == other.node
        && one.kind == other.kind
        && one.is_job() == other.is_job()
        && measured(one) == measured(other)
}
