//! The program `collector` as a user meets it: exit codes, messages and output, against a collector that plays a script.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tinywatt_collector::dataset::digits::MODELS;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1::{self, RunState};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

const RUN: &str = "digits-k3f9";

/// What the collector under the command says and has heard.
#[derive(Debug, Default)]
struct Script {
    /// States of successive watches; one stays open when its state is `Running`.
    watches: Mutex<Vec<RunState>>,
    submitted: Mutex<Vec<v1::SubmitRequest>>,
    artifacts: Mutex<HashSet<Vec<u8>>>,
    cancelled: Mutex<Vec<String>>,
}

#[derive(Debug, Clone)]
struct Fake(Arc<Script>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(items: Vec<T>) -> Answers<T> {
    Box::pin(tokio_stream::iter(items.into_iter().map(Ok)))
}

fn summary(state: RunState) -> v1::RunSummary {
    v1::RunSummary {
        run_id: RUN.to_owned(),
        experiment: "digits".to_owned(),
        state: state.into(),
        trial_count: 2,
        valid_count: 1,
        ..v1::RunSummary::default()
    }
}

#[tonic::async_trait]
impl v1::control_service_server::ControlService for Fake {
    type WatchStream = Answers<v1::WatchResponse>;
    type ReportStream = Answers<v1::ReportResponse>;
    type ExportStream = Answers<v1::ExportResponse>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse { collector_version: "0.1.0".to_owned(), ..Default::default() }))
    }

    async fn rebuild_sink(
        &self,
        _: Request<v1::RebuildSinkRequest>,
    ) -> Result<Response<v1::RebuildSinkResponse>, Status> {
        Err(Status::failed_precondition("the collector writes to no database"))
    }

    async fn list_quarantined(
        &self,
        _: Request<v1::ListQuarantinedRequest>,
    ) -> Result<Response<v1::ListQuarantinedResponse>, Status> {
        Ok(Response::new(v1::ListQuarantinedResponse::default()))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let submit = request.into_inner();
        // Dry or not, as the wire says.
        let artifacts = self.0.artifacts.lock().expect("one thread at a time").len();
        if artifacts != 2 {
            return Err(Status::invalid_argument(format!("{artifacts} of 2 artifacts were put")));
        }
        let run_id = if submit.dry_run { String::new() } else { RUN.to_owned() };
        let trial = v1::PlannedTrial { node: "pi-4".to_owned(), treatment: "float32".to_owned(), ..Default::default() };
        self.0.submitted.lock().expect("one thread at a time").push(submit);
        Ok(Response::new(v1::SubmitResponse { run_id, trials: vec![trial], duration_ns: 15_000_000_000 }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        assert_eq!(request.into_inner().run_id, RUN);
        let state = self.0.watches.lock().expect("one thread at a time").remove(0);
        let event = format!("now {}", state.as_str_name());
        let change = v1::WatchResponse { run: Some(summary(state)), event, running: Vec::new() };
        let first = answers(vec![change]);
        // `Unspecified` stands for a collector that goes away.
        Ok(Response::new(if state == RunState::Running {
            Box::pin(first.chain(tokio_stream::pending()))
        } else {
            first
        }))
    }

    async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        Ok(Response::new(v1::ListRunsResponse { runs: vec![summary(RunState::Completed)] }))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Result<Response<v1::ListNodesResponse>, Status> {
        let runtime = v1::Runtime { name: "litert".to_owned(), version: "2.3.0".to_owned() };
        let channel = v1::Channel { name: "rail".to_owned(), ..v1::Channel::default() };
        let capabilities =
            v1::Capabilities { runtimes: vec![runtime], channels: vec![channel], ..v1::Capabilities::default() };
        let node = v1::NodeSummary {
            node: "pi-4".to_owned(),
            connected: true,
            capabilities: Some(capabilities),
            ..v1::NodeSummary::default()
        };
        Ok(Response::new(v1::ListNodesResponse { nodes: vec![node] }))
    }

    async fn list_artifacts(
        &self,
        _: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        Ok(Response::new(v1::ListArtifactsResponse::default()))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        self.0.cancelled.lock().expect("one thread at a time").push(request.into_inner().run_id);
        Ok(Response::new(v1::CancelResponse {}))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<Self::ReportStream>, Status> {
        let format = request.into_inner().format().as_str_name();
        let chunk = |chunk: String| v1::ReportResponse { chunk };
        Ok(Response::new(answers(vec![chunk("report in ".to_owned()), chunk(format!("{format}\n"))])))
    }

    async fn export(&self, request: Request<v1::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let chunk = format!("trial {:?}\n", request.into_inner().trial);
        Ok(Response::new(answers(vec![v1::ExportResponse { chunk }])))
    }
}

#[tonic::async_trait]
impl v1::artifact_service_server::ArtifactService for Fake {
    type GetStream = Answers<v1::GetResponse>;

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        Err(Status::unimplemented("commands only put"))
    }

    async fn has(&self, request: Request<v1::HasRequest>) -> Result<Response<v1::HasResponse>, Status> {
        let known = self.0.artifacts.lock().expect("one thread at a time");
        let present = request.into_inner().sha256.iter().map(|name| known.contains(name)).collect();
        Ok(Response::new(v1::HasResponse { present }))
    }

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<v1::PutResponse>, Status> {
        let mut chunks = request.into_inner();
        let (mut name, mut content) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunks.message().await? {
            name.extend(chunk.sha256.into_iter().flatten());
            content.extend(chunk.chunk);
        }
        assert_eq!(Sha256::of(&content).0.to_vec(), name);
        self.0.artifacts.lock().expect("one thread at a time").insert(name);
        Ok(Response::new(v1::PutResponse {}))
    }
}

/// A collector that plays a script, an experiment, and the program under test.
struct Bench {
    script: Arc<Script>,
    address: SocketAddr,
    folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(watches: &[RunState]) -> Self {
        let script = Arc::new(Script { watches: Mutex::new(watches.to_vec()), ..Script::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let fake = Fake(Arc::clone(&script));
        let server = tonic::transport::Server::builder()
            .add_service(v1::control_service_server::ControlServiceServer::new(fake.clone()))
            .add_service(v1::artifact_service_server::ArtifactServiceServer::new(fake))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        let folder = TempDir::new().expect("temporary folder");
        std::fs::write(folder.path().join(MODELS[0].file), MODELS[0].content).expect("model");
        Self { script, address, folder, _runtime: runtime }
    }

    fn experiment(&self, node: &str) -> PathBuf {
        let path = self.folder.path().join("digits.toml");
        let text = format!(
            "name = \"digits\"\nnodes = [\"{node}\"]\n[dataset]\nname = \"digits\"\n[[model]]\nname = \"float32\"\nfile = \"{}\"\n",
            MODELS[0].file
        );
        std::fs::write(&path, text).expect("experiment");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = collector(arguments);
        command.env("TINYWATT_COLLECTOR", self.address.to_string());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().expect("the program starts"))
    }

    fn schedule(&self, arguments: &[&str]) -> Ended {
        let path = self.experiment("pi-4");
        self.run(&[&["schedule", path.to_str().expect("UTF-8")], arguments].concat())
    }
}

fn collector(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collector"));
    command.args(arguments).env_remove("TINYWATT_COLLECTOR");
    command
}

/// A program that has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

#[test]
fn a_collector_that_does_not_run_is_named_with_the_way_out() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    for command in [&["runs"][..], &["nodes"], &["report", "latest"], &["export", "latest"], &["cancel", "latest"]] {
        let output = collector(command).args(["--collector", &address]).output().expect("the program starts");
        let ended = Ended::from(output);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let expected = format!("error: no collector answers at {address}; start one with `collector serve`");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
    }
}

#[test]
fn whatever_else_listens_is_told_apart_from_a_collector() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.expect("a connection").write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    let ended = Ended::from(collector(&["nodes", "--collector", &address]).output().expect("the program starts"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = format!("error: what listens at {address} is not a tinywatt collector");
    assert!(ended.stderr.starts_with(&expected) && ended.stderr.contains("check the port"), "{ended:?}");
}

#[test]
fn an_address_is_checked_before_it_is_asked() {
    for (arguments, expected) in [
        (&["nodes", "--collector", "http://a b"][..], "an address like http://127.0.0.1:7400"),
        (&["serve", "--listen", "localhost:7402"], "an IP address and a port, like 127.0.0.1:7400"),
    ] {
        let ended = Ended::from(collector(arguments).output().expect("the program starts"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn a_wrong_experiment_is_refused_before_the_collector_is_asked() {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "nmae = \"x\"\nreplicates = 0\n").expect("experiment");
    let shown = path.display().to_string();
    let output = collector(&["schedule", &shown, "--collector", "127.0.0.1:1"]).output().expect("the program starts");
    let ended = Ended::from(output);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{ended:?}");
    assert!(lines.iter().all(|line| line.starts_with(&shown)), "{ended:?}");
    assert!(ended.stderr.contains(":1: nmae: is not a known key"), "{ended:?}");
    assert!(ended.stderr.contains(":2: replicates: must be a whole number"), "{ended:?}");
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    for arguments in [&["schedule"][..], &["report", "x", "--format", "pdf"], &["dance"], &[]] {
        let output = collector(arguments).stderr(Stdio::null()).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_unknown_node_is_refused() {
    let bench = Bench::new(&[]);
    let path = bench.experiment("pi-9");
    let ended = bench.run(&["schedule", path.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains(":2: nodes: node 'pi-9' is not known; the collector knows pi-4"), "{ended:?}");
    assert!(bench.script.submitted.lock().expect("free").is_empty());
    assert!(bench.script.artifacts.lock().expect("free").is_empty());
}

#[test]
fn a_dry_run_lists_the_trials_and_starts_nothing() {
    let bench = Bench::new(&[]);
    let ended = bench.schedule(&["--dry-run"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("float32"), "{ended:?}");
    assert!(ended.stderr.contains("1 trial, at most about 15s if none is repeated; nothing was started"), "{ended:?}");
    let submitted: Vec<bool> =
        bench.script.submitted.lock().expect("free").iter().map(|submit| submit.dry_run).collect();
    assert_eq!(submitted, [true]);
}

#[test]
fn a_run_is_uploaded_followed_and_reported() {
    let bench = Bench::new(&[RunState::Completed, RunState::Completed]);
    let ended = bench.schedule(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "report in REPORT_FORMAT_TERMINAL\n");
    for line in
        ["uploaded digits inputs (30636 bytes)", "uploaded cnn-float32.tflite (58376 bytes)", "now RUN_STATE_COMPLETED"]
    {
        assert!(ended.stderr.contains(line), "{line} is not in {ended:?}");
    }
    let again = bench.schedule(&[]);
    assert!(!again.stderr.contains("uploaded"), "what the collector has is not put again: {again:?}");
}

#[test]
fn a_run_that_stays_incomplete_is_a_failure() {
    let ended = Bench::new(&[RunState::Incomplete]).schedule(&[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "report in REPORT_FORMAT_TERMINAL\n", "what was measured is reported nevertheless");
    assert!(ended.stderr.contains("run 'digits-k3f9' ended incomplete"), "{ended:?}");
}

#[test]
fn a_collector_that_goes_away_is_waited_for() {
    let ended = Bench::new(&[RunState::Unspecified, RunState::Completed]).schedule(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("lost the collector; waiting for it to come back"), "{ended:?}");
}

#[test]
fn a_detached_run_is_named_on_standard_output() {
    let ended = Bench::new(&[]).schedule(&["--detach"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "digits-k3f9\n"), "{ended:?}");
    assert!(ended.stderr.contains("collector runs --watch digits-k3f9"), "{ended:?}");
}

#[test]
fn an_interrupt_leaves_the_run_and_says_how_to_come_back() {
    let bench = Bench::new(&[RunState::Running]);
    let mut command = bench.command(&["runs", "--watch", "latest"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    // The first change has been shown, so the interrupt is listened to.
    assert!(lines.any(|line| line.expect("UTF-8").contains("now RUN_STATE_RUNNING")));
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().expect("a shell starts");
    assert!(kill.success());
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{status}: {rest:?}");
    assert!(rest.join("\n").contains("come back with `collector runs --watch digits-k3f9`"), "{rest:?}");
    assert!(bench.script.cancelled.lock().expect("free").is_empty());
}

#[test]
fn reports_and_samples_go_where_they_are_told() {
    let bench = Bench::new(&[]);
    let path = bench.folder.path().join("report.md");
    let shown = path.to_str().expect("UTF-8");
    let ended = bench.run(&["report", "latest", "--format", "md", "--output", shown]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("written"), "report in REPORT_FORMAT_MARKDOWN\n");
    assert_eq!(bench.run(&["report", RUN, "--format", "csv"]).stdout, "report in REPORT_FORMAT_CSV\n");
    assert_eq!(bench.run(&["export", RUN, "--trial", "3"]).stdout, "trial Some(3)\n");
    let ended = bench.run(&["report", "gone"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("there is no run 'gone'; `collector runs` lists them"), "{ended:?}");
    let ended = bench.run(&["report", RUN, "--output", "/gone/report.md"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("/gone/report.md cannot be written; choose another --output"), "{ended:?}");
}

#[test]
fn tables_and_cancelling_work() {
    let bench = Bench::new(&[]);
    assert!(bench.run(&["runs"]).stdout.contains("completed"));
    assert!(bench.run(&["nodes"]).stdout.contains("litert 2.3.0"));
    assert_eq!(bench.run(&["cancel", "latest"]).code, Some(0));
    assert_eq!(*bench.script.cancelled.lock().expect("free"), [RUN]);
}
