//! Why a job failed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::v1::FailureReason;

use super::StepKind;

/// A job did not become a result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// This node executes none.
    #[error(
        "this node executes no jobs: set `enabled = true` under [jobs] in its agent.toml and start the agent again (that \
         lets the collector start any command as the agent's user), or name another node in the experiment"
    )]
    Disabled,
    /// The assignment cannot be executed by anybody.
    #[error("the assignment of the job cannot be used: {}", .problems.join("; "))]
    Assignment {
        /// All that is wrong.
        problems: Vec<String>,
    },
    /// The job's folder cannot be used.
    #[error("failed to {action} {}: check the agent's `state_dir` and its free space", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be started.
    #[error("failed to start {step} `{program}`{}", start_advice(source))]
    Start {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended otherwise than with exit code 0.
    #[error(
        "{step} `{program}` was ended by {status}; {}",
        if *has_log { "its log tells why" } else { "it wrote nothing that tells why: try it by hand on this node" }
    )]
    Ended {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// Exit code or signal.
        status: String,
        /// Whether it wrote anything.
        has_log: bool,
    },
    /// It took too long.
    #[error(
        "{step} `{program}` was ended after {:?}, its time limit: give it more time in the experiment, or less to do",
        limit
    )]
    Time {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// What it was given.
        limit: Duration,
    },
    /// It wrote too much.
    #[error(
        "{step} `{program}` was ended: its folder held {found_bytes} bytes in {file_count} files, and it may hold {limit}; \
         raise the limit in the experiment, or write less"
    )]
    Output {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// Bytes found.
        found_bytes: u64,
        /// Files found.
        file_count: u64,
        /// The limit that was met.
        limit: Limit,
    },
    /// It works where nobody counts.
    #[error(
        "{step} `{program}` was ended: {} is not the folder any more that the agent made, but a link or something else in \
         its place; let it write into that folder, and if the disk is too small, put the agent's `state_dir` on another",
        output_dir.display()
    )]
    Replaced {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// Where its output should be.
        output_dir: PathBuf,
    },
    /// The disk is full, whoever filled it.
    #[error(
        "{step} `{program}` was ended: only {free_bytes} bytes are free on the disk of {}, which the agent needs for its \
         samples; free some space there",
        folder.display()
    )]
    DiskFull {
        /// Which command.
        step: StepKind,
        /// As the assignment names it.
        program: String,
        /// Bytes left.
        free_bytes: u64,
        /// The job's folder.
        folder: PathBuf,
    },
    /// It left no result.
    #[error(
        "the command ended with success and left no result.json{}: it must write `result.json.part` beside the path that \
         job.json names as \"result\", and rename it to that when all is done",
        if *is_part_left { ", only result.json.part" } else { "" }
    )]
    NoResult {
        /// The rename is what is missing.
        is_part_left: bool,
    },
    /// Its result cannot be used.
    #[error("the job's result.json cannot be used: {}", .problems.join("; "))]
    Result {
        /// All that is wrong.
        problems: Vec<String>,
    },
}

/// What a job's folder may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes.
    Bytes(u64),
    /// Files.
    Files(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(limit) => write!(f, "{limit} bytes"),
            Self::Files(limit) => write!(f, "{limit} files"),
        }
    }
}

impl JobError {
    /// The reason that the outcome states.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Disabled => FailureReason::Runtime,
            _ => FailureReason::Job,
        }
    }
}

fn start_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            ", which is neither beside the agent nor in PATH (or its interpreter is missing): install it on this node, or \
             give its full path"
        }
        // Of the program, or of a folder in PATH in which it might be.
        io::ErrorKind::PermissionDenied => {
            ", which the agent's user may not execute or find: install it for that user, or give its full path"
        }
        _ => "",
    }
}
