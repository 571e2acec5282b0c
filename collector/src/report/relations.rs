//! What rows of models say about each other: their float32 parent, what made them, break-even and Pareto front.

use serde::Serialize;

use super::comparable::apart;
use super::input::{RunReport, Workload};
use super::table::{INFERENCE, Row};
use crate::result::Kind;

/// Points of accuracy that a right calibration keeps: within about one of float32, so that three are beyond doubt.
pub(super) const POINTS_LOST_MAX: f64 = 3.0;

/// Technique of the model as it was trained.
pub(super) const FLOAT32: &str = "float32";

/// One row of a model beside the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relation {
    /// Treatment of the row.
    pub treatment: String,
    /// Node of the row.
    pub node: String,
    /// Kind of the row's energy.
    pub kind: Kind,
    /// Treatment of the float32 model of the same family, framework, node and kind; absent for that one itself.
    pub parent: Option<String>,
    /// Mean over the replicates of the accuracy less the parent's of the same replicate, in points (hundredths).
    pub accuracy_points_to_parent: Option<f64>,
    /// Replicates that lie more than 3 points below the parent of the same replicate, if the model is quantised: the
    /// pipeline is suspect, and the row's gain is no answer.
    pub suspect_replicates: Vec<u32>,
    /// Jobs behind the model, its training and all before it included.
    pub jobs: Vec<String>,
    /// Energy of all these jobs together, of the row's kind; absent when one of them has none.
    pub jobs_joules: Option<f64>,
    /// How many inferences pay these joules back; absent without a parent whose energy may be compared, or without the
    /// joules.
    pub break_even: Option<BreakEven>,
    /// Whether no other row whose energy may be compared is at least as accurate for fewer joules.
    pub is_on_pareto_front: bool,
}

impl Relation {
    /// Whether the model's pipeline is suspect.
    pub(super) fn is_suspect(&self) -> bool {
        !self.suspect_replicates.is_empty()
    }
}

/// When the joules of making a model are paid back by its cheaper inferences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakEven {
    /// After this many.
    Inferences(f64),
    /// It saves nothing.
    Never,
}

/// Whether a technique or a number format makes integers of weights or activations.
pub(super) fn is_quantised(row: &Row) -> bool {
    let quantised = |word: &str| {
        ["dynamic", "integer", "static", "int8", "int16", "qat", "hybrid"].iter().any(|part| word.contains(part))
    };
    row.technique.as_deref().is_some_and(quantised) || row.number_format.as_deref().is_some_and(quantised)
}

/// Relates all rows of models with figures; none for a run without families.
pub(super) fn relations(run: &RunReport, rows: &[Row]) -> Vec<Relation> {
    let models: Vec<&Row> = rows.iter().filter(|row| row.workload == INFERENCE).collect();
    models
        .iter()
        .filter_map(|row| {
            let kind = row.kind?;
            let parent = parent(row, &models);
            let points = parent.map_or_else(Vec::new, |parent| points(row, parent));
            let below = |(replicate, points): &(u32, f64)| (*points < -POINTS_LOST_MAX).then_some(*replicate);
            let jobs = jobs(run, &row.treatment);
            let jobs_joules = joules(&jobs, rows, kind);
            Some(Relation {
                treatment: row.treatment.clone(),
                node: row.node.clone(),
                kind,
                parent: parent.map(|parent| parent.treatment.clone()),
                accuracy_points_to_parent: crate::statistics::mean(
                    &points.iter().map(|(_, points)| *points).collect::<Vec<_>>(),
                ),
                suspect_replicates: if is_quantised(row) { points.iter().filter_map(below).collect() } else { vec![] },
                break_even: parent.zip(jobs_joules).and_then(|(parent, joules)| break_even(row, parent, joules)),
                jobs,
                jobs_joules,
                is_on_pareto_front: false,
            })
        })
        .collect::<Vec<_>>()
        .with_pareto_front(&models)
}

/// The float32 model that a row's model comes from, or the most accurate one that looks like it: models from files have
/// no family, but the same network has the same parameters and multiply-accumulates. One whose energy may be compared goes
/// before all others; one that answered other inputs is none.
fn parent<'a>(row: &Row, models: &[&'a Row]) -> Option<&'a Row> {
    let here = |other: &&&Row| {
        other.node == row.node
            && other.kind == row.kind
            && other.treatment != row.treatment
            && other.inputs_sha256 == row.inputs_sha256
    };
    let is_alike = |other: &Row| apart(row, other).is_none();
    if row.family.is_some() {
        let is_parent = |other: &&&Row| {
            other.family == row.family
                && other.framework == row.framework
                && other.technique.as_deref() == Some(FLOAT32)
                && row.technique.as_deref() != Some(FLOAT32)
        };
        let parents = || models.iter().filter(here).filter(is_parent).copied();
        return parents().find(|other| is_alike(other)).or_else(|| parents().next());
    }
    let twin = |other: &&&Row| {
        row.mac_count.is_some()
            && other.family.is_none()
            && other.mac_count == row.mac_count
            && other.parameter_count == row.parameter_count
            && other.number_format.as_deref() == Some(FLOAT32)
            && row.number_format.as_deref() != Some(FLOAT32)
    };
    let accuracy = |row: &Row| row.accuracy().unwrap_or(0.0);
    let rank = |a: &&Row, b: &&Row| is_alike(a).cmp(&is_alike(b)).then(accuracy(a).total_cmp(&accuracy(b)));
    models.iter().filter(here).filter(twin).copied().max_by(rank)
}

/// Accuracy of each replicate less that of the parent's same replicate, in points.
fn points(row: &Row, parent: &Row) -> Vec<(u32, f64)> {
    let (Some(own), Some(parents)) = (&row.quality, &parent.quality) else { return Vec::new() };
    let points = |own: f64, parents: f64| 100.0 * (own - parents);
    if own.by_replicate.is_empty() || parents.by_replicate.is_empty() {
        return vec![(0, points(own.scores.accuracy, parents.scores.accuracy))];
    }
    let of_replicate = |own: &super::table::ReplicateScores| {
        let parent = parents.by_replicate.iter().find(|parent| parent.replicate == own.replicate)?;
        Some((own.replicate, points(own.scores.accuracy, parent.scores.accuracy)))
    };
    own.by_replicate.iter().filter_map(of_replicate).collect()
}

/// Treatments of all jobs that a treatment's artifacts come from, each once.
fn jobs(run: &RunReport, treatment: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![treatment.to_owned()];
    while let Some(name) = open.pop() {
        let facts = run.treatments.iter().find(|facts| facts.name == name);
        let needs: Vec<String> = match facts.map(|facts| &facts.workload) {
            Some(Workload::Model { made_by, .. }) => made_by.iter().cloned().collect(),
            Some(Workload::Job { needs, .. }) => needs.clone(),
            Some(Workload::Recording) | None => Vec::new(),
        };
        for need in needs {
            if !found.contains(&need) {
                found.push(need.clone());
                open.push(need);
            }
        }
    }
    found
}

fn joules(jobs: &[String], rows: &[Row], kind: Kind) -> Option<f64> {
    let of = |job: &String| {
        let row = rows.iter().find(|row| row.treatment == *job && row.kind == Some(kind))?;
        Some(row.energy.as_ref()?.per_inference.joules_mean)
    };
    if jobs.is_empty() { None } else { jobs.iter().map(of).sum() }
}

fn break_even(row: &Row, parent: &Row, jobs_joules: f64) -> Option<BreakEven> {
    if apart(row, parent).is_some() {
        return None;
    }
    let joules = |row: &Row| Some(row.energy.as_ref()?.per_inference.joules_mean);
    let saved = joules(parent)? - joules(row)?;
    Some(if saved > 0.0 { BreakEven::Inferences(jobs_joules / saved) } else { BreakEven::Never })
}

/// Marks the rows that no other row beats whose energy may be compared.
trait WithParetoFront {
    fn with_pareto_front(self, models: &[&Row]) -> Self;
}

impl WithParetoFront for Vec<Relation> {
    fn with_pareto_front(mut self, models: &[&Row]) -> Self {
        let place = |relation: &Relation| {
            let row = models.iter().copied().find(|row| {
                row.treatment == relation.treatment && row.node == relation.node && row.kind == Some(relation.kind)
            })?;
            Some((row, row.accuracy()?, row.energy.as_ref()?.per_inference.joules_mean))
        };
        let places: Vec<Option<(&Row, f64, f64)>> =
            self.iter().map(|relation| place(relation).filter(|_| !relation.is_suspect())).collect();
        for (relation, own) in self.iter_mut().zip(&places) {
            let Some((row, accuracy, joules)) = *own else { continue };
            let beats = |(rival, rivals_accuracy, rivals_joules): &(&Row, f64, f64)| {
                *rivals_accuracy >= accuracy
                    && *rivals_joules <= joules
                    && (*rivals_accuracy > accuracy || *rivals_joules < joules)
                    && apart(row, rival).is_none()
            };
            relation.is_on_pareto_front = !places.iter().flatten().any(beats);
        }
        self
    }
}
