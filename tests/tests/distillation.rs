//! A student that learns from its teacher, with the real trainer: trained, executed, and charged with what its teacher took.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tinywatt_tests::{Agent, Collector, program};

/// Smaller than its teacher, and of the same inputs and classes.
const STUDENT: &str = r#"{
"name": "digits-student", "about": "One convolution.", "input": [8, 8, 1], "class_count": 10, "parameter_count": 1370,
"layers": [
{"op": "conv2d", "filters": 8, "kernel": 3, "stride": 1, "bias": true}, {"op": "relu"}, {"op": "max_pool", "size": 2},
{"op": "flatten"}, {"op": "dense", "units": 10, "bias": true}]}"#;

/// The student trains twice as long: it starts from less. A shared machine may hold a sampler up, hence the attempts.
const STUDY: &str = r#"
name = "distilled"
replicates = 1
attempts_max = 10
nodes = ["bench"]
[dataset]
name = "digits"
[windows]
idle = "600ms"
active = "1s"
cool_down = "200ms"
[training]
node = "bench"
idle = "600ms"
time_limit = "20m"
[[train]]
name = "teacher"
trainer = "keras"
architecture = "digits-tiny"
epochs = 4
batch_size = 32
learning_rate = 0.003
techniques = []
[[train]]
name = "student"
trainer = "keras"
architecture_file = "student.json"
epochs = 8
batch_size = 32
learning_rate = 0.005
teacher = "teacher"
techniques = ["float32", "full-integer"]
[train.config]
temperature = 2.0
alpha = 0.3
"#;

/// Says so when the trainer is not installed. `tests/run` installs it, and sets the variable.
fn has_keras() -> Result<bool> {
    let output = std::process::Command::new(program("collector")).args(["trainer", "list"]).output()?;
    let list = String::from_utf8(output.stdout)?;
    let found = list.lines().any(|line| line.contains("keras") && !line.contains("not installed"));
    assert!(found || std::env::var_os("TINYWATT_HAS_TORCH").is_none(), "the Keras trainer is missing:\n{list}");
    if !found {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let message = "skipped: distillation needs the Keras trainer, which tests/run installs\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
    }
    Ok(found)
}

fn find<'a>(report: &'a Value, list: &str, treatment: &str) -> Result<&'a Value> {
    let entries = report.pointer(list).and_then(Value::as_array).with_context(|| format!("no list {list}"))?;
    entries.iter().find(|entry| entry["treatment"] == treatment).with_context(|| format!("{list} has no {treatment}"))
}

fn number(value: &Value, pointer: &str) -> Result<f64> {
    value.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no number {pointer} in {value}"))
}

#[test]
fn a_student_is_measured_and_charged_with_its_teacher() -> Result<()> {
    if !has_keras()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"))?;
    let _agent = Agent::start_for_jobs(&folder.path().join("bench"), "bench", &collector.address, 5)?;
    collector.wait_for_node("bench")?;
    std::fs::write(folder.path().join("student.json"), STUDENT)?;
    let file = folder.path().join("study.toml");
    std::fs::write(&file, STUDY)?;
    let terminal = collector.text(&["schedule", &file.to_string_lossy()])?;
    let report = collector.report()?;
    ensure!(report["header"]["state"] == "completed", "{terminal}");

    // Nobody learns a tenth of the digits by chance, and a student of 1,370 parameters does not reach its teacher's mark.
    for model in ["student/float32", "student/full-integer"] {
        let row = find(&report, "/rows", model)?;
        ensure!(number(row, "/quality/accuracy")? > 0.8, "{model}: {}", row["quality"]);
        let (told, took) = ("/energy/per_inference/joules_mean", "/energy/simulated_true_joules_per_inference");
        let (told, took) = (number(row, told)?, number(row, took)?);
        ensure!((told / took - 1.0).abs() < 0.05, "{model}: {told} J told, {took} J took");
    }

    // A student without its teacher's training could not be: its joules count in what the model has cost.
    let joules = |job: &str| -> Result<f64> {
        number(find(&report, "/rows", job)?, "/energy/per_inference/joules_mean").with_context(|| job.to_owned())
    };
    let (teacher, student) = (joules("teacher: train")?, joules("student: train")?);
    let optimising = joules("student: optimise full-integer")?;
    ensure!(teacher > 0.0 && student > 0.0 && optimising > 0.0, "{teacher} J, {student} J, {optimising} J");
    for (model, expected) in
        [("student/float32", teacher + student), ("student/full-integer", teacher + student + optimising)]
    {
        let relation = find(&report, "/study/relations", model)?;
        let charged = number(relation, "/jobs_joules")?;
        ensure!((charged / expected - 1.0).abs() < 1e-9, "{model}: {charged} J charged, {expected} J took: {relation}");
    }
    let recipe = &find(&report, "/rows", "student: train")?["recipe"];
    ensure!(recipe.to_string().contains("teacher"), "{recipe}");
    println!("{terminal}");
    Ok(())
}
