//! The link against a collector in this process that breaks connections as it likes.

pub(crate) mod collector;

use std::time::Duration;

use tinywatt_proto::v1::record::Fact;
use tokio::time::timeout;

use super::*;
use crate::clock::Virtual;
use crate::spool::SpoolConfig;
use crate::trial::desk::{Bench, Order, desk};
use collector::{Behaviour, Collector};

/// Far longer than anything here takes; only a hang meets it.
const LIMIT: Duration = Duration::from_secs(60);

/// Longer than the time between the first probes, and far shorter than all of them take.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

struct Node {
    spool: Spool,
    boot: BootId,
    bench: Bench,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), SpoolBroken>>,
    _dir: tempfile::TempDir,
}

fn marker(mono_ns: u64) -> Fact {
    Fact::Marker(v1::Marker { mono_ns, ..v1::Marker::default() })
}

impl Node {
    async fn start(address: &str, fact_count: u64) -> Self {
        Self::start_with(address, fact_count, super::ANSWER_LIMIT).await
    }

    async fn start_with(address: &str, fact_count: u64, answer_limit: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(dir.path(), &SpoolConfig::default()).expect("opens");
        let (earlier, boot) = (BootId::random(), BootId::random());
        for (boot, facts) in [(earlier, 0..fact_count / 2), (boot, fact_count / 2..fact_count)] {
            let facts = facts.map(marker).collect::<Vec<_>>();
            if !facts.is_empty() {
                spool.append_all(boot, facts).await.expect("stored");
            }
        }
        let (counter, bench) = desk();
        let node = "pi".parse().expect("a name");
        let identity = Identity { node, boot, capabilities: v1::Capabilities::default() };
        let mut link = Link::new(address, identity, spool.clone(), Virtual::default(), counter).expect("an address");
        link.answer_limit = answer_limit;
        let stop = CancellationToken::new();
        let running = tokio::spawn(link.run(stop.clone()));
        Self { spool, boot, bench, stop, running, _dir: dir }
    }

    /// Waits until no marker is left in the spool.
    async fn delivered(&self) {
        let is_marker = |record: &v1::Record| matches!(record.fact, Some(Fact::Marker(_)));
        let empty = async {
            while self.spool.read(0, usize::MAX).await.expect("readable").records.iter().any(is_marker) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, empty).await.expect("everything is delivered");
    }

    async fn stop(self) {
        self.stop.cancel();
        let stopped = timeout(LIMIT, self.running).await.expect("stops");
        stopped.expect("no panic").expect("the spool works");
    }
}

fn markers(records: &[v1::Record]) -> Vec<u64> {
    let mono_ns = |record: &v1::Record| match &record.fact {
        Some(Fact::Marker(marker)) => Some(marker.mono_ns),
        _ => None,
    };
    records.iter().filter_map(mono_ns).collect()
}

#[tokio::test]
async fn every_record_arrives_in_order_over_broken_connections_and_none_is_lost() {
    const COUNT: u64 = 1_000;
    for seed in 0..3 {
        let collector = Collector::start(Behaviour { breaks_after_max: Some(300), seed, ..Default::default() }).await;
        let node = Node::start(&collector.address(), COUNT).await;
        node.delivered().await;
        assert_eq!(node.spool.last_delivery_id().borrow().min(COUNT), COUNT);
        let connections = collector.connections();
        assert!(connections.len() > 2, "seed {seed}: {} connections", connections.len());
        for records in &connections {
            let ids: Vec<_> = records.iter().map(|record| record.delivery_id).collect();
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: in order on each connection");
        }
        assert_eq!(markers(&collector.committed()), (0..COUNT).collect::<Vec<_>>(), "seed {seed}");
        node.stop().await;
    }
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_everything() {
    let address = Collector::free_address().await;
    let node = Node::start(&format!("http://{address}"), 20).await;
    node.spool.append(node.boot, marker(20)).await.expect("the spool takes it without a collector");
    let collector = Collector::start_at(address, Behaviour::default()).await;
    node.delivered().await;
    assert_eq!(markers(&collector.committed()), (0..=20).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test]
async fn a_collector_answers_when_it_is_asked() {
    let collector = Collector::start(Behaviour::default()).await;
    ask(&collector.address()).await.expect("a collector");
}

#[tokio::test]
async fn stopping_delivers_what_is_in_the_spool() {
    let collector = Collector::start(Behaviour::default()).await;
    let node = Node::start(&collector.address(), 2).await;
    node.delivered().await;
    node.spool.append_all(node.boot, (2..500).map(marker).collect()).await.expect("stored");
    let spool = node.spool.clone();
    node.stop().await;
    assert_eq!(markers(&collector.committed()), (0..500).collect::<Vec<_>>());
    assert!(markers(&spool.read(0, usize::MAX).await.expect("readable").records).is_empty());
}

#[tokio::test]
async fn without_a_collector_stopping_is_immediate_and_keeps_the_spool() {
    let address = Collector::free_address().await;
    let node = Node::start(&format!("http://{address}"), 4).await;
    let spool = node.spool.clone();
    node.stop().await;
    assert_eq!(spool.read(0, usize::MAX).await.expect("readable").records.len(), 4);
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent_deletes_nothing() {
    let collector = Collector::start(Behaviour { acknowledges_beyond: true, ..Behaviour::default() }).await;
    let node = Node::start(&collector.address(), 4).await;
    timeout(LIMIT, collector.wait_for_connections(2)).await.expect("it breaks off and tries again");
    assert_eq!(markers(&node.spool.read(0, usize::MAX).await.expect("readable").records).len(), 4);
    node.stop().await;
}

#[tokio::test]
async fn answered_probes_do_not_stand_for_acknowledgements() {
    let collector = Collector::start(Behaviour { never_acknowledges: true, ..Behaviour::default() }).await;
    let node = Node::start_with(&collector.address(), 4, ANSWER_LIMIT).await;
    timeout(LIMIT, collector.wait_for_connections(2)).await.expect("it breaks off and tries again");
    let records = node.spool.read(0, usize::MAX).await.expect("readable").records;
    let probe_count = records.len() - markers(&records).len();
    assert!((1..window::FAST_COUNT as usize).contains(&probe_count), "{probe_count} probes");
    assert_eq!(markers(&records).len(), 4);
    node.stop().await;
}

#[tokio::test]
async fn a_probe_that_was_answered_becomes_a_record() {
    let collector = Collector::start(Behaviour::default()).await;
    let node = Node::start(&collector.address(), 0).await;
    let probe = timeout(
        LIMIT,
        collector.wait_for(|record| match &record.fact {
            Some(Fact::ClockProbe(probe)) => Some(*probe),
            _ => None,
        }),
    );
    let probe = probe.await.expect("a probe within the limit");
    assert_eq!((probe.received_unix_ns, probe.answered_unix_ns), collector::PROBE_ANSWER);
    assert!(probe.sent_mono_ns <= probe.returned_mono_ns);
    node.stop().await;
}

#[tokio::test]
async fn orders_reach_the_executor_and_its_end_the_collector() {
    let collector = Collector::start(Behaviour::default()).await;
    let mut node = Node::start(&collector.address(), 0).await;
    let trial = v1::TrialKey { run_id: "a-1".to_owned(), trial: 3, attempt: 1 };
    let assignment = v1::Assignment { trial: Some(trial.clone()), ..v1::Assignment::default() };
    collector.order(v1::work_response::Item::Assignment(assignment.clone())).await;
    let order = timeout(LIMIT, node.bench.orders.recv()).await.expect("an order");
    assert_eq!(order, Some(Order::Execute(Box::new(assignment))));

    assert_eq!(collector.capabilities(), Some(v1::Capabilities::default()));
    node.bench.board.show(&trial, v1::Phase::Active, 0.5);
    let cancellation = v1::Cancellation { trial: Some(trial.clone()), reason: "enough".to_owned() };
    collector.order(v1::work_response::Item::Cancellation(cancellation)).await;
    let order = timeout(LIMIT, node.bench.orders.recv()).await.expect("an order");
    assert_eq!(order, Some(Order::Cancel { trial: trial.clone(), reason: "enough".to_owned() }));
    let progress = collector.wait_for_work(|item| matches!(item, v1::work_request::Item::Progress(_)));
    timeout(LIMIT, progress).await.expect("progress is told");

    node.bench.board.finish(trial.clone());
    let spooled_delivery_id = Some(*node.spool.last_delivery_id().borrow());
    let finished = v1::work_request::Item::Finished(v1::Finished { trial: Some(trial), spooled_delivery_id });
    timeout(LIMIT, collector.wait_for_work(|item| *item == finished)).await.expect("the end is told");
    node.stop().await;
}

#[tokio::test]
async fn a_reconnect_says_what_is_executing() {
    let collector = Collector::start(Behaviour { breaks_after_max: Some(1), ..Behaviour::default() }).await;
    let node = Node::start(&collector.address(), 0).await;
    let trial = v1::TrialKey { run_id: "a-1".to_owned(), trial: 3, attempt: 1 };
    node.bench.board.show(&trial, v1::Phase::Idle, 0.0);
    node.spool.append_all(node.boot, (0..3).map(marker).collect()).await.expect("stored");
    let running = |item: &v1::work_request::Item| match item {
        v1::work_request::Item::Hello(hello) => hello.running.as_ref() == Some(&trial),
        _ => false,
    };
    timeout(LIMIT, collector.wait_for_work(running)).await.expect("a hello with the trial");
    node.stop().await;
}

mod artifacts {
    use tinywatt_proto::ids::Sha256;

    use super::*;
    use crate::link::artifacts::{ARTIFACT_BYTES_MAX, ArtifactError, Artifacts, Content, UploadError};

    fn reference(content: &[u8]) -> v1::ArtifactRef {
        let sha256 = Sha256::of(content).0.to_vec();
        v1::ArtifactRef { sha256, size_bytes: content.len() as u64, name: "model".to_owned() }
    }

    fn content() -> Vec<u8> {
        (0..300_000u32).flat_map(u32::to_le_bytes).collect()
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_stopped() {
        let behaviour = Behaviour { artifact_breaks_after: Some(400_000), ..Behaviour::default() };
        let collector = Collector::start(behaviour).await;
        let dir = tempfile::tempdir().expect("a folder");
        let content = content();
        collector.put(content.clone());
        let artifacts = Artifacts::new(dir.path(), &endpoint(&collector.address()).expect("an address"));
        let path = timeout(LIMIT, artifacts.fetch("model", Some(&reference(&content)), |_| ())).await;
        let path = path.expect("in time").expect("fetched");
        assert_eq!(std::fs::read(&path).expect("there"), content);
        let offsets = collector.offsets();
        assert!(offsets.len() >= 3 && offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");

        let again = artifacts.fetch("model", Some(&reference(&content)), |_| ()).await.expect("cached");
        assert_eq!(again, path);
        assert_eq!(collector.offsets().len(), offsets.len(), "the cache answers alone");
    }

    #[tokio::test]
    async fn a_damaged_file_in_the_cache_is_fetched_anew() {
        let collector = Collector::start(Behaviour::default()).await;
        let dir = tempfile::tempdir().expect("a folder");
        let content = content();
        collector.put(content.clone());
        let artifacts = Artifacts::new(dir.path(), &endpoint(&collector.address()).expect("an address"));
        let path = artifacts.fetch("model", Some(&reference(&content)), |_| ()).await.expect("fetched");
        std::fs::write(&path, "damaged").expect("written");
        std::fs::write(path.with_extension("part"), "left by a power cut").expect("written");
        artifacts.fetch("model", Some(&reference(&content)), |_| ()).await.expect("fetched again");
        assert_eq!(std::fs::read(&path).expect("there"), content);
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_named() {
        let collector = Collector::start(Behaviour::default()).await;
        let dir = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::new(dir.path(), &endpoint(&collector.address()).expect("an address"));
        let missing = artifacts.fetch("model", Some(&reference(b"unknown")), |_| ()).await.expect_err("not there");
        assert!(matches!(missing, ArtifactError::Missing { .. }), "{missing}");

        let huge = v1::ArtifactRef { size_bytes: ARTIFACT_BYTES_MAX + 1, ..reference(b"x") };
        let too_large = artifacts.fetch("model", Some(&huge), |_| ()).await.expect_err("too large");
        assert!(matches!(too_large, ArtifactError::TooLarge { .. }), "{too_large}");

        collector.put_as(reference(b"right").sha256, b"wrong".to_vec());
        let wrong = artifacts.fetch("model", Some(&reference(b"right")), |_| ()).await.expect_err("another content");
        assert!(matches!(wrong, ArtifactError::Checksum { .. }), "{wrong}");
        let nameless = artifacts.fetch("inputs", None, |_| ()).await.expect_err("no reference");
        assert!(nameless.to_string().contains("inputs"), "{nameless}");
    }

    #[tokio::test]
    async fn what_was_made_here_gets_there_over_broken_uploads_and_only_once() {
        let collector = Collector::start(Behaviour { upload_break_count: 2, ..Behaviour::default() }).await;
        let dir = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::new(dir.path(), &endpoint(&collector.address()).expect("an address"));
        let file = dir.path().join("model.pt");
        std::fs::write(&file, content()).expect("written");
        let mut parts = Vec::new();
        let put =
            artifacts.put("model.pt", &Content::File(file.clone()), |part| parts.push(part)).await.expect("there");
        assert_eq!(put, v1::ArtifactRef { name: "model.pt".to_owned(), ..reference(&content()) });
        assert_eq!(collector.artifact(&put.sha256), Some(content()));
        assert!((parts.last().expect("told") - 1.0).abs() < 1e-12);
        artifacts.put("again.pt", &Content::Bytes(content()), |_| ()).await.expect("there already");
        assert_eq!(collector.upload_count(), 1);

        let nothing = artifacts.put("empty", &Content::Bytes(Vec::new()), |_| ()).await.expect("there");
        assert_eq!((nothing.size_bytes, collector.artifact(&nothing.sha256)), (0, Some(Vec::new())));
        std::fs::remove_file(&file).expect("there");
        let gone = artifacts.put("model.pt", &Content::File(file), |_| ()).await.expect_err("not there");
        assert!(matches!(gone, UploadError::Read { .. }), "{gone}");
    }

    #[tokio::test]
    async fn a_refused_upload_is_not_tried_again() {
        let collector = Collector::start(Behaviour { refuses_uploads: true, ..Behaviour::default() }).await;
        let dir = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::new(dir.path(), &endpoint(&collector.address()).expect("an address"));
        let refused = timeout(LIMIT, artifacts.put("model.pt", &Content::Bytes(content()), |_| ())).await;
        let refused = refused.expect("at once").expect_err("no room");
        let said = tinywatt_proto::chain::Chain(&refused).to_string();
        assert_eq!(said, "the collector does not take 'model.pt': there is no room");
    }
}
