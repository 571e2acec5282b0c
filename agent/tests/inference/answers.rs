//! The answers are those of the official Python runtime.

use std::path::Path;
use std::process::Command;

use tinywatt_agent::inference::worker::{Evaluation, LoadRequest, Worker};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::{Encoding, InputSet};

use crate::scene::{DIGITS, Folder, SHARED, digits, has_runtime, has_shared, request, start};

fn correct_count(evaluation: &Evaluation) -> u64 {
    let step = evaluation.class_count as usize + 1;
    evaluation.confusion.iter().step_by(step).sum()
}

#[tokio::test]
async fn all_four_techniques_give_the_official_answers_on_digits() {
    if !has_runtime() {
        return;
    }
    let expected = std::fs::read(Path::new(DIGITS).join("expected.json")).expect("ships with the project");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
    for (technique, element) in
        [("float32", "float32"), ("float16", "float32"), ("dynamic-range", "float32"), ("full-integer", "int8")]
    {
        let (mut worker, loaded) = start(digits(technique)).await.expect(technique);
        assert_eq!(loaded.runtime_version, "2.3.0");
        assert_eq!(
            (loaded.input.element.as_str(), &loaded.input.shape[..]),
            (element, &[1, 8, 8, 1][..]),
            "{technique}"
        );
        assert_eq!((loaded.output.element.as_str(), &loaded.output.shape[..]), (element, &[1, 10][..]), "{technique}");
        assert_eq!(loaded.input.scale.is_some(), element == "int8");
        let mut told = Vec::new();
        let evaluation = worker.evaluate(|fraction| told.push(fraction)).await.expect(technique);
        let expected = &expected["models"][technique];
        assert_eq!(evaluation.input_count, 450);
        assert_eq!(evaluation.confusion.iter().sum::<u64>(), 450);
        assert_eq!(Some(correct_count(&evaluation)), expected["correct_count"].as_u64(), "{technique}");
        if let Some(sha256) = expected["outputs_sha256"].as_str() {
            assert_eq!(evaluation.outputs_sha256.to_string(), sha256, "{technique}");
        }
        assert!(told.is_sorted() && told.iter().all(|fraction| (0.0..=1.0).contains(fraction)), "{told:?}");
        let again = worker.evaluate(|_| ()).await.expect(technique);
        assert_eq!(again.outputs_sha256, evaluation.outputs_sha256, "{technique} answers alike each time");
        assert!(again.window.start() >= evaluation.window.end());
    }
}

fn thread_count(worker: &Worker) -> usize {
    let id = worker.process_id().expect("runs");
    std::fs::read_dir(format!("/proc/{id}/task")).expect("Linux").count()
}

#[tokio::test]
async fn the_thread_count_reaches_the_runtime_and_changes_no_answer() {
    if !has_runtime() {
        return;
    }
    let (mut one, _) = start(digits("full-integer")).await.expect("starts");
    let request = LoadRequest { thread_count: 3, ..digits("full-integer") };
    let (mut three, _) = start(request).await.expect("starts");
    let (first, second) = (one.evaluate(|_| ()).await.expect("runs"), three.evaluate(|_| ()).await.expect("runs"));
    assert_eq!(first.outputs_sha256, second.outputs_sha256);
    assert_eq!(thread_count(&three), thread_count(&one) + 2);
}

#[tokio::test]
async fn the_int8_keyword_model_gives_every_expected_output() {
    if !(has_runtime() && has_shared("kws01/expected.csv")) {
        return;
    }
    let folder = Folder::new();
    let archive = Path::new(SHARED).join("kws01/inputs.tar.xz");
    let unpacked = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status();
    assert!(unpacked.expect("tar is there").success());
    let (mut labels, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let expected = std::fs::read_to_string(Path::new(SHARED).join("kws01/expected.csv")).expect("there");
    for line in expected.lines().skip(1) {
        let columns: Vec<_> = line.split(',').collect();
        inputs.extend(std::fs::read(folder.path().join(columns[0])).expect("in the archive"));
        labels.push(columns[1].parse().expect("a label"));
        let output = columns[3].split(' ').map(|byte| byte.parse::<i8>().expect("an int8").to_ne_bytes()[0]);
        outputs.extend(output);
    }
    let set = InputSet::new(Encoding::Quantised, 12, vec![49, 10, 1], labels, inputs).expect("fits");
    let inputs = folder.file("kws.twin", &set.to_bytes());
    let model = Path::new(SHARED).join("mlperf-tiny/kws_dscnn_int8.tflite");
    let (mut worker, _) = start(request(&model, &inputs, 1.0)).await.expect("starts");
    let evaluation = worker.evaluate(|_| ()).await.expect("runs");
    assert_eq!((correct_count(&evaluation), evaluation.input_count), (453, 500));
    assert_eq!(evaluation.outputs_sha256, Sha256::of(&outputs));
}
