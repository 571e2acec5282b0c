//! A whole study with the real trainers: trained in three frameworks, optimised, executed, and answered.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tinywatt_tests::dashboards;
use tinywatt_tests::dashboards::server::{Scene, check};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::{Agent, Collector, wait_for};

/// Small enough for a minute or two; a shared machine may hold a sampler up, hence the attempts.
const STUDY: &str = r#"
name = "study"
seed = 1
replicates = 2
attempts_max = 10
nodes = ["bench"]
[dataset]
name = "digits"
[windows]
idle = "600ms"
active = "1s"
cool_down = "200ms"
[carbon]
country = "DE"
[training]
node = "bench"
idle = "600ms"
time_limit = "20m"
[[train]]
name = "keras"
trainer = "keras"
architecture = "digits-tiny"
epochs = 4
batch_size = 32
learning_rate = 0.003
techniques = ["float32", "full-integer"]
[[train]]
name = "torch"
trainer = "torch"
architecture = "digits-tiny"
epochs = 4
batch_size = 32
learning_rate = 0.003
techniques = ["float32", "static-fbgemm"]
[[train]]
name = "tch"
trainer = "tch"
architecture = "digits-tiny"
epochs = 4
batch_size = 32
learning_rate = 0.003
"#;

const MODELS: [&str; 5] =
    ["keras/float32", "keras/full-integer", "torch/float32", "torch/static-fbgemm", "tch/float32"];

/// There is no second run, and nothing to doubt.
const NOT_IN_THIS_STUDY: [&str; 4] = [
    "compare: panel \"Warnings\"",
    "compare: panel \"Accuracy against energy per inference\" B",
    "compare: panel \"Accuracy against energy per inference\" D",
    "compare: panel \"Accuracy against energy above idle\" B",
];

fn entries<'a>(report: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    report.pointer(pointer).and_then(Value::as_array).with_context(|| format!("the report has no list {pointer}"))
}

fn number(value: &Value, pointer: &str) -> Result<f64> {
    value.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no number {pointer} in {value}"))
}

/// The programs that link PyTorch are built apart; says so when they were not. `tests/run` builds them, and sets the variable.
fn has_torch() -> bool {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let found = ["torch-worker", "torch-train"].iter().all(|name| folder.join(name).exists());
    assert!(found || std::env::var_os("TINYWATT_HAS_TORCH").is_none(), "torch-worker or torch-train is missing");
    if !found {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let message = "skipped: a study needs torch-worker and torch-train, which tests/run builds\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
    }
    found
}

#[test]
fn one_command_trains_optimises_executes_and_answers() -> Result<()> {
    if !has_torch() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let influxd = match Influxd::start(&folder.path().join("influxd"))? {
        Some(mut influxd) => {
            influxd.setup()?;
            Some(influxd)
        }
        None => None,
    };
    let configuration = match &influxd {
        Some(influxd) => Some(influxd.sink_configuration(folder.path(), &influxd.url(), "")?),
        None => None,
    };
    let configuration = configuration.map(|path| path.to_string_lossy().into_owned());
    let further: Vec<&str> = configuration.iter().flat_map(|path| ["--influx", path]).collect();
    let collector = Collector::start_with(&folder.path().join("collector"), &further)?;
    let _agent = Agent::start_for_jobs(&folder.path().join("bench"), "bench", &collector.address, 5)?;
    collector.wait_for_node("bench")?;
    let file = folder.path().join("study.toml");
    std::fs::write(&file, STUDY)?;
    let terminal = collector.text(&["schedule", &file.to_string_lossy()])?;
    let report = collector.report()?;
    ensure!(report["header"]["state"] == "completed", "{terminal}");

    // The three tables of the study, each with its columns.
    for words in ["RQ1 What training and evaluation cost", "RQ2 How good each trained model is", "RQ3 Quality and size"]
    {
        ensure!(terminal.contains(words), "'{words}' is not in\n{terminal}");
    }
    ensure!(terminal.contains("380.9 g/kWh") && terminal.contains("SIMULATED"), "{terminal}");
    for (index, question) in ["RQ1", "RQ2", "RQ3"].iter().enumerate() {
        let answer = &entries(&report, "/study/answers")?[index];
        ensure!(answer["question"] == *question, "{answer}");
        ensure!(!entries(answer, "/sentences")?.is_empty(), "no answer to {question}");
    }

    // Every model of every framework learned, and no technique lost more than three points.
    let rows = entries(&report, "/rows")?;
    for model in MODELS {
        let row = rows.iter().find(|row| row["treatment"] == model).with_context(|| format!("no row of {model}"))?;
        ensure!(row["counts"]["replicate_count_valid"] == 2, "{row}");
        ensure!(number(row, "/quality/accuracy")? > 0.85, "{model}: {}", row["quality"]);
        // The emulated load knows what it really took; the sensor's limits allow 2.5 % in the worst case.
        let (told, took) = ("/energy/per_inference/joules_mean", "/energy/simulated_true_joules_per_inference");
        let (told, took) = (number(row, told)?, number(row, took)?);
        ensure!((told / took - 1.0).abs() < 0.05, "{model}: {told} J told, {took} J took");
    }
    for relation in entries(&report, "/study/relations")? {
        ensure!(entries(relation, "/suspect_replicates")?.is_empty(), "{relation}");
    }

    // What the jobs made can be had, logs included.
    let saved = folder.path().join("saved");
    collector.text(&["artifacts", "latest", "--save", &saved.to_string_lossy()])?;
    let names: Vec<String> = std::fs::read_dir(&saved)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    for end in ["keras--optimise-full-integer-model.tflite", "torch--train-checkpoint.pt", "tch--train-model.pt"] {
        ensure!(names.iter().filter(|name| name.ends_with(end)).count() == 2, "{end}: {names:?}");
    }
    influxd.map_or(Ok(()), |influxd| check_dashboards(&influxd, &report))
}

/// The dashboards that show what a run of models from files does not have: training, techniques, the three questions.
fn check_dashboards(influxd: &Influxd, report: &Value) -> Result<()> {
    let run = report["header"]["run"].as_str().context("the report names its run")?;
    let query = format!(
        "from(bucket: \"tinywatt\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"answer\" and r.run == \"{run}\")"
    );
    wait_for("the study's answers in the database", Duration::from_secs(60), || {
        influxd.query(&query).ok().filter(|tables| !tables.is_empty())
    })?;
    for dashboard in dashboards::all()? {
        let picker = match dashboard.name.as_str() {
            "compare" => "a",
            "techniques" | "training" => "run",
            _ => continue,
        };
        let scene = Scene {
            bucket: "tinywatt".to_owned(),
            start: "2020-01-01T00:00:00Z".to_owned(),
            stop: "2100-01-01T00:00:00Z".to_owned(),
            window_period: "1s".to_owned(),
            values: [(picker.to_owned(), run.to_owned())].into(),
        };
        let outcome = check(influxd, &dashboard, &[scene])?;
        ensure!(outcome.problems.is_empty(), "{:#?}", outcome.problems);
        let empty = outcome.empty_but_for(&NOT_IN_THIS_STUDY);
        ensure!(empty.is_empty(), "{empty:#?}");
    }
    Ok(())
}
