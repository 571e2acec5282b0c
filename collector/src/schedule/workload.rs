//! How long an attempt at a workload takes, and when it has taken too long.

use std::time::Duration;

use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::job_input::Source;
use tinywatt_proto::v1::treatment::Workload;

/// Fetching artifacts, starting a worker, loading the model and warming it up, and the guards around the idle windows: four
/// of 250 ms, or more of a slow channel, but together less than a sixth of the shortest window that it carries: the limits
/// below leave room for that. An assumption, good for a plan only.
const PREPARE_ALLOWANCE: Duration = Duration::from_secs(5);

/// Evaluation, per byte of the input set: 3 ms for an image of CIFAR-10 (3,072 bytes). An assumption, as nobody knows
/// the node's speed before its first trial; [`is_open_ended`] keeps slower nodes from being cut off.
const EVALUATE_NS_PER_INPUT_BYTE: u64 = 1_000;

/// A recording is read and delivered at full speed; nothing waits for its windows.
const REPLAY_ALLOWANCE: Duration = Duration::from_secs(10);

/// What an attempt at a job may take beyond its time limits: fetching inputs, starting, hashing what was made.
const JOB_ALLOWANCE: Duration = Duration::from_secs(600);

/// Time to hand in a byte that a job made: 1 MB/s, a poor line.
const UPLOAD_NS_PER_BYTE: u64 = 1_000;

/// Most that is allowed for handing in, however much a job may make: nobody waits longer for a line that is down.
const UPLOAD_ALLOWANCE_MAX: Duration = Duration::from_secs(3_600);

/// Estimates how long one attempt takes: cool-down, two idle windows and the active window as they are asked for, and
/// an allowance for what has no fixed length (fetching, loading, evaluating every input once, warming up).
///
/// How long a job takes nobody knows: its time limit stands for it, which is an upper bound and no more.
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

/// Time an attempt gets before it is cancelled.
///
/// For inferences and recordings three times the estimate, because a node may be slower than assumed; a minute more,
/// so that a short trial survives a slow download. A job has a time limit that its agent holds it to, and `prepare`
/// the same one of its own: here both are added up, with what surrounds them, and only an agent that fails to do so
/// is ever cut off.
pub fn time_limit(workload: Option<&Workload>) -> Duration {
    let estimate = estimate(workload);
    let Some(Workload::Job(job)) = workload else {
        return estimate.saturating_mul(3).saturating_add(Duration::from_secs(60));
    };
    let prepare_ns = if job.prepare.is_empty() { 0 } else { job.time_limit_ns };
    let upload = Duration::from_nanos(job.output_bytes_max.saturating_mul(UPLOAD_NS_PER_BYTE));
    estimate
        .saturating_add(Duration::from_nanos(prepare_ns))
        .saturating_add(JOB_ALLOWANCE)
        .saturating_add(upload.min(UPLOAD_ALLOWANCE_MAX))
}

/// Whether a phase has no length of its own, so that progress in it gives the attempt its whole time again. A job's
/// command has a limit whatever it says that it does; installing what it needs may take as long as the line takes.
pub fn is_open_ended(phase: v1::Phase, workload: Option<&Workload>) -> bool {
    match phase {
        v1::Phase::Prepare => true,
        v1::Phase::Evaluate => !matches!(workload, Some(Workload::Job(_))),
        _ => false,
    }
}

/// What a workload takes from jobs of the same run.
pub fn needs<'a>(workload: Option<&'a Workload>) -> Vec<&'a v1::Produced> {
    match workload {
        Some(Workload::Inference(inference)) => inference.model_from.iter().collect(),
        Some(Workload::Job(job)) => {
            let produced = |input: &'a v1::JobInput| match &input.source {
                Some(Source::Produced(produced)) => Some(produced),
                Some(Source::Artifact(_)) | None => None,
            };
            job.inputs.iter().filter_map(produced).collect()
        }
        Some(Workload::Replay(_)) | None => Vec::new(),
    }
}

/// A job's random seed in one replicate: below 2^32, which every framework takes, and the same for all frameworks.
///
/// First four bytes, little-endian, of SHA-256("tinywatt seed 1" ‖ seed ‖ replicate), integers little-endian.
pub fn job_seed(seed: u64, replicate: u32) -> u32 {
    let mut text = b"tinywatt seed 1".to_vec();
    text.extend_from_slice(&seed.to_le_bytes());
    text.extend_from_slice(&replicate.to_le_bytes());
    let [a, b, c, d, ..] = Sha256::of(&text).0;
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(prepare: &[&str]) -> Workload {
        Workload::Job(v1::JobWorkload {
            prepare: prepare.iter().map(|word| (*word).to_owned()).collect(),
            idle_ns: 5_000_000_000,
            time_limit_ns: 3_600_000_000_000,
            output_bytes_max: 1 << 40,
            ..Default::default()
        })
    }

    #[test]
    fn a_job_is_held_to_its_own_limits_and_not_to_a_multiple() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(estimate(Some(&job(&[]))), hour + Duration::from_secs(10));
        assert_eq!(time_limit(Some(&job(&[]))), 2 * hour + Duration::from_secs(610));
        assert_eq!(time_limit(Some(&job(&["install"]))), 3 * hour + Duration::from_secs(610));
    }

    #[test]
    fn only_preparing_gives_a_job_its_time_again() {
        let job = job(&[]);
        assert!(is_open_ended(v1::Phase::Prepare, Some(&job)));
        assert!(!is_open_ended(v1::Phase::Evaluate, Some(&job)), "a job evaluates inside its command");
        assert!(!is_open_ended(v1::Phase::Train, Some(&job)) && !is_open_ended(v1::Phase::Active, Some(&job)));
        assert!(is_open_ended(v1::Phase::Evaluate, None));
    }

    /// A published seed must give the same models for ever.
    #[test]
    fn the_seed_of_a_replicate_never_changes() {
        assert_eq!([job_seed(7, 0), job_seed(7, 1), job_seed(8, 0)], [198_713_383, 2_726_068_079, 3_665_738_377]);
    }
}
