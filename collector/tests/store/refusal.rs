//! Records that cannot be stored: kept with their reason, acknowledged, and visible as a hole.

use tinywatt_collector::store::{CommitError, NodeCounts};
use tinywatt_proto::columns::Encoder;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{
    BATCH_NS, batch, boot, channel, clock_probe, health, marker, node, open, outcome, reading, record,
};

async fn refused(fact: Fact) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let opened = record(1, boot(1), 0, Fact::ChannelOpened(channel(0)));
    let first = record(2, boot(1), 0, Fact::Batch(batch(0, 0)));
    let known = record(3, boot(1), 1, Fact::Outcome(outcome("known", 0)));
    let sequence = match &fact {
        Fact::Batch(batch) if batch.channel == 0 => 1,
        Fact::Batch(_) => 0,
        _ => 2,
    };
    let records = vec![opened, first, known, record(4, boot(1), sequence, fact)];
    let committed = store.commit_records(node(), records.clone()).await.unwrap();
    assert_eq!(committed.delivery_id, 4, "a refused record is acknowledged");
    assert_eq!(committed.rejected.len(), 1, "{:?}", committed.rejected);
    let again = store.commit_records(node(), records).await.unwrap();
    assert!(again.rejected.is_empty() && again.outcomes.is_empty(), "a repetition changes nothing");
    let counts = store.node_counts(&node()).await.unwrap().unwrap();
    assert_eq!(counts, NodeCounts { record_count: 3, duplicate_count: 4, rejected_count: 1, missing_count: 0 });
    committed.rejected.concat()
}

#[tokio::test]
async fn a_batch_of_an_unknown_channel_is_refused_by_name() {
    assert_eq!(refused(Fact::Batch(batch(7, 1))).await, "channel 7 was never announced");
}

#[tokio::test]
async fn a_truncated_batch_is_refused_wherever_it_is_cut() {
    let whole = batch(0, 1);
    for length in [0, 1, whole.columns.len() / 2, whole.columns.len() - 1] {
        let columns = whole.columns.slice(..length);
        let reason = refused(Fact::Batch(v1::SampleBatch { columns, ..whole.clone() })).await;
        assert!(reason.contains("checksum"), "{reason}");
    }
}

#[tokio::test]
async fn a_shunt_batch_without_bus_voltages_is_refused() {
    let mut encoder = Encoder::default();
    (30..40).for_each(|index| encoder.push(&reading(index), 1_000, false));
    let reason = refused(Fact::Batch(encoder.finish(0, Vec::new()).unwrap())).await;
    assert!(reason.contains("10 first and 0 second codes"), "{reason}");
}

#[tokio::test]
async fn a_batch_that_overlaps_its_predecessor_is_refused_with_both_instants() {
    let reason = refused(Fact::Batch(batch(0, 0))).await;
    assert!(reason.contains("begins at 1000000 ns") && reason.contains("10000000 ns"), "{reason}");
}

#[tokio::test]
async fn numbers_beyond_the_columns_are_refused() {
    let reason = refused(Fact::Marker(marker("run", u64::MAX))).await;
    assert!(reason.contains("mono_ns = 18446744073709551615"), "{reason}");
    let mut empty = batch(0, 1);
    empty.reading_count = 0;
    assert!(refused(Fact::Batch(empty)).await.contains("no readings"));
}

#[tokio::test]
async fn events_without_meaning_are_refused() {
    let backwards = v1::ClockProbe { returned_mono_ns: 4, ..clock_probe(5) };
    assert!(refused(Fact::ClockProbe(backwards)).await.contains("backwards"));
    assert!(refused(Fact::Marker(v1::Marker { trial: None, ..marker("run", 5) })).await.contains("no trial"));
    assert!(refused(Fact::Marker(marker("No Name", 5))).await.contains("'No Name'"));
    assert!(refused(Fact::Outcome(outcome("known", 0))).await.contains("known/0.1 is already stored"));
    assert!(refused(Fact::Outcome(v1::TrialOutcome { result: None, ..outcome("new", 0) })).await.contains("neither"));
    let changed = v1::Channel { time_unit_ns: 1, ..channel(0) };
    assert!(refused(Fact::ChannelOpened(changed)).await.contains("another description"));
    let incomplete = v1::Channel { scale: None, ..channel(1) };
    assert!(refused(Fact::ChannelOpened(incomplete)).await.contains("no scale"));
}

#[tokio::test]
async fn health_that_no_time_series_can_hold_is_refused_by_its_field() {
    let beyond = u64::MAX;
    let healths = [
        ("mono_ns", health(beyond)),
        ("agent_cpu_ns", v1::NodeHealth { agent_cpu_ns: beyond, ..health(5) }),
        ("agent_memory_bytes", v1::NodeHealth { agent_memory_bytes: beyond, ..health(5) }),
        ("spool_record_count", v1::NodeHealth { spool_record_count: beyond, ..health(5) }),
        ("lost_reading_count", v1::NodeHealth { lost_reading_count: beyond, ..health(5) }),
        ("disk_free_bytes", v1::NodeHealth { disk_free_bytes: Some(beyond), ..health(5) }),
        ("memory_available_bytes", v1::NodeHealth { memory_available_bytes: Some(beyond), ..health(5) }),
    ];
    for (field, health) in healths {
        let reason = refused(Fact::Health(health)).await;
        assert!(reason.starts_with(&format!("{field} = 18446744073709551615 is beyond")), "{reason}");
    }
    let frozen = |temperature| v1::NodeHealth { temperature_millicelsius: Some(temperature), ..health(5) };
    let reason = refused(Fact::Health(frozen(-273_151))).await;
    assert!(reason.contains("-273151") && reason.contains("absolute zero"), "{reason}");
}

#[tokio::test]
async fn a_record_without_a_key_is_kept_among_the_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let no_fact = v1::Record { fact: None, ..record(1, boot(1), 0, Fact::Batch(batch(0, 0))) };
    let no_boot = v1::Record { boot_id: vec![1, 2], ..record(2, boot(1), 0, Fact::Batch(batch(0, 0))) };
    let no_number = record(3, boot(1), u64::MAX, Fact::Batch(batch(0, 0)));
    let no_channel = record(4, boot(1), 0, Fact::Batch(batch(9_999, 0)));
    let committed = store.commit_records(node(), vec![no_fact, no_boot, no_number, no_channel]).await.unwrap();
    assert_eq!(committed.delivery_id, 4);
    let expected = ["newer", "2 bytes instead of 16", "sequence = ", "channel 9999"];
    for (reason, expected) in committed.rejected.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason}");
    }
    assert_eq!(store.node_counts(&node()).await.unwrap().unwrap().rejected_count, 4);
}

#[tokio::test]
async fn the_refused_of_a_node_are_bounded_and_counted_beyond_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bad = |index: u64| record(index, boot(1), index, Fact::Marker(v1::Marker::default()));
    store.commit_records(node(), (0..300).map(bad).collect()).await.unwrap();
    assert_eq!(store.node_counts(&node()).await.unwrap().unwrap().rejected_count, 300);
    drop(store);
    let kept: Vec<_> =
        crate::scenario::content(folder.path()).into_iter().filter(|row| row.contains("\"rejected\"")).collect();
    assert_eq!(kept.len(), 256);
    assert!(kept.iter().any(|row| row.contains("Integer(299)")), "the newest are kept");
}

#[tokio::test]
async fn a_refused_batch_is_a_gap_in_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let broken = v1::SampleBatch { columns: vec![0xff].into(), ..batch(0, 1) };
    let records = vec![
        record(1, boot(1), 0, Fact::ChannelOpened(channel(0))),
        record(2, boot(1), 0, Fact::Batch(batch(0, 0))),
        record(3, boot(1), 1, Fact::Batch(broken)),
        record(4, boot(1), 2, Fact::Batch(batch(0, 2))),
    ];
    store.commit_records(node(), records).await.unwrap();
    let window = Window::new(MonoNs(0), MonoNs(3 * BATCH_NS)).unwrap();
    let samples = store.samples(&node(), boot(1), 0, window).await.unwrap();
    let gap = Window::new(MonoNs(BATCH_NS), MonoNs(2 * BATCH_NS + 1_000_000)).unwrap();
    assert_eq!(samples.gaps, [gap]);
}

#[tokio::test]
async fn a_node_that_never_registered_delivers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let error = store.commit_records("stranger".parse().unwrap(), Vec::new()).await.unwrap_err();
    assert!(matches!(error, CommitError::UnknownNode { .. }));
    assert!(error.to_string().contains("stranger"));
}
