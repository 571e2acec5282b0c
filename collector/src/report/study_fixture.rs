//! A study for the tests: two frameworks, all techniques, three replicates, one host that trains and one node that infers.

use std::collections::BTreeMap;

use tinywatt_proto::v1::RunState;

use super::fixture::{model, trial, without_truth};
use super::input::{Carbon, RunReport, TreatmentFacts, Workload};
use crate::result::{Epoch, JobArtifact, JobPhase, JobResult, Kind, Measurement, ModelFile, TrialResult, Uncertain};

/// Framework, its joules of training, accuracy of its float32 model, and its techniques.
type Framework = (&'static str, f64, f64, &'static [Technique]);

/// Technique, precision that its file tells, file size, joules per inference, points of accuracy to float32.
type Technique = (&'static str, &'static str, u64, f64, f64);

const PARAMETER_COUNT: u64 = 78_666;
const MAC_COUNT: u64 = 12_501_632;

const FRAMEWORKS: [Framework; 2] = [
    (
        "tensorflow",
        21_400.0,
        0.852,
        &[
            ("float32", "float32", 323_192, 9.1e-3, 0.0),
            ("dynamic-range", "dynamic-range", 96_984, 6.2e-3, -0.1),
            ("full-integer", "full-integer", 98_304, 3.4e-3, -0.6),
            ("float16", "float16", 164_112, 9.09e-3, 0.0),
            ("int16x8", "int16x8", 101_008, 14.9e-3, -0.1),
            ("pruned", "float32", 323_192, 9.08e-3, -1.4),
            ("clustered", "float32", 323_192, 9.12e-3, -2.2),
            ("qat", "full-integer", 98_304, 3.42e-3, 0.1),
        ],
    ),
    (
        "torch",
        18_900.0,
        0.857,
        &[
            ("float32", "float32", 361_448, 8.3e-3, 0.0),
            ("static-fbgemm", "full-integer-float-io", 131_072, 4.1e-3, -0.5),
            ("static-qnnpack", "full-integer-float-io", 131_072, 4.4e-3, -0.7),
            ("dynamic", "dynamic", 359_000, 8.28e-3, 0.0),
            ("pruned", "float32", 361_448, 8.31e-3, -1.6),
            ("executorch-int8", "full-integer", 102_400, 3.1e-3, -0.4),
        ],
    ),
];

/// The whole study; every model keeps its accuracy within the bound, and both frameworks were measured.
pub(super) fn study() -> RunReport {
    let mut run = RunReport {
        run: "cifar10-4k7d".to_owned(),
        experiment: "cifar10".to_owned(),
        dataset: "cifar10".to_owned(),
        class_names: ["airplane", "cat", "ship"].map(str::to_owned).to_vec(),
        seed: 11,
        state: RunState::Completed,
        started_unix_ns: 1_770_127_509_250_000_000,
        ended_unix_ns: Some(1_770_138_009_750_000_000),
        carbon: Some(Carbon {
            intensity_g_per_kwh: 380.9,
            pue: 1.2,
            source: "Germany 2023, Our World in Data (CC BY 4.0)".to_owned(),
        }),
        replicate_count: 3,
        nodes: vec!["pi-4".to_owned()],
        treatments: Vec::new(),
        attempts: Vec::new(),
        attempt_count_running: 0,
    };
    for (framework, joules, accuracy, techniques) in FRAMEWORKS {
        let train = format!("resnet8-{framework}");
        run.treatments.push(TreatmentFacts {
            nodes: vec!["host-a".to_owned()],
            ..facts(&train, framework, "", job("train", &[]))
        });
        for replicate in 0..3 {
            add(&mut run, &train, "host-a", replicate, training(framework, joules, accuracy, replicate));
        }
        for technique in techniques {
            let made_by = if technique.0 == "float32" { train.clone() } else { format!("{train}-{}-job", technique.0) };
            if technique.0 != "float32" {
                let workload = job("optimise", &[&train]);
                let nodes = vec!["host-a".to_owned()];
                run.treatments.push(TreatmentFacts { nodes, ..facts(&made_by, framework, technique.0, workload) });
                for replicate in 0..3 {
                    add(&mut run, &made_by, "host-a", replicate, optimising(framework, technique, replicate));
                }
            }
            let name = format!("{train}-{}", technique.0);
            let workload = Workload::Model {
                number_format: String::new(),
                file_bytes: 0,
                thread_count: 1,
                made_by: Some(made_by),
            };
            run.treatments.push(facts(&name, framework, technique.0, workload));
            for replicate in 0..3 {
                add(&mut run, &name, "pi-4", replicate, inference(framework, accuracy, technique, replicate));
            }
        }
    }
    run
}

/// The study with its first replicate alone.
pub(super) fn of_one_replicate() -> RunReport {
    let mut run = RunReport { replicate_count: 1, ..study() };
    run.attempts.retain(|attempt| attempt.replicate == 0);
    run
}

/// Changes every measurement of a treatment.
pub(super) fn change(run: &mut RunReport, treatment: &str, change: impl Fn(&mut Measurement)) {
    let mut count = 0;
    for attempt in run.attempts.iter_mut().filter(|attempt| attempt.treatment == treatment) {
        change(attempt.measurement.as_mut().expect("the study has measurements only"));
        count += 1;
    }
    assert!(count > 0, "no {treatment}");
}

/// A matrix of three classes with this part of 3,000 inputs right.
pub(super) fn confusion(accuracy: f64) -> Vec<Vec<u64>> {
    let wrong = [0, 1, 2].map(|class| {
        let wrong = whole(1_000.0 * (1.0 - accuracy));
        if class == 1 { wrong + wrong / 10 } else { wrong - wrong / 20 }
    });
    (0..3)
        .map(|label| {
            (0..3)
                .map(|prediction| match (label, prediction) {
                    (label, prediction) if label == prediction => 1_000 - wrong[label],
                    (label, prediction) if prediction == (label + 1) % 3 => wrong[label] - wrong[label] / 3,
                    (label, _) => wrong[label] / 3,
                })
                .collect()
        })
        .collect()
}

fn whole(figure: f64) -> u64 {
    std::time::Duration::from_secs_f64(figure.round()).as_secs()
}

fn facts(name: &str, framework: &str, technique: &str, workload: Workload) -> TreatmentFacts {
    TreatmentFacts {
        name: name.to_owned(),
        workload,
        family: "resnet8".to_owned(),
        framework: framework.to_owned(),
        technique: technique.to_owned(),
        ..TreatmentFacts::default()
    }
}

fn job(kind: &'static str, needs: &[&str]) -> Workload {
    Workload::Job { kind, needs: needs.iter().map(|need| (*need).to_owned()).collect(), recipe: BTreeMap::new() }
}

fn add(run: &mut RunReport, treatment: &str, node: &str, replicate: u32, measurement: Measurement) {
    let trial_index = u32::try_from(run.attempts.len()).unwrap();
    let result = trial(treatment, node, replicate, 0, measurement);
    run.attempts.push(TrialResult { run: run.run.clone(), trial: trial_index, ..result });
}

/// Scatter of a replicate, the same for all that it makes and a little of its own.
fn scatter(replicate: u32, seed: usize) -> f64 {
    let parts = [0.000, 0.011, -0.007, 0.004, -0.010, 0.008, -0.003];
    parts[(replicate as usize * 3 + seed) % parts.len()]
}

fn training(framework: &str, joules: f64, accuracy: f64, replicate: u32) -> Measurement {
    let joules = joules * (1.0 + scatter(replicate, framework.len()));
    let phase = |phase: &str, part: f64| JobPhase {
        phase: phase.to_owned(),
        duration_seconds: part * joules / 48.0,
        energy_joules: Some(uncertain(part * joules)),
        energy_joules_above_idle: Some(uncertain(0.7 * part * joules)),
        refusal: None,
        refusal_code: None,
    };
    let epochs = (1..=3).map(|epoch| Epoch {
        epoch,
        train_loss: Some(2.0 / f64::from(epoch)),
        train_accuracy: Some(0.5 + 0.1 * f64::from(epoch)),
        validation_loss: Some(2.1 / f64::from(epoch)),
        validation_accuracy: None,
    });
    let weights = 4 * PARAMETER_COUNT;
    let result = JobResult {
        phases: vec![phase("train", 0.94), phase("evaluate", 0.02)],
        parameter_count: Some(PARAMETER_COUNT),
        mac_count: Some(MAC_COUNT),
        confusion: confusion(accuracy + scatter(replicate, 2) / 3.0),
        epochs: epochs.collect(),
        artifacts: vec![
            artifact("model", "model", weights + 10_000, Some("float32")),
            artifact("checkpoint", "checkpoint", 3 * weights + 40_000, None),
        ],
        ..job_result("train", framework, joules)
    };
    of_job(result)
}

fn optimising(framework: &str, technique: &Technique, replicate: u32) -> Measurement {
    let joules = 900.0 * (1.0 + scatter(replicate, technique.0.len()));
    let artifacts = vec![artifact("model", "model", technique.2, Some(technique.1))];
    of_job(JobResult { artifacts, ..job_result("optimise", framework, joules) })
}

fn job_result(kind: &str, framework: &str, joules: f64) -> JobResult {
    JobResult {
        kind: kind.to_owned(),
        framework: framework.to_owned(),
        framework_version: "2.9.0".to_owned(),
        duration_seconds: joules / 48.0,
        energy_joules: uncertain(joules),
        energy_joules_above_idle: Some(uncertain(0.7 * joules)),
        above_idle_refusal: None,
        phases: Vec::new(),
        parameter_count: None,
        mac_count: None,
        confusion: Vec::new(),
        memory_bytes_peak: 1_234_000_000,
        epochs: Vec::new(),
        artifacts: Vec::new(),
        grid_intensity_g_per_kwh: None,
        notes: Vec::new(),
    }
}

fn of_job(job: JobResult) -> Measurement {
    Measurement {
        kind: Kind::Measured,
        sensor: "rapl (package-0)".to_owned(),
        energy_joules_per_inference: job.energy_joules,
        energy_joules_per_inference_above_idle: job.energy_joules_above_idle,
        inference: None,
        job: Some(job),
        ..without_truth(model(1.0, 1_000_000_000, 100))
    }
}

fn inference(framework: &str, accuracy: f64, technique: &Technique, replicate: u32) -> Measurement {
    let (name, precision, file_bytes, joules, points) = *technique;
    let joules = joules * (1.0 + scatter(replicate, name.len()) / 2.0);
    let mut measurement = Measurement {
        kind: Kind::Measured,
        sensor: "ina219 (rail)".to_owned(),
        model: Some(model_file(file_bytes, precision)),
        ..without_truth(model(joules, 1_000_000 + whole(joules * 4e8), 1_000))
    };
    let inference = measurement.inference.as_mut().expect("a model's trial has it");
    inference.runtime = match (framework, name) {
        (_, "executorch-int8") => "executorch",
        ("torch", _) => "torchscript",
        _ => "litert",
    }
    .to_owned();
    inference.confusion = confusion(accuracy + scatter(replicate, 2) / 3.0 + points / 100.0);
    measurement
}

pub(super) fn model_file(file_bytes: u64, precision: &str) -> ModelFile {
    ModelFile {
        sha256: "c0".repeat(32),
        file_bytes,
        precision: precision.to_owned(),
        parameter_count: Some(PARAMETER_COUNT),
        mac_count: Some(MAC_COUNT),
    }
}

fn artifact(role: &str, name: &str, file_bytes: u64, precision: Option<&str>) -> JobArtifact {
    JobArtifact {
        role: role.to_owned(),
        name: name.to_owned(),
        sha256: "d0".repeat(32),
        file_bytes,
        model: precision.map(|precision| model_file(file_bytes, precision)),
    }
}

fn uncertain(value: f64) -> Uncertain {
    Uncertain { value, expanded_uncertainty: Some(0.012 * value) }
}
