//! Training speed of the three trainers: samples per second on the same model, batch and threads, in one run.
//!
//! Each trainer is given the same job (resnet8, batch 64, synthetic images) by its job contract, one after the other, and
//! the whole round is repeated; its own `train` phase is what is timed. Ratios are against Python torch of the same round.
//! There is no budget: a trainer is a row of the report, and this tells what to expect of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::{Encoding, InputSet};

const ROUND_COUNT: usize = 3;
const TRAIN_COUNT: usize = 3_200;
const EPOCH_COUNT: usize = 2;
const BATCH_SIZE: usize = 64;
const ARCHITECTURE: &str = "resnet8";
const THREAD_COUNTS: [u32; 2] = [1, 2];

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benches too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inputs = [("train", TRAIN_COUNT), ("validation", BATCH_SIZE), ("test", BATCH_SIZE)]
        .into_iter()
        .map(|(name, count)| Ok((name, write_inputs(&folder.path().join(name), count)?)))
        .collect::<Result<Vec<_>>>()?;
    println!("{ARCHITECTURE}, batch {BATCH_SIZE}, {TRAIN_COUNT} images of 32 x 32 x 3, {EPOCH_COUNT} epochs, CPU");
    println!("{:<8} {:>7} {:>22} {:>16}", "trainer", "threads", "samples/s, each round", "against torch");
    for thread_count in THREAD_COUNTS {
        let mut rounds: Vec<[f64; 3]> = Vec::new();
        for round in 0..ROUND_COUNT {
            let job = |name: &str, kind: &str, parent: Option<PathBuf>| {
                let name = format!("{name}-{thread_count}-{round}");
                write_job(&folder.path().join(name), kind, thread_count, &inputs, parent)
            };
            let built = job("build", "build", None)?;
            run(trainer("torch")?, &built)?;
            let parent = built.join("out/model.pt");
            let torch = job("torch", "train", None)?;
            run(trainer("torch")?, &torch)?;
            let tch = job("tch", "train", Some(parent))?;
            let mut command = Command::new(tinywatt_tests::program("collector"));
            command.arg("train");
            run(command, &tch)?;
            let keras = job("keras", "train", None)?;
            run(trainer("keras")?, &keras)?;
            rounds.push([rate(&torch)?, rate(&tch)?, rate(&keras)?]);
        }
        for (index, name) in ["torch", "tch", "keras"].into_iter().enumerate() {
            let rates: Vec<String> = rounds.iter().map(|round| format!("{:.0}", round[index])).collect();
            let mut ratios: Vec<f64> = rounds.iter().map(|round| round[index] / round[0]).collect();
            ratios.sort_by(f64::total_cmp);
            println!("{name:<8} {thread_count:>7} {:>22} {:>14.2} x", rates.join("  "), ratios[ratios.len() / 2]);
        }
    }
    Ok(())
}

fn trainer(name: &str) -> Result<Command> {
    let collector = tinywatt_tests::program("collector");
    let installed = Command::new(&collector).args(["trainer", "install", name]).stderr(Stdio::null()).status()?;
    ensure!(installed.success(), "`collector trainer install {name}` failed");
    let mut command = Command::new(collector);
    command.args(["trainer", "run", name]);
    Ok(command)
}

fn run(mut command: Command, job: &Path) -> Result<()> {
    let output = command.arg(job.join("job.json")).stdout(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Samples per second of the job's own training phase, in which it also looks at 64 validation images an epoch.
fn rate(job: &Path) -> Result<f64> {
    let result: Value = serde_json::from_slice(&std::fs::read(job.join("result.json"))?)?;
    let phases = result["phases"].as_array().context("phases")?;
    let train = phases.iter().find(|phase| phase["phase"] == "train").context("a training phase")?;
    let edge = |name: &str| train[name].as_u64().context("an instant");
    let seconds = (edge("end_mono_ns")? - edge("start_mono_ns")?) as f64 / 1e9;
    Ok((TRAIN_COUNT * EPOCH_COUNT) as f64 / seconds)
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
    parent: Option<PathBuf>,
) -> Result<PathBuf> {
    std::fs::create_dir_all(folder.join("out"))?;
    let mut inputs: serde_json::Map<String, Value> =
        inputs.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect();
    if let Some(parent) = parent {
        let sha256 = Sha256::of(&std::fs::read(&parent)?).to_string();
        inputs.insert("parent".to_owned(), json!({ "path": parent, "sha256": sha256 }));
    }
    let job = json!({
        "schema": "tinywatt.job.v1", "kind": kind, "seed": 1, "thread_count": thread_count, "device": "cpu",
        "config": { "architecture": ARCHITECTURE, "epochs": EPOCH_COUNT, "batch_size": BATCH_SIZE,
                    "learning_rate": 0.001, "input_scale": 2.0 / 255.0, "input_offset": -1.0 },
        "inputs": inputs, "output_dir": folder.join("out"),
        "result": folder.join("result.json"), "progress": folder.join("progress.jsonl"),
    });
    std::fs::write(folder.join("job.json"), job.to_string())?;
    Ok(folder.to_owned())
}
