//! Whether what a runtime told of an inference is whole and agrees with itself. Agents check it, too; but a report
//! must not rest on what anybody may send.

use tinywatt_proto::v1;

use super::reason;
use crate::result::InvalidReason;

/// Why a completed inference says nothing about its model.
pub(super) fn unreadable(summary: Option<&v1::InferenceSummary>) -> Option<InvalidReason> {
    let problem = match summary {
        None => Some("the outcome of an inference says nothing of what the runtime did".to_owned()),
        Some(summary) => confusion(summary.class_count, &summary.confusion, summary.input_count),
    };
    problem.map(|message| reason("unreadable", message))
}

/// What is wrong with a confusion matrix, row by row in one list.
fn confusion(class_count: u32, confusion: &[u64], input_count: u32) -> Option<String> {
    let cells = u64::from(class_count) * u64::from(class_count);
    if class_count == 0 || u64::try_from(confusion.len()) != Ok(cells) {
        let found = confusion.len();
        return Some(format!("the confusion matrix of {class_count} classes has {found} counts instead of {cells}"));
    }
    let counted = confusion.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    (counted != Some(u64::from(input_count))).then(|| {
        let counted = counted.map_or_else(|| "too many".to_owned(), |counted| counted.to_string());
        format!("the confusion matrix counts {counted} inputs, and {input_count} were evaluated")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(class_count: u32, confusion: &[u64], input_count: u32) -> v1::InferenceSummary {
        v1::InferenceSummary { class_count, confusion: confusion.to_vec(), input_count, ..Default::default() }
    }

    #[test]
    fn a_matrix_must_be_square_and_count_every_input_once() {
        assert_eq!(unreadable(Some(&summary(2, &[3, 1, 0, 4], 8))), None);
        let message = |summary: &v1::InferenceSummary| unreadable(Some(summary)).expect("wrong").message;
        assert!(message(&summary(2, &[3, 1, 0], 4)).contains("has 3 counts instead of 4"));
        assert!(message(&summary(0, &[], 0)).contains("0 classes"));
        assert!(message(&summary(2, &[3, 1, 0, 4], 9)).contains("counts 8 inputs, and 9"));
        assert!(message(&summary(1, &[u64::MAX], 1)).contains("18446744073709551615"));
        assert!(message(&summary(u32::MAX, &[u64::MAX, 1], 1)).contains("instead of"));
        assert!(unreadable(None).expect("wrong").message.contains("nothing"));
    }
}
