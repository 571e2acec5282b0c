//! Scores of a confusion matrix, as scikit-learn defines them.

use serde::Serialize;

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

/// Scores a square confusion matrix; `None` when it is not square or holds no input.
///
/// `confusion` is `[label][prediction]`. As scikit-learn with `average="macro", zero_division=0`: the mean runs over the
/// labels that occur as label or as prediction, all with the same weight, and a ratio of nothing counts as 0.
pub fn scores(confusion: &[Vec<u64>]) -> Option<Scores> {
    if confusion.iter().any(|row| row.len() != confusion.len()) {
        return None;
    }
    let (mut label_count, mut correct_count, mut input_count) = (0, 0, 0);
    let (mut precision, mut recall, mut f1) = (0.0, 0.0, 0.0);
    for (class, row) in confusion.iter().enumerate() {
        let hits = row[class];
        let labelled: u64 = row.iter().sum();
        let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
        correct_count += hits;
        input_count += labelled;
        if labelled + predicted > 0 {
            label_count += 1;
            precision += ratio(hits, predicted);
            recall += ratio(hits, labelled);
            f1 += ratio(2 * hits, labelled + predicted);
        }
    }
    let labels = f64::from(label_count);
    (input_count > 0).then(|| Scores {
        accuracy: ratio(correct_count, input_count),
        precision_macro: precision / labels,
        recall_macro: recall / labels,
        f1_macro: f1 / labels,
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
