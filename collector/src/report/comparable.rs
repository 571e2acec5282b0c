//! The one rule of what may be set beside each other: whose energies are compared, and why a reader should not do it where
//! the report does not. A reader will put any two rows side by side, so the report warns first.

use std::collections::BTreeMap;

use super::table::{Energy, INFERENCE, Row};
use super::words::kind_word;

/// Active windows end with the inference under way, so that lengths differ a little between rows of one setting. More
/// than this part, and more than an inference, is another setting.
const WINDOW_RATIO_MAX: f64 = 1.1;

/// A reader looks the other rows up; a note names this many.
const ROWS_NAMED_MAX: usize = 3;

/// What must be the same in two rows, for people, and its value.
type Property = (&'static str, fn(&Row) -> String);

/// Nodes are no property of a note: every table has a column for them.
const NODES: Property = ("nodes", |row| row.node.clone());
const KINDS: Property =
    ("kinds of energy figures", |row| row.kind.map_or_else(String::new, |kind| kind_word(kind).to_owned()));
const SENSORS: Property = ("sensors", |row| energy(row, |energy| energy.sensors.join(" and ")));
const RATES: Property = ("sample rates", |row| {
    energy(row, |energy| {
        energy.sample_rates_hz.iter().map(|rate| format!("{rate:.0} Hz")).collect::<Vec<_>>().join(" and ")
    })
});
const THREADS: Property = ("thread counts", |row| match row.thread_count {
    Some(1) => "1 thread".to_owned(),
    Some(count) => format!("{count} threads"),
    None => row.recipe.get("threads").map_or_else(|| "unknown".to_owned(), |count| format!("{count} threads")),
});
const DEVICES: Property = ("devices", |row| row.recipe.get("device").cloned().unwrap_or_default());
const INPUTS: Property = ("test inputs", |row| match &row.inputs_sha256 {
    Some(sha256) => format!("inputs {}", sha256.get(..12).unwrap_or(sha256)),
    None => String::new(),
});

/// All of them, the weightiest first. Window lengths are no word and stand apart.
const PROPERTIES: [Property; 7] = [KINDS, NODES, SENSORS, RATES, THREADS, DEVICES, INPUTS];

fn energy(row: &Row, text: fn(&Energy) -> String) -> String {
    row.energy.as_ref().map(text).unwrap_or_default()
}

/// Why the energies of two rows are none of each other's business; `None` when they may be compared.
pub(super) fn apart(one: &Row, other: &Row) -> Option<String> {
    let differs = |(name, text): &Property| {
        let (own, others) = (text(one), text(other));
        (own != others).then(|| format!("different {name}: {own} and {others}"))
    };
    PROPERTIES.iter().find_map(differs).or_else(|| {
        let lengths = [window(one), window(other)].into_iter().flatten();
        (one.workload == INFERENCE && have_other_windows(&[one, other]))
            .then(|| format!("different window lengths: {}", lengths.collect::<Vec<_>>().join(" and ")))
    })
}

/// Rows whose energies may be compared, together; in the order of their first ones.
pub(super) fn groups<'a, T>(rows: Vec<T>, row: impl Fn(&T) -> &'a Row) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in rows {
        match groups.iter_mut().find(|group| group.iter().all(|own| apart(row(own), row(&item)).is_none())) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// What sets a row apart from others: "1 thread and 1000 Hz"; empty when nothing does.
pub(super) fn distinction(row: &Row, others: &[&Row]) -> String {
    let own = |(_, text): &Property| {
        let own = text(row);
        others.iter().any(|other| text(other) != own).then_some(own).filter(|own| !own.is_empty())
    };
    let with_window = others.iter().any(|other| have_other_windows(&[row, other]));
    let length = window(row).filter(|_| with_window).map(|length| format!("windows of {length}"));
    PROPERTIES.iter().filter_map(own).chain(length).collect::<Vec<_>>().join(" and ")
}

/// Compares rows with each other: kinds over all rows, everything else among the rows of one kind. Nobody sets a job
/// beside an inference, so the two are looked at apart.
pub(super) fn notes(rows: &[Row]) -> Vec<String> {
    let of = |is_job: bool| rows.iter().filter(move |row| row.is_job() == is_job && row.energy.is_some());
    let mut notes = among(&of(false).collect::<Vec<_>>());
    notes.extend(
        among(&of(true).collect::<Vec<_>>()).into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>(),
    );
    notes
}

fn among(measured: &[&Row]) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(difference(KINDS, measured));
    let mut kinds: Vec<_> = measured.iter().filter_map(|row| row.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let alike: Vec<&Row> = measured.iter().copied().filter(|row| row.kind == Some(kind)).collect();
        notes.extend(difference(SENSORS, &alike));
        notes.extend(difference(RATES, &alike));
        notes.extend(difference(DEVICES, &alike));
        // A job's window is as long as the job takes: that is a figure of it, and no setting.
        notes.extend(window_note(&alike).filter(|_| alike.iter().all(|row| !row.is_job())));
        let executed: Vec<&Row> = alike.into_iter().filter(|row| !row.runtimes.is_empty()).collect();
        notes.extend(runtimes(&executed));
        notes.extend(difference(THREADS, &executed));
        notes.extend(difference(INPUTS, &executed));
    }
    notes
}

/// Another framework's models have another runtime: comparing those is what a study is for. Where one framework has
/// several, rows are compared all the same, and a reader must know what else differs.
fn runtimes(executed: &[&Row]) -> Vec<String> {
    let mut frameworks: Vec<_> = executed.iter().map(|row| row.framework.clone()).collect();
    frameworks.sort();
    frameworks.dedup();
    let of_framework = |framework| {
        let rows: Vec<&Row> = executed.iter().copied().filter(|row| row.framework == framework).collect();
        let places = places(&rows, |row| row.runtimes.join(" and "))?;
        Some(format!("Over different runtimes a difference may be the runtime's and not the model's: {places}."))
    };
    frameworks.into_iter().filter_map(of_framework).collect()
}

/// Notes that a property is not the same in all rows, and where it is what.
fn difference((name, text): Property, rows: &[&Row]) -> Option<String> {
    Some(format!("Not comparable over different {name}: {}.", places(rows, text)?))
}

/// Where something is what; `None` when it is the same everywhere.
fn places(rows: &[&Row], text: fn(&Row) -> String) -> Option<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        places.entry(text(row)).or_default().push(place(row));
    }
    let parts: Vec<_> = places.iter().map(|(value, rows)| format!("{value} ({})", named(rows))).collect();
    (parts.len() > 1).then(|| parts.join("; "))
}

/// Length of a row's active windows, for people.
fn window(row: &Row) -> Option<String> {
    let energy = row.energy.as_ref()?;
    Some(format!("{:.3} s", energy.active_window_seconds_max))
}

/// The rows with the shortest and the longest active window, and how long these are.
fn extremes<'a>(rows: &[&'a Row]) -> Option<[(&'a Row, f64); 2]> {
    let of = |length: fn(&Energy) -> f64| rows.iter().filter_map(move |row| Some((*row, length(row.energy.as_ref()?))));
    let shortest = of(|energy| energy.active_window_seconds_min).min_by(|a, b| a.1.total_cmp(&b.1))?;
    let longest = of(|energy| energy.active_window_seconds_max).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some([shortest, longest])
}

/// Whether the active windows of some rows were set to other lengths than those of others.
fn have_other_windows(rows: &[&Row]) -> bool {
    extremes(rows).is_some_and(|[(_, shortest), (row, longest)]| {
        let inference = row.inferences_per_second.map_or(0.0, |rate| 1.0 / rate);
        longest > shortest * WINDOW_RATIO_MAX && longest - shortest > inference
    })
}

fn window_note(rows: &[&Row]) -> Option<String> {
    let [(shortest_row, shortest), (longest_row, longest)] = extremes(rows)?;
    have_other_windows(rows).then(|| {
        format!(
            "Not comparable over different window lengths: from {shortest:.3} s ({}) to {longest:.3} s ({}).",
            place(shortest_row),
            place(longest_row)
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
