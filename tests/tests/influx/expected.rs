//! What must be there, from the store's own file: read with SQL and the wire's decoder, not with the sink's code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use prost::Message;
use rusqlite::{Connection, OpenFlags};
use tinywatt_proto::columns::{decode, has_two_columns};
use tinywatt_proto::sample::ShuntBusScale;
use tinywatt_proto::v1;

use super::world::Key;

/// The store's file, opened to read.
pub(crate) fn store(folder: &Path) -> Result<Connection> {
    let path = folder.join("store/tinywatt.db");
    Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).with_context(|| path.display().to_string())
}

/// Readings in the store.
pub(crate) fn reading_count(store: &Connection) -> Result<u64> {
    let count: i64 = store.query_row("SELECT coalesce(sum(reading_count), 0) FROM batch", [], |row| row.get(0))?;
    Ok(u64::try_from(count)?)
}

/// Every sample in the store as the point that it must be: of `f64` the bits, of the time the nanosecond.
pub(crate) fn samples(store: &Connection) -> Result<BTreeMap<Key, BTreeMap<String, u64>>> {
    let mut statement = store.prepare(
        "SELECT node, channel.description, axis.offset_ns, first_mono_ns, last_mono_ns, reading_count, columns, \
         columns_crc32 FROM batch JOIN stream USING (stream_key) JOIN boot USING (boot_key) JOIN node USING (node_key) \
         JOIN axis USING (boot_key) JOIN channel USING (boot_key, channel)",
    )?;
    let mut rows = statement.query([])?;
    let mut samples = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (node, description, offset_ns): (String, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let channel = v1::Channel::decode(&description[..])?;
        let columns: Vec<u8> = row.get(6)?;
        let batch = v1::SampleBatch {
            first_mono_ns: u64::try_from(row.get::<_, i64>(3)?)?,
            last_mono_ns: u64::try_from(row.get::<_, i64>(4)?)?,
            reading_count: row.get(5)?,
            columns: columns.into(),
            columns_crc32: row.get(7)?,
            ..v1::SampleBatch::default()
        };
        let kind = channel.kind().as_str_name().trim_start_matches("FIGURE_KIND_").to_lowercase();
        for reading in decode(&batch, channel.time_unit_ns, has_two_columns(&channel))? {
            let at = i64::try_from(reading.at.0)? + offset_ns;
            let key = [
                ("node", node.clone()),
                ("channel", channel.name.clone()),
                ("kind", kind.clone()),
                ("_time", at.to_string()),
            ];
            let key: Key = key.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let fields: Vec<(&str, u64)> = match channel.scale.as_ref().context("a scale")? {
                v1::channel::Scale::ShuntBus(scale) => {
                    let sample = ShuntBusScale::from(scale).sample(&reading);
                    vec![
                        ("volts", sample.bus.get().to_bits()),
                        ("amperes", sample.current.get().to_bits()),
                        ("watts", sample.power.get().to_bits()),
                    ]
                }
                v1::channel::Scale::Energy(scale) => {
                    let joules = tinywatt_proto::sample::joules_per_code(scale) * (reading.first as f64);
                    vec![("interval_joules", joules.get().to_bits())]
                }
                v1::channel::Scale::Counter(scale) => {
                    let joules = tinywatt_proto::sample::joules_per_count(scale) * (reading.first as f64);
                    vec![("counter_joules", joules.get().to_bits())]
                }
            };
            let mut fields: BTreeMap<String, u64> =
                fields.into_iter().map(|(name, bits)| (name.to_owned(), bits)).collect();
            if !reading.flags.is_empty() {
                fields.insert("flags".to_owned(), u64::from(reading.flags.bits()));
            }
            samples.insert(key, fields);
        }
    }
    Ok(samples)
}

/// The assessed attempts: when each was started, and its result as it is kept.
pub(crate) fn attempts(store: &Connection) -> Result<Vec<(i64, serde_json::Value)>> {
    let mut statement =
        store.prepare("SELECT started_unix_ns, result FROM attempt WHERE result IS NOT NULL ORDER BY attempt_key")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (started, result) = row?;
        Ok((started, serde_json::from_str(&result)?))
    })
    .collect()
}

/// Offset of the time axis of a boot id, a UUID.
pub(crate) fn axis(store: &Connection, boot: &str) -> Result<i64> {
    let boot = boot.replace('-', "");
    let sql = "SELECT offset_ns FROM axis JOIN boot USING (boot_key) WHERE lower(hex(boot.boot_id)) = ?1";
    Ok(store.query_row(sql, [boot], |row| row.get(0))?)
}
