//! What a report is made from. Plain values, so that a report can be made of any store, or of a test's imagination.

use std::collections::BTreeMap;

use serde::Serialize;
use tinywatt_proto::{hex, v1};

use super::table::{INFERENCE, RECORDING};
use crate::result::TrialResult;

/// One run with everything that came of it so far.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// Id of the run.
    pub run: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the data set; empty for replays.
    pub dataset: String,
    /// Names of the classes, in the order of the confusion matrices; empty for replays.
    pub class_names: Vec<String>,
    /// Seed of the trials' order.
    pub seed: u64,
    /// How far the run is.
    pub state: v1::RunState,
    /// When it was started, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// When it ended; absent while it is running.
    pub ended_unix_ns: Option<u64>,
    /// What turns joules into CO2; absent when the experiment states nothing.
    pub carbon: Option<Carbon>,
    /// How many replicates each treatment was to have on each node.
    pub replicate_count: u32,
    /// Nodes of the design, in its order.
    pub nodes: Vec<String>,
    /// Treatments, in the experiment's order.
    pub treatments: Vec<TreatmentFacts>,
    /// Every attempt that has ended, in any order.
    pub attempts: Vec<TrialResult>,
    /// Attempts that have started and not ended.
    pub attempt_count_running: u32,
}

/// One carbon intensity for all figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Carbon {
    /// Carbon intensity of the grid, g CO2-equivalent per kWh.
    pub intensity_g_per_kwh: f64,
    /// Power usage effectiveness: all energy of the place per energy of the machine.
    pub pue: f64,
    /// Where the intensity comes from, with its year.
    pub source: String,
}

/// What is known of a treatment before it is executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreatmentFacts {
    /// Name, unique in the experiment.
    pub name: String,
    /// What is executed.
    pub workload: Workload,
    /// Nodes that execute it; empty: those of the design.
    pub nodes: Vec<String>,
    /// Model family: name of the training entry; empty for models from files.
    pub family: String,
    /// Framework that trains or trained the model; empty when nobody states it.
    pub framework: String,
    /// Optimisation technique; empty for training jobs and for models from files.
    pub technique: String,
    /// Parameters, read from the model's file.
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference, read from the model's file.
    pub mac_count: Option<u64>,
    /// SHA-256 of the input set that a model is asked; empty for all others, and when nobody states it.
    pub inputs_sha256: String,
}

/// What a treatment executes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Workload {
    /// A model on a runtime.
    Model {
        /// Number format read from the model's tensors: "float32", "full-integer" ...; empty for a model that the run
        /// makes itself.
        number_format: String,
        /// Size of the deployable file; 0 for a model that the run makes itself.
        file_bytes: u64,
        /// Threads that the runtime is to be given.
        thread_count: u32,
        /// Treatment of the job that makes the model; absent for a model from a file.
        made_by: Option<String>,
    },
    /// A command that trains or optimises.
    Job {
        /// "train", "optimise" or "build".
        kind: &'static str,
        /// Treatments of the jobs whose artifacts it takes.
        needs: Vec<String>,
        /// What it was told, by key, and what it was to use: jobs with the same recipe differ in nothing but who did them.
        recipe: BTreeMap<String, String>,
    },
    /// A recording of another bench.
    #[default]
    Recording,
}

impl Workload {
    /// Word for it: "inference", "recording", or the kind of a job.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Model { .. } => INFERENCE,
            Self::Job { kind, .. } => kind,
            Self::Recording => RECORDING,
        }
    }
}

impl TreatmentFacts {
    /// Size of the deployable file, when the experiment brought it.
    pub fn file_bytes(&self) -> Option<u64> {
        match &self.workload {
            Workload::Model { file_bytes, made_by: None, .. } => Some(*file_bytes),
            _ => None,
        }
    }
}

/// The configuration of a job, key by key, with its device, its threads and its data.
fn recipe(job: &v1::JobWorkload) -> BTreeMap<String, String> {
    let config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&job.config_json).unwrap_or_default();
    let mut recipe: BTreeMap<String, String> =
        config.into_iter().map(|(key, value)| (key, value.to_string())).collect();
    recipe.insert("device".to_owned(), job.device().as_str_name().to_owned());
    recipe.insert("threads".to_owned(), job.thread_count.to_string());
    for input in &job.inputs {
        // What another job made is another one in each framework; the data are not.
        if let Some(v1::job_input::Source::Artifact(artifact)) = &input.source {
            recipe.insert(format!("inputs.{}", input.name), hex::encode(&artifact.sha256));
        }
    }
    recipe
}

impl TreatmentFacts {
    /// Takes what a report needs from a submitted treatment.
    pub fn from_wire(treatment: &v1::Treatment) -> Self {
        let workload = match &treatment.workload {
            Some(v1::treatment::Workload::Replay(_)) => Workload::Recording,
            Some(v1::treatment::Workload::Inference(inference)) => Workload::Model {
                number_format: treatment.precision.clone(),
                file_bytes: treatment.model_file_bytes,
                thread_count: inference.thread_count,
                made_by: inference.model_from.as_ref().map(|produced| produced.treatment.clone()),
            },
            Some(v1::treatment::Workload::Job(job)) => Workload::Job {
                kind: match job.kind() {
                    v1::JobKind::Train => "train",
                    v1::JobKind::Optimise => "optimise",
                    v1::JobKind::Build => "build",
                    v1::JobKind::Unspecified => "job",
                },
                needs: job.inputs.iter().filter_map(made_by).collect(),
                recipe: recipe(job),
            },
            None => Workload::Model {
                number_format: treatment.precision.clone(),
                file_bytes: treatment.model_file_bytes,
                thread_count: 0,
                made_by: None,
            },
        };
        Self {
            name: treatment.name.clone(),
            workload,
            nodes: treatment.nodes.clone(),
            family: treatment.family.clone(),
            framework: treatment.framework.clone(),
            technique: treatment.technique.clone(),
            parameter_count: treatment.parameter_count,
            mac_count: treatment.mac_count,
            inputs_sha256: match &treatment.workload {
                Some(v1::treatment::Workload::Inference(inference)) => {
                    inference.inputs.as_ref().map(|inputs| hex::encode(&inputs.sha256)).unwrap_or_default()
                }
                _ => String::new(),
            },
        }
    }
}

fn made_by(input: &v1::JobInput) -> Option<String> {
    match &input.source {
        Some(v1::job_input::Source::Produced(produced)) => Some(produced.treatment.clone()),
        _ => None,
    }
}

impl RunReport {
    /// Puts together a report's input from what the collector keeps of a run.
    ///
    /// `submit` is the request that started the run. `attempts` holds one entry for every attempt that was started:
    /// its result, or `None` while it is executing.
    pub fn new(run: &Run<'_>, attempts: impl IntoIterator<Item = Option<TrialResult>>) -> Self {
        let design = run.submit.design.clone().unwrap_or_default();
        let mut report = Self {
            run: run.id.to_owned(),
            experiment: design.experiment,
            dataset: design.dataset,
            class_names: design.class_names,
            seed: design.seed,
            state: run.state,
            started_unix_ns: run.started_unix_ns,
            ended_unix_ns: run.ended_unix_ns,
            carbon: design.carbon.map(|carbon| Carbon {
                intensity_g_per_kwh: carbon.intensity_g_per_kwh,
                // Absent on the wire reads as 0; no place uses less than its machines.
                pue: carbon.pue.max(1.0),
                source: carbon.source,
            }),
            replicate_count: design.replicate_count,
            nodes: design.nodes,
            treatments: run.submit.treatments.iter().map(TreatmentFacts::from_wire).collect(),
            attempts: Vec::new(),
            attempt_count_running: 0,
        };
        for attempt in attempts {
            match attempt {
                Some(result) => report.attempts.push(result),
                None => report.attempt_count_running += 1,
            }
        }
        report
    }
}

/// The collector's own facts about a run, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Id of the run.
    pub id: &'a str,
    /// The request that started it.
    pub submit: &'a v1::SubmitRequest,
    /// How far it is.
    pub state: v1::RunState,
    /// When it was started, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// When it ended; absent while it is running.
    pub ended_unix_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(treatment: &str, role: &str) -> v1::Produced {
        v1::Produced { treatment: treatment.to_owned(), role: role.to_owned() }
    }

    #[test]
    fn a_job_names_what_it_takes_and_a_model_what_makes_it() {
        let input = |source| v1::JobInput { name: "parent".to_owned(), source: Some(source) };
        let artifact = v1::ArtifactRef { sha256: vec![0xab; 32], ..Default::default() };
        let data = v1::JobInput { name: "test".to_owned(), ..input(v1::job_input::Source::Artifact(artifact)) };
        let job = v1::JobWorkload {
            kind: v1::JobKind::Optimise.into(),
            inputs: vec![data.clone(), input(v1::job_input::Source::Produced(produced("train", "checkpoint")))],
            ..v1::JobWorkload::default()
        };
        let optimise = TreatmentFacts::from_wire(&v1::Treatment {
            workload: Some(v1::treatment::Workload::Job(job)),
            family: "resnet8".to_owned(),
            technique: "qat".to_owned(),
            ..v1::Treatment::default()
        });
        assert_eq!(
            optimise.workload,
            Workload::Job {
                kind: "optimise",
                needs: vec!["train".to_owned()],
                recipe: recipe(&v1::JobWorkload { inputs: vec![data], ..Default::default() })
            }
        );
        let Workload::Job { recipe, .. } = &optimise.workload else { panic!("a job") };
        assert_eq!(recipe["inputs.test"], "ab".repeat(32), "other data are another recipe");
        assert_eq!((optimise.family.as_str(), optimise.technique.as_str()), ("resnet8", "qat"));
        let inference = v1::InferenceWorkload { model_from: Some(produced("qat-job", "model")), ..Default::default() };
        let model = TreatmentFacts::from_wire(&v1::Treatment {
            workload: Some(v1::treatment::Workload::Inference(inference)),
            ..v1::Treatment::default()
        });
        assert!(matches!(model.workload, Workload::Model { made_by: Some(job), .. } if job == "qat-job"));
    }

    #[test]
    fn the_runs_carbon_is_carried_and_no_place_uses_less_than_its_machines() {
        let carbon = v1::Carbon { intensity_g_per_kwh: 100.0, pue: 0.0, source: "me, 2024".to_owned() };
        let design = v1::Design { carbon: Some(carbon), ..v1::Design::default() };
        let submit = v1::SubmitRequest { design: Some(design), ..v1::SubmitRequest::default() };
        let run =
            Run { id: "a", submit: &submit, state: v1::RunState::Running, started_unix_ns: 0, ended_unix_ns: None };
        let carbon = RunReport::new(&run, []).carbon.unwrap();
        assert_eq!((carbon.intensity_g_per_kwh, carbon.pue, carbon.source.as_str()), (100.0, 1.0, "me, 2024"));
    }
}
