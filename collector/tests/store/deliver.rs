//! The services over a real connection.

use std::time::Duration;

use tinywatt_collector::ingest::{OUTCOME_QUEUE_COUNT, OutcomeCommitted};
use tinywatt_collector::service::{artifact, node as node_service, telemetry};
use tinywatt_collector::store::Store;
use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::v1::artifact_service_server::ArtifactServiceServer;
use tinywatt_proto::v1::deliver_request::Item as Up;
use tinywatt_proto::v1::deliver_response::Item as Down;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tinywatt_proto::v1::node_service_server::NodeServiceServer;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::telemetry_service_client::TelemetryServiceClient;
use tinywatt_proto::v1::telemetry_service_server::TelemetryServiceServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status, Streaming};

use crate::scenario::{batch, boot, channel, node, outcome, record, registration};

/// Longest wait for anything; on a busy machine a flush takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

struct Collector {
    store: Store,
    outcomes: mpsc::Receiver<OutcomeCommitted>,
    stopping: CancellationToken,
    channel: Channel,
    folder: tempfile::TempDir,
}

async fn collector() -> Collector {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (sender, outcomes) = mpsc::channel(OUTCOME_QUEUE_COUNT);
    let stopping = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let telemetry = telemetry::Telemetry::with_stopping(store.clone(), sender, stopping.clone());
    let server = Server::builder()
        .add_service(NodeServiceServer::new(node_service::Node::new(store.clone())))
        .add_service(TelemetryServiceServer::new(telemetry))
        .add_service(ArtifactServiceServer::new(artifact::Artifact::new(store.artifacts())));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Collector { store, outcomes, stopping, channel, folder }
}

/// An agent's end of a stream of records.
struct Agent {
    up: mpsc::Sender<v1::DeliverRequest>,
    down: Streaming<v1::DeliverResponse>,
}

impl Agent {
    async fn connect(collector: &Collector) -> Self {
        let (up, requests) = mpsc::channel(16);
        let mut client = TelemetryServiceClient::new(collector.channel.clone());
        let down = client.deliver(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Self { up, down }
    }

    /// Registers, connects and says hello.
    async fn registered(collector: &Collector) -> Self {
        NodeServiceClient::new(collector.channel.clone()).register(registration()).await.unwrap();
        let agent = Self::connect(collector).await;
        agent.send(Up::Hello(hello())).await;
        agent
    }

    async fn send(&self, item: Up) {
        self.up.send(v1::DeliverRequest { item: Some(item) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<Down, Status> {
        let message = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("the collector answers")?;
        Ok(message.expect("the stream goes on").item.expect("an answer has content"))
    }

    async fn acknowledged(&mut self, delivery_id: u64) {
        loop {
            if let Down::Acknowledgement(ack) = self.next().await.unwrap() {
                assert!(ack.delivery_id <= delivery_id);
                if ack.delivery_id == delivery_id {
                    return;
                }
            }
        }
    }
}

fn hello() -> v1::DeliverHello {
    v1::DeliverHello { node: node().to_string(), boot_id: boot(1).to_vec() }
}

fn three_records() -> [v1::Record; 3] {
    [
        record(11, boot(1), 0, Fact::ChannelOpened(channel(0))),
        record(12, boot(1), 0, Fact::Batch(batch(0, 0))),
        record(13, boot(1), 1, Fact::Outcome(outcome("run", 0))),
    ]
}

#[tokio::test]
async fn records_are_acknowledged_and_an_outcome_is_passed_on_once_over_reconnects() {
    let mut collector = collector().await;
    for _ in 0..2 {
        let mut agent = Agent::registered(&collector).await;
        for record in three_records() {
            agent.send(Up::Record(record)).await;
        }
        agent.acknowledged(13).await;
    }
    let passed_on = collector.outcomes.recv().await.unwrap();
    assert_eq!(passed_on, OutcomeCommitted { node: node(), outcome: outcome("run", 0) });
    assert!(collector.outcomes.try_recv().is_err(), "passed on once");
    let counts = collector.store.node_counts(&node()).await.unwrap().unwrap();
    assert_eq!((counts.record_count, counts.duplicate_count, counts.missing_count), (3, 3, 0));
}

#[tokio::test]
async fn samples_that_may_wait_for_other_nodes_are_acknowledged_without_them() {
    let collector = collector().await;
    let mut agent = Agent::registered(&collector).await;
    agent.send(Up::Record(record(1, boot(1), 0, Fact::ChannelOpened(channel(0))))).await;
    agent.acknowledged(1).await;
    agent.send(Up::Record(record(2, boot(1), 0, Fact::Batch(batch(0, 0))))).await;
    agent.acknowledged(2).await;
}

#[tokio::test]
async fn what_was_sent_before_the_agent_vanished_is_committed_and_its_outcome_passed_on() {
    let mut collector = collector().await;
    let agent = Agent::registered(&collector).await;
    for record in three_records() {
        agent.send(Up::Record(record)).await;
    }
    let Agent { up, down } = agent;
    drop(up);
    let passed_on = tokio::time::timeout(PATIENCE, collector.outcomes.recv()).await.unwrap();
    assert_eq!(passed_on.unwrap().outcome, outcome("run", 0));
    drop(down);
}

#[tokio::test]
async fn a_probe_is_answered_with_two_stamps_in_order() {
    let collector = collector().await;
    let mut agent = Agent::registered(&collector).await;
    let before = tinywatt_collector::clock::unix_ns();
    agent.send(Up::Probe(v1::ProbeRequest { sent_mono_ns: 123 })).await;
    let Down::Probe(probe) = agent.next().await.unwrap() else { panic!("a probe was sent") };
    assert_eq!(probe.sent_mono_ns, 123);
    assert!(before <= probe.received_unix_ns && probe.received_unix_ns <= probe.answered_unix_ns);
}

#[tokio::test]
async fn a_stranger_is_told_to_register_first() {
    let collector = collector().await;
    let mut agent = Agent::connect(&collector).await;
    agent.send(Up::Hello(hello())).await;
    let status = agent.next().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("pi-4") && status.message().contains("register"), "{status}");

    let _registered = Agent::registered(&collector).await;
    let mut agent = Agent::connect(&collector).await;
    agent.send(Up::Hello(v1::DeliverHello { boot_id: boot(9).to_vec(), ..hello() })).await;
    assert_eq!(agent.next().await.unwrap_err().code(), Code::FailedPrecondition, "another boot");
}

#[tokio::test]
async fn a_stream_that_breaks_the_rules_is_ended_with_the_rule() {
    let collector = collector().await;
    let mut agent = Agent::connect(&collector).await;
    agent.send(Up::Probe(v1::ProbeRequest::default())).await;
    assert!(agent.next().await.unwrap_err().message().contains("begins with one hello"));

    let mut agent = Agent::registered(&collector).await;
    agent.send(Up::Record(record(7, boot(1), 0, Fact::ChannelOpened(channel(0))))).await;
    agent.send(Up::Record(record(7, boot(1), 0, Fact::Batch(batch(0, 0))))).await;
    let status = loop {
        match agent.next().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("delivery id 7 after 7"), "{status}");

    let mut agent = Agent::registered(&collector).await;
    agent.up.send(v1::DeliverRequest { item: None }).await.unwrap();
    assert!(agent.next().await.unwrap_err().message().contains("update the collector"));

    let bad = v1::RegisterRequest { node: "No Name".to_owned(), ..registration() };
    let status = NodeServiceClient::new(collector.channel.clone()).register(bad).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("'No Name'"), "{status}");
}

#[tokio::test]
async fn a_failed_commit_ends_the_stream_at_once_with_the_reason() {
    let collector = collector().await;
    let mut agent = Agent::registered(&collector).await;
    // An answer, so that the hello was accepted before the node vanishes from the store.
    agent.send(Up::Probe(v1::ProbeRequest::default())).await;
    agent.next().await.unwrap();
    let database = rusqlite::Connection::open(collector.folder.path().join("tinywatt.db")).unwrap();
    database.execute_batch("DELETE FROM boot; DELETE FROM node").unwrap();
    // The agent has sent all it may and waits: nothing more comes that could show the collector the failure.
    agent.send(Up::Record(record(1, boot(1), 0, Fact::ChannelOpened(channel(0))))).await;
    let status = agent.next().await.unwrap_err();
    assert!(status.code() == Code::FailedPrecondition && status.message().contains("register"), "{status}");
}

#[tokio::test]
async fn a_stopping_collector_ends_streams_and_keeps_what_it_received() {
    let collector = collector().await;
    let mut agent = Agent::registered(&collector).await;
    for record in three_records() {
        agent.send(Up::Record(record)).await;
    }
    agent.acknowledged(13).await;
    collector.stopping.cancel();
    assert_eq!(agent.next().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(collector.store.node_counts(&node()).await.unwrap().unwrap().record_count, 3);
}

#[tokio::test]
async fn an_artifact_goes_up_and_comes_back_from_any_offset() {
    let collector = collector().await;
    let mut client = ArtifactServiceClient::new(collector.channel.clone());
    let content: Vec<u8> = (0..200_000u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let sha256 = Sha256::of(&content);
    let put = |name: Sha256| {
        let mut requests: Vec<v1::PutRequest> = content
            .chunks(CHUNK_BYTES_MAX)
            .map(|chunk| v1::PutRequest { chunk: chunk.to_vec(), ..Default::default() })
            .collect();
        requests[0].sha256 = Some(name.0.to_vec());
        requests[0].size_bytes = Some(200_000);
        tokio_stream::iter(requests)
    };
    let wrong = client.put(put(Sha256::of(b"else"))).await.unwrap_err();
    assert!(wrong.code() == Code::DataLoss && wrong.message().contains(&sha256.to_string()), "{wrong}");
    client.put(put(sha256)).await.unwrap();
    client.put(put(sha256)).await.unwrap();
    let names = [sha256, Sha256::of(b"else")].map(|name| name.0.to_vec()).to_vec();
    assert_eq!(client.has(v1::HasRequest { sha256: names }).await.unwrap().into_inner().present, [true, false]);
    for offset in [0usize, 1, 65_536, 199_999, 200_000] {
        let request = v1::GetRequest { sha256: sha256.0.to_vec(), offset: u64::try_from(offset).unwrap() };
        let mut chunks = client.get(request).await.unwrap().into_inner();
        let mut received = Vec::new();
        while let Some(response) = chunks.next().await {
            received.extend(response.unwrap().chunk);
        }
        assert_eq!(received, content[offset..]);
    }
    let request = v1::GetRequest { sha256: vec![0; 32], offset: 0 };
    assert_eq!(client.get(request).await.unwrap_err().code(), Code::NotFound);
}
