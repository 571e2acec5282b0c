//! A collector in this process. It commits what it has read so far, and breaks connections when told to.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tinywatt_proto::v1;
use tinywatt_proto::v1::{deliver_request, deliver_response, work_request, work_response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// What every probe is answered with.
pub(crate) const PROBE_ANSWER: (u64, u64) = (1_700_000_000_000_000_000, 1_700_000_000_000_001_000);

type Down<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Breaks each connection after some records, at most so many; some of them are then not acknowledged.
    pub(crate) breaks_after_max: Option<u64>,
    pub(crate) seed: u64,
    /// Answers probes, and acknowledges nothing.
    pub(crate) never_acknowledges: bool,
    /// Acknowledges more than it got.
    pub(crate) acknowledges_beyond: bool,
    /// Breaks each transfer of an artifact after so many bytes.
    pub(crate) artifact_breaks_after: Option<usize>,
    /// Breaks so many uploads in their middle before it takes one.
    pub(crate) upload_break_count: u32,
    /// Takes no upload.
    pub(crate) refuses_uploads: bool,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    connections: Vec<Vec<v1::Record>>,
    /// By key: a record with a known key changes nothing.
    committed: BTreeMap<u64, v1::Record>,
    known: HashMap<(Vec<u8>, Option<u32>, u64), u64>,
    work: Vec<work_request::Item>,
    orders: Option<mpsc::Sender<Result<v1::WorkResponse, Status>>>,
    artifacts: HashMap<Vec<u8>, Vec<u8>>,
    offsets: Vec<u64>,
    capabilities: Option<v1::Capabilities>,
    upload_count: u32,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct Collector {
    address: SocketAddr,
    shared: Shared,
    server: JoinHandle<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    pub(crate) async fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("bound")
    }

    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour).await
    }

    pub(crate) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("bound");
        let shared = Shared(Arc::new(Mutex::new(State { behaviour, ..State::default() })));
        let serving = tonic::transport::Server::builder()
            .add_service(v1::node_service_server::NodeServiceServer::new(shared.clone()))
            .add_service(v1::telemetry_service_server::TelemetryServiceServer::new(shared.clone()))
            .add_service(v1::assignment_service_server::AssignmentServiceServer::new(shared.clone()))
            .add_service(v1::artifact_service_server::ArtifactServiceServer::new(shared.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.expect("serves") });
        Self { address, shared, server }
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived, connection by connection.
    pub(crate) fn connections(&self) -> Vec<Vec<v1::Record>> {
        self.shared.lock().connections.clone()
    }

    /// What is committed, each key once, in delivery order.
    pub(crate) fn committed(&self) -> Vec<v1::Record> {
        self.shared.lock().committed.values().cloned().collect()
    }

    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.shared.lock().offsets.clone()
    }

    pub(crate) fn put(&self, content: Vec<u8>) {
        self.put_as(tinywatt_proto::ids::Sha256::of(&content).0.to_vec(), content);
    }

    pub(crate) fn put_as(&self, sha256: Vec<u8>, content: Vec<u8>) {
        self.shared.lock().artifacts.insert(sha256, content);
    }

    /// What the agent said last that it can do.
    pub(crate) fn capabilities(&self) -> Option<v1::Capabilities> {
        self.shared.lock().capabilities.clone()
    }

    /// What is kept under a name.
    pub(crate) fn artifact(&self, sha256: &[u8]) -> Option<Vec<u8>> {
        self.shared.lock().artifacts.get(sha256).cloned()
    }

    /// Uploads that were taken.
    pub(crate) fn upload_count(&self) -> u32 {
        self.shared.lock().upload_count
    }

    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(&self.shared.lock()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn wait_for_connections(&self, count: usize) {
        self.until(|state| (state.connections.len() >= count).then_some(())).await;
    }

    pub(crate) async fn wait_for<T>(&self, look: impl Fn(&v1::Record) -> Option<T>) -> T {
        self.until(|state| state.committed.values().find_map(&look)).await
    }

    pub(crate) async fn wait_for_work(&self, is_it: impl Fn(&work_request::Item) -> bool) {
        self.until(|state| state.work.iter().any(&is_it).then_some(())).await;
    }

    pub(crate) async fn order(&self, item: work_response::Item) {
        let orders = self.until(|state| state.orders.clone()).await;
        orders.send(Ok(v1::WorkResponse { item: Some(item) })).await.expect("the agent listens");
    }
}

impl State {
    fn commit(&mut self, record: v1::Record) {
        let channel = match &record.fact {
            Some(v1::record::Fact::Batch(batch)) => Some(batch.channel),
            _ => None,
        };
        let key = (record.boot_id.clone(), channel, record.sequence);
        let first = *self.known.entry(key).or_insert(record.delivery_id);
        assert_eq!(first, record.delivery_id, "one key, one record");
        self.committed.insert(record.delivery_id, record);
    }
}

#[tonic::async_trait]
impl v1::node_service_server::NodeService for Shared {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        self.lock().capabilities = request.into_inner().capabilities;
        Ok(Response::new(v1::RegisterResponse { collector_version: "0.0.0".to_owned() }))
    }
}

#[tonic::async_trait]
impl v1::telemetry_service_server::TelemetryService for Shared {
    type DeliverStream = Down<v1::DeliverResponse>;

    async fn deliver(
        &self,
        request: Request<Streaming<v1::DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let mut up = request.into_inner();
        let (down, answers) = mpsc::channel(16);
        let shared = self.clone();
        let (connection, behaviour) = {
            let mut state = shared.lock();
            state.connections.push(Vec::new());
            (state.connections.len() - 1, state.behaviour.clone())
        };
        let mut rng = ChaCha8Rng::seed_from_u64(behaviour.seed.wrapping_add(connection as u64 * 1_000));
        let breaks_after = behaviour.breaks_after_max.map(|max| rng.random_range(1..=max));
        tokio::spawn(async move {
            let (mut count, mut last) = (0, None);
            loop {
                // Cumulative: not every record is acknowledged by itself, but the last of a burst is.
                let Ok(arrived) = timeout(Duration::from_millis(20), up.message()).await else {
                    if let Some(delivery_id) = last.take() {
                        let item = deliver_response::Item::Acknowledgement(v1::Acknowledgement { delivery_id });
                        let _ = down.send(Ok(v1::DeliverResponse { item: Some(item) })).await;
                    }
                    continue;
                };
                let Ok(Some(message)) = arrived else { return };
                let item = match message.item {
                    Some(deliver_request::Item::Record(_)) if behaviour.never_acknowledges => None,
                    Some(deliver_request::Item::Record(record)) => {
                        count += 1;
                        let delivery_id = record.delivery_id;
                        {
                            let mut state = shared.lock();
                            state.connections[connection].push(record.clone());
                            // Committed, and the acknowledgement may still get lost.
                            state.commit(record);
                        }
                        if breaks_after.is_some_and(|limit| count >= limit) {
                            let _ = down.send(Err(Status::unavailable("broken by the test"))).await;
                            return;
                        }
                        let is_told = breaks_after.is_none() || rng.random_bool(0.5);
                        last = (!is_told).then_some(delivery_id);
                        let ahead = u64::from(behaviour.acknowledges_beyond) * 1_000;
                        is_told.then_some(deliver_response::Item::Acknowledgement(v1::Acknowledgement {
                            delivery_id: delivery_id + ahead,
                        }))
                    }
                    Some(deliver_request::Item::Probe(probe)) => {
                        Some(deliver_response::Item::Probe(v1::ProbeResponse {
                            sent_mono_ns: probe.sent_mono_ns,
                            received_unix_ns: PROBE_ANSWER.0,
                            answered_unix_ns: PROBE_ANSWER.1,
                        }))
                    }
                    Some(deliver_request::Item::Hello(_)) | None => None,
                };
                if let Some(item) = item
                    && down.send(Ok(v1::DeliverResponse { item: Some(item) })).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

#[tonic::async_trait]
impl v1::assignment_service_server::AssignmentService for Shared {
    type WorkStream = Down<v1::WorkResponse>;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let mut up = request.into_inner();
        let (orders, down) = mpsc::channel(4);
        let shared = self.clone();
        shared.lock().orders = Some(orders);
        tokio::spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                shared.lock().work.extend(message.item);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(down))))
    }
}

#[tonic::async_trait]
impl v1::artifact_service_server::ArtifactService for Shared {
    type GetStream = Down<v1::GetResponse>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let v1::GetRequest { sha256, offset } = request.into_inner();
        let mut state = self.lock();
        state.offsets.push(offset);
        let content = state.artifacts.get(&sha256).ok_or_else(|| Status::not_found("no such artifact"))?;
        let rest = &content[usize::try_from(offset).expect("small")..];
        let part = &rest[..state.behaviour.artifact_breaks_after.unwrap_or(rest.len()).min(rest.len())];
        let mut messages: Vec<_> = part
            .chunks(tinywatt_proto::CHUNK_BYTES_MAX)
            .map(|chunk| Ok(v1::GetResponse { chunk: chunk.to_vec() }))
            .collect();
        if part.len() < rest.len() {
            messages.push(Err(Status::unavailable("broken by the test")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn has(&self, request: Request<v1::HasRequest>) -> Result<Response<v1::HasResponse>, Status> {
        let names = request.into_inner().sha256;
        let state = self.lock();
        let present = names.iter().map(|name| state.artifacts.contains_key(name)).collect();
        Ok(Response::new(v1::HasResponse { present }))
    }

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<v1::PutResponse>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap_or_default();
        let (Some(sha256), Some(size_bytes)) = (first.sha256, first.size_bytes) else {
            return Err(Status::invalid_argument("the first message has the name and the size"));
        };
        if self.lock().behaviour.refuses_uploads {
            return Err(Status::resource_exhausted("there is no room"));
        }
        {
            let mut state = self.lock();
            if state.behaviour.upload_break_count > 0 {
                state.behaviour.upload_break_count -= 1;
                return Err(Status::unavailable("broken by the test"));
            }
        }
        let mut content = first.chunk;
        while let Some(next) = requests.message().await? {
            assert!(next.sha256.is_none() && next.chunk.len() <= tinywatt_proto::CHUNK_BYTES_MAX);
            content.extend(next.chunk);
        }
        if content.len() as u64 != size_bytes || tinywatt_proto::ids::Sha256::of(&content).0 != sha256[..] {
            return Err(Status::data_loss("another content"));
        }
        let mut state = self.lock();
        state.upload_count += 1;
        state.artifacts.insert(sha256, content);
        Ok(Response::new(v1::PutResponse {}))
    }
}
