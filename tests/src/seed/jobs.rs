//! Trainings and optimisations of a run: their results, phases and epochs.

use super::lines::Point;
use super::runs::{Attempt, REPLICATES, Run};
use super::{S, scatter};

/// A training and its epochs in each framework and replicate.
pub(super) fn add(points: &mut Vec<Point>, run: &Run) {
    for (index, framework) in ["tensorflow", "torch"].into_iter().enumerate() {
        let treatment = format!("{}-{framework}", run.family);
        let seconds = if index == 0 { 71.0 } else { 58.0 } * run.scale;
        points.push(job_result(run, framework, &treatment, seconds));
        for replicate in 0..REPLICATES {
            let start_ns = run.start_ns + (replicate * 2 + i64::try_from(index).expect("two")) * 180 * S;
            let trial = 200 + replicate * 2 + i64::try_from(index).expect("two");
            job_attempt(points, run, framework, &treatment, (trial, replicate, 1, start_ns, true), seconds);
        }
        points.push(optimisation(run, framework, index));
    }
}

fn job_result(run: &Run, framework: &str, treatment: &str, seconds: f64) -> Point {
    let joules = seconds * 62.0;
    let mut point = Point::new("result", run.start_ns)
        .tag("run", run.name)
        .tag("experiment", run.experiment)
        .tag("dataset", run.dataset)
        .tag("node", "gpu-host")
        .tag("treatment", treatment)
        .tag("family", run.family)
        .tag("framework", framework)
        .tag("workload", "train")
        .tag("kind", run.host_kind);
    for (name, value) in [
        ("joules_per_inference", joules),
        ("joules_per_inference_above_idle", joules * 0.44),
        ("train_seconds", seconds * 0.86),
        ("train_joules", joules * 0.88),
        ("train_joules_interval95_half_width", joules * 0.02),
        ("train_joules_expanded_uncertainty", joules * 0.05),
        ("train_co2_grams", joules * 0.88 / 3.6e6 * 380.0),
        ("evaluate_seconds", seconds * 0.06),
        ("evaluate_joules", joules * 0.05),
        ("evaluate_co2_grams", joules * 0.05 / 3.6e6 * 380.0),
        ("job_seconds", seconds),
        ("job_joules", joules),
        ("job_joules_interval95_half_width", joules * 0.02),
        ("job_joules_expanded_uncertainty", joules * 0.05),
        ("job_co2_grams", joules / 3.6e6 * 380.0),
        ("accuracy", 0.985 - run.accuracy_less),
    ] {
        point = point.field(name, value);
    }
    point.field("model_file_bytes", 181_204_i64).field("checkpoint_file_bytes", 551_000_i64).without(&[
        "technique",
        "notes",
        "is_on_pareto_front",
        "accuracy_points_to_parent",
        "break_even_inference_count",
        "joules_per_correct_inference",
        "joules_per_correct_inference_interval95_half_width",
        "joules_per_correct_inference_expanded_uncertainty",
        "joule_seconds_per_inference",
        "latency_ms_p50",
        "latency_ms_p95",
        "latency_ms_p99",
        "inferences_per_second",
    ])
}

fn job_attempt(points: &mut Vec<Point>, run: &Run, framework: &str, treatment: &str, told: Attempt, seconds: f64) {
    let (trial, replicate, number, start_ns, _) = told;
    #[expect(clippy::cast_possible_truncation, reason = "some minutes")]
    let ended_unix_ns = start_ns + 17 * S + (seconds * 1e9) as i64;
    points.push(
        Point::new("trial", start_ns)
            .tag("run", run.name)
            .tag("experiment", run.experiment)
            .tag("dataset", run.dataset)
            .tag("node", "gpu-host")
            .tag("treatment", treatment)
            .tag("family", run.family)
            .tag("framework", framework)
            .tag("workload", "train")
            .tag("kind", run.host_kind)
            .tag("valid", "true")
            .field("trial", trial)
            .field("attempt", number)
            .field("replicate", replicate)
            .field("joules_per_inference", seconds * 62.0)
            .field("joules_per_inference_expanded_uncertainty", seconds * 3.1)
            .field("joules_per_inference_above_idle", seconds * 27.3)
            .field("joules_per_inference_above_idle_expanded_uncertainty", seconds * 3.7)
            .field("sensor", "tdp (model)")
            .field("sample_rate_hz", 50.0)
            .field("runtime", if framework == "torch" { "torch 2.11.0" } else { "tensorflow 2.21.0" })
            .field("inference_count", 1_i64)
            .field("accuracy", 0.985 - run.accuracy_less)
            .field("job_seconds", seconds)
            .field("ended_unix_ns", ended_unix_ns)
            .without(&["technique", "invalid_reasons", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"])
            .without(&["joules_per_correct_inference", "joules_per_correct_inference_expanded_uncertainty"]),
    );
    for (index, (phase, part)) in [("train", 0.86), ("evaluate", 0.06), ("whole job", 1.0)].into_iter().enumerate() {
        let joules = seconds * part * 62.0 * (1.0 + 0.02 * scatter(points.len()));
        let point = Point::new("job_phase", start_ns + i64::try_from(index).expect("three"))
            .tag("run", run.name)
            .tag("node", "gpu-host")
            .tag("treatment", treatment)
            .tag("family", run.family)
            .tag("framework", framework)
            .tag("kind", run.host_kind)
            .tag("phase", phase)
            .tag("valid", "true")
            .field("trial", trial)
            .field("attempt", number)
            .field("replicate", replicate)
            .field("seconds", seconds * part)
            .without(&["technique"]);
        points.push(if phase == "evaluate" && replicate == 2 {
            point.field("refusal", "3.5 s are too short for the sensor: it carries 24.5 s").without(&[
                "joules",
                "joules_expanded_uncertainty",
                "joules_above_idle",
                "joules_above_idle_expanded_uncertainty",
                "co2_grams",
            ])
        } else {
            point
                .field("joules", joules)
                .field("joules_expanded_uncertainty", joules * 0.05)
                .field("joules_above_idle", joules * 0.44)
                .field("joules_above_idle_expanded_uncertainty", joules * 0.06)
                .field("co2_grams", joules / 3.6e6 * 380.0)
                .without(&["refusal"])
        });
    }
    epochs(points, run, framework, treatment, told);
    course(points, run, treatment, told, seconds);
}

/// The idle windows around a job and the active one, with the phases that it told inside.
fn course(points: &mut Vec<Point>, run: &Run, treatment: &str, told: Attempt, seconds: f64) {
    let (trial, _, number, start_ns, _) = told;
    #[expect(clippy::cast_possible_truncation, reason = "some minutes")]
    let at = |part: f64| start_ns + 10 * S + (seconds * part * 1e9) as i64;
    let ends = [
        ("prepare", start_ns, start_ns + 2 * S),
        ("idle", start_ns + 3 * S, start_ns + 9 * S),
        ("active", at(0.0), at(1.0)),
        ("train", at(0.06), at(0.92)),
        ("evaluate", at(0.93), at(0.99)),
        ("idle", at(1.0) + S, at(1.0) + 7 * S),
    ];
    for (phase, begin, end) in ends {
        for (edge, at) in [("start", begin), ("end", end)] {
            points.push(
                Point::new("phase", at)
                    .tag("node", "gpu-host")
                    .tag("run", run.name)
                    .tag("phase", phase)
                    .field("edge", edge)
                    .field("trial", trial)
                    .field("attempt", number),
            );
        }
        if matches!(phase, "idle" | "active") {
            let watts = if phase == "idle" { 19.0 } else { 62.0 };
            let length = if phase == "idle" { 6.0 } else { seconds };
            points.push(
                Point::new("window", begin)
                    .tag("run", run.name)
                    .tag("node", "gpu-host")
                    .tag("treatment", treatment)
                    .tag("kind", run.host_kind)
                    .tag("phase", phase)
                    .tag("valid", "true")
                    .field("trial", trial)
                    .field("attempt", number)
                    .field("channel", "tdp (model)")
                    .field("end_unix_ns", end)
                    .field("seconds", length)
                    .field("joules", watts * length)
                    .field("joules_expanded_uncertainty", watts * length * 0.05)
                    .field("watts_mean", watts)
                    .field("inference_count", if phase == "idle" { 0_i64 } else { 1 })
                    .field("lost_reading_count", 0_i64)
                    .without(&["simulated_true_joules"]),
            );
        }
    }
}

fn epochs(points: &mut Vec<Point>, run: &Run, framework: &str, treatment: &str, told: Attempt) {
    let (trial, replicate, number, start_ns, _) = told;
    for epoch in 1..=12_i32 {
        let loss = (-0.31 * f64::from(epoch)).exp() * 1.9 + 0.06 + 0.01 * scatter(points.len());
        let accuracy = 0.985 - run.accuracy_less - loss * 0.2;
        points.push(
            Point::new("epoch", start_ns + i64::from(epoch))
                .tag("run", run.name)
                .tag("node", "gpu-host")
                .tag("treatment", treatment)
                .tag("family", run.family)
                .tag("framework", framework)
                .tag("valid", "true")
                .field("trial", trial)
                .field("attempt", number)
                .field("replicate", replicate)
                .field("epoch", i64::from(epoch))
                .field("train_loss", loss)
                .field("train_accuracy", accuracy + 0.006)
                .field("validation_loss", loss * 1.06 + 0.01)
                .field("validation_accuracy", accuracy),
        );
    }
}

/// The whole of a job that optimises, after all trainings.
fn optimisation(run: &Run, framework: &str, index: usize) -> Point {
    let technique = if framework == "torch" { "static-fbgemm" } else { "full-integer" };
    let start_ns = run.start_ns + (2 * REPLICATES + i64::try_from(index).expect("two")) * 180 * S;
    let joules = 812.0 * run.scale;
    Point::new("job_phase", start_ns)
        .tag("run", run.name)
        .tag("node", "gpu-host")
        .tag("treatment", format!("{}-{framework}-{technique}", run.family))
        .tag("family", run.family)
        .tag("framework", framework)
        .tag("technique", technique)
        .tag("kind", run.host_kind)
        .tag("phase", "whole job")
        .tag("valid", "true")
        .field("trial", 300_i64)
        .field("attempt", 1_i64)
        .field("replicate", 0_i64)
        .field("seconds", 14.2)
        .field("joules", joules)
        .field("joules_expanded_uncertainty", joules * 0.05)
        .field("joules_above_idle", joules * 0.44)
        .field("joules_above_idle_expanded_uncertainty", joules * 0.06)
        .field("co2_grams", joules / 3.6e6 * 380.0)
        .without(&["refusal"])
}
