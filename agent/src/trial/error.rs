//! Why an assignment failed.

use tinywatt_proto::rail::Overlap;
use tinywatt_proto::v1;
use tinywatt_proto::v1::FailureReason;

use crate::inference::worker::WorkerError;
use crate::job::JobError;
use crate::link::artifacts::{ArtifactError, UploadError};
use crate::sensor::replay::TraceError;
use crate::spool::SpoolBroken;
use tinywatt_proto::chain::Chain;

/// An assignment failed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The collector asked for it.
    #[error("cancelled: {reason}")]
    Cancelled {
        /// As the collector gave it.
        reason: String,
    },
    /// The agent ends.
    #[error("the agent was stopped in mid-trial")]
    Stopped,
    /// Another assignment is executing.
    #[error("the node is executing trial {trial} of run {run}, and it executes one at a time", trial = running.trial, run = running.run_id)]
    Busy {
        /// What is executing.
        running: v1::TrialKey,
    },
    /// The assignment holds nothing that this agent can do.
    #[error("the assignment holds no workload that this agent knows: is the agent older than the collector?")]
    Workload,
    /// The runtime is another one.
    #[error("this agent has no runtime '{runtime}' (it has: {known}): `agent check` says what is missing")]
    Runtime {
        /// As the assignment names it.
        runtime: String,
        /// What there is, comma-separated.
        known: String,
    },
    /// There is no such channel.
    #[error("no channel '{name}' on this node; there are: {known}")]
    Channel {
        /// As the assignment names it.
        name: String,
        /// Names, comma-separated.
        known: String,
    },
    /// None was named, and there is not exactly one.
    #[error("the assignment names no channel, and the node has {count}: {known}; name one in the experiment")]
    ChannelNotNamed {
        /// How many there are.
        count: usize,
        /// Names, comma-separated.
        known: String,
    },
    /// One was named more than once.
    #[error("the assignment names channel '{name}' twice, and its energy would count twice: name each channel once")]
    ChannelTwice {
        /// Name of the channel.
        name: String,
    },
    /// Two of them hold the same joules.
    #[error("{0}; name one of the two in the experiment")]
    ChannelsOverlap(Overlap),
    /// The sensor gives no readings, or they do not get into the spool.
    #[error(
        "no reading of channel '{channel}' got into the spool for {seconds} s: see `agent check` for the sensor, and the \
         agent's log for a full spool"
    )]
    Sensor {
        /// Name of the channel.
        channel: String,
        /// How long they were waited for.
        seconds: u64,
    },
    /// An artifact is not available.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The recording cannot be read.
    #[error("the recording cannot be replayed")]
    Trace(#[from] TraceError),
    /// The device under test failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The job failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// What the job made did not get to the collector.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The spool is broken: nothing can be told any more.
    #[error(transparent)]
    Spool(#[from] SpoolBroken),
}

impl TrialError {
    /// The reason that the outcome states.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Cancelled { .. } => FailureReason::Cancelled,
            Self::Stopped | Self::Busy { .. } | Self::Spool(_) => FailureReason::Worker,
            Self::Workload | Self::Runtime { .. } => FailureReason::Runtime,
            Self::Channel { .. }
            | Self::ChannelNotNamed { .. }
            | Self::ChannelTwice { .. }
            | Self::ChannelsOverlap(_)
            | Self::Sensor { .. } => FailureReason::Sensor,
            Self::Artifact(_) | Self::Trace(_) => FailureReason::Artifact,
            Self::Worker(error) => error.reason(),
            Self::Job(error) => error.reason(),
            Self::Upload(_) => FailureReason::Job,
        }
    }
}

/// An assignment that failed, with what a job had written until then.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: TrialError,
    /// The last lines of its log; empty for other workloads.
    pub(super) last_lines: String,
    /// The log, when the collector has it.
    pub(super) log: Option<v1::ArtifactRef>,
}

impl From<TrialError> for Failed {
    fn from(error: TrialError) -> Self {
        Self { error, last_lines: String::new(), log: None }
    }
}

impl Failed {
    /// The failure as the outcome states it.
    pub(super) fn failure(self) -> v1::Failure {
        let mut message = Chain(&self.error).to_string();
        if !self.last_lines.is_empty() {
            message += "; its last lines:\n";
            message += &self.last_lines;
        }
        v1::Failure { reason: self.error.reason().into(), message, log: self.log }
    }
}
