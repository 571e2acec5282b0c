//! What the state machine wants done.

use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};

use crate::result::InvalidReason;

/// One thing to do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Note the attempt durably, then send it to the node.
    Assign {
        /// The node, connected and free.
        node: NodeId,
        /// The start of its agent.
        boot: BootId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// Tell the node to stop; it answers that it has finished.
    CancelAttempt {
        /// The node.
        node: NodeId,
        /// What it executes.
        attempt: AttemptId,
        /// For people.
        reason: String,
    },
    /// Turn the attempt's committed outcome into a result, and answer with [`Event::Assessed`](super::Event::Assessed).
    Assess {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Keep an invalid result without a measurement.
    RecordInvalid {
        /// The attempt.
        attempt: AttemptId,
        /// Why it does not count.
        reason: InvalidReason,
    },
    /// Note the end of the run durably.
    EndRun {
        /// The run.
        run: RunId,
        /// How it ended.
        end: RunEnd,
        /// How far it got.
        counts: Counts,
    },
    /// Tell those who watch.
    Announce {
        /// The run.
        run: RunId,
        /// What changed, for people.
        text: String,
        /// How far the run is now.
        counts: Counts,
    },
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// Every trial has a valid attempt.
    Completed,
    /// Some trial has used up its attempts, or was skipped for want of one that has.
    Incomplete,
    /// Somebody asked for it.
    Cancelled,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Trials of the run.
    pub trial_count: u32,
    /// Trials with a valid attempt.
    pub valid_count: u32,
    /// Attempts that do not count.
    pub invalid_attempt_count: u32,
    /// Trials that are never executed, because one that they need stayed invalid.
    pub skipped_count: u32,
}
