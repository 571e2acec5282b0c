//! A database that is away for long, or has no room: the store keeps everything, memory stays flat, and in the end nothing
//! is missing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tinywatt_tests::influxd::{self, Influxd};
use tinywatt_tests::load::{BATCH_READING_COUNT, Nodes, deliver};
use tinywatt_tests::{Collector, wait_for};

use super::small_disk::SmallDisk;
use super::world::{self, SAMPLES};
use super::{expected, read_back};

/// Memory that the collector may take at most, as the design says for an hour's outage of 20 agents.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

const BEGIN_UNIX_NS: u64 = 1_700_000_000_000_000_000;

/// Largest resident memory that a process has had.
fn memory_bytes_peak(collector: &Collector) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes << 10)
}

#[test]
fn an_outage_of_minutes_with_twenty_nodes_loses_nothing_and_takes_no_memory() -> Result<()> {
    // Two minutes of 20 × 1.23 kHz, as fast as they are taken.
    outage(480, false)
}

#[test]
#[ignore = "takes twelve minutes: the server is down for ten, by the clock"]
fn an_outage_of_ten_minutes_by_the_clock() -> Result<()> {
    outage(2_372, true)
}

/// Kills the server, lets twenty nodes deliver so many batches, and starts it again.
fn outage(batch_count: u64, is_live: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut influxd) = world::server(folder.path())? else { return Ok(()) };
    let further = "decimated_hz = 0\ntimeout = \"60s\"\n";
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), further)?;
    let collector = world::collector(folder.path(), &configuration)?;
    influxd.kill()?;
    let nodes = Nodes { node_count: 20, sequences: 0..batch_count, is_live, begin_unix_ns: BEGIN_UNIX_NS };
    tokio::runtime::Runtime::new()?.block_on(deliver(&collector.address, &nodes))?;
    let lag = format!("{} batches, for ", 20 * batch_count);
    wait_for("the sink waits and tells its lag", Duration::from_secs(30), || {
        let status = world::status(&collector).ok()?;
        let is_waiting = status["state"].starts_with("waiting") && status["state"].contains("is InfluxDB running");
        (is_waiting && status["lag"].starts_with(&lag)).then_some(())
    })
    .with_context(|| format!("{:?}", world::status(&collector)))?;
    let away = memory_bytes_peak(&collector)?;

    influxd.restart()?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(600))?;
    let peak = memory_bytes_peak(&collector)?;
    println!("memory while the server is away {} MiB, at most {} MiB", away >> 20, peak >> 20);
    ensure!(peak <= MEMORY_BYTES_MAX, "the collector took {} MiB, {} MiB while it was away", peak >> 20, away >> 20);
    let all = 20 * batch_count * BATCH_READING_COUNT;
    for field in ["volts", "amperes", "watts"] {
        let there = world::count(&influxd, SAMPLES, "sample", field)?;
        ensure!(there == all, "{there} of {all} {field}");
    }
    let status = world::status(&collector)?;
    ensure!(status["refused"].starts_with("0 "), "{status:?}");
    ensure!(status["lag"] == "none", "{status:?}");
    Ok(())
}

#[test]
fn a_database_without_room_is_waited_for_until_it_has_some() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(server) = influxd::program()? else { return Ok(()) };
    let Some(disk) = SmallDisk::new(&folder.path().join("disk"), &server)? else { return Ok(()) };
    let mut influxd = Influxd::start_program(disk.program(), &folder.path().join("disk"), &[])?;
    influxd.setup()?;
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "decimated_hz = 0\n")?;
    disk.fill()?;
    let collector = world::collector(folder.path(), &configuration)?;
    let nodes = Nodes { node_count: 2, sequences: 0..400, is_live: false, begin_unix_ns: BEGIN_UNIX_NS };
    tokio::runtime::Runtime::new()?.block_on(deliver(&collector.address, &nodes))?;
    let state = wait_for("the disk is full", Duration::from_secs(60), || {
        let status = world::status(&collector).ok()?;
        status.get("state").filter(|state| state.contains("no space left")).cloned()
    })
    .with_context(|| format!("{:?}", world::status(&collector)))?;
    ensure!(state.starts_with("waiting: it answers 500"), "{state}");
    // A server that failed to open a shard wants to be started again once there is room.
    disk.free()?;
    influxd.restart()?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(120))?;
    read_back::check_samples(&influxd, folder.path())?;
    let store = expected::store(folder.path())?;
    let refused: i64 = store.query_row("SELECT quarantined_count FROM sink", [], |row| row.get(0))?;
    ensure!(refused == 0, "{refused} lines were refused");
    Ok(())
}
