//! What can go wrong with a worker, as the agent sees it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tinywatt_proto::v1::FailureReason;

/// Whose fault a worker's own failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    Runtime,
    Model,
    Inputs,
    Worker,
}

/// A worker could not be started or did not do what it was told. It is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process could not be started.
    #[error("failed to start the worker process {executable}")]
    Start {
        /// The program.
        executable: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The library is missing, or of a release that the agent does not know.
    #[error("{message}")]
    Runtime {
        /// What the worker said.
        message: String,
    },
    /// The model cannot be loaded or executed, or does not fit the inputs.
    #[error("{message}")]
    Model {
        /// What the worker said.
        message: String,
    },
    /// The input set cannot be read.
    #[error("{message}")]
    Inputs {
        /// What the worker said.
        message: String,
    },
    /// The worker failed for a reason of its own.
    #[error("{message}")]
    Worker {
        /// What the worker said.
        message: String,
    },
    /// The process ended without an answer.
    #[error("the worker process was ended by {status} while {doing}{}", last_words(stderr))]
    Died {
        /// What it was doing.
        doing: String,
        /// Exit status or signal.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// No answer came in time. The process was killed.
    #[error("the worker process gave no answer for {} s while {doing} and was killed{}", limit.as_secs(), last_words(stderr))]
    Silent {
        /// What it was doing.
        doing: String,
        /// How long it was waited for.
        limit: Duration,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The answer made no sense.
    #[error("the worker process gave an unreadable answer while {doing}: {detail}")]
    Garbled {
        /// What it was doing.
        doing: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// An earlier command was dropped before its answer, so the next answer would be another question's.
    #[error("the worker process is still busy with a command that was abandoned")]
    Abandoned,
}

impl WorkerError {
    /// The reason that an outcome states.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Runtime { .. } => FailureReason::Runtime,
            Self::Model { .. } => FailureReason::Model,
            Self::Inputs { .. } => FailureReason::Artifact,
            Self::Start { .. }
            | Self::Worker { .. }
            | Self::Died { .. }
            | Self::Silent { .. }
            | Self::Garbled { .. }
            | Self::Abandoned => FailureReason::Worker,
        }
    }

    pub(super) fn reported(fault: Fault, message: String) -> Self {
        match fault {
            Fault::Runtime => Self::Runtime { message },
            Fault::Model => Self::Model { message },
            Fault::Inputs => Self::Inputs { message },
            Fault::Worker => Self::Worker { message },
        }
    }
}

fn last_words(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; its last words: {stderr}") }
}
