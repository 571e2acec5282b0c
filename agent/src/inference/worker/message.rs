//! What agent and worker say to each other: one JSON object a line, question and answer in turn.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tinywatt_proto::time::{EmptyWindow, MonoNs, Window};

use super::error::Fault;
use crate::inference::tensor::TensorInfo;

/// Longest line, bytes. The largest is a confusion matrix: a million counts of up to 20 digits are far beyond what an
/// outcome may carry (4 MiB on the wire), 2 bytes each is what they are mostly.
pub(super) const LINE_BYTES_MAX: u64 = 8 << 20;

/// Most classes: a confusion matrix of 1,000 × 1,000 (ImageNet) still fits into an outcome.
pub(super) const CLASS_COUNT_MAX: u32 = 1_000;

/// From the agent. Durations in ns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Load(Load),
    Evaluate,
    WarmUp { inference_count: u32 },
    RunFor { duration_ns: u64 },
    Finish,
}

/// What the worker loads.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) library: Option<PathBuf>,
    pub(super) model: PathBuf,
    pub(super) inputs: PathBuf,
    pub(super) thread_count: u32,
    /// Quantised engine that the model must have been made for; empty: as the model says.
    #[serde(default)]
    pub(super) engine: String,
    pub(super) input_scale: f64,
    pub(super) input_offset: f64,
}

/// From the worker. `Progress` may come any number of times before an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Response {
    Progress { fraction: f64 },
    Loaded { runtime_version: String, input: TensorInfo, output: TensorInfo, memory_bytes_before: u64 },
    Evaluated { window: Span, confusion: Vec<u64>, class_count: u32, input_count: u32, outputs_sha256: String },
    WarmedUp { window: Span },
    Ran { window: Span, inference_count: u64, beyond_histogram_count: u64, latency_histogram: String },
    Finished { memory_bytes_peak: u64 },
    Failed { fault: Fault, message: String },
}

/// A window on the monotonic clock, which both processes share.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Span {
    start_mono_ns: u64,
    end_mono_ns: u64,
}

impl Span {
    /// The span between two looks at the clock, at least 1 ns long.
    pub(super) fn between(start: MonoNs, end: MonoNs) -> Self {
        Self { start_mono_ns: start.0, end_mono_ns: end.0.max(start.0 + 1) }
    }

    /// The window.
    pub(super) fn window(self) -> Result<Window, EmptyWindow> {
        Window::new(MonoNs(self.start_mono_ns), MonoNs(self.end_mono_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_confusion_matrix_fits_into_a_line() {
        let cells = u64::from(CLASS_COUNT_MAX) * u64::from(CLASS_COUNT_MAX);
        // "123," for each: a thousand inputs in every cell would be a billion inputs.
        assert!(cells * 4 < LINE_BYTES_MAX);
    }
}
