//! The worker program as the agent starts it: answers equal to Python torch's, and refusals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tinywatt_agent::inference::worker::{LoadRequest, Loaded, Worker, WorkerError};
use tinywatt_proto::card::ModelCard;
use tinywatt_proto::v1::FailureReason;
use tinywatt_torch::card;

const WORKER: &str = env!("CARGO_BIN_EXE_torch-worker");
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector/data/digits");

fn module(technique: &str) -> PathBuf {
    Path::new(DATA).join(format!("digits-{technique}.pt"))
}

fn request(model: PathBuf, engine: &str) -> LoadRequest {
    LoadRequest {
        library: None,
        model,
        inputs: Path::new(DIGITS).join("test.twin"),
        thread_count: 1,
        engine: engine.to_owned(),
        input_scale: 0.125,
        input_offset: -1.0,
    }
}

async fn start(request: LoadRequest) -> Result<(Worker, Loaded), WorkerError> {
    Worker::start(Path::new(WORKER), &[], request).await
}

async fn refused(request: LoadRequest, reason: FailureReason, words: &[&str]) {
    let error = start(request).await.map(drop).expect_err("it must be refused");
    assert_eq!(error.reason(), reason, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "'{word}' is not in '{error}'");
    }
}

#[tokio::test]
async fn every_technique_answers_as_python_torch_does() {
    let expected = std::fs::read(Path::new(DATA).join("expected.json")).expect("ships with the project");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    for technique in ["float32", "static-fbgemm", "static-qnnpack", "dynamic"] {
        let (mut worker, loaded) = start(request(module(technique), "")).await.expect(technique);
        assert!(loaded.runtime_version.starts_with("2.11.0"), "{}", loaded.runtime_version);
        assert_eq!((loaded.input.element.as_str(), &loaded.input.shape[..]), ("float32", &[1, 8, 8, 1][..]));
        let evaluation = worker.evaluate(|_| ()).await.expect(technique);
        let correct: u64 = evaluation.confusion.iter().step_by(11).sum();
        assert_eq!(Some(correct), expected[technique]["correct_count"].as_u64(), "{technique}");
        // Integer arithmetic is the same everywhere; floats are added up in an order of the processor's own.
        if technique.starts_with("static") {
            let outputs = evaluation.outputs_sha256.to_string();
            assert_eq!(Some(outputs.as_str()), expected[technique]["outputs_sha256"].as_str(), "{technique}");
        }
        worker.warm_up(5).await.expect(technique);
        let active = worker.run_for(Duration::from_millis(20)).await.expect(technique);
        assert!(active.inference_count > 0);
        assert!(worker.finish().await.expect(technique).memory_bytes_peak > 0);
    }
}

#[tokio::test]
async fn a_module_for_another_engine_is_refused() {
    let words = ["digits-static-qnnpack.pt", "made for the engine 'qnnpack'", "asks for 'fbgemm'", "answer wrongly"];
    refused(request(module("static-qnnpack"), "fbgemm"), FailureReason::Model, &words).await;
    start(request(module("static-qnnpack"), "qnnpack")).await.map(drop).expect("its own engine");
}

#[tokio::test]
async fn a_module_that_does_not_say_what_it_is_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.pt");
    std::fs::write(&path, "no module").expect("written");
    refused(request(path.clone(), ""), FailureReason::Model, &["own.pt", "not a TorchScript module"]).await;
    refused(request(folder.path().join("none.pt"), ""), FailureReason::Model, &["none.pt", "No such file"]).await;

    // A whole module, but for its card.
    let untold = |spoil: fn(&mut ModelCard)| {
        let mut own = card::read(&module("float32")).expect("it has one");
        spoil(&mut own);
        strip(&module("float32"), &path);
        card::add(&path, &own).expect("added");
    };
    strip(&module("float32"), &path);
    refused(request(path.clone(), ""), FailureReason::Model, &["own.pt", "no card", "_extra_files"]).await;
    untold(|card| card.engine = "onednn".to_owned());
    refused(request(path.clone(), ""), FailureReason::Model, &["'onednn'", "fbgemm, qnnpack"]).await;
    untold(|card| card.input_dtype = "int64".to_owned());
    refused(request(path.clone(), ""), FailureReason::Model, &["int64", "float32"]).await;
    untold(|card| card.class_count = 7);
    refused(request(path.clone(), ""), FailureReason::Model, &["[1, 10]", "[1, 7]"]).await;
    untold(|card| card.class_count = u32::MAX);
    refused(request(path.clone(), ""), FailureReason::Model, &["4294967295 classes"]).await;
    untold(|card| card.input_shape = vec![1, 5, 5, 1]);
    refused(request(path.clone(), ""), FailureReason::Model, &["own.pt"]).await;
    untold(|_| ());
    start(request(path.clone(), "")).await.map(drop).expect("whole again");
}

#[tokio::test]
async fn inputs_of_another_shape_are_refused_naming_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = tinywatt_proto::inputs::InputSet::new(
        tinywatt_proto::inputs::Encoding::Plain,
        10,
        vec![4, 4, 1],
        vec![0],
        vec![0; 16],
    );
    let inputs = folder.path().join("small.twin");
    std::fs::write(&inputs, set.expect("a set").to_bytes()).expect("written");
    let request = LoadRequest { inputs, ..request(module("float32"), "") };
    refused(request, FailureReason::Model, &["digits-float32.pt", "[1, 8, 8, 1]", "[4, 4, 1]"]).await;
}

#[tokio::test]
async fn quantised_weights_under_a_card_that_names_no_engine_do_not_load() {
    let folder = tempfile::tempdir().expect("a folder");
    for technique in ["static-qnnpack", "static-fbgemm", "dynamic"] {
        let path = folder.path().join("hidden.pt");
        let mut own = card::read(&module(technique)).expect("it has one");
        own.engine = "none".to_owned();
        strip(&module(technique), &path);
        card::add(&path, &own).expect("added");
        refused(request(path, ""), FailureReason::Model, &["hidden.pt", "quantised operations"]).await;
    }
}

/// Copies a module without its card.
fn strip(from: &Path, to: &Path) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(from).expect("there")).expect("an archive");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(to).expect("created"));
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).expect("an entry");
        if !entry.name().expect("a name").ends_with("tinywatt.json") {
            writer.raw_copy_file(entry).expect("copied");
        }
    }
    writer.finish().expect("finished");
}
