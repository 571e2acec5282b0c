//! Runs, attempts and outcomes.

use tinywatt_collector::result::TrialResult;
use tinywatt_collector::store::{CatalogueError, RunRow};
use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use crate::scenario::{boot, node, open, outcome, record, registration};

fn run_row(run: &str, started_unix_ns: u64) -> RunRow {
    RunRow {
        run: run.parse().unwrap(),
        experiment: "digits".to_owned(),
        submit: v1::SubmitRequest { experiment_toml: "seed = 1".to_owned(), ..Default::default() },
        trials: vec![v1::PlannedTrial { trial: 0, node: "pi-4".to_owned(), ..Default::default() }],
        started_unix_ns,
        state: v1::RunState::Running,
        ended_unix_ns: None,
    }
}

fn attempt(run: &str, trial: u32, attempt: u32) -> AttemptId {
    AttemptId { run: run.parse().unwrap(), trial, attempt }
}

fn result(treatment: &str) -> TrialResult {
    TrialResult {
        run: "run-b".to_owned(),
        trial: 0,
        attempt: 1,
        block: 0,
        node: "pi-4".to_owned(),
        treatment: treatment.to_owned(),
        replicate: 0,
        invalid_reasons: Vec::new(),
        measurement: None,
    }
}

#[tokio::test]
async fn runs_are_kept_and_end_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.create_run(run_row("run-b", 10)).await.unwrap();
    store.create_run(run_row("run-a", 20)).await.unwrap();
    let twice = store.create_run(run_row("run-a", 30)).await.unwrap_err();
    assert!(matches!(twice, CatalogueError::RunExists { .. }));
    assert_eq!(store.runs().await.unwrap(), [run_row("run-b", 10), run_row("run-a", 20)]);

    let run: RunId = "run-b".parse().unwrap();
    store.end_run(&run, v1::RunState::Completed, 40).await.unwrap();
    store.end_run(&run, v1::RunState::Cancelled, 50).await.unwrap();
    let ended = store.run(&run).await.unwrap().expect("was created");
    assert_eq!((ended.state, ended.ended_unix_ns), (v1::RunState::Completed, Some(40)));
    let unknown: RunId = "run-c".parse().unwrap();
    assert_eq!(store.run(&unknown).await.unwrap(), None);
    let error = store.end_run(&unknown, v1::RunState::Completed, 1).await.unwrap_err();
    assert!(matches!(error, CatalogueError::UnknownRun { .. }));
    let error = store.end_run(&run, v1::RunState::Running, 1).await.unwrap_err();
    assert!(matches!(error, CatalogueError::NoEnd { .. }));
}

#[tokio::test]
async fn the_first_result_of_an_attempt_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let first = attempt("run-b", 0, 1);
    let error = store.start_attempt(&first, &node(), boot(1), 1).await.unwrap_err();
    assert!(matches!(error, CatalogueError::UnknownRun { .. }));
    store.create_run(run_row("run-b", 10)).await.unwrap();
    let error = store.finish_attempt(&first, &result("x")).await.unwrap_err();
    assert!(matches!(error, CatalogueError::UnknownAttempt { .. }));
    store.start_attempt(&first, &node(), boot(1), 11).await.unwrap();
    store.start_attempt(&first, &node(), boot(2), 12).await.unwrap();
    store.start_attempt(&attempt("run-b", 1, 1), &node(), boot(2), 13).await.unwrap();
    store.finish_attempt(&first, &result("first")).await.unwrap();
    store.finish_attempt(&first, &result("second")).await.unwrap();
    let rows = store.attempts(&first.run).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].attempt.clone(), rows[0].started_unix_ns, rows[0].boot), (first, 11, Some(boot(1))));
    assert_eq!(rows[0].result, Some(result("first")));
    assert_eq!(rows[1].result, None);
}

#[tokio::test]
async fn an_outcome_is_handed_over_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.create_run(run_row("run-b", 10)).await.unwrap();
    let third = attempt("run-b", 3, 1);
    store.start_attempt(&third, &node(), boot(1), 11).await.unwrap();
    let records = vec![record(1, boot(1), 0, Fact::Outcome(outcome("run-b", 3)))];
    assert_eq!(store.outcome(&third).await.unwrap(), None);
    let committed = store.commit_records(node(), records.clone()).await.unwrap();
    assert_eq!(committed.outcomes, [outcome("run-b", 3)]);
    assert_eq!(store.delivered(&node()), Some(1));
    assert!(store.commit_records(node(), records).await.unwrap().outcomes.is_empty());
    assert_eq!(store.outcome(&third).await.unwrap(), Some(outcome("run-b", 3)));
}

#[tokio::test]
async fn an_outcome_counts_from_the_node_of_its_attempt_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let renamed = v1::RegisterRequest { node: "renamed".to_owned(), ..registration() };
    store.upsert_node(&renamed, 2).await.unwrap();
    let renamed: NodeId = renamed.node.parse().unwrap();
    store.create_run(run_row("run-b", 10)).await.unwrap();
    let [early, late] = [attempt("run-b", 0, 1), attempt("run-b", 1, 1)];
    // Nobody knows yet whose it is.
    let stray = vec![record(1, boot(1), 0, Fact::Outcome(outcome("run-b", 0)))];
    assert!(store.commit_records(renamed.clone(), stray).await.unwrap().rejected.is_empty());
    store.start_attempt(&early, &node(), boot(1), 11).await.unwrap();
    assert_eq!(store.outcome(&early).await.unwrap(), None);
    store.start_attempt(&late, &node(), boot(1), 12).await.unwrap();
    let anothers = vec![record(2, boot(1), 1, Fact::Outcome(outcome("run-b", 1)))];
    let refused = store.commit_records(renamed, anothers.clone()).await.unwrap();
    assert_eq!(refused.outcomes, []);
    assert_eq!(refused.rejected.len(), 1);
    assert!(refused.rejected[0].contains("attempt run-b/1.1 was given to another node"), "{:?}", refused.rejected);
    // There is room for the node's own.
    assert_eq!(store.outcome(&late).await.unwrap(), None);
    store.commit_records(node(), anothers).await.unwrap();
    assert_eq!(store.outcome(&late).await.unwrap(), Some(outcome("run-b", 1)));
}

#[tokio::test]
async fn a_node_is_as_it_registered_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let newer = v1::RegisterRequest { boot_id: boot(2).to_vec(), agent_version: "0.2.0".to_owned(), ..registration() };
    store.upsert_node(&newer, 77).await.unwrap();
    store.node_seen(&node(), 99).await.unwrap();
    let nodes = store.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].boot, nodes[0].agent_version.as_str()), (boot(2), "0.2.0"));
    assert_eq!(nodes[0].last_seen_unix_ns, 99);
    assert_eq!(Some(&nodes[0].capabilities), newer.capabilities.as_ref());
    assert_eq!(store.registered_boot(&node()).await.unwrap(), Some(boot(2)));
    // Each start is known from its registration on, whether it delivered or not.
    let replaced = [store.is_replaced(&node(), boot(1)).await, store.is_replaced(&node(), boot(2)).await];
    assert_eq!(replaced.map(Result::unwrap), [true, false]);
    assert!(!store.is_replaced(&node(), boot(3)).await.unwrap(), "never seen");
    let nameless = v1::RegisterRequest { node: "No Name".to_owned(), ..registration() };
    store.upsert_node(&nameless, 1).await.unwrap_err();
    let bootless = v1::RegisterRequest { boot_id: vec![1], ..registration() };
    store.upsert_node(&bootless, 1).await.unwrap_err();
    assert_eq!(store.nodes().await.unwrap().len(), 1);
}
