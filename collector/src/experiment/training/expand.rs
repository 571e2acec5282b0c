//! One `[[train]]` into jobs and the models that they make.

use serde_json::{Map, Value};
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;

use super::super::{Artifact, Windows};
use super::technique::FLOAT32;
use super::{Architecture, Entry, Training, TrainingData};

/// Roles of a job's artifacts.
const MODEL: &str = "model";
const CHECKPOINT: &str = "checkpoint";

/// A model that nodes execute, for checks: its name, runtime and threads.
#[derive(Debug, Clone)]
pub(in super::super) struct DeviceModel<'a> {
    pub(in super::super) name: String,
    pub(in super::super) runtime: &'a str,
    pub(in super::super) runtime_place: &'a super::super::Place,
    pub(in super::super) thread_count: u32,
}

/// Names of the treatments that an entry becomes.
struct Names<'a>(&'a str);

impl Names<'_> {
    fn build(&self) -> String {
        format!("{}: build", self.0)
    }

    fn train(&self) -> String {
        format!("{}: train", self.0)
    }

    fn optimise(&self, technique: &str) -> String {
        format!("{}: optimise {technique}", self.0)
    }

    fn model(&self, technique: &str) -> String {
        format!("{}/{technique}", self.0)
    }
}

/// Names of the treatments that an entry becomes.
pub(in super::super) fn treatment_names<A>(entry: &Entry<A>) -> Vec<String> {
    let names = Names(&entry.name.value);
    let mut all: Vec<String> = entry.trainer.build().map(|_| names.build()).into_iter().collect();
    all.push(names.train());
    for technique in entry.techniques.iter().map(|technique| &technique.value.name) {
        if technique != FLOAT32 {
            all.push(names.optimise(technique));
        }
        all.push(names.model(technique));
    }
    all
}

/// The models that nodes execute of an entry.
pub(in super::super) fn device_models<A>(entry: &Entry<A>) -> impl Iterator<Item = DeviceModel<'_>> {
    let names = Names(&entry.name.value);
    entry.techniques.iter().map(move |technique| DeviceModel {
        name: names.model(&technique.value.name),
        runtime: &technique.value.runtime,
        runtime_place: &technique.place,
        thread_count: entry.thread_count.value,
    })
}

/// Everything that the entries of an experiment share.
pub(in super::super) struct Shared<'a> {
    pub(in super::super) training: &'a Training,
    pub(in super::super) data: &'a TrainingData,
    pub(in super::super) test: &'a Artifact,
    pub(in super::super) windows: &'a Windows,
    pub(in super::super) seed: u64,
    pub(in super::super) entries: &'a [Entry<Architecture>],
}

impl Shared<'_> {
    /// Treatments of one entry: its jobs, then each technique with what makes it.
    pub(in super::super) fn treatments(&self, entry: &Entry<Architecture>) -> Vec<v1::Treatment> {
        let names = Names(&entry.name.value);
        let mut treatments = Vec::new();
        let build = entry.trainer.build();
        if let Some(command) = &build {
            let config = self.config(entry, &entry.config, &[]);
            let job = self.job(v1::JobKind::Build, command.clone(), config, Vec::new());
            treatments.push(self.job_treatment(entry, names.build(), "", job));
        }
        let mut inputs = self.data_inputs();
        if build.is_some() {
            inputs.push(produced("parent", names.build(), MODEL));
        }
        let teacher = entry.teacher.as_ref().map(|teacher| teacher.value.as_str());
        if let Some(teacher) = teacher {
            inputs.push(produced("teacher", Names(teacher).train(), CHECKPOINT));
        }
        let teacher = self.entries.iter().find(|other| Some(other.name.value.as_str()) == teacher);
        let teacher = teacher.and_then(|teacher| teacher.architecture.as_ref()).map(|it| ("teacher", it.0.clone()));
        let config = self.config(entry, &entry.config, teacher.as_slice());
        let job = self.job(v1::JobKind::Train, entry.trainer.train(), config, inputs);
        treatments.push(self.job_treatment(entry, names.train(), "", job));
        for technique in entry.techniques.iter().map(|technique| &technique.value) {
            let name = &technique.name;
            let source = if name == FLOAT32 {
                names.train()
            } else {
                let mut further = vec![("technique", Value::from(name.as_str()))];
                if technique.has_engine_to_choose() && !technique.engine.is_empty() {
                    further.push(("engine", Value::from(technique.engine.as_str())));
                }
                let config = self.config(entry, &entry.optimise, &further);
                let mut inputs = self.data_inputs();
                inputs.push(produced("parent", names.train(), CHECKPOINT));
                let job = self.job(v1::JobKind::Optimise, entry.trainer.optimise(), config, inputs);
                treatments.push(self.job_treatment(entry, names.optimise(name), name, job));
                names.optimise(name)
            };
            let workload = v1::InferenceWorkload {
                runtime: technique.runtime.clone(),
                engine: technique.engine.clone(),
                model_from: Some(v1::Produced { treatment: source, role: MODEL.to_owned() }),
                inputs: Some(self.test.reference()),
                thread_count: entry.thread_count.value,
                input_scale: self.data.input_scale,
                input_offset: self.data.input_offset,
                ..self.windows.inference()
            };
            treatments.push(v1::Treatment {
                name: names.model(name),
                family: entry.name.value.clone(),
                framework: entry.trainer.framework().to_owned(),
                technique: name.clone(),
                workload: Some(Workload::Inference(workload)),
                ..v1::Treatment::default()
            });
        }
        treatments
    }

    fn config(
        &self,
        entry: &Entry<Architecture>,
        own: &Map<String, Value>,
        further: &[(&str, Value)],
    ) -> Map<String, Value> {
        let mut config = own.clone();
        if let Some(architecture) = &entry.architecture {
            config.insert("architecture".to_owned(), architecture.0.clone());
        }
        config.insert("input_scale".to_owned(), self.data.input_scale.into());
        config.insert("input_offset".to_owned(), self.data.input_offset.into());
        config.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        config
    }

    fn job(
        &self,
        kind: v1::JobKind,
        (command, prepare): (Vec<String>, Vec<String>),
        config: Map<String, Value>,
        inputs: Vec<v1::JobInput>,
    ) -> v1::JobWorkload {
        let training = self.training;
        v1::JobWorkload {
            kind: kind.into(),
            command,
            prepare,
            config_json: Value::Object(config).to_string(),
            inputs,
            seed: self.seed,
            thread_count: training.thread_count.value,
            device: training.device.value.into(),
            idle_ns: nanoseconds(training.idle.value),
            time_limit_ns: nanoseconds(training.time_limit),
            output_bytes_max: training.output_bytes_max,
        }
    }

    fn job_treatment(
        &self,
        entry: &Entry<Architecture>,
        name: String,
        technique: &str,
        job: v1::JobWorkload,
    ) -> v1::Treatment {
        let training = self.training;
        v1::Treatment {
            name,
            family: entry.name.value.clone(),
            framework: entry.trainer.framework().to_owned(),
            technique: technique.to_owned(),
            nodes: vec![training.node.value.to_string()],
            channel: training.channel.as_ref().map(|channel| channel.value.to_string()).unwrap_or_default(),
            further_channels: training.further_channels.iter().map(|channel| channel.value.to_string()).collect(),
            workload: Some(Workload::Job(job)),
            ..v1::Treatment::default()
        }
    }

    fn data_inputs(&self) -> Vec<v1::JobInput> {
        let sets = [("train", &self.data.train), ("validation", &self.data.validation), ("test", self.test)];
        let input = |(name, artifact): (&str, &Artifact)| v1::JobInput {
            name: name.to_owned(),
            source: Some(v1::job_input::Source::Artifact(artifact.reference())),
        };
        sets.into_iter().map(input).collect()
    }
}

fn produced(name: &str, treatment: String, role: &str) -> v1::JobInput {
    let produced = v1::Produced { treatment, role: role.to_owned() };
    v1::JobInput { name: name.to_owned(), source: Some(v1::job_input::Source::Produced(produced)) }
}
