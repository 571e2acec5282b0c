//! Checks an experiment against the nodes of a collector and builds what is submitted.

use std::time::Duration;

use prost::Message;
use tinywatt_proto::MESSAGE_BYTES_MAX;
use tinywatt_proto::ids::{ChannelName, NodeId};
use tinywatt_proto::rail::Overlap;
use tinywatt_proto::v1;

use super::problem::{Findings, Located, Problems};
use super::training::{self, DeviceModel, Shared, Training};
use super::{Artifact, Experiment, LoadedDataset, LoadedModel};
use crate::assess::{sample_period, window_advice, window_min};

/// Everything that a collector needs to execute an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The request, not a dry run.
    pub submit: v1::SubmitRequest,
    /// What must be put before; each content once.
    pub artifacts: Vec<Artifact>,
    /// What people should know and what stops nothing.
    pub notes: Vec<String>,
}

/// The names under which nodes list that they can play recordings, and execute jobs.
const REPLAY: &str = "replay";
const JOB: &str = "job";

/// What a submission may hold of a message: the design and the answer's headers want a little, too.
const SUBMIT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

impl Experiment {
    /// Checks the experiment against the nodes that a collector knows and builds the request.
    ///
    /// # Errors
    /// All problems: unknown nodes, missing runtimes, no or several channels, windows too short for their sensor.
    pub fn prepare(&self, nodes: &[v1::NodeSummary]) -> Result<Prepared, Problems> {
        let mut findings = Findings::default();
        let mut notes = Vec::new();
        let models = self.device_models();
        for node in &self.design.nodes {
            // With nothing for devices, the nodes are those of the jobs.
            let is_asked = !models.is_empty() || !self.traces.is_empty() || self.trained.is_none();
            match nodes.iter().find(|summary| summary.node == node.value.as_str()) {
                Some(summary) if is_asked => self.check_node(node, summary, &models, &mut findings, &mut notes),
                Some(_) => {}
                None if is_asked => findings.add(&node.place, unknown_node(&node.value, nodes)),
                None => {}
            }
        }
        if let Some(trained) = &self.trained {
            let node = &trained.training.node;
            match nodes.iter().find(|summary| summary.node == node.value.as_str()) {
                Some(summary) => check_training_node(&trained.training, summary, &mut findings, &mut notes),
                None => findings.add(&node.place, unknown_node(&node.value, nodes)),
            }
        }
        let submit = self.submit();
        let bytes = submit.encoded_len();
        if bytes > SUBMIT_BYTES_MAX {
            findings.add(
                &self.design.replicate_count.place,
                format_args!(
                    "the experiment has {bytes} bytes with all its treatments, and a message holds {SUBMIT_BYTES_MAX}; \
                     split it, or describe smaller architectures"
                ),
            );
        }
        notes.dedup();
        let prepared = Prepared { submit, artifacts: self.artifacts(), notes };
        findings.unless_any(&self.origin, prepared)
    }

    /// Every model that the design's nodes execute.
    fn device_models(&self) -> Vec<DeviceModel<'_>> {
        let files = self.models.iter().map(|model| DeviceModel {
            name: model.name.clone(),
            runtime: &model.runtime.value,
            runtime_place: &model.runtime.place,
            thread_count: model.thread_count.value,
        });
        let made = self.trained.iter().flat_map(|trained| &trained.entries).flat_map(training::device_models);
        files.chain(made).collect()
    }

    fn check_node(
        &self,
        node: &Located<NodeId>,
        summary: &v1::NodeSummary,
        models: &[DeviceModel<'_>],
        findings: &mut Findings,
        notes: &mut Vec<String>,
    ) {
        let name = &node.value;
        if !summary.connected {
            notes.push(format!("node '{name}' is not connected; its trials wait until its agent runs"));
        }
        let capabilities = summary.capabilities.clone().unwrap_or_default();
        let has = |runtime: &str| capabilities.runtimes.iter().any(|known| known.name == runtime);
        let runtimes = runtimes(&capabilities);
        for model in models.iter().filter(|model| !has(model.runtime)) {
            findings.add(
                model.runtime_place,
                format_args!(
                    "node '{name}' has no runtime '{}' (it has {runtimes}); run `agent check` there, it tells what to do",
                    model.runtime
                ),
            );
        }
        let cpu_count = capabilities.machine.as_ref().map_or(0, |machine| machine.cpu_count);
        for model in models.iter().filter(|model| cpu_count > 0 && model.thread_count > cpu_count) {
            notes.push(format!(
                "'{}' asks for {} threads, and node '{name}' has {cpu_count} processors",
                model.name, model.thread_count
            ));
        }
        if let Some(trace) = self.traces.first().filter(|_| !has(REPLAY)) {
            findings.add(
                &trace.name.place,
                format_args!("node '{name}' cannot play recordings (it has {runtimes}); update its agent"),
            );
        }
        if !models.is_empty()
            && let Some(channel) = channel(node, self.design.channel.as_ref(), &capabilities.channels, findings)
        {
            for window in [&self.design.windows.idle, &self.design.windows.active] {
                check_window(window, node, channel, findings);
            }
        }
    }

    fn submit(&self) -> v1::SubmitRequest {
        let made = self.trained.iter().zip(&self.dataset).flat_map(|(trained, dataset)| {
            let shared = Shared {
                training: &trained.training,
                data: &trained.data,
                test: &dataset.artifact,
                windows: &self.design.windows,
                seed: self.design.seed,
                entries: &trained.entries,
            };
            trained.entries.iter().flat_map(|entry| shared.treatments(entry)).collect::<Vec<_>>()
        });
        let models =
            self.dataset.as_ref().map(|dataset| self.models.iter().map(move |model| self.inference(model, dataset)));
        let traces = self.traces.iter().map(|trace| v1::Treatment {
            name: trace.name.value.clone(),
            workload: Some(v1::treatment::Workload::Replay(v1::ReplayWorkload {
                trace: Some(trace.artifact.reference()),
            })),
            ..v1::Treatment::default()
        });
        v1::SubmitRequest {
            experiment_toml: self.text.clone(),
            origin: self.origin.clone(),
            treatments: made.chain(models.into_iter().flatten()).chain(traces).collect(),
            design: Some(self.wire_design()),
            dry_run: false,
        }
    }

    fn wire_design(&self) -> v1::Design {
        let dataset = self.dataset.as_ref().filter(|_| self.is_asked()).map(|loaded| &loaded.dataset);
        v1::Design {
            experiment: self.design.name.value.clone(),
            dataset: dataset.map(|dataset| dataset.kind.to_string()).unwrap_or_default(),
            nodes: self.design.nodes.iter().map(|node| node.value.to_string()).collect(),
            channel: self.design.channel.as_ref().map(|channel| channel.value.to_string()).unwrap_or_default(),
            replicate_count: self.design.replicate_count.value,
            seed: self.design.seed,
            attempt_count_max: self.design.attempt_count_max,
            class_names: dataset.map(|dataset| dataset.class_names.clone()).unwrap_or_default(),
            carbon: self.design.carbon.clone(),
        }
    }

    fn inference(&self, model: &LoadedModel, dataset: &LoadedDataset) -> v1::Treatment {
        let workload = v1::InferenceWorkload {
            runtime: model.runtime.value.clone(),
            engine: model.engine.clone(),
            model: Some(model.artifact.reference()),
            inputs: Some(dataset.artifact.reference()),
            thread_count: model.thread_count.value,
            input_scale: model.input_scale.unwrap_or(dataset.dataset.input_scale),
            input_offset: model.input_offset.unwrap_or(dataset.dataset.input_offset),
            ..self.design.windows.inference()
        };
        v1::Treatment {
            name: model.name.clone(),
            workload: Some(v1::treatment::Workload::Inference(workload)),
            model_file_bytes: model.artifact.content.len() as u64,
            precision: model.precision.clone(),
            parameter_count: model.parameter_count,
            mac_count: model.mac_count,
            ..v1::Treatment::default()
        }
    }

    fn artifacts(&self) -> Vec<Artifact> {
        let dataset = self.dataset.iter().filter(|_| self.is_asked()).map(|loaded| &loaded.artifact);
        let learnt = self.trained.iter().flat_map(|trained| [&trained.data.train, &trained.data.validation]);
        let models = self.models.iter().map(|model| &model.artifact);
        let traces = self.traces.iter().map(|trace| &trace.artifact);
        let mut artifacts: Vec<Artifact> = Vec::new();
        for artifact in dataset.chain(learnt).chain(models).chain(traces) {
            if artifacts.iter().all(|known| known.sha256 != artifact.sha256) {
                artifacts.push(artifact.clone());
            }
        }
        artifacts
    }

    /// Whether anybody is asked the data set's inputs.
    fn is_asked(&self) -> bool {
        !self.models.is_empty() || self.trained.is_some()
    }
}

/// Checks the node that trains.
fn check_training_node(
    training: &Training,
    summary: &v1::NodeSummary,
    findings: &mut Findings,
    notes: &mut Vec<String>,
) {
    let node = &training.node;
    let name = &node.value;
    if !summary.connected {
        notes.push(format!("node '{name}' is not connected; its trials wait until its agent runs"));
    }
    let capabilities = summary.capabilities.clone().unwrap_or_default();
    if !capabilities.runtimes.iter().any(|runtime| runtime.name == JOB) {
        findings.add(
            &node.place,
            format_args!(
                "node '{name}' executes no jobs (it has {}); set enabled = true under [jobs] in its agent.toml and \
                 restart its agent",
                runtimes(&capabilities)
            ),
        );
    }
    let machine = capabilities.machine.clone().unwrap_or_default();
    if training.device.value == v1::JobDevice::Gpu && machine.gpus.is_empty() {
        findings.add(
            &training.device.place,
            format_args!("node '{name}' has no GPU that jobs can use; use \"cpu\", or run `agent check` there"),
        );
    }
    if machine.cpu_count > 0 && training.thread_count.value > machine.cpu_count {
        notes.push(format!(
            "jobs ask for {} threads, and node '{name}' has {} processors",
            training.thread_count.value, machine.cpu_count
        ));
    }
    let named = training.channel.iter().chain(&training.further_channels);
    let wanted: Vec<Option<&Located<ChannelName>>> = match &training.channel {
        Some(_) => named.map(Some).collect(),
        None => vec![None],
    };
    let mut measuring: Vec<&v1::Channel> = Vec::new();
    for wanted in wanted {
        if let Some(channel) = channel(node, wanted, &capabilities.channels, findings) {
            check_window(&training.idle, node, channel, findings);
            let place = wanted.map_or(&node.place, |wanted| &wanted.place);
            for overlap in measuring.iter().filter_map(|earlier| Overlap::between(earlier, channel)) {
                findings.add(place, format_args!("on node '{name}' {overlap}; name one of the two"));
            }
            measuring.push(channel);
        }
    }
}

/// The channel that measures on a node.
fn channel<'a>(
    node: &Located<NodeId>,
    wanted: Option<&Located<ChannelName>>,
    channels: &'a [v1::Channel],
    findings: &mut Findings,
) -> Option<&'a v1::Channel> {
    let name = &node.value;
    // A recording cannot measure what happens now.
    let sensors: Vec<_> =
        channels.iter().filter(|channel| channel.kind() != v1::FigureKind::MeasuredElsewhere).collect();
    let known = listed(sensors.iter().map(|channel| channel.name.clone()));
    if let Some(wanted) = wanted {
        let found = sensors.into_iter().find(|channel| channel.name == wanted.value.as_str());
        if found.is_none() {
            let wanted_name = &wanted.value;
            findings.add(
                &wanted.place,
                format_args!("node '{name}' has no channel '{wanted_name}' that measures; it has {known}"),
            );
        }
        return found;
    }
    match sensors.as_slice() {
        [channel] => Some(channel),
        [] => {
            findings.add(
                &node.place,
                format_args!("node '{name}' has no channel that measures; add a [[sensor]] to its agent.toml"),
            );
            None
        }
        several => {
            let count = several.len();
            findings.add(
                &node.place,
                format_args!("node '{name}' has {count} channels ({known}); say which with channel = \"…\""),
            );
            None
        }
    }
}

fn check_window(window: &Located<Duration>, node: &Located<NodeId>, channel: &v1::Channel, findings: &mut Findings) {
    let (period, shortest) = (sample_period(channel), window_min(channel));
    let shown = humantime::format_duration;
    if window.value < shortest {
        findings.add(
            &window.place,
            format_args!(
                "{} is too short for channel '{}' of node '{}', which takes a sample every {}; \
                 use at least {} ({} samples){}",
                shown(window.value),
                channel.name,
                node.value,
                shown(period),
                shown(shortest),
                shortest.as_nanos().div_ceil(period.as_nanos().max(1)),
                window_advice(channel)
            ),
        );
    }
}

fn runtimes(capabilities: &v1::Capabilities) -> String {
    listed(capabilities.runtimes.iter().map(|runtime| format!("{} {}", runtime.name, runtime.version)))
}

fn unknown_node(node: &NodeId, nodes: &[v1::NodeSummary]) -> String {
    if nodes.is_empty() {
        return format!("node '{node}' is not known, and no other is yet; start `agent run` on it");
    }
    let known = listed(nodes.iter().map(|summary| summary.node.clone()));
    format!("node '{node}' is not known; the collector knows {known}")
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
