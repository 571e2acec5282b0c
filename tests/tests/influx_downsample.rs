//! The task that `collector influx init` puts into InfluxDB, executed there by the server: what it makes of samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tinywatt_tests::influxd::{Influxd, Operator};
use tinywatt_tests::{program, wait_for};

/// 2023-11-14T20:00:00Z: long ago, so that only the test's own runs look at what it writes. A multiple of ten minutes, at
/// which the first of the older stretches has its turn.
const NOW: i64 = 1_699_992_000;

/// Readings are taken with these watts in turn: multiples of 1/8, of which any sum is exact.
const WATTS: [f64; 7] = [2.5, 3.125, 0.0, 7.75, 2.0, 2.25, 118.5];

/// How the task goes back over older stretches; with samples that are kept for ever.
const HOURS_BACK: i64 = 720;

struct Bench {
    _place: tempfile::TempDir,
    influxd: Influxd,
    task: String,
}

impl Bench {
    fn start(names: &[&str]) -> Result<Option<Self>> {
        let place = tempfile::tempdir()?;
        let Some(mut influxd) = Influxd::start(&place.path().join("server"))? else { return Ok(None) };
        let folder = place.path().join("files");
        let output = Command::new(program("collector"))
            .args(["influx", "init", "--samples-retention", "forever", "--url", &influxd.url(), "--out"])
            .arg(&folder)
            .args(names)
            .env_remove("TINYWATT_INFLUX_OPERATOR_TOKEN")
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |path: &Path| -> Result<String> { Ok(std::fs::read_to_string(path)?.trim().to_owned()) };
        let org = "tinywatt".to_owned();
        influxd.set_operator(Operator { org, token: read(&folder.join("operator.token"))? });
        let tasks: Value = serde_json::from_str(&influxd.api("GET", "/api/v2/tasks", None)?.success()?)?;
        let task = tasks["tasks"][0]["id"].as_str().context("the task")?.to_owned();
        Ok(Some(Self { _place: place, influxd, task }))
    }

    /// Lets the server execute the task as if it were that time.
    fn run_at(&self, unix_seconds: i64) -> Result<()> {
        let time = format!("import \"array\"\narray.from(rows: [{{t: string(v: time(v: {unix_seconds}000000000))}}])");
        let time = self.influxd.query(&time)?[0].select(&["t"])[0][0].to_owned();
        let path = format!("/api/v2/tasks/{}/runs", self.task);
        let run = self.influxd.api("POST", &path, Some(&json!({ "scheduledFor": time })))?.success()?;
        let run: Value = serde_json::from_str(&run)?;
        let path = format!("{path}/{}", run["id"].as_str().context("a run")?);
        let ended = wait_for("the end of the task", Duration::from_secs(60), || {
            let run = self.influxd.api("GET", &path, None).and_then(|answer| answer.success()).ok()?;
            let run: Value = serde_json::from_str(&run).ok()?;
            matches!(run["status"].as_str(), Some("success" | "failed" | "canceled")).then_some(run)
        })?;
        if ended["status"] == "success" { Ok(()) } else { bail!("the task failed: {ended}") }
    }

    /// All points of `sample_10s`: series and end of the stretch, to mean, least and most.
    fn points(&self, bucket: &str) -> Result<BTreeMap<(String, i64), [f64; 3]>> {
        let from = format!(
            "from(bucket: \"{bucket}\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"sample_10s\")"
        );
        // Series of the same tags, which InfluxDB may have got in two orders, would hide behind one another.
        let series = self.influxd.query(&format!("{from} |> last()"))?;
        let series: Vec<_> = series.iter().flat_map(|table| table.select(&["node", "_field"])).collect();
        ensure!(series.iter().collect::<BTreeSet<_>>().len() == series.len(), "{series:?}");
        let flux = format!(
            "{from}
                 |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\")
                 |> map(fn: (r) => ({{r with at: int(v: r._time) / 1000000000}}))"
        );
        let mut points = BTreeMap::new();
        for table in self.influxd.query(&flux)? {
            for row in table.select(&["node", "channel", "kind", "at", "watts_mean", "watts_min", "watts_max"]) {
                let figure = |index: usize| row[index].parse::<f64>().with_context(|| format!("{row:?}"));
                let key = (row[..3].join(" "), row[3].parse()?);
                ensure!(points.insert(key, [figure(4)?, figure(5)?, figure(6)?]).is_none(), "twice: {row:?}");
            }
        }
        Ok(points)
    }
}

/// Watts of the reading in this tenth of a second.
fn watts(tenth: i64) -> f64 {
    WATTS[usize::try_from(tenth.rem_euclid(7)).expect("from 0 to 6")]
}

/// Ten readings a second of `[from, to)`, in seconds.
fn readings(node: &str, from: i64, to: i64) -> String {
    (from * 10..to * 10)
        .map(|tenth| {
            format!("sample,node={node},channel=rail,kind=measured watts={},volts=5 {tenth}00000000\n", watts(tenth))
        })
        .collect()
}

/// The same as groups of three readings, or of fewer at each half second, as they are at the end of a batch.
fn groups(node: &str, from: i64, to: i64) -> String {
    let mut lines = String::new();
    let mut tenth = from * 10;
    while tenth < to * 10 {
        let end = (tenth + 3).min(tenth - tenth.rem_euclid(10) + if tenth.rem_euclid(10) < 5 { 5 } else { 10 });
        let group: Vec<f64> = (tenth..end).map(watts).collect();
        let mean = group.iter().sum::<f64>() / group.len() as f64;
        let (min, max) = least_and_most(&group);
        lines += &format!(
            "sample_decimated,node={node},channel=rail,kind=measured watts_mean={mean},watts_min={min},watts_max={max},\
             reading_count={}i {tenth}00000000\n",
            group.len()
        );
        tenth = end;
    }
    lines
}

fn least_and_most(watts: &[f64]) -> (f64, f64) {
    (watts.iter().copied().fold(f64::INFINITY, f64::min), watts.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// What readings between these seconds come to.
fn expected(from: i64, to: i64) -> [f64; 3] {
    let watts: Vec<f64> = (from * 10..to * 10).map(watts).collect();
    let (min, max) = least_and_most(&watts);
    [watts.iter().sum::<f64>() / watts.len() as f64, min, max]
}

/// Whether they are equal; means of groups have been divided and multiplied before.
fn assert_close(found: [f64; 3], expected: [f64; 3]) {
    assert!((found[0] - expected[0]).abs() < 1e-12 * expected[0], "{found:?} instead of {expected:?}");
    assert_eq!(found[1..], expected[1..]);
}

#[test]
fn stretches_of_10_s_hold_mean_least_and_most_of_the_readings() -> Result<()> {
    let Some(bench) = Bench::start(&[])? else { return Ok(()) };
    // Readings in the midst of the last stretch, which is not over.
    let begin = NOW - 300;
    let mut lines = readings("raw", begin, NOW + 4) + &groups("groups", begin, NOW + 4);
    // Raw samples that were switched on later win where they are.
    lines += &groups("both", begin, NOW);
    lines += &readings("both", NOW - 100, NOW).replace("volts=5", "flags=4i");
    // Meters of energy have no power of their own.
    lines += &format!("sample,node=rapl,channel=cpu,kind=measured counter_joules=1 {begin}000000000\n");
    lines += &format!(
        "sample_decimated,node=rapl,channel=cpu,kind=measured counter_joules=1,reading_count=9i {begin}000000000\n"
    );
    bench.influxd.write("tinywatt-samples", &lines)?;
    bench.run_at(NOW + 5)?;

    let points = bench.points("tinywatt")?;
    assert_eq!(points.len(), 3 * 30, "{points:?}");
    for stretch in 0..30 {
        let (from, to) = (begin + stretch * 10, begin + stretch * 10 + 10);
        let point = |node: &str| points[&(format!("{node} rail measured"), to)];
        assert_eq!(point("raw"), expected(from, to), "stretch {stretch}");
        assert_close(point("groups"), expected(from, to));
        assert_close(point("both"), expected(from, to));
    }

    // A repeat changes nothing; late readings change their stretches and no other.
    bench.run_at(NOW + 5)?;
    assert_eq!(bench.points("tinywatt")?, points);
    bench.influxd.write(
        "tinywatt-samples",
        &format!("sample,node=raw,channel=rail,kind=measured watts=1000 {begin}000000001"),
    )?;
    bench.run_at(NOW + 5)?;
    let after = bench.points("tinywatt")?;
    let changed: Vec<_> = after.iter().filter(|(key, point)| points.get(key) != Some(point)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!((changed[0].0.1, changed[0].1[2]), (begin + 10, 1000.0));
    Ok(())
}

#[test]
fn what_comes_late_has_its_turn() -> Result<()> {
    let Some(bench) = Bench::start(&["--bucket", "r ${x}\\", "--samples-bucket", "s=ü"])? else { return Ok(()) };
    // As Flux has it.
    let bucket = r"r \${x}\\";
    // A minute in the midst of every half hour of the last four hours arrives at once, as after an outage.
    let begins: Vec<i64> = (1..=8).map(|half_hour| NOW - half_hour * 1_800 - 900).collect();
    let lines: String = begins.iter().map(|begin| readings("late", *begin, begin + 60)).collect();
    bench.influxd.write("s=ü", &lines)?;
    for turn in 0..12 {
        bench.run_at(NOW + turn * 600)?;
    }
    let points = bench.points(bucket)?;
    assert_eq!(points.len(), 8 * 6, "{points:?}");
    for begin in begins {
        for stretch in 0..6 {
            let (from, to) = (begin + stretch * 10, begin + stretch * 10 + 10);
            let point = points.get(&("late rail measured".to_owned(), to));
            assert_eq!(point, Some(&expected(from, to)), "{} s before", NOW - to);
        }
    }

    // Weeks ago: the hour has its turn when the number of ten minutes says so.
    let turn = NOW / 600 % HOURS_BACK;
    let now = NOW + (600 - turn) * 600;
    ensure!(now / 600 % HOURS_BACK == 600, "the turn of the hour that ended 600 hours before");
    let begin = now - 600 * 3_600 - 1_800;
    bench.influxd.write("s=ü", &readings("weeks", begin, begin + 10))?;
    bench.run_at(now)?;
    let points = bench.points(bucket)?;
    assert_eq!(points.get(&("weeks rail measured".to_owned(), begin + 10)), Some(&expected(begin, begin + 10)));
    Ok(())
}
