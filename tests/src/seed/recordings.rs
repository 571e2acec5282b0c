//! A run that replays what a meter recorded on a microcontroller.

use super::lines::Point;
use super::runs::{JOB_FIELDS, Run, run_point};
use super::{RUN_RECORDINGS, S, START_NS, scatter};

/// Begin of the recordings.
const RECORDINGS_NS: i64 = START_NS + 180 * 60 * S;

/// Three recordings of a microcontroller, five windows each.
pub(super) fn add(points: &mut Vec<Point>) {
    let run = Run {
        name: RUN_RECORDINGS,
        experiment: "energyrunner",
        dataset: "",
        family: "",
        start_ns: RECORDINGS_NS,
        nodes: &[],
        host_kind: "measured_elsewhere",
        scale: 1.0,
        accuracy_less: 0.0,
    };
    points.push(run_point(&run).field("kinds", "measured elsewhere"));
    for (place, (treatment, joules)) in
        [("kws", 1.31e-4), ("vww", 8.7e-4), ("resnet8", 1.12e-3)].into_iter().enumerate()
    {
        let place = i64::try_from(place).expect("three");
        points.push(
            Point::new("result", run.start_ns)
                .tag("run", run.name)
                .tag("experiment", run.experiment)
                .tag("node", "bench")
                .tag("treatment", treatment)
                .tag("workload", "recording")
                .tag("kind", run.host_kind)
                .field("joules_per_inference", joules)
                .field("joules_per_inference_above_idle", joules * 0.8)
                .field("joules_per_inference_interval95_half_width", joules * 0.004)
                .field("joules_per_inference_above_idle_interval95_half_width", joules * 0.004)
                .field("joules_per_correct_inference", joules / 0.91)
                .field("accuracy", 0.91)
                .without(&["dataset", "family", "framework", "technique", "joules_per_inference_expanded_uncertainty"])
                .without(&["joules_per_inference_above_idle_expanded_uncertainty", "is_on_pareto_front", "notes"])
                .without(JOB_FIELDS),
        );
        points.push(
            Point::new("trial", run.start_ns + place * 100 * S)
                .tag("run", run.name)
                .tag("experiment", run.experiment)
                .tag("node", "bench")
                .tag("treatment", treatment)
                .tag("workload", "recording")
                .tag("kind", run.host_kind)
                .tag("valid", "true")
                .field("trial", place)
                .field("attempt", 1_i64)
                .field("ended_unix_ns", run.start_ns + (place * 100 + 100) * S)
                .field("joules_per_inference", joules)
                .field("sensor", format!("{treatment}.csv"))
                .without(&["dataset", "family", "framework", "technique", "invalid_reasons", "job_seconds"]),
        );
        for window in 0..5_i64 {
            let start_ns = run.start_ns + (place * 5 + window) * 20 * S;
            points.push(
                Point::new("window", start_ns)
                    .tag("run", run.name)
                    .tag("node", "bench")
                    .tag("treatment", treatment)
                    .tag("kind", run.host_kind)
                    .tag("phase", "active")
                    .tag("valid", "true")
                    .field("trial", place)
                    .field("attempt", 1_i64)
                    .field("channel", format!("{treatment}.csv"))
                    .field("end_unix_ns", start_ns + 10 * S)
                    .field("seconds", 10.0)
                    .field("joules", joules * 900.0 * (1.0 + 0.01 * scatter(points.len())))
                    .field("inference_count", 900_i64)
                    .field("watts_mean", joules * 90.0)
                    .without(&["joules_expanded_uncertainty", "simulated_true_joules"]),
            );
        }
    }
}
