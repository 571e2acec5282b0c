//! An attempt without a result: what is waited for, and until when.

use std::time::Duration;

use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::time::MonoNs;

use crate::result::InvalidReason;

/// Longest wait for an outcome behind records that keep arriving. A spool of a day, 280 MB of one channel at 1 kHz, has
/// arrived by then over 3 kB/s.
const BACKLOG_MAX: Duration = Duration::from_hours(24);

/// An attempt without a result.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) node: NodeId,
    /// The start of the agent that was told; `None` when the store does not say.
    boot: Option<BootId>,
    /// When it was told, or the collector was started again.
    begun: MonoNs,
    limit: Duration,
    /// When the limit is over, whether the node is connected or not.
    deadline: MonoNs,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The agent works on it, as far as is known.
    Executing,
    /// The agent is done; the outcome is in its spool, or was lost with the assignment.
    OutcomeAwaited(Awaited),
    /// The outcome is in the store; nothing that happens to the node can break it any more.
    Assessing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    since: MonoNs,
    deadline: MonoNs,
    /// No later record of the spool can be the outcome; `None` when the agent did not say.
    spooled: Option<u64>,
    /// The last record that arrived; 0 for none.
    delivered: u64,
    /// Whether the agent was started anew before anybody heard that it is done.
    is_lost: bool,
}

impl Awaited {
    fn new(at: MonoNs, spooled: Option<u64>, is_lost: bool) -> Self {
        Self { since: at, deadline: at, spooled, delivered: 0, is_lost }
    }

    /// Whether the outcome may lie behind records that have not arrived.
    fn is_behind(&self) -> bool {
        self.spooled.is_some_and(|spooled| self.delivered < spooled)
    }

    /// Waits a grace from `at` on, or no longer when the agent is gone and has left nothing.
    fn renew(&mut self, at: MonoNs, grace: Duration) {
        let patience = if self.is_lost && !self.is_behind() { Duration::ZERO } else { grace };
        self.deadline = at.after(patience).min(self.since.after(BACKLOG_MAX));
    }
}

impl Open {
    /// An attempt that the agent is told of at `at`, or was before a restart of the collector.
    pub(super) fn new(node: NodeId, boot: Option<BootId>, at: MonoNs, limit: Duration) -> Self {
        Self { node, boot, begun: at, limit, deadline: at.after(limit), stage: Stage::Executing }
    }

    /// An attempt whose outcome is in the store.
    pub(super) fn assessing(node: NodeId) -> Self {
        let at = MonoNs::default();
        Self { node, boot: None, begun: at, limit: Duration::ZERO, deadline: at, stage: Stage::Assessing }
    }

    pub(super) fn is_executing(&self) -> bool {
        self.stage == Stage::Executing
    }

    pub(super) fn is_assessing(&self) -> bool {
        self.stage == Stage::Assessing
    }

    /// Whether an outcome is awaited that may lie behind records of which is known how many.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.stage, Stage::OutcomeAwaited(awaited) if awaited.is_behind())
    }

    /// Whether this start of the agent can be the one that works on it.
    pub(super) fn may_be_of(&self, boot: BootId) -> bool {
        self.boot.is_none_or(|own| own == boot)
    }

    /// The agent works on it after all: it had not begun when it said that it executes nothing.
    pub(super) fn execute(&mut self) {
        self.stage = Stage::Executing;
    }

    pub(super) fn assess(&mut self) {
        self.stage = Stage::Assessing;
    }

    /// Gives the agent its whole time again.
    pub(super) fn prolong(&mut self, at: MonoNs) {
        if self.is_executing() {
            self.deadline = at.after(self.limit);
        }
    }

    /// An agent is back that does not work on it, and whose spool holds records up to `spooled`. The outcome, if there
    /// is one, is among those, be the start that made them over or not.
    pub(super) fn reconnected(&mut self, at: MonoNs, grace: Duration, boot: BootId, spooled: Option<u64>) {
        let is_lost = !self.may_be_of(boot);
        match &mut self.stage {
            Stage::Executing => {
                let mut awaited = Awaited::new(at, spooled, is_lost);
                awaited.renew(at, grace);
                self.stage = Stage::OutcomeAwaited(awaited);
            }
            // Known since before: what the agent has measured meanwhile does not count.
            Stage::OutcomeAwaited(awaited) if awaited.is_behind() => awaited.renew(at, grace),
            Stage::OutcomeAwaited(awaited) if awaited.spooled.is_none() => {
                awaited.spooled = spooled;
                awaited.renew(at, grace);
            }
            Stage::OutcomeAwaited(_) | Stage::Assessing => {}
        }
    }

    /// The agent is done; its spool holds records up to `spooled`.
    pub(super) fn finished(&mut self, at: MonoNs, grace: Duration, spooled: Option<u64>) {
        let mut awaited = match self.stage {
            Stage::Executing => Awaited::new(at, spooled, false),
            // Begun and ended since it said that it executes nothing: the outcome lies behind what it named then.
            Stage::OutcomeAwaited(awaited) => Awaited { spooled: spooled.or(awaited.spooled), ..awaited },
            Stage::Assessing => return,
        };
        awaited.renew(at, grace);
        self.stage = Stage::OutcomeAwaited(awaited);
    }

    /// Records up to `delivery_id` are committed. The outcome may lie behind those, so it is waited for a grace longer;
    /// not so once everything that was in the spool has arrived, whatever else is measured meanwhile.
    pub(super) fn delivered(&mut self, at: MonoNs, grace: Duration, delivery_id: u64) {
        if let Stage::OutcomeAwaited(awaited) = &mut self.stage
            && awaited.is_behind()
            && awaited.delivered < delivery_id
        {
            awaited.delivered = delivery_id;
            awaited.renew(at, grace);
        }
    }

    /// When it is given up, should nothing be heard of its node, which is gone since `gone_since`.
    pub(super) fn given_up_at(&self, gone_since: Option<MonoNs>, grace: Duration) -> MonoNs {
        let returns = gone_since.unwrap_or(self.begun).after(grace);
        match self.stage {
            Stage::Executing => self.deadline,
            // It lies in a spool, and no outage makes that any less.
            Stage::OutcomeAwaited(awaited) if awaited.is_behind() => awaited.since.after(BACKLOG_MAX),
            Stage::OutcomeAwaited(awaited) => self.deadline.max(returns.min(awaited.since.after(BACKLOG_MAX))),
            Stage::Assessing => MonoNs(u64::MAX),
        }
    }

    /// Why it is given up at `at`; `None` when it is not. `gone_since` is `None` for a node that was never seen, and
    /// `Some(None)` for one that is connected.
    pub(super) fn given_up(
        &self,
        at: MonoNs,
        gone_since: Option<Option<MonoNs>>,
        grace: Duration,
    ) -> Option<InvalidReason> {
        let (node, limit) = (&self.node, seconds(self.limit));
        let is_connected = gone_since == Some(None);
        let (until, code, message) = match self.stage {
            Stage::Assessing => return None,
            Stage::OutcomeAwaited(awaited) if awaited.is_lost && (is_connected || !awaited.is_behind()) => {
                let message = format!(
                    "the agent of {node} was restarted while the attempt was executing, or another agent took its name"
                );
                (awaited.deadline, "agent_restarted", message)
            }
            _ if !is_connected => {
                let gone_since = gone_since.flatten();
                let gone = seconds(at.since(gone_since.unwrap_or(self.begun)));
                let message = format!("{node} has not been connected for {gone}, and the attempt's {limit} are over");
                (self.given_up_at(gone_since, grace), "node_lost", message)
            }
            Stage::Executing => {
                let message = format!("no outcome after {limit}, more than any attempt should take");
                (self.deadline, "timed_out", message)
            }
            Stage::OutcomeAwaited(awaited) => {
                let awaited_for = seconds(at.since(awaited.since));
                let message =
                    format!("{node} no longer executes the attempt and delivered no outcome for {awaited_for}");
                (awaited.deadline, "outcome_missing", message)
            }
        };
        (until <= at).then(|| InvalidReason { code: code.to_owned(), message })
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}
