//! A scripted agent: it speaks the whole protocol and measures nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tinywatt_proto::columns::Encoder;
use tinywatt_proto::ids::{AttemptId, BootId, Sha256};
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::v1::assignment_service_client::AssignmentServiceClient;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::telemetry_service_client::TelemetryServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// What the agent does with an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Delivers samples and an outcome; of a job also what it made.
    Complete,
    /// Like `Complete`, but the window ends with the clock, and a day later there are readings once more.
    CompleteForEver,
    /// Like `Complete`, but a job hands in its log alone.
    CompleteEmpty,
    /// Delivers the outcome of a trial that failed.
    Fail,
    /// Goes on until it is cancelled.
    Linger,
    /// Goes on until it is released or cancelled, whether it is connected or not; then like `Complete`.
    Hold,
    /// Dies, and is started anew at once.
    Die,
    /// Loses its connections, and stays away until it is called back.
    StayAway,
}

/// Time that each record of a backlog takes.
pub(crate) const BACKLOG_PACE: Duration = Duration::from_millis(250);

/// Says what to do with each attempt.
pub(crate) type Script = Arc<dyn Fn(&AttemptId) -> Act + Send + Sync>;

/// The test's view of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    seen: Arc<Mutex<Seen>>,
    away: watch::Sender<bool>,
    released: watch::Sender<bool>,
    rebooted: Arc<AtomicBool>,
    backlog: Arc<AtomicU64>,
    is_old: Arc<AtomicBool>,
    first_boot: BootId,
}

#[derive(Debug, Default)]
struct Seen {
    assigned: Vec<String>,
    assignments: Vec<v1::Assignment>,
    cancelled: Vec<String>,
}

impl Agent {
    /// Starts an agent that finds its collector at `address`, whatever it is at the time.
    pub(crate) fn start(address: watch::Receiver<SocketAddr>, node: &str, script: Script) -> Self {
        let first_boot = BootId::random();
        let agent = Self {
            seen: Arc::default(),
            away: watch::Sender::new(false),
            released: watch::Sender::new(false),
            rebooted: Arc::default(),
            backlog: Arc::default(),
            is_old: Arc::default(),
            first_boot,
        };
        let mut life = Life {
            address,
            node: node.to_owned(),
            boot: first_boot,
            script,
            seen: agent.seen.clone(),
            away: agent.away.clone(),
            released: agent.released.subscribe(),
            rebooted: agent.rebooted.clone(),
            backlog: agent.backlog.clone(),
            is_old: agent.is_old.clone(),
            held: None,
            spool: VecDeque::new(),
            delivery_id: 0,
            batch_sequence: 0,
            fact_sequence: 0,
            executing: None,
            workload: None,
        };
        tokio::spawn(async move {
            loop {
                if let Ok(End::Died) = life.live().await {
                    // The spool outlives it.
                    life.boot = BootId::random();
                    (life.batch_sequence, life.fact_sequence, life.executing) = (0, 0, None);
                    life.held = None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        agent
    }

    /// Its first start.
    pub(crate) fn boot(&self) -> BootId {
        self.first_boot
    }

    /// All attempts it was given.
    pub(crate) fn assigned(&self) -> Vec<String> {
        self.seen.lock().unwrap().assigned.clone()
    }

    /// All assignments, as they came.
    pub(crate) fn assignments(&self) -> Vec<v1::Assignment> {
        self.seen.lock().unwrap().assignments.clone()
    }

    /// All attempts it was told to stop.
    pub(crate) fn cancelled(&self) -> Vec<String> {
        self.seen.lock().unwrap().cancelled.clone()
    }

    /// Cuts its connections, and keeps it from making new ones.
    pub(crate) fn send_away(&self) {
        self.away.send_replace(true);
    }

    /// Lets it connect again.
    pub(crate) fn call_back(&self) {
        self.away.send_replace(false);
    }

    /// Ends an [`Act::Hold`].
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// While it is away: starts it anew. The outcome of what was released before is in its spool.
    pub(crate) fn reboot(&self) {
        self.rebooted.store(true, Ordering::SeqCst);
    }

    /// While it is away: makes the outcome of what was released lie behind so many records, which take their time.
    pub(crate) fn pile_up(&self, record_count: u64) {
        self.backlog.store(record_count, Ordering::SeqCst);
    }

    /// From its next connection on it does not say how far its spool goes.
    pub(crate) fn make_old(&self) {
        self.is_old.store(true, Ordering::SeqCst);
    }
}

/// Why a connection ended, as the agent wanted it.
enum End {
    Died,
    Left,
}

struct Life {
    address: watch::Receiver<SocketAddr>,
    node: String,
    boot: BootId,
    script: Script,
    seen: Arc<Mutex<Seen>>,
    away: watch::Sender<bool>,
    released: watch::Receiver<bool>,
    rebooted: Arc<AtomicBool>,
    backlog: Arc<AtomicU64>,
    is_old: Arc<AtomicBool>,
    /// What goes on until it is released.
    held: Option<AttemptId>,
    /// What was not acknowledged yet.
    spool: VecDeque<v1::Record>,
    /// The newest record of the spool.
    delivery_id: u64,
    batch_sequence: u64,
    fact_sequence: u64,
    executing: Option<AttemptId>,
    /// What the last assignment was about.
    workload: Option<v1::assignment::Workload>,
}

struct Streams {
    artifacts: ArtifactServiceClient<Channel>,
    work: mpsc::Sender<v1::WorkRequest>,
    work_in: Streaming<v1::WorkResponse>,
    records: mpsc::Sender<v1::DeliverRequest>,
    records_in: Streaming<v1::DeliverResponse>,
}

impl Life {
    async fn live(&mut self) -> anyhow::Result<End> {
        let mut away = self.away.subscribe();
        let mut released = self.released.clone();
        becomes(&mut away, false).await;
        if *released.borrow()
            && let Some(attempt) = self.held.take()
        {
            self.end_offline(&attempt);
        }
        if self.rebooted.swap(false, Ordering::SeqCst) {
            return Ok(End::Died);
        }
        let mut streams = self.connect().await?;
        self.deliver(&mut streams, Fact::ChannelOpened(rail())).await?;
        loop {
            let message = tokio::select! {
                message = streams.work_in.message() => message?,
                () = becomes(&mut released, true), if self.held.is_some() => {
                    let attempt = self.held.take().expect("just seen");
                    self.complete(&mut streams, &attempt, &["model", "checkpoint"]).await?;
                    continue;
                }
                () = becomes(&mut away, true) => return Ok(End::Left),
            };
            let Some(message) = message else { break };
            match message.item.expect("no empty message") {
                v1::work_response::Item::Assignment(assignment) => {
                    assert_eq!(self.executing, None, "two at a time");
                    assert_eq!(assignment.channel, "rail");
                    assert!(assignment.workload.is_some());
                    let attempt = AttemptId::try_from(assignment.trial.as_ref().expect("a trial")).expect("a key");
                    {
                        let mut seen = self.seen.lock().unwrap();
                        seen.assigned.push(attempt.to_string());
                        seen.assignments.push(assignment.clone());
                    }
                    self.workload = assignment.workload;
                    self.executing = Some(attempt.clone());
                    let trial = Some(v1::TrialKey::from(&attempt));
                    let job = matches!(self.workload, Some(v1::assignment::Workload::Job(_))).then(training);
                    let progress = v1::Progress { trial, phase: v1::Phase::Idle.into(), fraction: 0.5, job };
                    say(&streams.work, v1::work_request::Item::Progress(progress)).await?;
                    match (self.script)(&attempt) {
                        Act::Complete => self.complete(&mut streams, &attempt, &["model", "checkpoint"]).await?,
                        Act::CompleteForEver => self.complete_for_ever(&mut streams, &attempt).await?,
                        Act::CompleteEmpty => self.complete(&mut streams, &attempt, &[]).await?,
                        Act::Fail => self.fail(&mut streams, &attempt, v1::FailureReason::Worker).await?,
                        Act::Linger => {}
                        Act::Hold => self.held = Some(attempt),
                        Act::Die => return Ok(End::Died),
                        Act::StayAway => {
                            self.away.send_replace(true);
                        }
                    }
                }
                v1::work_response::Item::Cancellation(cancellation) => {
                    let attempt = AttemptId::try_from(cancellation.trial.as_ref().expect("a trial")).expect("a key");
                    self.seen.lock().unwrap().cancelled.push(attempt.to_string());
                    if self.executing.as_ref() == Some(&attempt) {
                        self.held = None;
                        self.fail(&mut streams, &attempt, v1::FailureReason::Cancelled).await?;
                    }
                }
            }
        }
        Ok(End::Left)
    }

    async fn connect(&self) -> anyhow::Result<Streams> {
        let address = *self.address.borrow();
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        let register = v1::RegisterRequest {
            node: self.node.clone(),
            boot_id: self.boot.to_vec(),
            agent_version: "0.0.0".to_owned(),
            capabilities: Some(v1::Capabilities {
                channels: vec![rail()],
                runtimes: ["litert", "job"]
                    .map(|name| v1::Runtime { name: name.to_owned(), version: "1".to_owned() })
                    .to_vec(),
                ..Default::default()
            }),
        };
        NodeServiceClient::new(channel.clone()).register(register).await?;
        let (records, outbound) = mpsc::channel(16);
        let hello = v1::DeliverHello { node: self.node.clone(), boot_id: self.boot.to_vec() };
        records.send(v1::DeliverRequest { item: Some(v1::deliver_request::Item::Hello(hello)) }).await?;
        let mut telemetry = TelemetryServiceClient::new(channel.clone());
        let records_in = telemetry.deliver(ReceiverStream::new(outbound)).await?.into_inner();
        let (work, outbound) = mpsc::channel(16);
        let running = self.executing.as_ref().map(v1::TrialKey::from);
        let spooled_delivery_id = (!self.is_old.load(Ordering::SeqCst)).then_some(self.delivery_id);
        let hello =
            v1::WorkHello { node: self.node.clone(), boot_id: self.boot.to_vec(), running, spooled_delivery_id };
        say(&work, v1::work_request::Item::Hello(hello)).await?;
        let mut assignments = AssignmentServiceClient::new(channel.clone());
        let work_in = assignments.work(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(Streams { artifacts: ArtifactServiceClient::new(channel), work, work_in, records, records_in })
    }

    async fn complete_for_ever(&mut self, streams: &mut Streams, attempt: &AttemptId) -> anyhow::Result<()> {
        let start = self.next_start();
        self.sample(streams, start).await?;
        self.sample(streams, start + 86_400_000_000_000).await?;
        let window = v1::Window { end_mono_ns: u64::MAX, ..active(start) };
        let completed = v1::Completed { windows: vec![window], ..Default::default() };
        self.end(streams, attempt, v1::trial_outcome::Result::Completed(completed)).await
    }

    async fn sample(&mut self, streams: &mut Streams, start: u64) -> anyhow::Result<()> {
        self.deliver(streams, Fact::Batch(readings(start))).await
    }

    /// Ends an inference as [`Self::complete`] does, but nobody hears of it yet.
    fn end_offline(&mut self, attempt: &AttemptId) {
        assert!(!matches!(self.workload, Some(v1::assignment::Workload::Job(_))), "a job hands in what it made");
        let start = self.next_start();
        self.append(Fact::Batch(readings(start)));
        for _ in 0..self.backlog.load(Ordering::SeqCst) {
            self.append(Fact::ChannelOpened(rail()));
        }
        let completed = v1::Completed { windows: vec![active(start)], ..Default::default() };
        let outcome = self.outcome(attempt, v1::trial_outcome::Result::Completed(completed));
        self.append(Fact::Outcome(outcome));
        self.executing = None;
    }

    /// Where the next batch begins.
    fn next_start(&self) -> u64 {
        (self.batch_sequence + 1) * 1_000_000_000
    }

    async fn complete(&mut self, streams: &mut Streams, attempt: &AttemptId, roles: &[&str]) -> anyhow::Result<()> {
        let start = self.next_start();
        self.sample(streams, start).await?;
        let job = match self.workload.clone() {
            Some(v1::assignment::Workload::Job(job)) => Some(hand_in(streams, attempt, &job, roles).await?),
            _ => None,
        };
        let completed = v1::Completed { windows: vec![active(start)], job, ..Default::default() };
        self.end(streams, attempt, v1::trial_outcome::Result::Completed(completed)).await
    }

    async fn fail(
        &mut self,
        streams: &mut Streams,
        attempt: &AttemptId,
        reason: v1::FailureReason,
    ) -> anyhow::Result<()> {
        let log = match self.workload {
            Some(v1::assignment::Workload::Job(_)) => {
                Some(put(streams, "log.txt", format!("log of {attempt}\n")).await?)
            }
            _ => None,
        };
        let failure = v1::Failure { reason: reason.into(), message: "the script says so".to_owned(), log };
        self.end(streams, attempt, v1::trial_outcome::Result::Failure(failure)).await
    }

    async fn end(
        &mut self,
        streams: &mut Streams,
        attempt: &AttemptId,
        result: v1::trial_outcome::Result,
    ) -> anyhow::Result<()> {
        let trial = Some(v1::TrialKey::from(attempt));
        let outcome = self.outcome(attempt, result);
        self.executing = None;
        self.deliver(streams, Fact::Outcome(outcome)).await?;
        let spooled_delivery_id = Some(self.delivery_id);
        say(&streams.work, v1::work_request::Item::Finished(v1::Finished { trial, spooled_delivery_id })).await
    }

    fn outcome(&self, attempt: &AttemptId, result: v1::trial_outcome::Result) -> v1::TrialOutcome {
        v1::TrialOutcome {
            trial: Some(attempt.into()),
            samples_boot_id: self.boot.to_vec(),
            samples_channel: 0,
            result: Some(result),
            samples_further_channels: Vec::new(),
        }
    }

    /// Sends a record after all that was spooled before, each when the one before is acknowledged.
    async fn deliver(&mut self, streams: &mut Streams, fact: Fact) -> anyhow::Result<()> {
        self.append(fact);
        let is_backlog = self.backlog.swap(0, Ordering::SeqCst) > 0;
        while let Some(record) = self.spool.front().cloned() {
            if is_backlog {
                tokio::time::sleep(BACKLOG_PACE).await;
            }
            streams.records.send(v1::DeliverRequest { item: Some(v1::deliver_request::Item::Record(record)) }).await?;
            let answer = streams.records_in.message().await?;
            anyhow::ensure!(answer.is_some(), "the collector left");
            self.spool.pop_front();
        }
        Ok(())
    }

    fn append(&mut self, fact: Fact) {
        let sequence = if matches!(fact, Fact::Batch(_)) { &mut self.batch_sequence } else { &mut self.fact_sequence };
        self.delivery_id += 1;
        let record = v1::Record {
            delivery_id: self.delivery_id,
            boot_id: self.boot.to_vec(),
            sequence: *sequence,
            fact: Some(fact),
        };
        *sequence += 1;
        self.spool.push_back(record);
    }
}

/// A batch of 100 readings.
fn readings(start: u64) -> v1::SampleBatch {
    let mut encoder = Encoder::default();
    for index in 0..100 {
        let at = MonoNs(start + index * 1_000_000);
        encoder.push(&Reading { at, first: 1_000, second: 1_250, flags: Flags::NONE }, 1_000, true);
    }
    encoder.finish(0, Vec::new()).expect("readings were pushed")
}

/// A window over the first half of such a batch.
fn active(start: u64) -> v1::Window {
    v1::Window {
        phase: v1::Phase::Active.into(),
        start_mono_ns: start,
        end_mono_ns: start + 50_000_000,
        inference_count: 10,
        ..Default::default()
    }
}

/// What a job that goes well leaves: files whose content tells who made them.
async fn hand_in(
    streams: &mut Streams,
    attempt: &AttemptId,
    job: &v1::JobWorkload,
    roles: &[&str],
) -> anyhow::Result<v1::JobSummary> {
    let mut artifacts = Vec::new();
    for role in roles {
        let artifact = put(streams, &format!("{role}.bin"), format!("{role} of {attempt}\n")).await?;
        artifacts.push(v1::JobArtifact { role: (*role).to_owned(), artifact: Some(artifact) });
    }
    Ok(v1::JobSummary {
        kind: job.kind,
        result_json: r#"{"schema":"tinywatt.result.v1","framework":{"name":"script","version":"1"}}"#.to_owned(),
        artifacts,
        log: Some(put(streams, "log.txt", format!("log of {attempt}\n")).await?),
        memory_bytes_peak: 1,
    })
}

async fn put(streams: &mut Streams, name: &str, content: String) -> anyhow::Result<v1::ArtifactRef> {
    let sha256 = Sha256::of(content.as_bytes()).0.to_vec();
    let size_bytes = u64::try_from(content.len())?;
    let artifact = v1::ArtifactRef { sha256: sha256.clone(), size_bytes, name: name.to_owned() };
    let request = v1::PutRequest { sha256: Some(sha256), size_bytes: Some(size_bytes), chunk: content.into_bytes() };
    streams.artifacts.put(tokio_stream::once(request)).await?;
    Ok(artifact)
}

async fn becomes(state: &mut watch::Receiver<bool>, wanted: bool) {
    let _ = state.wait_for(|state| *state == wanted).await;
}

fn training() -> v1::JobProgress {
    v1::JobProgress { phase: "train".to_owned(), epoch: Some(2), text: "x".repeat(100_000), ..Default::default() }
}

async fn say(work: &mpsc::Sender<v1::WorkRequest>, item: v1::work_request::Item) -> anyhow::Result<()> {
    Ok(work.send(v1::WorkRequest { item: Some(item) }).await?)
}

fn rail() -> v1::Channel {
    let scale = v1::ShuntBusScale {
        shunt_nanovolts_per_code: 10_000,
        bus_microvolts_per_code: 4_000,
        shunt_nanoohms: 100_000_000,
        shunt_code_max: 32_000,
        error_budget: Some(v1::ErrorBudget::default()),
    };
    v1::Channel {
        channel: 0,
        name: "rail".to_owned(),
        source: "ina219-emulator".to_owned(),
        kind: v1::FigureKind::Simulated.into(),
        sample_period_ns: 1_000_000,
        time_unit_ns: 1_000,
        scale: Some(v1::channel::Scale::ShuntBus(scale)),
        ..v1::Channel::default()
    }
}
