//! Everything that is wrong gives a clear error, and the agent lives on.

use std::path::Path;
use std::process::Command;

use rand::{RngExt, SeedableRng};
use tinywatt_agent::inference::worker::{LoadRequest, WorkerError};
use tinywatt_proto::inputs::Encoding;
use tinywatt_proto::v1::FailureReason;

use crate::scene::{
    AGENT, DIGITS, Folder, SHARED, assert_says, digits, has_runtime, has_shared, refused, request, start,
};

fn content(technique: &str) -> Vec<u8> {
    std::fs::read(digits(technique).model).expect("ships with the project")
}

/// Whatever a broken model does to its worker, it is reported as the model's fault or the worker's death.
async fn check_broken(folder: &Folder, content: &[u8], how: &str) {
    let model = folder.file("broken.tflite", content);
    let error = match start(LoadRequest { model, ..digits("float32") }).await {
        // Some damage, in weights for example, cannot be seen. Then it runs.
        Ok((mut worker, _)) => match worker.evaluate(|_| ()).await {
            Ok(_) => return,
            Err(error) => error,
        },
        Err(error) => error,
    };
    assert_says(&error, &["broken.tflite"]);
    // A crash while running, after the model was loaded, may have other causes than the file.
    let is_known = matches!(error, WorkerError::Model { .. } | WorkerError::Crashed { .. } | WorkerError::Died { .. });
    assert!(is_known, "{how}: {error}");
}

#[tokio::test]
async fn a_truncated_model_is_refused_wherever_it_is_cut() {
    if !has_runtime() {
        return;
    }
    let (folder, whole) = (Folder::new(), content("full-integer"));
    for part in 0..12 {
        check_broken(&folder, &whole[..whole.len() * part / 12], &format!("cut at {part}/12")).await;
    }
}

#[tokio::test]
async fn a_corrupt_model_cannot_take_the_agent_down() {
    if !has_runtime() {
        return;
    }
    let (folder, whole) = (Folder::new(), content("float32"));
    for seed in 0..12 {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut broken = whole.clone();
        // The format's tables are at both ends of the file; the mark is left, or nothing else would be tried.
        for _ in 0..8 {
            let offset = random.random_range(8..2_000);
            let index = if random.random() { offset } else { broken.len() - offset };
            broken[index] = random.random();
        }
        check_broken(&folder, &broken, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_text_file_is_no_model() {
    if !has_runtime() {
        return;
    }
    let folder = Folder::new();
    let model = folder.file("notes.tflite", b"just some notes");
    let error = refused(LoadRequest { model, ..digits("float32") }).await;
    assert_says(&error, &["notes.tflite", "not a .tflite model"]);
    assert_eq!(error.reason(), FailureReason::Model);
    let error = refused(LoadRequest { model: folder.path().join("missing.tflite"), ..digits("float32") }).await;
    assert_says(&error, &["missing.tflite", "No such file"]);
}

#[tokio::test]
async fn inputs_of_another_shape_are_refused_naming_both() {
    if !has_runtime() {
        return;
    }
    let folder = Folder::new();
    let inputs = folder.inputs(Encoding::Plain, 10, &[32, 32, 3], 1);
    let error = refused(LoadRequest { inputs, ..digits("float32") }).await;
    assert_says(&error, &["cnn-float32.tflite", "[1, 8, 8, 1]", "[32, 32, 3]", "[1, 32, 32, 3]"]);
    assert_eq!(error.reason(), FailureReason::Model);
}

#[tokio::test]
async fn another_number_of_classes_is_refused() {
    if !has_runtime() {
        return;
    }
    let folder = Folder::new();
    let inputs = folder.inputs(Encoding::Plain, 12, &[8, 8, 1], 1);
    let error = refused(LoadRequest { inputs, ..digits("float32") }).await;
    assert_says(&error, &["cnn-float32.tflite", "[1, 10]", "12 classes"]);
    let inputs = folder.inputs(Encoding::Plain, 1_001, &[8, 8, 1], 1);
    assert_says(&refused(LoadRequest { inputs, ..digits("float32") }).await, &["1001 classes", "1000"]);
}

#[tokio::test]
async fn quantised_inputs_fit_int8_models_only() {
    if !has_runtime() {
        return;
    }
    let folder = Folder::new();
    let inputs = folder.inputs(Encoding::Quantised, 10, &[8, 8, 1], 1);
    let error = refused(LoadRequest { inputs: inputs.clone(), ..digits("float32") }).await;
    let text = error.to_string();
    assert!(text.contains("quantised already") && text.contains("float32"), "{text}");
    let (mut worker, _) = start(LoadRequest { inputs, ..digits("full-integer") }).await.expect("int8");
    worker.evaluate(|_| ()).await.expect("runs");
}

#[tokio::test]
async fn unreadable_inputs_are_the_artifacts_fault() {
    if !has_runtime() {
        return;
    }
    let folder = Folder::new();
    let whole = std::fs::read(Path::new(DIGITS).join("test.twin")).expect("ships with the project");
    for content in [&whole[..whole.len() - 1], b"", b"not an input set"] {
        let inputs = folder.file("broken.twin", content);
        let error = refused(LoadRequest { inputs, ..digits("float32") }).await;
        assert_says(&error, &["broken.twin"]);
        assert_eq!(error.reason(), FailureReason::Artifact);
    }
}

#[tokio::test]
async fn a_model_that_is_no_classifier_is_refused() {
    if !(has_runtime() && has_shared("mlperf-tiny/ad_autoencoder_int8.tflite")) {
        return;
    }
    let folder = Folder::new();
    let inputs = folder.inputs(Encoding::Quantised, 2, &[640], 1);
    let model = Path::new(SHARED).join("mlperf-tiny/ad_autoencoder_int8.tflite");
    assert_says(
        &refused(request(&model, &inputs, 1.0)).await,
        &["ad_autoencoder_int8.tflite", "[1, 640]", "2 classes"],
    );
}

#[tokio::test]
async fn a_missing_library_is_named() {
    let library = Some("/nowhere/libLiteRt.so".into());
    let error = refused(LoadRequest { library, ..digits("float32") }).await;
    assert_says(&error, &["/nowhere/libLiteRt.so", "configuration"]);
    assert_eq!(error.reason(), FailureReason::Runtime);
}

#[tokio::test]
async fn a_program_is_not_the_library() {
    let error = refused(LoadRequest { library: Some(AGENT.into()), ..digits("float32") }).await;
    assert_says(&error, &[AGENT, "not LiteRT", "agent runtime install"]);
    let library = Some(digits("float32").model);
    assert_says(&refused(LoadRequest { library, ..digits("float32") }).await, &["not a shared library"]);
}

#[tokio::test]
async fn a_library_of_another_version_is_refused_before_it_runs() {
    let folder = Folder::new();
    // Its initialiser would end the process if the library were opened.
    let source = "#include <stdlib.h>\n\
        int LiteRtCreateCompiledModel(void) { return 0; }\n\
        __attribute__((constructor)) static void start(void) { abort(); }\n";
    let (source, library) = (folder.file("other.c", source.as_bytes()), folder.path().join("libLiteRt.so"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    if !built.is_ok_and(|status| status.success()) {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: no C compiler `cc`\n"));
        return;
    }
    let error = refused(LoadRequest { library: Some(library), ..digits("float32") }).await;
    assert_says(&error, &["libLiteRt.so", "unknown version", "2.3.0", "agent runtime install"]);
    assert_eq!(error.reason(), FailureReason::Runtime);
}

#[test]
fn a_worker_is_not_for_people() {
    let output = Command::new(AGENT).arg("worker").stdin(std::process::Stdio::null()).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("started by the agent itself"), "{text}");
}
