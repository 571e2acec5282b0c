//! Decides what is executed next. Pure: no I/O, and no clock but the instant that comes with each event.
//!
//! A node executes one attempt at a time, jobs included, and gets the next one when the last has been judged: a joule
//! cannot be split between two loads on one rail. Runs are served in the order of their submission. Within a run a node
//! goes through the blocks in order, and repeats come at the end of their block: still under the block's conditions,
//! but away from whatever disturbed the first attempt.
//!
//! A trial that needs what others make is held back until each of them has a valid attempt, and holds up nothing: its
//! node takes the next trial that can be executed, of the same block, a later one, or another run. When one that it
//! needs has used up its attempts, it is skipped, and so is everything that needs it in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};
use tinywatt_proto::time::MonoNs;

use super::trials::{Run, Status, Trial};
use super::{Command, Config, Counts, Event, OpenAttempt, RunEnd, RunPlan};
use crate::result::InvalidReason;

/// Everything the schedule knows.
#[derive(Debug, Clone)]
pub struct State {
    config: Config,
    nodes: BTreeMap<NodeId, Node>,
    /// In the order of submission.
    runs: Vec<Run>,
    /// Attempts without a result.
    open: BTreeMap<AttemptId, Open>,
}

#[derive(Debug, Clone)]
struct Node {
    boot: BootId,
    /// Since when the node is gone; `None` while it is connected.
    gone_since: Option<MonoNs>,
    /// What the agent executes, as far as is known; still set for an attempt already judged.
    executing: Option<AttemptId>,
    /// When it was last told to stop that.
    cancelled_at: Option<MonoNs>,
}

#[derive(Debug, Clone)]
struct Open {
    node: NodeId,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The agent works on it.
    Executing { deadline: MonoNs },
    /// The agent is done; the outcome is in its spool, or was lost with the assignment.
    OutcomeAwaited { deadline: MonoNs },
    /// The outcome is in the store; nothing that happens to the node can break it any more.
    Assessing,
}

impl State {
    /// Knows nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, nodes: BTreeMap::new(), runs: Vec::new(), open: BTreeMap::new() }
    }

    /// Takes in what happened at `at`, and says what to do about it.
    pub fn step(&mut self, at: MonoNs, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::RunSubmitted(plan) => self.run_submitted(plan, &mut commands),
            Event::NodeConnected { node, boot, running } => {
                self.node_connected(at, &node, boot, running, &mut commands);
            }
            Event::NodeDisconnected { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.gone_since.get_or_insert(at);
                }
            }
            Event::OpenEndedProgress { node, attempt } => self.open_ended_progress(at, &node, &attempt),
            Event::Finished { node, attempt } => self.finished(at, &node, &attempt),
            Event::OutcomeCommitted { node, attempt } => self.outcome_committed(&node, attempt, &mut commands),
            Event::Assessed { attempt, invalid_reasons } => self.judge(&attempt, &invalid_reasons, &mut commands),
            Event::CancelRun { run } => self.cancel_run(at, &run, &mut commands),
            Event::Tick => self.tick(at, &mut commands),
        }
        self.assign_free_nodes(at, &mut commands);
        commands
    }

    /// How far a run is; `None` when it has ended or never was.
    pub fn counts(&self, run: &RunId) -> Option<Counts> {
        self.runs.iter().find(|candidate| candidate.run == *run).map(Run::counts)
    }

    /// The nodes that are connected, each with what it executes.
    pub fn connected_nodes(&self) -> impl Iterator<Item = (&NodeId, Option<&AttemptId>)> {
        let connected = self.nodes.iter().filter(|(_, node)| node.gone_since.is_none());
        connected.map(|(id, node)| (id, node.executing.as_ref()))
    }

    fn run_submitted(&mut self, plan: RunPlan, commands: &mut Vec<Command>) {
        let RunPlan { run, attempt_count_max, trials, invalid_attempt_count, open_attempts } = plan;
        self.runs.push(Run::new(run.clone(), attempt_count_max, trials, invalid_attempt_count));
        for open in &open_attempts {
            let Some(trial) = self.trial_mut(&open.attempt) else { continue };
            trial.status = Status::Open;
            let node = trial.plan.node.clone();
            self.open.insert(open.attempt.clone(), Open { node, stage: Stage::Assessing });
        }
        for OpenAttempt { attempt, has_outcome } in open_attempts {
            if has_outcome {
                commands.push(Command::Assess { attempt });
            } else {
                let message = "the collector was restarted while the attempt was executing".to_owned();
                self.invalidate(&attempt, "collector_restarted", message, commands);
            }
        }
        self.skip(&run, commands);
        self.end_if_done(&run, commands);
    }

    fn node_connected(
        &mut self,
        at: MonoNs,
        id: &NodeId,
        boot: BootId,
        running: Option<AttemptId>,
        commands: &mut Vec<Command>,
    ) {
        let known = self.nodes.get(id);
        let is_restarted = known.is_some_and(|node| node.boot != boot);
        let node = Node { boot, gone_since: None, executing: running.clone(), cancelled_at: None };
        self.nodes.insert(id.clone(), node);
        let open = self.open.iter().filter(|(_, open)| open.node == *id && open.stage != Stage::Assessing);
        let open: Vec<(AttemptId, Stage)> = open.map(|(attempt, open)| (attempt.clone(), open.stage)).collect();
        for (attempt, stage) in open {
            if is_restarted && matches!(stage, Stage::Executing { .. }) {
                let message = format!("the agent of {id} was restarted while the attempt was executing");
                self.invalidate(&attempt, "agent_restarted", message, commands);
            } else if running.as_ref() != Some(&attempt) {
                // Finished while the connection was down, or the assignment never arrived. The first way an outcome is
                // in the spool, which outlives the agent, and has to get here yet.
                self.await_outcome(at, &attempt);
            }
        }
        if let Some(attempt) = running.filter(|attempt| !self.is_executing(id, attempt)) {
            self.cancel_attempt(at, id, attempt, "the attempt has been judged already", commands);
        }
    }

    fn open_ended_progress(&mut self, at: MonoNs, node: &NodeId, attempt: &AttemptId) {
        let Some(limit) = self.trial_mut(attempt).map(|trial| trial.plan.limit) else { return };
        if let Some(open) = self.open.get_mut(attempt).filter(|open| open.node == *node)
            && let Stage::Executing { deadline } = &mut open.stage
        {
            *deadline = at.after(limit);
        }
    }

    fn finished(&mut self, at: MonoNs, id: &NodeId, attempt: &AttemptId) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.executing.as_ref() == Some(attempt)) else { return };
        node.executing = None;
        node.cancelled_at = None;
        if self.is_executing(id, attempt) {
            self.await_outcome(at, attempt);
        }
    }

    fn outcome_committed(&mut self, node: &NodeId, attempt: AttemptId, commands: &mut Vec<Command>) {
        let awaited = self.open.get_mut(&attempt).filter(|open| open.node == *node && open.stage != Stage::Assessing);
        if let Some(open) = awaited {
            open.stage = Stage::Assessing;
            commands.push(Command::Assess { attempt });
        }
    }

    fn cancel_run(&mut self, at: MonoNs, run: &RunId, commands: &mut Vec<Command>) {
        if self.counts(run).is_none() {
            return;
        }
        let attempts = self.open.iter().filter(|(attempt, _)| attempt.run == *run);
        let attempts: Vec<(AttemptId, Open)> = attempts.map(|(id, open)| (id.clone(), open.clone())).collect();
        for (attempt, open) in attempts {
            self.open.remove(&attempt);
            // What is fully measured gets its result all the same.
            if open.stage != Stage::Assessing {
                let message = "the run was cancelled".to_owned();
                self.stop(at, &open.node, &attempt, &message, commands);
                let reason = InvalidReason { code: "cancelled".to_owned(), message };
                commands.push(Command::RecordInvalid { attempt, reason });
                self.run_mut(run).expect("it has counts").invalid_attempt_count += 1;
            }
        }
        self.end(run, RunEnd::Cancelled, commands);
    }

    fn tick(&mut self, at: MonoNs, commands: &mut Vec<Command>) {
        let open: Vec<(AttemptId, Open)> = self.open.iter().map(|(id, open)| (id.clone(), open.clone())).collect();
        for (attempt, Open { node, stage }) in open {
            let gone_since = self.nodes.get(&node).and_then(|node| node.gone_since);
            let is_lost = gone_since.is_some_and(|since| since.after(self.config.grace) <= at);
            let grace = seconds(self.config.grace);
            match stage {
                Stage::Assessing => {}
                _ if is_lost => {
                    let message = format!("{node} was not connected for {grace}");
                    self.invalidate(&attempt, "node_lost", message, commands);
                }
                Stage::Executing { deadline } if deadline <= at => {
                    let limit = self.trial_mut(&attempt).map_or(Duration::ZERO, |trial| trial.plan.limit);
                    let message = format!("no outcome after {}, more than any attempt should take", seconds(limit));
                    self.stop(at, &node, &attempt, "the attempt took too long", commands);
                    self.invalidate(&attempt, "timed_out", message, commands);
                }
                Stage::OutcomeAwaited { deadline } if deadline <= at => {
                    let message = format!("{node} no longer executes the attempt and delivered no outcome for {grace}");
                    self.invalidate(&attempt, "outcome_missing", message, commands);
                }
                Stage::Executing { .. } | Stage::OutcomeAwaited { .. } => {}
            }
        }
        self.repeat_cancellations(at, commands);
    }

    /// A cancellation may be lost with a connection, and a node that never stops would hold up its runs unseen.
    fn repeat_cancellations(&mut self, at: MonoNs, commands: &mut Vec<Command>) {
        let grace = self.config.grace;
        let deaf = self.nodes.iter().filter_map(|(id, node)| {
            let cancelled_at = node.cancelled_at.filter(|_| node.gone_since.is_none())?;
            (cancelled_at.after(grace) <= at).then(|| Some((id.clone(), node.executing.clone()?)))?
        });
        for (id, attempt) in deaf.collect::<Vec<_>>() {
            if let Some(counts) = self.counts(&attempt.run) {
                let text = format!("{id} does not stop {attempt}; if this goes on, restart its agent");
                commands.push(Command::Announce { run: attempt.run.clone(), text, counts });
            }
            self.cancel_attempt(at, &id, attempt, "the attempt has been judged already", commands);
        }
    }

    fn assign_free_nodes(&mut self, at: MonoNs, commands: &mut Vec<Command>) {
        let free = self.nodes.iter().filter(|(id, node)| {
            let is_free = node.gone_since.is_none() && node.executing.is_none();
            is_free && !self.open.values().any(|open| open.node == **id)
        });
        for id in free.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let next = self.runs.iter_mut().find_map(|run| {
                let trial = run.next(&id)?;
                Some((run, trial))
            });
            let Some((run, trial_index)) = next else { continue };
            let trial = &mut run.trials[usize::try_from(trial_index).expect("32 bits fit")];
            trial.attempt_count += 1;
            trial.status = Status::Open;
            let attempt = AttemptId { run: run.run.clone(), trial: trial_index, attempt: trial.attempt_count };
            let deadline = at.after(trial.plan.limit);
            let text =
                format!("{id} begins {}, trial {trial_index}, attempt {}", trial.plan.treatment, attempt.attempt);
            let counts = run.counts();
            self.open.insert(attempt.clone(), Open { node: id.clone(), stage: Stage::Executing { deadline } });
            let node = self.nodes.get_mut(&id).expect("it was just found");
            node.executing = Some(attempt.clone());
            node.cancelled_at = None;
            commands.push(Command::Assign { node: id, attempt: attempt.clone() });
            commands.push(Command::Announce { run: attempt.run, text, counts });
        }
    }

    fn await_outcome(&mut self, at: MonoNs, attempt: &AttemptId) {
        let deadline = at.after(self.config.grace);
        if let Some(open) = self.open.get_mut(attempt) {
            open.stage = Stage::OutcomeAwaited { deadline };
        }
    }

    fn is_executing(&self, node: &NodeId, attempt: &AttemptId) -> bool {
        let open = self.open.get(attempt);
        open.is_some_and(|open| open.node == *node && matches!(open.stage, Stage::Executing { .. }))
    }

    /// Cancels what the node executes, if it is this.
    fn stop(&mut self, at: MonoNs, id: &NodeId, attempt: &AttemptId, reason: &str, commands: &mut Vec<Command>) {
        if self.nodes.get(id).is_some_and(|node| node.executing.as_ref() == Some(attempt)) {
            self.cancel_attempt(at, id, attempt.clone(), reason, commands);
        }
    }

    fn cancel_attempt(
        &mut self,
        at: MonoNs,
        id: &NodeId,
        attempt: AttemptId,
        reason: &str,
        commands: &mut Vec<Command>,
    ) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.gone_since.is_none()) else { return };
        node.cancelled_at = Some(at);
        commands.push(Command::CancelAttempt { node: id.clone(), attempt, reason: reason.to_owned() });
    }

    fn invalidate(&mut self, attempt: &AttemptId, code: &str, message: String, commands: &mut Vec<Command>) {
        let reason = InvalidReason { code: code.to_owned(), message };
        commands.push(Command::RecordInvalid { attempt: attempt.clone(), reason: reason.clone() });
        self.judge(attempt, &[reason], commands);
    }

    /// Closes an attempt. A second judgement, or one about a run that has ended, changes nothing.
    fn judge(&mut self, attempt: &AttemptId, invalid_reasons: &[InvalidReason], commands: &mut Vec<Command>) {
        if self.open.remove(attempt).is_none() {
            return;
        }
        let Some(run) = self.run_mut(&attempt.run) else { return };
        let attempt_count_max = run.attempt_count_max;
        let Some(trial) = usize::try_from(attempt.trial).ok().and_then(|index| run.trials.get_mut(index)) else {
            return;
        };
        let name = format!("{}, trial {}, attempt {}", trial.plan.treatment, attempt.trial, attempt.attempt);
        let text = if invalid_reasons.is_empty() {
            trial.status = Status::Valid;
            format!("{name} is valid")
        } else {
            run.invalid_attempt_count += 1;
            let is_exhausted = trial.attempt_count >= attempt_count_max;
            trial.status = if is_exhausted { Status::Exhausted } else { Status::Pending };
            let reasons: Vec<_> = invalid_reasons.iter().map(|reason| reason.message.as_str()).collect();
            let after = if is_exhausted { "it was the last attempt" } else { "it will be repeated" };
            format!("{name} is invalid: {}; {after}", reasons.join("; "))
        };
        let is_exhausted = trial.status == Status::Exhausted;
        commands.push(Command::Announce { run: attempt.run.clone(), text, counts: run.counts() });
        if is_exhausted {
            self.skip(&attempt.run, commands);
        }
        self.end_if_done(&attempt.run, commands);
    }

    fn skip(&mut self, id: &RunId, commands: &mut Vec<Command>) {
        let Some(run) = self.run_mut(id) else { return };
        if let Some(text) = run.skip() {
            let counts = run.counts();
            commands.push(Command::Announce { run: id.clone(), text, counts });
        }
    }

    fn end_if_done(&mut self, run: &RunId, commands: &mut Vec<Command>) {
        let end = self.runs.iter().find(|candidate| candidate.run == *run).and_then(Run::end);
        if let Some(end) = end {
            self.end(run, end, commands);
        }
    }

    fn end(&mut self, run: &RunId, end: RunEnd, commands: &mut Vec<Command>) {
        if let Some(position) = self.runs.iter().position(|candidate| candidate.run == *run) {
            let counts = self.runs.remove(position).counts();
            commands.push(Command::EndRun { run: run.clone(), end, counts });
        }
    }

    fn run_mut(&mut self, run: &RunId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|candidate| candidate.run == *run)
    }

    fn trial_mut(&mut self, attempt: &AttemptId) -> Option<&mut Trial> {
        self.run_mut(&attempt.run)?.trials.get_mut(usize::try_from(attempt.trial).ok()?)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
