//! The job contract as this trainer speaks it: `job.json` in, `result.json` and lines of progress out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::{InputSet, InputSetError};
use tinywatt_proto::time::Window;

/// Schema of the job file.
pub const JOB_SCHEMA: &str = "tinywatt.job.v1";

/// Schema of the result file.
pub const RESULT_SCHEMA: &str = "tinywatt.result.v1";

/// A job file or one of its inputs cannot be used, or the result cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file cannot be read or written.
    #[error("failed to {action} {path}")]
    File {
        /// "read", "write" ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The job file is no job file.
    #[error("{path} is not a job file of schema {JOB_SCHEMA}: {problem}")]
    Job {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An input is another one than the job file says.
    #[error("input '{name}' ({path}) has SHA-256 {found}, and the job file says {expected}")]
    Checksum {
        /// Name in the job file.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Of the file.
        found: Sha256,
        /// In the job file.
        expected: String,
    },
    /// An input set cannot be read.
    #[error("input '{name}' ({path}) is not a whole input set")]
    Inputs {
        /// Name in the job file.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: InputSetError,
    },
}

/// What the job file holds, as far as this trainer needs it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Job {
    schema: String,
    kind: String,
    /// Decides everything that is random.
    pub seed: u32,
    /// Threads to compute with.
    pub thread_count: u32,
    /// "cpu" or "gpu".
    pub device: String,
    /// How to train.
    pub config: Config,
    /// What to train on.
    pub inputs: Inputs,
    /// Where artifacts go.
    pub output_dir: PathBuf,
    /// Where the result goes.
    pub result: PathBuf,
    /// Where lines of progress go.
    pub progress: PathBuf,
}

/// How to train. Further keys are for other trainers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    /// Passes over the training inputs.
    pub epochs: u32,
    /// Inputs per step.
    pub batch_size: u32,
    /// Of Adam.
    pub learning_rate: f64,
    /// Real value of an input byte = byte × scale + offset.
    pub input_scale: f64,
    /// See `input_scale`.
    pub input_offset: f64,
    /// Least time between two checkpoints.
    #[serde(default = "checkpoint_seconds")]
    pub checkpoint_seconds: u32,
}

fn checkpoint_seconds() -> u32 {
    60
}

/// Files to train on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Inputs {
    /// Input set to train on.
    pub train: Input,
    /// Input set to watch the training by.
    pub validation: Input,
    /// Input set for the confusion matrix.
    pub test: Input,
    /// The untrained module.
    pub parent: Input,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

impl Job {
    /// Reads and checks a job file.
    ///
    /// # Errors
    /// When it cannot be read, or is none that this trainer can do.
    pub fn read(path: &Path) -> Result<Self, JobError> {
        let text = read(path)?;
        let refuse = |problem: String| JobError::Job { path: path.to_owned(), problem };
        let job: Self = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        let config = &job.config;
        let mut problems = Vec::new();
        if job.schema != JOB_SCHEMA {
            problems.push(format!("its schema is '{}'", job.schema));
        }
        if job.kind != "train" {
            problems.push(format!("this trainer does 'train', and the job is '{}'", job.kind));
        }
        if !["cpu", "gpu"].contains(&job.device.as_str()) {
            problems.push(format!("device is '{}', and may be 'cpu' or 'gpu'", job.device));
        }
        for (name, count) in
            [("thread_count", job.thread_count), ("epochs", config.epochs), ("batch_size", config.batch_size)]
        {
            if count == 0 {
                problems.push(format!("{name} is 0, and must be at least 1"));
            }
        }
        if !(config.learning_rate.is_finite() && config.learning_rate > 0.0) {
            problems.push(format!("learning_rate is {}, and must be above 0", config.learning_rate));
        }
        if !(config.input_scale.is_finite() && config.input_scale != 0.0 && config.input_offset.is_finite()) {
            problems.push("input_scale and input_offset must be numbers, the scale not 0".to_owned());
        }
        if problems.is_empty() { Ok(job) } else { Err(refuse(problems.join("; "))) }
    }

    /// Reads an input set after comparing its checksum.
    ///
    /// # Errors
    /// When it is missing, another one, or damaged.
    pub fn input_set(&self, name: &'static str) -> Result<InputSet, JobError> {
        let input = match name {
            "train" => &self.inputs.train,
            "validation" => &self.inputs.validation,
            _ => &self.inputs.test,
        };
        let bytes = checked(name, input)?;
        InputSet::from_bytes(&bytes).map_err(|source| JobError::Inputs { name, path: input.path.clone(), source })
    }

    /// Path of the untrained module after comparing its checksum.
    ///
    /// # Errors
    /// When it is missing or another one.
    pub fn parent(&self) -> Result<&Path, JobError> {
        checked("parent", &self.inputs.parent)?;
        Ok(&self.inputs.parent.path)
    }

    /// SHA-256 of everything that decides the result, so that a checkpoint of another job is not gone on with.
    pub fn fingerprint(&self) -> Sha256 {
        let Config { epochs: _, batch_size, learning_rate, input_scale, input_offset, checkpoint_seconds: _ } =
            self.config;
        let Inputs { train, validation, test, parent } = &self.inputs;
        let inputs = [train, validation, test, parent].map(|input| input.sha256.as_str()).join(" ");
        let numbers = format!("{} {batch_size} {learning_rate:e} {input_scale:e} {input_offset:e}", self.seed);
        Sha256::of(format!("{numbers} {} {inputs}", self.device).as_bytes())
    }

    /// Tells how far it is. Progress is for people: a line that cannot be written costs nothing but itself.
    pub fn tell(&self, line: &Progress) {
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        let file = OpenOptions::new().create(true).append(true).open(&self.progress);
        let _ = file.and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// Writes the result whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, result: &Outcome) -> Result<(), JobError> {
        let part = self.result.with_extension("json.part");
        let text = serde_json::to_vec_pretty(result).map_err(|error| JobError::Job {
            path: self.result.clone(),
            problem: format!("the result is no JSON: {error}"),
        })?;
        let write = |source| JobError::File { action: "write", path: self.result.clone(), source };
        File::create(&part).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all())).map_err(write)?;
        fs::rename(&part, &self.result).map_err(write)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JobError> {
    fs::read(path).map_err(|source| JobError::File { action: "read", path: path.to_owned(), source })
}

fn checked(name: &'static str, input: &Input) -> Result<Vec<u8>, JobError> {
    let bytes = read(&input.path)?;
    let found = Sha256::of(&bytes);
    if found.to_string() == input.sha256 {
        return Ok(bytes);
    }
    Err(JobError::Checksum { name, path: input.path.clone(), found, expected: input.sha256.clone() })
}

/// A line of progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// "train" or "evaluate".
    pub phase: &'static str,
    /// From 1.
    pub epoch: u32,
    /// Of how many.
    pub epoch_count: u32,
    /// Part that is done, 0 to 1.
    pub fraction: f64,
    /// Mean loss of the epoch so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Part of right answers of the epoch so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// The result file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// [`RESULT_SCHEMA`].
    pub schema: &'static str,
    /// Who trained.
    pub framework: Framework,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// Parts of the time.
    pub phases: Vec<Phase>,
    /// Parameters, from the module's card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates, from the module's card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_count: Option<u64>,
    /// Row = label, column = prediction, over the test inputs.
    pub confusion: Vec<Vec<u64>>,
    /// One for each epoch.
    pub epochs: Vec<Epoch>,
    /// For people.
    pub notes: Vec<String>,
}

/// Who trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Framework {
    /// "tch".
    pub name: &'static str,
    /// PyTorch's version.
    pub version: &'static str,
}

/// A file of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// "model" or "checkpoint".
    pub role: &'static str,
    /// Plain name in the output folder.
    pub file: &'static str,
}

/// A part of the time, on the machine's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// "train" or "evaluate".
    pub phase: &'static str,
    /// First instant.
    pub start_mono_ns: u64,
    /// First instant after.
    pub end_mono_ns: u64,
}

impl Phase {
    /// A part with a name.
    pub fn new(phase: &'static str, window: Window) -> Self {
        Self { phase, start_mono_ns: window.start().0, end_mono_ns: window.end().0 }
    }
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Mean over the training inputs, while the weights changed.
    pub train_loss: f64,
    /// Likewise.
    pub train_accuracy: f64,
    /// Mean over the validation inputs, after the epoch.
    pub validation_loss: f64,
    /// Likewise.
    pub validation_accuracy: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, spoil: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
        let input = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, name).expect("written");
            serde_json::json!({ "path": path, "sha256": Sha256::of(name.as_bytes()).to_string() })
        };
        let mut job = serde_json::json!({
            "schema": JOB_SCHEMA, "kind": "train", "seed": 7, "thread_count": 1, "device": "cpu",
            "config": { "architecture": "digits-tiny", "epochs": 2, "batch_size": 32, "learning_rate": 0.01,
                        "input_scale": 0.125, "input_offset": -1.0 },
            "inputs": { "train": input("a"), "validation": input("b"), "test": input("c"), "parent": input("d") },
            "output_dir": folder, "result": folder.join("result.json"), "progress": folder.join("progress.jsonl"),
        });
        spoil(&mut job);
        let path = folder.join("job.json");
        fs::write(&path, job.to_string()).expect("written");
        path
    }

    #[track_caller]
    fn refused(spoil: impl FnOnce(&mut serde_json::Value), words: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Job::read(&write(folder.path(), spoil)).expect_err("spoiled").to_string();
        for word in words {
            assert!(error.contains(word), "'{word}' is not in '{error}'");
        }
    }

    #[test]
    fn a_job_file_is_read_with_keys_that_are_for_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Job::read(&write(folder.path(), |_| ())).expect("good");
        assert_eq!((job.seed, job.config.epochs), (7, 2));
        assert_eq!(job.parent().expect("there"), folder.path().join("d"));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let spoil = |job: &mut serde_json::Value| {
            job["kind"] = "optimise".into();
            job["device"] = "tpu".into();
            job["config"]["batch_size"] = 0.into();
            job["config"]["learning_rate"] = (-1).into();
        };
        refused(spoil, &["'optimise'", "'tpu'", "batch_size is 0", "learning_rate is -1", "job.json"]);
        refused(|job| drop(job["config"].as_object_mut().expect("a table").remove("epochs")), &["epochs"]);
        refused(|job| job["schema"] = "x".into(), &["schema is 'x'"]);
    }

    #[test]
    fn another_file_under_an_inputs_name_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Job::read(&write(folder.path(), |_| ())).expect("good");
        fs::write(folder.path().join("d"), "changed").expect("written");
        assert!(matches!(job.parent(), Err(JobError::Checksum { name: "parent", .. })));
        assert!(matches!(job.input_set("train"), Err(JobError::Inputs { name: "train", .. })));
    }

    #[test]
    fn more_epochs_are_the_same_training_and_another_seed_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Job::read(&write(folder.path(), |_| ())).expect("good");
        let longer = Job { config: Config { epochs: 9, ..job.config.clone() }, ..job.clone() };
        assert_eq!(job.fingerprint(), longer.fingerprint());
        assert_ne!(job.fingerprint(), Job { seed: 8, ..job.clone() }.fingerprint());
    }
}
