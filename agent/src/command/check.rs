//! `agent check`: what works, what is missing, and what to do about it.

mod checks;
mod counter;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::{Config, Environment};
use crate::inference::locate::Surroundings;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but worse than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it went.
    pub verdict: Verdict,
    /// What was looked at.
    pub subject: String,
    /// What was found, and what to do.
    pub detail: String,
}

impl Finding {
    fn new(verdict: Verdict, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict, subject: subject.into(), detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{verdict}  {}: {}", self.subject, self.detail)
    }
}

/// Runs the command. Exit code 1 when something does not work.
///
/// # Errors
/// When nothing can be printed.
pub fn run(config: &Config, environment: &Environment, surroundings: &Surroundings) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    let mut output = std::io::stdout().lock();
    let mut worst = Verdict::Ok;
    let mut say = |finding: Finding| {
        worst = worst.max(finding.verdict);
        writeln!(output, "{finding}").context("failed to print")
    };
    say(checks::configuration(config, environment))?;
    if config.sensors.is_empty() {
        say(Finding::new(
            Verdict::Fail,
            "sensors",
            config.require_sensors().err().map_or_else(String::new, |error| error.to_string()),
        ))?;
    }
    for sensor in &config.sensors {
        checks::sensor(sensor).into_iter().try_for_each(&mut say)?;
    }
    say(checks::clock())?;
    say(checks::runtime(config, surroundings))?;
    runtime.block_on(checks::linked(config, surroundings)).try_for_each(&mut say)?;
    say(checks::spool(config))?;
    say(checks::jobs(config))?;
    say(runtime.block_on(checks::collector(config)))?;
    say(checks::throttling())?;
    Ok(if worst == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
