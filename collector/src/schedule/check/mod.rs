//! Whether what was submitted can be executed here: nodes, channels, runtimes, artifacts, windows.
//!
//! Pure. Finds all problems at once, so that nobody has to submit ten times to learn of ten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tinywatt_proto::ids::{NodeId, Sha256};
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;

use super::EXPERIMENT_BYTES_MAX;
use crate::store::NodeRow;

/// Sample periods that a window must hold. Each edge is known to within one period, so the energy of the window to
/// within one period of the power's change there: below 1 % from 100 periods on, even for a load that switches fully.
pub const WINDOW_PERIOD_COUNT_MIN: u32 = 100;

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
    for treatment in &submit.treatments {
        check.artifacts(treatment, &has_artifact);
        check.settings(treatment);
    }
    for name in &design.nodes {
        check.node(name, nodes);
    }
    check.problems
}

struct Check<'a> {
    problems: Vec<String>,
    design: &'a v1::Design,
    treatments: &'a [v1::Treatment],
}

impl Check<'_> {
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
        let trial_count = u64::from(design.replicate_count)
            .saturating_mul(count(design.nodes.len()))
            .saturating_mul(count(self.treatments.len()));
        if trial_count > TRIAL_COUNT_MAX {
            self.problem(format!(
                "replicates: {} replicates of {} treatments on {} nodes are {trial_count} trials, more than \
                 {TRIAL_COUNT_MAX}: use several experiments",
                design.replicate_count,
                self.treatments.len(),
                design.nodes.len()
            ));
        }
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
                vec![("model", inference.model.as_ref()), ("input set", inference.inputs.as_ref())]
            }
            Some(Workload::Replay(replay)) => vec![("recording", replay.trace.as_ref())],
            Some(Workload::Job(_)) => vec![],
            None => {
                self.problem(format!("{name}: it says neither what to infer nor what to replay"));
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
    }

    fn node(&mut self, name: &str, nodes: &[NodeRow]) {
        let Some(row) = nodes.iter().find(|row| row.node.as_str() == name) else {
            let known: Vec<&str> = nodes.iter().map(|row| row.node.as_str()).collect();
            let known = if known.is_empty() { "none has registered yet".to_owned() } else { known.join(", ") };
            self.problem(format!("{name}: no such node: start its agent, or use one of those registered ({known})"));
            return;
        };
        let runtimes: BTreeSet<&str> = row.capabilities.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
        for runtime in self.treatments.iter().filter_map(runtime).collect::<BTreeSet<_>>() {
            if !runtimes.contains(runtime) {
                let there: Vec<&str> = runtimes.iter().copied().collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                self.problem(format!(
                    "{name}: it cannot execute '{runtime}' (it has: {there}): run 'agent check' there, it says what is \
                     missing"
                ));
            }
        }
        // A recording brings its own channel.
        if self.treatments.iter().any(|treatment| matches!(treatment.workload, Some(Workload::Inference(_)))) {
            self.channel(name, &row.capabilities.channels);
        }
    }

    fn channel(&mut self, node: &str, channels: &[v1::Channel]) {
        let wanted = self.design.channel.as_str();
        // A recording cannot measure what happens now.
        let channels: Vec<_> =
            channels.iter().filter(|channel| channel.kind() != v1::FigureKind::MeasuredElsewhere).collect();
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        let found: Vec<&v1::Channel> =
            channels.iter().copied().filter(|channel| wanted.is_empty() || channel.name == wanted).collect();
        match found[..] {
            [channel] => self.windows(node, channel),
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

    fn windows(&mut self, node: &str, channel: &v1::Channel) {
        let min_ns = channel.sample_period_ns.saturating_mul(u64::from(WINDOW_PERIOD_COUNT_MIN));
        for treatment in self.treatments {
            let Some(Workload::Inference(inference)) = &treatment.workload else { continue };
            for (window, window_ns) in [("idle", inference.idle_ns), ("active", inference.active_ns)] {
                if window_ns < min_ns {
                    self.problem(format!(
                        "{}: an {window} window of {} is too short for channel '{}' of {node}, which gives a reading \
                         every {}: use {} or more",
                        treatment.name,
                        duration(window_ns),
                        channel.name,
                        duration(channel.sample_period_ns),
                        duration(min_ns)
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
        Workload::Job(_) => Some("job"),
    }
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
mod tests {
    use tinywatt_proto::ids::BootId;

    use super::*;

    const MODEL: Sha256 = Sha256([1; 32]);
    const INPUTS: Sha256 = Sha256([2; 32]);

    fn artifact(sha256: Sha256, name: &str) -> Option<v1::ArtifactRef> {
        Some(v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: 1, name: name.to_owned() })
    }

    fn good() -> v1::SubmitRequest {
        let inference = v1::InferenceWorkload {
            runtime: "litert".to_owned(),
            model: artifact(MODEL, "cnn.tflite"),
            inputs: artifact(INPUTS, "digits"),
            thread_count: 1,
            idle_ns: 1_000_000_000,
            active_ns: 1_000_000_000,
            input_scale: 1.0,
            ..Default::default()
        };
        let treatment = v1::Treatment {
            name: "cnn".to_owned(),
            workload: Some(Workload::Inference(inference)),
            ..Default::default()
        };
        let design = v1::Design {
            experiment: "digits".to_owned(),
            nodes: vec!["pi".to_owned()],
            replicate_count: 1,
            attempt_count_max: 3,
            ..Default::default()
        };
        v1::SubmitRequest { treatments: vec![treatment], design: Some(design), ..Default::default() }
    }

    fn pi() -> NodeRow {
        let channel = v1::Channel { name: "rail".to_owned(), sample_period_ns: 1_000_000, ..Default::default() };
        let runtime = v1::Runtime { name: "litert".to_owned(), version: "1".to_owned() };
        NodeRow {
            node: "pi".parse().expect("a name"),
            agent_version: String::new(),
            capabilities: v1::Capabilities { channels: vec![channel], runtimes: vec![runtime], ..Default::default() },
            last_seen_unix_ns: 0,
            boot: BootId::random(),
        }
    }

    fn inference(request: &mut v1::SubmitRequest) -> &mut v1::InferenceWorkload {
        match &mut request.treatments[0].workload {
            Some(Workload::Inference(inference)) => inference,
            other => panic!("{other:?}"),
        }
    }

    /// Spoils a good submission, and expects one problem with each of the words.
    #[track_caller]
    fn expect_problem(spoil: impl FnOnce(&mut v1::SubmitRequest, &mut NodeRow), words: &[&str]) {
        let (mut request, mut node) = (good(), pi());
        spoil(&mut request, &mut node);
        let problems = check(&request, &[node], |sha256| sha256 == MODEL || sha256 == INPUTS);
        assert_eq!(problems.len(), 1, "{problems:?}");
        for word in words {
            assert!(problems[0].contains(word), "'{word}' is not in '{}'", problems[0]);
        }
    }

    fn design(request: &mut v1::SubmitRequest) -> &mut v1::Design {
        request.design.as_mut().expect("it has one")
    }

    #[test]
    fn a_good_submission_has_no_problem() {
        assert_eq!(check(&good(), &[pi()], |_| true), [""; 0]);
    }

    #[test]
    fn an_unknown_node_is_named_with_those_that_are_known() {
        expect_problem(|request, _| design(request).nodes = vec!["pie".to_owned()], &["pie", "(pi)"]);
    }

    #[test]
    fn zero_replicates_and_zero_attempts_are_refused() {
        expect_problem(|request, _| design(request).replicate_count = 0, &["replicates: 0"]);
        expect_problem(|request, _| design(request).attempt_count_max = 0, &["attempts: 0"]);
        expect_problem(|request, _| design(request).attempt_count_max = 11, &["attempts: 11", "1 to 10"]);
    }

    #[test]
    fn an_endless_list_is_refused() {
        expect_problem(|request, _| design(request).replicate_count = u32::MAX, &["4294967295 trials", "20000"]);
    }

    #[test]
    fn a_window_shorter_than_the_sensor_allows_names_the_least() {
        expect_problem(
            |request, _| inference(request).active_ns = 99_000_000,
            &["cnn", "99ms", "rail", "100ms or more"],
        );
        expect_problem(|request, _| inference(request).idle_ns = 0, &["cnn", "an idle window of 0s", "pi"]);
    }

    #[test]
    fn a_channel_must_exist_and_be_the_only_one_or_named() {
        expect_problem(|request, _| design(request).channel = "gpu".to_owned(), &["pi", "'gpu'", "rail"]);
        expect_problem(|_, node| node.capabilities.channels.clear(), &["pi", "[[sensor]]"]);
        let second = |node: &mut NodeRow| {
            let channel = v1::Channel { name: "gpu".to_owned(), ..Default::default() };
            node.capabilities.channels.push(channel);
        };
        expect_problem(|_, node| second(node), &["several", "rail, gpu"]);
        let mut node = pi();
        second(&mut node);
        let mut request = good();
        design(&mut request).channel = "rail".to_owned();
        assert_eq!(check(&request, &[node], |_| true), [""; 0]);
    }

    #[test]
    fn a_missing_runtime_tells_what_is_there() {
        expect_problem(|request, _| inference(request).runtime = "torch".to_owned(), &["pi", "'torch'", "litert"]);
        expect_problem(|_, node| node.capabilities.runtimes.clear(), &["'litert'", "none", "agent check"]);
    }

    #[test]
    fn a_missing_artifact_is_named() {
        let other = artifact(Sha256([3; 32]), "lost.tflite");
        expect_problem(|request, _| inference(request).model = other, &["cnn", "model lost.tflite", "0303"]);
        expect_problem(|request, _| inference(request).inputs = None, &["cnn", "input set"]);
    }

    #[test]
    fn names_must_be_unique() {
        expect_problem(|request, _| request.treatments.push(request.treatments[0].clone()), &["'cnn'", "twice"]);
        expect_problem(|request, _| design(request).experiment = "Digits!".to_owned(), &["'Digits!'", "a-z"]);
        expect_problem(|request, _| design(request).experiment = "x".repeat(49), &["1 to 48"]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        expect_problem(|request, _| inference(request).thread_count = 0, &["cnn", "threads"]);
        expect_problem(|request, _| inference(request).input_scale = f64::NAN, &["cnn", "NaN"]);
        expect_problem(|request, _| request.treatments[0].workload = None, &["cnn", "neither"]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let mut request = good();
        design(&mut request).replicate_count = 0;
        inference(&mut request).thread_count = 0;
        inference(&mut request).idle_ns = 0;
        assert_eq!(check(&request, &[pi()], |_| false).len(), 5);
    }

    #[test]
    fn a_recording_needs_no_channel() {
        let mut request = good();
        let replay = v1::ReplayWorkload { trace: artifact(MODEL, "trace") };
        request.treatments[0].workload = Some(Workload::Replay(replay));
        let mut node = pi();
        node.capabilities.channels.clear();
        node.capabilities.runtimes[0].name = "replay".to_owned();
        assert_eq!(check(&request, &[node], |_| true), [""; 0]);
    }
}
