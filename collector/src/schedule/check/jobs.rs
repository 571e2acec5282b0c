//! Jobs: whether they can be started, and whether what they need is made before.

use std::collections::{BTreeMap, BTreeSet};

use tinywatt_proto::v1;
use tinywatt_proto::v1::job_input::Source;
use tinywatt_proto::v1::treatment::Workload;

use super::{Check, duplicates};

/// The name under which nodes list that they execute jobs.
pub(super) const RUNTIME: &str = "job";

/// What a job reads that must be there before it.
pub(super) fn artifacts(job: &v1::JobWorkload) -> Vec<(String, Option<&v1::ArtifactRef>)> {
    let mut artifacts = Vec::new();
    for input in &job.inputs {
        if let Some(Source::Artifact(artifact)) = &input.source {
            artifacts.push((format!("input '{}'", input.name), Some(artifact)));
        }
    }
    artifacts
}

impl Check<'_> {
    /// Looks at a job by itself, and at what it needs of others.
    pub(super) fn job(&mut self, treatment: &v1::Treatment) {
        let Some(Workload::Job(job)) = &treatment.workload else { return };
        let name = &treatment.name;
        let mut wrong = |problem: &str| self.problem(format!("{name}: {problem}"));
        if treatment.nodes.len() != 1 {
            wrong("a job is executed on exactly one node: list that one");
        }
        if job.kind() == v1::JobKind::Unspecified {
            wrong("it says not whether it trains, optimises or builds");
        }
        if job.device() == v1::JobDevice::Unspecified {
            wrong("it says not whether it uses the CPU or a GPU");
        }
        if job.command.first().is_none_or(String::is_empty) {
            wrong("it has no command: name the program that executes it");
        }
        if job.thread_count == 0 {
            wrong("0 threads train nothing: use 1 or more");
        }
        if job.time_limit_ns == 0 {
            wrong("a time limit of 0 ends it at once: use one above");
        }
        if job.output_bytes_max == 0 {
            wrong("with 0 bytes of output it can give no result: use more");
        }
        let config = serde_json::from_str::<serde_json::Value>(&job.config_json);
        if !config.is_ok_and(|config| config.is_object()) {
            wrong("its configuration is no JSON object");
        }
        let twice = duplicates(job.inputs.iter().map(|input| &input.name));
        if let Some(input) = twice.first() {
            wrong(&format!("its input '{input}' is there twice"));
        }
        for input in &job.inputs {
            match &input.source {
                Some(Source::Produced(produced)) => self.produced(name, &format!("input '{}'", input.name), produced),
                Some(Source::Artifact(_)) => {}
                None => self.problem(format!("{name}: its input '{}' comes from nowhere", input.name)),
            }
        }
    }

    /// Checks that a job of this run makes what is asked for.
    pub(super) fn produced(&mut self, name: &str, what: &str, produced: &v1::Produced) {
        let v1::Produced { treatment, role } = produced;
        match self.treatments.iter().find(|other| other.name == *treatment) {
            None => self.problem(format!("{name}: its {what} is to come from '{treatment}', which is not here")),
            Some(other) if !matches!(other.workload, Some(Workload::Job(_))) => {
                self.problem(format!("{name}: its {what} is to come from '{treatment}', which is no job"));
            }
            Some(_) if role.is_empty() => {
                self.problem(format!("{name}: it says not what its {what} is among what '{treatment}' makes"));
            }
            Some(_) => {}
        }
    }

    /// Notes jobs that, in the end, wait for themselves.
    pub(super) fn circles(&mut self) {
        let needs: BTreeMap<&str, Vec<&str>> =
            self.treatments.iter().map(|treatment| (treatment.name.as_str(), needed(treatment))).collect();
        let mut circular = Vec::new();
        for &name in needs.keys() {
            let (mut seen, mut open) = (BTreeSet::new(), needs[name].clone());
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    open.extend(needs.get(next).into_iter().flatten());
                }
            }
            if seen.contains(name) {
                circular.push(name.to_owned());
            }
        }
        if !circular.is_empty() {
            self.problem(format!("{}: each waits, in the end, for itself: break the circle", circular.join(", ")));
        }
    }

    /// Notes jobs for a GPU on a node that has none.
    pub(super) fn gpu(&mut self, node: &str, treatments: &[&v1::Treatment], machine: Option<&v1::Machine>) {
        let wants_gpu = |treatment: &&&v1::Treatment| matches!(&treatment.workload, Some(Workload::Job(job)) if job.device() == v1::JobDevice::Gpu);
        if let Some(treatment) = treatments.iter().find(wants_gpu)
            && machine.is_none_or(|machine| machine.gpus.is_empty())
        {
            let name = &treatment.name;
            self.problem(format!("{node}: it has no GPU, which '{name}' asks for: use the CPU, or another node"));
        }
    }
}

/// Treatments that a job waits for. Others make nothing, so nobody waits for them.
fn needed(treatment: &v1::Treatment) -> Vec<&str> {
    let Some(Workload::Job(job)) = &treatment.workload else { return Vec::new() };
    let mut needed = Vec::new();
    for input in &job.inputs {
        if let Some(Source::Produced(produced)) = &input.source {
            needed.push(produced.treatment.as_str());
        }
    }
    needed
}
