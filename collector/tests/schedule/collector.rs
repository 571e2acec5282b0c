//! A collector in this process, on a folder of its own, that can be stopped and started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tinywatt_collector::result::{
    InvalidReason, JobArtifact, JobResult, Kind, Measurement, TrialResult, Uncertain, WindowResult,
};
use tinywatt_collector::schedule;
use tinywatt_collector::schedule::driver::Assess;
use tinywatt_collector::server::{Config, ServeError, Server};
use tinywatt_collector::store::{AttemptRow, Store};
use tinywatt_proto::ids::{AttemptId, BootId, RunId, Sha256};
use tinywatt_proto::v1;
use tinywatt_proto::v1::assignment_service_client::AssignmentServiceClient;
use tinywatt_proto::v1::control_service_client::ControlServiceClient;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::telemetry_service_client::TelemetryServiceClient;
use tinywatt_proto::v1::treatment::Workload;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::Streaming;
use tonic::transport::Channel;

/// Longest wait for any state. Far above what a busy machine needs; only a failing test gets there.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

const MODEL: &[u8] = b"model";
const INPUTS: &[u8] = b"inputs";

/// A collector that can be stopped and started.
pub(crate) struct Collector {
    pub(crate) address: watch::Sender<SocketAddr>,
    folder: PathBuf,
    grace: Duration,
    assess: Assess,
    life: Option<Life>,
}

struct Life {
    store: Store,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Collector {
    pub(crate) async fn start(folder: PathBuf, grace: Duration, assess: Assess) -> Self {
        let address = watch::Sender::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut collector = Self { address, folder, grace, assess, life: None };
        collector.run().await;
        collector.put_artifacts().await;
        collector
    }

    async fn run(&mut self) {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: self.folder.clone(),
            schedule: schedule::Config { grace: self.grace },
            sink: None,
        };
        let mut store = None;
        let assess = self.assess.clone();
        let server = Server::start(&config, |opened| {
            store = Some(opened);
            assess
        });
        let server = server.await.expect("a collector starts");
        self.address.send_replace(server.address());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async move {
            let _ = stopped.await;
        }));
        self.life = Some(Life { store: store.expect("it was opened"), stop, serving });
    }

    /// Stops it cleanly.
    pub(crate) async fn stop(&mut self) {
        let Life { store, stop, serving } = self.life.take().expect("it runs");
        drop(store);
        let _ = stop.send(());
        tokio::time::timeout(WAIT, serving).await.expect("it stops").expect("no panic").expect("it stops cleanly");
    }

    /// Starts it on the same folder again.
    pub(crate) async fn restart(&mut self, assess: Assess) {
        self.assess = assess;
        // Streams that were cut let go of the store a moment after the server has ended.
        let deadline = tokio::time::timeout(WAIT, async {
            while Store::open(&self.folder).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        deadline.await.expect("the store is closed");
        self.run().await;
    }

    fn store(&self) -> &Store {
        &self.life.as_ref().expect("it runs").store
    }

    async fn put_artifacts(&self) {
        for content in [MODEL, INPUTS] {
            let chunks = tokio_stream::once(Ok::<_, std::convert::Infallible>(content.to_vec()));
            let size_bytes = u64::try_from(content.len()).unwrap();
            self.store().artifacts().put(Sha256::of(content), size_bytes, chunks).await.unwrap();
        }
    }

    pub(crate) async fn control(&self) -> ControlServiceClient<Channel> {
        let address = *self.address.borrow();
        ControlServiceClient::connect(format!("http://{address}")).await.expect("it listens")
    }

    /// Waits until these nodes are connected.
    pub(crate) async fn await_nodes(&self, nodes: &[&str]) {
        let mut control = self.control().await;
        let connected = async {
            loop {
                let known = control.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
                let is_connected = |node: &&str| known.iter().any(|row| row.node == **node && row.connected);
                if nodes.iter().all(is_connected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, connected).await.expect("nodes connect");
    }

    pub(crate) async fn submit(&self, request: v1::SubmitRequest) -> RunId {
        let response = self.control().await.submit(request).await.expect("a good submission").into_inner();
        response.run_id.parse().expect("a run id")
    }

    /// Watches a run until `is_enough`; gives the last response.
    pub(crate) async fn watch_until(
        &self,
        run: &RunId,
        is_enough: impl Fn(&v1::WatchResponse) -> bool,
    ) -> v1::WatchResponse {
        let request = v1::WatchRequest { run_id: run.to_string() };
        let mut changes = self.control().await.watch(request).await.expect("a known run").into_inner();
        let watching = async {
            let mut last = None;
            while let Some(change) = changes.message().await.expect("the stream goes on") {
                if is_enough(&change) {
                    return change;
                }
                last = Some(change);
            }
            panic!("the run ended before: {last:?}");
        };
        tokio::time::timeout(WAIT, watching).await.expect("the run gets there")
    }

    pub(crate) async fn await_end(&self, run: &RunId) -> v1::RunSummary {
        let is_over = |change: &v1::WatchResponse| change.run.as_ref().unwrap().state() != v1::RunState::Running;
        self.watch_until(run, is_over).await.run.unwrap()
    }

    pub(crate) async fn attempts(&self, run: &RunId) -> Vec<AttemptRow> {
        self.store().attempts(run).await.unwrap()
    }

    /// What an agent said came of an attempt.
    pub(crate) async fn outcome(&self, attempt: &AttemptId) -> Option<v1::TrialOutcome> {
        self.store().outcome(attempt).await.unwrap()
    }

    /// Connects a new start of a node's agent, which executes nothing, and gives what it is told.
    pub(crate) async fn connect_anew(&self, node: &str, spooled: u64) -> Streaming<v1::WorkResponse> {
        let address = format!("http://{}", *self.address.borrow());
        let (node, boot_id) = (node.to_owned(), BootId::random().to_vec());
        let register = v1::RegisterRequest { node: node.clone(), boot_id: boot_id.clone(), ..Default::default() };
        NodeServiceClient::connect(address.clone()).await.unwrap().register(register).await.unwrap();
        let hello = v1::WorkHello { node, boot_id, running: None, spooled_delivery_id: Some(spooled) };
        let hello = v1::WorkRequest { item: Some(v1::work_request::Item::Hello(hello)) };
        // It has nothing more to say, and does not leave.
        let requests = tokio_stream::once(hello).chain(tokio_stream::pending());
        AssignmentServiceClient::connect(address).await.unwrap().work(requests).await.unwrap().into_inner()
    }

    /// Commits an outcome of which the schedule is not told.
    pub(crate) async fn commit_untold(&self, node: &str, boot: BootId, delivery_id: u64, outcome: v1::TrialOutcome) {
        let outcome = v1::TrialOutcome { samples_boot_id: boot.to_vec(), ..outcome };
        let fact = Some(Fact::Outcome(outcome));
        let record = v1::Record { delivery_id, boot_id: boot.to_vec(), sequence: 1, fact };
        let committed = self.store().commit_records(node.parse().unwrap(), vec![record]).await.unwrap();
        assert_eq!(committed.outcomes.len(), 1, "{:?}", committed.rejected);
    }

    /// Delivers an outcome as a node of its own, and waits until it is acknowledged.
    pub(crate) async fn deliver_as(&self, node: &str, outcome: v1::TrialOutcome) {
        let address = format!("http://{}", *self.address.borrow());
        let (node, boot_id) = (node.to_owned(), BootId::random().to_vec());
        let register = v1::RegisterRequest { node: node.clone(), boot_id: boot_id.clone(), ..Default::default() };
        NodeServiceClient::connect(address.clone()).await.unwrap().register(register).await.unwrap();
        let outcome = v1::TrialOutcome { samples_boot_id: boot_id.clone(), ..outcome };
        let record =
            v1::Record { delivery_id: 1, boot_id: boot_id.clone(), sequence: 0, fact: Some(Fact::Outcome(outcome)) };
        let items = [
            v1::deliver_request::Item::Hello(v1::DeliverHello { node, boot_id }),
            v1::deliver_request::Item::Record(record),
        ];
        let requests = items.map(|item| v1::DeliverRequest { item: Some(item) });
        let mut telemetry = TelemetryServiceClient::connect(address).await.unwrap();
        let mut answers = telemetry.deliver(tokio_stream::iter(requests)).await.unwrap().into_inner();
        answers.message().await.unwrap().expect("it is acknowledged");
    }

    /// The trials of a run.
    pub(crate) async fn trials(&self, run: &RunId) -> Vec<v1::PlannedTrial> {
        self.store().run(run).await.unwrap().expect("a known run").trials
    }

    /// The invalid attempts of a run that goes on, as "trial.attempt code".
    pub(crate) async fn broken_so_far(&self, run: &RunId) -> Vec<String> {
        let results = self.attempts(run).await.into_iter().filter_map(|row| row.result);
        results.filter(|result| !result.is_valid()).map(word).collect()
    }

    /// The invalid attempts, as "trial.attempt code".
    pub(crate) async fn broken(&self, run: &RunId) -> Vec<String> {
        let rows = self.attempts(run).await;
        let results = rows.into_iter().map(|row| row.result.expect("every attempt has a result"));
        let broken = results.filter(|result| !result.is_valid());
        broken.map(word).collect()
    }
}

fn word(result: TrialResult) -> String {
    format!("{}.{} {}", result.trial, result.attempt, result.invalid_reasons[0].code)
}

/// A submission of `treatments` on `nodes`.
pub(crate) fn submission(nodes: &[&str], treatments: &[&str], replicate_count: u32) -> v1::SubmitRequest {
    let artifact = |content: &[u8]| {
        Some(v1::ArtifactRef { sha256: Sha256::of(content).0.to_vec(), size_bytes: 6, name: "file".to_owned() })
    };
    let treatment = |name: &&str| v1::Treatment {
        name: (*name).to_owned(),
        workload: Some(Workload::Inference(v1::InferenceWorkload {
            runtime: "litert".to_owned(),
            model: artifact(MODEL),
            inputs: artifact(INPUTS),
            thread_count: 1,
            idle_ns: 1_000_000_000,
            active_ns: 1_000_000_000,
            input_scale: 1.0,
            ..Default::default()
        })),
        ..Default::default()
    };
    v1::SubmitRequest {
        experiment_toml: "# as it was written".to_owned(),
        origin: "test".to_owned(),
        treatments: treatments.iter().map(treatment).collect(),
        design: Some(v1::Design {
            experiment: "digits".to_owned(),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            replicate_count,
            seed: 1,
            attempt_count_max: 3,
            ..Default::default()
        }),
        dry_run: false,
    }
}

/// A study: `train` and `optimise` on the host, and an inference of each one's model on the device.
pub(crate) fn study(host: &str, device: &str, replicate_count: u32) -> v1::SubmitRequest {
    let mut request = submission(&[device], &["infer-float32", "infer-int8"], replicate_count);
    for (treatment, maker) in request.treatments.iter_mut().zip(["train", "optimise"]) {
        let Some(Workload::Inference(inference)) = &mut treatment.workload else { unreachable!() };
        inference.model = None;
        inference.model_from = Some(produced(maker, "model"));
    }
    let job = |name: &str, kind: v1::JobKind, input: v1::JobInput| v1::Treatment {
        name: name.to_owned(),
        nodes: vec![host.to_owned()],
        workload: Some(Workload::Job(v1::JobWorkload {
            kind: kind.into(),
            command: vec!["trainer".to_owned()],
            config_json: "{}".to_owned(),
            inputs: vec![input],
            seed: 7,
            thread_count: 1,
            device: v1::JobDevice::Cpu.into(),
            idle_ns: 1_000_000_000,
            time_limit_ns: 60_000_000_000,
            output_bytes_max: 1 << 20,
            ..Default::default()
        })),
        ..Default::default()
    };
    let inputs = v1::ArtifactRef { sha256: Sha256::of(INPUTS).0.to_vec(), size_bytes: 6, name: "train".to_owned() };
    let train = v1::JobInput { name: "train".to_owned(), source: Some(v1::job_input::Source::Artifact(inputs)) };
    let parent = v1::job_input::Source::Produced(produced("train", "checkpoint"));
    let parent = v1::JobInput { name: "parent".to_owned(), source: Some(parent) };
    request.treatments.push(job("train", v1::JobKind::Train, train));
    request.treatments.push(job("optimise", v1::JobKind::Optimise, parent));
    request
}

fn produced(treatment: &str, role: &str) -> v1::Produced {
    v1::Produced { treatment: treatment.to_owned(), role: role.to_owned() }
}

/// Takes every completed outcome for valid. Stands in for the real assessment, which has tests of its own.
pub(crate) fn assess_by_word() -> Assess {
    Arc::new(|attempt, planned, _, outcome| {
        Box::pin(async move {
            let (invalid_reasons, measurement) = match outcome.result.expect("a result") {
                v1::trial_outcome::Result::Completed(completed) => {
                    let boot = BootId::from_bytes(&outcome.samples_boot_id).expect("a boot id");
                    let mut measurement = measurement(boot, &completed);
                    measurement.job = completed.job.as_ref().map(job);
                    (vec![], Some(measurement))
                }
                v1::trial_outcome::Result::Failure(failure) => {
                    (vec![InvalidReason { code: "failed".to_owned(), message: failure.message }], None)
                }
            };
            Ok(TrialResult {
                run: attempt.run.to_string(),
                trial: attempt.trial,
                attempt: attempt.attempt,
                block: planned.block,
                node: planned.node,
                treatment: planned.treatment,
                replicate: planned.replicate,
                invalid_reasons,
                measurement,
            })
        })
    })
}

/// As by word, but first attempts have a hole and therefore no figures.
pub(crate) fn assess_first_as_hole() -> Assess {
    let by_word = assess_by_word();
    Arc::new(move |attempt, planned, workload, outcome| {
        let is_first = attempt.attempt == 1;
        let judged = by_word(attempt, planned, workload, outcome);
        Box::pin(async move {
            let mut result = judged.await?;
            if is_first {
                result.measurement = None;
                result.invalid_reasons =
                    vec![InvalidReason { code: "samples_missing".to_owned(), message: "a hole".to_owned() }];
            }
            Ok(result)
        })
    })
}

/// Never comes to an end: what a collector is at when it is killed.
pub(crate) fn assess_for_ever() -> Assess {
    Arc::new(|_, _, _, _| Box::pin(std::future::pending()))
}

fn measurement(boot: BootId, completed: &v1::Completed) -> Measurement {
    let joules = |value: f64| Uncertain { value, expanded_uncertainty: None };
    let window = |window: &v1::Window| WindowResult {
        phase: "active".to_owned(),
        start_mono_ns: window.start_mono_ns,
        end_mono_ns: window.end_mono_ns,
        inference_count: window.inference_count,
        sample_count: 50,
        lost_reading_count: 0,
        energy_joules: joules(0.025),
        power_watts_mean: 0.5,
        simulated_true_joules: None,
    };
    Measurement {
        kind: Kind::Simulated,
        sensor: "script".to_owned(),
        sample_rate_hz: 1_000.0,
        samples_boot_id: boot.to_string(),
        samples_channel: 0,
        windows: completed.windows.iter().map(window).collect(),
        energy_joules_per_inference: joules(0.0025),
        energy_joules_per_inference_above_idle: None,
        inference: None,
        model: None,
        job: None,
    }
}

fn job(summary: &v1::JobSummary) -> JobResult {
    let artifact = |made: &v1::JobArtifact| {
        let artifact = made.artifact.clone().expect("named");
        JobArtifact {
            role: made.role.clone(),
            name: artifact.name,
            sha256: Sha256::from_bytes(&artifact.sha256).expect("32 bytes").to_string(),
            file_bytes: artifact.size_bytes,
            model: None,
        }
    };
    JobResult {
        kind: "train".to_owned(),
        framework: "script".to_owned(),
        framework_version: "1".to_owned(),
        duration_seconds: 1.0,
        energy_joules: Uncertain { value: 1.0, expanded_uncertainty: None },
        energy_joules_above_idle: None,
        above_idle_refusal: None,
        phases: vec![],
        parameter_count: None,
        mac_count: None,
        confusion: vec![],
        memory_bytes_peak: 0,
        epochs: vec![],
        artifacts: summary.artifacts.iter().map(artifact).collect(),
        grid_intensity_g_per_kwh: None,
        notes: vec![],
    }
}
