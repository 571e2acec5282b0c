//! Runs over loopback: the real server and the real store, with agents that follow a script.
#![expect(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

mod agent;
mod collector;
mod jobs;
mod outage;
mod rivals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::{Act, Agent, Script};
use collector::{Collector, WAIT, assess_by_word, assess_first_as_hole, assess_for_ever, study, submission};
use tinywatt_collector::schedule;
use tinywatt_collector::server::{Config, Server, StartError};
use tinywatt_proto::ids::{AttemptId, BootId};
use tinywatt_proto::v1;
use tinywatt_proto::v1::assignment_service_client::AssignmentServiceClient;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tonic::Code;

/// Grace of tests in which nobody is to be given up.
const PATIENT: Duration = Duration::from_secs(600);

fn always(act: Act) -> Script {
    Arc::new(move |_| act)
}

/// `act` for the first attempt at a trial; all others complete.
fn first_attempt_at(trial: u32, act: Act) -> Script {
    Arc::new(
        move |attempt: &AttemptId| {
            if attempt.trial == trial && attempt.attempt == 1 { act } else { Act::Complete }
        },
    )
}

/// Waits until `is_so`.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test]
async fn a_run_on_two_nodes_goes_to_its_end_and_can_be_reported_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let p = Agent::start(collector.address.subscribe(), "p", always(Act::Complete));
    let q = Agent::start(collector.address.subscribe(), "q", first_attempt_at(2, Act::Fail));
    collector.await_nodes(&["p", "q"]).await;
    let run = collector.submit(submission(&["p", "q"], &["a", "b"], 2)).await;

    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Completed);
    assert_eq!((summary.trial_count, summary.valid_count, summary.invalid_attempt_count), (8, 8, 1));
    assert!(summary.ended_unix_ns.is_some());
    assert_eq!(collector.broken(&run).await, ["2.1 failed"]);
    assert_eq!(p.assigned(), [0, 1, 4, 5].map(|trial| format!("{run}/{trial}.1")));
    // The repeat comes at the end of its block.
    let expected = [(2, 1), (3, 1), (2, 2), (6, 1), (7, 1)].map(|(trial, attempt)| format!("{run}/{trial}.{attempt}"));
    assert_eq!(q.assigned(), expected);

    // A run that has ended can be watched, too: there is its summary, and no more.
    assert_eq!(collector.await_end(&run).await, summary);
    let mut control = collector.control().await;
    let runs = control.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs;
    assert_eq!(runs, [summary]);

    let request = v1::ReportRequest { run_id: run.to_string(), format: v1::ReportFormat::Markdown.into() };
    let mut chunks = control.report(request).await.unwrap().into_inner();
    let mut report = String::new();
    while let Some(response) = chunks.message().await.unwrap() {
        report.push_str(&response.chunk);
    }
    assert!(report.contains(run.as_str()) && report.contains("simulated"), "{report}");

    let request = v1::ExportRequest { run_id: run.to_string(), trial: Some(2) };
    let mut chunks = control.export(request).await.unwrap().into_inner();
    let mut export = String::new();
    while let Some(response) = chunks.message().await.unwrap() {
        export.push_str(&response.chunk);
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(export.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(|row| row.expect("as many fields as the header")).collect();
    let count = |record: &str| rows.iter().filter(|row| &row[0] == record).count();
    // Two attempts, one of them with a window of 50 ms at 1 kHz.
    assert_eq!((count("attempt"), count("window"), count("sample")), (2, 1, 50));
    let sample = rows.iter().find(|row| &row[0] == "sample").unwrap();
    let cell = |name: &str| &sample[header.iter().position(|column| column == name).unwrap()];
    // 1,000 codes of 10 µV over 0.1 Ω, 1,250 codes of 4 mV.
    assert_eq!([cell("volts"), cell("kind"), cell("attempt")], ["5", "simulated", "2"]);
    assert!((cell("watts").parse::<f64>().unwrap() - 0.5).abs() < 1e-12);
    assert!((cell("amperes").parse::<f64>().unwrap() - 0.1).abs() < 1e-12);
    collector.stop().await;
}

#[tokio::test]
async fn the_samples_of_an_attempt_without_figures_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_first_as_hole()).await;
    let _p = Agent::start(collector.address.subscribe(), "p", always(Act::Complete));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a"], 1)).await;
    assert_eq!(collector.await_end(&run).await.state(), v1::RunState::Completed);
    let mut control = collector.control().await;
    let request = v1::ExportRequest { run_id: run.to_string(), trial: None };
    let mut chunks = control.export(request).await.unwrap().into_inner();
    let mut export = String::new();
    while let Some(response) = chunks.message().await.unwrap() {
        export.push_str(&response.chunk);
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(export.as_bytes());
    let header = reader.headers().unwrap().clone();
    let of =
        |row: &csv::StringRecord, name: &str| row[header.iter().position(|column| column == name).unwrap()].to_owned();
    let first: Vec<_> = reader.records().map(Result::unwrap).filter(|row| of(row, "attempt") == "1").collect();
    let count = |record: &str| first.iter().filter(|row| &row[0] == record).count();
    assert_eq!((count("attempt"), count("window"), count("sample")), (1, 1, 50), "{export}");
    let attempt = first.iter().find(|row| &row[0] == "attempt").unwrap();
    assert_eq!((of(attempt, "kind"), of(attempt, "reason")), ("simulated".to_owned(), "a hole".to_owned()));
    assert!(!of(attempt, "boot_id").is_empty());
    let window = first.iter().find(|row| &row[0] == "window").unwrap();
    assert_eq!((of(window, "phase"), of(window, "joules")), ("active".to_owned(), String::new()));
}

#[tokio::test]
async fn a_window_that_is_said_to_have_no_end_is_exported_as_far_as_there_are_samples() {
    let folder = tempfile::tempdir().unwrap();
    let mut submission = submission(&["p"], &["a"], 1);
    submission.design.as_mut().unwrap().attempt_count_max = 1;
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_first_as_hole()).await;
    let _p = Agent::start(collector.address.subscribe(), "p", always(Act::CompleteForEver));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission).await;
    assert_eq!(collector.await_end(&run).await.state(), v1::RunState::Incomplete);
    let request = v1::ExportRequest { run_id: run.to_string(), trial: None };
    let mut chunks = collector.control().await.export(request).await.unwrap().into_inner();
    let mut export = String::new();
    while let Some(response) = chunks.message().await.unwrap() {
        export.push_str(&response.chunk);
    }
    let count = |record: &str| export.lines().filter(|line| line.starts_with(record)).count();
    assert_eq!((count("attempt,"), count("window,"), count("sample,")), (1, 1, 200), "{export}");
    assert!(export.contains(&u64::MAX.to_string()), "as the agent stated it");
}

#[tokio::test]
async fn a_run_whose_trial_stays_invalid_ends_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let script: Script = Arc::new(|attempt| if attempt.trial == 0 { Act::Fail } else { Act::Complete });
    let _p = Agent::start(collector.address.subscribe(), "p", script);
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a", "b"], 1)).await;
    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Incomplete);
    assert_eq!((summary.valid_count, summary.invalid_attempt_count), (1, 3));
    assert_eq!(collector.broken(&run).await, ["0.1 failed", "0.2 failed", "0.3 failed"]);
}

#[tokio::test]
async fn an_agent_that_dies_in_mid_trial_repeats_it() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let _p = Agent::start(collector.address.subscribe(), "p", first_attempt_at(1, Act::Die));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a", "b"], 2)).await;
    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Completed);
    assert_eq!(collector.broken(&run).await, ["1.1 agent_restarted"]);
}

#[tokio::test]
async fn an_outcome_that_was_not_assessed_before_the_restart_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path().to_owned(), PATIENT, assess_for_ever()).await;
    let p = Agent::start(collector.address.subscribe(), "p", always(Act::Complete));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a", "b"], 1)).await;
    until("the first trial is executed", || p.assigned().len() == 1).await;
    // The agent is free once its outcome was acknowledged, that is, committed.
    let mut control = collector.control().await;
    let free = async {
        loop {
            let nodes = control.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
            if nodes[0].running.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, free).await.expect("the node becomes free");
    drop(control);
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Completed);
    assert_eq!(collector.broken(&run).await, [""; 0]);
    assert_eq!(collector.attempts(&run).await.len(), 2);
}

#[tokio::test]
async fn a_cancelled_run_stops_its_node_and_the_next_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let lingering = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let linger = lingering.clone();
    let script: Script =
        Arc::new(
            move |_| {
                if linger.swap(false, std::sync::atomic::Ordering::SeqCst) { Act::Linger } else { Act::Complete }
            },
        );
    let p = Agent::start(collector.address.subscribe(), "p", script);
    collector.await_nodes(&["p"]).await;
    let first = collector.submit(submission(&["p"], &["a", "b"], 1)).await;
    let second = collector.submit(submission(&["p"], &["a"], 1)).await;
    collector.watch_until(&first, |change| !change.running.is_empty()).await;

    let request = || v1::CancelRequest { run_id: first.to_string() };
    let mut control = collector.control().await;
    control.cancel(request()).await.unwrap();
    let refusal = control.cancel(request()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(collector.await_end(&first).await.state(), v1::RunState::Cancelled);
    assert_eq!(collector.broken(&first).await, ["0.1 cancelled"]);
    assert_eq!(collector.await_end(&second).await.state(), v1::RunState::Completed);
    assert_eq!(p.cancelled(), [format!("{first}/0.1")]);
}

#[tokio::test]
async fn a_bad_submission_is_refused_with_all_its_problems_and_a_dry_run_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let mut control = collector.control().await;
    let refusal = control.submit(submission(&["p", "q"], &["a", "a"], 0)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(refusal.message().lines().count(), 4, "{}", refusal.message());

    let p = Agent::start(collector.address.subscribe(), "p", always(Act::Complete));
    collector.await_nodes(&["p"]).await;
    let request = v1::SubmitRequest { dry_run: true, ..submission(&["p"], &["a", "b"], 3) };
    let planned = control.submit(request).await.unwrap().into_inner();
    assert_eq!((planned.run_id.as_str(), planned.trials.len()), ("", 6));
    // Each: 5 s to prepare, 6 µs to evaluate 6 bytes, three windows of a second.
    assert_eq!(planned.duration_ns, 6 * 8_000_006_000);
    assert_eq!(control.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs, []);
    assert_eq!(p.assigned(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let mut control = collector.control().await;
    let run_id = || "digits-none".to_owned();
    let refusal = control.watch(v1::WatchRequest { run_id: run_id() }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    assert!(refusal.message().contains("digits-none") && refusal.message().contains("collector runs"));
    let refusal = control.cancel(v1::CancelRequest { run_id: run_id() }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    let refusal = control.export(v1::ExportRequest { run_id: run_id(), trial: None }).await.unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);

    let address = *collector.address.borrow();
    let mut assignments = AssignmentServiceClient::connect(format!("http://{address}")).await.unwrap();
    let hello =
        v1::WorkHello { node: "p".to_owned(), boot_id: BootId::random().to_vec(), running: None, ..Default::default() };
    let hello = v1::WorkRequest { item: Some(v1::work_request::Item::Hello(hello)) };
    let refusal = assignments.work(tokio_stream::once(hello)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let refusal = assignments.work(tokio_stream::once(v1::WorkRequest { item: None })).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_submission_that_would_count_joules_twice_is_refused_with_every_pair() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let address = *collector.address.borrow();
    let mut nodes = NodeServiceClient::connect(format!("http://{address}")).await.unwrap();
    let package = "machine/processors/package-0";
    let channels = [("cpu", package), ("core", "machine/processors/package-0/core"), ("psys", "machine"), ("wire", "")];
    let channels = (0..).zip(channels).map(|(channel, (name, rail))| v1::Channel {
        channel,
        name: name.to_owned(),
        rail: rail.to_owned(),
        kind: v1::FigureKind::Measured.into(),
        sample_period_ns: 1_000_000,
        ..v1::Channel::default()
    });
    let runtimes =
        ["litert", "job"].map(|name| v1::Runtime { name: name.to_owned(), version: "1".to_owned() }).to_vec();
    let capabilities = v1::Capabilities { channels: channels.collect(), runtimes, ..Default::default() };
    let boot_id = BootId::random().to_vec();
    let capabilities = Some(capabilities);
    nodes
        .register(v1::RegisterRequest { node: "p".to_owned(), boot_id, capabilities, ..Default::default() })
        .await
        .unwrap();
    let submission = |further: &[&str]| {
        let mut request = study("p", "p", 1);
        for treatment in &mut request.treatments {
            treatment.channel = "cpu".to_owned();
            treatment.further_channels = further.iter().map(|name| (*name).to_owned()).collect();
        }
        request
    };
    let mut control = collector.control().await;
    let refusal = control.submit(submission(&["core", "psys", "wire"])).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let message = refusal.message();
    for pair in [("core", "cpu"), ("core", "psys"), ("cpu", "psys")] {
        let (part, whole) = (format!("channel '{}' (", pair.0), format!("already in channel '{}' (", pair.1));
        assert!(message.lines().any(|line| line.contains(&part) && line.contains(&whole)), "{pair:?} in {message}");
    }
    control.submit(v1::SubmitRequest { dry_run: true, ..submission(&["wire"]) }).await.expect("nothing overlaps");
}

#[tokio::test]
async fn a_second_agent_of_a_name_is_refused_until_the_first_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let first = Agent::start(collector.address.subscribe(), "p", always(Act::StayAway));
    collector.await_nodes(&["p"]).await;
    let address = *collector.address.borrow();
    let mut nodes = NodeServiceClient::connect(format!("http://{address}")).await.unwrap();
    let boot_id = BootId::random().to_vec();
    let request = v1::RegisterRequest { node: "p".to_owned(), boot_id, ..Default::default() };
    let refusal = nodes.register(request.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::AlreadyExists);
    let message = "node 'p' is already connected from another agent: stop that one, or give one of them another `node`";
    assert!(refusal.message().starts_with(message), "{}", refusal.message());
    // Nothing of the newcomer is kept.
    let known = collector.control().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(known[0].capabilities.as_ref().map(|known| known.channels.len()), Some(1));

    // The same start may replace its own connection; another may come once the first has left.
    let capabilities = known[0].capabilities.clone();
    let own = v1::RegisterRequest { boot_id: first.boot().to_vec(), capabilities, ..request.clone() };
    nodes.register(own).await.unwrap();
    collector.submit(submission(&["p"], &["a"], 1)).await;
    until("it has left", || first.assigned().len() == 1).await;
    let comes_in = async {
        while nodes.register(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, comes_in).await.expect("the newcomer is let in");
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let address = *collector.address.borrow();
    let other = tempfile::tempdir().unwrap();
    let config =
        Config { listen: address, data: other.path().to_owned(), schedule: schedule::Config::default(), sink: None };
    let error = Server::start(&config, |_| assess_by_word()).await.err().expect("the port is taken");
    assert!(matches!(error, StartError::PortTaken { .. }));
    let message = error.to_string();
    assert!(message.contains(&address.port().to_string()) && message.contains("--listen 127.0.0.1:"), "{message}");
    // The folder of the collector that runs is locked.
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { listen, data: folder.path().to_owned(), schedule: schedule::Config::default(), sink: None };
    let error = Server::start(&config, |_| assess_by_word()).await.err().expect("the folder is taken");
    assert!(matches!(error, StartError::Store(_)), "{error}");
}

#[tokio::test]
async fn a_watcher_is_told_when_a_node_is_away_and_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let p = Agent::start(collector.address.subscribe(), "p", first_attempt_at(0, Act::StayAway));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a"], 1)).await;
    let request = v1::WatchRequest { run_id: run.to_string() };
    let mut changes = collector.control().await.watch(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(change) = tokio::time::timeout(WAIT, changes.message()).await.expect("in time").unwrap() {
        if change.event.contains("away") {
            p.call_back();
        }
        told.push(change.event);
        // It executes its attempt on, and never ends it.
        if told.iter().any(|event| event == "node 'p' is back") {
            break;
        }
    }
    assert_eq!(
        told.iter().filter(|event| event.contains("'p' is away, its trial 0 goes on and is waited for")).count(),
        1,
        "{told:?}"
    );
    assert!(told.iter().any(|event| event == "node 'p' is back"), "{told:?}");
    drop(changes);
    collector.stop().await;
}
