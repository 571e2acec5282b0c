//! However records arrive, the store ends up the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tinywatt_collector::store::Store;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{self, batch, boot, channel, clock_probe, health, marker, node, outcome, record};

const BOOT_COUNT: u8 = 2;
const CHANNEL_COUNT: u32 = 2;
const BATCH_COUNT: u64 = 6;

/// What two boots with two channels deliver; the announcements of the channels first.
fn records() -> (Vec<v1::Record>, Vec<v1::Record>) {
    let mut announcements = Vec::new();
    let mut rest = Vec::new();
    for number in 1..=BOOT_COUNT {
        let boot = boot(number);
        for index in 0..CHANNEL_COUNT {
            announcements.push(record(0, boot, index.into(), Fact::ChannelOpened(channel(index))));
            for sequence in 0..BATCH_COUNT {
                let mut batch = batch(index, sequence);
                if sequence == 3 {
                    let reason = v1::LossReason::RingFull.into();
                    batch.lost_readings.push(v1::LostReadings { reason, count: 7 });
                }
                rest.push(record(0, boot, sequence, Fact::Batch(batch)));
            }
        }
        let run = format!("run-{number}");
        let events = [
            Fact::ClockProbe(clock_probe(1_000)),
            Fact::Marker(marker(&run, 5_000)),
            // Refused wherever it stands: the phase is unknown.
            Fact::Marker(v1::Marker { phase: 99, ..marker(&run, 6_000) }),
            Fact::Health(health(7_000)),
            Fact::Outcome(outcome(&run, 0)),
        ];
        let sequences = u64::from(CHANNEL_COUNT)..;
        rest.extend(events.into_iter().zip(sequences).map(|(fact, sequence)| record(0, boot, sequence, fact)));
    }
    let all = announcements.iter_mut().chain(&mut rest);
    all.zip(1..).for_each(|(record, delivery_id)| record.delivery_id = delivery_id);
    (announcements, rest)
}

async fn deliver(store: &Store, records: &[v1::Record], group: usize) {
    for group in records.chunks(group) {
        store.commit_records(node(), group.to_vec()).await.unwrap();
    }
}

/// Delivers `records` after the announcements and gives the content.
fn content_after(records: &[v1::Record], group: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = scenario::open(folder.path()).await;
        deliver(&store, &self::records().0, group).await;
        deliver(&store, records, group).await;
        drop(store);
        // Everything once more after a restart: nothing may be forgotten.
        let store = scenario::open(folder.path()).await;
        deliver(&store, &self::records().0, group).await;
        deliver(&store, records, group).await;
        drop(store);
        scenario::content(folder.path())
    })
}

/// `[expected, found)` of every hole that is left when these records have arrived, by boot and stream.
fn holes(delivered: &[v1::Record]) -> Vec<(String, i64, u64, u64)> {
    let mut arrived: BTreeMap<(String, i64), BTreeSet<u64>> = BTreeMap::new();
    for record in self::records().0.iter().chain(delivered) {
        let stream = match &record.fact {
            Some(Fact::Batch(batch)) => i64::from(batch.channel),
            _ => -1,
        };
        let boot: String = record.boot_id.iter().map(|byte| format!("{byte:02X}")).collect();
        arrived.entry((boot, stream)).or_default().insert(record.sequence);
    }
    let mut holes = Vec::new();
    for ((boot, stream), sequences) in arrived {
        let mut expected = 0;
        for sequence in sequences {
            if sequence > expected {
                holes.push((boot.clone(), stream, expected, sequence));
            }
            expected = sequence + 1;
        }
    }
    holes
}

/// The records in any order, each once or twice.
fn disorder() -> impl Strategy<Value = Vec<v1::Record>> {
    let (_, rest) = records();
    let repeated = prop::sample::subsequence(rest.clone(), 0..=rest.len());
    repeated.prop_map(move |repeated| [rest.clone(), repeated].concat()).prop_shuffle()
}

/// Some of the records in any order.
fn a_part() -> impl Strategy<Value = Vec<v1::Record>> {
    let (_, rest) = records();
    let count = rest.len();
    prop::sample::subsequence(rest, 1..count).prop_shuffle()
}

proptest! {
    // Each case opens two files twice and flushes every group.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_any_repetition_gives_the_same_store(records in disorder(), group in 1usize..40) {
        let (_, in_order) = self::records();
        prop_assert_eq!(content_after(&records, group), content_after(&in_order, 1_000));
    }

    #[test]
    fn the_gaps_are_exactly_the_records_that_did_not_arrive(delivered in a_part(), group in 1usize..40) {
        let gaps: Vec<String> = content_after(&delivered, group)
            .into_iter()
            .filter(|row| row.contains("\"gap\"") && row.contains("missing"))
            .collect();
        let mut expected: Vec<String> = holes(&delivered)
            .into_iter()
            .map(|(boot, stream, expected, found)| {
                format!(
                    "[Text(\"gap\"), Text(\"{boot}\"), Integer({stream}), Integer({expected}), \
                     Text(\"{found}missing\")]"
                )
            })
            .collect();
        expected.sort();
        prop_assert_eq!(gaps, expected);
    }
}
