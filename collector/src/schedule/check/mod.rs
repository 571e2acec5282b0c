//! Whether what was submitted can be executed here: nodes, channels, runtimes, artifacts, windows.
//!
//! Jobs and what they make for others are looked at in `jobs`.
//!
//! Pure. Finds all problems at once, so that nobody has to submit ten times to learn of ten.

mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tinywatt_proto::ids::{NodeId, Sha256};
use tinywatt_proto::rail::Overlap;
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;

use super::EXPERIMENT_BYTES_MAX;
use crate::assess::{sample_period, window_advice, window_min};
use crate::store::NodeRow;

/// Trials of one run: their list fits several times into a message ([`tinywatt_proto::MESSAGE_BYTES_MAX`]) at 100
/// bytes a trial, and takes a week at 30 s each.
pub const TRIAL_COUNT_MAX: u64 = 20_000;

/// Attempts at one trial. What stays invalid ten times is no accident.
pub const ATTEMPT_COUNT_MAX: u32 = 10;

/// Lists everything that is wrong with a submission; empty when it can be executed.
pub fn check(submit: &v1::SubmitRequest, nodes: &[NodeRow], has_artifact: impl Fn(Sha256) -> bool) -> Vec<String> {
    let Some(design) = &submit.design else { return vec!["the request has no design".to_owned()] };
    let mut check = Check { problems: Vec::new(), design, treatments: &submit.treatments };
    check.design();
    check.treatments();
    check.carbon();
    for treatment in &submit.treatments {
        check.artifacts(treatment, &has_artifact);
        check.settings(treatment);
        check.job(treatment);
    }
    check.circles();
    for name in check.nodes() {
        check.node(name, nodes);
    }
    check.problems
}

struct Check<'a> {
    problems: Vec<String>,
    design: &'a v1::Design,
    treatments: &'a [v1::Treatment],
}

impl<'a> Check<'a> {
    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn design(&mut self) {
        let design = self.design;
        if design.experiment.len() > EXPERIMENT_BYTES_MAX || design.experiment.parse::<NodeId>().is_err() {
            self.problem(format!(
                "experiment: '{}' is not a name: use 1 to {EXPERIMENT_BYTES_MAX} of a-z, 0-9 and '-', beginning with a \
                 letter or digit",
                design.experiment
            ));
        }
        if design.replicate_count == 0 {
            self.problem("replicates: 0 executes nothing: use 1 or more, and 3 or more for an interval");
        }
        if !(1..=ATTEMPT_COUNT_MAX).contains(&design.attempt_count_max) {
            self.problem(format!(
                "attempts: {} is out of range: a trial gets 1 to {ATTEMPT_COUNT_MAX}",
                design.attempt_count_max
            ));
        }
        if design.nodes.is_empty() {
            self.problem("nodes: the list is empty: name at least one, 'collector nodes' lists them");
        }
        for node in duplicates(design.nodes.iter()) {
            self.problem(format!("nodes: '{node}' is listed twice: more trials on a node are replicates"));
        }
        let block = self.treatments.iter().map(|treatment| count(self.nodes_of(treatment).len())).sum::<u64>();
        let trial_count = u64::from(design.replicate_count).saturating_mul(block);
        if trial_count > TRIAL_COUNT_MAX {
            self.problem(format!(
                "replicates: {} replicates of {} treatments on {} nodes are {trial_count} trials, more than \
                 {TRIAL_COUNT_MAX}: use several experiments",
                design.replicate_count,
                self.treatments.len(),
                self.nodes().len()
            ));
        }
        for treatment in self.treatments {
            for node in duplicates(treatment.nodes.iter()) {
                self.problem(format!("{}: node '{node}' is listed twice", treatment.name));
            }
        }
    }

    fn carbon(&mut self) {
        let Some(carbon) = &self.design.carbon else { return };
        let (intensity, pue) = (carbon.intensity_g_per_kwh, carbon.pue);
        if !intensity.is_finite() || intensity <= 0.0 {
            self.problem(format!("carbon: an intensity of {intensity} g/kWh is none: state one above 0"));
        }
        if !pue.is_finite() || pue < 1.0 {
            self.problem(format!("carbon: a PUE of {pue} is none: it is 1 or more"));
        }
    }

    /// Nodes that execute a treatment.
    fn nodes_of(&self, treatment: &v1::Treatment) -> Vec<String> {
        if treatment.nodes.is_empty() { self.design.nodes.clone() } else { treatment.nodes.clone() }
    }

    /// Nodes that execute anything, and those of the design, each once.
    fn nodes(&self) -> Vec<&'a str> {
        let (design, treatments): (&'a v1::Design, &'a [v1::Treatment]) = (self.design, self.treatments);
        let mut nodes: Vec<&str> = Vec::new();
        let own = treatments.iter().flat_map(|treatment| &treatment.nodes);
        for node in design.nodes.iter().chain(own) {
            if !nodes.contains(&node.as_str()) {
                nodes.push(node);
            }
        }
        nodes
    }

    fn treatments(&mut self) {
        if self.treatments.is_empty() {
            self.problem("models: the list is empty: name at least one model or recording");
        }
        for name in duplicates(self.treatments.iter().map(|treatment| &treatment.name)) {
            self.problem(format!("models: '{name}' is there twice: give each model a name of its own"));
        }
        if self.treatments.iter().any(|treatment| treatment.name.is_empty()) {
            self.problem("models: one has no name");
        }
    }

    fn artifacts(&mut self, treatment: &v1::Treatment, has_artifact: impl Fn(Sha256) -> bool) {
        let name = &treatment.name;
        let wanted = match &treatment.workload {
            Some(Workload::Inference(inference)) => {
                let model = ("model".to_owned(), inference.model.as_ref());
                let inputs = ("input set".to_owned(), inference.inputs.as_ref());
                // A model that the run makes is there once its job has ended.
                if inference.model_from.is_some() { vec![inputs] } else { vec![model, inputs] }
            }
            Some(Workload::Replay(replay)) => vec![("recording".to_owned(), replay.trace.as_ref())],
            Some(Workload::Job(job)) => jobs::artifacts(job),
            None => {
                self.problem(format!("{name}: it says neither what to infer nor what to replay, and names no job"));
                vec![]
            }
        };
        for (what, artifact) in wanted {
            let sha256 = artifact.and_then(|artifact| Sha256::from_bytes(&artifact.sha256));
            let file = artifact.map_or("", |artifact| artifact.name.as_str());
            match sha256 {
                None => self.problem(format!("{name}: its {what} is not named by a SHA-256")),
                Some(sha256) if !has_artifact(sha256) => self.problem(format!(
                    "{name}: its {what} {file} ({sha256}) is not in the collector: put it there before, as 'collector \
                     schedule' does"
                )),
                Some(_) => {}
            }
        }
    }

    fn settings(&mut self, treatment: &v1::Treatment) {
        let Some(Workload::Inference(inference)) = &treatment.workload else { return };
        let name = &treatment.name;
        if inference.thread_count == 0 {
            self.problem(format!("{name}: 0 threads infer nothing: use 1 or more"));
        }
        let (scale, offset) = (inference.input_scale, inference.input_offset);
        if !scale.is_finite() || scale == 0.0 || !offset.is_finite() {
            self.problem(format!("{name}: an input scale of {scale} with offset {offset} makes no inputs"));
        }
        match (&inference.model_from, &inference.model) {
            (Some(_), Some(_)) => {
                self.problem(format!("{name}: it names a model and a job that makes one: leave one of them out"));
            }
            (Some(produced), None) => self.produced(name, "model", produced),
            (None, _) => {}
        }
    }

    fn node(&mut self, name: &str, nodes: &[NodeRow]) {
        let Some(row) = nodes.iter().find(|row| row.node.as_str() == name) else {
            let known: Vec<&str> = nodes.iter().map(|row| row.node.as_str()).collect();
            let known = if known.is_empty() { "none has registered yet".to_owned() } else { known.join(", ") };
            self.problem(format!("{name}: no such node: start its agent, or use one of those registered ({known})"));
            return;
        };
        let here = |treatment: &&v1::Treatment| self.nodes_of(treatment).iter().any(|node| node == name);
        let treatments: Vec<&v1::Treatment> = self.treatments.iter().filter(here).collect();
        let runtimes: BTreeSet<&str> = row.capabilities.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
        for runtime in treatments.iter().filter_map(|treatment| runtime(treatment)).collect::<BTreeSet<_>>() {
            if !runtimes.contains(runtime) {
                let there: Vec<&str> = runtimes.iter().copied().collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                let way_out = if runtime == jobs::RUNTIME {
                    "set enabled = true under [jobs] in its agent.toml and restart its agent"
                } else {
                    "run 'agent check' there, it says what is missing"
                };
                self.problem(format!("{name}: it cannot execute '{runtime}' (it has: {there}): {way_out}"));
            }
        }
        self.gpu(name, &treatments, row.capabilities.machine.as_ref());
        // Each channel is looked at once, with all windows that it has to measure, and so is each set of channels that
        // measure together. A recording brings its own channel.
        let mut by_channel: BTreeMap<&str, Vec<&v1::Treatment>> = BTreeMap::new();
        let mut sets: BTreeSet<Vec<&str>> = BTreeSet::new();
        for treatment in treatments.into_iter().filter(|it| !matches!(it.workload, Some(Workload::Replay(_)) | None)) {
            let first = if treatment.channel.is_empty() { &self.design.channel } else { &treatment.channel };
            let together: Vec<&str> =
                std::iter::once(first).chain(&treatment.further_channels).map(String::as_str).collect();
            for channel in &together {
                by_channel.entry(channel).or_default().push(treatment);
            }
            sets.insert(together);
        }
        // A recording cannot measure what happens now.
        let is_sensor = |channel: &&v1::Channel| channel.kind() != v1::FigureKind::MeasuredElsewhere;
        let sensors: Vec<&v1::Channel> = row.capabilities.channels.iter().filter(is_sensor).collect();
        for (channel, treatments) in by_channel {
            self.channel(name, channel, &treatments, &sensors);
        }
        for together in sets {
            self.sum(name, &together, &sensors);
        }
    }

    /// Notes what must not be added up of the channels that measure together.
    fn sum(&mut self, node: &str, together: &[&str], channels: &[&v1::Channel]) {
        // What is not there, or not named among several, is a problem of its own.
        let measuring: Vec<&v1::Channel> = together
            .iter()
            .filter_map(|wanted| match named(wanted, channels)[..] {
                [channel] => Some(channel),
                _ => None,
            })
            .collect();
        let twice = duplicates(measuring.iter().map(|channel| &channel.name)).into_iter().map(|name| {
            format!("{node}: channel '{name}' is named twice, and its energy would count twice: name each channel once")
        });
        let each: BTreeMap<&str, &v1::Channel> =
            measuring.iter().map(|channel| (channel.name.as_str(), *channel)).collect();
        let overlaps = Overlap::among(&each.into_values().collect::<Vec<_>>()).into_iter();
        let overlaps = overlaps.map(|overlap| format!("{node}: {overlap}; name one of the two"));
        // Assessing refuses that, too, when the hours that a job took are spent.
        let kinds = measuring.iter().any(|channel| channel.kind != measuring[0].kind).then(|| {
            let names: Vec<&str> = measuring.iter().map(|channel| channel.name.as_str()).collect();
            format!(
                "{node}: channels {} are of different kinds, and a measured joule is never added to an estimated one: \
                 'collector nodes' lists the kinds, name channels of one",
                names.join(", ")
            )
        });
        for problem in twice.chain(overlaps).chain(kinds) {
            // Other channels beside these make no other problem.
            if !self.problems.contains(&problem) {
                self.problem(problem);
            }
        }
    }

    fn channel(&mut self, node: &str, wanted: &str, treatments: &[&v1::Treatment], channels: &[&v1::Channel]) {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        match named(wanted, channels)[..] {
            [channel] => self.windows(node, treatments, channel),
            [] if channels.is_empty() => self.problem(format!(
                "{node}: it has no channel to measure with: add a [[sensor]] to the agent's configuration"
            )),
            [] => self.problem(format!("{node}: it has no channel '{wanted}', but: {}", names.join(", "))),
            _ => self.problem(format!(
                "{node}: it has several channels ({}): say with 'channel' which one measures",
                names.join(", ")
            )),
        }
    }

    fn windows(&mut self, node: &str, treatments: &[&v1::Treatment], channel: &v1::Channel) {
        let min = window_min(channel);
        for treatment in treatments {
            let windows = match &treatment.workload {
                Some(Workload::Inference(inference)) => {
                    vec![("an idle window", inference.idle_ns), ("an active window", inference.active_ns)]
                }
                // How long the job itself takes is known when it has ended; assessing refuses one that was too short. One
                // that may not take so long is known now. Nobody asks what building takes.
                Some(Workload::Job(job)) if job.kind() == v1::JobKind::Build || job.time_limit_ns == 0 => {
                    vec![("an idle window", job.idle_ns)]
                }
                Some(Workload::Job(job)) => {
                    vec![("an idle window", job.idle_ns), ("a time limit", job.time_limit_ns)]
                }
                _ => vec![],
            };
            for (window, window_ns) in windows {
                if Duration::from_nanos(window_ns) < min {
                    self.problem(format!(
                        "{}: {window} of {} is too short for channel '{}' of {node}, which gives a reading \
                         every {}: use {} or more{}",
                        treatment.name,
                        duration(window_ns),
                        channel.name,
                        humantime::format_duration(sample_period(channel)),
                        humantime::format_duration(min),
                        window_advice(channel)
                    ));
                }
            }
        }
    }
}

fn runtime(treatment: &v1::Treatment) -> Option<&str> {
    match treatment.workload.as_ref()? {
        Workload::Inference(inference) => Some(&inference.runtime),
        Workload::Replay(_) => Some("replay"),
        Workload::Job(_) => Some(jobs::RUNTIME),
    }
}

/// The channels of a name; no name means any.
fn named<'a>(wanted: &str, channels: &[&'a v1::Channel]) -> Vec<&'a v1::Channel> {
    channels.iter().copied().filter(|channel| wanted.is_empty() || channel.name == wanted).collect()
}

fn duplicates<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

fn duration(ns: u64) -> String {
    humantime::format_duration(Duration::from_nanos(ns)).to_string()
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
