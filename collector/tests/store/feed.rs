//! What is written on: in the order of the commits, to instants that never change, with every hole as it is in the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tinywatt_collector::sink::feed::Feed;
use tinywatt_collector::sink::points::samples::Detail;
use tinywatt_collector::store::{Placed, Position, RunRow, Store};
use tinywatt_proto::ids::AttemptId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{
    BATCH_NS, BATCH_READING_COUNT, PERIOD_NS, batch, boot, channel, clock_probe, marker, node, open, record,
    registration,
};

const RAW: Detail = Detail { raw: true, decimated_period_ns: None };

/// Unix time less monotonic time of the scenario's probes.
const OFFSET_NS: i64 = 1_800_000_000_000_000_000;

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
        seen_after in 0usize..9,
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

#[tokio::test]
async fn samples_of_an_agent_that_has_not_probed_yet_wait_and_those_of_a_recording_begin_with_their_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    // The scenario's node registered as boot 1.
    let opened = record(0, boot(1), 0, Fact::ChannelOpened(channel(0)));
    let first = record(0, boot(1), 0, Fact::Batch(batch(0, 0)));
    store.commit_records(node(), vec![opened, first]).await.unwrap();
    let key = store.boot_key(&node(), boot(1)).await.unwrap().unwrap();
    let now = 2_000_000_000_000_000_000;
    assert_eq!(store.axis(key, now, false).await.unwrap(), Placed::NotYet);
    let mut feed = Feed::new(store.clone(), RAW);
    let portion = feed.portion(Position::default()).await.unwrap();
    assert_eq!((portion.position.batch_key, portion.is_level), (0, false), "its samples wait");
    let Placed::At(axis) = store.axis(key, now, true).await.unwrap() else { panic!("late enough") };
    assert_eq!(axis.unix_ns(tinywatt_proto::time::MonoNs(BATCH_NS)), i64::try_from(now).unwrap(), "they end now");

    // A recording comes under a boot id as which no agent registered, while its attempt executes.
    let run = RunRow {
        run: "replay-a".parse().unwrap(),
        experiment: "replay".to_owned(),
        submit: v1::SubmitRequest::default(),
        trials: Vec::new(),
        started_unix_ns: 5,
        state: v1::RunState::Running,
        ended_unix_ns: None,
    };
    store.create_run(run).await.unwrap();
    let attempt = AttemptId { run: "replay-a".parse().unwrap(), trial: 0, attempt: 1 };
    let started = 1_900_000_000_000_000_000;
    store.start_attempt(&attempt, &node(), boot(1), started).await.unwrap();
    let opened = record(0, boot(9), 0, Fact::ChannelOpened(channel(0)));
    let first = record(0, boot(9), 0, Fact::Batch(batch(0, 0)));
    store.commit_records(node(), vec![opened, first]).await.unwrap();
    let key = store.boot_key(&node(), boot(9)).await.unwrap().unwrap();
    let Placed::At(axis) = store.axis(key, now, false).await.unwrap() else { panic!("an attempt executes") };
    assert_eq!(axis.unix_ns(tinywatt_proto::time::MonoNs(PERIOD_NS)), i64::try_from(started).unwrap());
}

#[tokio::test]
async fn what_changes_is_told_in_the_order_of_the_commits_and_a_store_of_before_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.upsert_node(&registration(), 2).await.unwrap();
    deliver(&store, 1, &[]).await;
    let events = [Fact::Marker(marker("run-a", 5_000)), Fact::Health(crate::scenario::health(7_000))];
    let events = events.into_iter().zip(2..).map(|(fact, sequence)| record(0, boot(1), sequence, fact));
    store.commit_records(node(), events.collect()).await.unwrap();
    let (lines, position) = lines_after(&store, Position::default(), RAW).await;
    let series: Vec<&str> = lines.iter().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(series, ["clock", "phase", "agent"]);
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
