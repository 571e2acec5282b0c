//! `collector demo`: a collector, two agents with emulated sensors and a real small experiment, in one command.
//!
//! Everything runs as a user would run it: separate processes over loopback, the same programs, the same files. Only
//! the power sensors are emulated, and every figure that comes from them says so.

mod process;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::process::Program;
use super::{Client, schedule};

/// Arguments of `collector demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder for everything the demo writes; must not exist [default: a new one among the temporary files]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// The experiment, as a user would write it.
const EXPERIMENT: &str = include_str!("experiment.toml");

/// The models that the experiment names.
const MODELS: [(&str, &[u8]); 4] = [
    ("cnn-float32.tflite", include_bytes!("../../../data/digits/cnn-float32.tflite")),
    ("cnn-float16.tflite", include_bytes!("../../../data/digits/cnn-float16.tflite")),
    ("cnn-dynamic-range.tflite", include_bytes!("../../../data/digits/cnn-dynamic-range.tflite")),
    ("cnn-full-integer.tflite", include_bytes!("../../../data/digits/cnn-full-integer.tflite")),
];

/// Nodes with the seed of the emulated chip and load: each seed is another chip with other errors.
const NODES: [(&str, u32); 2] = [("demo-a", 1), ("demo-b", 2)];

/// Time an agent gets to appear. It takes well under a second; a machine that swaps may need more.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// Exit status of a program that SIGINT ends, as shells count.
const INTERRUPTED: u8 = 130;

/// Runs the demo. The folder is kept: the collector that is told of it shows the run again.
///
/// # Errors
/// When a program is missing or does not start, or the run cannot be followed to its end.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let agent = beside_this_program("agent")?;
    let collector = std::env::current_exe().context("this program does not know its own path")?;
    let folder = new_folder(arguments.data)?;

    eprintln!("1/4  the LiteRT library");
    process::finish(&agent, &["runtime", "install"]).await?;

    eprintln!("2/4  a collector and {} agents with emulated sensors, in {}", NODES.len(), folder.display());
    let experiment = write_experiment(&folder)?;
    let store = folder.join("collector");
    let store = store.to_string_lossy();
    let mut serve = Program::start(
        &collector,
        &["serve", "--listen", "127.0.0.1:0", "--data", &store],
        &folder.join("collector.log"),
    )?;
    let address = serve.line_after("listening on ").await?;
    let mut programs = vec![serve];
    for (node, seed) in NODES {
        let config = write_agent(&folder, node, seed, &address)?;
        let log = folder.join(format!("{node}.log"));
        programs.push(Program::start(&agent, &["run", "--config", &config.to_string_lossy()], &log)?);
    }
    let url = format!("http://{address}");
    // First of all the interrupt: the programs end by it too, and the watch of the run takes it for leave to go.
    let ended = tokio::select! {
        biased;
        () = interrupted() => None,
        ended = measure(&url, &experiment) => Some(ended),
        ended = process::first_to_end(&mut programs) => Some(ended),
    };
    if ended.is_none() {
        eprintln!("interrupted; stopping the demo's programs, what was measured is kept in {}", folder.display());
    }
    process::stop_all(programs).await;
    let Some(ended) = ended else { return Ok(ExitCode::from(INTERRUPTED)) };
    let code = ended.with_context(|| format!("the logs of the demo's programs are in {}", folder.display()))?;

    eprintln!("\nEverything is kept in {}. To look at the run again:", folder.display());
    eprintln!("  {} serve --data {store}", collector.display());
    eprintln!("  {} report latest --format md", collector.display());
    Ok(code)
}

async fn measure(url: &str, experiment: &Path) -> anyhow::Result<ExitCode> {
    let nodes = NODES.map(|(node, _)| node);
    wait_for_nodes(url, &nodes).await?;
    eprintln!("3/4  an experiment: four variants of one model on {} nodes, {}", nodes.len(), experiment.display());
    let code = schedule::run(schedule::Arguments::follow(experiment.to_owned()), url).await?;
    eprintln!("4/4  done");
    Ok(code)
}

async fn wait_for_nodes(url: &str, nodes: &[&str]) -> anyhow::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let connected = async {
        let mut client = Client::connect(url).await?;
        loop {
            let there = client.nodes().await?;
            let is_connected = |name: &&str| there.iter().any(|node| node.connected && node.node == **name);
            if nodes.iter().all(is_connected) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let in_time = tokio::time::timeout(CONNECT_TIME_MAX, connected).await;
    in_time.map_err(|_| anyhow::anyhow!("the agents did not connect within {CONNECT_TIME_MAX:?}"))?
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return std::future::pending().await };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn beside_this_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know its own path")?;
    let path = own.with_file_name(name);
    if !path.is_file() {
        bail!("the program '{name}' is not at {}: build all of them with `cargo build --release`", path.display());
    }
    Ok(path)
}

fn new_folder(told: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = told.unwrap_or_else(|| std::env::temp_dir().join(format!("tinywatt-demo-{}", std::process::id())));
    std::fs::create_dir(&folder)
        .with_context(|| format!("the folder {} cannot be made new: name another one with --data", folder.display()))?;
    Ok(folder)
}

/// Writes the experiment and the models beside it.
fn write_experiment(folder: &Path) -> anyhow::Result<PathBuf> {
    let written = |file: &Path, bytes: &[u8]| {
        std::fs::write(file, bytes).with_context(|| format!("{} cannot be written", file.display()))
    };
    for (name, bytes) in MODELS {
        written(&folder.join(name), bytes)?;
    }
    let experiment = folder.join("experiment.toml");
    written(&experiment, EXPERIMENT.as_bytes())?;
    Ok(experiment)
}

fn write_agent(folder: &Path, node: &str, seed: u32, address: &str) -> anyhow::Result<PathBuf> {
    #[derive(serde::Serialize)]
    struct Sensor<'a> {
        name: &'a str,
        source: &'a str,
        seed: u32,
    }
    #[derive(serde::Serialize)]
    struct Config<'a> {
        node: &'a str,
        collector: String,
        state_dir: PathBuf,
        sensor: [Sensor<'a>; 1],
    }
    let config = Config {
        node,
        collector: format!("http://{address}"),
        state_dir: folder.join(node),
        sensor: [Sensor { name: "rail", source: "ina219-emulator", seed }],
    };
    let file = folder.join(format!("{node}.toml"));
    let text = toml::to_string(&config).context("an agent's configuration is TOML")?;
    std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    #[test]
    fn the_experiment_of_the_demo_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let file = write_experiment(folder.path()).unwrap();
        if let Err(problems) = Experiment::read(&file) {
            panic!("{problems}");
        }
    }
}
