//! What is executed next: a pure `(state, event) -> commands`, and the one task that acts on it.
//!
//! [`plan`] lays the trial list, [`State`] decides, [`driver`] is the only part with I/O. Never reads a sample.

mod check;
mod command;
mod event;
mod open;
mod plan;
mod reach;
mod state;
mod trials;

pub mod driver;
pub mod workload;

use std::time::Duration;

pub(crate) use driver::EXPERIMENT_BYTES_MAX;

pub use check::{ATTEMPT_COUNT_MAX, TRIAL_COUNT_MAX, check};
pub use command::{Command, Counts, RunEnd};
pub use event::{Event, OpenAttempt, RunPlan, TrialPlan};
pub use plan::{plan, run_duration};
pub use state::{NodeView, State};

/// How patient the schedule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long an outcome may be outstanding when nothing more arrives that it could be behind. A node that is gone
    /// has until the attempt's own limit, or a day when it has said that there is more to come.
    pub grace: Duration,
}

/// A reconnect with the longest backoff of an agent fits into a minute, and so does the way of a trial's samples
/// through a spool that kept up until then.
impl Default for Config {
    fn default() -> Self {
        Self { grace: Duration::from_secs(60) }
    }
}
