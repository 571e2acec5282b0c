//! Follows a run until it ends. The run does not depend on it: leaving, or losing the collector, stops nothing.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tinywatt_proto::v1::{self, Phase, ReportFormat, RunState};
use tonic::{Code, Status};

use super::client::Client;
use super::output::Output;
use super::{report, table};

/// Time between attempts to find a collector again. It restarts in about a second.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Attempts in a row: a minute, which a restart by hand takes. The run resumes without us.
const RECONNECT_COUNT_MAX: u32 = 60;

/// Follows a run to its end and prints its report; an interrupt leaves it running.
pub(super) async fn follow(client: &mut Client, run: &str) -> anyhow::Result<ExitCode> {
    let display = Display::new();
    // Listening begins with the first poll. Polled first, it begins before anything is shown that one could interrupt.
    let state = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {
            display.finish();
            eprintln!(
                "run '{run}' goes on; come back with `collector runs --watch {run}`, stop it with `collector cancel {run}`"
            );
            return Ok(ExitCode::SUCCESS);
        }
        state = until_end(client, run, &display) => state,
    };
    display.finish();
    let state = state?;
    report::fetch(client, run, ReportFormat::Terminal, Output::open(None)?).await?;
    if state == RunState::Completed {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("run '{run}' ended {}", table::state(state));
    Ok(ExitCode::FAILURE)
}

async fn until_end(client: &mut Client, run: &str, display: &Display) -> anyhow::Result<RunState> {
    let mut attempt_count = 0;
    loop {
        match stretch(client, run, display, &mut attempt_count).await {
            Ok(state) => return Ok(state),
            Err(status) if is_lost(&status) && attempt_count < RECONNECT_COUNT_MAX => {
                if attempt_count == 0 {
                    display.line("lost the collector; waiting for it to come back");
                }
                attempt_count += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Err(status) => {
                let what = format!("following '{run}' (come back with `collector runs --watch {run}`)");
                return Err(client.failed(&what, &status));
            }
        }
    }
}

/// Follows until the run ends or the stream breaks. Any message sets the count of attempts back.
async fn stretch(client: &mut Client, run: &str, display: &Display, attempts: &mut u32) -> Result<RunState, Status> {
    let request = v1::WatchRequest { run_id: run.to_owned() };
    let mut changes = client.control.watch(request).await?.into_inner();
    let mut state = RunState::Unspecified;
    while let Some(change) = changes.message().await? {
        *attempts = 0;
        state = change.run.as_ref().map_or(state, v1::RunSummary::state);
        display.show(&change);
    }
    match state {
        // A collector that stops in good order ends its streams too.
        RunState::Running | RunState::Unspecified => Err(Status::unavailable("the stream ended before the run")),
        ended => Ok(ended),
    }
}

fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// A bar on a terminal, plain lines elsewhere.
struct Display {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Display {
    fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos} of {len} trials {wide_msg}");
        bar.set_style(style.expect("the template is right"));
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { bar, is_terminal }
    }

    fn show(&self, change: &v1::WatchResponse) {
        if let Some(run) = &change.run {
            self.bar.set_length(run.trial_count.into());
            self.bar.set_position(run.valid_count.into());
        }
        self.bar.set_message(running(&change.running));
        if !change.event.is_empty() {
            let position = change.run.as_ref().map(|run| format!("[{}/{}] ", run.valid_count, run.trial_count));
            let position = position.filter(|_| !self.is_terminal).unwrap_or_default();
            self.line(&format!("{position}{}", change.event));
        }
    }

    fn line(&self, text: &str) {
        if self.is_terminal { self.bar.println(text) } else { eprintln!("{text}") }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The trials executing now, on one line.
fn running(trials: &[v1::Progress]) -> String {
    let one = |progress: &v1::Progress| {
        let trial = progress.trial.as_ref().map(|trial| format!("trial {} ", trial.trial)).unwrap_or_default();
        format!("{trial}{} {:.0} %", phase(progress.phase()), progress.fraction.clamp(0.0, 1.0) * 100.0)
    };
    trials.iter().map(one).collect::<Vec<_>>().join(" | ")
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "waiting",
        Phase::Prepare => "preparing",
        Phase::Evaluate => "evaluating",
        Phase::Idle => "idle",
        Phase::WarmUp => "warming up",
        Phase::Active => "active",
        Phase::Train => "training",
        Phase::Optimise => "optimising",
        Phase::CoolDown => "cooling down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_each_node_does() {
        let progress = |trial, phase: Phase, fraction| v1::Progress {
            trial: Some(v1::TrialKey { run_id: "r".to_owned(), trial, attempt: 1 }),
            phase: phase.into(),
            fraction,
            job: None,
        };
        let text = running(&[progress(3, Phase::Active, 0.414), progress(7, Phase::WarmUp, 7.0)]);
        assert_eq!(text, "trial 3 active 41 % | trial 7 warming up 100 %");
        assert_eq!(running(&[]), "");
    }
}
