//! What those who watch a run are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::v1;

use super::Driver;
use crate::schedule::Counts;
use crate::schedule::reach::{Reach, unreachable};
use crate::store::{AttemptRow, RunRow};

/// How far a run is, and what it executes now.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Grows with every change of any run: tells which of two snapshots is newer.
    pub revision: u64,
    /// How far it is.
    pub run: v1::RunSummary,
    /// The trials executing now.
    pub running: Vec<v1::Progress>,
}

/// Something about a run has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The run.
    pub run: RunId,
    /// What changed, for people; empty for mere progress.
    pub text: String,
    /// How things are now: enough to go on from, whatever was missed before.
    pub snapshot: Snapshot,
}

/// Sums up a run from what the store keeps of it.
pub fn summary(row: &RunRow, attempts: &[AttemptRow]) -> v1::RunSummary {
    let results = || attempts.iter().filter_map(|attempt| Some((attempt.attempt.trial, attempt.result.as_ref()?)));
    let valid: BTreeSet<u32> = results().filter(|(_, result)| result.is_valid()).map(|(trial, _)| trial).collect();
    let mut tries: BTreeMap<u32, u32> = BTreeMap::new();
    results().for_each(|(trial, _)| *tries.entry(trial).or_default() += 1);
    let attempt_count_max = row.submit.design.as_ref().map_or(1, |design| design.attempt_count_max.max(1));
    let needs: Vec<&[u32]> = row.trials.iter().map(|planned| planned.needs.as_slice()).collect();
    let tries = |index: usize| tries.get(&row.trials[index].trial).copied().unwrap_or(0);
    let lost = unreachable(&needs, |index| match row.trials[index].trial {
        trial if valid.contains(&trial) => Reach::Valid,
        _ if tries(index) >= attempt_count_max => Reach::Never,
        _ => Reach::ByNeeds,
    });
    let counts = Counts {
        trial_count: count(row.trials.len()),
        valid_count: count(valid.len()),
        invalid_attempt_count: count(results().filter(|(_, result)| !result.is_valid()).count()),
        skipped_count: count(lost.into_iter().filter(|index| tries(*index) < attempt_count_max).count()),
    };
    summarise(row, counts, row.state, row.ended_unix_ns)
}

fn summarise(row: &RunRow, counts: Counts, state: v1::RunState, ended_unix_ns: Option<u64>) -> v1::RunSummary {
    v1::RunSummary {
        run_id: row.run.to_string(),
        experiment: row.experiment.clone(),
        state: state.into(),
        trial_count: counts.trial_count,
        valid_count: counts.valid_count,
        invalid_attempt_count: counts.invalid_attempt_count,
        started_unix_ns: row.started_unix_ns,
        ended_unix_ns,
        skipped_count: counts.skipped_count,
    }
}

/// Most of a job's own words that is passed on: every watcher is sent them, several times a second.
const WORDS_BYTES_MAX: usize = 256;

fn shorten(words: &mut String) {
    words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
}

fn count(items: usize) -> u32 {
    u32::try_from(items).expect("a run's trials and attempts are bounded by the submission's check")
}

impl Driver {
    pub(super) fn snapshot(&self, run: &RunId) -> Option<Snapshot> {
        let (row, counts) = (self.runs.get(run)?, self.state.counts(run)?);
        let run = summarise(row, counts, v1::RunState::Running, None);
        Some(Snapshot { revision: self.revision, running: self.running(&row.run), run })
    }

    /// Tells all watchers of a run that has not ended.
    pub(super) fn announce(&mut self, run: &RunId, text: String, counts: Counts) {
        if let Some(row) = self.runs.get(run) {
            let summary = summarise(row, counts, v1::RunState::Running, None);
            self.publish(run, text, summary, self.running(run));
        }
    }

    /// Tells all watchers that a run has ended.
    pub(super) fn announce_end(&mut self, row: &RunRow, state: v1::RunState, at_unix_ns: u64, counts: Counts) {
        let text = match state {
            v1::RunState::Completed => "every trial is valid",
            v1::RunState::Cancelled => "the run was cancelled",
            _ => "the run ended with trials that stayed invalid",
        };
        let run = summarise(row, counts, state, Some(at_unix_ns));
        self.publish(&row.run, text.to_owned(), run, Vec::new());
    }

    pub(super) fn note_progress(&mut self, node: &NodeId, mut progress: v1::Progress) {
        if let Some(job) = &mut progress.job {
            shorten(&mut job.phase);
            shorten(&mut job.text);
        }
        let Some(known) = self.progress.get_mut(node).filter(|known| known.trial == progress.trial) else { return };
        *known = progress;
        let run = known.trial.as_ref().and_then(|trial| trial.run_id.parse::<RunId>().ok());
        if let Some(run) = run
            && let Some(snapshot) = self.snapshot(&run)
        {
            self.publish(&run, String::new(), snapshot.run, snapshot.running);
        }
    }

    pub(super) fn forget_progress(&mut self, attempt: &AttemptId) {
        let key = Some(v1::TrialKey::from(attempt));
        self.progress.retain(|_, progress| progress.trial != key);
    }

    fn running(&self, run: &RunId) -> Vec<v1::Progress> {
        let of_run =
            |progress: &&v1::Progress| progress.trial.as_ref().is_some_and(|trial| trial.run_id == run.as_str());
        self.progress.values().filter(of_run).cloned().collect()
    }

    fn publish(&mut self, id: &RunId, text: String, run: v1::RunSummary, running: Vec<v1::Progress>) {
        self.revision += 1;
        let snapshot = Snapshot { revision: self.revision, run, running };
        // An error means that nobody watches.
        let _ = self.changes.send(Arc::new(Change { run: id.clone(), text, snapshot }));
    }
}
