//! The first thing a newcomer does.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tinywatt_tests::program;

#[test]
fn the_demo_measures_four_variants_on_two_nodes_and_says_that_it_simulates() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("demo");
    let output = Command::new(program("collector")).args(["demo", "--data"]).arg(&data).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{words}", output.status);
    let report = String::from_utf8(output.stdout)?;

    ensure!(report.starts_with("Run demo-"), "standard output holds the report and nothing else:\n{report}");
    ensure!(report.contains("SIMULATED"), "{report}");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector/data/digits/expected.json");
    let expected: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(shipped)?)?;
    for (treatment, figures) in expected["models"].as_object().context("models")? {
        let accuracy = format!("{:.4}", figures["accuracy"].as_f64().context("accuracy")?);
        for node in ["demo-a", "demo-b"] {
            let row =
                |line: &&str| line.contains(treatment.as_str()) && line.contains(node) && line.contains(&accuracy);
            ensure!(
                report.lines().any(|line| row(&line)),
                "no row of {treatment} on {node} with {accuracy}:\n{report}"
            );
        }
    }
    ensure!(report.contains("simulated"), "each row names its kind");
    // What a demo kept is not written over.
    let again = Command::new(program("collector")).args(["demo", "--data"]).arg(&data).output()?;
    ensure!(again.status.code() == Some(1), "a folder that exists is not written over");
    ensure!(String::from_utf8_lossy(&again.stderr).contains("--data"), "the way out is told");
    Ok(())
}
