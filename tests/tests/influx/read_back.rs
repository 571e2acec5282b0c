//! A run, read back and held against the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::{Agent, Collector, digits_experiment};

use super::expected;
use super::world::{self, Key, RESULTS, SAMPLES};

#[test]
fn a_run_is_there_as_it_is_in_the_store_and_a_rebuild_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(influxd) = world::server(folder.path())? else { return Ok(()) };
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "")?;
    let collector = world::collector(folder.path(), &configuration)?;
    let mut agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 7)?;
    collector.wait_for_node("bench")?;
    collector.text(&["schedule", &digits_experiment(folder.path(), 2, 6)?])?;
    let report = collector.report()?;
    // Nothing comes after it that is not compared.
    agent.process.kill()?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(60))?;

    check_samples(&influxd, folder.path())?;
    check_attempts(&influxd, folder.path())?;
    check_report(&influxd, &report)?;
    check_instants(&influxd, folder.path())?;
    let before = everything(&influxd)?;

    collector.text(&["sink", "rebuild"])?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(60))?;
    check_unchanged(&before, &everything(&influxd)?)?;

    // A bucket that was wiped is filled again.
    wipe(&influxd)?;
    ensure!(world::count(&influxd, SAMPLES, "sample", "watts")? == 0, "the bucket was not wiped");
    collector.text(&["sink", "rebuild"])?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(60))?;
    check_unchanged(&before, &everything(&influxd)?)?;
    ensure!(collector.text(&["sink", "quarantine"])?.is_empty(), "a line was refused");
    Ok(())
}

type Points = BTreeMap<Key, BTreeMap<String, String>>;

/// Every series that the sink writes and whose points do not depend on the time that passes.
fn everything(influxd: &Influxd) -> Result<BTreeMap<&'static str, Points>> {
    let mut all = BTreeMap::new();
    for series in tinywatt_collector::sink::series::all() {
        if matches!(series.name.as_str(), "node" | "collector") {
            continue;
        }
        let bucket = match series.bucket {
            tinywatt_collector::sink::series::Bucket::Results => RESULTS,
            tinywatt_collector::sink::series::Bucket::Samples => SAMPLES,
        };
        all.insert(series.name.as_str(), world::points(influxd, bucket, &series.name)?);
    }
    Ok(all)
}

fn check_unchanged(before: &BTreeMap<&str, Points>, after: &BTreeMap<&str, Points>) -> Result<()> {
    for (series, points) in before {
        ensure!(after[series].len() == points.len(), "{series}: {} points, then {}", points.len(), after[series].len());
        ensure!(after[series] == *points, "a point of {series} has changed");
    }
    Ok(())
}

fn wipe(influxd: &Influxd) -> Result<()> {
    let everything = serde_json::json!({"start": "1970-01-01T00:00:00Z", "stop": "2200-01-01T00:00:00Z"});
    for bucket in [RESULTS, SAMPLES] {
        let org = &influxd.operator()?.org;
        influxd.api("POST", &format!("/api/v2/delete?org={org}&bucket={bucket}"), Some(&everything))?.success()?;
    }
    Ok(())
}

/// Every sample, to the last bit and nanosecond, and not one more.
pub(crate) fn check_samples(influxd: &Influxd, folder: &Path) -> Result<()> {
    let store = expected::store(folder)?;
    let expected = expected::samples(&store)?;
    ensure!(expected.len() as u64 == expected::reading_count(&store)?, "two samples of a series share an instant");
    let there = world::points(influxd, SAMPLES, "sample")?;
    ensure!(there.len() == expected.len(), "{} samples in the store, {} there", expected.len(), there.len());
    for (key, fields) in &expected {
        let found = there.get(key).with_context(|| format!("{key:?} is missing"))?;
        ensure!(found.len() == fields.len(), "{key:?}: {found:?}");
        for (name, bits) in fields {
            let found = found.get(name).with_context(|| format!("{key:?} has no {name}"))?;
            let found_bits = if name == "flags" { found.parse()? } else { found.parse::<f64>()?.to_bits() };
            ensure!(found_bits == *bits, "{key:?}: {name} is {found}, not {}", f64::from_bits(*bits));
        }
    }
    Ok(())
}

/// A field of a point against a value of JSON: absent both, or the same to the last bit.
fn same(fields: &BTreeMap<String, String>, name: &str, expected: &Value) -> Result<()> {
    let found = fields.get(name);
    let is_same = match (expected, found) {
        (Value::Null, None) => true,
        (Value::Number(number), Some(found)) => match number.as_i64() {
            Some(whole) if !found.contains(['.', 'e', 'E']) && !number.is_f64() => {
                found.parse::<i64>().ok() == Some(whole)
            }
            _ => found.parse::<f64>().ok().map(f64::to_bits) == number.as_f64().map(f64::to_bits),
        },
        (Value::String(text), Some(found)) => text == found,
        (Value::Bool(is), Some(found)) => is.to_string() == *found,
        _ => false,
    };
    ensure!(is_same, "{name} is {found:?}, not {expected}");
    Ok(())
}

/// The one point with these tags.
fn only<'a>(points: &'a Points, tags: &[(&str, &str)]) -> Result<(&'a Key, &'a BTreeMap<String, String>)> {
    let mut matching =
        points.iter().filter(|(key, _)| tags.iter().all(|(name, value)| key.get(*name).is_some_and(|is| is == value)));
    let found = matching.next().with_context(|| format!("no point {tags:?}"))?;
    ensure!(matching.next().is_none(), "several points {tags:?}");
    Ok(found)
}

pub(crate) fn check_attempts(influxd: &Influxd, folder: &Path) -> Result<()> {
    let store = expected::store(folder)?;
    let attempts = expected::attempts(&store)?;
    let trials = world::points(influxd, RESULTS, "trial")?;
    let windows = world::points(influxd, RESULTS, "window")?;
    let latencies = world::points(influxd, RESULTS, "latency")?;
    ensure!(trials.len() == attempts.len(), "{} attempts, {} points", attempts.len(), trials.len());
    let mut window_count = 0;
    for (started, result) in &attempts {
        let at = started.to_string();
        let is_valid = result["invalid_reasons"].as_array().context("reasons")?.is_empty();
        let tags = [("_time", at.as_str()), ("valid", if is_valid { "true" } else { "false" })];
        let (key, fields) = only(&trials, &tags)?;
        ensure!(key["treatment"] == result["treatment"] && key["run"] == result["run"], "{key:?}");
        let measurement = &result["measurement"];
        if measurement.is_null() {
            continue;
        }
        ensure!(key["kind"] == measurement["kind"], "{key:?}");
        let (total, above) =
            (&measurement["energy_joules_per_inference"], &measurement["energy_joules_per_inference_above_idle"]);
        same(fields, "joules_per_inference", &total["value"])?;
        same(fields, "joules_per_inference_expanded_uncertainty", &total["expanded_uncertainty"])?;
        same(fields, "joules_per_inference_above_idle", &above["value"])?;
        same(fields, "joules_per_inference_above_idle_expanded_uncertainty", &above["expanded_uncertainty"])?;
        same(fields, "memory_bytes_peak", &measurement["inference"]["memory_bytes_peak"])?;
        let offset_ns = expected::axis(&store, measurement["samples_boot_id"].as_str().context("a boot id")?)?;
        let mut active_count = 0;
        for window in measurement["windows"].as_array().context("windows")? {
            let instant = |name: &str| Ok::<_, anyhow::Error>(window[name].as_i64().context("an instant")? + offset_ns);
            let at = instant("start_mono_ns")?.to_string();
            let (_, fields) = only(&windows, &[("_time", &at), ("phase", window["phase"].as_str().context("phase")?)])?;
            same(fields, "end_unix_ns", &instant("end_mono_ns")?.into())?;
            same(fields, "joules", &window["energy_joules"]["value"])?;
            same(fields, "joules_expanded_uncertainty", &window["energy_joules"]["expanded_uncertainty"])?;
            same(fields, "watts_mean", &window["power_watts_mean"])?;
            same(fields, "sample_count", &window["sample_count"])?;
            same(fields, "simulated_true_joules", &window["simulated_true_joules"])?;
            window_count += 1;
            if window["phase"] == "active" {
                active_count += window["inference_count"].as_i64().context("a count")?;
            }
        }
        same(fields, "inference_count", &active_count.into())?;
        // Every inference of the active window is in the histogram.
        let (trial, attempt) = (result["trial"].to_string(), result["attempt"].to_string());
        let is_of_attempt = |point: &&BTreeMap<String, String>| point["trial"] == trial && point["attempt"] == attempt;
        let of_attempt: Vec<_> = latencies.values().filter(is_of_attempt).collect();
        let sum: i64 = of_attempt.iter().map(|point| point["inference_count"].parse::<i64>().unwrap_or(0)).sum();
        ensure!(sum == active_count, "{sum} inferences in the histogram, {active_count} in the window");
    }
    ensure!(windows.len() == window_count, "{window_count} windows, {} points", windows.len());
    Ok(())
}

/// The rows of the report, as `collector report` prints them.
fn check_report(influxd: &Influxd, report: &Value) -> Result<()> {
    let results = world::points(influxd, RESULTS, "result")?;
    let rows = report["rows"].as_array().context("rows")?;
    ensure!(results.len() == rows.len(), "{} rows, {} points", rows.len(), results.len());
    let started = report["header"]["started_unix_ns"].to_string();
    for row in rows {
        let treatment = row["treatment"].as_str().context("treatment")?;
        let (key, fields) = only(&results, &[("treatment", treatment), ("_time", &started)])?;
        ensure!(key["kind"] == row["kind"] && key["workload"] == row["workload"], "{key:?}");
        let energy = &row["energy"]["per_inference"];
        same(fields, "joules_per_inference", &energy["joules_mean"])?;
        same(fields, "joules_per_inference_interval95_half_width", &energy["joules_interval95_half_width"])?;
        same(fields, "joules_per_inference_expanded_uncertainty", &energy["joules_expanded_uncertainty"])?;
        let above = &row["energy"]["per_inference_above_idle"];
        same(fields, "joules_per_inference_above_idle", &above["joules_mean"])?;
        let correct = &row["energy"]["per_correct_inference"];
        same(fields, "joules_per_correct_inference", &row["energy"]["joules_per_correct_inference"])?;
        same(fields, "joules_per_correct_inference_interval95_half_width", &correct["joules_interval95_half_width"])?;
        same(fields, "accuracy", &row["quality"]["accuracy"])?;
        same(fields, "f1", &row["quality"]["f1_macro"])?;
        same(fields, "model_file_bytes", &row["model_file_bytes"])?;
        ensure!(fields.contains_key("is_on_pareto_front"), "{fields:?}");
        let p50 = row["latency"]["seconds_p50"].as_f64().context("a latency")? * 1e3;
        same(fields, "latency_ms_p50", &p50.into())?;
    }
    let (_, run) = only(&world::points(influxd, RESULTS, "run")?, &[("_time", &started)])
        .map(|(key, fields)| (key.clone(), fields.clone()))?;
    same(&run, "state", &report["header"]["state"])?;
    same(&run, "trial_count", &Value::from(4))?;
    same(&run, "kinds", &Value::from("simulated"))?;
    Ok(())
}

/// Markers, probes, agents' health, nodes and the collector itself.
fn check_instants(influxd: &Influxd, folder: &Path) -> Result<()> {
    let store = expected::store(folder)?;
    let rows = |table: &str| -> Result<u64> {
        let count: i64 = store.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    };
    for (series, field, table) in
        [("phase", "trial", "marker"), ("clock", "offset_ns", "clock_probe"), ("agent", "memory_bytes", "agent_health")]
    {
        let (there, kept) = (world::count(influxd, RESULTS, series, field)?, rows(table)?);
        ensure!(there == kept && kept > 0, "{there} points of {series}, {kept} rows of {table}");
    }
    ensure!(world::count(influxd, RESULTS, "gap", "batch_count")? == 0, "a gap where nothing is missing");
    for (_, probe) in world::points(influxd, RESULTS, "clock")? {
        let axis_error_ns: i64 = probe["axis_error_ns"].parse()?;
        // One machine, one clock: the axis is the first probes' offset, and drifts by no more than a few ms here.
        ensure!(axis_error_ns.abs() < 50_000_000, "the axis is off by {axis_error_ns} ns");
    }
    let nodes = world::points(influxd, RESULTS, "node")?;
    let told = nodes.values().find(|fields| fields.contains_key("channels")).context("no node tells its channels")?;
    ensure!(told["channels"].contains("rail: ina219-emulator"), "{told:?}");
    ensure!(
        world::count(influxd, RESULTS, "collector", "sink_line_count")? > 0,
        "the collector tells nothing of itself"
    );
    Ok(())
}

/// Not part of a run: what the sink says when there is no database.
#[test]
fn a_collector_without_a_sink_says_how_to_have_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("store"))?;
    let status = world::status(&collector)?;
    ensure!(status["sink"].contains("collector serve --influx FILE"), "{status:?}");
    let output = collector.command(&["sink", "rebuild"])?;
    ensure!(output.status.code() == Some(1), "{:?}", output.status);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(words.contains("collector serve --influx FILE"), "{words}");
    Ok(())
}
