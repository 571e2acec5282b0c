//! The three questions answered in sentences: each says what the numbers carry, and where they carry nothing.

use serde::Serialize;

use super::super::relations::{BreakEven, POINTS_LOST_MAX, Relation};
use super::super::scale::Prefix;
use super::super::table::Row;
use super::compare::{Comparison, joules};
use super::{count_text, label};
use crate::result::Kind;

/// A question and what the run says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// "RQ1", "RQ2" or "RQ3".
    pub question: &'static str,
    /// The question.
    pub text: &'static str,
    /// The answer, sentence by sentence.
    pub sentences: Vec<String>,
}

/// Answers the three questions.
pub(super) fn answers(rows: &[Row], relations: &[Relation], comparisons: &[Comparison]) -> Vec<Answer> {
    let of = |question: &str| -> Vec<&Comparison> {
        comparisons.iter().filter(|comparison| comparison.question == question).collect()
    };
    let mut training: Vec<String> = of("RQ1").into_iter().map(by_energy).collect();
    if training.is_empty() {
        training
            .push("Nothing to compare: no model was trained in two frameworks with an energy for a phase.".to_owned());
    }
    let mut quality: Vec<String> = of("RQ2").into_iter().map(by_accuracy).collect();
    if quality.is_empty() {
        quality.push("Nothing to compare: no model was trained in two frameworks and evaluated by both.".to_owned());
    }
    quality.extend(sizes(rows));
    let of_techniques = techniques(rows, relations, &of("RQ3"));
    vec![
        Answer { question: "RQ1", text: "What do training and evaluation cost?", sentences: capital(training) },
        Answer { question: "RQ2", text: "How good is each model?", sentences: capital(quality) },
        Answer { question: "RQ3", text: "Which optimisation is best?", sentences: capital(of_techniques) },
    ]
}

/// Sentences with a capital at their beginning, unless that is a name.
fn capital(mut sentences: Vec<String>) -> Vec<String> {
    for sentence in &mut sentences {
        for word in ["of ", "no ", "less ", "more ", "not ", "energy "] {
            if let Some(rest) = sentence.strip_prefix(word) {
                *sentence = format!("{}{}{rest}", word[..1].to_uppercase(), &word[1..]);
                break;
            }
        }
    }
    sentences
}

/// Says of figures that were not measured what they are.
fn caveat(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Simulated) => "By simulated figures, which say nothing of any hardware: ",
        Some(Kind::Estimated) => "By estimated figures, which nobody measured: ",
        Some(Kind::MeasuredElsewhere) => "By figures measured elsewhere: ",
        Some(Kind::Measured) | None => "",
    }
}

fn by_energy(comparison: &Comparison) -> String {
    let Comparison { quantity, name, reference_name, node, .. } = comparison;
    let caveat = caveat(comparison.kind);
    if let Some(why) = &comparison.not_comparable {
        return format!("The {quantity} of {name} and {reference_name} is not compared: {why}.");
    }
    let Some(difference) = comparison.difference else {
        return format!("The {quantity} of {name} and {reference_name} on {node} has no figures to compare.");
    };
    match (comparison.is_shown(), comparison.interval95_half_width) {
        (true, Some(half_width)) => format!(
            "{caveat}{name} took {} for {} than {reference_name} on {node} ({}).",
            sized(difference, half_width, "%", if difference < 0.0 { "less energy" } else { "more energy" }),
            quantity.trim_start_matches("energy of "),
            test(comparison)
        ),
        (_, Some(half_width)) => format!(
            "{caveat}no difference shown in the {quantity} between {name} and {reference_name} on {node} ({}).",
            unshown(comparison, difference, half_width, "%")
        ),
        (_, None) => format!(
            "{caveat}not tested, {}: {quantity} of {name} on {node}, {} % to {reference_name}.",
            untested(comparison),
            signed(difference, 1)
        ),
    }
}

fn by_accuracy(comparison: &Comparison) -> String {
    let Comparison { name, reference_name, .. } = comparison;
    let Some(difference) = comparison.difference else {
        return format!("Accuracy of {name} and {reference_name}: no figures to compare.");
    };
    match (comparison.is_shown(), comparison.interval95_half_width) {
        (true, Some(half_width)) => format!(
            "The accuracy of {name} is {} that of {reference_name} ({}).",
            sized(difference, half_width, "points", if difference < 0.0 { "below" } else { "above" }),
            test(comparison)
        ),
        (_, Some(half_width)) => format!(
            "No difference shown in the accuracy between {name} and {reference_name} ({}).",
            unshown(comparison, difference, half_width, "points")
        ),
        (_, None) => format!(
            "Not tested, {}: accuracy of {name}, {} points to {reference_name}.",
            untested(comparison),
            signed(difference, 1)
        ),
    }
}

/// "11 % (95 %: 9 to 13 %) less energy": the size of a difference with its interval, in digits that this knows.
fn sized(difference: f64, half_width: f64, unit: &str, direction: &str) -> String {
    let decimals = decimals(half_width);
    let size = difference.abs();
    let (low, high) = (size - half_width, size + half_width);
    format!("{size:.decimals$} {unit} (95 %: {low:.decimals$} to {high:.decimals$} {unit}) {direction}")
}

/// The test behind a sentence.
fn test(comparison: &Comparison) -> String {
    let p = comparison.p_holm.map_or_else(String::new, p_text);
    let g = comparison.hedges_g.map_or_else(String::new, |g| format!(", g = {}", signed(g, 1)));
    format!("Welch, {p} after Holm over {}{g}", tests(comparison.test_count))
}

fn tests(count: usize) -> String {
    if count == 1 { "1 comparison".to_owned() } else { format!("{count} comparisons") }
}

/// What is not shown, with the interval that says how large it may be all the same.
fn unshown(comparison: &Comparison, difference: f64, half_width: f64, unit: &str) -> String {
    let decimals = decimals(half_width);
    format!(
        "{} {unit}, 95 %: {} to {} {unit}; {}, {} replicates",
        signed(difference, decimals),
        signed(difference - half_width, decimals),
        signed(difference + half_width, decimals),
        test(comparison),
        comparison.replicate_count
    )
}

/// Why there is no test.
fn untested(comparison: &Comparison) -> &'static str {
    if comparison.replicate_count < 2 { "for a single replicate" } else { "as the replicates do not scatter" }
}

fn p_text(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".to_owned(),
        p if p > 0.999 => "p = 1".to_owned(),
        p => format!("p = {p:.3}"),
    }
}

/// Decimals that an interval of this half width lets stand.
fn decimals(half_width: f64) -> usize {
    match half_width {
        half_width if half_width < 0.1 => 2,
        half_width if half_width < 2.0 => 1,
        _ => 0,
    }
}

fn signed(difference: f64, decimals: usize) -> String {
    let size = format!("{:.decimals$}", difference.abs());
    let is_zero = size.bytes().all(|byte| byte == b'0' || byte == b'.');
    let sign = match difference {
        _ if is_zero => "",
        difference if difference < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{size}")
}

/// Sizes of the deployable files, which are what a device holds.
fn sizes(rows: &[Row]) -> Option<String> {
    let trained: Vec<&Row> =
        rows.iter().filter(|row| row.workload == "train" && row.model_file_bytes.is_some()).collect();
    let sizes: Vec<String> = trained
        .iter()
        .filter_map(|row| {
            let checkpoint = row.job.as_ref().and_then(|job| job.checkpoint_file_bytes);
            let apart = checkpoint.map_or_else(String::new, |bytes| format!(" (checkpoint {})", size(bytes)));
            Some(format!("{} {}{apart}", label(row, rows), size(row.model_file_bytes?)))
        })
        .collect();
    (!sizes.is_empty()).then(|| format!("Deployable file of the trained model: {}.", sizes.join(", ")))
}

#[expect(clippy::cast_precision_loss, reason = "shown to four digits")]
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    let prefix = Prefix::for_column([bytes]);
    format!("{} {}B", prefix.text(bytes, prefix.decimals([bytes], 4, 4)), prefix.symbol)
}

fn techniques(rows: &[Row], relations: &[Relation], comparisons: &[&Comparison]) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut places: Vec<(&str, Kind)> = Vec::new();
    for relation in relations {
        if !places.contains(&(relation.node.as_str(), relation.kind)) {
            places.push((relation.node.as_str(), relation.kind));
        }
    }
    for (node, kind) in places {
        let here: Vec<(&Relation, &Row)> = relations
            .iter()
            .filter(|relation| relation.node == node && relation.kind == kind)
            .filter_map(|relation| {
                let is_row =
                    |row: &&Row| row.treatment == relation.treatment && row.node == node && row.kind == Some(kind);
                Some((relation, rows.iter().find(is_row)?))
            })
            .collect();
        sentences.extend(best(&here, rows, comparisons, node, kind));
        sentences.extend(gains(&here, comparisons, node, kind));
        sentences.extend(front(&here, rows, node, kind));
        sentences.extend(left_out(&here, rows, node));
    }
    if sentences.is_empty() {
        sentences.push("No model has a valid trial on a node yet.".to_owned());
    }
    sentences
}

/// The model with the fewest joules among those that keep their parent's accuracy.
fn best(
    here: &[(&Relation, &Row)],
    rows: &[Row],
    comparisons: &[&Comparison],
    node: &str,
    kind: Kind,
) -> Option<String> {
    let keeps = |relation: &Relation| {
        !relation.is_suspect() && relation.accuracy_points_to_parent.is_none_or(|points| points >= -POINTS_LOST_MAX)
    };
    let candidates = || here.iter().filter(|(relation, row)| keeps(relation) && joules(row).is_some());
    let (relation, row) = candidates().min_by(|a, b| {
        let of = |row: &Row| joules(row).map_or(f64::INFINITY, |joules| joules.joules_mean);
        of(a.1).total_cmp(&of(b.1))
    })?;
    let energy = joules(row)?;
    let accuracy = row.accuracy().map_or_else(String::new, |accuracy| format!(", accuracy {accuracy:.4}"));
    let count = candidates().count();
    let is_shown = comparisons
        .iter()
        .any(|comparison| comparison.treatment == row.treatment && comparison.node == node && comparison.is_shown());
    let paid = match relation.break_even {
        Some(BreakEven::Inferences(count)) if is_shown => format!(
            "; what training and optimising took is saved after {} inferences, against float32",
            count_text(count)
        ),
        _ => String::new(),
    };
    Some(format!(
        "{}of {count} models on {node} within {POINTS_LOST_MAX:.0} points of their float32 parent, {} has the least mean \
         energy per inference: {}{accuracy}{paid}.",
        caveat(Some(kind)),
        label(row, rows),
        joules_text(energy.joules_mean, energy.joules_interval95_half_width),
    ))
}

fn joules_text(joules: f64, half_width: Option<f64>) -> String {
    let prefix = Prefix::for_column([joules]);
    let decimals = prefix.decimals([joules], 4, 4);
    let doubt = half_width.map_or_else(String::new, |half_width| format!(" ± {}", prefix.text(half_width, decimals)));
    format!("{}{doubt} {}J", prefix.text(joules, decimals), prefix.symbol)
}

/// Every technique against its parent, for each framework in one sentence.
fn gains(here: &[(&Relation, &Row)], comparisons: &[&Comparison], node: &str, kind: Kind) -> Vec<String> {
    let mut references: Vec<&str> = Vec::new();
    let of_place: Vec<&Comparison> = comparisons
        .iter()
        .copied()
        .filter(|comparison| comparison.node == node && comparison.kind == Some(kind))
        .filter(|comparison| here.iter().any(|(relation, _)| relation.treatment == comparison.treatment))
        .collect();
    for comparison in &of_place {
        if !references.contains(&comparison.reference_name.as_str()) {
            references.push(&comparison.reference_name);
        }
    }
    let of_reference = |reference: &str| -> Vec<&Comparison> {
        of_place.iter().copied().filter(|found| found.reference_name == reference).collect()
    };
    references.iter().flat_map(|reference| gain(reference, &of_reference(reference), node, kind)).collect()
}

fn gain(reference: &str, compared: &[&Comparison], node: &str, kind: Kind) -> Vec<String> {
    let (mut less, mut more, mut equal, mut untested, mut apart) = (vec![], vec![], vec![], vec![], vec![]);
    for comparison in compared {
        let name = short(&comparison.name, reference);
        let p = comparison.p_holm.map_or_else(String::new, p_text);
        match (comparison.difference, comparison.interval95_half_width, &comparison.not_comparable) {
            (_, _, Some(why)) => apart.push(format!("{name} ({why})")),
            (Some(difference), Some(half_width), None) if comparison.is_shown() => {
                let digits = decimals(half_width);
                let g = comparison.hedges_g.map_or_else(String::new, |g| format!(", g = {}", signed(g, 1)));
                let text = format!(
                    "{name} {} % (95 %: {} to {} %, {p}{g})",
                    signed(difference, digits),
                    signed(difference - half_width, digits),
                    signed(difference + half_width, digits)
                );
                if difference < 0.0 { less.push(text) } else { more.push(text) }
            }
            (Some(difference), Some(half_width), None) => {
                let digits = decimals(half_width);
                equal.push(format!(
                    "{name} {} % (95 %: {} to {} %, {p})",
                    signed(difference, digits),
                    signed(difference - half_width, digits),
                    signed(difference + half_width, digits)
                ));
            }
            (Some(difference), None, None) => untested.push(format!("{name} {} %", signed(difference, 1))),
            (None, ..) => {}
        }
    }
    let count = compared.iter().map(|comparison| comparison.replicate_count).min().unwrap_or(0);
    let tests = tests(compared.first().map_or(0, |comparison| comparison.test_count));
    let tested = format!("Welch, Holm over {tests}, {count} replicates");
    let caveat = caveat(Some(kind));
    let sentence =
        |head: String, list: &[String]| (!list.is_empty()).then(|| format!("{caveat}{head}: {}.", list.join(", ")));
    let figures = format!("energy per inference than {reference} on {node} ({tested})");
    [
        sentence(format!("less {figures}"), &less),
        sentence(format!("more {figures}"), &more),
        sentence(
            format!("no difference shown in the energy per inference to {reference} on {node} ({tested})"),
            &equal,
        ),
        sentence(format!("energy per inference against {reference} on {node}, not tested"), &untested),
        sentence(format!("not compared with {reference} on {node}"), &apart),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A name without the words that it shares with its reference.
fn short<'a>(name: &'a str, reference: &str) -> &'a str {
    let shared = reference.rsplit_once(' ').map_or("", |(shared, _)| shared);
    name.strip_prefix(shared).map_or(name, str::trim_start)
}

fn front(here: &[(&Relation, &Row)], rows: &[Row], node: &str, kind: Kind) -> Option<String> {
    let mut on_front: Vec<&Row> =
        here.iter().filter(|(relation, _)| relation.is_on_pareto_front).map(|(_, row)| *row).collect();
    let accuracy = |row: &Row| row.accuracy().unwrap_or(0.0);
    on_front.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    let names: Vec<String> = on_front.into_iter().map(|row| label(row, rows)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}Pareto front of mean accuracy against mean energy per inference on {node}, the most accurate first: {}.",
            caveat(Some(kind)),
            names.join(", ")
        )
    })
}

fn left_out(here: &[(&Relation, &Row)], rows: &[Row], node: &str) -> Option<String> {
    let names: Vec<String> =
        here.iter().filter(|(relation, _)| relation.is_suspect()).map(|(_, row)| label(row, rows)).collect();
    (!names.is_empty())
        .then(|| format!("Left out on {node}, as their pipeline is suspect (see the warnings): {}.", names.join(", ")))
}
