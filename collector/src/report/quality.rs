//! Scores of one row: of a model that computes the same in every replicate, or of models that were trained anew in each.

use super::build::Counted;
use super::table::{Quality, ReplicateScores, Row};
use crate::statistics::{Scores, class_scores, mean_interval95, scores};

/// What one replicate says of quality.
struct Evaluation<'a> {
    replicate: u32,
    confusion: &'a [Vec<u64>],
    outputs_sha256: &'a str,
}

/// Scores a row: an inference by what the node answered, a job by what it evaluated itself.
pub(super) fn quality(row: &Row, replicates: &[Counted<'_>]) -> Option<Quality> {
    let evaluations: Vec<Evaluation<'_>> = replicates.iter().filter_map(evaluation).collect();
    let is_trained = row.is_job() || replicates.iter().any(|counted| counted.measurement.model.is_some());
    if is_trained { of_trained(&evaluations) } else { of_file(&evaluations) }
}

fn evaluation<'a>(counted: &Counted<'a>) -> Option<Evaluation<'a>> {
    let (confusion, outputs_sha256) = match (&counted.measurement.inference, &counted.measurement.job) {
        (Some(inference), _) => (inference.confusion.as_slice(), inference.outputs_sha256.as_str()),
        (None, Some(job)) => (job.confusion.as_slice(), ""),
        (None, None) => return None,
    };
    Some(Evaluation { replicate: counted.result.replicate, confusion, outputs_sha256 })
}

/// One model, however many replicates: the first one's scores, and whether the others gave the same.
fn of_file(evaluations: &[Evaluation<'_>]) -> Option<Quality> {
    let first = evaluations.first()?;
    let equal =
        |other: &Evaluation<'_>| other.outputs_sha256 == first.outputs_sha256 && other.confusion == first.confusion;
    Some(Quality {
        scores: scores(first.confusion)?,
        interval95_half_widths: None,
        by_replicate: Vec::new(),
        input_count: first.confusion.iter().flatten().sum(),
        outputs_equal: (evaluations.len() > 1).then(|| evaluations.iter().all(equal)),
        outputs_sha256: first.outputs_sha256.to_owned(),
        confusion: first.confusion.to_vec(),
        by_class: class_scores(first.confusion)?,
    })
}

/// A model for each replicate: means with intervals.
fn of_trained(evaluations: &[Evaluation<'_>]) -> Option<Quality> {
    let first = evaluations.first()?;
    let by_replicate: Vec<ReplicateScores> = evaluations
        .iter()
        .filter(|evaluation| evaluation.confusion.len() == first.confusion.len())
        .filter_map(|evaluation| {
            Some(ReplicateScores { replicate: evaluation.replicate, scores: scores(evaluation.confusion)? })
        })
        .collect();
    let over = |score: fn(&Scores) -> f64| {
        mean_interval95(&by_replicate.iter().map(|replicate| score(&replicate.scores)).collect::<Vec<_>>())
    };
    let (accuracy, precision) = (over(|scores| scores.accuracy)?, over(|scores| scores.precision_macro)?);
    let (recall, f1) = (over(|scores| scores.recall_macro)?, over(|scores| scores.f1_macro)?);
    let half_widths = || {
        Some(Scores {
            accuracy: accuracy.half_width?,
            precision_macro: precision.half_width?,
            recall_macro: recall.half_width?,
            f1_macro: f1.half_width?,
        })
    };
    let confusion = sum(evaluations);
    Some(Quality {
        scores: Scores {
            accuracy: accuracy.mean,
            precision_macro: precision.mean,
            recall_macro: recall.mean,
            f1_macro: f1.mean,
        },
        interval95_half_widths: half_widths(),
        by_replicate,
        input_count: first.confusion.iter().flatten().sum(),
        outputs_equal: None,
        outputs_sha256: first.outputs_sha256.to_owned(),
        by_class: class_scores(&confusion)?,
        confusion,
    })
}

/// All matrices of the first one's shape, added up.
fn sum(evaluations: &[Evaluation<'_>]) -> Vec<Vec<u64>> {
    let mut sum: Vec<Vec<u64>> = Vec::new();
    for evaluation in evaluations {
        if sum.is_empty() {
            sum = evaluation.confusion.to_vec();
        } else if scores(evaluation.confusion).is_some() && evaluation.confusion.len() == sum.len() {
            for (row, more) in sum.iter_mut().zip(evaluation.confusion) {
                row.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            }
        }
    }
    sum
}
