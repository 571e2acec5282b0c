//! The executor: takes orders, one assignment at a time, and sees to it that each ends with an outcome.

use std::pin::pin;
use std::time::Duration;

use tinywatt_proto::ids::BootId;
use tinywatt_proto::time::Window;
use tinywatt_proto::v1;
use tinywatt_proto::v1::assignment::Workload;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::trial_outcome;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Bench, Board, Order};
use super::error::Failed;
use super::{Equipment, Launch, TrialError};
use crate::clock::Clock;
use crate::spool::{AppendError, Spool, SpoolBroken};

/// Time between tries to append to a full spool: it empties when the collector is back, which takes seconds anyway.
pub(super) const FULL_PAUSE: Duration = Duration::from_secs(1);

/// How long an agent that stops waits for its last outcome to get into the spool: a commit, or a spool that is full.
const LAST_OUTCOME_LIMIT: Duration = Duration::from_secs(2);

/// How long a job may take to end that is to end: its processes' own limit, and that of its log's way to the collector.
const WIND_UP_LIMIT: Duration = Duration::from_secs(30);

/// Executes assignments.
#[derive(Debug)]
pub struct Executor<C, L> {
    workshop: Workshop<C, L>,
    orders: mpsc::Receiver<Order>,
}

/// What an assignment is executed with.
#[derive(Debug)]
pub(super) struct Workshop<C, L> {
    pub(super) equipment: Equipment<C, L>,
    pub(super) board: Board,
}

/// What was executed, and where its samples are.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) samples_boot: BootId,
    pub(super) samples_channel: u32,
    pub(super) samples_further_channels: Vec<u32>,
    pub(super) completed: v1::Completed,
}

impl<C: Clock + Sync, L: Launch> Executor<C, L> {
    /// Makes an executor that takes its orders from `bench`.
    pub fn new(equipment: Equipment<C, L>, bench: Bench) -> Self {
        Self { workshop: Workshop { equipment, board: bench.board }, orders: bench.orders }
    }

    /// Executes until `stop` is cancelled. What is executing then ends with an outcome that says so.
    ///
    /// # Errors
    /// When the spool is broken.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SpoolBroken> {
        loop {
            let order = tokio::select! {
                order = self.orders.recv() => order,
                () = stop.cancelled() => None,
            };
            match order {
                Some(Order::Execute(assignment)) => self.execute(*assignment, &stop).await?,
                Some(Order::Cancel { trial, .. }) => {
                    tracing::debug!(run = trial.run_id, trial = trial.trial, "cancelled, but not executing here");
                }
                None => return Ok(()),
            }
        }
    }

    async fn execute(&mut self, assignment: v1::Assignment, stop: &CancellationToken) -> Result<(), SpoolBroken> {
        let Some(trial) = assignment.trial.clone() else {
            tracing::warn!("an assignment without a trial was ignored: is the agent older than the collector?");
            return Ok(());
        };
        tracing::info!(run = trial.run_id, trial = trial.trial, attempt = trial.attempt, "trial begins");
        let workshop = &self.workshop;
        // First of all: nobody else asks the firmware from here on.
        workshop.board.show(&trial, v1::Phase::Prepare, 0.0);
        let is_job = matches!(assignment.workload, Some(Workload::Job(_)));
        let ending = CancellationToken::new();
        let result = {
            let mut work = pin!(workshop.work(&trial, &assignment, &ending));
            let broken_off = loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break Err(TrialError::Stopped),
                    Some(order) = self.orders.recv() => match order {
                        Order::Cancel { trial: cancelled, reason } if cancelled == trial => {
                            break Err(TrialError::Cancelled { reason });
                        }
                        Order::Execute(other) if other.trial.as_ref() != Some(&trial) => {
                            workshop.refuse(other.trial, &trial, stop).await?;
                        }
                        // Of another trial that has ended, or the same assignment again after a reconnect.
                        Order::Cancel { .. } | Order::Execute(_) => {}
                    },
                    result = &mut work => break Ok(result),
                }
            };
            match broken_off {
                Ok(result) => result,
                Err(error) if is_job => {
                    // Its processes are asked before they are killed, and its log is handed in.
                    ending.cancel();
                    match timeout(WIND_UP_LIMIT, &mut work).await {
                        Ok(Err(failed)) if matches!(failed.error, TrialError::Spool(_)) => Err(failed),
                        Ok(Err(failed)) => Err(Failed { error, ..failed }),
                        Ok(Ok(_)) | Err(_) => Err(error.into()),
                    }
                }
                Err(error) => Err(error.into()),
            }
        };
        // Leaving the block dropped the work, and with it a worker that was still busy.
        match result {
            Err(Failed { error: TrialError::Spool(broken), .. }) => return Err(broken),
            result => self.workshop.conclude(&trial, result, stop).await?,
        }
        self.workshop.board.finish(trial);
        Ok(())
    }
}

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// Executes an assignment. Dropped when it is to end before its time, but for a job, for which `ending` is cancelled.
    async fn work(
        &self,
        trial: &v1::TrialKey,
        assignment: &v1::Assignment,
        ending: &CancellationToken,
    ) -> Result<Executed, Failed> {
        match &assignment.workload {
            Some(Workload::Inference(workload)) => Ok(self.infer(trial, assignment, workload).await?),
            Some(Workload::Replay(workload)) => Ok(self.replay(trial, workload).await?),
            Some(Workload::Job(workload)) => self.job(trial, assignment, workload, ending).await,
            None => Err(TrialError::Workload.into()),
        }
    }

    /// Puts the outcome into the spool.
    async fn conclude(
        &self,
        trial: &v1::TrialKey,
        result: Result<Executed, Failed>,
        stop: &CancellationToken,
    ) -> Result<(), SpoolBroken> {
        let (run, index, attempt) = (&trial.run_id, trial.trial, trial.attempt);
        let boot = self.equipment.boot;
        let mut outcome = v1::TrialOutcome {
            trial: Some(trial.clone()),
            samples_boot_id: boot.to_vec(),
            ..v1::TrialOutcome::default()
        };
        match result {
            Ok(executed) => {
                tracing::info!(%run, trial = index, attempt, "trial executed");
                outcome.samples_boot_id = executed.samples_boot.to_vec();
                outcome.samples_channel = executed.samples_channel;
                outcome.samples_further_channels = executed.samples_further_channels;
                outcome.result = Some(trial_outcome::Result::Completed(executed.completed));
            }
            Err(failed) => {
                let failure = failed.failure();
                tracing::warn!(%run, trial = index, attempt, error = failure.message, "trial failed");
                outcome.result = Some(trial_outcome::Result::Failure(failure));
            }
        }
        let stopped = async {
            stop.cancelled().await;
            sleep(LAST_OUTCOME_LIMIT).await;
        };
        tokio::select! {
            appended = append_all(&self.equipment.spool, boot, vec![Fact::Outcome(outcome)]) => appended,
            () = stopped => {
                // Not in the spool: the collector repeats the trial when all that is there has arrived without it.
                tracing::warn!(%run, trial = index, "the spool is full, an outcome was not written");
                Ok(())
            }
        }
    }

    /// Answers an assignment that came while another is executing.
    async fn refuse(
        &self,
        other: Option<v1::TrialKey>,
        running: &v1::TrialKey,
        stop: &CancellationToken,
    ) -> Result<(), SpoolBroken> {
        if let Some(other) = other {
            let busy = Err(TrialError::Busy { running: running.clone() }.into());
            self.conclude(&other, busy, stop).await?;
            self.board.tell_finished(other);
        }
        Ok(())
    }

    /// Appends the two markers of a phase that has ended.
    pub(super) async fn mark(
        &self,
        boot: BootId,
        trial: &v1::TrialKey,
        phase: v1::Phase,
        window: Window,
    ) -> Result<(), SpoolBroken> {
        self.mark_all(boot, trial, &[(phase, window)]).await
    }

    /// Appends the markers of phases that have ended, in one transaction.
    pub(super) async fn mark_all(
        &self,
        boot: BootId,
        trial: &v1::TrialKey,
        phases: &[(v1::Phase, Window)],
    ) -> Result<(), SpoolBroken> {
        let marker = |phase: v1::Phase, edge: v1::Edge, mono_ns| {
            let trial = Some(trial.clone());
            Fact::Marker(v1::Marker { trial, mono_ns, phase: phase.into(), edge: edge.into() })
        };
        let markers = phases.iter().flat_map(|(phase, window)| {
            [marker(*phase, v1::Edge::Start, window.start().0), marker(*phase, v1::Edge::End, window.end().0)]
        });
        append_all(&self.equipment.spool, boot, markers.collect()).await
    }
}

/// Appends facts; waits while the spool is full.
pub(super) async fn append_all(spool: &Spool, boot: BootId, facts: Vec<Fact>) -> Result<(), SpoolBroken> {
    loop {
        match spool.append_all(boot, facts.clone()).await {
            Ok(_) => return Ok(()),
            Err(AppendError::Broken(broken)) => return Err(broken),
            Err(full) => tracing::debug!(error = %full, "a trial waits for the spool"),
        }
        sleep(FULL_PAUSE).await;
    }
}
