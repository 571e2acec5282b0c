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
//!
//! An attempt needs neither its node's link nor this program: the agent goes on, and the outcome waits in its spool. So
//! it is given up only when its limit is over, or when all that the agent had left in its spool has arrived without it.

use std::collections::BTreeMap;
use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};
use tinywatt_proto::time::MonoNs;

use super::open::Open;
use super::trials::{Run, Status, Trial};
use super::{Command, Config, Counts, Event, OpenAttempt, RunEnd, RunPlan};
use crate::result::InvalidReason;

/// Why an agent is to stop what nobody waits for.
const JUDGED: &str = "the attempt has been judged already";

/// A node as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Whether its agent is there.
    pub is_connected: bool,
    /// What it executes, or is waited for with.
    pub attempt: Option<AttemptId>,
    /// When that is given up, should the node stay away.
    pub given_up_after: Option<Duration>,
}

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
    /// The start of its agent.
    boot: BootId,
    /// Since when the node is gone; `None` while it is connected.
    gone_since: Option<MonoNs>,
    /// What the agent executes, as far as is known; still set for an attempt already judged.
    executing: Option<AttemptId>,
    /// When it was last told to stop that.
    cancelled_at: Option<MonoNs>,
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
            Event::RunSubmitted(plan) => self.run_submitted(at, plan, &mut commands),
            Event::NodeConnected { node, boot, running, spooled } => {
                self.node_connected(at, &node, boot, running, spooled, &mut commands);
            }
            Event::NodeDisconnected { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.gone_since.get_or_insert(at);
                }
            }
            Event::Progress { node, attempt, is_open_ended } => {
                self.progress(at, &node, &attempt, is_open_ended, &mut commands);
            }
            Event::Finished { node, attempt, spooled } => self.finished(at, &node, &attempt, spooled),
            Event::Delivered { node, delivery_id } => {
                let of_node = self.open.values_mut().filter(|open| open.node == node);
                of_node.for_each(|open| open.delivered(at, self.config.grace, delivery_id));
            }
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

    /// Every node that is connected, with what it executes, or that is gone, with what is waited for.
    pub fn nodes(&self, at: MonoNs) -> Vec<NodeView> {
        let connected = self.nodes.iter().filter(|(_, node)| node.gone_since.is_none());
        let connected = connected.map(|(id, node)| NodeView {
            node: id.clone(),
            is_connected: true,
            attempt: node.executing.clone(),
            given_up_after: None,
        });
        let awaited = self.open.iter().filter(|(_, open)| !open.is_assessing() && !self.is_connected(&open.node));
        let awaited = awaited.map(|(attempt, open)| {
            let gone_since = self.nodes.get(&open.node).and_then(|node| node.gone_since);
            let given_up_at = open.given_up_at(gone_since, self.config.grace);
            NodeView {
                node: open.node.clone(),
                is_connected: false,
                attempt: Some(attempt.clone()),
                given_up_after: Some(given_up_at.since(at)),
            }
        });
        connected.chain(awaited).collect()
    }

    /// The nodes whose delivery is to be told: an outcome lies behind other records.
    pub fn nodes_behind(&self) -> Vec<NodeId> {
        self.open.values().filter(|open| open.is_behind()).map(|open| open.node.clone()).collect()
    }

    /// The attempts of a node whose outcome is not there yet.
    pub fn outstanding(&self, node: &NodeId) -> Vec<AttemptId> {
        let of_node = self.open.iter().filter(|(_, open)| open.node == *node && !open.is_assessing());
        of_node.map(|(attempt, _)| attempt.clone()).collect()
    }

    fn is_connected(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| node.gone_since.is_none())
    }

    fn run_submitted(&mut self, at: MonoNs, plan: RunPlan, commands: &mut Vec<Command>) {
        let RunPlan { run, attempt_count_max, trials, invalid_attempt_count, open_attempts } = plan;
        self.runs.push(Run::new(run.clone(), attempt_count_max, trials, invalid_attempt_count));
        for OpenAttempt { attempt, boot, has_outcome } in open_attempts {
            let Some(trial) = self.trial_mut(&attempt) else { continue };
            trial.status = Status::Open;
            let (node, limit) = (trial.plan.node.clone(), trial.plan.limit);
            if has_outcome {
                self.open.insert(attempt.clone(), Open::assessing(node));
                commands.push(Command::Assess { attempt });
            } else {
                self.open.insert(attempt, Open::new(node, boot, at, limit));
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
        spooled: Option<u64>,
        commands: &mut Vec<Command>,
    ) {
        let node = Node { boot, gone_since: None, executing: running.clone(), cancelled_at: None };
        self.nodes.insert(id.clone(), node);
        let grace = self.config.grace;
        for (attempt, open) in self.open.iter_mut().filter(|(_, open)| open.node == *id && !open.is_assessing()) {
            if open.may_be_of(boot) && running.as_ref() == Some(attempt) {
                open.execute();
            } else {
                // Finished while the connection was down, or the assignment never arrived, or the agent was started
                // anew. An outcome outlives its agent: it is in the spool, and has to get here yet.
                open.reconnected(at, grace, boot, spooled);
            }
        }
        if let Some(attempt) = running.filter(|attempt| !self.is_executing(id, attempt)) {
            self.cancel_attempt(at, id, attempt, JUDGED, commands);
        }
    }

    fn progress(
        &mut self,
        at: MonoNs,
        id: &NodeId,
        attempt: &AttemptId,
        is_open_ended: bool,
        commands: &mut Vec<Command>,
    ) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let is_new = node.executing.is_none();
        if is_new {
            // It had the assignment, and had not begun, when it said that it executes nothing.
            node.executing = Some(attempt.clone());
            node.cancelled_at = None;
        }
        match self.open.get_mut(attempt).filter(|open| open.node == *id && !open.is_assessing()) {
            Some(open) if is_new => open.execute(),
            Some(open) if is_open_ended => open.prolong(at),
            Some(_) => {}
            None if is_new => self.cancel_attempt(at, id, attempt.clone(), JUDGED, commands),
            None => {}
        }
    }

    fn finished(&mut self, at: MonoNs, id: &NodeId, attempt: &AttemptId, spooled: Option<u64>) {
        if let Some(node) = self.nodes.get_mut(id).filter(|node| node.executing.as_ref() == Some(attempt)) {
            node.executing = None;
            node.cancelled_at = None;
        }
        if let Some(open) = self.open.get_mut(attempt).filter(|open| open.node == *id) {
            open.finished(at, self.config.grace, spooled);
        }
    }

    fn outcome_committed(&mut self, node: &NodeId, attempt: AttemptId, commands: &mut Vec<Command>) {
        if let Some(open) = self.open.get_mut(&attempt).filter(|open| open.node == *node && !open.is_assessing()) {
            open.assess();
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
            if !open.is_assessing() {
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
        let given_up = self.open.iter().filter_map(|(attempt, open)| {
            let gone_since = self.nodes.get(&open.node).map(|node| node.gone_since);
            let reason = open.given_up(at, gone_since, self.config.grace)?;
            Some((attempt.clone(), open.node.clone(), reason))
        });
        for (attempt, node, reason) in given_up.collect::<Vec<_>>() {
            self.stop(at, &node, &attempt, "the attempt took too long", commands);
            self.invalidate(&attempt, &reason.code, reason.message, commands);
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
            self.cancel_attempt(at, &id, attempt, JUDGED, commands);
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
            let limit = trial.plan.limit;
            let text =
                format!("{id} begins {}, trial {trial_index}, attempt {}", trial.plan.treatment, attempt.attempt);
            let counts = run.counts();
            let node = self.nodes.get_mut(&id).expect("it was just found");
            node.executing = Some(attempt.clone());
            node.cancelled_at = None;
            let boot = node.boot;
            self.open.insert(attempt.clone(), Open::new(id.clone(), Some(boot), at, limit));
            commands.push(Command::Assign { node: id, boot, attempt: attempt.clone() });
            commands.push(Command::Announce { run: attempt.run, text, counts });
        }
    }

    fn is_executing(&self, node: &NodeId, attempt: &AttemptId) -> bool {
        let open = self.open.get(attempt);
        open.is_some_and(|open| open.node == *node && open.is_executing())
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

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
