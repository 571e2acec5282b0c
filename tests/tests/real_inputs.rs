//! The whole chain on real inputs: `collector schedule`, a real agent process, published figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tinywatt_tests::{Agent, Collector, shared_data};

/// A collector, an agent named `bench` and an experiment, run to its end; the report.
fn run(experiment: &str, folder: &Path) -> Result<Value> {
    let collector = Collector::start(&folder.join("store"))?;
    let _agent = Agent::start(&folder.join("bench"), "bench", &collector.address, 7)?;
    collector.wait_for_node("bench")?;
    let file = folder.join("experiment.toml");
    std::fs::write(&file, experiment)?;
    collector.text(&["schedule", &file.to_string_lossy()])?;
    collector.report()
}

fn row<'a>(report: &'a Value, treatment: &str) -> Result<&'a Value> {
    let rows = report["rows"].as_array().context("rows")?;
    rows.iter().find(|row| row["treatment"] == treatment).with_context(|| format!("no row {treatment}"))
}

fn four_digits(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |value| format!("{value:.4}"))
}

/// Unpacks the test images of CIFAR-10 once, with the script beside them, which needs Pillow.
fn cifar10(data: &Path) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-data");
    let unpacked = target.join("cifar-10-batches-bin");
    if unpacked.join("batches.meta.txt").exists() {
        return Ok(unpacked);
    }
    let environment = target.join("python");
    let python = environment.join("bin/python");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", "Pillow"]))?;
    succeed(Command::new(&python).arg(data.join("cifar10/unpack.py")).arg(&target))?;
    Ok(unpacked)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn resnet8_over_all_10_000_test_images_of_cifar10() -> Result<()> {
    let Some(data) = shared_data("ResNet-8 on CIFAR-10") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let models = data.join("mlperf-tiny");
    let experiment = format!(
        r#"
        name = "cifar10-resnet8"
        seed = 1
        replicates = 1
        nodes = ["bench"]
        [dataset]
        name = "cifar10"
        path = "{}"
        [windows]
        idle = "500ms"
        active = "2s"
        warm_up = 20
        cool_down = "200ms"
        [[model]]
        name = "float32"
        file = "{models}/ic_resnet8_float32.tflite"
        [[model]]
        name = "int8"
        file = "{models}/ic_resnet8_int8.tflite"
        "#,
        cifar10(&data)?.display(),
        models = models.display(),
    );
    let report = run(&experiment, folder.path())?;
    // Measured with the official Python runtime on the same images.
    for (treatment, figures) in
        [("float32", ["0.7548", "0.7676", "0.7548", "0.7508"]), ("int8", ["0.7542", "0.7670", "0.7542", "0.7506"])]
    {
        let quality = &row(&report, treatment)?["quality"];
        let ours = ["accuracy", "precision_macro", "recall_macro", "f1_macro"].map(|name| four_digits(&quality[name]));
        assert_eq!(ours, figures, "{treatment}");
        assert_eq!(quality["input_count"], 10_000);
    }
    Ok(())
}

#[test]
fn keyword_spotting_gives_the_expected_bytes() -> Result<()> {
    let Some(data) = shared_data("keyword spotting") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let inputs = folder.path().join("kws01");
    std::fs::create_dir(&inputs)?;
    succeed(Command::new("tar").arg("-xJf").arg(data.join("kws01/inputs.tar.xz")).arg("-C").arg(&inputs))?;

    let expected = std::fs::read_to_string(data.join("kws01/expected.csv"))?;
    let mut labels = String::new();
    let mut outputs = Sha256::new();
    for line in expected.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        writeln!(labels, "{},12,{}", cells[0], cells[1])?;
        for value in cells[3].split(' ') {
            outputs.update(value.parse::<i8>()?.to_le_bytes());
        }
    }
    std::fs::write(inputs.join("y_labels.csv"), labels)?;

    let experiment = format!(
        r#"
        name = "kws"
        seed = 1
        replicates = 2
        nodes = ["bench"]
        [dataset]
        name = "kws"
        path = "{}"
        [windows]
        idle = "500ms"
        active = "1s"
        warm_up = 20
        cool_down = "200ms"
        [[model]]
        name = "dscnn-int8"
        file = "{}"
        "#,
        inputs.display(),
        data.join("mlperf-tiny/kws_dscnn_int8.tflite").display(),
    );
    let report = run(&experiment, folder.path())?;
    let row = row(&report, "dscnn-int8")?;
    assert_eq!(four_digits(&row["quality"]["accuracy"]), "0.9060");
    let digest: String = outputs.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(row["quality"]["outputs_sha256"], digest, "every int8 output");
    Ok(())
}

#[test]
fn recorded_energy_traces_give_their_published_figures() -> Result<()> {
    let Some(data) = shared_data("recorded energy traces") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let traces = ["NUCLEO_L4R5ZI-P_ic", "NUCLEO_L4R5ZI-P_kws", "NUCLEO_U385RG_Q_ad", "NUCLEO_U575ZI_Q_ic"];
    let mut experiment = "name = \"traces\"\nseed = 1\nreplicates = 1\nnodes = [\"bench\"]\n".to_owned();
    for (index, trace) in traces.iter().enumerate() {
        let file = data.join(format!("energy-traces/{trace}.json"));
        write!(experiment, "[[trace]]\nname = \"trace-{index}\"\nfile = \"{}\"\n", file.display())?;
    }
    let report = run(&experiment, folder.path())?;
    for (index, trace) in traces.iter().enumerate() {
        let published = std::fs::read_to_string(data.join(format!("energy-traces/{trace}.txt")))?;
        let row = row(&report, &format!("trace-{index}"))?;
        assert_eq!(row["kind"], "measured_elsewhere");
        let recordings = report["recordings"].as_array().context("recordings")?;
        let recording = recordings.iter().find(|recording| recording["treatment"] == row["treatment"]);
        let windows = recording.context("recording")?["windows"].as_array().context("windows")?;
        let figures = |name: &str| -> Vec<String> {
            published
                .lines()
                .filter(|line| line.trim_start().starts_with(name))
                .map(|line| line.split(':').nth(1).unwrap_or("").split_whitespace().next().unwrap_or("").to_owned())
                .collect()
        };
        let micro = |window: &Value, name: &str, digits: usize| {
            format!("{:.digits$}", window[name].as_f64().unwrap_or(f64::NAN) * 1e6)
        };
        let of_windows = |name, digits| windows.iter().map(|window| micro(window, name, digits)).collect::<Vec<_>>();
        assert_eq!(of_windows("joules_per_inference", 3), figures("Energy/Inf"), "{trace}");
        assert_eq!(of_windows("joules", 3), figures("Total Energy"), "{trace}");
        let median =
            published.lines().find_map(|line| line.strip_prefix("Median energy cost is ")).context("median")?;
        let score = row["energy"]["per_inference"]["joules_mean"].as_f64().context("score")? * 1e6;
        assert_eq!(format!("{score:.4} uJ/inf."), median, "{trace}");
    }
    Ok(())
}
