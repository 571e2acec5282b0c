//! The trials of one run: which comes next, which never will, and when all is done.

use std::collections::BTreeSet;

use tinywatt_proto::ids::{NodeId, RunId};

use super::reach::{Reach, unreachable};
use super::{Counts, RunEnd, TrialPlan};

/// Trials that one announcement names; of more it gives the number.
const SKIPPED_NAMED_MAX: usize = 8;

/// A run that goes on.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) run: RunId,
    pub(super) attempt_count_max: u32,
    pub(super) trials: Vec<Trial>,
    pub(super) invalid_attempt_count: u32,
}

/// One of its trials.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) plan: TrialPlan,
    pub(super) attempt_count: u32,
    pub(super) status: Status,
}

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Open,
    Valid,
    Exhausted,
    /// Never executed: what it needs can never be valid.
    Skipped,
}

impl Run {
    /// As it was submitted, or found at a restart.
    pub(super) fn new(run: RunId, attempt_count_max: u32, trials: Vec<TrialPlan>, invalid_attempt_count: u32) -> Self {
        let trials = trials.into_iter().map(|plan| Trial {
            attempt_count: plan.attempt_count,
            status: match (plan.is_valid, plan.attempt_count < attempt_count_max) {
                (true, _) => Status::Valid,
                (false, true) => Status::Pending,
                (false, false) => Status::Exhausted,
            },
            plan,
        });
        Self { run, attempt_count_max, trials: trials.collect(), invalid_attempt_count }
    }

    /// The trial that the node executes next: first by block, then by the number of attempts it has had, of those that
    /// have all they need.
    pub(super) fn next(&self, node: &NodeId) -> Option<u32> {
        let waiting = self.trials.iter().zip(0u32..);
        let waiting = waiting.filter(|(trial, _)| {
            trial.status == Status::Pending && trial.plan.node == *node && self.has_what_it_needs(trial)
        });
        waiting.min_by_key(|(trial, index)| (trial.plan.block, trial.attempt_count, *index)).map(|(_, index)| index)
    }

    fn has_what_it_needs(&self, trial: &Trial) -> bool {
        trial.plan.needs.iter().all(|needed| self.trial(*needed).is_some_and(|needed| needed.status == Status::Valid))
    }

    fn trial(&self, index: u32) -> Option<&Trial> {
        self.trials.get(usize::try_from(index).ok()?)
    }

    /// Skips every trial that can never be executed, and says why; `None` when there is none.
    pub(super) fn skip(&mut self) -> Option<String> {
        let needs: Vec<&[u32]> = self.trials.iter().map(|trial| trial.plan.needs.as_slice()).collect();
        let lost = unreachable(&needs, |trial| match self.trials[trial].status {
            Status::Valid | Status::Open => Reach::Valid,
            Status::Pending => Reach::ByNeeds,
            Status::Exhausted | Status::Skipped => Reach::Never,
        });
        let lost: Vec<usize> = lost.into_iter().filter(|trial| self.trials[*trial].status == Status::Pending).collect();
        lost.iter().for_each(|trial| self.trials[*trial].status = Status::Skipped);
        (!lost.is_empty()).then(|| self.skipped_text(&lost))
    }

    /// How it ends, once there is nothing left to execute.
    pub(super) fn end(&self) -> Option<RunEnd> {
        let is_left = |trial: &Trial| matches!(trial.status, Status::Pending | Status::Open);
        let is_complete = self.trials.iter().all(|trial| trial.status == Status::Valid);
        let end = if is_complete { RunEnd::Completed } else { RunEnd::Incomplete };
        (!self.trials.iter().any(is_left)).then_some(end)
    }

    /// Names the trials just skipped, and those that they miss.
    fn skipped_text(&self, skipped: &[usize]) -> String {
        let needs = skipped.iter().flat_map(|trial| &self.trials[*trial].plan.needs);
        let missed: BTreeSet<u32> = needs
            .filter(|needed| self.trial(**needed).is_none_or(|needed| needed.status == Status::Exhausted))
            .copied()
            .collect();
        let missed: Vec<String> = missed
            .into_iter()
            .map(|index| {
                let treatment =
                    self.trial(index).map_or("a treatment that is not there", |trial| &trial.plan.treatment);
                format!("{treatment}, trial {index}")
            })
            .collect();
        let missed = if missed.is_empty() { "each other".to_owned() } else { missed.join(" and ") };
        let named = skipped.iter().take(SKIPPED_NAMED_MAX);
        let named: Vec<_> =
            named.map(|trial| format!("{}, trial {trial}", self.trials[*trial].plan.treatment)).collect();
        let more = match skipped.len().saturating_sub(SKIPPED_NAMED_MAX) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let are = if skipped.len() == 1 { "1 trial is" } else { &format!("{} trials are", skipped.len()) };
        format!("{are} skipped for want of {missed}, which has no valid attempt: {}{more}", named.join("; "))
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |trials: usize| u32::try_from(trials).expect("the submission's check bounds the number of trials");
        Counts {
            trial_count: count(self.trials.len()),
            valid_count: count(self.trials.iter().filter(|trial| trial.status == Status::Valid).count()),
            invalid_attempt_count: self.invalid_attempt_count,
            skipped_count: count(self.trials.iter().filter(|trial| trial.status == Status::Skipped).count()),
        }
    }
}
