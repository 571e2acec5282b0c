//! What the techniques are worth, in sentences: one group of rows after another whose energies may be compared.

use super::super::comparable;
use super::super::relations::{BreakEven, POINTS_LOST_MAX, Relation};
use super::super::scale::Prefix;
use super::super::table::Row;
use super::answers::{caveat, p_text, tests, with_range};
use super::cells::signed;
use super::compare::{Comparison, LEAST, P_MAX, PER_INFERENCE, joules};
use super::{Model, count_text, label, models};
use crate::result::Kind;

/// Groups that sentences are made of. A design with more of them is read in its tables.
const GROUP_COUNT_MAX: usize = 12;

/// Models that a sentence names, of those that another is not shown to be below.
const RIVALS_NAMED_MAX: usize = 4;

/// Models of one node and kind whose energies may be compared.
struct Group<'a> {
    node: &'a str,
    kind: Kind,
    /// The node, with what sets the group apart from the others there.
    place: String,
    models: Vec<Model<'a>>,
}

impl Group<'_> {
    /// Whether a comparison is of one of its models.
    fn holds(&self, comparison: &Comparison) -> bool {
        comparison.node == self.node
            && comparison.kind == Some(self.kind)
            && self.models.iter().any(|(relation, _)| relation.treatment == comparison.treatment)
    }
}

/// All that is said of the techniques.
pub(super) fn techniques(rows: &[Row], relations: &[Relation], comparisons: &[&Comparison]) -> Vec<String> {
    let groups = groups(rows, relations);
    let mut sentences: Vec<String> = groups
        .iter()
        .take(GROUP_COUNT_MAX)
        .flat_map(|group| {
            let mut sentences = Vec::from_iter(best(group, rows, comparisons));
            sentences.extend(gains(group, comparisons));
            sentences.extend(front(group, rows));
            sentences.extend(left_out(group, rows));
            sentences
        })
        .collect();
    if groups.len() > GROUP_COUNT_MAX {
        let more = groups.len() - GROUP_COUNT_MAX;
        sentences.push(format!("Groups of models that are not comparable with these, {more} more: see the tables."));
    }
    if sentences.is_empty() {
        sentences.push("No model has a valid trial on a node yet.".to_owned());
    }
    sentences
}

fn groups<'a>(rows: &'a [Row], relations: &'a [Relation]) -> Vec<Group<'a>> {
    let comparable = models(rows, relations);
    let all: Vec<Model<'_>> = comparable.iter().flatten().copied().collect();
    let group = |of_group: Vec<Model<'a>>| {
        let (relation, first) = of_group[0];
        let beside = |(other, _): &&Model<'_>| other.node == relation.node && other.kind == relation.kind;
        let beside: Vec<&Row> = all.iter().filter(beside).map(|(_, row)| *row).collect();
        let place = match comparable::distinction(first, &beside) {
            apart if apart.is_empty() => relation.node.clone(),
            apart => format!("{} with {apart}", relation.node),
        };
        Group { node: &relation.node, kind: relation.kind, place, models: of_group }
    };
    comparable.into_iter().map(group).collect()
}

/// The model with the fewest joules among those that are not well below their parent's accuracy, and whether that is shown.
fn best(group: &Group<'_>, rows: &[Row], comparisons: &[&Comparison]) -> Option<String> {
    let count = frugal(&group.models).len();
    let (relation, row) = *frugal(&group.models).first()?;
    let energy = joules(row)?;
    let of_row = |comparison: &&&Comparison| group.holds(comparison) && comparison.treatment == row.treatment;
    let accuracy = row.accuracy().map_or_else(String::new, |accuracy| format!(", accuracy {accuracy:.4}"));
    let rivals: Vec<&Comparison> =
        comparisons.iter().filter(of_row).copied().filter(|comparison| comparison.quantity == LEAST).collect();
    let is_gain_shown = comparisons
        .iter()
        .filter(of_row)
        .any(|comparison| comparison.quantity == PER_INFERENCE && comparison.is_shown());
    let paid = match relation.break_even {
        Some(BreakEven::Inferences(count)) if is_gain_shown => format!(
            "; what training and optimising took is saved after {} inferences, against float32",
            count_text(count)
        ),
        _ => String::new(),
    };
    let (caveat, name, place) = (caveat(Some(group.kind)), label(row, rows), &group.place);
    let energy = joules_text(energy.joules_mean, energy.joules_interval95_half_width);
    // Which also holds for a model that has no parent here.
    let below = format!("more than {POINTS_LOST_MAX:.0} points below a float32 parent");
    Some(if count == 1 {
        format!(
            "{caveat}{name} is the only model on {place} that is not {below}: {energy} per inference{accuracy}{paid}."
        )
    } else {
        format!(
            "{caveat}of {count} models on {place}, none {below}, {name} has the least mean energy per inference: \
             {energy}{accuracy}; {}{paid}.",
            against(&rivals)
        )
    })
}

/// Models of a group that are not well below a parent's accuracy, the one with the fewest joules first.
pub(super) fn frugal<'a>(models: &[Model<'a>]) -> Vec<Model<'a>> {
    let keeps = |(relation, row): &Model<'_>| {
        let points = relation.accuracy_points_to_parent;
        !relation.is_suspect() && points.is_none_or(|points| points >= -POINTS_LOST_MAX) && joules(row).is_some()
    };
    let mut frugal: Vec<_> = models.iter().copied().filter(keeps).collect();
    let mean = |row: &Row| joules(row).map_or(f64::INFINITY, |joules| joules.joules_mean);
    frugal.sort_by(|a, b| mean(a.1).total_cmp(&mean(b.1)));
    frugal
}

/// Which of the others the least is shown to be below. All of them must be for it to be shown the least, so that no test
/// needs a correction for the number of them.
fn against(rivals: &[&Comparison]) -> String {
    let p = |rival: &&Comparison| rival.welch.map(|welch| welch.p);
    let open: Vec<&&Comparison> = rivals.iter().filter(|rival| p(rival).is_none_or(|p| p >= P_MAX)).collect();
    if open.iter().all(|rival| p(rival).is_none()) && open.len() == rivals.len() {
        return "not tested against the others".to_owned();
    }
    if open.is_empty() {
        let largest = rivals.iter().filter_map(p).fold(0.0, f64::max);
        return format!("that it takes less than each of the others is shown (Welch, the largest {})", p_text(largest));
    }
    let name = |rival: &&&Comparison| {
        let p = p(rival).map_or_else(|| "not tested".to_owned(), p_text);
        format!("{} ({p})", rival.reference_name)
    };
    let names: Vec<String> = open.iter().take(RIVALS_NAMED_MAX).map(name).collect();
    let more = match open.len().saturating_sub(RIVALS_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("by Welch's test it is not shown to take less than {}{more}", names.join(", "))
}

fn joules_text(joules: f64, half_width: Option<f64>) -> String {
    let prefix = Prefix::for_column([joules]);
    let decimals = prefix.decimals([joules], 4, 4);
    let doubt = half_width.map_or_else(String::new, |half_width| format!(" ± {}", prefix.text(half_width, decimals)));
    format!("{}{doubt} {}J", prefix.text(joules, decimals), prefix.symbol)
}

/// Every technique against its parent, for each framework in one sentence.
fn gains(group: &Group<'_>, comparisons: &[&Comparison]) -> Vec<String> {
    let mut references: Vec<&str> = Vec::new();
    let of_place: Vec<&Comparison> = comparisons
        .iter()
        .copied()
        .filter(|comparison| comparison.quantity == PER_INFERENCE && group.holds(comparison))
        .collect();
    for comparison in &of_place {
        if !references.contains(&comparison.reference_name.as_str()) {
            references.push(&comparison.reference_name);
        }
    }
    let of_reference = |reference: &str| -> Vec<&Comparison> {
        of_place.iter().copied().filter(|found| found.reference_name == reference).collect()
    };
    references.iter().flat_map(|reference| gain(reference, &of_reference(reference), group)).collect()
}

fn gain(reference: &str, compared: &[&Comparison], group: &Group<'_>) -> Vec<String> {
    let (mut less, mut more, mut equal, mut untested, mut apart) = (vec![], vec![], vec![], vec![], vec![]);
    for comparison in compared {
        let name = short(&comparison.name, reference);
        let p = comparison.p_holm.map_or_else(String::new, p_text);
        match (comparison.difference, comparison.interval95, &comparison.not_comparable) {
            (_, _, Some(why)) => apart.push(format!("{name} ({why})")),
            (Some(difference), Some(interval), None) => {
                let is_shown = comparison.is_shown();
                let g = comparison.hedges_g.filter(|_| is_shown);
                let g = g.map_or_else(String::new, |g| format!(", g = {}", signed(g, 1)));
                let (size, range) = with_range(difference, &interval, "%");
                let text = format!("{name} {size} (95 %: {range}, {p}{g})");
                match difference < 0.0 {
                    _ if !is_shown => equal.push(text),
                    true => less.push(text),
                    false => more.push(text),
                }
            }
            (Some(difference), None, None) => untested.push(format!("{name} {} %", signed(difference, 1))),
            (None, ..) => {}
        }
    }
    let count = compared.iter().map(|comparison| comparison.replicate_count).min().unwrap_or(0);
    let tests = tests(compared.first().map_or(0, |comparison| comparison.test_count));
    let tested = format!("Welch, Holm over {tests}, {count} replicates");
    let (place, caveat) = (&group.place, caveat(Some(group.kind)));
    let sentence =
        |head: String, list: &[String]| (!list.is_empty()).then(|| format!("{caveat}{head}: {}.", list.join(", ")));
    let figures = format!("energy per inference than {reference} on {place} ({tested})");
    [
        sentence(format!("less {figures}"), &less),
        sentence(format!("more {figures}"), &more),
        sentence(
            format!("no difference shown in the energy per inference to {reference} on {place} ({tested})"),
            &equal,
        ),
        sentence(format!("energy per inference against {reference} on {place}, not tested"), &untested),
        sentence(format!("not compared with {reference} on {place}"), &apart),
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

fn front(group: &Group<'_>, rows: &[Row]) -> Option<String> {
    let on_front = group.models.iter().filter(|(relation, _)| relation.is_on_pareto_front);
    let mut on_front: Vec<&Row> = on_front.map(|(_, row)| *row).collect();
    let accuracy = |row: &Row| row.accuracy().unwrap_or(0.0);
    on_front.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    let names: Vec<String> = on_front.into_iter().map(|row| label(row, rows)).collect();
    (!names.is_empty() && group.models.len() > 1).then(|| {
        format!(
            "{}Pareto front of mean accuracy against mean energy per inference on {}, the most accurate first, by the \
             means alone: {}.",
            caveat(Some(group.kind)),
            group.place,
            names.join(", ")
        )
    })
}

fn left_out(group: &Group<'_>, rows: &[Row]) -> Option<String> {
    let suspect = group.models.iter().filter(|(relation, _)| relation.is_suspect());
    let names: Vec<String> = suspect.map(|(_, row)| label(row, rows)).collect();
    (!names.is_empty()).then(|| {
        let place = &group.place;
        format!("Left out on {place}, as their pipeline is suspect (see the warnings): {}.", names.join(", "))
    })
}
