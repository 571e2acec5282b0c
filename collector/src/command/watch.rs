//! Follows a run until it ends. The run does not depend on it: leaving, or losing the collector, stops nothing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1::{self, Phase, ReportFormat, RunState};
use tonic::{Code, Status};

use super::client::Client;
use super::output::Output;
use super::{report, table};
use crate::clock::Uptime;

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

/// A bar on a terminal, and a line below it for every job; plain lines elsewhere.
struct Display {
    bars: MultiProgress,
    bar: ProgressBar,
    /// By what each belongs to.
    jobs: Mutex<BTreeMap<JobKey, ProgressBar>>,
    plain: Mutex<PlainLines>,
    uptime: Uptime,
    is_terminal: bool,
}

/// Run, trial, attempt.
type JobKey = (String, u32, u32);

impl Display {
    fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = bars.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos} of {len} trials {wide_msg}");
        bar.set_style(style.expect("the template is right"));
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        let (jobs, plain) = (Mutex::default(), Mutex::default());
        Self { bars, bar, jobs, plain, uptime: Uptime::start(), is_terminal }
    }

    fn show(&self, change: &v1::WatchResponse) {
        if let Some(run) = &change.run {
            self.bar.set_length(run.trial_count.into());
            self.bar.set_position(run.valid_count.into());
        }
        let (jobs, others): (Vec<_>, Vec<_>) = change.running.iter().partition(|progress| progress.job.is_some());
        self.bar.set_message(running(&others));
        let jobs: BTreeMap<JobKey, &v1::Progress> =
            jobs.into_iter().map(|progress| (key(progress), progress)).collect();
        if self.is_terminal {
            self.show_jobs(&jobs);
        } else {
            let lines = self.plain.lock().unwrap_or_else(PoisonError::into_inner).take(self.uptime.now(), &jobs);
            lines.iter().for_each(|line| self.line(line));
        }
        if !change.event.is_empty() {
            let position = change.run.as_ref().map(|run| format!("[{}/{}] ", run.valid_count, run.trial_count));
            let position = position.filter(|_| !self.is_terminal).unwrap_or_default();
            self.line(&format!("{position}{}", change.event));
        }
    }

    /// Keeps one line for each job.
    fn show_jobs(&self, running: &BTreeMap<JobKey, &v1::Progress>) {
        let mut bars = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        bars.retain(|key, bar| {
            let is_running = running.contains_key(key);
            if !is_running {
                bar.finish_and_clear();
                self.bars.remove(bar);
            }
            is_running
        });
        for (key, progress) in running {
            let bar = bars.entry(key.clone()).or_insert_with(|| {
                let style = ProgressStyle::with_template("{wide_msg}").expect("the template is right");
                self.bars.add(ProgressBar::new_spinner().with_style(style))
            });
            bar.set_message(job(progress));
        }
    }

    fn line(&self, text: &str) {
        if self.is_terminal { self.bar.println(text) } else { eprintln!("{text}") }
    }

    fn finish(&self) {
        for bar in self.jobs.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bar.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}

/// Which lines of jobs are worth printing where no line can be replaced.
#[derive(Debug, Default)]
struct PlainLines {
    /// What was printed last of each job, and when.
    printed: BTreeMap<JobKey, (Stage, MonoNs)>,
}

/// What changes rarely about a job.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    phase: i32,
    told: String,
    epoch: Option<u32>,
}

/// Time between two lines of one job: a log stays readable however fast the epochs are.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl PlainLines {
    /// Takes in what executes, and gives the lines of jobs whose epoch or phase is another one, a few seconds apart.
    fn take(&mut self, at: MonoNs, running: &BTreeMap<JobKey, &v1::Progress>) -> Vec<String> {
        self.printed.retain(|key, _| running.contains_key(key));
        let mut lines = Vec::new();
        for (key, progress) in running {
            let told = progress.job.as_ref();
            let stage = Stage {
                phase: progress.phase,
                told: told.map(|job| job.phase.clone()).unwrap_or_default(),
                epoch: told.and_then(|job| job.epoch),
            };
            let is_due = self
                .printed
                .get(key)
                .is_none_or(|(last, printed_at)| *last != stage && printed_at.after(LINE_EVERY) <= at);
            if is_due {
                lines.push(job(progress));
                self.printed.insert(key.clone(), (stage, at));
            }
        }
        lines
    }
}

fn key(progress: &v1::Progress) -> JobKey {
    let trial = progress.trial.clone().unwrap_or_default();
    (trial.run_id, trial.trial, trial.attempt)
}

/// The trials executing now, on one line.
fn running(trials: &[&v1::Progress]) -> String {
    trials.iter().map(|progress| short(progress)).collect::<Vec<_>>().join(" | ")
}

fn short(progress: &v1::Progress) -> String {
    let trial = progress.trial.as_ref().map(|trial| format!("trial {} ", trial.trial)).unwrap_or_default();
    format!("{trial}{} {:.0} %", phase(progress.phase()), progress.fraction.clamp(0.0, 1.0) * 100.0)
}

/// What a job says of itself, on one line.
fn job(progress: &v1::Progress) -> String {
    let Some(job) = &progress.job else { return short(progress) };
    // After the command and its idle window there is nothing left but to hand in what was made.
    let is_handing_in = progress.phase() == Phase::CoolDown;
    let begin =
        if is_handing_in { short(progress).replace(phase(Phase::CoolDown), "handing in") } else { short(progress) };
    let mut parts = vec![begin];
    let own = line(&job.phase);
    if !own.is_empty() && own != phase(progress.phase()) {
        parts.push(own);
    }
    parts.extend(job.epoch.map(|epoch| {
        let of = job.epoch_count.map(|count| format!(" of {count}")).unwrap_or_default();
        format!("epoch {epoch}{of}")
    }));
    parts.extend(job.loss.map(|loss| format!("loss {loss:.4}")));
    parts.extend(job.accuracy.map(|accuracy| format!("accuracy {:.1} %", accuracy * 100.0)));
    parts.extend(job.power_watts.map(|watts| format!("{watts:.2} W")));
    parts.extend(Some(line(&job.text)).filter(|text| !text.is_empty()));
    parts.join(", ")
}

/// Most of a job's own words that a line has room for.
const WORDS_CHARACTERS_MAX: usize = 80;

/// A job's own words: what it writes must not move the cursor.
fn line(words: &str) -> String {
    let plain = words.chars().map(|character| if character.is_control() { ' ' } else { character });
    plain.take(WORDS_CHARACTERS_MAX).collect::<String>().trim().to_owned()
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
        let text = running(&[&progress(3, Phase::Active, 0.414), &progress(7, Phase::WarmUp, 7.0)]);
        assert_eq!(text, "trial 3 active 41 % | trial 7 warming up 100 %");
        assert_eq!(running(&[]), "");
    }
    fn training(epoch: u32) -> v1::Progress {
        let told = v1::JobProgress {
            phase: "train".to_owned(),
            epoch: Some(epoch),
            epoch_count: Some(10),
            loss: Some(1.23456),
            accuracy: Some(0.5512),
            power_watts: Some(4.2),
            text: "step\x1b[2J 7\nof 9".to_owned(),
        };
        v1::Progress {
            trial: Some(v1::TrialKey { run_id: "r".to_owned(), trial: 4, attempt: 1 }),
            phase: Phase::Active.into(),
            fraction: 0.25,
            job: Some(told),
        }
    }

    #[test]
    fn a_job_tells_its_epoch_loss_accuracy_and_watts_on_one_line() {
        let text = job(&training(3));
        assert_eq!(
            text,
            "trial 4 active 25 %, train, epoch 3 of 10, loss 1.2346, accuracy 55.1 %, 4.20 W, step [2J 7 of 9"
        );
        let silent = v1::Progress { job: Some(v1::JobProgress::default()), ..training(3) };
        assert_eq!(job(&silent), "trial 4 active 25 %");
    }

    #[test]
    fn a_log_gets_a_line_an_epoch_and_one_in_five_seconds_at_most() {
        let mut plain = PlainLines::default();
        let mut take = |milliseconds: u64, epoch: u32| {
            let progress = training(epoch);
            let at = MonoNs(0).after(Duration::from_millis(milliseconds));
            plain.take(at, &BTreeMap::from([(key(&progress), &progress)])).len()
        };
        assert_eq!(take(0, 1), 1);
        assert_eq!(take(10_000, 1), 0, "the same epoch");
        assert_eq!(take(10_001, 2), 1);
        assert_eq!(take(12_000, 3), 0, "too soon");
        assert_eq!(take(15_001, 4), 1);
        plain.take(MonoNs(0), &BTreeMap::new());
        assert!(plain.printed.is_empty(), "what has ended is forgotten");
    }
}
