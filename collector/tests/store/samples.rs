//! Reading a window back.

use tinywatt_collector::store::{ReadError, Store};
use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{
    BATCH_NS, BATCH_READING_COUNT, PERIOD_NS, batch, boot, channel, clock_probe, node, open, reading, record,
};

fn window(start: u64, end: u64) -> Window {
    Window::new(MonoNs(start), MonoNs(end)).unwrap()
}

/// A store with these batches of channel 0.
async fn with_batches(sequences: &[u64]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut records = vec![record(1, boot(1), 0, Fact::ChannelOpened(channel(0)))];
    for sequence in sequences {
        let mut batch = batch(0, *sequence);
        batch.lost_readings =
            vec![v1::LostReadings { reason: v1::LossReason::MissedDeadline.into(), count: sequence + 1 }];
        records.push(record(sequence + 2, boot(1), *sequence, Fact::Batch(batch)));
    }
    store.commit_records(node(), records).await.unwrap();
    (folder, store)
}

fn readings(range: std::ops::Range<u64>) -> Vec<Reading> {
    range.map(reading).collect()
}

#[tokio::test]
async fn a_window_comes_with_one_reading_beyond_each_edge_wherever_the_edges_lie() {
    let (_folder, store) = with_batches(&[0, 1, 2, 3, 4]).await;
    let reading_count = 5 * BATCH_READING_COUNT;
    // Edges on readings, between readings, on the border of batches, before the first and after the last.
    for start in (0..reading_count + 3).map(|index| index * PERIOD_NS) {
        for end in [start + 1, start + PERIOD_NS / 2, start + PERIOD_NS, start + BATCH_NS, start + 7 * BATCH_NS] {
            for shift in [0, PERIOD_NS / 3] {
                let window = window(start + shift, end + shift);
                let all = readings(0..reading_count);
                let inside = all.iter().filter(|reading| window.contains(reading.at));
                let before = all.iter().rfind(|reading| reading.at < window.start());
                let after = all.iter().find(|reading| reading.at >= window.end());
                let expected: Vec<Reading> = before.into_iter().chain(inside).chain(after).copied().collect();
                let samples = store.samples(&node(), boot(1), 0, window).await.unwrap();
                assert_eq!(samples.readings, expected, "{window:?}");
                assert_eq!(samples.gaps, []);
                assert_eq!(samples.channel, channel(0));
            }
        }
    }
}

#[tokio::test]
async fn losses_are_told_with_the_stretch_in_which_they_lie() {
    let (_folder, store) = with_batches(&[0, 1, 2]).await;
    let told = |window| {
        let store = store.clone();
        async move {
            let samples = store.samples(&node(), boot(1), 0, window).await.unwrap();
            samples.lost.iter().map(|lost| (lost.count, lost.between)).collect::<Vec<_>>()
        }
    };
    let between = [window(0, BATCH_NS), window(BATCH_NS, 2 * BATCH_NS), window(2 * BATCH_NS, 3 * BATCH_NS)];
    assert_eq!(told(window(0, 4 * BATCH_NS)).await, [(1, between[0]), (2, between[1]), (3, between[2])]);
    assert_eq!(told(window(BATCH_NS, BATCH_NS + 5)).await, [(2, between[1])]);
    assert_eq!(told(window(BATCH_NS - 1, BATCH_NS + 5)).await, [(1, between[0]), (2, between[1])]);
    assert_eq!(told(window(3 * BATCH_NS, 3 * BATCH_NS + 5)).await, []);
}

#[tokio::test]
async fn holes_are_told_as_the_time_between_the_batches_around_them() {
    let (_folder, store) = with_batches(&[2, 3, 5, 8]).await;
    let gaps = |window| {
        let store = store.clone();
        async move { store.samples(&node(), boot(1), 0, window).await.unwrap().gaps }
    };
    let after = |sequence: u64| (sequence + 1) * BATCH_NS;
    let before = |sequence: u64| sequence * BATCH_NS + PERIOD_NS;
    let leading = window(0, before(2));
    let one = window(after(3), before(5));
    let two = window(after(5), before(8));
    assert_eq!(gaps(window(0, 20 * BATCH_NS)).await, [leading, one, two]);
    assert_eq!(gaps(window(before(2), after(3))).await, []);
    assert_eq!(gaps(window(after(3), after(3) + 1)).await, [one]);
    assert_eq!(gaps(window(before(5) - 1, after(5) + 1)).await, [one, two]);
    assert_eq!(gaps(window(5, 6)).await, [leading]);

    let late = record(50, boot(1), 6, Fact::Batch(batch(0, 6)));
    store.commit_records(node(), vec![late]).await.unwrap();
    assert_eq!(gaps(window(after(5), before(8))).await, [window(after(6), before(8))], "narrowed by a late batch");
}

#[tokio::test]
async fn a_channel_that_was_never_announced_is_an_error_that_names_it() {
    let (_folder, store) = with_batches(&[0]).await;
    let error = store.samples(&node(), boot(1), 3, window(0, 1)).await.unwrap_err();
    assert!(matches!(error, ReadError::UnknownChannel { channel: 3, .. }), "{error}");
    assert!(error.to_string().contains("pi-4"), "{error}");
}

#[tokio::test]
async fn a_channel_without_batches_has_no_readings() {
    let (_folder, store) = with_batches(&[]).await;
    let samples = store.samples(&node(), boot(1), 0, window(0, BATCH_NS)).await.unwrap();
    assert!(samples.readings.is_empty() && samples.gaps.is_empty() && samples.lost.is_empty());
}

#[tokio::test]
async fn stored_probes_give_the_clock() {
    let (_folder, store) = with_batches(&[]).await;
    assert_eq!(store.clock_fit(&node(), boot(1)).await.unwrap(), None);
    let probes =
        (1..=5).map(|index| record(index + 1, boot(1), index, Fact::ClockProbe(clock_probe(index * 1_000_000))));
    store.commit_records(node(), probes.collect()).await.unwrap();
    let fit = store.clock_fit(&node(), boot(1)).await.unwrap().expect("five probes");
    assert_eq!(fit.offset_ns, 1_800_000_000_000_000_000);
    assert!(fit.error_ns <= 100_001, "{fit:?}");
}
