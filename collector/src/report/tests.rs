//! The report as a whole: every format of three runs against committed snapshots, and figures against hand computation.
//!
//! After a wanted change: `TINYWATT_BLESS=1 cargo test -p tinywatt-collector report`, then read the difference.

use std::path::Path;

use tinywatt_proto::v1::{ReportFormat, RunState};

use super::fixture::{mixed, model, simulated, trial, without_a_valid_trial};
use super::study_fixture::study;
use super::table::Row;
use super::{RunReport, render, values};
use crate::result::{Kind, TrialResult, Uncertain};

const FORMATS: [(ReportFormat, &str); 4] = [
    (ReportFormat::Terminal, "txt"),
    (ReportFormat::Markdown, "md"),
    (ReportFormat::Csv, "csv"),
    (ReportFormat::Json, "json"),
];

/// Compares all formats with the files of that name. The collector's version is replaced: a release changes no report.
#[track_caller]
fn check_snapshots(name: &str, run: &RunReport, formats: &[(ReportFormat, &str)]) {
    for (format, ending) in formats.iter().copied() {
        let text = render(run, format).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/report/snapshots/{name}.{ending}"));
        if std::env::var_os("TINYWATT_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "{} differs; the report now is:\n{text}", path.display());
    }
}

#[test]
fn a_simulated_run_prints_as_before() {
    check_snapshots("simulated", &simulated(), &FORMATS);
}

#[test]
fn a_run_of_three_kinds_prints_as_before() {
    check_snapshots("mixed", &mixed(), &FORMATS);
}

#[test]
fn a_run_without_a_valid_trial_prints_as_before() {
    check_snapshots("no_valid_trial", &without_a_valid_trial(), &FORMATS);
}

#[test]
fn a_study_prints_as_before() {
    // What people read; the others have every figure of every row, which fills 5,000 lines.
    check_snapshots("study", &study(), &FORMATS[..2]);
}

#[track_caller]
fn row<'a>(rows: &'a [Row], treatment: &str, node: &str) -> &'a Row {
    rows.iter().find(|row| row.treatment == treatment && row.node == node).expect("the row exists")
}

#[track_caller]
fn assert_close(ours: f64, by_hand: f64) {
    assert!((ours - by_hand).abs() <= 1e-9 * by_hand.abs(), "ours {ours}, by hand {by_hand}");
}

fn run_of(attempts: Vec<TrialResult>) -> RunReport {
    RunReport { attempts, nodes: vec!["demo-a".to_owned()], ..simulated() }
}

fn replicates(joules: &[f64]) -> Vec<TrialResult> {
    let one =
        |(replicate, joules): (u32, &f64)| trial("float32", "demo-a", replicate, 0, model(*joules, 1_000_000, 1_000));
    (0..).zip(joules).map(one).collect()
}

/// 4, 6, 8 mJ: mean 6, t interval 4.302653 × 2 / √3 = 4.968275, uncertainties 2 % of each: 0.08, 0.12, 0.16, mean 0.12.
#[test]
fn the_two_doubts_by_hand() {
    let report = values(&run_of(replicates(&[4e-3, 6e-3, 8e-3])));
    let energy = row(&report.rows, "float32", "demo-a").energy.as_ref().unwrap();
    let total = &energy.per_inference;
    assert_close(total.joules_mean, 6e-3);
    assert!((total.joules_interval95_half_width.unwrap() - 4.968_275e-3).abs() < 1e-9);
    assert_close(total.joules_expanded_uncertainty.unwrap(), 0.12e-3);
    assert_eq!(total.joules_by_replicate, [4e-3, 6e-3, 8e-3]);
    assert_close(energy.per_inference_above_idle.as_ref().unwrap().joules_mean, 4.2e-3);
    // Accuracy (95 + 90 + 90) / 300, power 4, 6 and 8 mJ × 1000 / s.
    assert_close(energy.joules_per_correct_inference.unwrap(), 6e-3 / (275.0 / 300.0));
    assert_close(energy.power_watts_mean.unwrap(), 6.0);
    assert_close(energy.simulated_true_joules_per_inference.unwrap(), 0.995 * 6e-3);
    assert_eq!((energy.inference_count, energy.sample_count, energy.lost_reading_count), (30_000, 30_000, 9));
}

#[test]
fn invalid_attempts_are_in_no_mean() {
    let mut attempts = replicates(&[4e-3, 6e-3]);
    attempts[1].invalid_reasons = simulated().attempts.last_chunk::<2>().unwrap()[0].invalid_reasons.clone();
    let report = values(&run_of(attempts));
    let row = row(&report.rows, "float32", "demo-a");
    assert_close(row.energy.as_ref().unwrap().per_inference.joules_mean, 4e-3);
    assert_eq!((row.counts.replicate_count_valid, row.counts.replicate_count_attempted), (1, 2));
    assert_eq!(report.invalid_attempts.len(), 1);
    assert_eq!(report.invalid_attempts[0].reasons[0].code, "readings_lost");
}

#[test]
fn alike_invalid_attempts_share_a_line() {
    let text = render(&without_a_valid_trial(), ReportFormat::Terminal);
    assert!(text.contains("0.1, 0.2"), "{text}");
    assert_eq!(text.matches("signal 9").count(), 1, "{text}");
}

/// 10 s with 10,000 inferences are 1 ms each, with 5,000 of them 2 ms; the median of the histogram is 1.125 ms.
#[test]
fn a_device_busy_with_something_else_is_remarked() {
    for (inference_count, remark) in [
        (10_000_u32, None),
        (
            5_000,
            Some("the active window took 2000.0 µs per inference, the median inference 1125.4 µs: the device was busy"),
        ),
    ] {
        let mut measurement = model(4e-3, 1_000_000, 1_000);
        measurement.windows[1].inference_count = u64::from(inference_count);
        let report = values(&run_of(vec![trial("float32", "demo-a", 0, 0, measurement)]));
        let row = row(&report.rows, "float32", "demo-a");
        assert_eq!(row.inferences_per_second.map(|rate| rate * 10.0), Some(f64::from(inference_count)));
        let notes = row.notes.join("; ");
        assert_eq!(notes.contains("the active window took"), remark.is_some(), "{notes}");
        assert!(notes.contains(remark.unwrap_or_default()), "{notes}");
    }
}

#[test]
fn an_incomplete_run_ends_with_what_to_do() {
    let run = RunReport { state: RunState::Incomplete, ..without_a_valid_trial() };
    let text = render(&run, ReportFormat::Terminal);
    assert!(text.lines().rev().take(2).any(|line| line.contains("attempts_max")), "{text}");
    assert!(!render(&without_a_valid_trial(), ReportFormat::Terminal).contains("attempts_max"));
}

#[test]
fn kinds_share_no_row() {
    let mut attempts = replicates(&[4e-3, 6e-3, 8e-3]);
    attempts[2].measurement.as_mut().unwrap().kind = Kind::Measured;
    let report = values(&run_of(attempts));
    let means: Vec<_> = report
        .rows
        .iter()
        .filter_map(|row| Some((row.kind?, row.energy.as_ref()?.per_inference.joules_mean)))
        .collect();
    assert_eq!(means, [(Kind::Measured, 8e-3), (Kind::Simulated, 5e-3)]);
    assert!(report.notes[0].contains("kinds"), "{:?}", report.notes);
    assert!(report.banners[0].starts_with("SIMULATED"), "{:?}", report.banners);
}

#[test]
fn every_format_says_that_figures_are_simulated_or_from_elsewhere() {
    for (run, word) in [(simulated(), "simulated"), (mixed(), "simulated"), (mixed(), "elsewhere")] {
        for (format, _) in FORMATS {
            let text = render(&run, format).to_lowercase();
            assert!(text.contains(word), "{format:?} does not say {word}");
        }
    }
}

#[test]
fn a_single_replicate_has_no_interval_and_says_so() {
    let run = run_of(replicates(&[4e-3]));
    let report = values(&run);
    let row = row(&report.rows, "float32", "demo-a");
    assert_eq!(row.energy.as_ref().unwrap().per_inference.joules_interval95_half_width, None);
    assert!(row.notes.contains(&"one replicate: no interval".to_owned()));
    assert!(render(&run, ReportFormat::Terminal).contains("n = 1"));
}

#[test]
fn a_model_that_is_never_right_has_no_price_of_a_right_answer() {
    let mut attempts = replicates(&[4e-3, 4e-3]);
    for attempt in &mut attempts {
        let inference = attempt.measurement.as_mut().unwrap().inference.as_mut().unwrap();
        inference.confusion = vec![vec![0, 5], vec![5, 0]];
    }
    let report = values(&run_of(attempts));
    let row = row(&report.rows, "float32", "demo-a");
    assert_eq!(row.quality.as_ref().unwrap().scores.accuracy.to_string(), "0");
    assert_eq!(row.energy.as_ref().unwrap().joules_per_correct_inference, None);
}

#[test]
fn differing_outputs_are_flagged() {
    let report = values(&simulated());
    let dynamic = row(&report.rows, "dynamic-range", "demo-a");
    assert_eq!(dynamic.quality.as_ref().unwrap().outputs_equal, Some(false));
    assert!(dynamic.notes.iter().any(|note| note.contains("outputs differ")));
    assert_eq!(row(&report.rows, "float32", "demo-a").quality.as_ref().unwrap().outputs_equal, Some(true));
    assert_eq!(row(&report.rows, "float32", "demo-b").quality.as_ref().unwrap().outputs_equal, None);
}

/// The published text of NUCLEO-L4R5ZI's image classification, line by line.
#[test]
fn a_recording_gives_the_published_digits() {
    let text = render(&mixed(), ReportFormat::Terminal);
    for figure in ["5493.888", "5495.306", "5502.435", "5496.807", "5495.915", "384572.170", "33.0616", "33.1045"] {
        assert!(text.contains(figure), "{figure} is missing in\n{text}");
    }
    assert!(text.contains("Median energy cost is 5495.9150 uJ/inf."), "{text}");
    let report = values(&mixed());
    let windows: Vec<_> =
        report.recordings[0].windows.iter().filter_map(|window| window.joules_per_inference).collect();
    assert_close(report.recordings[0].joules_per_inference_median, crate::statistics::median(&windows).unwrap());
    let energy = row(&report.rows, "nucleo-l4r5-ic", "gateway").energy.as_ref().unwrap();
    assert_eq!(energy.per_inference.joules_interval95_half_width, None, "replays are no replicates");
}

#[test]
fn rows_of_other_sensors_rates_and_windows_are_not_comparable() {
    let mut attempts = replicates(&[4e-3]);
    let mut other = trial("float16", "demo-a", 0, 1, model(4e-3, 1_000_000, 500));
    let measurement = other.measurement.as_mut().unwrap();
    measurement.sensor = "ina219-emulator (core)".to_owned();
    measurement.windows[1].end_mono_ns += 5_000_000_000;
    measurement.inference.as_mut().unwrap().thread_count = 2;
    attempts.push(other);
    let notes = values(&run_of(attempts)).notes.join("\n");
    for property in ["sensors", "sample rates", "window lengths", "thread counts"] {
        assert!(notes.contains(&format!("different {property}")), "{property}: {notes}");
    }
    assert!(notes.contains("500 Hz (float16 on demo-a)"), "{notes}");
    assert!(values(&run_of(replicates(&[4e-3, 5e-3]))).notes.is_empty());
}

#[test]
fn nothing_prints_a_figure_that_is_no_number() {
    let mut attempts = replicates(&[4e-3, 5e-3, 6e-3]);
    attempts[0].measurement.as_mut().unwrap().energy_joules_per_inference.value = f64::NAN;
    attempts[1].measurement.as_mut().unwrap().energy_joules_per_inference_above_idle =
        Some(Uncertain { value: f64::INFINITY, expanded_uncertainty: Some(f64::NAN) });
    let last = attempts[2].measurement.as_mut().unwrap();
    last.energy_joules_per_inference.expanded_uncertainty = Some(f64::NAN);
    last.windows.clear();
    last.inference.as_mut().unwrap().confusion.clear();
    last.inference.as_mut().unwrap().latency_histogram.clear();
    for run in
        [run_of(attempts), run_of(Vec::new()), without_a_valid_trial(), RunReport { nodes: vec![], ..run_of(vec![]) }]
    {
        for (format, _) in FORMATS {
            let text = render(&run, format);
            for word in text.split(|character: char| !character.is_alphanumeric()) {
                assert!(!["NaN", "inf", "Infinity"].contains(&word), "{format:?}:\n{text}");
            }
        }
    }
}

#[test]
fn every_line_for_a_terminal_fits_it() {
    for run in [simulated(), mixed(), without_a_valid_trial()] {
        let text = render(&run, ReportFormat::Terminal);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} wide: {line}", line.chars().count());
        }
        assert!(!text.contains('\u{1b}'), "a name steered the terminal");
    }
}

#[test]
fn csv_and_json_are_well_formed_and_agree() {
    for run in [simulated(), mixed(), without_a_valid_trial()] {
        let json_text = render(&run, ReportFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&json_text).unwrap();
        assert_eq!(json["schema"], "tinywatt.report.v1");
        let csv_text = render(&run, ReportFormat::Csv);
        let mut csv = csv::Reader::from_reader(csv_text.as_bytes());
        let head = csv.headers().unwrap().clone();
        let column = |name: &str| head.iter().position(|column| column == name).unwrap();
        let lines: Vec<_> = csv.records().map(Result::unwrap).collect();
        let rows = json["rows"].as_array().unwrap();
        assert_eq!(lines.len(), rows.len());
        for (line, row) in lines.iter().zip(rows) {
            assert_eq!(&line[column("kind")], row["kind"].as_str().unwrap_or_default());
            let mean = &line[column("joules_per_inference_mean")];
            assert_eq!(mean.is_empty(), row["energy"].is_null());
            // Digit for digit: a parser of JSON numbers may round the last one.
            assert!(mean.is_empty() || json_text.contains(&format!("\"joules_mean\": {mean},")), "{mean}");
        }
    }
}

#[test]
fn attempts_in_any_order_give_the_same_report() {
    let mut turned = simulated();
    turned.attempts.reverse();
    assert_eq!(values(&turned), values(&simulated()));
}
