//! What each command means: a row in the store, a message to an agent, an assessment.

use std::collections::VecDeque;
use std::sync::Arc;

use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};
use tinywatt_proto::v1;
use tokio::task::{Id, JoinError};

use super::{Driver, DriverError, produced, treatment_of, workload_of};
use crate::assess;
use crate::clock;
use crate::result::{InvalidReason, TrialResult};
use crate::schedule::{Command, Counts, Event, RunEnd};
use crate::store::{ReadError, RunRow};

/// How an assessment's task ended.
type Joined = Result<(Id, (AttemptId, Result<TrialResult, DriverError>)), JoinError>;

impl Driver {
    /// Does what was decided, in order.
    pub(super) async fn obey(&mut self, commands: Vec<Command>) -> Result<(), DriverError> {
        let mut commands = VecDeque::from(commands);
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Assign { node, boot, attempt } => {
                    let more = match self.assign(&node, boot, &attempt).await? {
                        Ok(assignment) => self.tell(&node, v1::work_response::Item::Assignment(assignment)),
                        Err(reason) => self.refuse(node, attempt, reason).await?,
                    };
                    commands.extend(more);
                }
                Command::CancelAttempt { node, attempt, reason } => {
                    tracing::info!(%node, %attempt, reason, "attempt cancelled");
                    let cancellation = v1::Cancellation { trial: Some((&attempt).into()), reason };
                    commands.extend(self.tell(&node, v1::work_response::Item::Cancellation(cancellation)));
                }
                Command::Assess { attempt } => self.start_assessment(attempt),
                Command::RecordInvalid { attempt, reason } => self.record_invalid(&attempt, reason).await?,
                Command::EndRun { run, end, counts } => self.end_run(&run, end, counts).await?,
                Command::Announce { run, text, counts } => self.announce(&run, text, counts),
            }
        }
        Ok(())
    }

    /// Notes the attempt in the store, then puts its assignment together; or says why there is none.
    async fn assign(
        &mut self,
        node: &NodeId,
        boot: BootId,
        attempt: &AttemptId,
    ) -> Result<Result<v1::Assignment, InvalidReason>, DriverError> {
        self.store.start_attempt(attempt, node, boot, clock::unix_ns()).await.map_err(DriverError::Write)?;
        let row = self.runs[&attempt.run].clone();
        let planned = planned(&row, attempt);
        let treatment = treatment_of(&row, planned);
        let channel = self.channel(node, &row, treatment).await?;
        let workload = match treatment.and_then(|treatment| treatment.workload.clone()) {
            None => None,
            Some(workload) => {
                let made = produced::made_for(&self.store, &row, planned).await.map_err(DriverError::Read)?;
                match produced::resolve(workload, &made, planned.replicate) {
                    Ok(workload) => Some(workload),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
        };
        let trial = Some(v1::TrialKey::from(attempt));
        let progress =
            v1::Progress { trial: trial.clone(), phase: v1::Phase::Prepare.into(), fraction: 0.0, job: None };
        self.progress.insert(node.clone(), progress);
        tracing::info!(%node, %attempt, treatment = planned.treatment, "attempt assigned");
        let further_channels = treatment.map_or_else(Vec::new, |treatment| treatment.further_channels.clone());
        Ok(Ok(v1::Assignment { trial, channel, workload, further_channels }))
    }

    /// The channel that measures: the treatment's, or the design's, or the only one of the node.
    async fn channel(
        &self,
        node: &NodeId,
        row: &RunRow,
        treatment: Option<&v1::Treatment>,
    ) -> Result<String, DriverError> {
        let of_treatment = treatment.map(|treatment| &treatment.channel);
        let of_design = row.submit.design.as_ref().map(|design| &design.channel);
        let named = [of_treatment, of_design].into_iter().flatten().find(|channel| !channel.is_empty());
        if let Some(named) = named {
            return Ok(named.clone());
        }
        // The check found exactly one; should the node have others by now, the agent says what it misses.
        let nodes = self.store.nodes().await.map_err(DriverError::Read)?;
        let channels = nodes.into_iter().find(|row| row.node == *node).map(|row| row.capabilities.channels);
        // A recording cannot measure what happens now.
        let live = |channel: &v1::Channel| channel.kind() != v1::FigureKind::MeasuredElsewhere;
        let only = channels.into_iter().flatten().find(live);
        Ok(only.map_or_else(String::new, |channel| channel.name))
    }

    /// Closes an attempt that cannot be given to its node, which stays free.
    async fn refuse(
        &mut self,
        node: NodeId,
        attempt: AttemptId,
        reason: InvalidReason,
    ) -> Result<Vec<Command>, DriverError> {
        self.record_invalid(&attempt, reason.clone()).await?;
        let mut commands = self.decide(Event::Assessed { attempt: attempt.clone(), invalid_reasons: vec![reason] });
        commands.extend(self.decide(Event::Finished { node, attempt, spooled: None }));
        Ok(commands)
    }

    /// Sends to an agent. One that cannot be reached is gone, which may lead to further commands.
    fn tell(&mut self, node: &NodeId, item: v1::work_response::Item) -> Vec<Command> {
        if self.links.get(node).is_some_and(|link| link.send(item)) {
            return Vec::new();
        }
        tracing::warn!(%node, "agent does not take messages, its connection is dropped");
        self.links.remove(node);
        self.decide(Event::NodeDisconnected { node: node.clone() })
    }

    /// Assesses beside everything else: it reads a trial's samples, and other nodes must not wait for that.
    fn start_assessment(&mut self, attempt: AttemptId) {
        let row = self.runs[&attempt.run].clone();
        let (store, assess) = (self.store.clone(), self.assess.clone());
        let key = (attempt.clone(), row.clone());
        let task = self.assessments.spawn(async move {
            let result = async {
                let outcome = store.outcome(&attempt).await.map_err(DriverError::Read)?;
                let outcome = outcome.expect("an attempt is assessed once its outcome is committed");
                let planned = planned(&row, &attempt);
                let workload = workload_of(&row, planned);
                let made = produced::made_for(&store, &row, planned).await.map_err(DriverError::Read)?;
                let result = match assess(attempt.clone(), planned.clone(), workload.cloned(), outcome).await {
                    Ok(mut result) => {
                        if result.is_valid() {
                            result.invalid_reasons = produced::missing(&row, planned, &result);
                        }
                        if let Some(measurement) = result.measurement.as_mut() {
                            measurement.model = produced::model(workload, &made);
                        }
                        result
                    }
                    Err(error @ (ReadError::Database { .. } | ReadError::Closed { .. })) => {
                        return Err(DriverError::Read(error));
                    }
                    // The store is sound; it is this outcome whose samples cannot be given.
                    Err(error) => assess::broken(&attempt, planned, "unreadable", &Chain(&error).to_string()),
                };
                store.finish_attempt(&attempt, &result).await.map_err(DriverError::Write)?;
                Ok(result)
            };
            let result = result.await;
            (attempt, result)
        });
        self.assessed_by.insert(task.id(), key);
    }

    /// Takes in the end of an assessment.
    pub(super) async fn assessed(&mut self, joined: Joined) -> Result<(), DriverError> {
        let (attempt, result) = match joined {
            Ok((task, (attempt, result))) => {
                self.assessed_by.remove(&task);
                (attempt, result?)
            }
            Err(panic) => {
                // A mistake of ours; this attempt cannot count, and the others must go on.
                let (attempt, row) = self.assessed_by.remove(&panic.id()).expect("every task was noted");
                tracing::error!(%attempt, %panic, "assessment failed");
                let message = "the assessment failed: please report this with the collector's log";
                let result = assess::broken(&attempt, planned(&row, &attempt), "assessment_failed", message);
                self.store.finish_attempt(&attempt, &result).await.map_err(DriverError::Write)?;
                (attempt, result)
            }
        };
        let reasons: Vec<String> = result.invalid_reasons.iter().map(InvalidReason::to_string).collect();
        tracing::info!(%attempt, valid = result.is_valid(), reasons = reasons.join("; "), "attempt assessed");
        self.forget_progress(&attempt);
        self.step(Event::Assessed { attempt, invalid_reasons: result.invalid_reasons }).await
    }

    async fn record_invalid(&mut self, attempt: &AttemptId, reason: InvalidReason) -> Result<(), DriverError> {
        tracing::info!(%attempt, code = reason.code, message = reason.message, "attempt broken");
        self.forget_progress(attempt);
        let planned = planned(&self.runs[&attempt.run], attempt);
        let result = assess::broken(attempt, planned, &reason.code, &reason.message);
        self.store.finish_attempt(attempt, &result).await.map_err(DriverError::Write)
    }

    async fn end_run(&mut self, run: &RunId, end: RunEnd, counts: Counts) -> Result<(), DriverError> {
        let state = match end {
            RunEnd::Completed => v1::RunState::Completed,
            RunEnd::Incomplete => v1::RunState::Incomplete,
            RunEnd::Cancelled => v1::RunState::Cancelled,
        };
        let at_unix_ns = clock::unix_ns();
        self.store.end_run(run, state, at_unix_ns).await.map_err(DriverError::Write)?;
        tracing::info!(%run, ?state, ?counts, "run ended");
        if let Some(row) = self.runs.remove(run) {
            self.announce_end(&row, state, at_unix_ns, counts);
        }
        Ok(())
    }
}

fn planned<'a>(row: &'a Arc<RunRow>, attempt: &AttemptId) -> &'a v1::PlannedTrial {
    let index = usize::try_from(attempt.trial).expect("32 bits fit");
    row.trials.get(index).expect("the state machine knows the trials of the run's list only")
}
