//! `kill -9` of the server, again and again, in the middle of a run.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tinywatt_tests::{Agent, digits_experiment, wait_for};

use super::world::RESULTS;
use super::{expected, read_back, world};

/// Kills of the server during the run.
const KILL_COUNT: usize = 20;

/// Pauses before a kill and before the restart, by turns: between 50 and 1,500 ms, the same in every run of the test.
fn pauses() -> impl Iterator<Item = Duration> {
    // Constants of Knuth's MMIX generator.
    let next =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(7u64), next).skip(1).map(|state| Duration::from_millis(50 + (state >> 33) % 1_450))
}

#[test]
fn a_server_that_is_killed_twenty_times_during_a_run_has_everything_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut influxd) = world::server(folder.path())? else { return Ok(()) };
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "timeout = \"5s\"\n")?;
    let collector = world::collector(folder.path(), &configuration)?;
    let mut agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 7)?;
    collector.wait_for_node("bench")?;
    let experiment = digits_experiment(folder.path(), 6, 6)?;
    let run = collector.start_command(&["schedule", &experiment])?;
    let mut pauses = pauses();
    for _ in 0..KILL_COUNT {
        std::thread::sleep(pauses.next().expect("endless"));
        influxd.kill()?;
        std::thread::sleep(pauses.next().expect("endless") / 2);
        influxd.restart()?;
    }
    ensure!(collector.report()?["header"]["state"] == "running", "not every kill met the run");
    let report: Value = wait_for("the end of the run", Duration::from_secs(300), || {
        let report = collector.report().ok()?;
        (report["header"]["state"] != "running").then_some(report)
    })?;
    drop(run);
    // The run did not notice: every trial valid in the end, nothing missing in the store.
    ensure!(report["header"]["state"] == "completed", "{}", report["header"]);
    agent.process.kill()?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(120))?;
    read_back::check_samples(&influxd, folder.path())?;
    read_back::check_attempts(&influxd, folder.path())?;
    ensure!(world::count(&influxd, RESULTS, "gap", "batch_count")? == 0, "a batch is missing");
    let store = expected::store(folder.path())?;
    let refused: i64 = store.query_row("SELECT quarantined_count FROM sink", [], |row| row.get(0))?;
    ensure!(refused == 0, "{refused} lines were refused");
    let status = world::status(&collector)?;
    let repeated = status["lines"].rsplit(", ").next().unwrap_or_default().to_owned();
    ensure!(!repeated.starts_with("0 "), "no request was repeated: the kills met nothing ({repeated})");
    Ok(())
}

#[test]
fn a_collector_that_is_killed_goes_on_where_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(influxd) = world::server(folder.path())? else { return Ok(()) };
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "decimated_hz = 0\n")?;
    let mut collector = world::collector(folder.path(), &configuration)?;
    let mut agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 7)?;
    let mut pauses = pauses();
    for _ in 0..6 {
        std::thread::sleep(pauses.next().expect("endless"));
        collector.kill_and_restart()?;
    }
    collector.wait_for_node("bench")?;
    std::thread::sleep(Duration::from_secs(1));
    agent.process.kill()?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(60))?;
    read_back::check_samples(&influxd, folder.path())?;
    ensure!(world::count(&influxd, world::SAMPLES, "sample_decimated", "watts_mean")? == 0, "none were asked for");
    Ok(())
}
