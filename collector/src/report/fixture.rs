//! Runs for the tests: realistic, small, and with everything in them that can go wrong.

use tinywatt_proto::v1::RunState;

use super::input::{RunReport, TreatmentFacts, Workload};
use super::latency::tests::histogram_of;
use crate::result::{InferenceResult, InvalidReason, Kind, Measurement, TrialResult, Uncertain, WindowResult};

const SECOND: u64 = 1_000_000_000;

/// A run of a small experiment on emulated sensors: two nodes, four models, three replicates.
///
/// On `demo-a`: one attempt lost readings and was repeated; `float16` has no idle windows; the outputs of
/// `dynamic-range` differ once; `full-integer` was never valid. On `demo-b`: one replicate so far, one attempt executing.
pub(in crate::report) fn simulated() -> RunReport {
    let mut attempts = Vec::new();
    for replicate in 0..3 {
        let scatter = [0.0, 0.01, -0.006][index(replicate)];
        let mut float32 = trial("float32", "demo-a", replicate, 0, model(1_812e-6 * (1.0 + scatter), 600_000, 1_000));
        let float16 = trial("float16", "demo-a", replicate, 1, without_idle(model(1_790e-6, 590_000, 1_000)));
        let mut dynamic = model(655e-6 * (1.0 - scatter), 210_000, 1_000);
        if replicate == 1 {
            float32.attempt = 2;
            dynamic.inference.as_mut().unwrap().outputs_sha256 = "b1".repeat(32);
        }
        attempts.extend([float32, float16, trial("dynamic-range", "demo-a", replicate, 2, dynamic)]);
        for attempt in 1..=2 {
            let failed = failed("full-integer", "demo-a", replicate, 3, attempt);
            attempts.push(failed);
        }
    }
    attempts.push(TrialResult {
        attempt: 1,
        invalid_reasons: vec![reason(
            "readings_lost",
            "412 of 10000 readings of the active window were lost, 100 allowed",
        )],
        ..trial("float32", "demo-a", 1, 0, model(3e-3, 600_000, 1_000))
    });
    attempts.push(trial("float32", "demo-b", 0, 4, model(1_650e-6, 480_000, 500)));
    RunReport {
        run: "digits-k3f9".to_owned(),
        experiment: "digits".to_owned(),
        dataset: "digits".to_owned(),
        class_names: (0..3).map(|class| class.to_string()).collect(),
        seed: 42,
        state: RunState::Running,
        started_unix_ns: 1_770_127_509_250_000_000,
        ended_unix_ns: None,
        carbon: None,
        replicate_count: 3,
        nodes: vec!["demo-a".to_owned(), "demo-b".to_owned()],
        treatments: vec![
            facts("float32", "float32", 212_480),
            facts("float16", "float16", 108_032),
            facts("dynamic-range", "dynamic-range", 57_344),
            facts("full-integer", "full-integer", 58_112),
        ],
        attempts,
        attempt_count_running: 1,
    }
}

/// A finished run with three kinds: a real sensor, an emulated one, and a published recording replayed twice.
pub(super) fn mixed() -> RunReport {
    let mut attempts = Vec::new();
    for replicate in 0..2 {
        let scatter = 1.0 + 0.004 * f64::from(replicate);
        let measured = Measurement {
            kind: Kind::Measured,
            sensor: "ina219 (rail)".to_owned(),
            ..without_truth(model(9_120e-6 * scatter, 4_100_000, 1_000))
        };
        attempts.push(trial("resnet8-int8", "pi-4", replicate, 0, measured));
        attempts.push(trial("resnet8-int8", "emulated", replicate, 1, model(9_003e-6 / scatter, 600_000, 1_000)));
        attempts.push(trial("nucleo-l4r5-ic", "gateway", replicate, 2, published()));
    }
    RunReport {
        run: "bench-7q2x".to_owned(),
        experiment: "bench".to_owned(),
        dataset: "cifar10".to_owned(),
        class_names: vec!["cat".to_owned(), "dog".to_owned(), "frog".to_owned()],
        seed: 7,
        state: RunState::Completed,
        started_unix_ns: 1_770_127_509_250_000_000,
        ended_unix_ns: Some(1_770_128_009_750_000_000),
        carbon: None,
        replicate_count: 2,
        nodes: vec!["pi-4".to_owned(), "emulated".to_owned(), "gateway".to_owned()],
        treatments: vec![
            facts("resnet8-int8", "full-integer", 98_304),
            TreatmentFacts { name: "nucleo-l4r5-ic".to_owned(), ..TreatmentFacts::default() },
        ],
        attempts,
        attempt_count_running: 0,
    }
}

/// A run that was cancelled after its only two attempts had failed. The names try to break out of every format.
pub(super) fn without_a_valid_trial() -> RunReport {
    RunReport {
        run: "nothing-0000".to_owned(),
        experiment: "=cmd|' /C calc'!A0".to_owned(),
        dataset: String::new(),
        class_names: Vec::new(),
        seed: u64::MAX,
        state: RunState::Cancelled,
        started_unix_ns: 0,
        ended_unix_ns: Some(SECOND),
        carbon: None,
        replicate_count: 1,
        nodes: vec!["pi-4".to_owned()],
        treatments: vec![facts("a|b \u{1b}[31m<b>", "full-integer", 0)],
        attempts: (1..=2).map(|attempt| failed("a|b \u{1b}[31m<b>", "pi-4", 0, 0, attempt)).collect(),
        attempt_count_running: 0,
    }
}

/// The five windows of NUCLEO-L4R5ZI's published image-classification result (MLPerf Tiny): length, energy in µJ.
const PUBLISHED_WINDOWS: [(u64, f64); 5] = [
    (11_632_000_000, 384_572.17),
    (11_628_000_000, 384_671.42),
    (11_635_000_000, 385_170.43),
    (11_634_000_000, 384_776.52),
    (11_633_000_000, 384_714.05),
];

/// What a replay of that recording measures: 70 inferences in each window, the published score is 5495.9150 µJ.
fn published() -> Measurement {
    let mut start = SECOND;
    let windows = PUBLISHED_WINDOWS.into_iter().map(|(length, microjoules)| {
        start += 2 * length;
        let joules = microjoules * 1e-6;
        let watts = joules / std::time::Duration::from_nanos(length).as_secs_f64();
        WindowResult {
            inference_count: 70,
            sample_count: length / 1_000_000,
            simulated_true_joules: None,
            energy_joules: Uncertain { value: joules, expanded_uncertainty: None },
            ..window("active", start, length, watts)
        }
    });
    Measurement {
        kind: Kind::MeasuredElsewhere,
        sensor: "replay (NUCLEO_L4R5ZI-P_ic)".to_owned(),
        windows: windows.collect(),
        energy_joules_per_inference: Uncertain { value: 384_714.05e-6 / 70.0, expanded_uncertainty: None },
        energy_joules_per_inference_above_idle: None,
        inference: None,
        ..model(1.0, SECOND, 1_000)
    }
}

/// A trial of a model: 10 s active between two idle windows, and a true energy 0.5 % below the measured one.
pub(in crate::report) fn model(joules_per_inference: f64, latency_ns: u64, sample_rate_hz: u32) -> Measurement {
    let inference_count = 10 * SECOND / latency_ns;
    let joules = joules_per_inference * f64::from(u32::try_from(inference_count).unwrap());
    let mut active = window("active", 20 * SECOND, 10 * SECOND, joules / 10.0);
    active.inference_count = inference_count;
    active.simulated_true_joules = Some(joules * 0.995);
    active.energy_joules = Uncertain { value: joules, expanded_uncertainty: Some(joules * 0.02) };
    active.sample_count = u64::from(10 * sample_rate_hz);
    Measurement {
        kind: Kind::Simulated,
        sensor: "ina219-emulator (rail)".to_owned(),
        sample_rate_hz: f64::from(sample_rate_hz),
        samples_boot_id: "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned(),
        samples_channel: 0,
        model: None,
        job: None,
        windows: vec![
            window("idle", 5 * SECOND, 3 * SECOND, 0.31),
            active,
            window("idle", 31 * SECOND, 3 * SECOND, 0.31),
        ],
        energy_joules_per_inference: Uncertain {
            value: joules_per_inference,
            expanded_uncertainty: Some(joules_per_inference * 0.02),
        },
        energy_joules_per_inference_above_idle: Some(Uncertain {
            value: joules_per_inference * 0.7,
            expanded_uncertainty: Some(joules_per_inference * 0.021),
        }),
        inference: Some(InferenceResult {
            runtime: "litert".to_owned(),
            runtime_version: "2.1.0".to_owned(),
            thread_count: 1,
            latency_histogram: histogram_of((0..1_000).map(|index| latency_ns + latency_ns * index / 4_000)),
            confusion: vec![vec![95, 3, 2], vec![4, 90, 6], vec![0, 10, 90]],
            outputs_sha256: "a0".repeat(32),
            memory_bytes_before: 21_000_000,
            memory_bytes_peak: 23_500_000,
            input: "float32 1×8×8×1".to_owned(),
            output: "float32 1×3".to_owned(),
        }),
    }
}

fn without_idle(measurement: Measurement) -> Measurement {
    Measurement { energy_joules_per_inference_above_idle: None, ..measurement }
}

pub(super) fn without_truth(mut measurement: Measurement) -> Measurement {
    for window in &mut measurement.windows {
        window.simulated_true_joules = None;
    }
    measurement
}

fn window(phase: &str, start_mono_ns: u64, length_ns: u64, power_watts_mean: f64) -> WindowResult {
    let joules = power_watts_mean * std::time::Duration::from_nanos(length_ns).as_secs_f64();
    WindowResult {
        phase: phase.to_owned(),
        start_mono_ns,
        end_mono_ns: start_mono_ns + length_ns,
        inference_count: 0,
        sample_count: length_ns / 1_000_000,
        lost_reading_count: 1,
        energy_joules: Uncertain { value: joules, expanded_uncertainty: Some(joules * 0.02) },
        power_watts_mean,
        simulated_true_joules: Some(joules),
    }
}

/// A valid first attempt at a trial.
pub(in crate::report) fn trial(
    treatment: &str,
    node: &str,
    replicate: u32,
    place: u32,
    measurement: Measurement,
) -> TrialResult {
    TrialResult {
        run: "digits-k3f9".to_owned(),
        trial: replicate * 5 + place,
        attempt: 1,
        block: replicate,
        node: node.to_owned(),
        treatment: treatment.to_owned(),
        replicate,
        invalid_reasons: Vec::new(),
        measurement: Some(measurement),
    }
}

fn failed(treatment: &str, node: &str, replicate: u32, place: u32, attempt: u32) -> TrialResult {
    let message = "the worker process ended with signal 9 (SIGKILL): see the node's memory, and the agent's log";
    TrialResult {
        attempt,
        invalid_reasons: vec![reason("failed", message)],
        measurement: None,
        ..trial(treatment, node, replicate, place, model(1e-3, 500_000, 1_000))
    }
}

pub(in crate::report) fn reason(code: &str, message: &str) -> InvalidReason {
    InvalidReason { code: code.to_owned(), message: message.to_owned() }
}

fn facts(name: &str, number_format: &str, file_bytes: u64) -> TreatmentFacts {
    let number_format = number_format.to_owned();
    let workload = Workload::Model { number_format, file_bytes, thread_count: 1, made_by: None };
    TreatmentFacts { name: name.to_owned(), workload, ..TreatmentFacts::default() }
}

fn index(replicate: u32) -> usize {
    usize::try_from(replicate).unwrap()
}
