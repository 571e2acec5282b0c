//! What the tests share: models, inputs, a worker.

use std::path::{Path, PathBuf};

use tinywatt_agent::inference::locate::Surroundings;
use tinywatt_agent::inference::worker::{LoadRequest, Loaded, Worker, WorkerError};
use tinywatt_proto::inputs::{Encoding, InputSet};

/// The program under test.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_agent");

/// The data set that the project ships.
pub(crate) const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector/data/digits");

/// Public data sets that a checkout may have beside it.
pub(crate) const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// Whether LiteRT is there; says so when it is not.
pub(crate) fn has_runtime() -> bool {
    let found = Surroundings::read(|name| std::env::var_os(name), Some(AGENT.into())).find_library(None);
    if let Err(error) = &found {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {error}\n"));
    }
    found.is_ok()
}

/// Whether a file beside the checkout is there; says so when it is not.
pub(crate) fn has_shared(path: &str) -> bool {
    let found = Path::new(SHARED).join(path).exists();
    if !found {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ =
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {SHARED}/{path} is not there\n"));
    }
    found
}

/// A model of digits by its technique, with the inputs and scale that it is to be tested with.
pub(crate) fn digits(technique: &str) -> LoadRequest {
    request(
        &Path::new(DIGITS).join(format!("cnn-{technique}.tflite")),
        &Path::new(DIGITS).join("test.twin"),
        1.0 / 16.0,
    )
}

/// Any model with any inputs, on one thread.
pub(crate) fn request(model: &Path, inputs: &Path, input_scale: f64) -> LoadRequest {
    let (model, inputs) = (model.to_owned(), inputs.to_owned());
    LoadRequest { library: None, model, inputs, thread_count: 1, engine: String::new(), input_scale, input_offset: 0.0 }
}

/// Starts a worker.
pub(crate) async fn start(request: LoadRequest) -> Result<(Worker, Loaded), WorkerError> {
    Worker::start(Path::new(AGENT), &["worker"], request).await
}

/// Starts a worker that must not come up.
pub(crate) async fn refused(request: LoadRequest) -> WorkerError {
    start(request).await.map(drop).expect_err("it must be refused")
}

/// Checks that an error names everything that is needed to act on it.
#[track_caller]
pub(crate) fn assert_says(error: &WorkerError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

/// A folder with files made for one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    /// Writes an input set of `input_count` inputs, all zero.
    pub(crate) fn inputs(&self, encoding: Encoding, class_count: u32, shape: &[u32], input_count: usize) -> PathBuf {
        let bytes = shape.iter().map(|&dimension| dimension as usize).product::<usize>() * input_count;
        let set = InputSet::new(encoding, class_count, shape.to_vec(), vec![0; input_count], vec![0; bytes]);
        self.file("inputs.twin", &set.expect("fits").to_bytes())
    }
}
