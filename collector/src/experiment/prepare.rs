//! Checks an experiment against the nodes of a collector and builds what is submitted.

use std::time::Duration;

use tinywatt_proto::ids::NodeId;
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;

use super::problem::{Findings, Located, Problems};
use super::{Artifact, Experiment, LoadedDataset, LoadedModel};
use crate::schedule::WINDOW_PERIOD_COUNT_MIN;

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

/// The name under which nodes list that they can play recordings.
const REPLAY: &str = "replay";

impl Experiment {
    /// Checks the experiment against the nodes that a collector knows and builds the request.
    ///
    /// # Errors
    /// All problems: unknown nodes, missing runtimes, no or several channels, windows too short for their sensor.
    pub fn prepare(&self, nodes: &[v1::NodeSummary]) -> Result<Prepared, Problems> {
        let mut findings = Findings::default();
        let mut notes = Vec::new();
        for node in &self.design.nodes {
            match nodes.iter().find(|summary| summary.node == node.value.as_str()) {
                Some(summary) => self.check_node(node, summary, &mut findings, &mut notes),
                None => findings.add(&node.place, unknown_node(&node.value, nodes)),
            }
        }
        let prepared = Prepared { submit: self.submit(), artifacts: self.artifacts(), notes };
        findings.unless_any(&self.origin, prepared)
    }

    fn check_node(
        &self,
        node: &Located<NodeId>,
        summary: &v1::NodeSummary,
        findings: &mut Findings,
        notes: &mut Vec<String>,
    ) {
        let name = &node.value;
        if !summary.connected {
            notes.push(format!("node '{name}' is not connected; its trials wait until its agent runs"));
        }
        let capabilities = summary.capabilities.clone().unwrap_or_default();
        let has = |runtime: &str| capabilities.runtimes.iter().any(|known| known.name == runtime);
        let runtimes =
            listed(capabilities.runtimes.iter().map(|runtime| format!("{} {}", runtime.name, runtime.version)));
        for model in self.models.iter().filter(|model| !has(&model.runtime.value)) {
            findings.add(
                &model.runtime.place,
                format_args!(
                    "node '{name}' has no runtime '{}' (it has {runtimes}); run `agent check` there, it tells what to do",
                    model.runtime.value
                ),
            );
        }
        let cpu_count = capabilities.machine.as_ref().map_or(0, |machine| machine.cpu_count);
        for model in self.models.iter().filter(|model| cpu_count > 0 && model.thread_count.value > cpu_count) {
            notes.push(format!(
                "'{}' asks for {} threads, and node '{name}' has {cpu_count} processors",
                model.name, model.thread_count.value
            ));
        }
        if let Some(trace) = self.traces.first().filter(|_| !has(REPLAY)) {
            findings.add(
                &trace.name.place,
                format_args!("node '{name}' cannot play recordings (it has {runtimes}); update its agent"),
            );
        }
        if !self.models.is_empty()
            && let Some(channel) = self.channel(node, &capabilities.channels, findings)
        {
            self.check_windows(node, channel, findings);
        }
    }

    /// The channel that measures on a node.
    fn channel<'a>(
        &self,
        node: &Located<NodeId>,
        channels: &'a [v1::Channel],
        findings: &mut Findings,
    ) -> Option<&'a v1::Channel> {
        let name = &node.value;
        // A recording cannot measure what happens now.
        let sensors: Vec<_> =
            channels.iter().filter(|channel| channel.kind() != v1::FigureKind::MeasuredElsewhere).collect();
        let known = listed(sensors.iter().map(|channel| channel.name.clone()));
        if let Some(wanted) = &self.design.channel {
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

    fn check_windows(&self, node: &Located<NodeId>, channel: &v1::Channel, findings: &mut Findings) {
        let period = Duration::from_nanos(channel.sample_period_ns);
        let shortest = period.saturating_mul(WINDOW_PERIOD_COUNT_MIN);
        let shown = humantime::format_duration;
        for window in [&self.design.windows.idle, &self.design.windows.active] {
            if window.value < shortest {
                findings.add(
                    &window.place,
                    format_args!(
                        "{} is too short for channel '{}' of node '{}', which takes a sample every {}; \
                         use at least {} ({} samples)",
                        shown(window.value),
                        channel.name,
                        node.value,
                        shown(period),
                        shown(shortest),
                        WINDOW_PERIOD_COUNT_MIN
                    ),
                );
            }
        }
    }

    fn submit(&self) -> v1::SubmitRequest {
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
            treatments: models.into_iter().flatten().chain(traces).collect(),
            design: Some(self.wire_design()),
            dry_run: false,
        }
    }

    fn wire_design(&self) -> v1::Design {
        let dataset = self.dataset.as_ref().filter(|_| !self.models.is_empty()).map(|loaded| &loaded.dataset);
        v1::Design {
            experiment: self.design.name.value.clone(),
            dataset: dataset.map(|dataset| dataset.kind.to_string()).unwrap_or_default(),
            nodes: self.design.nodes.iter().map(|node| node.value.to_string()).collect(),
            channel: self.design.channel.as_ref().map(|channel| channel.value.to_string()).unwrap_or_default(),
            replicate_count: self.design.replicate_count.value,
            seed: self.design.seed,
            attempt_count_max: self.design.attempt_count_max,
            class_names: dataset.map(|dataset| dataset.class_names.clone()).unwrap_or_default(),
            carbon: None,
        }
    }

    fn inference(&self, model: &LoadedModel, dataset: &LoadedDataset) -> v1::Treatment {
        let windows = &self.design.windows;
        let workload = v1::InferenceWorkload {
            runtime: model.runtime.value.clone(),
            model: Some(model.artifact.reference()),
            inputs: Some(dataset.artifact.reference()),
            thread_count: model.thread_count.value,
            warm_up_inference_count: windows.warm_up_inference_count,
            idle_ns: nanoseconds(windows.idle.value),
            active_ns: nanoseconds(windows.active.value),
            cool_down_ns: nanoseconds(windows.cool_down),
            input_scale: model.input_scale.unwrap_or(dataset.dataset.input_scale),
            input_offset: model.input_offset.unwrap_or(dataset.dataset.input_offset),
            ..v1::InferenceWorkload::default()
        };
        v1::Treatment {
            name: model.name.clone(),
            workload: Some(v1::treatment::Workload::Inference(workload)),
            model_file_bytes: model.artifact.content.len() as u64,
            precision: model.precision.to_string(),
            ..v1::Treatment::default()
        }
    }

    fn artifacts(&self) -> Vec<Artifact> {
        let dataset = self.dataset.iter().filter(|_| !self.models.is_empty()).map(|loaded| &loaded.artifact);
        let models = self.models.iter().map(|model| &model.artifact);
        let traces = self.traces.iter().map(|trace| &trace.artifact);
        let mut artifacts: Vec<Artifact> = Vec::new();
        for artifact in dataset.chain(models).chain(traces) {
            if artifacts.iter().all(|known| known.sha256 != artifact.sha256) {
                artifacts.push(artifact.clone());
            }
        }
        artifacts
    }
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
