//! What is written on: in the order of the commits, to instants that never change, with every hole as it is in the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tinywatt_collector::sink::feed::Feed;
use tinywatt_collector::sink::points::samples::Detail;
use tinywatt_collector::store::{Axis, Placed, Position, RunRow, Store, Waited};
use tinywatt_proto::ids::AttemptId;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{
    BATCH_NS, BATCH_READING_COUNT, PERIOD_NS, batch, boot, channel, clock_probe, marker, node, open, record,
    registration,
};

const RAW: Detail = Detail { raw: true, decimated_period_ns: None };

/// Unix time less monotonic time of the scenario's probes.
const OFFSET_NS: i64 = 1_800_000_000_000_000_000;

/// Some time after everything.
const NOW: u64 = 2_000_000_000_000_000_000;

async fn deliver(store: &Store, boot_number: u8, sequences: &[u64]) {
    let boot = boot(boot_number);
    let opened = v1::Channel {
        scale: Some(v1::channel::Scale::ShuntBus(v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 100_000_000,
            shunt_code_max: 32_000,
            error_budget: None,
        })),
        ..channel(0)
    };
    let opened = [Fact::ChannelOpened(opened), Fact::ClockProbe(clock_probe(1_000))];
    let events = opened.into_iter().zip(0..).map(|(fact, sequence)| record(0, boot, sequence, fact));
    store.commit_records(node(), events.collect()).await.unwrap();
    for sequence in sequences {
        let batch = record(0, boot, *sequence, Fact::Batch(batch(0, *sequence)));
        assert!(store.commit_records(node(), vec![batch]).await.unwrap().rejected.is_empty());
    }
}

/// All lines after a position, and the last position.
async fn lines_after(store: &Store, mut position: Position, detail: Detail) -> (Vec<String>, Position) {
    let mut feed = Feed::new(store.clone(), detail);
    let mut lines = Vec::new();
    loop {
        let portion = feed.portion(position).await.unwrap();
        assert!(portion.requests.iter().all(|request| request.lines.count() <= 5_000));
        lines.extend(portion.requests.iter().flat_map(|request| request.lines.text().lines()).map(str::to_owned));
        position = portion.position;
        if portion.is_level {
            return (lines, position);
        }
    }
}

/// What a database holds after these lines: of each series and instant the fields that were written last.
fn database(lines: &[String]) -> BTreeMap<(String, i64), BTreeMap<String, String>> {
    let mut points: BTreeMap<_, BTreeMap<String, String>> = BTreeMap::new();
    for line in lines {
        let (rest, at) = line.rsplit_once(' ').unwrap();
        let (series, fields) = rest.split_once(' ').unwrap();
        let point = points.entry((series.to_owned(), at.parse().unwrap())).or_default();
        for field in fields.split(',') {
            let (name, value) = field.split_once('=').unwrap();
            point.insert(name.to_owned(), value.to_owned());
        }
    }
    points
}

/// Gaps that are left: their beginning, and how many batches are missing.
fn gaps(lines: &[String]) -> BTreeMap<i64, u64> {
    let points = database(lines).into_iter().filter(|((series, _), _)| series.starts_with("gap,"));
    let gaps = points.map(|((_, at), fields)| (at, fields["batch_count"].trim_end_matches('i').parse().unwrap()));
    gaps.filter(|(_, count)| *count > 0).collect()
}

/// Gaps between the batches that arrived, as they are.
fn true_gaps(arrived: &BTreeSet<u64>) -> BTreeMap<i64, u64> {
    let last_of = |sequence: u64| OFFSET_NS + i64::try_from((sequence + 1) * BATCH_NS).unwrap();
    let mut gaps = BTreeMap::new();
    let mut before = None;
    for &sequence in arrived {
        let missing = sequence - before.map_or(0, |before| before + 1);
        if missing > 0 {
            let first = OFFSET_NS + i64::try_from(sequence * BATCH_NS + PERIOD_NS).unwrap();
            gaps.insert(before.map_or(first - 1, last_of), missing);
        }
        before = Some(sequence);
    }
    gaps
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gaps_are_told_as_they_are_in_the_end_in_whatever_order_batches_arrive(
        order in Just((0u64..9).collect::<Vec<_>>()).prop_shuffle(),
        count in 1usize..9,
        seen_after in 1usize..9,
    ) {
        on_a_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await;
            let arriving = &order[..count];
            let (first, second) = arriving.split_at(seen_after.min(count));
            deliver(&store, 1, first).await;
            let (mut lines, position) = lines_after(&store, Position::default(), RAW).await;
            deliver(&store, 1, second).await;
            lines.extend(lines_after(&store, position, RAW).await.0);
            let arrived: BTreeSet<u64> = arriving.iter().copied().collect();
            assert_eq!(gaps(&lines), true_gaps(&arrived), "in the order {arriving:?}");
            // Read from the beginning, the database is the same.
            let anew = lines_after(&store, Position::default(), RAW).await.0;
            assert_eq!(database(&anew), database(&lines));
            let samples = lines.iter().filter(|line| line.starts_with("sample,")).count() as u64;
            assert_eq!(samples, count as u64 * BATCH_READING_COUNT);
        });
    }
}

#[tokio::test]
async fn an_axis_stays_when_later_probes_tell_of_a_drift() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver(&store, 1, &[0, 1]).await;
    let (before, _) = lines_after(&store, Position::default(), RAW).await;
    // An hour later the node's clock is a second behind.
    let late = v1::ClockProbe {
        received_unix_ns: clock_probe(3_600_000_000_000).received_unix_ns + 1_000_000_000,
        answered_unix_ns: clock_probe(3_600_000_000_000).answered_unix_ns + 1_000_000_000,
        ..clock_probe(3_600_000_000_000)
    };
    store.commit_records(node(), vec![record(0, boot(1), 2, Fact::ClockProbe(late))]).await.unwrap();
    let (after, _) = lines_after(&store, Position::default(), RAW).await;
    let (before, after) = (database(&before), database(&after));
    assert!(before.iter().all(|(key, fields)| after[key] == *fields), "nothing that was there has moved");
    let news: Vec<_> = after.iter().filter(|(key, _)| !before.contains_key(key)).collect();
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].1["axis_error_ns"], "1000000000i", "what is off is told");
}

#[tokio::test]
async fn samples_of_two_starts_of_an_agent_never_share_an_instant() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver(&store, 1, &[0, 1, 2]).await;
    lines_after(&store, Position::default(), RAW).await;
    // The second start's clock stands where the first one's stood: its samples would lie on those.
    deliver(&store, 2, &[0, 1, 2]).await;
    let (lines, _) = lines_after(&store, Position::default(), RAW).await;
    let samples: Vec<&String> = lines.iter().filter(|line| line.starts_with("sample,")).collect();
    let instants: BTreeSet<&str> = samples.iter().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(instants.len(), samples.len());
    assert_eq!(samples.len() as u64, 6 * BATCH_READING_COUNT);
}

async fn placed(store: &Store, boot_number: u8, waited: Waited) -> Option<Axis> {
    let key = store.boot_key(&node(), boot(boot_number)).await.unwrap().unwrap();
    match store.axis(key, NOW, waited).await.unwrap() {
        Placed::At(axis) => Some(axis),
        Placed::NotYet { .. } => None,
    }
}

/// Delivers a channel and batches, and no probe.
async fn deliver_unprobed(store: &Store, boot_number: u8, sequences: &[u64]) {
    let opened = record(0, boot(boot_number), 0, Fact::ChannelOpened(channel(0)));
    let batches =
        sequences.iter().map(|sequence| record(0, boot(boot_number), *sequence, Fact::Batch(batch(0, *sequence))));
    store.commit_records(node(), std::iter::once(opened).chain(batches).collect()).await.unwrap();
}

#[tokio::test]
async fn samples_without_a_probe_wait_for_one_and_end_when_they_arrived_if_none_comes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver_unprobed(&store, 1, &[0]).await;
    for waited in [Waited::No, Waited::Briefly] {
        assert_eq!(placed(&store, 1, waited).await, None);
    }
    let mut feed = Feed::new(store.clone(), RAW);
    let portion = feed.portion(Position::default()).await.unwrap();
    assert_eq!((portion.position.batch_key, portion.is_level), (0, false), "its samples wait");
    let axis = placed(&store, 1, Waited::Long).await.expect("long enough");
    assert_eq!(axis.unix_ns(MonoNs(BATCH_NS)), i64::try_from(NOW).unwrap(), "they end now");
}

#[tokio::test]
async fn a_start_that_never_probed_ends_before_the_next_one_and_does_not_move_it() {
    for is_next_placed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        // The second start registers; then the spool gives what the first one sampled without a collector.
        store.upsert_node(&v1::RegisterRequest { boot_id: boot(2).to_vec(), ..registration() }, 2).await.unwrap();
        deliver_unprobed(&store, 3, &[0, 1]).await;
        deliver(&store, 2, &[0]).await;
        if is_next_placed {
            placed(&store, 2, Waited::No).await.expect("it has probes");
        }
        let axis = placed(&store, 3, Waited::Long).await.expect("long enough");
        let next = placed(&store, 2, Waited::No).await.expect("it has probes");
        assert_eq!(next.unix_ns(MonoNs(0)), OFFSET_NS, "where its probes say");
        assert_eq!(axis.unix_ns(MonoNs(2 * BATCH_NS)), next.unix_ns(MonoNs(PERIOD_NS)) - 1);
    }
}

#[tokio::test]
async fn a_probe_without_samples_waits_a_moment_for_where_they_begin() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver(&store, 1, &[]).await;
    assert_eq!(placed(&store, 1, Waited::No).await, None);
    assert!(placed(&store, 1, Waited::Briefly).await.is_some(), "a sensor may never give any");
}

#[tokio::test]
async fn a_recording_begins_where_the_attempt_of_its_markers_was_started() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let started = 1_900_000_000_000_000_000;
    for (run, started) in [("replay-a", started), ("other", started + 5)] {
        let row = RunRow {
            run: run.parse().unwrap(),
            experiment: "replay".to_owned(),
            submit: v1::SubmitRequest::default(),
            trials: Vec::new(),
            started_unix_ns: 5,
            state: v1::RunState::Running,
            ended_unix_ns: None,
        };
        store.create_run(row).await.unwrap();
        let attempt = AttemptId { run: run.parse().unwrap(), trial: 0, attempt: 1 };
        store.start_attempt(&attempt, &node(), boot(1), started).await.unwrap();
    }
    // Under a boot id of its own; the markers come last.
    deliver_unprobed(&store, 9, &[0, 1]).await;
    assert_eq!(placed(&store, 9, Waited::No).await, None, "whose it is is not known yet");
    let mark = record(0, boot(9), 1, Fact::Marker(marker("replay-a", PERIOD_NS)));
    store.commit_records(node(), vec![mark]).await.unwrap();
    let axis = placed(&store, 9, Waited::No).await.expect("its attempt is known");
    assert_eq!(axis.unix_ns(MonoNs(PERIOD_NS)), i64::try_from(started).unwrap());
}

#[tokio::test]
async fn instants_at_the_end_of_time_break_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver(&store, 1, &[0]).await;
    placed(&store, 1, Waited::No).await.expect("it has probes");
    let far = u64::try_from(i64::MAX).unwrap() - BATCH_NS;
    let late = v1::SampleBatch {
        first_mono_ns: batch(0, 1).first_mono_ns + far - 2 * BATCH_NS,
        last_mono_ns: batch(0, 1).last_mono_ns + far - 2 * BATCH_NS,
        ..batch(0, 1)
    };
    store.commit_records(node(), vec![record(0, boot(1), 1, Fact::Batch(late))]).await.unwrap();
    deliver(&store, 2, &[0]).await;
    let next = placed(&store, 2, Waited::No).await.expect("it has probes");
    assert_eq!(next.unix_ns(MonoNs(0)), OFFSET_NS, "a clock gone wrong moves nobody by years");
    assert!(store.poison().is_none());
}

#[tokio::test]
async fn what_changes_is_told_in_the_order_of_the_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.upsert_node(&registration(), 2).await.unwrap();
    deliver(&store, 1, &[0]).await;
    let events = [Fact::Marker(marker("run-a", 5_000)), Fact::Health(crate::scenario::health(7_000))];
    let events = events.into_iter().zip(2..).map(|(fact, sequence)| record(0, boot(1), sequence, fact));
    store.commit_records(node(), events.collect()).await.unwrap();
    let (lines, position) = lines_after(&store, Position::default(), RAW).await;
    let facts: Vec<&str> =
        lines.iter().map(|line| line.split(',').next().unwrap()).filter(|name| *name != "sample").collect();
    assert_eq!(facts, ["clock", "phase", "agent"]);
    assert_eq!(
        lines[1],
        format!("phase,node=pi-4,phase=active,run=run-a edge=\"start\",trial=0i,attempt=1i {}", OFFSET_NS + 5_000)
    );
    assert_eq!(position, store.newest_position().await.unwrap());
    assert!(lines_after(&store, position, RAW).await.0.is_empty());
}

#[tokio::test]
async fn decimated_samples_are_means_of_whole_groups_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    deliver(&store, 1, &[0, 1]).await;
    let detail = Detail { raw: false, decimated_period_ns: Some(4 * PERIOD_NS) };
    let (lines, _) = lines_after(&store, Position::default(), detail).await;
    let groups: Vec<&String> = lines.iter().filter(|line| line.starts_with("sample_decimated,")).collect();
    let points = database(&lines);
    let fields = points.values().filter(|fields| fields.contains_key("reading_count"));
    let counted: u64 = fields.map(|fields| fields["reading_count"].trim_end_matches('i').parse::<u64>().unwrap()).sum();
    assert_eq!(counted, 2 * BATCH_READING_COUNT, "every reading is in one group");
    // Readings 3 to 6 of the first batch, codes 3 to 6: 10 µV each over 0.1 Ω, at 11.98 V.
    let second = points.iter().filter(|((series, _), _)| series.starts_with("sample_decimated")).nth(1).unwrap();
    let mean = 4.5 * 10e-6 / 0.1 * 11.98;
    assert!((second.1["watts_mean"].parse::<f64>().unwrap() / mean - 1.0).abs() < 1e-12, "{second:?}");
    assert!(groups.len() >= 6, "{groups:?}");
    assert_eq!(database(&lines_after(&store, Position::default(), detail).await.0), points);
}
