//! A job: any command that reads one JSON file and leaves a result, its artifacts and progress beside it.
//!
//! Makes a job's private folder, starts its commands, holds them to their limits, and reads what they leave. Knows
//! neither phases nor sensors, and believes nothing that a command writes before it is checked.

mod config;
mod error;
mod file;
mod folder;
mod log;
mod plain;
mod progress;
mod result;
mod step;
mod strays;

pub use config::JobsConfig;
pub use error::JobError;
pub(crate) use file::{JobSpec, input_name};
pub(crate) use folder::Folder;
pub use folder::Jobs;
pub(crate) use log::Log;
pub(crate) use progress::Tail;
pub(crate) use result::JobOutput;
pub(crate) use step::{Step, StepKind};

/// Names the job file to a command and to all that it starts, so that nothing of a job can hide from its end.
pub const JOB_VARIABLE: &str = "TINYWATT_JOB";
