//! `kill -9` in the middle of a trial: nothing acknowledged is lost, nothing is doubled, the run goes on.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tinywatt_tests::{Agent, Collector, Process, digits_experiment, wait_for};

/// `tinywatt.v1.Phase`
const WARM_UP: i32 = tinywatt_proto::v1::Phase::WarmUp as i32;

fn store(folder: &Path) -> Result<Connection> {
    Ok(Connection::open_with_flags(folder.join("store/tinywatt.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// Waits until a trial is in its active window: the markers of a phase arrive when it has ended, and warm-up is the phase
/// before.
fn wait_for_active_window(folder: &Path) -> Result<()> {
    let connection = store(folder)?;
    wait_for("an active window", Duration::from_secs(60), || {
        connection
            .query_row("SELECT phase FROM marker ORDER BY boot_key DESC, sequence DESC LIMIT 1", [], |row| {
                row.get::<_, i32>(0)
            })
            .ok()
            .filter(|&phase| phase == WARM_UP)
    })
    .map(|_| ())
}

fn wait_for_end(collector: &Collector) -> Result<Value> {
    wait_for("the end of the run", Duration::from_secs(300), || {
        let report = collector.report().ok()?;
        (report["header"]["state"] != "running").then_some(report)
    })
}

/// Every batch once, sequences without holes, instants ascending over all batches of a stream.
fn check_store(folder: &Path) -> Result<()> {
    let connection = store(folder)?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    ensure!(count("SELECT count(*) FROM batch")? > 0, "no batch arrived");
    ensure!(count("SELECT count(*) FROM gap")? == 0, "a sequence has a hole");
    ensure!(count("SELECT count(*) FROM rejected")? == 0, "a record was refused");
    let mut streams = connection.prepare(
        "SELECT stream_key, count(*), min(sequence), max(sequence), next_sequence
         FROM batch JOIN stream USING (stream_key) GROUP BY stream_key",
    )?;
    let rows =
        streams.query_map([], |row| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))?;
    for row in rows {
        let [stream, count, first, last, next] = row?;
        ensure!(first == 0 && last + 1 == count && next == count, "stream {stream}: {count} batches {first}..={last}");
    }
    let overlapping = count(
        "SELECT count(*) FROM batch a JOIN batch b ON b.stream_key = a.stream_key AND b.sequence = a.sequence + 1
         WHERE b.first_mono_ns <= a.last_mono_ns",
    )?;
    ensure!(overlapping == 0, "{overlapping} batches overlap the one before");
    Ok(())
}

/// What the spool still holds.
fn spooled(folder: &Path) -> Result<i64> {
    let file = folder.join("bench/state/spool/spool.db");
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0))?)
}

/// Whether a busy machine alone may have spoilt an attempt for this reason. A batch that never arrived is none of them.
fn is_load(code: &str, message: &str) -> bool {
    ["readings_lost", "readings_late", "idle_drift", "window_too_short"].contains(&code)
        || code == "samples_missing" && message.starts_with("a hole of")
}

/// The attempt without a result: its trial and its number.
fn executing(folder: &Path) -> Result<(u32, u32)> {
    let sql = "SELECT trial, attempt FROM attempt WHERE result IS NULL";
    Ok(store(folder)?.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Why an attempt was invalid, in codes and words; empty for a valid one.
fn reasons(folder: &Path, (trial, attempt): (u32, u32)) -> Result<Vec<(String, String)>> {
    let sql = "SELECT result FROM attempt WHERE trial = ?1 AND attempt = ?2";
    let result: String = store(folder)?.query_row(sql, [trial, attempt], |row| row.get(0))?;
    let result: Value = serde_json::from_str(&result)?;
    let reasons = result["invalid_reasons"].as_array().context("reasons")?;
    reasons.iter().map(code_and_message).collect()
}

fn code_and_message(reason: &Value) -> Result<(String, String)> {
    let text = |key: &str| Ok::<_, anyhow::Error>(reason[key].as_str().context("a text")?.to_owned());
    Ok((text("code")?, text("message")?))
}

/// The run is complete; gives why attempts were invalid.
fn check_report(report: &Value) -> Result<Vec<(String, String)>> {
    let invalid = report["invalid_attempts"].as_array().context("invalid attempts")?;
    ensure!(report["header"]["state"] == "completed", "{}: {invalid:?}", report["header"]);
    ensure!(report["header"]["attempt_count_valid"] == 4, "{}: {invalid:?}", report["header"]);
    let reasons = invalid.iter().flat_map(|attempt| attempt["reasons"].as_array().into_iter().flatten());
    reasons.map(code_and_message).collect()
}

/// One at a time: two agents on two cores would lose each other's readings.
static ALONE: Mutex<()> = Mutex::new(());

struct Bench {
    folder: tempfile::TempDir,
    collector: Collector,
    agent: Agent,
    _schedule: Process,
}

fn start() -> Result<Bench> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("store"))?;
    let agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 5)?;
    collector.wait_for_node("bench")?;
    let schedule = collector.start_command(&["schedule", &digits_experiment(folder.path(), 2, 10)?])?;
    wait_for_active_window(folder.path()).with_context(|| schedule.words())?;
    Ok(Bench { folder, collector, agent, _schedule: schedule })
}

#[test]
fn an_agent_killed_in_mid_trial() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = start()?;
    bench.agent.kill_and_restart()?;
    let report = wait_for_end(&bench.collector)?;
    let reasons = check_report(&report)?;
    ensure!(reasons.iter().any(|(code, _)| code == "agent_restarted"), "{reasons:?}");
    check_store(bench.folder.path())
}

#[test]
fn a_collector_killed_in_mid_trial() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = start()?;
    let at_the_kill = executing(bench.folder.path())?;
    bench.collector.kill_and_restart()?;
    let report = wait_for_end(&bench.collector)?;
    // The agent went on, and its trial counts.
    for why in [reasons(bench.folder.path(), at_the_kill)?, check_report(&report)?] {
        ensure!(why.iter().all(|(code, message)| is_load(code, message)), "{at_the_kill:?}: {why:?}");
    }
    check_store(bench.folder.path())?;
    // What was not acknowledged before the kill was sent again: nothing is left behind but what is being sampled now.
    wait_for("an empty spool", Duration::from_secs(10), || (spooled(bench.folder.path()).ok()? < 8).then_some(()))
}
