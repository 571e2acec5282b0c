//! Records as an agent makes them, and a look at what the store made of them.

use std::path::Path;

use tinywatt_collector::store::Store;
use tinywatt_proto::columns::Encoder;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

/// Time between readings.
pub(crate) const PERIOD_NS: u64 = 1_000_000;

/// Readings of a batch.
pub(crate) const BATCH_READING_COUNT: u64 = 10;

/// Time a batch covers.
pub(crate) const BATCH_NS: u64 = PERIOD_NS * BATCH_READING_COUNT;

pub(crate) fn node() -> NodeId {
    "pi-4".parse().unwrap()
}

/// A boot id that is the same in every run of a test.
pub(crate) fn boot(number: u8) -> BootId {
    BootId::from_bytes(&[number; 16]).unwrap()
}

/// Opens the store and registers the node.
pub(crate) async fn open(folder: &Path) -> Store {
    let store = Store::open(folder).unwrap();
    store.upsert_node(&registration(), 1).await.unwrap();
    store
}

pub(crate) fn registration() -> v1::RegisterRequest {
    v1::RegisterRequest {
        node: node().to_string(),
        boot_id: boot(1).to_vec(),
        agent_version: "0.1.0".to_owned(),
        capabilities: Some(v1::Capabilities { channels: vec![channel(0)], ..Default::default() }),
    }
}

pub(crate) fn channel(index: u32) -> v1::Channel {
    v1::Channel {
        channel: index,
        name: format!("rail-{index}"),
        source: "ina219-emulator".to_owned(),
        kind: v1::FigureKind::Simulated.into(),
        sample_period_ns: PERIOD_NS,
        time_unit_ns: 1_000,
        scale: Some(v1::channel::Scale::ShuntBus(v1::ShuntBusScale::default())),
        rail: format!("i2c/i2c-1/{index:#04x}"),
    }
}

/// Reading `index` of a channel, counted from the boot.
pub(crate) fn reading(index: u64) -> Reading {
    let code = i64::try_from(index % 4_000).unwrap();
    Reading { at: MonoNs((index + 1) * PERIOD_NS), first: code, second: 2_995, flags: Flags::NONE }
}

/// The batch with this sequence: readings follow each other without a hole from batch to batch.
pub(crate) fn batch(channel: u32, sequence: u64) -> v1::SampleBatch {
    let mut encoder = Encoder::default();
    let first = sequence * BATCH_READING_COUNT;
    (first..first + BATCH_READING_COUNT).for_each(|index| encoder.push(&reading(index), 1_000, true));
    encoder.finish(channel, Vec::new()).unwrap()
}

pub(crate) fn record(delivery_id: u64, boot: BootId, sequence: u64, fact: Fact) -> v1::Record {
    v1::Record { delivery_id, boot_id: boot.to_vec(), sequence, fact: Some(fact) }
}

pub(crate) fn outcome(run: &str, trial: u32) -> v1::TrialOutcome {
    v1::TrialOutcome {
        trial: Some(v1::TrialKey { run_id: run.to_owned(), trial, attempt: 1 }),
        samples_boot_id: boot(1).to_vec(),
        samples_channel: 0,
        result: Some(v1::trial_outcome::Result::Completed(v1::Completed::default())),
        samples_further_channels: Vec::new(),
    }
}

pub(crate) fn marker(run: &str, mono_ns: u64) -> v1::Marker {
    v1::Marker {
        trial: Some(v1::TrialKey { run_id: run.to_owned(), trial: 0, attempt: 1 }),
        mono_ns,
        phase: v1::Phase::Active.into(),
        edge: v1::Edge::Start.into(),
    }
}

pub(crate) fn clock_probe(mono_ns: u64) -> v1::ClockProbe {
    v1::ClockProbe {
        sent_mono_ns: mono_ns,
        received_unix_ns: 1_800_000_000_000_000_000 + mono_ns + 100_000,
        answered_unix_ns: 1_800_000_000_000_000_000 + mono_ns + 120_000,
        returned_mono_ns: mono_ns + 220_000,
    }
}

pub(crate) fn health(mono_ns: u64) -> v1::NodeHealth {
    v1::NodeHealth {
        mono_ns,
        agent_cpu_ns: 71_000_000,
        agent_memory_bytes: 10 << 20,
        spool_record_count: 3,
        lost_reading_count: 0,
        throttled_bits: Some(0x5_0000),
        temperature_millicelsius: Some(48_199),
        disk_free_bytes: Some(20 << 30),
        memory_available_bytes: None,
    }
}

/// Everything that was delivered, without the keys that depend on the order of arrival.
pub(crate) fn content(folder: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(folder.join("tinywatt.db")).unwrap();
    let boot = "hex(boot_id)";
    [
        format!("SELECT 'channel', {boot}, channel, hex(description), '' FROM channel JOIN boot USING (boot_key)"),
        format!("SELECT 'stream', {boot}, channel, next_sequence, '' FROM stream JOIN boot USING (boot_key)"),
        format!(
            "SELECT 'batch', {boot}, channel, sequence, first_mono_ns || ' ' || last_mono_ns || ' ' || reading_count \
             || ' ' || coalesce(hex(lost), '-') || ' ' || hex(columns) || columns_crc32 \
             FROM batch JOIN stream USING (stream_key) JOIN boot USING (boot_key)"
        ),
        format!(
            "SELECT 'gap', {boot}, channel, expected_sequence, found_sequence || cause \
             FROM gap JOIN stream USING (stream_key) JOIN boot USING (boot_key)"
        ),
        format!("SELECT 'marker', {boot}, sequence, run, mono_ns || ' ' || phase || edge FROM marker JOIN boot USING (boot_key)"),
        format!("SELECT 'probe', {boot}, sequence, sent_mono_ns, returned_mono_ns FROM clock_probe JOIN boot USING (boot_key)"),
        format!("SELECT 'health', {boot}, sequence, mono_ns, hex(health) FROM agent_health JOIN boot USING (boot_key)"),
        format!("SELECT 'outcome', {boot}, sequence, run || trial || attempt, hex(outcome) FROM outcome JOIN boot USING (boot_key)"),
        "SELECT 'rejected', delivery_id, reason, record_bytes, hex(record) FROM rejected".to_owned(),
        "SELECT 'node', node, record_count, rejected_count, '' FROM node".to_owned(),
    ]
    .iter()
    .flat_map(|query| {
        let mut statement = connection.prepare(query).unwrap();
        let mut rows: Vec<String> = statement
            .query_map([], |row| {
                let columns = (0..5).map(|index| row.get::<_, rusqlite::types::Value>(index));
                Ok(format!("{:?}", columns.collect::<Result<Vec<_>, _>>()?))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        rows.sort();
        rows
    })
    .collect()
}
