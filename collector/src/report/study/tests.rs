//! The three questions and the faults that a study must not have, on a study of two frameworks.

use tinywatt_proto::v1::{ReportFormat, RunState};

use super::super::fixture::{model, reason};
use super::super::input::{Carbon, RunReport, TreatmentFacts, Workload};
use super::super::relations::{BreakEven, Relation};
use super::super::study_fixture::{change, confusion, model_file, of_one_replicate, study};
use super::super::table::{Report, Row};
use super::super::{render, values};
use crate::result::{Kind, Measurement, TrialResult};

const FORMATS: [ReportFormat; 4] =
    [ReportFormat::Terminal, ReportFormat::Markdown, ReportFormat::Csv, ReportFormat::Json];

#[track_caller]
fn row<'a>(report: &'a Report, treatment: &str) -> &'a Row {
    report.rows.iter().find(|row| row.treatment == treatment).expect("the row exists")
}

#[track_caller]
fn relation<'a>(report: &'a Report, treatment: &str) -> &'a Relation {
    let study = report.study.as_ref().expect("a run with jobs");
    study.relations.iter().find(|relation| relation.treatment == treatment).expect("the relation exists")
}

fn answer(report: &Report, question: usize) -> String {
    report.study.as_ref().expect("a run with jobs").answers[question].sentences.join("\n")
}

/// Text whose lines are not broken, for looking sentences up.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A warning of this code stands once in the values, and every format prints it.
#[track_caller]
fn assert_warned<'a>(report: &'a Report, run: &RunReport, code: &str) -> &'a str {
    let found: Vec<_> = report.warnings.iter().filter(|warning| warning.code == code).collect();
    assert_eq!(found.len(), 1, "{code}: {:?}", report.warnings);
    let begin: String = found[0].message.chars().take(40).collect();
    for format in FORMATS {
        let text = unbroken(&render(run, format).replace('\\', ""));
        assert!(text.contains(begin.trim_end()), "{format:?} does not say {begin:?}:\n{text}");
    }
    &found[0].message
}

#[track_caller]
fn assert_close(ours: f64, by_hand: f64) {
    assert!((ours - by_hand).abs() <= 1e-9 * by_hand.abs(), "ours {ours}, by hand {by_hand}");
}

#[test]
fn a_right_study_has_no_warning() {
    let report = values(&study());
    assert_eq!(report.warnings, []);
    let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(note.contains("runtime's and not the model's: executorch 2.1.0 (resnet8-torch-executorch-int8"), "{note}");
}

/// Replicates of torch: 18,900 J × (1 + 0.011 s), s after the fixture; whole jobs, 380.9 g/kWh, PUE 1.2.
#[test]
fn costs_are_joules_times_one_intensity() {
    let report = values(&study());
    let job = row(&report, "resnet8-torch").job.as_ref().unwrap();
    let phases: Vec<&str> = job.phases.iter().map(|phase| phase.phase.as_str()).collect();
    assert_eq!(phases, ["train", "evaluate", "whole job"]);
    let whole = &job.phases[2];
    let joules = whole.energy_joules.as_ref().unwrap().joules_mean;
    assert_close(whole.co2_grams.unwrap(), joules * 380.9 * 1.2 / 3.6e6);
    assert_close(job.phases[0].co2_grams.unwrap(), 0.94 * whole.co2_grams.unwrap());
    assert_eq!(job.checkpoint_file_bytes, Some(3 * 4 * 78_666 + 40_000));
    let text = unbroken(&render(&study(), ReportFormat::Terminal));
    assert!(text.contains("380.9 g/kWh × PUE 1.2, the same for every figure; intensity: Germany 2023"), "{text}");
}

#[test]
fn without_an_intensity_there_is_no_co2_and_the_way_to_it() {
    let run = RunReport { carbon: None, ..study() };
    let text = unbroken(&render(&run, ReportFormat::Terminal));
    assert!(text.contains("No CO2: the experiment states no carbon intensity. A `[carbon]` table"), "{text}");
    assert!(!text.contains("CO2 (g)"), "{text}");
    assert_eq!(values(&run).rows.iter().filter_map(|row| row.job.as_ref()?.phases[0].co2_grams).count(), 0);
}

#[test]
fn trained_models_have_a_mean_and_an_interval() {
    let report = values(&study());
    for treatment in ["resnet8-torch", "resnet8-torch-float32"] {
        let quality = row(&report, treatment).quality.as_ref().unwrap();
        let accuracies: Vec<f64> = quality.by_replicate.iter().map(|replicate| replicate.scores.accuracy).collect();
        assert_eq!(accuracies.len(), 3);
        let interval = crate::statistics::mean_interval95(&accuracies).unwrap();
        assert_close(quality.scores.accuracy, interval.mean);
        assert_close(quality.interval95_half_widths.unwrap().accuracy, interval.half_width.unwrap());
        assert_eq!(quality.outputs_equal, None, "other models have other outputs");
        assert_eq!(quality.confusion.iter().flatten().sum::<u64>(), 9_000, "all replicates together");
        assert_eq!(quality.input_count, 3_000);
    }
    assert!(!render(&study(), ReportFormat::Terminal).contains("outputs differ"));
}

/// Jobs of static-fbgemm: the training and its own; what it saves: float32's joules less its own.
#[test]
fn break_even_by_hand() {
    let report = values(&study());
    let joules = |treatment: &str| row(&report, treatment).energy.as_ref().unwrap().per_inference.joules_mean;
    let relation = relation(&report, "resnet8-torch-static-fbgemm");
    assert_eq!(relation.jobs, ["resnet8-torch-static-fbgemm-job", "resnet8-torch"]);
    let jobs = joules("resnet8-torch") + joules("resnet8-torch-static-fbgemm-job");
    assert_close(relation.jobs_joules.unwrap(), jobs);
    let saved = joules("resnet8-torch-float32") - joules("resnet8-torch-static-fbgemm");
    let Some(BreakEven::Inferences(count)) = relation.break_even else { panic!("{relation:?}") };
    assert_close(count, jobs / saved);
    let never = self::relation(&report, "resnet8-tensorflow-int16x8");
    assert_eq!(never.break_even, Some(BreakEven::Never));
    assert_eq!(self::relation(&report, "resnet8-torch-float32").break_even, None);
}

#[test]
fn the_front_holds_what_nobody_beats() {
    let report = values(&study());
    let study = report.study.as_ref().unwrap();
    let front: Vec<&str> = study
        .relations
        .iter()
        .filter(|relation| relation.is_on_pareto_front)
        .map(|relation| relation.treatment.as_str())
        .collect();
    assert_eq!(front, ["resnet8-torch-dynamic", "resnet8-torch-executorch-int8"]);
}

#[test]
fn another_recipe_is_not_another_framework() {
    let mut run = study();
    let train = run.treatments.iter_mut().filter(|facts| matches!(facts.workload, Workload::Job { kind: "train", .. }));
    for (facts, epochs) in train.zip(["5", "20"]) {
        let Workload::Job { recipe, .. } = &mut facts.workload else { unreachable!() };
        recipe.insert("epochs".to_owned(), epochs.to_owned());
    }
    let report = values(&run);
    for question in 0..2 {
        assert!(!answer(&report, question).contains("between torch and"), "{}", answer(&report, question));
        assert!(!answer(&report, question).contains("torch took"), "{}", answer(&report, question));
    }
}

#[test]
fn the_answers_say_what_is_shown_and_what_is_not() {
    let report = values(&study());
    let training = answer(&report, 0);
    assert!(
        training.contains("torch took 11 % (95 %: 9 to 13 %) less energy for training than tensorflow"),
        "{training}"
    );
    assert!(training.contains("p < 0.001 after Holm over 2 comparisons, g = −"), "{training}");
    let quality = answer(&report, 1);
    assert!(
        quality.starts_with(
            "No difference shown in the accuracy between torch and tensorflow (+0.5 points, 95 %: −0.2 to"
        ),
        "{quality}"
    );
    assert!(quality.contains("p = 0.134 after Holm over 1 comparison, g = +1.2, 3 replicates"), "{quality}");
    let techniques = answer(&report, 2);
    assert!(techniques.contains("float16 −0.1 % (95 %: −0.5 to +0.3 %, p = 1)"), "{techniques}");
    assert!(techniques.contains("torch executorch-int8 has the least mean energy per inference"), "{techniques}");
}

/// An experiment's training entries have one framework each, so a family is a framework's own; and a torch model's file
/// tells nothing, where a TFLite file has parameters folded away.
#[test]
fn entries_of_one_framework_each_are_compared_by_what_their_jobs_state() {
    let mut run = study();
    for facts in &mut run.treatments {
        facts.family = format!("resnet8-{}", facts.framework);
    }
    for attempt in &mut run.attempts {
        let measurement = attempt.measurement.as_mut().unwrap();
        let made = measurement.job.iter_mut().flat_map(|job| &mut job.artifacts);
        let is_torch = attempt.treatment.contains("torch");
        for model in measurement.model.iter_mut().chain(made.filter_map(|artifact| artifact.model.as_mut())) {
            model.parameter_count = (!is_torch).then_some(77_360);
            model.mac_count = None;
        }
    }
    let report = values(&run);
    assert_eq!(report.warnings, []);
    let training = answer(&report, 0);
    assert!(training.contains("resnet8-torch took 11 %"), "{training}");
    assert!(training.contains("less energy for training than resnet8-tensorflow on host-a"), "{training}");
    assert!(answer(&report, 2).contains("resnet8-torch executorch-int8 has the least"), "{}", answer(&report, 2));
    assert_eq!(row(&report, "resnet8-tensorflow-qat").parameter_count, Some(77_360));
    assert_eq!(row(&report, "resnet8-torch-dynamic").parameter_count, Some(78_666));
    assert_eq!(row(&report, "resnet8-torch-dynamic").mac_count, Some(12_501_632));
}

// === the five faults ===

#[test]
fn two_grid_intensities_are_warned_of() {
    let mut run = study();
    change(&mut run, "resnet8-torch", |measurement| own_intensity(measurement, 290.0));
    change(&mut run, "resnet8-tensorflow", |measurement| own_intensity(measurement, 450.0));
    let report = values(&run);
    let message = assert_warned(&report, &run, "grid_intensity");
    for part in ["resnet8-torch 290 g/kWh", "resnet8-tensorflow 450 g/kWh", "this report uses 381 g/kWh for all"] {
        assert!(message.contains(part), "{message}");
    }
    // Ours did not move: the same joules, the same grams.
    assert_eq!(row(&report, "resnet8-torch").job.as_ref().unwrap().phases[0].co2_grams, {
        row(&values(&study()), "resnet8-torch").job.as_ref().unwrap().phases[0].co2_grams
    });
    // The run's own intensity, told by a job with fewer digits, is no second one.
    let mut agreeing = study();
    change(&mut agreeing, "resnet8-torch", |measurement| own_intensity(measurement, 381.0));
    assert_eq!(values(&agreeing).warnings, []);
    // One job against the run.
    let carbon = Carbon { intensity_g_per_kwh: 100.0, ..run.carbon.clone().unwrap() };
    assert_warned(
        &values(&RunReport { carbon: Some(carbon.clone()), ..agreeing.clone() }),
        &RunReport { carbon: Some(carbon), ..agreeing },
        "grid_intensity",
    );
}

fn own_intensity(measurement: &mut Measurement, g_per_kwh: f64) {
    measurement.job.as_mut().unwrap().grid_intensity_g_per_kwh = Some(g_per_kwh);
}

#[test]
fn a_checkpoint_as_model_is_warned_of() {
    let mut run = study();
    change(&mut run, "resnet8-tensorflow-float32", |measurement| {
        measurement.model = Some(model_file(3 * 4 * 78_666 + 40_000, "float32"));
    });
    let report = values(&run);
    let message = assert_warned(&report, &run, "checkpoint_as_model");
    assert!(message.starts_with("resnet8-tensorflow-float32: the deployable file has 984 kB"), "{message}");
    assert!(message.contains("holds more than its weights: a checkpoint with optimiser slots?"), "{message}");
    // An integer model as large as a float one.
    let mut run = study();
    change(&mut run, "resnet8-tensorflow-qat", |measurement| {
        measurement.model = Some(model_file(323_192, "full-integer"));
    });
    assert_warned(&values(&run), &run, "checkpoint_as_model");
    let mut run = study();
    change(&mut run, "resnet8-torch-static-fbgemm", |measurement| {
        measurement.model = Some(model_file(323_192, "full-integer-float-io"));
    });
    assert_warned(&values(&run), &run, "checkpoint_as_model");
}

#[test]
fn a_technique_far_below_its_parent_is_suspect_and_no_answer() {
    let mut run = study();
    for attempt in run.attempts.iter_mut().filter(|attempt| attempt.treatment == "resnet8-torch-executorch-int8") {
        // The study's fault: inputs not quantised with the model's scale.
        let inference = attempt.measurement.as_mut().unwrap().inference.as_mut().unwrap();
        inference.confusion = confusion(if attempt.replicate == 1 { 0.48 } else { 0.855 });
    }
    let report = values(&run);
    let message = assert_warned(&report, &run, "suspect_pipeline");
    assert!(message.contains("more than 3 points lost in replicate 1."), "{message}");
    let techniques = answer(&report, 2);
    assert!(techniques.contains("Left out on pi-4, as their pipeline is suspect"), "{techniques}");
    for gain in ["executorch-int8 −", "executorch-int8 has the least"] {
        assert!(!techniques.contains(gain), "{techniques}");
    }
    assert!(!relation(&report, "resnet8-torch-executorch-int8").is_on_pareto_front);
    assert!(render(&run, ReportFormat::Terminal).contains("!! "));
    // A pruned model may lose that much: that is what pruning does.
    let mut run = study();
    change(&mut run, "resnet8-torch-pruned", |measurement| {
        measurement.inference.as_mut().unwrap().confusion = confusion(0.7);
    });
    assert_eq!(values(&run).warnings, []);
}

#[test]
fn models_from_files_of_one_network_are_held_against_each_other() {
    let facts = |name: &str, number_format: &str| TreatmentFacts {
        name: name.to_owned(),
        workload: Workload::Model {
            number_format: number_format.to_owned(),
            file_bytes: 100_000,
            thread_count: 1,
            made_by: None,
        },
        parameter_count: Some(78_666),
        mac_count: Some(12_501_632),
        ..TreatmentFacts::default()
    };
    let attempt = |name: &str, accuracy: f64| {
        let mut measurement = model(1e-3, 1_000_000, 1_000);
        measurement.inference.as_mut().unwrap().confusion = confusion(accuracy);
        super::super::fixture::trial(name, "pi-4", 0, 0, measurement)
    };
    let run = RunReport {
        replicate_count: 3,
        treatments: vec![facts("a", "float32"), facts("b", "full-integer")],
        attempts: vec![attempt("a", 0.85), attempt("b", 0.48)],
        ..study()
    };
    let report = values(&run);
    assert_eq!(report.study, None);
    let message = assert_warned(&report, &run, "suspect_pipeline");
    assert!(message.contains("the float32 model of the same size and work, a 0.8497"), "{message}");
}

#[test]
fn a_single_replicate_has_no_test_no_interval_and_says_so() {
    let run = of_one_replicate();
    let report = values(&run);
    let message = assert_warned(&report, &run, "single_replicate");
    assert!(message.contains("a single replicate of everything: no interval and no test"), "{message}");
    for comparison in &report.study.as_ref().unwrap().comparisons {
        assert_eq!((comparison.welch, comparison.p_holm, comparison.hedges_g), (None, None, None));
    }
    let answers = (0..3).map(|question| answer(&report, question)).collect::<Vec<_>>().join("\n");
    assert!(
        answers.contains(
            "Not tested, for a single replicate: energy of training of torch on host-a, −11.3 % to tensorflow."
        ),
        "{answers}"
    );
    assert!(!answers.contains("difference shown"), "{answers}");
    assert!(!render(&run, ReportFormat::Terminal).contains("one replicate: no interval"), "the warning said it");
    assert!(answers.contains("against torch float32 on pi-4, not tested: "), "{answers}");
    assert!(!answers.contains('±'), "{answers}");
}

fn refuse_evaluation(measurement: &mut Measurement, code: Option<&str>, why: &str) {
    let evaluate = &mut measurement.job.as_mut().unwrap().phases[1];
    evaluate.energy_joules = None;
    evaluate.energy_joules_above_idle = None;
    evaluate.refusal = Some(why.to_owned());
    evaluate.refusal_code = code.map(str::to_owned);
}

#[test]
fn a_phase_without_energy_for_another_reason_is_not_called_too_short() {
    let edges = "its edges stand for 3.0 % of its energy (bound 1 %)";
    for code in [Some("edges"), Some("samples_missing"), Some("outside"), None] {
        let mut run = study();
        change(&mut run, "resnet8-torch", |measurement| refuse_evaluation(measurement, code, edges));
        let report = values(&run);
        let message = assert_warned(&report, &run, "no_energy");
        assert_eq!(message, format!("phase evaluate of resnet8-torch: no energy: {edges}."));
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    }
    // One replicate of three: the others have one.
    let mut run = study();
    let one = run.attempts.iter_mut().find(|attempt| attempt.treatment == "resnet8-torch").unwrap();
    refuse_evaluation(one.measurement.as_mut().unwrap(), Some("edges"), edges);
    let report = values(&run);
    let message = assert_warned(&report, &run, "no_energy");
    assert!(
        message.starts_with("phase evaluate of resnet8-torch: no energy of 1 of 3 replicates: its edges"),
        "{message}"
    );
}

#[test]
fn what_several_jobs_lack_alike_is_told_once() {
    let mut run = study();
    for (job, why) in [("resnet8-torch", "0.06 s"), ("resnet8-tensorflow", "0.07 s")] {
        change(&mut run, job, |measurement| refuse_evaluation(measurement, Some("window_too_short"), why));
    }
    let report = values(&run);
    let message = assert_warned(&report, &run, "too_short");
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    let (which, why) = message.split_once(": no energy, as it is too short for its sensor ").unwrap();
    assert!(which.contains("resnet8-torch") && which.contains("resnet8-tensorflow"), "{message}");
    // The first one's reason, and whose it is.
    let first = which.strip_prefix("phase evaluate of ").unwrap().split(',').next().unwrap();
    let seconds = if first == "resnet8-torch" { "0.06 s" } else { "0.07 s" };
    assert_eq!(why, format!("({first}: {seconds})."));
}

#[test]
fn a_student_says_that_its_teachers_training_comes_on_top() {
    let mut run = study();
    assert!(!render(&run, ReportFormat::Markdown).contains("comes on top"));
    let of = |name: &str| name == "resnet8-torch";
    let student = run.treatments.iter_mut().find(|facts| of(&facts.name)).unwrap();
    if let Workload::Job { needs, .. } = &mut student.workload {
        needs.push("resnet8-tensorflow".to_owned());
    }
    let text = render(&run, ReportFormat::Markdown);
    assert!(text.contains("resnet8-torch learns from what resnet8-tensorflow made, whose cost comes on top"), "{text}");
    let report = values(&run);
    let relations = &report.study.as_ref().unwrap().relations;
    let of_student = relations.iter().find(|relation| relation.jobs.iter().any(|job| of(job))).unwrap();
    assert!(of_student.jobs.contains(&"resnet8-tensorflow".to_owned()), "{:?}", of_student.jobs);
}

#[test]
fn an_attempt_that_a_valid_one_replaced_is_not_warned_of() {
    let mut run = study();
    let mut first = run.attempts.iter().find(|attempt| attempt.treatment == "resnet8-torch").unwrap().clone();
    first.invalid_reasons = vec![reason("window_too_short", "make it longer")];
    run.attempts.iter_mut().filter(|attempt| attempt.trial == first.trial).for_each(|attempt| attempt.attempt = 2);
    run.attempts.push(first);
    let report = values(&run);
    assert_eq!((report.warnings.as_slice(), report.invalid_attempts.len()), (&[][..], 1));
}

#[test]
fn a_phase_that_its_sensor_cannot_see_is_refused() {
    let mut run = study();
    change(&mut run, "resnet8-torch", |measurement| {
        refuse_evaluation(measurement, Some("window_too_short"), "4 readings in 0.4 s, 100 needed");
    });
    let report = values(&run);
    let message = assert_warned(&report, &run, "too_short");
    assert_eq!(
        message,
        "phase evaluate of resnet8-torch: no energy, as it is too short for its sensor (4 readings in 0.4 s, 100 needed)."
    );
    let phase = &row(&report, "resnet8-torch").job.as_ref().unwrap().phases[1];
    assert_eq!((&phase.energy_joules, phase.co2_grams, phase.refusal_count), (&None, None, 3));
    let text = render(&run, ReportFormat::Terminal);
    let line = text.lines().find(|line| line.starts_with("torch") && line.contains("evaluate")).unwrap();
    assert!(line.contains("refused"), "{line}");
    assert!(!answer(&report, 0).contains("evaluation"), "{}", answer(&report, 0));
}

#[test]
fn a_job_whose_idle_windows_differ_keeps_its_energy_and_says_why_nothing_is_above_idle() {
    let mut run = study();
    let refuse = |measurement: &mut Measurement| {
        measurement.energy_joules_per_inference_above_idle = None;
        let job = measurement.job.as_mut().unwrap();
        job.energy_joules_above_idle = None;
        job.above_idle_refusal = Some("the idle windows differ by 7.2 %".to_owned());
        job.phases.iter_mut().for_each(|phase| phase.energy_joules_above_idle = None);
    };
    change(&mut run, "resnet8-torch", refuse);
    change(&mut run, "resnet8-torch-pruned-job", refuse);
    // Of another, one replicate only.
    for attempt in &mut run.attempts {
        if attempt.treatment == "resnet8-tensorflow" && attempt.replicate == 0 {
            refuse(attempt.measurement.as_mut().unwrap());
        }
    }
    let report = values(&run);
    assert_eq!(report.warnings, []);
    let phase = |treatment: &str| row(&report, treatment).job.as_ref().unwrap().phases.last().unwrap().clone();
    let whole = phase("resnet8-torch");
    assert!(whole.energy_joules.is_some() && whole.energy_joules_above_idle.is_none() && whole.co2_grams.is_some());
    assert_eq!((whole.refusal_count, whole.above_idle_refusal_count), (0, 3));
    let partly = phase("resnet8-tensorflow");
    assert_eq!(partly.energy_joules_above_idle.unwrap().joules_by_replicate.len(), 2);
    let text = render(&run, ReportFormat::Terminal);
    assert_eq!(text.matches("refused").count(), 4 + 3, "three phases and a job, and a note for each job");
    let text = unbroken(&text);
    for (treatment, count) in [("resnet8-torch", 3), ("resnet8-torch-pruned-job", 3), ("resnet8-tensorflow", 1)] {
        let note = format!(
            "Above idle refused: {treatment}, {count} of 3 replicates: the idle windows differ by 7.2 %. The totals do \
             not depend on them."
        );
        assert!(text.contains(&note), "{text}");
    }
    let csv = render(&run, ReportFormat::Csv);
    assert!(csv.lines().any(|line| line.contains("whole job") && line.contains("the idle windows differ by 7.2 %")));
}

#[test]
fn a_training_without_phases_is_compared_as_a_whole() {
    let mut run = study();
    change(&mut run, "resnet8-torch", |measurement| measurement.job.as_mut().unwrap().phases.clear());
    let training = answer(&values(&run), 0);
    assert!(training.contains("less energy for the whole training job than tensorflow on host-a"), "{training}");
}

#[test]
fn a_window_shorter_than_its_sensor_sees_is_told_once() {
    let mut run = study();
    let message = "the edges of the active window stand for 5.0 % of its energy (bound 1 %): make it longer";
    for attempt in run.attempts.iter_mut().filter(|attempt| attempt.treatment == "resnet8-torch-dynamic") {
        attempt.invalid_reasons = vec![reason("window_too_short", message)];
    }
    let report = values(&run);
    assert!(assert_warned(&report, &run, "too_short").contains(message));
    assert_eq!(row(&report, "resnet8-torch-dynamic").energy, None);
}

// === kinds and places ===

#[test]
fn what_is_not_measured_says_so_in_each_sentence_and_kinds_are_never_mixed() {
    let mut run = study();
    for attempt in &mut run.attempts {
        let measurement = attempt.measurement.as_mut().unwrap();
        measurement.kind = if attempt.node == "pi-4" { Kind::Simulated } else { Kind::Estimated };
    }
    let report = values(&run);
    let of = |question: usize| report.study.as_ref().unwrap().answers[question].sentences.clone();
    assert!(of(0).iter().all(|sentence| sentence.starts_with("By estimated figures, which nobody measured: ")));
    let simulated = "By simulated figures, which say nothing of any hardware: ";
    assert!(of(2).iter().all(|sentence| sentence.starts_with(simulated)), "{:#?}", of(2));
    // Training was estimated, inference simulated: nothing pays anything back.
    let relation = relation(&report, "resnet8-torch-static-fbgemm");
    assert_eq!((relation.jobs_joules, relation.break_even), (None, None));
}

#[test]
fn frameworks_trained_on_other_sensors_are_not_compared() {
    let mut run = study();
    change(&mut run, "resnet8-torch", |measurement| measurement.sensor = "tdp (cpu)".to_owned());
    let report = values(&run);
    assert!(
        answer(&report, 0).contains("is not compared: different sensors: tdp (cpu) and rapl (package-0)."),
        "{}",
        answer(&report, 0)
    );
    let comparison = &report.study.as_ref().unwrap().comparisons[0];
    assert_eq!((comparison.difference, comparison.welch, comparison.test_count), (None, None, 0));
    assert!(report.notes.iter().any(|note| note.contains("different sensors")), "{:?}", report.notes);
}

#[test]
fn nothing_prints_a_figure_that_is_no_number_and_every_line_fits() {
    let mut run = study();
    change(&mut run, "resnet8-torch", |measurement| {
        let job = measurement.job.as_mut().unwrap();
        job.energy_joules.value = f64::NAN;
        job.duration_seconds = f64::INFINITY;
        job.phases[0].duration_seconds = f64::NAN;
        job.confusion = vec![vec![1, 2], vec![3]];
        job.epochs[0].train_loss = Some(f64::NAN);
    });
    change(&mut run, "resnet8-tensorflow-float32", |measurement| {
        measurement.energy_joules_per_inference.value = 0.0;
        measurement.inference.as_mut().unwrap().confusion.clear();
    });
    let unfinished = RunReport { attempts: study().attempts.into_iter().take(2).collect(), ..study() };
    for run in [run, study(), of_one_replicate(), unfinished, RunReport { attempts: Vec::new(), ..study() }] {
        for format in FORMATS {
            let text = render(&run, format);
            for word in text.split(|character: char| !character.is_alphanumeric()) {
                assert!(!["NaN", "inf", "Infinity"].contains(&word), "{format:?}:\n{text}");
            }
        }
        for line in render(&run, ReportFormat::Terminal).lines() {
            assert!(line.chars().count() <= 100, "{} wide: {line}", line.chars().count());
        }
    }
}

/// The study while it executes: replicate after replicate, in each the jobs first and then the models, of which the
/// float32 ones come last. The first attempt at training torch has failed.
fn so_far(attempt_count: usize) -> RunReport {
    let mut attempts = study().attempts;
    attempts.sort_by_key(|attempt| {
        let is_inference = attempt.node == "pi-4";
        (attempt.replicate, is_inference, is_inference && attempt.treatment.ends_with("float32"))
    });
    let torch = attempts.iter().position(|attempt| attempt.treatment == "resnet8-torch").unwrap();
    attempts[torch].attempt = 2;
    let invalid_reasons = vec![reason("job", "it ended with code 1")];
    let failed = TrialResult { attempt: 1, invalid_reasons, measurement: None, ..attempts[torch].clone() };
    attempts.insert(torch, failed);
    attempts.truncate(attempt_count);
    RunReport { state: RunState::Running, ended_unix_ns: None, attempts, attempt_count_running: 1, ..study() }
}

#[test]
fn a_run_that_is_not_over_says_of_each_treatment_what_is_missing() {
    let treatment_count = study().treatments.len();
    for attempt_count in (0..=treatment_count + 1).filter(|count| count % 4 < 2) {
        let run = so_far(attempt_count);
        let report = values(&run);
        let missing: Vec<&Row> = report.rows.iter().filter(|row| row.kind.is_none()).collect();
        let has_failed = run.attempts.iter().any(|attempt| !attempt.is_valid());
        let valid_count = attempt_count - usize::from(has_failed);
        assert_eq!(missing.len(), treatment_count - valid_count, "after {attempt_count} attempts");
        for row in missing {
            assert!(row.energy.is_none() && row.job.is_none() && row.quality.is_none(), "{}", row.treatment);
            let is_torch = row.treatment == "resnet8-torch" && has_failed;
            let note = if is_torch { "no valid trial: see the invalid attempts" } else { "no trial has ended" };
            assert_eq!(row.notes, [note], "{}", row.treatment);
        }
        for format in FORMATS {
            let text = render(&run, format);
            assert!(!text.contains("NaN"), "{format:?} after {attempt_count} attempts:\n{text}");
        }
        let text = render(&run, ReportFormat::Terminal);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(text.contains("no trial has ended"), attempt_count <= treatment_count, "{text}");
        assert!(text.contains("1 executing"), "{text}");
    }
}

#[test]
fn what_hangs_on_a_model_that_is_not_measured_yet_has_no_figure() {
    // All jobs of the first replicate have ended, and of the models on the device the first one.
    let job_count = study().treatments.iter().filter(|facts| matches!(facts.workload, Workload::Job { .. })).count();
    let run = so_far(job_count + 2);
    let report = values(&run);
    let relation = relation(&report, "resnet8-tensorflow-dynamic-range");
    assert_eq!((&relation.parent, relation.accuracy_points_to_parent, relation.break_even), (&None, None, None));
    assert!(relation.jobs_joules.is_some(), "the jobs behind it have ended");
    assert!(answer(&report, 0).contains("Not tested, for a single replicate"), "{}", answer(&report, 0));

    // Before torch has trained, nothing is compared, and the failed attempt is listed.
    let torch = run.attempts.iter().position(|attempt| !attempt.is_valid()).unwrap();
    let run = so_far(torch + 1);
    let report = values(&run);
    assert!(answer(&report, 0).contains("Nothing to compare"), "{}", answer(&report, 0));
    assert!(answer(&report, 2).contains("No model has a valid trial on a node yet."), "{}", answer(&report, 2));
    assert_eq!(report.invalid_attempts.len(), 1);
    assert!(render(&run, ReportFormat::Terminal).contains("it ended with code 1"));
}

#[test]
fn the_csv_has_a_line_for_each_phase_of_a_job() {
    let text = render(&study(), ReportFormat::Csv);
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let head = csv.headers().unwrap().clone();
    let column = |name: &str| head.iter().position(|column| column == name).unwrap();
    let lines: Vec<_> = csv.records().map(Result::unwrap).collect();
    let of =
        |treatment: &str| -> Vec<_> { lines.iter().filter(|line| &line[column("treatment")] == treatment).collect() };
    let phases: Vec<&str> = of("resnet8-torch").iter().map(|line| &line[column("phase")]).collect();
    assert_eq!(phases, ["train", "evaluate", "whole job"]);
    assert!(!of("resnet8-torch")[0][column("phase_co2_grams")].is_empty());
    let [static_fbgemm] = of("resnet8-torch-static-fbgemm")[..] else { panic!("one line") };
    assert!(static_fbgemm[column("energy_percent_to_float32")].starts_with("-50."), "{static_fbgemm:?}");
    assert_eq!(&static_fbgemm[column("is_suspect")], "false");
}
