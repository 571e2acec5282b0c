//! Scores of a confusion matrix, as scikit-learn defines them.

use serde::Serialize;

use super::interval::mean;

/// How well a model classifies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Part of the inputs that is classified correctly.
    pub accuracy: f64,
    /// Mean over the labels of the part of a label's predictions that is correct.
    pub precision_macro: f64,
    /// Mean over the labels of the part of a label's inputs that is found.
    pub recall_macro: f64,
    /// Mean over the labels of the harmonic mean of precision and recall.
    pub f1_macro: f64,
}

/// How well a model classifies the inputs of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScores {
    /// Part of the class's predictions that is correct.
    pub precision: f64,
    /// Part of the class's inputs that is found.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Inputs of the class.
    pub support: u64,
}

/// Scores every class of a square confusion matrix, in their order; `None` when it is not square or holds no input.
///
/// As scikit-learn with `average=None, zero_division=0`: a ratio of nothing counts as 0, so a class that never occurs has
/// 0 everywhere. The means of [`scores`] leave such classes out.
pub fn class_scores(confusion: &[Vec<u64>]) -> Option<Vec<ClassScores>> {
    if confusion.iter().any(|row| row.len() != confusion.len()) || confusion.iter().flatten().sum::<u64>() == 0 {
        return None;
    }
    let class = |(class, row): (usize, &Vec<u64>)| {
        let support = row.iter().sum();
        let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
        ClassScores {
            precision: ratio(row[class], predicted),
            recall: ratio(row[class], support),
            f1: ratio(2 * row[class], support + predicted),
            support,
        }
    };
    Some(confusion.iter().enumerate().map(class).collect())
}

/// Scores a square confusion matrix; `None` when it is not square or holds no input.
///
/// `confusion` is `[label][prediction]`. As scikit-learn with `average="macro", zero_division=0`: the mean runs over the
/// labels that occur as label or as prediction, all with the same weight, and a ratio of nothing counts as 0.
pub fn scores(confusion: &[Vec<u64>]) -> Option<Scores> {
    let classes = class_scores(confusion)?;
    let occurs = |class: &usize| classes[*class].support > 0 || confusion.iter().any(|row| row[*class] > 0);
    let occurring: Vec<ClassScores> = (0..classes.len()).filter(occurs).map(|class| classes[class]).collect();
    let mean_of = |score: fn(&ClassScores) -> f64| mean(&occurring.iter().map(score).collect::<Vec<_>>());
    let hits = (0..classes.len()).map(|class| confusion[class][class]).sum();
    Some(Scores {
        accuracy: ratio(hits, classes.iter().map(|class| class.support).sum()),
        precision_macro: mean_of(|class| class.precision)?,
        recall_macro: mean_of(|class| class.recall)?,
        f1_macro: mean_of(|class| class.f1)?,
    })
}

/// `part / whole`, and 0 for a part of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of inputs stay below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        confusions: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        confusion: Vec<Vec<u64>>,
        accuracy: f64,
        precision_macro: f64,
        recall_macro: f64,
        f1_macro: f64,
        by_class: Vec<(f64, f64, f64, u64)>,
    }

    #[test]
    fn scores_agree_with_scikit_learn() {
        let fixture: Fixture =
            serde_json::from_str(include_str!("../../tests/fixtures/statistics.json")).expect("our own fixture");
        assert!(fixture.confusions.len() > 20, "the fixture covers several shapes");
        for case in fixture.confusions {
            let ours = scores(&case.confusion).expect("every matrix of the fixture holds inputs");
            for (ours, theirs) in [
                (ours.accuracy, case.accuracy),
                (ours.precision_macro, case.precision_macro),
                (ours.recall_macro, case.recall_macro),
                (ours.f1_macro, case.f1_macro),
            ] {
                assert!((ours - theirs).abs() < 1e-12, "ours {ours}, theirs {theirs}, of {:?}", case.confusion);
            }
            let classes = class_scores(&case.confusion).expect("every matrix of the fixture holds inputs");
            assert_eq!(classes.len(), case.by_class.len());
            for (ours, (precision, recall, f1, support)) in classes.iter().zip(case.by_class) {
                assert_eq!(ours.support, support);
                for (ours, theirs) in [(ours.precision, precision), (ours.recall, recall), (ours.f1, f1)] {
                    assert!((ours - theirs).abs() < 1e-12, "ours {ours}, theirs {theirs}, of {:?}", case.confusion);
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_says_nothing_has_no_scores() {
        assert_eq!(scores(&[]), None);
        assert_eq!(scores(&[vec![0, 0], vec![0, 0]]), None);
        assert_eq!(scores(&[vec![1, 2]]), None);
        assert_eq!(scores(&[vec![1, 2], vec![3]]), None);
    }

    /// Two classes by hand: class 0 has precision 3/4, recall 3/5; class 1 precision 4/6, recall 4/5.
    #[test]
    fn two_classes_by_hand() {
        let scores = scores(&[vec![3, 2], vec![1, 4]]).unwrap();
        assert!((scores.accuracy - 0.7).abs() < 1e-15);
        assert!((scores.precision_macro - f64::midpoint(0.75, 4.0 / 6.0)).abs() < 1e-15);
        assert!((scores.recall_macro - 0.7).abs() < 1e-15);
        assert!((scores.f1_macro - f64::midpoint(6.0 / 9.0, 8.0 / 11.0)).abs() < 1e-15);
    }
}
