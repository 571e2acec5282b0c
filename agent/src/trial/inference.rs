//! The phases of an inference trial: prepare, evaluate, cool down, idle, warm up, active, idle.

use std::time::Duration;

use tinywatt_proto::time::Window;
use tinywatt_proto::v1;
use tinywatt_proto::v1::Phase;

use super::executor::{Executed, Workshop};
use super::metering::Meters;
use super::{Dut, Launch, TrialError};
use crate::clock::Clock;
use crate::inference::worker::{Active, Evaluation, LoadRequest, Loaded};

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// Executes a model on this node and measures it.
    pub(super) async fn infer(
        &self,
        trial: &v1::TrialKey,
        assignment: &v1::Assignment,
        workload: &v1::InferenceWorkload,
    ) -> Result<Executed, TrialError> {
        let meters = Meters::find(&self.equipment.channels, assignment)?;
        let known = self.equipment.launch.runtimes();
        if !known.contains(&workload.runtime.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(TrialError::Runtime { runtime: workload.runtime.clone(), known });
        }
        if let Some(jobs) = &self.equipment.jobs {
            jobs.cleared().await?;
        }
        let throttled_before = self.throttled_bits().await;

        let (mut dut, loaded) = self.prepare(trial, &meters, workload).await?;

        self.board.show(trial, Phase::Evaluate, 0.0);
        let busy = self.busy(&meters);
        let evaluation = dut.evaluate(|fraction| self.board.show(trial, Phase::Evaluate, fraction)).await?;
        drop(busy);
        self.mark(self.equipment.boot, trial, Phase::Evaluate, evaluation.window).await?;

        self.cool_down(trial, workload.cool_down_ns).await?;
        let idle_before = self.idle(trial, &meters, workload.idle_ns).await?;

        let busy = self.busy(&meters);
        self.board.show(trial, Phase::WarmUp, 0.0);
        if workload.warm_up_inference_count > 0 {
            let warm_up = dut.warm_up(workload.warm_up_inference_count).await?;
            self.mark(self.equipment.boot, trial, Phase::WarmUp, warm_up).await?;
        }
        let duration = Duration::from_nanos(workload.active_ns);
        let active = self.showing(trial, Phase::Active, duration, dut.run_for(duration)).await?;
        drop(busy);
        self.mark(self.equipment.boot, trial, Phase::Active, active.window).await?;

        let idle_after = self.idle(trial, &meters, workload.idle_ns).await?;
        let memory = dut.finish().await?;
        let end = idle_after.unwrap_or(active.window).end();
        self.wait_for_readings(&meters, end.after(meters.guard())).await?;

        let idle = |window: Window| meters.window(Phase::Idle, window, 0);
        let windows = idle_before.map(idle).into_iter();
        let windows = windows.chain([meters.window(Phase::Active, active.window, active.inference_count)]);
        let windows = windows.chain(idle_after.map(idle)).collect();
        let inference = summary(workload, evaluation, active, loaded, memory.memory_bytes_peak);
        Ok(Executed {
            samples_boot: self.equipment.boot,
            samples_channel: meters.channel(),
            samples_further_channels: meters.further_channels(),
            completed: v1::Completed {
                windows,
                inference: Some(inference),
                throttled_bits: self.throttled_bits().await,
                throttled_bits_before: throttled_before,
                ..v1::Completed::default()
            },
        })
    }

    /// Gets the files, waits for a first reading and loads the model.
    async fn prepare(
        &self,
        trial: &v1::TrialKey,
        meters: &Meters<'_>,
        workload: &v1::InferenceWorkload,
    ) -> Result<(L::Dut, Loaded), TrialError> {
        let start = self.equipment.clock.now();
        let (artifacts, board) = (&self.equipment.artifacts, &self.board);
        let show = |fraction| board.show(trial, Phase::Prepare, fraction);
        let model = artifacts.fetch("model", workload.model.as_ref(), |part| show(part * 0.4)).await?;
        let inputs = artifacts.fetch("inputs", workload.inputs.as_ref(), |part| show(0.4 + part * 0.4)).await?;
        // A sensor that gives nothing fails the trial now, not after its windows.
        self.wait_for_readings(meters, start).await?;
        let request = LoadRequest {
            library: None,
            model,
            inputs,
            thread_count: workload.thread_count,
            engine: workload.engine.clone(),
            input_scale: workload.input_scale,
            input_offset: workload.input_offset,
        };
        let launched = self.equipment.launch.launch(&workload.runtime, request).await?;
        if let Ok(window) = Window::new(start, self.equipment.clock.now()) {
            self.mark(self.equipment.boot, trial, Phase::Prepare, window).await?;
        }
        Ok(launched)
    }
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
