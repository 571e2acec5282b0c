//! A real server, a collector that writes to it, and a look at what is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::{Collector, wait_for};

use super::expected;

pub(crate) const RESULTS: &str = "tinywatt";
pub(crate) const SAMPLES: &str = tinywatt_tests::influxd::SAMPLES_BUCKET;

/// Starts a server; `None`, said aloud, where there is none.
pub(crate) fn server(folder: &Path) -> Result<Option<Influxd>> {
    let Some(mut influxd) = Influxd::start(&folder.join("influxd"))? else { return Ok(None) };
    influxd.setup()?;
    Ok(Some(influxd))
}

/// A collector in `folder` that writes to the database of a configuration.
pub(crate) fn collector(folder: &Path, configuration: &Path) -> Result<Collector> {
    let file = configuration.to_string_lossy();
    Collector::start_with(&folder.join("store"), &["--influx", &file])
}

/// What `collector status` says of the sink.
pub(crate) fn status(collector: &Collector) -> Result<BTreeMap<String, String>> {
    let text = collector.text(&["status"])?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim_start().split_once("  ")?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect())
}

/// Waits until the database has everything that is in the store, as the store's own file says.
pub(crate) fn wait_until_level(collector: &Collector, folder: &Path, limit: Duration) -> Result<()> {
    let store = expected::store(folder)?;
    let is_level = "SELECT sink.batch_key = (SELECT coalesce(max(batch_key), 0) FROM batch) \
                    AND sink.change_key = (SELECT max(change_key) FROM change) FROM sink";
    wait_for("the sink is level", limit, || store.query_row(is_level, [], |row| row.get(0)).ok().filter(|is| *is))
        .with_context(|| format!("{:?}", status(collector)))?;
    Ok(())
}

/// One point: its tags with the time as `_time`, ns.
pub(crate) type Key = BTreeMap<String, String>;

/// Every point of a series, each with its fields, numbers as the server writes them.
pub(crate) fn points(influxd: &Influxd, bucket: &str, series: &str) -> Result<BTreeMap<Key, BTreeMap<String, String>>> {
    let query = format!(
        "from(bucket: \"{bucket}\") |> range(start: 0, stop: 2200-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == \"{series}\")"
    );
    let mut points: BTreeMap<Key, BTreeMap<String, String>> = BTreeMap::new();
    for table in influxd.query(&query)? {
        let index = |name: &str| table.index(name).with_context(|| format!("no column {name}"));
        let (time, field, value) = (index("_time")?, index("_field")?, index("_value")?);
        let tags: Vec<(usize, &str)> = table
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| (index, column.name.as_str()))
            .filter(|(_, name)| !name.starts_with('_') && !matches!(*name, "result" | "table"))
            .collect();
        for row in &table.rows {
            let mut key: Key = tags.iter().map(|(index, name)| ((*name).to_owned(), row[*index].clone())).collect();
            key.retain(|_, value| !value.is_empty());
            key.insert("_time".to_owned(), unix_ns(&row[time])?.to_string());
            points.entry(key).or_default().insert(row[field].clone(), row[value].clone());
        }
    }
    Ok(points)
}

/// How many points a series has, counted by the server.
pub(crate) fn count(influxd: &Influxd, bucket: &str, series: &str, field: &str) -> Result<u64> {
    let query = format!(
        "from(bucket: \"{bucket}\") |> range(start: 0, stop: 2200-01-01T00:00:00Z) \
         |> filter(fn: (r) => r._measurement == \"{series}\" and r._field == \"{field}\") |> count() |> group() |> sum()"
    );
    let tables = influxd.query(&query)?;
    let rows = tables.first().map(|table| table.select(&["_value"])).unwrap_or_default();
    rows.first().map_or(Ok(0), |row| Ok(row[0].parse()?))
}

/// Nanoseconds since the Unix epoch of `2023-11-14T22:13:20.000000001Z`.
pub(crate) fn unix_ns(text: &str) -> Result<i64> {
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    let at = humantime::parse_rfc3339(&format!("{seconds}Z")).with_context(|| text.to_owned())?;
    let seconds = i64::try_from(at.duration_since(std::time::UNIX_EPOCH)?.as_secs())?;
    let nanoseconds: i64 = format!("{fraction:0<9}").parse()?;
    Ok(seconds * 1_000_000_000 + nanoseconds)
}
