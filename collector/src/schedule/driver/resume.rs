//! From rows of the store to what the state machine is told: at a restart, and for a new run.

use std::sync::Arc;

use tinywatt_proto::ids::RunId;
use tinywatt_proto::v1;

use super::handle::Submission;
use super::{Driver, DriverError, SubmitError, run_id, workload_of};
use crate::clock;
use crate::schedule::workload::time_limit;
use crate::schedule::{Event, OpenAttempt, RunPlan, TrialPlan};
use crate::store::{AttemptRow, CatalogueError, RunRow};

/// Draws for an unused id. With a thousand runs of one experiment the first is taken once in a thousand times.
const ID_DRAW_COUNT_MAX: u32 = 8;

impl Driver {
    /// Goes on with every run that had not ended, in the order of their submission.
    pub(super) async fn take_up_runs(&mut self) -> Result<(), DriverError> {
        let rows = self.store.runs().await.map_err(DriverError::Read)?;
        for row in rows.into_iter().filter(|row| row.state == v1::RunState::Running) {
            let attempts = self.store.attempts(&row.run).await.map_err(DriverError::Read)?;
            let mut open_attempts = Vec::new();
            for open in attempts.iter().filter(|attempt| attempt.result.is_none()) {
                let has_outcome = self.store.outcome(&open.attempt).await.map_err(DriverError::Read)?.is_some();
                if !has_outcome {
                    // Until its agent tells how far it is.
                    let trial = Some(v1::TrialKey::from(&open.attempt));
                    self.progress.insert(open.node.clone(), v1::Progress { trial, ..Default::default() });
                }
                open_attempts.push(OpenAttempt { attempt: open.attempt.clone(), boot: open.boot, has_outcome });
            }
            tracing::info!(run = %row.run, open_attempts = open_attempts.len(), "run taken up");
            let plan = run_plan(&row, &attempts, open_attempts);
            self.runs.insert(row.run.clone(), Arc::new(row));
            self.step(Event::RunSubmitted(plan)).await?;
        }
        Ok(())
    }

    /// Keeps a new run, under an id that no other has.
    pub(super) async fn submit(&mut self, submission: Submission) -> Result<RunId, SubmitError> {
        let Submission { submit, trials } = submission;
        let experiment = submit.design.as_ref().map_or_else(String::new, |design| design.experiment.clone());
        let name = || SubmitError::Name(experiment.clone());
        let mut row = RunRow {
            run: run_id::random(&experiment).ok_or_else(name)?,
            experiment: experiment.clone(),
            submit,
            trials,
            started_unix_ns: clock::unix_ns(),
            state: v1::RunState::Running,
            ended_unix_ns: None,
        };
        let mut draw_count = 1;
        loop {
            match self.store.create_run(row.clone()).await {
                Ok(()) => break,
                Err(CatalogueError::RunExists { .. }) if draw_count < ID_DRAW_COUNT_MAX => {
                    row.run = run_id::random(&experiment).ok_or_else(name)?;
                    draw_count += 1;
                }
                Err(error) => return Err(SubmitError::Store(error)),
            }
        }
        let run = row.run.clone();
        self.runs.insert(run.clone(), Arc::new(row));
        Ok(run)
    }

    /// Begins a run that was just kept.
    pub(super) async fn begin(&mut self, run: &RunId) -> Result<(), DriverError> {
        let plan = run_plan(&self.runs[run], &[], Vec::new());
        tracing::info!(%run, trials = plan.trials.len(), "run submitted");
        self.step(Event::RunSubmitted(plan)).await
    }
}

fn run_plan(row: &RunRow, attempts: &[AttemptRow], open_attempts: Vec<OpenAttempt>) -> RunPlan {
    let is_valid = |attempt: &AttemptRow| attempt.result.as_ref().is_some_and(|result| result.is_valid());
    let is_invalid = |attempt: &&AttemptRow| attempt.result.as_ref().is_some_and(|result| !result.is_valid());
    let trial = |planned: &v1::PlannedTrial| {
        let own = || attempts.iter().filter(|attempt| attempt.attempt.trial == planned.trial);
        TrialPlan {
            node: planned.node.parse().expect("the submission's check admits names only"),
            block: planned.block,
            treatment: planned.treatment.clone(),
            limit: time_limit(workload_of(row, planned)),
            needs: planned.needs.clone(),
            attempt_count: own().map(|attempt| attempt.attempt.attempt).max().unwrap_or(0),
            is_valid: own().any(is_valid),
        }
    };
    RunPlan {
        run: row.run.clone(),
        attempt_count_max: row.submit.design.as_ref().map_or(1, |design| design.attempt_count_max.max(1)),
        trials: row.trials.iter().map(trial).collect(),
        invalid_attempt_count: u32::try_from(attempts.iter().filter(is_invalid).count())
            .expect("the submission's check bounds trials and attempts"),
        open_attempts,
    }
}
