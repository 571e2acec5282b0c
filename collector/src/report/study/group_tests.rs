//! Energies stand beside each other only where they may be compared; and the least of them is called so with its doubt.

use super::super::input::RunReport;
use super::super::relations::Relation;
use super::super::study_fixture::{change, study};
use super::super::values;
use super::compare::LEAST;
use crate::result::Measurement;

fn techniques(run: &RunReport) -> Vec<String> {
    values(run).study.expect("a run with jobs").answers[2].sentences.clone()
}

#[track_caller]
fn sentence(run: &RunReport, part: &str) -> String {
    let sentences = techniques(run);
    sentences
        .iter()
        .find(|sentence| sentence.contains(part))
        .cloned()
        .unwrap_or_else(|| panic!("no {part:?}: {sentences:#?}"))
}

fn front(run: &RunReport) -> Vec<String> {
    let relations = values(run).study.expect("a run with jobs").relations;
    let on_front = |relation: Relation| relation.is_on_pareto_front.then_some(relation.treatment);
    relations.into_iter().filter_map(on_front).collect()
}

/// Changes all trials of models whose treatment has this part in its name.
fn change_models(run: &mut RunReport, part: &str, change: impl Fn(&mut Measurement)) {
    let models = |name: &str| name.contains(part) && !name.ends_with("-job") && name.matches('-').count() > 1;
    run.attempts
        .iter_mut()
        .filter(|attempt| models(&attempt.treatment))
        .for_each(|attempt| change(attempt.measurement.as_mut().expect("the study has measurements only")));
}

fn with_threads(measurement: &mut Measurement, count: u32) {
    measurement.inference.as_mut().expect("a model's trial").thread_count = count;
}

#[test]
fn models_with_other_threads_have_an_answer_and_a_front_of_their_own() {
    let mut run = study();
    change_models(&mut run, "torch", |measurement| with_threads(measurement, 4));
    let own = sentence(&run, "tensorflow full-integer has the least");
    assert!(own.starts_with("Of 8 models on pi-4 with 1 thread, none more than 3 points below"), "{own}");
    let others = sentence(&run, "torch executorch-int8 has the least");
    assert!(others.starts_with("Of 6 models on pi-4 with 4 threads, none more than 3 points below"), "{others}");
    assert_eq!(
        front(&run),
        [
            "resnet8-tensorflow-full-integer",
            "resnet8-tensorflow-qat",
            "resnet8-torch-dynamic",
            "resnet8-torch-executorch-int8",
        ]
    );
    sentence(&run, "Pareto front of mean accuracy against mean energy per inference on pi-4 with 4 threads");
    sentence(&run, "Less energy per inference than torch float32 on pi-4 with 4 threads");
}

#[test]
fn another_channel_another_rate_and_other_windows_stand_apart() {
    type Change = fn(&mut Measurement);
    let cases: [(Change, &str); 3] = [
        (|measurement| measurement.sensor = "ina219 (usb)".to_owned(), "on pi-4 with ina219 (usb), none"),
        (|measurement| measurement.sample_rate_hz = 500.0, "on pi-4 with 500 Hz, none"),
        (|measurement| measurement.windows[1].end_mono_ns += 5_000_000_000, "on pi-4 with windows of 15.000 s, none"),
    ];
    for (other, place) in cases {
        let mut run = study();
        change_models(&mut run, "torch", other);
        let found = sentence(&run, place);
        assert!(found.contains("torch executorch-int8 has the least"), "{found}");
        assert!(front(&run).contains(&"resnet8-tensorflow-full-integer".to_owned()), "{place}");
    }
}

#[test]
fn an_answer_to_other_inputs_is_none_to_these() {
    let mut run = study();
    for facts in &mut run.treatments {
        facts.inputs_sha256 = if facts.name.ends_with("executorch-int8") { "ab".repeat(32) } else { "cd".repeat(32) };
    }
    sentence(
        &run,
        "torch executorch-int8 is the only model on pi-4 with inputs abababababab that is not more than 3 points below",
    );
    let report = values(&run);
    let relations = &report.study.as_ref().unwrap().relations;
    let of = relations.iter().find(|relation| relation.treatment == "resnet8-torch-executorch-int8").unwrap();
    assert_eq!((&of.parent, of.accuracy_points_to_parent, of.break_even), (&None, None, None));
    assert!(report.notes.iter().any(|note| note.starts_with("Not comparable over different test inputs: inputs ab")));
}

#[test]
fn a_parent_that_is_not_comparable_pays_nothing_back() {
    let mut run = study();
    change(&mut run, "resnet8-torch-float32", |measurement| with_threads(measurement, 2));
    let report = values(&run);
    let relations = &report.study.as_ref().unwrap().relations;
    let of = relations.iter().find(|relation| relation.treatment == "resnet8-torch-static-fbgemm").unwrap();
    assert_eq!((of.parent.as_deref(), of.break_even), (Some("resnet8-torch-float32"), None));
    assert!(of.accuracy_points_to_parent.is_some(), "threads change no answer");
    let apart = sentence(&run, "Not compared with torch float32");
    assert!(apart.contains("static-fbgemm (different thread counts: 1 thread and 2 threads)"), "{apart}");
}

#[test]
fn a_slow_inference_that_ends_late_is_no_other_window() {
    let mut run = study();
    change(&mut run, "resnet8-torch-float32", |measurement| {
        measurement.windows[1].end_mono_ns += 1_500_000_000;
        measurement.windows[1].inference_count = 7;
    });
    assert!(sentence(&run, "has the least").starts_with("Of 14 models on pi-4, none"));
}

#[test]
fn the_least_is_called_so_with_what_is_not_shown() {
    let clear = sentence(&study(), "executorch-int8 has the least");
    assert!(
        clear.contains("; that it takes less than each of the others is shown (Welch, the largest p < 0.001)"),
        "{clear}"
    );
    // As much as the next one, but for the last digits.
    let mut run = study();
    change(&mut run, "resnet8-tensorflow-full-integer", |measurement| {
        measurement.energy_joules_per_inference.value *= 3.101 / 3.4;
    });
    let close = sentence(&run, "executorch-int8 has the least");
    assert!(
        close.contains("; by Welch's test it is not shown to take less than tensorflow full-integer (p = 0.730);"),
        "{close}"
    );
    let comparisons = values(&run).study.unwrap().comparisons;
    let tests: Vec<_> = comparisons.iter().filter(|comparison| comparison.quantity == LEAST).collect();
    assert_eq!(tests.len(), 13, "every test behind an answer is kept");
    assert!(tests.iter().all(|test| test.treatment == "resnet8-torch-executorch-int8" && test.p_holm.is_none()));
    assert!(comparisons.iter().all(|comparison| comparison.test_count != 25), "they are in no family of Holm's");
}

#[test]
fn groups_beyond_what_anybody_reads_are_counted() {
    let mut run = study();
    let treatments: Vec<String> = run.treatments.iter().map(|facts| facts.name.clone()).collect();
    for (count, name) in
        (1..).zip(treatments.iter().filter(|name| name.matches('-').count() > 1 && !name.ends_with("-job")))
    {
        change(&mut run, name, |measurement| with_threads(measurement, count));
    }
    let sentences = techniques(&run);
    assert!(
        sentences
            .iter()
            .any(|sentence| sentence.starts_with("Groups of models that are not comparable with these, 2 more")),
        "{sentences:#?}"
    );
    assert!(sentences.len() < 40, "{}", sentences.len());
}
