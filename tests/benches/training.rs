//! Training speed of the three trainers: samples per second on the same model, batch and threads, in one run.
//!
//! Each trainer does the same job (float32, Adam, synthetic images in memory, scaled batch by batch) by its job contract,
//! one after the other; rounds by turns, and each round begins with another one. What is timed are whole epochs after the
//! first, in which torch and Keras compile, tch looks at its first batches and caches are cold. An epoch ends when the
//! trainer says so in its progress file; 16 validation images belong to it or not. Ratios are against Python torch of the same
//! round. There is no budget: a trainer is a row of the report, and this tells what to expect of it.
//!
//! `cargo bench -p tinywatt-tests --bench training`; it installs the trainers and builds `collector` and `torch-train`
//! where they are missing or old. With `-- --short` one round with one thread, to see that it works.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tinywatt_agent::clock::{Clock as _, Monotonic};
use tinywatt_agent::machine;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::{Encoding, InputSet};

/// Odd, so that the median is one of them, and a multiple of the trainers, so that each begins as often.
const ROUND_COUNT: usize = 3;
const TRAIN_COUNT: usize = 960;
/// As few as can be: whether they fall into an epoch's time depends on the second in which a trainer tells something.
const TEST_COUNT: usize = 16;
/// The first is not timed.
const EPOCH_COUNT: usize = 4;
const BATCH_SIZE: usize = 64;
const ARCHITECTURE: &str = "resnet8";
const THREAD_COUNTS: [u32; 2] = [1, 2];

const TRAINERS: [&str; 3] = ["torch", "tch", "keras"];

/// How often a progress file is looked at; an epoch takes seconds.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Most that one job may take; on two cores it takes half a minute.
const JOB_LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benches too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match bench(std::env::args().any(|argument| argument == "--short")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a job of one trainer came to.
struct Run {
    /// Samples per second.
    rate: f64,
    version: String,
}

fn bench(is_short: bool) -> Result<()> {
    let (round_count, thread_counts) =
        if is_short { (1, &THREAD_COUNTS[..1]) } else { (ROUND_COUNT, &THREAD_COUNTS[..]) };
    let programs = Programs::ready()?;
    let folder = tempfile::tempdir()?;
    let inputs = [("train", TRAIN_COUNT), ("validation", TEST_COUNT), ("test", TEST_COUNT)]
        .into_iter()
        .map(|(name, count)| Ok((name, write_inputs(&folder.path().join(name), count)?)))
        .collect::<Result<Vec<_>>>()?;
    let job = |name: &str, kind: &str, thread_count: u32, parent: Option<&Path>| {
        write_job(&folder.path().join(name), kind, thread_count, &inputs, parent)
    };
    let built = job("build", "build", 1, None)?;
    finish(&mut programs.command("torch"), &built)?;
    let parent = built.join("out/model.pt");

    let machine = machine::describe(&[]);
    println!("{}, {} CPUs, {}", machine.cpu, machine.cpu_count, machine.system);
    println!(
        "{ARCHITECTURE}, float32, batch {BATCH_SIZE}, {TRAIN_COUNT} images of 32 x 32 x 3, epochs 2 to {EPOCH_COUNT}, \
         {round_count} rounds by turns, CPU"
    );
    println!(
        "{:<8} {:<14} {:>7} {:>10} {:>16} {:>14}",
        "trainer", "version", "threads", "samples/s", "range", "against torch"
    );
    for &thread_count in thread_counts {
        let mut rounds: Vec<[Run; 3]> = Vec::new();
        for round in 0..round_count {
            let mut runs = [const { None }; 3];
            for turn in 0..TRAINERS.len() {
                let index = (round + turn) % TRAINERS.len();
                let name = TRAINERS[index];
                let parent = (name == "tch").then_some(parent.as_path());
                let job = job(&format!("{name}-{thread_count}-{round}"), "train", thread_count, parent)?;
                runs[index] = Some(timed(&mut programs.command(name), &job)?);
            }
            let [Some(torch), Some(tch), Some(keras)] = runs else { bail!("a trainer had no turn") };
            rounds.push([torch, tch, keras]);
        }
        for (index, name) in TRAINERS.into_iter().enumerate() {
            let (low, rate, high) = spread(rounds.iter().map(|round| round[index].rate));
            let (_, ratio, _) = spread(rounds.iter().map(|round| round[index].rate / round[0].rate));
            let version = rounds.first().map_or("", |round| round[index].version.as_str());
            let range = format!("{low:.0} to {high:.0}");
            println!("{name:<8} {version:<14} {thread_count:>7} {rate:>10.0} {range:>16} {ratio:>12.2} x");
        }
    }
    Ok(())
}

/// Least, median and greatest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// The programs that are compared, of the same profile as this one.
struct Programs {
    collector: PathBuf,
}

impl Programs {
    fn ready() -> Result<Self> {
        let exe = std::env::current_exe()?;
        let folder = exe.parent().and_then(Path::parent).context("this program is not in target/PROFILE/deps")?;
        let profile = if folder.ends_with("debug") { "dev" } else { "release" };
        let cargo = |arguments: &[&str], libtorch: Option<&Path>| -> Result<()> {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            command.args(["build", "--quiet", "--profile", profile]).args(arguments);
            command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
            libtorch.map(|folder| command.env("LIBTORCH", folder));
            ensure!(
                command.status().context("cargo does not start")?.success(),
                "`cargo build {}` failed",
                arguments.join(" ")
            );
            Ok(())
        };
        cargo(&["-p", "tinywatt-collector"], None)?;
        let collector = tinywatt_tests::program("collector");
        let install = |name: &str| -> Result<PathBuf> {
            let output =
                Command::new(&collector).args(["trainer", "install", name]).stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "`collector trainer install {name}` failed: it needs Python 3.11 to 3.13");
            Ok(String::from_utf8(output.stdout)?.trim().into())
        };
        install("keras")?;
        let libraries = install("torch")?.join("environment/lib");
        let libtorch = std::fs::read_dir(&libraries)
            .with_context(|| format!("{} cannot be read", libraries.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("site-packages/torch"))
            .find(|path| path.is_dir())
            .with_context(|| format!("no PyTorch in {}: remove it, and start again", libraries.display()))?;
        cargo(&["-p", "tinywatt-torch", "--features", "torch"], Some(&libtorch))?;
        Ok(Self { collector })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.collector);
        match name {
            "tch" => command.arg("train"),
            _ => command.args(["trainer", "run", name]),
        };
        // The job says the number of threads.
        command.env_remove("OMP_NUM_THREADS").env_remove("MKL_NUM_THREADS");
        command
    }
}

/// Runs a job to its end.
fn finish(command: &mut Command, job: &Path) -> Result<()> {
    watch(command, job, |_| ())
}

/// Runs a job, and times its epochs but the first by its lines of progress.
fn timed(command: &mut Command, job: &Path) -> Result<Run> {
    let mut ends = Vec::new();
    watch(command, job, |epoch_count| {
        while ends.len() < epoch_count {
            ends.push(Monotonic.now());
        }
    })?;
    let [first, .., last] = ends[..] else { bail!("{} told no epochs", job.display()) };
    ensure!(ends.len() == EPOCH_COUNT, "{} told {} epochs of {EPOCH_COUNT}", job.display(), ends.len());
    let result: Value = serde_json::from_slice(&std::fs::read(job.join("result.json"))?)?;
    let version = result["framework"]["version"].as_str().context("a version")?.to_owned();
    let done = u32::try_from(TRAIN_COUNT * (EPOCH_COUNT - 1))?;
    Ok(Run { rate: f64::from(done) / last.since(first).as_secs_f64(), version })
}

/// Runs a job; `tell` hears how many epochs are done.
fn watch(command: &mut Command, job: &Path, mut tell: impl FnMut(usize)) -> Result<()> {
    let errors = job.join("errors");
    command.arg(job.join("job.json")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(std::fs::File::create(&errors)?).spawn().with_context(|| format!("{command:?}"))?;
    let start = Monotonic.now();
    loop {
        let ended = child.try_wait()?;
        tell(epochs_done(&std::fs::read_to_string(job.join("progress.jsonl")).unwrap_or_default()));
        if let Some(status) = ended {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            ensure!(status.success(), "{command:?}: {said}");
            return Ok(());
        }
        if Monotonic.now() > start.after(JOB_LIMIT) {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} took longer than {JOB_LIMIT:?}");
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Whole epochs, by the part of the training that its last line tells.
fn epochs_done(progress: &str) -> usize {
    let lines = progress.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fraction =
        lines.filter(|line| line["phase"] == "train").filter_map(|line| line["fraction"].as_f64()).next_back();
    // k / EPOCH_COUNT is rounded.
    let is_done =
        |epoch: &usize| fraction.is_some_and(|fraction| fraction + 1e-9 >= *epoch as f64 / EPOCH_COUNT as f64);
    (1..=EPOCH_COUNT).take_while(is_done).count()
}

/// Images of noise: what is trained does not change how long it takes.
fn write_inputs(path: &Path, count: usize) -> Result<Value> {
    let pixels = count * 32 * 32 * 3;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut noise = || {
        // xorshift64, Marsaglia 2003
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    let data: Vec<u8> = (0..pixels).map(|_| noise()).collect();
    let labels: Vec<u32> = (0..count).map(|index| u32::try_from(index % 10).expect("below 10")).collect();
    let set = InputSet::new(Encoding::Plain, 10, vec![32, 32, 3], labels, data)?;
    let bytes = set.to_bytes();
    std::fs::write(path, &bytes)?;
    Ok(json!({ "path": path, "sha256": Sha256::of(&bytes).to_string() }))
}

fn write_job(
    folder: &Path,
    kind: &str,
    thread_count: u32,
    inputs: &[(&str, Value)],
    parent: Option<&Path>,
) -> Result<PathBuf> {
    std::fs::create_dir_all(folder.join("out"))?;
    let mut inputs: serde_json::Map<String, Value> =
        inputs.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect();
    if let Some(parent) = parent {
        let sha256 = Sha256::of(&std::fs::read(parent)?).to_string();
        inputs.insert("parent".to_owned(), json!({ "path": parent, "sha256": sha256 }));
    }
    let job = json!({
        "schema": "tinywatt.job.v1", "kind": kind, "seed": 1, "thread_count": thread_count, "device": "cpu",
        "config": { "architecture": ARCHITECTURE, "epochs": EPOCH_COUNT, "batch_size": BATCH_SIZE,
                    "learning_rate": 0.001, "input_scale": 2.0 / 255.0, "input_offset": -1.0,
                    "checkpoint_seconds": 3600 },
        "inputs": inputs, "output_dir": folder.join("out"),
        "result": folder.join("result.json"), "progress": folder.join("progress.jsonl"),
    });
    std::fs::write(folder.join("job.json"), job.to_string())?;
    Ok(folder.to_owned())
}
