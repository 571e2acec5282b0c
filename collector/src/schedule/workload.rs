//! How long an attempt at a workload takes, and when it has taken too long.

use std::time::Duration;

use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;

/// Fetching artifacts, starting a worker, loading the model and warming it up. An assumption, good for a plan only.
const PREPARE_ALLOWANCE: Duration = Duration::from_secs(5);

/// Evaluation, per byte of the input set: 3 ms for an image of CIFAR-10 (3,072 bytes). An assumption, as nobody knows
/// the node's speed before its first trial; [`is_open_ended`] keeps slower nodes from being cut off.
const EVALUATE_NS_PER_INPUT_BYTE: u64 = 1_000;

/// A recording is read and delivered at full speed; nothing waits for its windows.
const REPLAY_ALLOWANCE: Duration = Duration::from_secs(10);

/// Estimates how long one attempt takes: cool-down, two idle windows and the active window as they are asked for, and
/// an allowance for what has no fixed length (fetching, loading, evaluating every input once, warming up).
pub fn estimate(workload: Option<&Workload>) -> Duration {
    match workload {
        Some(Workload::Inference(inference)) => {
            let windows_ns = inference
                .idle_ns
                .saturating_mul(2)
                .saturating_add(inference.active_ns)
                .saturating_add(inference.cool_down_ns);
            let input_bytes = inference.inputs.as_ref().map_or(0, |inputs| inputs.size_bytes);
            let evaluate_ns = input_bytes.saturating_mul(EVALUATE_NS_PER_INPUT_BYTE);
            PREPARE_ALLOWANCE.saturating_add(Duration::from_nanos(windows_ns.saturating_add(evaluate_ns)))
        }
        Some(Workload::Job(job)) => {
            Duration::from_nanos(job.idle_ns.saturating_mul(2).saturating_add(job.time_limit_ns))
        }
        Some(Workload::Replay(_)) | None => REPLAY_ALLOWANCE,
    }
}

/// Time an attempt gets before it is cancelled. Three times the estimate, because a node may be slower than assumed;
/// a minute more, so that a short trial survives a slow download.
pub fn time_limit(estimate: Duration) -> Duration {
    estimate.saturating_mul(3).saturating_add(Duration::from_secs(60))
}

/// Whether a phase has no length of its own, so that progress in it gives the attempt its whole time again.
pub fn is_open_ended(phase: v1::Phase) -> bool {
    matches!(phase, v1::Phase::Prepare | v1::Phase::Evaluate)
}
