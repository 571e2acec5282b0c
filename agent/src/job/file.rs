//! The job file: what a command is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;

use super::{Folder, JobError};

const SCHEMA: &str = "tinywatt.job.v1";

/// Longest name of an input.
const NAME_BYTES_MAX: usize = 32;

/// What of an assignment goes into the job file as it is.
#[derive(Debug)]
pub(crate) struct JobSpec {
    kind: &'static str,
    device: &'static str,
    seed: u64,
    thread_count: u32,
    config: Box<RawValue>,
}

/// The file. Its keys are those of the trainers' contract.
#[derive(Debug, Serialize)]
struct File<'a> {
    schema: &'static str,
    kind: &'static str,
    seed: u64,
    thread_count: u32,
    device: &'static str,
    config: &'a RawValue,
    inputs: BTreeMap<&'a str, Input<'a>>,
    output_dir: PathBuf,
    result: PathBuf,
    progress: PathBuf,
}

#[derive(Debug, Serialize)]
struct Input<'a> {
    path: &'a Path,
    sha256: String,
}

impl JobSpec {
    /// Checks what an assignment says of its job.
    pub(crate) fn of(workload: &v1::JobWorkload) -> Result<Self, JobError> {
        let mut problems = Vec::new();
        let kind = match workload.kind() {
            v1::JobKind::Train => "train",
            v1::JobKind::Optimise => "optimise",
            v1::JobKind::Build => "build",
            v1::JobKind::Unspecified => {
                problems.push("it states no kind of job: is the agent older than the collector?".to_owned());
                ""
            }
        };
        if workload.command.first().is_none_or(String::is_empty) {
            problems.push("it names no command".to_owned());
        }
        if workload.command.iter().chain(&workload.prepare).any(|word| word.contains('\0')) {
            problems.push("a word of its commands contains a zero byte".to_owned());
        }
        let config = if workload.config_json.is_empty() { "{}" } else { &workload.config_json };
        let config = match serde_json::from_str::<Box<RawValue>>(config) {
            Ok(config) if config.get().starts_with('{') => Some(config),
            Ok(_) => {
                problems.push("its configuration is no JSON object".to_owned());
                None
            }
            Err(error) => {
                problems.push(format!("its configuration is no JSON: {error}"));
                None
            }
        };
        for (index, input) in workload.inputs.iter().enumerate() {
            if !is_name(&input.name) {
                problems.push(format!(
                    "'{}' is no name of an input: 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-' and '_'",
                    input.name.escape_debug()
                ));
            } else if workload.inputs[..index].iter().any(|other| other.name == input.name) {
                problems.push(format!("two inputs are named '{}'", input.name));
            }
        }
        let device = if workload.device() == v1::JobDevice::Gpu { "gpu" } else { "cpu" };
        match config {
            Some(config) if problems.is_empty() => {
                Ok(Self { kind, device, seed: workload.seed, thread_count: workload.thread_count.max(1), config })
            }
            _ => Err(JobError::Assignment { problems }),
        }
    }

    /// Writes the job file.
    pub(crate) fn write(&self, folder: &Folder, inputs: &[(String, PathBuf, Sha256)]) -> Result<(), JobError> {
        let file = File {
            schema: SCHEMA,
            kind: self.kind,
            seed: self.seed,
            thread_count: self.thread_count,
            device: self.device,
            config: &self.config,
            inputs: inputs
                .iter()
                .map(|(name, path, sha256)| (name.as_str(), Input { path, sha256: sha256.to_string() }))
                .collect(),
            output_dir: folder.output_dir(),
            result: folder.result(),
            progress: folder.progress(),
        };
        let written = serde_json::to_vec_pretty(&file).map_err(std::io::Error::other);
        let written = written.and_then(|text| std::fs::write(folder.job_file(), text));
        written.map_err(|source| JobError::Folder { action: "write", path: folder.job_file(), source })
    }
}

/// The name that an input's file has: frameworks tell formats by their ending.
pub(crate) fn input_name(name: &str, artifact_name: &str) -> String {
    let ending = Path::new(artifact_name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_plain = (1..=16).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain { format!("{name}.{ending}") } else { name.to_owned() }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_with_an_assignment_is_told_at_once() {
        let input = |name: &str| v1::JobInput { name: name.to_owned(), source: None };
        let workload = v1::JobWorkload {
            config_json: "[1]".to_owned(),
            prepare: vec!["a\0".to_owned()],
            inputs: vec![input("train"), input("../x"), input("train")],
            ..v1::JobWorkload::default()
        };
        let text = JobSpec::of(&workload).expect_err("nothing is right").to_string();
        for part in ["no kind", "no command", "zero byte", "no JSON object", "'../x'", "two inputs are named 'train'"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn an_inputs_file_keeps_a_plain_ending() {
        for (artifact, file) in [
            ("checkpoint.keras", "parent.keras"),
            ("a/b.tar.gz", "parent.gz"),
            ("model", "parent"),
            ("x.a b", "parent"),
            ("", "parent"),
        ] {
            assert_eq!(input_name("parent", artifact), file);
        }
    }
}
