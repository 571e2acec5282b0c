//! The study's tables, in its columns: what training costs, how good the models are, which optimisation is best.

use super::super::relations::{BreakEven, FLOAT32, Relation};
use super::super::scale::Prefix;
use super::super::table::{INFERENCE, JoulesOverReplicates, Quality, Report, Row};
use super::super::text::{ABSENT, Scale, Table, TextTable};
use super::super::words::kind_word;
use super::cells::{DIGITS, PLUS_MINUS, count, joules_cell, own_scale, signed};
use super::{Comparison, Study, costs, count_text, has_families};
use crate::result::Kind;
use crate::statistics::Scores;

/// All tables of the three questions.
pub(in crate::report) fn tables(report: &Report, study: &Study) -> Vec<TextTable> {
    let mut tables = Vec::new();
    for kind in kinds(report) {
        let rows = |workloads: &[&str]| -> Vec<&Row> {
            let is_asked = |row: &&Row| row.kind == Some(kind) && workloads.contains(&row.workload);
            report.rows.iter().filter(is_asked).collect()
        };
        tables.push(costs::training(report, study, &rows(&["train"]), kind));
        tables.push(costs::optimising(report, &rows(&["optimise", "build"]), kind));
    }
    tables.push(quality(report));
    let models: Vec<&Row> = report.rows.iter().filter(|row| row.workload == INFERENCE).collect();
    tables.push(techniques(report, study, &models));
    tables.push(speed(report, &models));
    for kind in kinds(report) {
        let models: Vec<&Row> = models.iter().copied().filter(|row| row.kind == Some(kind)).collect();
        tables.push(energy(report, &models, kind));
        tables.push(worth(report, study, &models, kind));
    }
    tables
}

fn kinds(report: &Report) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = report.rows.iter().filter_map(|row| row.kind).collect();
    kinds.dedup();
    kinds
}

/// Title with what all rows share: data set, kind, and the node if there is one alone.
pub(super) fn title(what: &str, report: &Report, rows: &[&Row], kind: Option<Kind>) -> String {
    let dataset = &report.header.dataset;
    let node = only_node(rows).map(|node| format!("on {node}"));
    let facts: Vec<String> = [Some(dataset.clone()), kind.map(|kind| kind_word(kind).to_owned()), node]
        .into_iter()
        .flatten()
        .filter(|fact| !fact.is_empty())
        .collect();
    format!("{what}: {}", facts.join(", "))
}

fn only_node<'a>(rows: &[&'a Row]) -> Option<&'a str> {
    let first = rows.first()?;
    rows.iter().all(|row| row.node == first.node).then_some(first.node.as_str())
}

/// Columns that say which model a row is about: no more of them than tell rows apart.
pub(super) fn lead(table: &mut Table, report: &Report, rows: &[&Row], with_technique: bool) {
    let or_absent = |text: &Option<String>| text.clone().unwrap_or_else(|| ABSENT.to_owned());
    if has_families(&report.rows) {
        table.words("model", rows.iter().map(|row| or_absent(&row.family)));
    }
    table.words("framework", rows.iter().map(|row| or_absent(&row.framework)));
    if with_technique {
        let technique = |row: &&Row| row.technique.clone().unwrap_or_else(|| row.treatment.clone());
        table.words("technique", rows.iter().map(technique));
    }
    if only_node(rows).is_none() {
        table.words("node", rows.iter().map(|row| row.node.clone()));
    }
}

// === quality ===

fn quality(report: &Report) -> TextTable {
    let is_asked = |row: &&Row| {
        row.quality.is_some()
            && (row.workload == "train" || row.workload == INFERENCE && row.technique.as_deref() == Some(FLOAT32))
    };
    let rows: Vec<&Row> = report.rows.iter().filter(is_asked).collect();
    let mut table = Table::new(&title("RQ2 How good each trained model is", report, &[], None));
    if has_families(&report.rows) {
        table.words("model", rows.iter().map(|row| row.family.clone().unwrap_or_default()));
    }
    table.words("framework", rows.iter().map(|row| row.framework.clone().unwrap_or_else(|| row.treatment.clone())));
    let place = |row: &&Row| if row.is_job() { "trainer".to_owned() } else { row.node.clone() };
    table.words("scored\nby", rows.iter().map(place));
    scores(&mut table, &rows);
    sizes(&mut table, &rows);
    let checkpoints = |row: &Row| count(row.job.as_ref().and_then(|job| job.checkpoint_file_bytes));
    let scale = own_scale(rows.iter().filter_map(|row| checkpoints(row)));
    table.figures(scale.head("check-\npoint", "B"), rows.iter().map(|row| scale.cell(checkpoints(row))));
    counts(&mut table, "para-\nmeters", &rows, |row| {
        training(report, row).map_or(row.parameter_count, |job| job.parameter_count)
    });
    counts(&mut table, "\nMACs", &rows, |row| training(report, row).map_or(row.mac_count, |job| job.mac_count));
    replicate_counts(&mut table, &rows);
    table.note(format!(
        "{PLUS_MINUS}, each of which trained a model of its own. Precision, recall and F1 are macro means. Size: the \
         deployable file; checkpoint: what the framework saves to go on training, with its optimiser's state."
    ));
    table.finish()
}

/// The training of a model's network. Its file holds fewer parameters where a converter has folded some away.
fn training<'a>(report: &'a Report, row: &Row) -> Option<&'a Row> {
    let is_it =
        |other: &&Row| other.workload == "train" && other.family == row.family && other.framework == row.framework;
    report.rows.iter().find(is_it)
}

fn techniques(report: &Report, study: &Study, rows: &[&Row]) -> TextTable {
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.quality.is_some()).collect();
    let mut table = Table::new(&title("RQ3 Quality and size of each technique", report, &rows, None));
    lead(&mut table, report, &rows, true);
    scores(&mut table, &rows);
    let points = |row: &&Row| {
        let relation = study.relation(row);
        match relation.and_then(|relation| relation.accuracy_points_to_parent) {
            Some(points) => {
                let doubt = if relation.is_some_and(Relation::is_suspect) { "!! " } else { "" };
                format!("{doubt}{}", signed(points, 2))
            }
            None => ABSENT.to_owned(),
        }
    };
    table.figures("points to\nfloat32".to_owned(), rows.iter().map(points));
    sizes(&mut table, &rows);
    replicate_counts(&mut table, &rows);
    table.note(format!(
        "{PLUS_MINUS}. Points to float32: accuracy less that of the float32 model of the same replicate, in hundredths; \
         !! marks a suspect pipeline."
    ));
    table.finish()
}

fn scores(table: &mut Table, rows: &[&Row]) {
    let qualities: Vec<Option<&Quality>> = rows.iter().map(|row| row.quality.as_ref()).collect();
    let accuracy = |quality: &Option<&Quality>| match quality {
        Some(Quality { scores, interval95_half_widths: Some(half_widths), .. }) => {
            format!("{:.4} ± {:.4}", scores.accuracy, half_widths.accuracy)
        }
        Some(quality) => format!("{:.4}", quality.scores.accuracy),
        None => ABSENT.to_owned(),
    };
    table.figures("accuracy".to_owned(), qualities.iter().map(accuracy));
    let mut score = |head: &str, score: fn(&Scores) -> f64| {
        let cell = |quality: &Option<&Quality>| {
            quality.map_or_else(|| ABSENT.to_owned(), |quality| format!("{:.4}", score(&quality.scores)))
        };
        table.figures(head.to_owned(), qualities.iter().map(cell));
    };
    score("preci-\nsion", |scores| scores.precision_macro);
    score("recall", |scores| scores.recall_macro);
    score("F1", |scores| scores.f1_macro);
}

fn sizes(table: &mut Table, rows: &[&Row]) {
    let scale = own_scale(rows.iter().filter_map(|row| count(row.model_file_bytes)));
    table.figures(scale.head("size", "B"), rows.iter().map(|row| scale.cell(count(row.model_file_bytes))));
}

fn counts(table: &mut Table, head: &str, rows: &[&Row], of: impl Fn(&Row) -> Option<u64>) {
    let scale = own_scale(rows.iter().filter_map(|row| count(of(row))));
    table.figures(scale.head(head, ""), rows.iter().map(|row| scale.cell(count(of(row)))));
}

fn replicate_counts(table: &mut Table, rows: &[&Row]) {
    table.figures("n".to_owned(), rows.iter().map(|row| row.counts.replicate_count_valid.to_string()));
}

// === speed and energy ===

fn speed(report: &Report, rows: &[&Row]) -> TextTable {
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.latency.is_some() || row.memory.is_some()).collect();
    let mut table = Table::new(&title("RQ3 Latency, work and memory of each technique", report, &rows, None));
    lead(&mut table, report, &rows, true);
    let name = |runtime: &String| runtime.split(' ').next().unwrap_or_default().to_owned();
    table.words("runtime", rows.iter().map(|row| row.runtimes.iter().map(name).collect::<Vec<_>>().join(", ")));
    table.figures(
        "threads".to_owned(),
        rows.iter().map(|row| row.thread_count.map_or_else(|| ABSENT.to_owned(), |count| count.to_string())),
    );
    let scale = own_scale(rows.iter().filter_map(|row| Some(row.latency?.seconds_p50)));
    let mut percentile = |head: &str, seconds: fn(&Row) -> Option<f64>| {
        table.figures(scale.head(head, "s"), rows.iter().map(|row| scale.cell(seconds(row))));
    };
    percentile("latency\np50", |row| Some(row.latency?.seconds_p50));
    percentile("p95", |row| Some(row.latency?.seconds_p95));
    percentile("p99", |row| Some(row.latency?.seconds_p99));
    counts(&mut table, "\nMACs", &rows, |row| row.mac_count);
    let memory = |row: &Row| count(row.memory.map(|memory| memory.bytes_peak));
    let scale = own_scale(rows.iter().filter_map(|row| memory(row)));
    table.figures(scale.head("peak\nmemory", "B"), rows.iter().map(|row| scale.cell(memory(row))));
    let mut versions: Vec<&str> = rows.iter().flat_map(|row| &row.runtimes).map(String::as_str).collect();
    versions.sort_unstable();
    versions.dedup();
    table.note(format!(
        "Latency over all inferences of all replicates, from copying the input in to reading the output out. Runtimes: {}.",
        versions.join(", ")
    ));
    table.finish()
}

fn energy(report: &Report, rows: &[&Row], kind: Kind) -> TextTable {
    let mut table = Table::new(&title("RQ3 Energy per inference of each technique", report, rows, Some(kind)));
    lead(&mut table, report, rows, true);
    let total: Vec<_> = rows.iter().map(|row| Some(&row.energy.as_ref()?.per_inference)).collect();
    let above: Vec<_> = rows.iter().map(|row| row.energy.as_ref()?.per_inference_above_idle.as_ref()).collect();
    // One prefix for all joules of the table, and one number of digits: they are read against each other.
    let prefix = Prefix::for_column(total.iter().filter_map(|joules| joules.map(|joules| joules.joules_mean)));
    for (head, joules) in [("total", &total), ("above idle", &above)] {
        let scale =
            Scale::new(prefix, joules.iter().filter_map(|joules| joules.map(|joules| joules.joules_mean)), DIGITS);
        table.figures(scale.head(head, "J"), joules.iter().map(|joules| joules_cell(&scale, *joules, 1.0)));
        let doubt = |joules: &Option<&JoulesOverReplicates>| {
            scale.cell(joules.and_then(|joules| joules.joules_expanded_uncertainty))
        };
        table.figures(scale.head("k=2 ±", "J"), joules.iter().map(doubt));
    }
    let correct = |row: &Row| row.energy.as_ref()?.joules_per_correct_inference;
    let scale = Scale::new(prefix, rows.iter().filter_map(|row| correct(row)), DIGITS);
    table.figures(scale.head("per correct", "J"), rows.iter().map(|row| scale.cell(correct(row))));
    replicate_counts(&mut table, rows);
    table.note(format!(
        "{PLUS_MINUS}; k=2 how far the sensor may be off in all of them alike. Above idle: without what the device takes \
         when it waits. Per correct: total divided by the accuracy."
    ));
    table.finish()
}

/// What decides: what a technique saves, whether that is shown, when it has paid for itself.
fn worth(report: &Report, study: &Study, rows: &[&Row], kind: Kind) -> TextTable {
    let mut table = Table::new(&title("RQ3 What each technique is worth", report, rows, Some(kind)));
    lead(&mut table, report, rows, true);
    let accuracy = |row: &&Row| row.accuracy().map_or_else(|| ABSENT.to_owned(), |accuracy| format!("{accuracy:.4}"));
    table.figures("accuracy".to_owned(), rows.iter().map(accuracy));
    let saved = |row: &&Row| match study.of_technique(row) {
        _ if study.relation(row).is_some_and(Relation::is_suspect) => "suspect".to_owned(),
        Some(Comparison { difference: Some(difference), interval95: Some(interval), .. }) => {
            // One figure has room here; the farther end claims least.
            let farther = interval.high.map(|high| (high - difference).max(difference - interval.low));
            let doubt = farther.map_or_else(|| "open".to_owned(), |farther| format!("{farther:.1}"));
            format!("{} ± {doubt}", signed(*difference, 1))
        }
        Some(Comparison { difference: Some(difference), .. }) => signed(*difference, 1),
        Some(Comparison { not_comparable: Some(_), .. }) => "apart".to_owned(),
        _ => ABSENT.to_owned(),
    };
    table.figures("energy to\nfloat32 (%)".to_owned(), rows.iter().map(saved));
    let p = |row: &&Row| match study.of_technique(row).and_then(|comparison| comparison.p_holm) {
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
        None => ABSENT.to_owned(),
    };
    table.figures("p\n(Holm)".to_owned(), rows.iter().map(p));
    let g = |row: &&Row| match study.of_technique(row).and_then(|comparison| comparison.hedges_g) {
        Some(g) => signed(g, 1),
        None => ABSENT.to_owned(),
    };
    table.figures("g".to_owned(), rows.iter().map(g));
    let product = |row: &Row| row.energy.as_ref()?.joule_seconds_per_inference;
    let scale = own_scale(rows.iter().filter_map(|row| product(row)));
    table.figures(scale.head("energy×\ndelay", "Js"), rows.iter().map(|row| scale.cell(product(row))));
    let break_even = |row: &&Row| {
        let shown = study.of_technique(row).is_some_and(Comparison::is_shown);
        match study.relation(row).filter(|relation| !relation.is_suspect()).and_then(|relation| relation.break_even) {
            Some(BreakEven::Inferences(count)) if shown => count_text(count),
            Some(BreakEven::Inferences(count)) => format!("({})", count_text(count)),
            Some(BreakEven::Never) if shown => "never".to_owned(),
            Some(BreakEven::Never) => "(never)".to_owned(),
            None => ABSENT.to_owned(),
        }
    };
    table.figures("break-\neven".to_owned(), rows.iter().map(break_even));
    let front = |row: &&Row| match study.relation(row) {
        Some(relation) if relation.is_on_pareto_front => "●".to_owned(),
        _ => String::new(),
    };
    table.words("Pareto", rows.iter().map(front));
    table.note(
        "Energy to float32: mean energy per inference less that of the framework's float32 model, ± as far as the farther \
         end of the ratio's 95 % interval lies (Welch, Fieller); p after Holm's correction over all rows of this question, below 0.05 a difference is \
         shown; g: Hedges' effect size. Break-even: inferences that save what training and optimising took; in brackets \
         where no difference is shown. Pareto ●: no other row is at least as accurate for less energy, by the means, of \
         those whose energy may be compared with it."
            .to_owned(),
    );
    table.finish()
}
