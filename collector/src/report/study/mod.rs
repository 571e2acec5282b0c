//! The three questions of a run that trains, optimises and evaluates: what it costs, how good it is, what is best.
//!
//! Rows hold the figures; here stands what they say about each other, and the answers in sentences.

mod answers;
mod cells;
mod compare;
mod costs;
mod evidence;
#[cfg(test)]
mod group_tests;
mod tables;
mod techniques;
#[cfg(test)]
mod tests;

pub use answers::Answer;
pub use compare::Comparison;
pub(super) use evidence::evidence;
use serde::Serialize;
pub(super) use tables::tables;

use super::comparable;
use super::relations::Relation;
use super::scale::Prefix;
use super::table::Row;

/// The three questions of a run, with what answers them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Study {
    /// The questions with their answers.
    pub answers: Vec<Answer>,
    /// Each model beside its float32 parent and all others.
    pub relations: Vec<Relation>,
    /// Every test behind an answer.
    pub comparisons: Vec<Comparison>,
}

impl Study {
    /// What a row of a model is beside the others.
    pub(super) fn relation(&self, row: &Row) -> Option<&Relation> {
        self.relations.iter().find(|relation| {
            relation.treatment == row.treatment && relation.node == row.node && Some(relation.kind) == row.kind
        })
    }

    /// The test of a row's energy against its float32 parent's.
    pub(super) fn of_technique(&self, row: &Row) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| {
            comparison.question == "RQ3"
                && comparison.quantity == compare::PER_INFERENCE
                && comparison.treatment == row.treatment
                && comparison.node == row.node
                && comparison.kind == row.kind
        })
    }
}

/// Answers the three questions; `None` for a run without jobs.
pub(super) fn study(rows: &[Row], relations: Vec<Relation>) -> Option<Study> {
    if !rows.iter().any(Row::is_job) {
        return None;
    }
    let comparisons = compare::comparisons(rows, &relations);
    Some(Study { answers: answers::answers(rows, &relations, &comparisons), relations, comparisons })
}

/// A model's row with what it is beside the others.
type Model<'a> = (&'a Relation, &'a Row);

/// All models, those together whose energies may be compared.
fn models<'a>(rows: &'a [Row], relations: &'a [Relation]) -> Vec<Vec<Model<'a>>> {
    let with_row = |relation: &'a Relation| {
        let is_row = |row: &&Row| {
            row.treatment == relation.treatment && row.node == relation.node && row.kind == Some(relation.kind)
        };
        Some((relation, rows.iter().find(is_row)?))
    };
    comparable::groups(relations.iter().filter_map(with_row).collect(), |(_, row)| *row)
}

/// What people call a model: as few of its family, framework and technique as tell it from others.
pub(super) fn label(row: &Row, rows: &[Row]) -> String {
    if row.family.is_none() {
        return row.treatment.clone();
    }
    let has_frameworks = rows.iter().any(|row| {
        rows.iter().any(|other| row.family.is_some() && row.family == other.family && row.framework != other.framework)
    });
    let family = row.family.as_deref().filter(|_| has_families(rows));
    let framework = row.framework.as_deref().filter(|_| has_frameworks || family.is_none());
    let parts: Vec<&str> = family.into_iter().chain(framework).chain(row.technique.as_deref()).collect();
    if parts.is_empty() { row.treatment.clone() } else { parts.join(" ") }
}

/// A count of inferences to three digits: more would claim to know the joules behind it well.
fn count_text(count: f64) -> String {
    let prefix = Prefix::for_column([count.max(1.0)]);
    let symbol = match prefix.symbol {
        "" => String::new(),
        symbol => format!(" {symbol}"),
    };
    format!("{}{symbol}", prefix.text(count, prefix.decimals([count], 3, 2)))
}

/// Whether there is more than one family to tell apart.
pub(super) fn has_families(rows: &[Row]) -> bool {
    let mut families = rows.iter().filter_map(|row| row.family.as_deref());
    let first = families.next();
    families.any(|family| Some(family) != first)
}
