//! The worker program as the agent starts it: answers equal to ExecuTorch's own Python runtime, and refusals.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tinywatt_agent::inference::worker::{LoadRequest, Loaded, Worker, WorkerError};
use tinywatt_proto::inputs::{Encoding, InputSet};
use tinywatt_proto::v1::FailureReason;

const WORKER: &str = env!("CARGO_BIN_EXE_executorch-worker");
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector/data/digits");

fn program(name: &str) -> PathBuf {
    Path::new(DATA).join(format!("{name}.pte"))
}

fn request(model: PathBuf) -> LoadRequest {
    LoadRequest {
        library: None,
        model,
        inputs: Path::new(DIGITS).join("test.twin"),
        thread_count: 1,
        engine: String::new(),
        input_scale: 0.125,
        input_offset: -1.0,
    }
}

async fn start(request: LoadRequest) -> Result<(Worker, Loaded), WorkerError> {
    Worker::start(Path::new(WORKER), &[], request).await
}

async fn refused(request: LoadRequest, words: &[&str]) {
    let error = start(request).await.map(drop).expect_err("it must be refused");
    assert_eq!(error.reason(), FailureReason::Model, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "'{word}' is not in '{error}'");
    }
}

#[tokio::test]
async fn programs_answer_as_pythons_runtime_does() {
    let expected = std::fs::read(Path::new(DATA).join("expected.json")).expect("ships with the project");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    for (name, thread_count) in [("digits-int8", 1), ("digits-int8", 2), ("portable", 1)] {
        let request = LoadRequest { thread_count, ..request(program(name)) };
        let (mut worker, loaded) = start(request).await.expect(name);
        assert!(loaded.runtime_version.starts_with("1.5.1"), "{}", loaded.runtime_version);
        assert_eq!((loaded.input.element.as_str(), &loaded.input.shape[..]), ("float32", &[1, 8, 8, 1][..]));
        let evaluation = worker.evaluate(|_| ()).await.expect(name);
        let correct: u64 = evaluation.confusion.iter().step_by(11).sum();
        assert_eq!(Some(correct), expected[name]["correct_count"].as_u64(), "{name}");
        // Integer arithmetic is the same everywhere; floats are added up in an order of the processor's own.
        if name == "digits-int8" {
            let outputs = evaluation.outputs_sha256.to_string();
            assert_eq!(Some(outputs.as_str()), expected[name]["outputs_sha256"].as_str(), "{name}");
        }
        worker.warm_up(5).await.expect(name);
        let active = worker.run_for(Duration::from_millis(20)).await.expect(name);
        assert!(active.inference_count > 0);
        assert!(worker.finish().await.expect(name).memory_bytes_peak > 0);
    }
}

#[tokio::test]
async fn what_is_no_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.pte");
    refused(request(path.clone()), &["does not open", "own.pte", "AccessFailed", "No such file"]).await;
    let whole = std::fs::read(program("digits-int8")).expect("ships with the project");
    for content in [&b""[..], b"no program", &[0xa5; 4096], &whole[..100], &whole[..whole.len() / 2]] {
        std::fs::write(&path, content).expect("written");
        refused(request(path.clone()), &["own.pte", "ExecuTorch 1.5.1"]).await;
    }
}

#[tokio::test]
async fn programs_that_take_something_else_are_refused() {
    refused(request(program("batch-of-two")), &["batch-of-two.pte", "float32 [2, 8, 8, 1]", "a batch of 1"]).await;
    refused(request(program("doubles")), &["doubles.pte", "float64 [1, 8, 8, 1]", "float32"]).await;
    refused(request(program("two-inputs")), &["two-inputs.pte", "2 inputs and 1 outputs"]).await;
    let request = LoadRequest { engine: "qnnpack".to_owned(), ..request(program("digits-int8")) };
    refused(request, &["no engine 'qnnpack'", "leave `engine` out"]).await;
}

#[tokio::test]
async fn inputs_of_another_shape_are_refused_naming_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = InputSet::new(Encoding::Plain, 10, vec![4, 4, 1], vec![0], vec![0; 16]).expect("a set");
    let inputs = folder.path().join("small.twin");
    std::fs::write(&inputs, set.to_bytes()).expect("written");
    let request = LoadRequest { inputs, ..request(program("digits-int8")) };
    refused(request, &["digits-int8.pte", "[1, 8, 8, 1]", "[4, 4, 1]"]).await;
}

#[test]
fn the_worker_tells_its_version() {
    let output = Command::new(WORKER).arg("--version").output().expect("starts");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1.5.1"));
}
