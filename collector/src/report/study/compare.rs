//! Tests between rows: what may be compared, by how much it differs, and whether that is shown.

use serde::Serialize;

use super::super::comparable::apart;
use super::super::job::WHOLE_JOB;
use super::super::relations::Relation;
use super::super::table::{JoulesOverReplicates, Row};
use super::techniques::frugal;
use super::{Model, label, models};
use crate::result::Kind;
use crate::statistics::{Interval, Welch, hedges_g, holm, mean, ratio_interval95, welch};

/// A difference counts as shown below this, after Holm's correction.
pub(super) const P_MAX: f64 = 0.05;

/// Quantity of a technique beside its float32 parent.
pub(super) const PER_INFERENCE: &str = "energy per inference";

/// Quantity of the model with the least mean energy beside each of the others.
pub(super) const LEAST: &str = "least energy per inference";

/// One quantity of two treatments, compared over their replicates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// "RQ1", "RQ2" or "RQ3". Holm's correction is over all comparisons of a question, but for those of the least energy.
    pub question: &'static str,
    /// "energy of training", "energy of the whole training job", "energy of evaluation", "accuracy" or "energy per
    /// inference"; "least energy per inference" of the model that has it, beside each of the others.
    pub quantity: &'static str,
    /// Treatment.
    pub treatment: String,
    /// What it is compared with.
    pub reference: String,
    /// Node of the treatment.
    pub node: String,
    /// Kind of the energies; absent for accuracies.
    pub kind: Option<Kind>,
    /// For people.
    pub name: String,
    /// For people.
    pub reference_name: String,
    /// Replicates of the one with fewer.
    pub replicate_count: usize,
    /// Treatment less reference: of energies in per cent of the reference's mean, of accuracies in points.
    pub difference: Option<f64>,
    /// Its 95 % interval, without Holm's correction; absent without a test. Of energies that of the ratio of the two means,
    /// which knows the scatter of the reference, too.
    pub interval95: Option<Interval>,
    /// Welch's test; absent for a single replicate, and when neither scatters.
    pub welch: Option<Welch>,
    /// p after Holm's correction. Absent for the least energy: it is the least only if it is below every other, and to
    /// ask for all of many tests is stricter than any one of them.
    pub p_holm: Option<f64>,
    /// Tests that Holm's correction is over.
    pub test_count: usize,
    /// Hedges' g.
    pub hedges_g: Option<f64>,
    /// Why the two are not compared; then there is no difference and no test.
    pub not_comparable: Option<String>,
}

impl Comparison {
    /// Whether a difference is shown.
    pub(super) fn is_shown(&self) -> bool {
        self.p_holm.is_some_and(|p| p < P_MAX)
    }
}

/// All comparisons, corrected within each question.
pub(super) fn comparisons(rows: &[Row], relations: &[Relation]) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for mut of_question in [training(rows), quality(rows), techniques(rows, relations)] {
        let p_values: Vec<f64> =
            of_question.iter().filter_map(|comparison| comparison.welch.map(|welch| welch.p)).collect();
        let mut corrected = holm(&p_values).into_iter();
        for comparison in &mut of_question {
            comparison.test_count = p_values.len();
            comparison.p_holm = comparison.welch.and_then(|_| corrected.next());
        }
        comparisons.extend(of_question);
    }
    comparisons.extend(least(rows, relations));
    comparisons
}

/// Jobs that train one model in different frameworks by one recipe: one family, or one number of parameters as the jobs
/// state it. Jobs that state none are of one model when each framework trains just one.
fn pairs(rows: &[Row]) -> Vec<(&Row, &Row)> {
    let trained: Vec<&Row> = rows.iter().filter(|row| row.workload == "train" && row.kind.is_some()).collect();
    let parameters = |row: &Row| row.job.as_ref().and_then(|job| job.parameter_count);
    let is_alone = |row: &Row| trained.iter().filter(|other| other.framework == row.framework).count() == 1;
    let mut pairs = Vec::new();
    for (index, one) in trained.iter().enumerate() {
        for other in &trained[index + 1..] {
            let is_one_family = one.family.is_some() && one.family == other.family;
            let is_one_size = match (parameters(one), parameters(other)) {
                (Some(own), Some(others)) => own == others,
                _ => is_alone(one) && is_alone(other),
            };
            // Another number of epochs, or a teacher, is another training: its price and its accuracy are not the framework's.
            let is_one_recipe = one.recipe == other.recipe;
            if one.framework != other.framework && is_one_recipe && (is_one_family || is_one_size) {
                // The later one is seen beside the earlier one, as a reader goes down a table.
                pairs.push((*other, *one));
            }
        }
    }
    pairs
}

fn training(rows: &[Row]) -> Vec<Comparison> {
    let energy = |row: &Row, phase: &str| -> Option<Vec<f64>> {
        let phases = &row.job.as_ref()?.phases;
        Some(phases.iter().find(|told| told.phase == phase)?.energy_joules.as_ref()?.joules_by_replicate.clone())
    };
    let mut comparisons = Vec::new();
    for (one, other) in pairs(rows) {
        // A job need not tell of phases, and one that is too short is refused: then the whole job stands for training.
        let training = match energy(one, "train").and(energy(other, "train")) {
            Some(_) => ("train", "energy of training"),
            None => (WHOLE_JOB, "energy of the whole training job"),
        };
        for (phase, quantity) in [training, ("evaluate", "energy of evaluation")] {
            if let (Some(own), Some(others)) = (energy(one, phase), energy(other, phase)) {
                let pair = Pair { question: "RQ1", quantity, one, other, rows };
                comparisons.push(pair.of_energies(&own, &others));
            }
        }
    }
    comparisons
}

fn quality(rows: &[Row]) -> Vec<Comparison> {
    let accuracies = |row: &Row| -> Option<Vec<f64>> {
        let by_replicate = &row.quality.as_ref()?.by_replicate;
        Some(by_replicate.iter().map(|replicate| 100.0 * replicate.scores.accuracy).collect())
    };
    let compared = |(one, other)| {
        let pair = Pair { question: "RQ2", quantity: "accuracy", one, other, rows };
        let (own, others) = (accuracies(one)?, accuracies(other)?);
        Some(Comparison { kind: None, ..pair.compared(&own, &others, 1.0) })
    };
    pairs(rows).into_iter().filter_map(compared).collect()
}

/// Each technique with its float32 parent; what is suspect answers nothing.
fn techniques(rows: &[Row], relations: &[Relation]) -> Vec<Comparison> {
    let find = |treatment: &str, relation: &Relation| {
        rows.iter()
            .find(|row| row.treatment == treatment && row.node == relation.node && row.kind == Some(relation.kind))
    };
    let joules =
        |row: &Row| -> Option<Vec<f64>> { Some(row.energy.as_ref()?.per_inference.joules_by_replicate.clone()) };
    let compared = |relation: &Relation| {
        let one = find(&relation.treatment, relation)?;
        let other = find(relation.parent.as_ref()?, relation)?;
        let pair = Pair { question: "RQ3", quantity: PER_INFERENCE, one, other, rows };
        Some(pair.of_energies(&joules(one)?, &joules(other)?))
    };
    relations.iter().filter(|relation| !relation.is_suspect()).filter_map(compared).collect()
}

/// The model with the least mean energy of those that may be compared, beside each of the others.
fn least(rows: &[Row], relations: &[Relation]) -> Vec<Comparison> {
    let of_group = |group: Vec<Model<'_>>| {
        let mut models = frugal(&group).into_iter();
        let first = models.next();
        let compared = move |(_, other): Model<'_>| {
            let one = first?.1;
            let pair = Pair { question: "RQ3", quantity: LEAST, one, other, rows };
            Some(pair.of_energies(&joules(one)?.joules_by_replicate, &joules(other)?.joules_by_replicate))
        };
        models.filter_map(compared).collect::<Vec<_>>()
    };
    models(rows, relations).into_iter().flat_map(of_group).collect()
}

/// Two rows that a question sets beside each other.
struct Pair<'a> {
    question: &'static str,
    quantity: &'static str,
    one: &'a Row,
    other: &'a Row,
    rows: &'a [Row],
}

impl Pair<'_> {
    fn of_energies(&self, own: &[f64], others: &[f64]) -> Comparison {
        match apart(self.one, self.other) {
            Some(why) => Comparison { not_comparable: Some(why), ..self.compared(&[], &[], 1.0) },
            None => {
                let percent = mean(others).filter(|mean| *mean > 0.0).map_or(f64::NAN, |mean| 100.0 / mean);
                let compared = self.compared(own, others, percent);
                let percent = |ratio: f64| 100.0 * (ratio - 1.0);
                let ratio = ratio_interval95(own, others)
                    .map(|ratio| Interval { low: percent(ratio.low), high: ratio.high.map(percent) });
                Comparison { interval95: ratio.or(compared.interval95), ..compared }
            }
        }
    }

    /// Compares values, and shows the difference times a factor.
    fn compared(&self, own: &[f64], others: &[f64], factor: f64) -> Comparison {
        let welch = welch(own, others).filter(|_| factor.is_finite());
        let difference = mean(own).zip(mean(others)).map(|(own, others)| (own - others) * factor);
        Comparison {
            question: self.question,
            quantity: self.quantity,
            treatment: self.one.treatment.clone(),
            reference: self.other.treatment.clone(),
            node: self.one.node.clone(),
            kind: self.one.kind,
            name: label(self.one, self.rows),
            reference_name: label(self.other, self.rows),
            replicate_count: own.len().min(others.len()),
            difference: difference.filter(|difference| difference.is_finite()),
            interval95: welch.map(|welch| Interval {
                low: (welch.difference - welch.interval95_half_width) * factor,
                high: Some((welch.difference + welch.interval95_half_width) * factor),
            }),
            welch,
            p_holm: None,
            test_count: 0,
            hedges_g: hedges_g(own, others),
            not_comparable: None,
        }
    }
}

/// Replicates of an energy, for a sentence.
pub(super) fn joules(row: &Row) -> Option<&JoulesOverReplicates> {
    row.energy.as_ref().map(|energy| &energy.per_inference)
}
