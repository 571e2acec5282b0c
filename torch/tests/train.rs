//! The trainer as a job: the program itself, on the digits.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tinywatt_proto::ids::Sha256;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const TRAINER: &str = env!("CARGO_BIN_EXE_torch-train");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector/data/digits");
const UNTRAINED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/digits-untrained.pt");

/// A folder with a job in it.
struct Job(tempfile::TempDir);

impl Job {
    fn new(epochs: u32, spoil: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let input = |path: PathBuf| {
            let bytes = fs::read(&path).expect("ships with the project");
            json!({ "path": path, "sha256": Sha256::of(&bytes).to_string() })
        };
        let digits = |name: &str| input(Path::new(DIGITS).join(name));
        let out = folder.path().join("out");
        fs::create_dir(&out).expect("made");
        let mut job = json!({
            "schema": "tinywatt.job.v1", "kind": "train", "seed": 7, "thread_count": 1, "device": "cpu",
            "config": { "architecture": "digits-tiny", "epochs": epochs, "batch_size": 32, "learning_rate": 0.003,
                        "input_scale": 0.125, "input_offset": -1.0, "checkpoint_seconds": 0 },
            "inputs": { "train": digits("train.twin"), "validation": digits("test.twin"), "test": digits("test.twin"),
                        "parent": input(UNTRAINED.into()) },
            "output_dir": out, "result": folder.path().join("result.json"),
            "progress": folder.path().join("progress.jsonl"),
        });
        spoil(&mut job);
        fs::write(folder.path().join("job.json"), job.to_string()).expect("written");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TRAINER);
        command.arg(self.path("job.json")).env("OMP_NUM_THREADS", "1");
        command
    }

    fn run(&self) -> Output {
        self.command().output().expect("starts")
    }

    fn trained(self) -> Self {
        let output = self.run();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("result.json")).expect("a result")).expect("JSON")
    }

    /// Everything that a training decides: its curves and what it answers.
    fn outcome(&self) -> (Value, Value) {
        let result = self.result();
        (result["epochs"].clone(), result["confusion"].clone())
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let output = self.run();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        for word in words {
            assert!(text.contains(word), "'{word}' is not in '{text}'");
        }
        assert!(!text.contains("panicked"), "{text}");
        assert!(!self.path("result.json").exists(), "a result of nothing");
        assert!(!self.path("out/model.pt").exists(), "a model of nothing");
    }
}

#[test]
fn a_training_learns_and_its_result_keeps_the_contract() {
    let job = Job::new(8, |_| ()).trained();
    let result = job.result();
    let cells = result["confusion"].as_array().expect("rows");
    let row = |row: &Value| row.as_array().expect("a row").iter().map(|n| n.as_u64().expect("a count")).collect();
    let confusion: Vec<Vec<u64>> = cells.iter().map(row).collect();
    let correct: u64 = (0..10).map(|class| confusion[class][class]).sum();
    assert_eq!(confusion.iter().flatten().sum::<u64>(), 450);
    // A linear model reaches 90 %, this one 97.
    assert!(correct > 420, "{correct} of 450");
    assert_eq!(result["schema"], "tinywatt.result.v1");
    assert_eq!(result["framework"]["name"], "tch");
    assert_eq!(result["parameter_count"], 3_682);
    let phase = |index: usize, edge: &str| result["phases"][index][edge].as_u64().expect("an instant");
    assert_eq!((&result["phases"][0]["phase"], &result["phases"][1]["phase"]), (&json!("train"), &json!("evaluate")));
    assert!(phase(0, "start_mono_ns") < phase(0, "end_mono_ns"));
    assert!(phase(0, "end_mono_ns") <= phase(1, "start_mono_ns"));
    for artifact in result["artifacts"].as_array().expect("a list") {
        assert!(job.path("out").join(artifact["file"].as_str().expect("a name")).exists());
    }
    let leftovers = fs::read_dir(job.path("out")).expect("a folder").count();
    assert_eq!(leftovers, 2, "nothing but the artifacts");
    let progress = fs::read_to_string(job.path("progress.jsonl")).expect("written");
    let last: Value = serde_json::from_str(progress.lines().last().expect("a line")).expect("JSON");
    assert_eq!((last["phase"].as_str(), last["fraction"].as_f64()), (Some("evaluate"), Some(1.0)));
}

#[test]
fn the_same_seed_trains_alike_and_another_one_differently() {
    let outcome = |seed: u32| Job::new(2, |job| job["seed"] = seed.into()).trained().outcome();
    let first = outcome(1);
    assert_eq!(first, outcome(1));
    assert_ne!(first, outcome(2));
}

#[test]
fn a_training_that_was_killed_goes_on_and_ends_as_if_it_had_not_been() {
    let whole = Job::new(20, |_| ()).trained();
    let job = Job::new(20, |_| ());
    let mut child = job.command().stderr(Stdio::null()).spawn().expect("starts");
    let mut looks_left = 60_000;
    while !job.path("out/checkpoint.pt").exists() {
        looks_left -= 1;
        assert!(looks_left > 0, "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    assert!(!job.path("result.json").exists(), "killed before its end");
    let job = job.trained();
    assert_eq!(job.outcome(), whole.outcome());
    let note = job.result()["notes"][0].as_str().expect("a note").to_owned();
    assert!(note.contains("interrupted"), "{note}");
}

#[test]
fn a_checkpoint_of_another_job_is_not_gone_on_with() {
    let job = Job::new(1, |_| ()).trained();
    let other = Job::new(1, |job| job["seed"] = 8.into());
    fs::copy(job.path("out/checkpoint.pt"), other.path("out/checkpoint.pt")).expect("copied");
    other.refused(&["checkpoint.pt", "not a checkpoint of this job", "remove it"]);
    fs::write(other.path("out/checkpoint.pt"), "garbage").expect("written");
    other.refused(&["not a checkpoint of this job"]);
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_way_out() {
    Job::new(1, |job| job["inputs"]["train"]["sha256"] = "00".into()).refused(&["'train'", "SHA-256", "00"]);
    Job::new(1, |job| job["kind"] = "optimise".into()).refused(&["'optimise'"]);
    let divergent = Job::new(3, |job| job["config"]["learning_rate"] = 1e30.into());
    divergent.refused(&["not a number", "learning_rate"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("no-module.pt");
    fs::write(&path, "no module").expect("written");
    let parent = json!({ "path": path, "sha256": Sha256::of(b"no module").to_string() });
    Job::new(1, |job| job["inputs"]["parent"] = parent).refused(&["no-module.pt", "not a TorchScript module"]);
    let usage = Command::new(TRAINER).output().expect("starts");
    assert_eq!(usage.status.code(), Some(2));
}

/// The untrained module with another end of its `forward`, as somebody's own module may have.
fn module_that_returns(folder: &Path, answer: &str) -> Value {
    let mut original = ZipArchive::new(fs::File::open(UNTRAINED).expect("ships with the project")).expect("a module");
    let path = folder.join("own.pt");
    let mut changed = ZipWriter::new(fs::File::create(&path).expect("created"));
    for index in 0..original.len() {
        let mut entry = original.by_index(index).expect("an entry");
        let name = entry.name().expect("text").into_owned();
        if !name.ends_with("code/__torch__/torch/fx/graph_module.py") {
            drop(entry);
            changed.raw_copy_file(original.by_index_raw(index).expect("an entry")).expect("copied");
            continue;
        }
        let mut code = String::new();
        entry.read_to_string(&mut code).expect("text");
        let last = "return (layer_11).forward(layer_101, )";
        assert!(code.contains(last), "{code}");
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        changed.start_file(name, stored).expect("started");
        changed.write_all(code.replace(last, answer).as_bytes()).expect("written");
    }
    changed.finish().expect("finished");
    let sha256 = Sha256::of(&fs::read(&path).expect("there")).to_string();
    json!({ "path": path, "sha256": sha256 })
}

#[track_caller]
fn a_module_that_returns_is_refused(answer: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let parent = module_that_returns(folder.path(), answer);
    Job::new(1, |job| job["inputs"]["parent"] = parent).refused(words);
}

#[test]
fn a_module_that_fails_is_an_error_and_no_panic() {
    a_module_that_returns_is_refused(
        "return torch.mm(inputs, inputs)",
        &["execute the module", "self must be a matrix"],
    );
    // The right number of classes, and nothing that could be learned.
    a_module_that_returns_is_refused("return torch.detach((layer_11).forward(layer_101, ))", &["take a step", "grad"]);
}

#[test]
fn a_module_that_answers_in_another_shape_is_refused() {
    a_module_that_returns_is_refused("return layer_101", &["own.pt", "for 32 inputs", "its card says 10 classes"]);
}

#[test]
fn a_module_that_takes_other_inputs_is_an_error_and_no_panic() {
    let answer = "return (layer_11).forward(torch.slice(layer_101, 1, 1), )";
    a_module_that_returns_is_refused(answer, &["execute the module", "cannot be multiplied"]);
}

#[test]
fn memory_that_runs_out_is_said_with_the_batch_size() {
    let answer = "return torch.repeat((layer_11).forward(layer_101, ), [1125899906842624, 1])";
    a_module_that_returns_is_refused(
        answer,
        &["out of memory on the cpu", "batch_size = 32", "try a smaller batch_size"],
    );
}

#[test]
fn a_gpu_that_is_not_there_is_said() {
    let job = Job::new(1, |job| job["device"] = "gpu".into());
    let output = job.run();
    if output.status.success() {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: there is a GPU\n"));
        return;
    }
    // Where PyTorch has a part for GPUs, it is loaded and knows that there is none.
    let has_cuda =
        option_env!("LIBTORCH").is_some_and(|folder| Path::new(folder).join("lib/libtorch_cuda.so").exists());
    job.refused(&["GPU", "device = \"cpu\"", if has_cuda { "nvidia-smi" } else { "libtorch_cuda.so" }]);
    Job::new(1, |job| job["device"] = "cuda".into()).refused(&["device is 'cuda', and may be 'cpu' or 'gpu'"]);
}
