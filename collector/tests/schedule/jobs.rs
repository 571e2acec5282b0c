//! Jobs, and the trials that need what they make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tinywatt_proto::ids::{RunId, Sha256};
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::v1::job_input::Source;

use super::agent::{Act, Agent, Script};
use super::collector::{Collector, WAIT, assess_by_word, study, submission};
use super::{PATIENT, always, until};

/// Names of the run's treatments, by trial.
async fn treatments(collector: &Collector, run: &RunId) -> BTreeMap<u32, String> {
    collector.trials(run).await.into_iter().map(|trial| (trial.trial, trial.treatment)).collect()
}

async fn made(collector: &Collector, run: &RunId) -> Vec<v1::RunArtifact> {
    let request = v1::ListArtifactsRequest { run_id: run.to_string() };
    collector.control().await.list_artifacts(request).await.unwrap().into_inner().artifacts
}

#[tokio::test]
async fn a_study_trains_optimises_and_infers_what_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let host = Agent::start(collector.address.subscribe(), "host", always(Act::Complete));
    let device = Agent::start(collector.address.subscribe(), "device", always(Act::Complete));
    collector.await_nodes(&["host", "device"]).await;
    let run = collector.submit(study("host", "device", 2)).await;
    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Completed);
    assert_eq!((summary.trial_count, summary.valid_count, summary.skipped_count), (8, 8, 0));

    let names = treatments(&collector, &run).await;
    let made = made(&collector, &run).await;
    // Two jobs in two replicates, each a model, a checkpoint and a log.
    assert_eq!(made.len(), 12);
    let content = |treatment: &str, replicate: u32, role: &str| {
        let is_it = |made: &&v1::RunArtifact| {
            made.treatment == treatment && made.replicate == replicate && made.role == role && made.is_valid
        };
        made.iter().find(is_it).and_then(|made| made.artifact.clone()).expect("it was made")
    };
    let replicates: BTreeMap<u32, u32> =
        collector.trials(&run).await.into_iter().map(|trial| (trial.trial, trial.replicate)).collect();
    let mut seeds = BTreeMap::new();
    for assignment in host.assignments().into_iter().chain(device.assignments()) {
        let trial = assignment.trial.as_ref().expect("a key").trial;
        let (name, replicate) = (names[&trial].as_str(), replicates[&trial]);
        match assignment.workload.expect("a workload") {
            v1::assignment::Workload::Inference(inference) => {
                let maker = if name == "infer-int8" { "optimise" } else { "train" };
                assert_eq!(inference.model, Some(content(maker, replicate, "model")), "{name} of {replicate}");
            }
            v1::assignment::Workload::Job(job) => {
                seeds.insert((name.to_owned(), replicate), job.seed);
                if name == "optimise" {
                    let parent = Source::Artifact(content("train", replicate, "checkpoint"));
                    assert_eq!(job.inputs[0].source, Some(parent));
                }
            }
            v1::assignment::Workload::Replay(_) => panic!("nothing is replayed"),
        }
    }
    let seed = |name: &str, replicate| seeds[&(name.to_owned(), replicate)];
    assert_eq!(seed("train", 0), seed("optimise", 0));
    assert_ne!(seed("train", 0), seed("train", 1));

    // What was made can be had, and each inference knows the file that it executed.
    let model = content("train", 1, "model");
    let address = *collector.address.borrow();
    let mut artifacts = ArtifactServiceClient::connect(format!("http://{address}")).await.unwrap();
    let request = v1::GetRequest { sha256: model.sha256.clone(), offset: 0 };
    let chunk = artifacts.get(request).await.unwrap().into_inner().message().await.unwrap().expect("a chunk").chunk;
    assert!(String::from_utf8(chunk).unwrap().starts_with("model of "));
    let sha256 = Sha256::from_bytes(&model.sha256).unwrap().to_string();
    let executed = collector.attempts(&run).await.into_iter().filter_map(|row| row.result).filter(|result| {
        let measurement = result.measurement.as_ref().expect("all are valid");
        measurement.model.as_ref().is_some_and(|model| model.sha256 == sha256)
    });
    let executed: Vec<_> = executed.map(|result| (result.treatment, result.replicate)).collect();
    assert_eq!(executed, [("infer-float32".to_owned(), 1)]);
}

#[tokio::test]
async fn a_job_that_fails_for_good_costs_what_needs_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    // The first job of the first replicate: its training.
    let is_study = Arc::new(AtomicBool::new(false));
    let script: Script = Arc::new(move |attempt| match attempt.trial {
        _ if !is_study.swap(true, Ordering::SeqCst) => Act::Linger,
        0..4 => Act::Fail,
        _ => Act::Complete,
    });
    let _host = Agent::start(collector.address.subscribe(), "host", script);
    let device = Agent::start(collector.address.subscribe(), "device", always(Act::Complete));
    collector.await_nodes(&["host", "device"]).await;
    // The host is busy with another run until somebody watches.
    let before = collector.submit(submission(&["host"], &["a"], 1)).await;
    let run = collector.submit(study("host", "device", 2)).await;
    let request = v1::WatchRequest { run_id: run.to_string() };
    let mut changes = collector.control().await.watch(request).await.unwrap().into_inner();
    // Once the watcher has been told how things are, it misses nothing, and the host is let go.
    let mut told = vec![changes.message().await.unwrap().expect("the state")];
    collector.control().await.cancel(v1::CancelRequest { run_id: before.to_string() }).await.unwrap();
    while let Some(change) = tokio::time::timeout(WAIT, changes.message()).await.expect("in time").unwrap() {
        told.push(change);
    }
    let summary = told.last().and_then(|change| change.run.clone()).expect("the end");
    assert_eq!(summary.state(), v1::RunState::Incomplete);
    // Training failed three times; optimising it and two inferences were skipped; the other replicate is whole.
    assert_eq!((summary.valid_count, summary.invalid_attempt_count, summary.skipped_count), (4, 3, 3));
    let skips = told.iter().filter(|change| change.event.contains("3 trials are skipped for want of train")).count();
    assert_eq!(skips, 1, "{told:?}");
    assert_eq!(device.assigned().len(), 2);
    // The same is told of the run once it has ended.
    let mut control = collector.control().await;
    assert_eq!(control.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs[1..], [summary]);

    // The logs of what failed are kept.
    let logs: Vec<_> = made(&collector, &run).await.into_iter().filter(|made| !made.is_valid).collect();
    assert_eq!(logs.len(), 3);
    assert!(logs.iter().all(|log| log.role == "log" && log.treatment == "train"), "{logs:?}");
}

#[tokio::test]
async fn a_job_that_makes_less_than_others_need_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let script: Script = Arc::new(|attempt| if attempt.attempt == 1 { Act::CompleteEmpty } else { Act::Complete });
    let _host = Agent::start(collector.address.subscribe(), "host", script);
    let _device = Agent::start(collector.address.subscribe(), "device", always(Act::Complete));
    collector.await_nodes(&["host", "device"]).await;
    let run = collector.submit(study("host", "device", 1)).await;
    let summary = collector.await_end(&run).await;
    assert_eq!(summary.state(), v1::RunState::Completed);
    let broken = collector.broken(&run).await;
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken.iter().all(|word| word.ends_with("artifact_missing")), "{broken:?}");
}

#[tokio::test]
async fn a_job_outlives_a_restart_of_the_collector_and_what_needs_it_is_executed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let host = Agent::start(collector.address.subscribe(), "host", always(Act::Hold));
    let device = Agent::start(collector.address.subscribe(), "device", always(Act::Complete));
    collector.await_nodes(&["host", "device"]).await;
    let run = collector.submit(study("host", "device", 1)).await;
    until("training begins", || host.assigned().len() == 1).await;
    // What the job says of itself reaches a watcher, its words cut short.
    let is_told = |change: &v1::WatchResponse| change.running.iter().any(|progress| progress.job.is_some());
    let change = collector.watch_until(&run, is_told).await;
    let job = change.running[0].job.clone().expect("told");
    assert_eq!((job.epoch, job.text.len()), (Some(2), 256));
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    // A watcher sees it before its agent is back.
    let is_there = |change: &v1::WatchResponse| change.running.iter().any(|progress| progress.trial.is_some());
    collector.watch_until(&run, is_there).await;
    collector.await_nodes(&["host", "device"]).await;
    assert_eq!(device.assigned(), [""; 0], "its models are not there yet");
    host.release();
    assert_eq!(collector.await_end(&run).await.state(), v1::RunState::Completed);
    assert_eq!(collector.broken(&run).await, [""; 0]);
    assert_eq!((host.assigned().len(), device.assigned().len()), (2, 2));
}
