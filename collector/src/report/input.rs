//! What a report is made from. Plain values, so that a report can be made of any store, or of a test's imagination.

use tinywatt_proto::v1;

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

/// What is known of a treatment before it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreatmentFacts {
    /// Name, unique in the experiment.
    pub name: String,
    /// What is executed.
    pub workload: Workload,
}

/// What a treatment executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// A model on a runtime.
    Model {
        /// Number format read from the model's tensors: "float32", "full-integer" ...
        number_format: String,
        /// Size of the deployable file.
        file_bytes: u64,
        /// Threads that the runtime is to be given.
        thread_count: u32,
    },
    /// A recording of another bench.
    Recording,
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
            },
            Some(v1::treatment::Workload::Job(_)) | None => Workload::Model {
                number_format: treatment.precision.clone(),
                file_bytes: treatment.model_file_bytes,
                thread_count: 0,
            },
        };
        Self { name: treatment.name.clone(), workload }
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
