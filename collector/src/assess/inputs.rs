//! The test inputs that a confusion matrix must count, each once, from the input set that lies here.

use std::fs::File;
use std::io::Read;

use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::InputSet;
use tinywatt_proto::v1;

use crate::artifacts::Artifacts;

/// Bytes of an input set that are read, which hold the labels of four million inputs: no test set has a tenth of them.
const LABEL_BYTES_MAX: u64 = 16 << 20;

/// The input set under the name that trainers evaluate on.
pub(super) fn test(job: &v1::JobWorkload) -> Option<&v1::ArtifactRef> {
    job.inputs.iter().filter(|input| input.name == "test").find_map(|input| match &input.source {
        Some(v1::job_input::Source::Artifact(artifact)) => Some(artifact),
        _ => None,
    })
}

/// Number of classes and the right answers.
pub(super) type Labels = (u32, Vec<u32>);

/// Reads an input set's labels.
///
/// # Errors
/// Why they are not known, for people.
pub(super) async fn labels(artifacts: &Artifacts, set: &v1::ArtifactRef) -> Result<Labels, String> {
    let path = Sha256::from_bytes(&set.sha256).map(|sha256| artifacts.path(sha256));
    let path = path.ok_or_else(|| "they are not named by a SHA-256".to_owned())?;
    let read = move || {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| format!("they could not be read: {error}"))?;
        file.take(LABEL_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("they could not be read: {error}"))?;
        InputSet::labels_from_bytes(&bytes).map_err(|error| Chain(&error).to_string())
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err("they could not be looked into".to_owned()))
}

/// What a square confusion matrix counts that is not there, or leaves out.
pub(super) fn miscount(confusion: &[Vec<u64>], (class_count, labels): &Labels) -> Option<String> {
    if u64::from(*class_count) != confusion.len() as u64 {
        let own = confusion.len();
        return Some(format!(
            "its confusion matrix has {own} classes, and its test inputs have {class_count}, those that do not occur included"
        ));
    }
    let counted: u64 = confusion.iter().flatten().sum();
    if counted != labels.len() as u64 {
        let there = labels.len();
        return Some(format!("its confusion matrix counts {counted} inputs, and there are {there} to test with"));
    }
    let mut by_class = vec![0u64; confusion.len()];
    // A label is below the number of classes, or the set would not have been read.
    for label in labels.iter().filter_map(|label| usize::try_from(*label).ok()) {
        by_class[label] += 1;
    }
    let counted = confusion.iter().map(|row| row.iter().sum::<u64>());
    let wrong = counted.zip(by_class).enumerate().find(|(_, (counted, there))| counted != there);
    wrong.map(|(class, (counted, there))| {
        format!(
            "its confusion matrix counts {counted} inputs of class {class}, and there are {there} (rows are labels)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_counts_every_test_input_once_under_its_label() {
        let labels = (2, vec![0, 1, 0, 0]);
        let miscount = |matrix: [[u64; 2]; 2]| miscount(&matrix.map(Vec::from), &labels);
        assert_eq!(miscount([[2, 1], [0, 1]]), None);
        assert!(miscount([[1, 0], [0, 1]]).expect("the first ones alone").contains("counts 2 inputs, and there are 4"));
        assert!(miscount([[2, 0], [1, 1]]).expect("turned round").contains("2 inputs of class 0, and there are 3"));
        let larger = super::miscount(&vec![vec![0; 3]; 3], &labels);
        assert!(larger.expect("another data set's").contains("has 3 classes, and its test inputs have 2"));
    }
}
