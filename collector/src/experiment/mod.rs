//! An experiment: a TOML file and the files it names, checked whole. Starts nothing.
//!
//! What it trains becomes jobs, and models that the run makes itself (`training/`).
//!
//! [`Experiment::read`] checks everything that can be told without a collector: keys, values, data set, models, and
//! whether they fit each other. [`Experiment::prepare`] checks the rest against the nodes that a collector knows, and
//! builds what is submitted. Both report all problems at once.

mod artifact;
mod carbon;
mod files;
mod fit;
mod keys;
mod parse;
mod prepare;
mod problem;
mod recording;
mod training;
mod training_data;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tinywatt_proto::ids::{ChannelName, NodeId};
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;

pub use artifact::Artifact;
pub use prepare::Prepared;
pub use problem::{Located, Place, Problem, Problems};

use self::training::{Architecture, Entry, Training, TrainingData};
use crate::dataset::{Dataset, Kind};

/// An experiment whose file, data set, models and traces were read and fit each other.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The file's text, which is kept with the run.
    text: String,
    /// The file, as people named it.
    origin: String,
    design: Design,
    dataset: Option<LoadedDataset>,
    models: Vec<LoadedModel>,
    traces: Vec<LoadedTrace>,
    trained: Option<Trained>,
}

/// What is trained.
#[derive(Debug, Clone)]
struct Trained {
    training: Training,
    data: TrainingData,
    entries: Vec<Entry<Architecture>>,
}

/// What the file says beside data set, models and traces.
#[derive(Debug, Clone)]
struct Design {
    name: Located<String>,
    seed: u64,
    replicate_count: Located<u32>,
    attempt_count_max: u32,
    nodes: Vec<Located<NodeId>>,
    channel: Option<Located<ChannelName>>,
    windows: Windows,
    carbon: Option<v1::Carbon>,
}

/// How long each part of a trial takes.
#[derive(Debug, Clone)]
struct Windows {
    idle: Located<Duration>,
    active: Located<Duration>,
    cool_down: Duration,
    warm_up_inference_count: u32,
}

impl Windows {
    /// A workload that has them, and nothing else yet.
    fn inference(&self) -> v1::InferenceWorkload {
        v1::InferenceWorkload {
            warm_up_inference_count: self.warm_up_inference_count,
            idle_ns: nanoseconds(self.idle.value),
            active_ns: nanoseconds(self.active.value),
            cool_down_ns: nanoseconds(self.cool_down),
            ..v1::InferenceWorkload::default()
        }
    }
}

#[derive(Debug, Clone)]
struct LoadedDataset {
    dataset: Dataset,
    artifact: Artifact,
}

#[derive(Debug, Clone)]
struct LoadedModel {
    name: String,
    runtime: Located<String>,
    engine: String,
    thread_count: Located<u32>,
    input_scale: Option<f64>,
    input_offset: Option<f64>,
    /// Empty when the file does not tell, as the next two are absent.
    precision: String,
    parameter_count: Option<u64>,
    mac_count: Option<u64>,
    artifact: Artifact,
}

#[derive(Debug, Clone)]
struct LoadedTrace {
    name: Located<String>,
    artifact: Artifact,
}

/// Gets a published data set and tells its folder, or why not.
pub type Fetch<'a> = &'a mut dyn FnMut(Kind) -> Result<PathBuf, String>;

fn not_fetched(kind: Kind) -> Result<PathBuf, String> {
    Err(format!("has no path; fetch it with `collector dataset fetch {kind}` and name its folder"))
}

/// Largest experiment file, bytes: it travels in one message together with its treatments.
const TEXT_BYTES_MAX: u64 = 1 << 20;

impl Experiment {
    /// Reads an experiment file and every file that it names. Paths in it are relative to it. Fetches nothing.
    ///
    /// # Errors
    /// All problems, in the order of the file.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        Self::read_fetching(path, &mut not_fetched)
    }

    /// Like [`Experiment::read`]; a data set without a path is asked of `fetch` once all else is right.
    ///
    /// # Errors
    /// All problems, in the order of the file.
    pub fn read_fetching(path: &Path, fetch: Fetch<'_>) -> Result<Self, Problems> {
        let refuse = |message: String| Problems {
            origin: path.display().to_string(),
            problems: vec![Problem { place: None, message }],
        };
        let bytes = files::read_at_most(path, TEXT_BYTES_MAX)
            .map_err(|error| refuse(format!("the experiment cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| refuse("the experiment is not text in UTF-8".to_owned()))?;
        Self::parse_fetching(&text, path, fetch)
    }

    /// Like [`Experiment::read`] for a text in memory; `path` is where it stands, or would stand.
    ///
    /// # Errors
    /// All problems, in the order of the file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        Self::parse_fetching(text, path, &mut not_fetched)
    }

    fn parse_fetching(text: &str, path: &Path, fetch: Fetch<'_>) -> Result<Self, Problems> {
        let origin = path.display().to_string();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut findings = problem::Findings::default();
        let Some(draft) = parse::parse(text, &mut findings) else {
            return Err(findings.into_problems(&origin).expect("a draft is only refused with a reason"));
        };
        let loaded = files::load(draft.files, folder, fetch, &mut findings);
        let (Some(design), true) = (draft.design, findings.is_empty()) else {
            return Err(findings.into_problems(&origin).expect("a design is only refused with a reason"));
        };
        let files::Loaded { dataset, models, traces, trained } = loaded;
        Ok(Self { text: text.to_owned(), origin, design, dataset, models, traces, trained })
    }

    /// Name of the experiment.
    pub fn name(&self) -> &str {
        &self.design.name.value
    }
}

#[cfg(test)]
mod study_tests;
#[cfg(test)]
mod tests;
