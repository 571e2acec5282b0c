//! The phases of an inference trial: prepare, evaluate, cool down, idle, warm up, active, idle.

use std::pin::pin;
use std::time::Duration;

use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tinywatt_proto::v1::Phase;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::executor::{Executed, Workshop};
use super::{Dut, Launch, Measured, TrialError};
use crate::clock::Clock;
use crate::inference::worker::{Active, Evaluation, LoadRequest, Loaded};
use crate::sensor::load::{LoadState, LoadSwitch};
use crate::throttle::Throttling;

/// How long a reading may take from the sensor into the spool. A batch is a quarter of a second, and a slow card may
/// take seconds over a commit; what takes longer than this is not late but missing.
const SPOOL_LIMIT: Duration = Duration::from_secs(10);

/// Time between two showings of progress.
const SHOW_PERIOD: Duration = Duration::from_millis(500);

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// Executes a model on this node and measures it.
    pub(super) async fn infer(
        &self,
        trial: &v1::TrialKey,
        channel: &str,
        workload: &v1::InferenceWorkload,
    ) -> Result<Executed, TrialError> {
        let measured = find(&self.equipment.channels, channel)?;
        let known = self.equipment.launch.runtime();
        if workload.runtime != known {
            return Err(TrialError::Runtime { runtime: workload.runtime.clone(), known });
        }
        let throttled_before = throttling().await;

        let (mut dut, loaded) = self.prepare(trial, measured, workload).await?;

        self.board.show(trial, Phase::Evaluate, 0.0);
        let busy = self.busy(measured);
        let evaluation = dut.evaluate(|fraction| self.board.show(trial, Phase::Evaluate, fraction)).await?;
        drop(busy);
        self.mark(self.equipment.boot, trial, Phase::Evaluate, evaluation.window).await?;

        self.rest(trial, Phase::CoolDown, workload.cool_down_ns).await?;
        let idle_before = self.rest(trial, Phase::Idle, workload.idle_ns).await?;

        let busy = self.busy(measured);
        self.board.show(trial, Phase::WarmUp, 0.0);
        if workload.warm_up_inference_count > 0 {
            let warm_up = dut.warm_up(workload.warm_up_inference_count).await?;
            self.mark(self.equipment.boot, trial, Phase::WarmUp, warm_up).await?;
        }
        let duration = Duration::from_nanos(workload.active_ns);
        let active = self.showing(trial, Phase::Active, duration, dut.run_for(duration)).await?;
        drop(busy);
        self.mark(self.equipment.boot, trial, Phase::Active, active.window).await?;

        let idle_after = self.rest(trial, Phase::Idle, workload.idle_ns).await?;
        let memory = dut.finish().await?;
        let end = idle_after.unwrap_or(active.window).end();
        self.wait_for_readings(measured, end).await?;

        let idle = |window: Window| self.window(measured, Phase::Idle, window, 0);
        let windows = idle_before.map(idle).into_iter();
        let windows = windows.chain([self.window(measured, Phase::Active, active.window, active.inference_count)]);
        let windows = windows.chain(idle_after.map(idle)).collect();
        let inference = summary(workload, evaluation, active, loaded, memory.memory_bytes_peak);
        Ok(Executed {
            samples_boot: self.equipment.boot,
            samples_channel: measured.channel.channel,
            completed: v1::Completed {
                windows,
                inference: Some(inference),
                throttled_bits: throttling().await,
                throttled_bits_before: throttled_before,
                ..v1::Completed::default()
            },
        })
    }

    /// Gets the files, waits for a first reading and loads the model.
    async fn prepare(
        &self,
        trial: &v1::TrialKey,
        measured: &Measured,
        workload: &v1::InferenceWorkload,
    ) -> Result<(L::Dut, Loaded), TrialError> {
        let start = self.equipment.clock.now();
        let (artifacts, board) = (&self.equipment.artifacts, &self.board);
        let show = |fraction| board.show(trial, Phase::Prepare, fraction);
        let model = artifacts.fetch("model", workload.model.as_ref(), |part| show(part * 0.4)).await?;
        let inputs = artifacts.fetch("inputs", workload.inputs.as_ref(), |part| show(0.4 + part * 0.4)).await?;
        // A sensor that gives nothing fails the trial now, not after its windows.
        self.wait_for_readings(measured, start).await?;
        let request = LoadRequest {
            library: self.equipment.launch.library(),
            model,
            inputs,
            thread_count: workload.thread_count,
            input_scale: workload.input_scale,
            input_offset: workload.input_offset,
        };
        let launched = self.equipment.launch.launch(request).await?;
        if let Ok(window) = Window::new(start, self.equipment.clock.now()) {
            self.mark(self.equipment.boot, trial, Phase::Prepare, window).await?;
        }
        Ok(launched)
    }

    /// Lets time pass with the worker loaded and waiting. `None` when no time was asked for.
    async fn rest(&self, trial: &v1::TrialKey, phase: Phase, nanos: u64) -> Result<Option<Window>, TrialError> {
        if nanos == 0 {
            return Ok(None);
        }
        let duration = Duration::from_nanos(nanos);
        let start = self.equipment.clock.now();
        // The timer and the clock may differ by a little; a window is never shorter than asked for.
        loop {
            let left = start.after(duration).since(self.equipment.clock.now());
            if left.is_zero() {
                break;
            }
            self.showing(trial, phase, duration, sleep(left)).await;
        }
        let window = Window::new(start, self.equipment.clock.now()).expect("at least `duration`, which is not zero");
        self.mark(self.equipment.boot, trial, phase, window).await?;
        Ok(Some(window))
    }

    /// Shows progress by the clock while something is going on.
    async fn showing<T>(
        &self,
        trial: &v1::TrialKey,
        phase: Phase,
        duration: Duration,
        going_on: impl Future<Output = T> + Send,
    ) -> T {
        let start = self.equipment.clock.now();
        let mut going_on = pin!(going_on);
        let mut tick = interval(SHOW_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut going_on => return done,
                _ = tick.tick() => {
                    let passed = self.equipment.clock.now().since(start).as_secs_f64() / duration.as_secs_f64();
                    self.board.show(trial, phase, passed.min(1.0));
                }
            }
        }
    }

    /// Waits until the readings up to an instant are in the spool.
    async fn wait_for_readings(&self, measured: &Measured, until: MonoNs) -> Result<(), TrialError> {
        let mut spooled = measured.spooled.clone();
        let waited = timeout(SPOOL_LIMIT, spooled.wait_for(|&last| last >= until)).await;
        let is_there = matches!(waited, Ok(Ok(_)));
        let sensor = || TrialError::Sensor { channel: measured.channel.name.clone(), seconds: SPOOL_LIMIT.as_secs() };
        is_there.then_some(()).ok_or_else(sensor)
    }

    fn busy<'a>(&'a self, measured: &'a Measured) -> Busy<'a, C> {
        if let Some(load) = &measured.load {
            load.set(LoadState::Active, self.equipment.clock.now());
        }
        Busy { load: measured.load.as_ref(), clock: &self.equipment.clock }
    }

    fn window(&self, measured: &Measured, phase: Phase, window: Window, inference_count: u64) -> v1::Window {
        v1::Window {
            phase: phase.into(),
            start_mono_ns: window.start().0,
            end_mono_ns: window.end().0,
            inference_count,
            simulated_true_joules: measured
                .load
                .as_ref()
                .and_then(|load| load.true_energy(window))
                .map(|true_| true_.get()),
        }
    }
}

/// While it lives the emulated load works; then it idles, also when a trial is cancelled.
struct Busy<'a, C: Clock> {
    load: Option<&'a LoadSwitch>,
    clock: &'a C,
}

impl<C: Clock> Drop for Busy<'_, C> {
    fn drop(&mut self) {
        if let Some(load) = self.load {
            load.set(LoadState::Idle, self.clock.now());
        }
    }
}

/// Finds a channel by name; no name means the only one.
fn find<'a>(channels: &'a [Measured], name: &str) -> Result<&'a Measured, TrialError> {
    let known = || channels.iter().map(|measured| measured.channel.name.as_str()).collect::<Vec<_>>().join(", ");
    match channels {
        [only] if name.is_empty() => Ok(only),
        _ if name.is_empty() => Err(TrialError::ChannelNotNamed { count: channels.len(), known: known() }),
        _ => {
            let found = channels.iter().find(|measured| measured.channel.name == name);
            found.ok_or_else(|| TrialError::Channel { name: name.to_owned(), known: known() })
        }
    }
}

async fn throttling() -> Option<u32> {
    tokio::task::spawn_blocking(Throttling::read).await.ok().and_then(|throttling| throttling.bits())
}

fn summary(
    workload: &v1::InferenceWorkload,
    evaluation: Evaluation,
    active: Active,
    loaded: Loaded,
    memory_bytes_peak: u64,
) -> v1::InferenceSummary {
    v1::InferenceSummary {
        runtime: workload.runtime.clone(),
        runtime_version: loaded.runtime_version,
        thread_count: workload.thread_count,
        latency_histogram: active.latency_histogram,
        class_count: evaluation.class_count,
        confusion: evaluation.confusion,
        input_count: evaluation.input_count,
        outputs_sha256: evaluation.outputs_sha256.0.to_vec(),
        memory_bytes_before: loaded.memory_bytes_before,
        memory_bytes_peak,
        input: Some(loaded.input),
        output: Some(loaded.output),
    }
}
