//! What the state machine is told.

use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};

use crate::result::InvalidReason;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A run begins, or goes on after a restart of the collector.
    RunSubmitted(RunPlan),
    /// An agent is willing to work.
    NodeConnected {
        /// Its node.
        node: NodeId,
        /// Its start.
        boot: BootId,
        /// What it executes since before this connection.
        running: Option<AttemptId>,
        /// The newest record of its spool, if it says so: outcomes that are still to come are no later.
        spooled: Option<u64>,
    },
    /// The connection of an agent ended.
    NodeDisconnected {
        /// Its node.
        node: NodeId,
    },
    /// An agent works.
    Progress {
        /// Its node.
        node: NodeId,
        /// What it executes.
        attempt: AttemptId,
        /// Whether it is in a phase whose length nobody knows beforehand.
        is_open_ended: bool,
    },
    /// An agent is free again; the outcome is on its way.
    Finished {
        /// Its node.
        node: NodeId,
        /// What it executed.
        attempt: AttemptId,
        /// The newest record of its spool, if it says so: the outcome is no later.
        spooled: Option<u64>,
    },
    /// Records of a node are in the store.
    Delivered {
        /// The node.
        node: NodeId,
        /// The newest of them.
        delivery_id: u64,
    },
    /// An outcome is in the store.
    OutcomeCommitted {
        /// The node that delivered it.
        node: NodeId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// An outcome has become a result, which is in the store.
    Assessed {
        /// The attempt.
        attempt: AttemptId,
        /// Why it does not count; empty for a valid one.
        invalid_reasons: Vec<InvalidReason>,
    },
    /// Somebody wants the run to stop.
    CancelRun {
        /// The run.
        run: RunId,
    },
    /// Time has passed.
    Tick,
}

/// A run as the state machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPlan {
    /// The run.
    pub run: RunId,
    /// How many attempts a trial gets, at least 1.
    pub attempt_count_max: u32,
    /// Its trials; a trial's number is its position.
    pub trials: Vec<TrialPlan>,
    /// Invalid attempts before a restart.
    pub invalid_attempt_count: u32,
    /// Attempts without a result at a restart.
    pub open_attempts: Vec<OpenAttempt>,
}

/// A trial as the state machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialPlan {
    /// The node that executes it.
    pub node: NodeId,
    /// Its block.
    pub block: u32,
    /// Its treatment, for people.
    pub treatment: String,
    /// Time an attempt gets, from when it is assigned or taken up by a restarted collector.
    pub limit: Duration,
    /// Positions of the trials that must be valid before it is executed.
    pub needs: Vec<u32>,
    /// Attempts begun before a restart.
    pub attempt_count: u32,
    /// Whether one of them was valid.
    pub is_valid: bool,
}

/// An attempt that a restart of the collector found without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    /// The attempt.
    pub attempt: AttemptId,
    /// The start of the agent that was told to execute it; `None` when the store does not say.
    pub boot: Option<BootId>,
    /// Whether its outcome had been committed: then nothing is broken and it is assessed as ever.
    pub has_outcome: bool,
}
