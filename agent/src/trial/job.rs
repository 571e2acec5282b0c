//! The phases of a job: prepare, idle, the command, idle; then what it made goes to the collector.

use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::ids::Sha256;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tinywatt_proto::v1::Phase;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::Failed;
use super::executor::{Executed, Workshop};
use super::metering::Meters;
use super::{Launch, TrialError};
use crate::clock::Clock;
use crate::job::{Folder, JobError, JobOutput, JobSpec, Jobs, Log, Step, StepKind, Tail, input_name};
use crate::link::artifacts::Content;
use crate::process::Ended;

/// Name that the log has as an artifact.
const LOG_NAME: &str = "log.txt";

/// How long a failed job's log may take to the collector. It has 4 MiB at most.
const FAILED_LOG_LIMIT: Duration = Duration::from_secs(10);

/// What is at hand while a job is executed.
struct Job<'a> {
    trial: &'a v1::TrialKey,
    workload: &'a v1::JobWorkload,
    meters: Meters<'a>,
    jobs: &'a Jobs,
    folder: &'a Folder,
    log: &'a Log,
    ending: &'a CancellationToken,
}

/// What the metered part gave.
struct Worked {
    idle_before: Option<Window>,
    active: Window,
    idle_after: Option<Window>,
    output: JobOutput,
    memory_bytes_peak: u64,
}

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// Executes a job and meters it. After `ending` was cancelled it returns soon, with an error and nothing running.
    pub(super) async fn job(
        &self,
        trial: &v1::TrialKey,
        assignment: &v1::Assignment,
        workload: &v1::JobWorkload,
        ending: &CancellationToken,
    ) -> Result<Executed, Failed> {
        let log = Log::default();
        match self.try_job(trial, assignment, workload, ending, &log).await {
            Ok(executed) => Ok(executed),
            Err(error) => {
                let last_lines = log.last_lines();
                Err(Failed { error, last_lines, log: self.hand_in_log(trial, log.content()).await })
            }
        }
    }

    /// Gives the collector a failed job's log, if that is soon done: the failure itself is more urgent.
    async fn hand_in_log(&self, trial: &v1::TrialKey, log: Vec<u8>) -> Option<v1::ArtifactRef> {
        if log.is_empty() {
            return None;
        }
        let content = Content::Bytes(log);
        let put = timeout(FAILED_LOG_LIMIT, self.equipment.artifacts.put(LOG_NAME, &content, |_| ())).await;
        let put = put.ok().and_then(Result::ok);
        if put.is_none() {
            tracing::warn!(run = trial.run_id, trial = trial.trial, "a failed job's log did not get to the collector");
        }
        put
    }

    async fn try_job(
        &self,
        trial: &v1::TrialKey,
        assignment: &v1::Assignment,
        workload: &v1::JobWorkload,
        ending: &CancellationToken,
        log: &Log,
    ) -> Result<Executed, TrialError> {
        let jobs = self.equipment.jobs.as_ref().ok_or(JobError::Disabled)?;
        let meters = Meters::find(&self.equipment.channels, assignment)?;
        let spec = JobSpec::of(workload)?;
        let throttled_before = self.throttled_bits().await;
        let folder = unless(ending, async { Ok(jobs.folder(trial).await?) }).await?;
        let job = Job { trial, workload, meters, jobs, folder: &folder, log, ending };
        let executed = self.execute_job(&job, &spec, throttled_before).await;
        folder.remove(ending).await;
        executed
    }

    async fn execute_job(
        &self,
        job: &Job<'_>,
        spec: &JobSpec,
        throttled_before: Option<u32>,
    ) -> Result<Executed, TrialError> {
        self.prepare_job(job, spec).await?;
        let worked = self.work_metered(job).await?;
        let (artifacts, log) = unless(job.ending, self.hand_in(job, &worked.output)).await?;

        let meters = &job.meters;
        let idle = |window: Window| meters.window(Phase::Idle, window, 0);
        let mut windows: Vec<_> = worked.idle_before.map(idle).into_iter().collect();
        windows.push(meters.window(Phase::Active, worked.active, 1));
        windows.extend(worked.output.phases.iter().map(|(phase, window)| meters.window(*phase, *window, 0)));
        windows.extend(worked.idle_after.map(idle));
        let summary = v1::JobSummary {
            kind: job.workload.kind,
            result_json: worked.output.json,
            artifacts,
            log,
            memory_bytes_peak: worked.memory_bytes_peak,
        };
        Ok(Executed {
            samples_boot: self.equipment.boot,
            samples_channel: meters.channel(),
            samples_further_channels: meters.further_channels(),
            completed: v1::Completed {
                windows,
                throttled_bits: self.throttled_bits().await,
                throttled_bits_before: throttled_before,
                job: Some(summary),
                ..v1::Completed::default()
            },
        })
    }

    /// Gets the inputs, writes the job file, waits for a first reading and lets the preparing command do its work.
    async fn prepare_job(&self, job: &Job<'_>, spec: &JobSpec) -> Result<(), TrialError> {
        let start = self.equipment.clock.now();
        unless(job.ending, async {
            let inputs = self.take_in(job).await?;
            spec.write(job.folder, &inputs)?;
            // A sensor that gives nothing fails the trial now, not after hours of training.
            self.wait_for_readings(&job.meters, start).await
        })
        .await?;
        if !job.workload.prepare.is_empty() {
            let look = || {
                let phase = "prepare".to_owned();
                let said = v1::JobProgress { phase, text: job.log.last_line(), ..v1::JobProgress::default() };
                self.board.show_job(job.trial, Phase::Prepare, 0.5, Some(said));
            };
            self.step(job, StepKind::Prepare, look).await?;
        }
        if let Ok(window) = Window::new(start, self.equipment.clock.now()) {
            self.mark(self.equipment.boot, job.trial, Phase::Prepare, window).await?;
        }
        Ok(())
    }

    /// Fetches the inputs into the job's folder.
    async fn take_in(&self, job: &Job<'_>) -> Result<Vec<(String, PathBuf, Sha256)>, TrialError> {
        let inputs = &job.workload.inputs;
        let mut taken = Vec::with_capacity(inputs.len());
        for (index, input) in (0u32..).zip(inputs) {
            let artifact = match &input.source {
                Some(v1::job_input::Source::Artifact(artifact)) => Some(artifact),
                _ => None,
            };
            let show = |part: f64| {
                let part = (f64::from(index) + part) / f64::from(u32::try_from(inputs.len()).unwrap_or(u32::MAX));
                self.board.show(job.trial, Phase::Prepare, 0.5 * part);
            };
            let path = self.equipment.artifacts.fetch("input of the job", artifact, show).await?;
            let sha256 = artifact.and_then(|artifact| Sha256::from_bytes(&artifact.sha256));
            let sha256 = sha256.expect("what was fetched has a name");
            let name = input_name(&input.name, artifact.map_or("", |artifact| &artifact.name));
            taken.push((input.name.clone(), job.folder.take_in(&name, path).await?, sha256));
        }
        Ok(taken)
    }

    /// Idle window, command, idle window.
    async fn work_metered(&self, job: &Job<'_>) -> Result<Worked, TrialError> {
        let (boot, trial, idle_ns) = (self.equipment.boot, job.trial, job.workload.idle_ns);
        let idle_before = unless(job.ending, self.idle(trial, &job.meters, idle_ns)).await?;

        let busy = self.busy(&job.meters);
        let totals = job.meters.totals();
        let mut tail = Tail::new(job.folder.progress());
        let look = || {
            tail.look();
            let said = v1::JobProgress { power_watts: job.meters.power_watts_since(&totals), ..tail.said() };
            self.board.show_job(trial, Phase::Active, tail.fraction(), Some(said));
        };
        let (start, Ended { at: end, memory_bytes_peak, .. }) = self.step(job, StepKind::Command, look).await?;
        drop(busy);
        if tail.garbage_count() > 0 {
            let garbage_count = tail.garbage_count();
            tracing::info!(run = trial.run_id, trial = trial.trial, garbage_count, "progress lines could not be read");
        }
        // A clock may be too coarse for a command that does nothing.
        let end = end.max(start.after(Duration::from_nanos(1)));
        let active = Window::new(start, end).expect("it ends later than it starts");
        self.mark(boot, trial, Phase::Active, active).await?;
        // A result that cannot be used fails the trial now, not after another idle window.
        let output = JobOutput::read(job.folder, active)?;
        if !output.phases.is_empty() {
            self.mark_all(boot, trial, &output.phases).await?;
        }

        let idle_after = unless(job.ending, self.idle(trial, &job.meters, idle_ns)).await?;
        let last = idle_after.unwrap_or(active).end().after(job.meters.guard());
        unless(job.ending, self.wait_for_readings(&job.meters, last)).await?;
        Ok(Worked { idle_before, active, idle_after, output, memory_bytes_peak })
    }

    /// Executes one of the job's commands.
    async fn step(
        &self,
        job: &Job<'_>,
        kind: StepKind,
        look: impl FnMut() + Send,
    ) -> Result<(MonoNs, Ended), TrialError> {
        let words = if kind == StepKind::Prepare { &job.workload.prepare } else { &job.workload.command };
        let step = Step {
            kind,
            words,
            time_limit: Duration::from_nanos(job.workload.time_limit_ns),
            output_bytes_max: job.workload.output_bytes_max,
            jobs: job.jobs,
            folder: job.folder,
            log: job.log,
        };
        step.run(&self.equipment.clock, job.ending, look).await?.ok_or(TrialError::Stopped)
    }

    /// Gives the collector what the job made, and its log: before the outcome, which speaks of them.
    async fn hand_in(
        &self,
        job: &Job<'_>,
        output: &JobOutput,
    ) -> Result<(Vec<v1::JobArtifact>, Option<v1::ArtifactRef>), TrialError> {
        let show = |name: &str, part: f64| {
            let (phase, text) = ("upload".to_owned(), name.to_owned());
            let said = v1::JobProgress { phase, text, ..v1::JobProgress::default() };
            self.board.show_job(job.trial, Phase::CoolDown, part, Some(said));
        };
        let mut artifacts = Vec::with_capacity(output.artifacts.len());
        for made in &output.artifacts {
            show(&made.name, 0.0);
            let content = Content::File(made.path());
            let artifact = self.equipment.artifacts.put(&made.name, &content, |part| show(&made.name, part)).await?;
            artifacts.push(v1::JobArtifact { role: made.role.clone(), artifact: Some(artifact) });
        }
        let log = job.log.content();
        if log.is_empty() {
            return Ok((artifacts, None));
        }
        let log = self.equipment.artifacts.put(LOG_NAME, &Content::Bytes(log), |part| show(LOG_NAME, part)).await?;
        Ok((artifacts, Some(log)))
    }
}

/// What is going on, unless the job is to end before.
async fn unless<T>(
    ending: &CancellationToken,
    going_on: impl Future<Output = Result<T, TrialError>>,
) -> Result<T, TrialError> {
    tokio::select! {
        biased;
        () = ending.cancelled() => Err(TrialError::Stopped),
        result = going_on => result,
    }
}
