//! What jobs learn from: the training and validation parts of the data set, as artifacts.

use std::path::Path;

use tinywatt_proto::inputs::{Encoding, InputSet};

use super::parse::DatasetKeys;
use super::problem::Findings;
use super::training::{Training, TrainingData};
use super::Artifact;

/// Largest input set that a node takes, bytes.
const ARTIFACT_BYTES_MAX: usize = 1 << 30;

/// Reads both parts; what is wrong is noted.
pub(super) fn load(
    keys: &DatasetKeys,
    training: Option<&Training>,
    _folder: &Path,
    findings: &mut Findings,
) -> Option<TrainingData> {
    // STUB until the data set's room has all parts: the digits alone.
    let all = InputSet::from_bytes(include_bytes!("../../data/digits/train.twin")).expect("built in");
    let labels = all.labels().len();
    let part = |range: std::ops::Range<usize>| {
        let data = range.clone().flat_map(|index| all.input(index)).copied().collect();
        InputSet::new(Encoding::Plain, all.class_count(), all.shape().to_vec(), all.labels()[range].to_vec(), data)
            .expect("part of a set")
    };
    let train_end = keys.train_limit.as_ref().map_or(labels - 134, |limit| limit.value as usize);
    let (train, validation) = (part(0..train_end), part(labels - 134..labels));
    let artifact = |set: InputSet, what: &str| {
        let content = set.to_bytes();
        (content.len() <= ARTIFACT_BYTES_MAX).then(|| Artifact::new(format!("{} {what} inputs", keys.kind), content))
    };
    let train = artifact(train, "training");
    if train.is_none() {
        findings.add(&keys.place, "is larger than a node takes; set train_limit");
    }
    Some(TrainingData {
        train: train?,
        validation: artifact(validation, "validation")?,
        input_scale: training.and_then(|training| training.input_scale).unwrap_or(0.0625),
        input_offset: training.and_then(|training| training.input_offset).unwrap_or(0.0),
    })
}
