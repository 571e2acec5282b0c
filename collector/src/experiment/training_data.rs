//! The data set in its parts, as artifacts: what jobs learn from, what they look at meanwhile, what decides.

use std::path::PathBuf;

use tinywatt_proto::inputs::InputSet;

use super::parse::DatasetKeys;
use super::problem::Findings;
use super::training::{Training, TrainingData};
use super::{Artifact, LoadedDataset};
use crate::dataset::{self, Dataset, Kind, SplitRequest};

/// Largest input set that a node takes, bytes.
const ARTIFACT_BYTES_MAX: usize = 1 << 30;

/// Reads all parts; what is wrong is noted.
pub(super) fn load(
    keys: DatasetKeys,
    path: PathBuf,
    training: Option<&Training>,
    findings: &mut Findings,
) -> Option<(LoadedDataset, TrainingData)> {
    let limit = |limit: &Option<super::Located<u32>>| limit.as_ref().map(|limit| limit.value);
    let request = SplitRequest {
        kind: keys.kind,
        path,
        train_limit: limit(&keys.train_limit),
        validation_limit: limit(&keys.validation_limit),
        test_limit: limit(&keys.limit),
        class_names: keys.class_names,
    };
    let prepared = match dataset::prepare(&request) {
        Ok(prepared) => prepared,
        Err(error) => {
            findings.add(keys.path.as_ref().map_or(&keys.place, |path| &path.place), error);
            return None;
        }
    };
    let kind = prepared.kind;
    // A set is given away as soon as its bytes are made: CIFAR-10 trains on 138 MB.
    let artifact = |set: InputSet, part: &str| Artifact::new(format!("{kind} {part} inputs"), set.to_bytes());
    let train = artifact(prepared.train, "training");
    let validation = artifact(prepared.validation, "validation");
    for (artifact, key) in [(&train, "train_limit"), (&validation, "validation_limit")] {
        let bytes = artifact.content.len();
        if bytes > ARTIFACT_BYTES_MAX {
            let message =
                format!("the {} have {bytes} bytes, and a node takes {ARTIFACT_BYTES_MAX}; set {key}", artifact.name);
            findings.add(&keys.place, message);
        }
    }
    let training_scale = training.and_then(|training| training.input_scale).unwrap_or(prepared.input_scale);
    let training_offset = training.and_then(|training| training.input_offset).unwrap_or(prepared.input_offset);
    let data = TrainingData { train, validation, input_scale: training_scale, input_offset: training_offset };
    // For models from files the usual scaling is as without training.
    let (input_scale, input_offset) =
        if kind == Kind::Digits { (prepared.input_scale, prepared.input_offset) } else { (1.0, 0.0) };
    let artifact = artifact_of_test(&prepared.test, kind);
    let dataset = Dataset { kind, inputs: prepared.test, class_names: prepared.class_names, input_scale, input_offset };
    Some((LoadedDataset { dataset, artifact }, data))
}

/// The test part, which the experiment itself looks at, too.
pub(super) fn artifact_of_test(set: &InputSet, kind: Kind) -> Artifact {
    Artifact::new(format!("{kind} inputs"), set.to_bytes())
}
