//! What users get wrong. Each mistake is named with its place and the way out, before anything starts; nothing is lost.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tinywatt_tests::{Agent, Collector, program};

const GOOD: &str = r#"
name = "good"
seed = 1
replicates = 1
nodes = ["bench"]
[dataset]
name = "digits"
[windows]
idle = "200ms"
active = "500ms"
warm_up = 5
cool_down = "100ms"
[[model]]
name = "int8"
file = "cnn-full-integer.tflite"
"#;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// The command failed with this exit code and said all of these.
fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = said(output);
    ensure!(output.status.code() == Some(code), "exit {:?} instead of {code}: {said}", output.status.code());
    for word in words {
        ensure!(said.contains(word), "'{word}' is not said:\n{said}");
    }
    Ok(())
}

struct Bench {
    folder: tempfile::TempDir,
    collector: Collector,
    _agent: Agent,
}

impl Bench {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let collector = Collector::start(&folder.path().join("store"))?;
        let agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 5)?;
        collector.wait_for_node("bench")?;
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/data/digits");
        std::fs::copy(models.join("cnn-full-integer.tflite"), folder.path().join("cnn-full-integer.tflite"))?;
        Ok(Self { folder, collector, _agent: agent })
    }

    fn schedule(&self, experiment: &str) -> Result<Output> {
        let file = self.folder.path().join("experiment.toml");
        std::fs::write(&file, experiment)?;
        self.collector.command(&["schedule", &file.to_string_lossy()])
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}

#[test]
fn a_wrong_experiment_is_refused_whole_and_starts_nothing() -> Result<()> {
    let bench = Bench::start()?;
    bench.write("text.tflite", b"this is no model")?;
    let model = std::fs::read(bench.folder.path().join("cnn-full-integer.tflite"))?;
    bench.write("truncated.tflite", &model[..model.len() / 2])?;
    std::fs::create_dir(bench.folder.path().join("cifar"))?;
    bench.write("cifar/test_batch.bin", &[0; 3073 * 2 + 100])?;

    let table: &[(&str, &str, &[&str])] = &[
        ("seed = 1", "seed = 1\nrepliactes = 3", &["experiment.toml", "repliactes"]),
        ("[\"bench\"]", "[\"bensch\"]", &["experiment.toml", "bensch", "bench"]),
        ("cnn-full-integer.tflite", "absent.tflite", &["experiment.toml", "absent.tflite"]),
        ("cnn-full-integer.tflite", "text.tflite", &["text.tflite"]),
        ("cnn-full-integer.tflite", "truncated.tflite", &["truncated.tflite"]),
        ("replicates = 1", "replicates = 0", &["experiment.toml", "replicates"]),
        ("active = \"500ms\"", "active = \"10ms\"", &["active", "10ms"]),
        ("name = \"digits\"", "name = \"cifar10\"\npath = \"cifar\"", &["test_batch.bin"]),
        ("name = \"digits\"", "name = \"mnist\"", &["mnist", "digits"]),
    ];
    for (good, bad, words) in table {
        let output = bench.schedule(&GOOD.replacen(good, bad, 1))?;
        expect(&output, 2, words).with_context(|| (*bad).to_owned())?;
    }
    // Two mistakes are told together.
    let two = GOOD.replace("replicates = 1", "replicates = 0").replace("cnn-full-integer", "absent");
    expect(&bench.schedule(&two)?, 2, &["replicates", "absent.tflite"])?;
    ensure!(!bench.collector.text(&["runs"])?.contains("good-"), "something was started");

    // Nothing was lost: the good one runs.
    expect(&bench.schedule(GOOD)?, 0, &["int8"])
}

#[test]
fn a_model_of_another_shape_is_refused_before_anything_starts() -> Result<()> {
    let Some(data) = tinywatt_tests::shared_data("a model of another shape") else { return Ok(()) };
    let bench = Bench::start()?;
    let resnet = data.join("mlperf-tiny/ic_resnet8_int8.tflite");
    let experiment = GOOD.replace("cnn-full-integer.tflite", &resnet.to_string_lossy());
    expect(&bench.schedule(&experiment)?, 2, &["ic_resnet8_int8.tflite", "32", "8"])
}

#[test]
fn no_collector_is_said_with_its_address() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{free}");
    let output = Command::new(program("collector")).args(["runs", "--collector", &url]).output()?;
    expect(&output, 1, &[&url, "collector serve"])
}

#[test]
fn a_taken_port_and_a_taken_folder_are_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path())?;
    let port = collector.address.rsplit(':').next().context("a port")?;
    let serve = |listen: &str, data: &Path| {
        Command::new(program("collector")).args(["serve", "--listen", listen, "--data"]).arg(data).output()
    };
    let other = tempfile::tempdir()?;
    expect(&serve(&collector.address, other.path())?, 1, &[port, "--listen"])?;
    expect(&serve("127.0.0.1:0", folder.path())?, 1, &[&folder.path().to_string_lossy(), "another"])
}

#[test]
fn no_litert_library_and_one_of_another_kind_are_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = |library: &Path| -> Result<PathBuf> {
        let file = folder.path().join("agent.toml");
        let state = folder.path().join("state");
        std::fs::write(
            &file,
            format!(
                "node = \"bench\"\nstate_dir = \"{}\"\n[inference]\nlitert_library = \"{}\"\n\
                 [[sensor]]\nname = \"rail\"\nsource = \"ina219-emulator\"\nseed = 1\n",
                state.display(),
                library.display()
            ),
        )?;
        Ok(file)
    };
    let check = |config: &Path| Command::new(program("agent")).args(["check", "--config"]).arg(config).output();
    let absent = folder.path().join("absent.so");
    expect(&check(&config(&absent)?)?, 1, &["absent.so", "agent runtime install"])?;
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library")?;
    expect(&check(&config(&text)?)?, 1, &["text.so", "agent runtime install"])
}

#[test]
fn a_spool_folder_that_cannot_be_written_is_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // A file where the folder should be: unlike missing permissions, this stops root as well.
    let state = folder.path().join("state");
    std::fs::write(&state, "in the way")?;
    let config = folder.path().join("agent.toml");
    std::fs::write(
        &config,
        format!(
            "node = \"bench\"\nstate_dir = \"{}\"\n[[sensor]]\nname = \"rail\"\nsource = \"ina219-emulator\"\nseed = 1\n",
            state.display()
        ),
    )?;
    let output = Command::new(program("agent")).args(["run", "--config"]).arg(&config).output()?;
    expect(&output, 1, &[&state.to_string_lossy(), "state_dir"])
}

#[test]
fn a_wrong_agent_configuration_is_a_usage_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("agent.toml");
    for (text, words) in [
        ("node = \"bench\"\ncolector = \"x\"\n", vec!["agent.toml", "colector"]),
        ("node = \"Bench!\"\n", vec!["agent.toml", "Bench!"]),
        ("node = \"bench\"\n", vec!["[[sensor]]"]),
        ("node = \"bench\"\n[[sensor]]\nname = \"rail\"\nsource = \"ina220\"\n", vec!["agent.toml", "ina220"]),
    ] {
        std::fs::write(&config, text)?;
        let output = Command::new(program("agent")).args(["run", "--config"]).arg(&config).output()?;
        expect(&output, 2, &words).with_context(|| text.to_owned())?;
    }
    Ok(())
}
