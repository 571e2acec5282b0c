//! The three questions answered in sentences: each says what the numbers carry, and where they carry nothing.

use serde::Serialize;

use super::super::relations::Relation;
use super::super::scale::Prefix;
use super::super::table::Row;
use super::cells::signed;
use super::compare::Comparison;
use super::label;
use super::techniques::techniques;
use crate::result::Kind;
use crate::statistics::Interval;

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
        training.push(
            "Nothing to compare: no model was trained in two frameworks by one recipe with an energy for a phase."
                .to_owned(),
        );
    }
    let mut quality: Vec<String> = of("RQ2").into_iter().map(by_accuracy).collect();
    if quality.is_empty() {
        quality.push(
            "Nothing to compare: no model was trained in two frameworks by one recipe and evaluated by both."
                .to_owned(),
        );
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
        for word in ["of ", "no ", "less ", "more ", "not ", "energy ", "the "] {
            if let Some(rest) = sentence.strip_prefix(word) {
                *sentence = format!("{}{}{rest}", word[..1].to_uppercase(), &word[1..]);
                break;
            }
        }
    }
    sentences
}

/// Says of figures that were not measured what they are.
pub(super) fn caveat(kind: Option<Kind>) -> &'static str {
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
    match (comparison.is_shown(), comparison.interval95) {
        (true, Some(interval)) => format!(
            "{caveat}{name} took {} for {} than {reference_name} on {node} ({}).",
            sized(difference, &interval, "%", if difference < 0.0 { "less energy" } else { "more energy" }),
            quantity.trim_start_matches("energy of "),
            test(comparison)
        ),
        (_, Some(interval)) => format!(
            "{caveat}no difference shown in the {quantity} between {name} and {reference_name} on {node} ({}).",
            unshown(comparison, difference, &interval, "%")
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
    match (comparison.is_shown(), comparison.interval95) {
        (true, Some(interval)) => format!(
            "The accuracy of {name} is {} that of {reference_name} ({}).",
            sized(difference, &interval, "points", if difference < 0.0 { "below" } else { "above" }),
            test(comparison)
        ),
        (_, Some(interval)) => format!(
            "No difference shown in the accuracy between {name} and {reference_name} ({}).",
            unshown(comparison, difference, &interval, "points")
        ),
        (_, None) => format!(
            "Not tested, {}: accuracy of {name}, {} points to {reference_name}.",
            untested(comparison),
            signed(difference, 1)
        ),
    }
}

/// "11 % (95 %: 9 to 13 %) less energy": the size of a difference with its interval, in digits that this knows.
fn sized(difference: f64, interval: &Interval, unit: &str, direction: &str) -> String {
    let decimals = decimals(interval);
    let size = difference.abs();
    let sizes = match *interval {
        Interval { low, high: Some(high) } if difference < 0.0 => Interval { low: -high, high: Some(-low) },
        other => other,
    };
    let range = range(&sizes, unit, |end| format!("{end:.decimals$}"));
    format!("{size:.decimals$} {unit} (95 %: {range}) {direction}")
}

/// "9 to 13 %".
fn range(interval: &Interval, unit: &str, text: impl Fn(f64) -> String) -> String {
    match interval.high {
        Some(high) => format!("{} to {} {unit}", text(interval.low), text(high)),
        None => format!("{} {unit} or more", text(interval.low)),
    }
}

/// "+0.5 points" and "−0.2 to +1.2 points".
pub(super) fn with_range(difference: f64, interval: &Interval, unit: &str) -> (String, String) {
    let decimals = decimals(interval);
    let range = range(interval, unit, |end| signed(end, decimals));
    (format!("{} {unit}", signed(difference, decimals)), range)
}

/// The test behind a sentence.
fn test(comparison: &Comparison) -> String {
    let p = comparison.p_holm.map_or_else(String::new, p_text);
    let g = comparison.hedges_g.map_or_else(String::new, |g| format!(", g = {}", signed(g, 1)));
    format!("Welch, {p} after Holm over {}{g}", tests(comparison.test_count))
}

pub(super) fn tests(count: usize) -> String {
    if count == 1 { "1 comparison".to_owned() } else { format!("{count} comparisons") }
}

/// What is not shown, with the interval that says how large it may be all the same.
fn unshown(comparison: &Comparison, difference: f64, interval: &Interval, unit: &str) -> String {
    let (difference, range) = with_range(difference, interval, unit);
    format!("{difference}, 95 %: {range}; {}, {} replicates", test(comparison), comparison.replicate_count)
}

/// Why there is no test.
fn untested(comparison: &Comparison) -> &'static str {
    if comparison.replicate_count < 2 { "for a single replicate" } else { "as the replicates do not scatter" }
}

pub(super) fn p_text(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".to_owned(),
        p if p > 0.999 => "p = 1".to_owned(),
        p => format!("p = {p:.3}"),
    }
}

/// Decimals that an interval lets stand.
fn decimals(interval: &Interval) -> usize {
    match (interval.high.unwrap_or(f64::INFINITY) - interval.low) / 2.0 {
        half_width if half_width < 0.1 => 2,
        half_width if half_width < 2.0 => 1,
        _ => 0,
    }
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
