//! Prints the median latency of one inference, ours and the official Python runtime's, beside the budget of ≤ 1.0 ×.
//!
//! The same models, one thread, in rounds by turns in one run. Ours is the agent's own worker process as a trial uses
//! it: copying in and quantising, invoking, reading out and dequantising. Python's is `ai_edge_litert`'s interpreter:
//! `set_tensor` of a ready-made input, `invoke`, `get_tensor`. So ours does more. `cargo bench -p tinywatt-tests --bench
//! inference_vs_python`; it makes itself a Python environment under `target/`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use tinywatt_agent::inference::litert::LiteRt;
use tinywatt_agent::inference::locate::Surroundings;
use tinywatt_agent::inference::worker::{LoadRequest, Worker, serve};
use tinywatt_proto::inputs::{Encoding, InputSet};

/// Rounds of each side. Odd, so that the median is one of them.
const ROUND_COUNT: usize = 45;

/// Length of a round: hundreds of inferences of the largest model, and short enough that both sides see the same load of
/// the machine.
const ROUND: Duration = Duration::from_millis(100);

/// Most that ours may take, in Python's medians.
const RATIO_MAX: f64 = 1.0;

const INPUT_COUNT: usize = 16;

fn main() -> ExitCode {
    let surroundings = Surroundings::read(|name| std::env::var_os(name), None);
    let result = match std::env::args().nth(1).as_deref() {
        // This program is its own agent: the worker is started as `EXE worker`.
        Some("worker") => serve(LiteRt::new(surroundings.clone())).map(|()| true).context("the worker failed"),
        Some("--bench") => bench(),
        // `cargo test --all-targets` starts benches too.
        _ => Ok(true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Case {
    name: &'static str,
    model: PathBuf,
    shape: &'static [u32],
    class_count: u32,
    encoding: Encoding,
}

#[tokio::main(flavor = "current_thread")]
async fn bench() -> Result<bool> {
    let python = python_environment()?;
    let folder = tempfile::tempdir()?;
    println!("median latency of one inference, 1 thread, {ROUND_COUNT} rounds of {ROUND:?} each, by turns");
    println!("{:<24} {:>12} {:>12} {:>8}", "model", "ours µs", "Python µs", "ratio");
    let mut is_held = true;
    for case in cases() {
        let (ours, theirs) = compare(&case, &python, folder.path()).await.context(case.name)?;
        let ratio = ours / theirs;
        is_held &= ratio <= RATIO_MAX;
        println!("{:<24} {:>12.2} {:>12.2} {ratio:>8.3}", case.name, ours / 1e3, theirs / 1e3);
    }
    println!("budget: ratio ≤ {RATIO_MAX:.1}: {}", if is_held { "held" } else { "broken" });
    Ok(is_held)
}

fn cases() -> Vec<Case> {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/data/digits");
    let digits =
        |name, file, encoding| Case { name, model: digits.join(file), shape: &[8, 8, 1], class_count: 10, encoding };
    let mut cases = vec![
        digits("digits float32", "cnn-float32.tflite", Encoding::Plain),
        digits("digits full integer", "cnn-full-integer.tflite", Encoding::Plain),
    ];
    if let Some(shared) = tinywatt_tests::shared_data("part of the bench") {
        let official = |name, file, shape, class_count, encoding| Case {
            name,
            model: shared.join("mlperf-tiny").join(file),
            shape,
            class_count,
            encoding,
        };
        cases.extend([
            official("ResNet-8 float32", "ic_resnet8_float32.tflite", &[32, 32, 3][..], 10, Encoding::Plain),
            official("ResNet-8 int8", "ic_resnet8_int8.tflite", &[32, 32, 3], 10, Encoding::Plain),
            official("keywords int8", "kws_dscnn_int8.tflite", &[49, 10, 1], 12, Encoding::Quantised),
        ]);
    }
    cases
}

/// Both medians, ns.
async fn compare(case: &Case, python: &Path, folder: &Path) -> Result<(f64, f64)> {
    let inputs = folder.join("inputs.twin");
    std::fs::write(&inputs, input_set(case)?.to_bytes())?;
    let request = LoadRequest {
        library: None,
        model: case.model.clone(),
        inputs,
        thread_count: 1,
        engine: String::new(),
        input_scale: 1.0,
        input_offset: 0.0,
    };
    let (mut worker, _) = Worker::start(&std::env::current_exe()?, &["worker"], request).await?;
    let mut official = Official::start(python, &case.model)?;
    worker.warm_up(100).await?;
    official.median_ns(ROUND)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUND_COUNT {
        // Who begins changes, so that neither always runs on the processor that the other has warmed.
        if round % 2 == 0 {
            ours.push(our_median_ns(&mut worker).await?);
            theirs.push(official.median_ns(ROUND)?);
        } else {
            theirs.push(official.median_ns(ROUND)?);
            ours.push(our_median_ns(&mut worker).await?);
        }
    }
    Ok((median(ours), median(theirs)))
}

fn input_set(case: &Case) -> Result<InputSet> {
    let element_count: u32 = case.shape.iter().product();
    // Any bytes do: what is in an input changes no kernel's time. These walk through all values.
    let bytes = (0..=u8::MAX).cycle().step_by(97).take(element_count as usize * INPUT_COUNT);
    Ok(InputSet::new(case.encoding, case.class_count, case.shape.to_vec(), vec![0; INPUT_COUNT], bytes.collect())?)
}

async fn our_median_ns(worker: &mut Worker) -> Result<f64> {
    let active = worker.run_for(ROUND).await?;
    let latencies: Histogram<u64> = Deserializer::new().deserialize(&mut &active.latency_histogram[..])?;
    Ok(latencies.value_at_quantile(0.5) as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The official runtime, in a process of its own that waits while ours runs.
struct Official {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Official {
    fn start(python: &Path, model: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/inference_vs_python.py");
        let mut command = Command::new(python);
        command.arg(script).arg(model).arg("1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("the official runtime does not start")?;
        let stdin = child.stdin.take().context("piped")?;
        let stdout = BufReader::new(child.stdout.take().context("piped")?);
        Ok(Self { child, stdin, stdout })
    }

    fn median_ns(&mut self, duration: Duration) -> Result<f64> {
        writeln!(self.stdin, "{}", duration.as_secs_f64())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let answer: serde_json::Value = serde_json::from_str(&line).context("the official runtime gave no answer")?;
        answer["median_ns"].as_f64().context("no median")
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the Python environment once, and gives its interpreter.
fn python_environment() -> Result<PathBuf> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/inference_vs_python.txt");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inference_vs_python");
    let (python, done) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = std::fs::read(&requirements)?;
    // Written last, so that an environment that was interrupted is made again.
    if std::fs::read(&done).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    eprintln!("making a Python environment with the official runtime in {} ...", folder.display());
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    ensure!(made.context("python3 does not start")?.success(), "`python3 -m venv` failed (Debian: python3-venv)");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"]);
    ensure!(install.arg(&requirements).status()?.success(), "pip could not install {}", requirements.display());
    std::fs::write(&done, wanted)?;
    Ok(python)
}
