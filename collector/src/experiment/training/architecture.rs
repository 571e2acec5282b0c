//! Architectures: one that is shipped, by name, or a description of the user's.

use std::path::Path;

use serde_json::Value;

use super::super::files;
use super::super::problem::{Findings, Located};
use super::Trainer;
use crate::dataset::Dataset;
use crate::trainers::PACKAGE;

/// How an experiment names an architecture.
#[derive(Debug, Clone)]
pub(in super::super) enum ArchitectureKey {
    /// One that is shipped, or that an own trainer knows.
    Name(Located<String>),
    /// A description, relative to the experiment.
    File(Located<String>),
}

/// An architecture as jobs are told of it.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Architecture(pub(super) Value);

/// Largest description, bytes. A thousand layers have 64 KB; it stands in every job's configuration.
const FILE_BYTES_MAX: u64 = 256 << 10;

impl ArchitectureKey {
    /// Reads the description where there is one, and checks that it asks what the data set answers.
    pub(in super::super) fn load(
        &self,
        trainer: &Trainer,
        dataset: Option<&Dataset>,
        folder: &Path,
        findings: &mut Findings,
    ) -> Option<Architecture> {
        match self {
            Self::Name(name) if !trainer.is_ours() => Some(Architecture(Value::from(name.value.as_str()))),
            Self::Name(name) => {
                let Some(text) = PACKAGE.architecture(&name.value) else {
                    let known = PACKAGE.architectures().collect::<Vec<_>>().join(", ");
                    findings.add(
                        &name.place,
                        format_args!(
                            "'{}' is not shipped; known: {known}; your own goes into a file, named by architecture_file",
                            name.value
                        ),
                    );
                    return None;
                };
                let shape = serde_json::from_slice(text).expect("a test reads those that are shipped");
                fit(&shape, &format!("architecture '{}'", name.value), name, dataset, findings);
                Some(Architecture(Value::from(name.value.as_str())))
            }
            Self::File(file) => {
                let path = folder.join(&file.value);
                let value = match description(&path, trainer) {
                    Ok(value) => value,
                    Err(problem) => {
                        findings.add(&file.place, format_args!("{} {problem}", path.display()));
                        return None;
                    }
                };
                if trainer.is_ours() {
                    fit(&value, &path.display().to_string(), file, dataset, findings);
                }
                Some(Architecture(value))
            }
        }
    }
}

fn description(path: &Path, trainer: &Trainer) -> Result<Value, String> {
    let content = files::read_at_most(path, FILE_BYTES_MAX)
        .map_err(|error| format!("cannot be read: {error}; paths are relative to the experiment file"))?;
    let value: Value = serde_json::from_slice(&content).map_err(|error| format!("is not JSON: {error}"))?;
    let is_whole = value.get("layers").is_some_and(Value::is_array)
        && value.get("input").is_some_and(Value::is_array)
        && value.get("class_count").is_some_and(Value::is_u64);
    if trainer.is_ours() && !is_whole {
        return Err("describes no architecture: it needs input, class_count and layers, as those in \
                    collector/trainers/src/tinywatt_trainers/architectures have"
            .to_owned());
    }
    Ok(value)
}

/// Notes what the data set does not answer.
fn fit(value: &Value, what: &str, key: &Located<String>, dataset: Option<&Dataset>, findings: &mut Findings) {
    let Some(dataset) = dataset else { return };
    let numbers = value["input"].as_array().into_iter().flatten();
    let input: Vec<Option<u64>> = numbers.map(Value::as_u64).collect();
    let shape: Vec<Option<u64>> = dataset.inputs.shape().iter().map(|&dimension| Some(dimension.into())).collect();
    let class_count = dataset.inputs.class_count();
    if input != shape {
        findings.add(
            &key.place,
            format_args!(
                "{what} takes inputs of {}, and those of '{}' are {}; use another architecture or data set",
                crosses(&input),
                dataset.kind,
                crosses(&shape)
            ),
        );
    }
    if value["class_count"].as_u64() != Some(class_count.into()) {
        findings.add(
            &key.place,
            format_args!(
                "{what} tells {} classes apart, and '{}' has {class_count}",
                value["class_count"], dataset.kind
            ),
        );
    }
}

fn crosses(shape: &[Option<u64>]) -> String {
    let number = |number: &Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    shape.iter().map(number).collect::<Vec<_>>().join("×")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_shipped_are_whole() {
        for name in PACKAGE.architectures() {
            let value: Value = serde_json::from_slice(PACKAGE.architecture(name).expect("listed")).expect("JSON");
            assert!(value["layers"].is_array() && value["input"].is_array(), "{name}");
            assert!(value["class_count"].is_u64(), "{name}");
            assert_eq!(value["name"], name);
        }
    }
}
