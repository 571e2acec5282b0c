//! Links that are cut, and collectors and agents that are started again, while an attempt goes on.

use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, RunId};
use tinywatt_proto::v1;

use super::agent::{Act, Agent, BACKLOG_PACE, Script};
use super::collector::{Collector, assess_by_word, submission};
use super::{PATIENT, always, first_attempt_at, until};

/// Waits until a watcher is told this.
async fn told(collector: &Collector, run: &RunId, part: &str) -> String {
    collector.watch_until(run, |change| change.event.contains(part)).await.event
}

/// What `collector nodes` shows of the only node: whether it is connected, and with what.
async fn node(collector: &Collector) -> (bool, Option<v1::TrialKey>) {
    let nodes = collector.control().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    (nodes[0].connected, nodes[0].running.clone())
}

fn key(run: &RunId, trial: u32, attempt: u32) -> v1::TrialKey {
    v1::TrialKey::from(&AttemptId { run: run.clone(), trial, attempt })
}

/// A collector, and its only agent `p`, which executes the run's first attempt.
async fn executing(
    grace: Duration,
    script: Script,
    treatments: &[&str],
) -> (tempfile::TempDir, Collector, Agent, RunId) {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path().to_owned(), grace, assess_by_word()).await;
    let p = Agent::start(collector.address.subscribe(), "p", script);
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], treatments, 1)).await;
    until("it executes", || p.assigned().len() == 1).await;
    (folder, collector, p, run)
}

/// The run ends, and every attempt at it is valid.
async fn nothing_broke(collector: &Collector, run: &RunId) {
    assert_eq!(collector.await_end(run).await.state(), v1::RunState::Completed);
    assert_eq!(collector.broken(run).await, [""; 0]);
}

#[tokio::test]
async fn an_attempt_outlives_a_link_that_is_cut_for_longer_than_the_grace() {
    let grace = Duration::from_millis(100);
    let (_folder, collector, p, run) = executing(grace, first_attempt_at(0, Act::Hold), &["a", "b"]).await;
    p.send_away();
    // A watcher looks every two seconds, and the schedule at its deadlines every second: the grace is long over.
    let event = told(&collector, &run, "is away").await;
    let expected = "its trial 0 goes on and is waited for, ";
    assert!(event.contains(expected) && event.contains(&format!("`collector cancel {run}` gives it up")), "{event}");
    assert_eq!(node(&collector).await, (false, Some(key(&run, 0, 1))));
    tokio::time::sleep(3 * Duration::from_secs(1)).await;
    assert_eq!(collector.broken_so_far(&run).await, [""; 0]);
    // It comes back executing, ends, and the next trial begins.
    p.call_back();
    collector.await_nodes(&["p"]).await;
    p.release();
    nothing_broke(&collector, &run).await;
    assert_eq!((p.assigned().len(), p.cancelled().len()), (2, 0));
}

#[tokio::test]
async fn an_attempt_that_ends_while_its_link_is_cut_counts() {
    let (_folder, collector, p, run) = executing(PATIENT, always(Act::Hold), &["a"]).await;
    p.send_away();
    told(&collector, &run, "is away").await;
    p.release();
    p.call_back();
    nothing_broke(&collector, &run).await;
}

#[tokio::test]
async fn a_restarted_collector_goes_on_with_what_is_executing() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path().to_owned(), PATIENT, assess_by_word()).await;
    let p = Agent::start(collector.address.subscribe(), "p", first_attempt_at(1, Act::Hold));
    collector.await_nodes(&["p"]).await;
    let run = collector.submit(submission(&["p"], &["a", "b"], 2)).await;
    until("trial 1 begins", || p.assigned().len() == 2).await;
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    // Known as waited for at once, before the agent is back.
    assert_eq!(node(&collector).await.1, Some(key(&run, 1, 1)));
    collector.await_nodes(&["p"]).await;
    assert_eq!(node(&collector).await, (true, Some(key(&run, 1, 1))));
    p.release();
    nothing_broke(&collector, &run).await;
    assert_eq!((p.assigned().len(), p.cancelled().len()), (4, 0));
}

#[tokio::test]
async fn an_attempt_that_ends_while_the_collector_is_down_counts() {
    let (_folder, mut collector, p, run) = executing(PATIENT, first_attempt_at(0, Act::Hold), &["a", "b"]).await;
    p.send_away();
    collector.stop().await;
    p.release();
    collector.restart(assess_by_word()).await;
    p.call_back();
    nothing_broke(&collector, &run).await;
    assert_eq!(p.assigned().len(), 2);
}

#[tokio::test]
async fn an_attempt_that_ended_before_its_agent_was_restarted_counts() {
    let (_folder, collector, p, run) = executing(PATIENT, first_attempt_at(0, Act::Hold), &["a", "b"]).await;
    p.send_away();
    told(&collector, &run, "is away").await;
    // The outcome lies behind others, so that the schedule looks at its deadlines before it has arrived.
    p.pile_up(8);
    p.release();
    p.reboot();
    p.call_back();
    nothing_broke(&collector, &run).await;
    assert_eq!(p.assigned().len(), 2);
    let attempts = collector.attempts(&run).await;
    assert_eq!(attempts[0].boot, Some(p.boot()));
    assert_ne!(attempts[1].boot, Some(p.boot()), "given to the new start");
}

#[tokio::test]
async fn an_attempt_that_ended_before_its_agent_and_the_collector_were_restarted_counts() {
    let (_folder, mut collector, p, run) = executing(PATIENT, first_attempt_at(0, Act::Hold), &["a"]).await;
    p.send_away();
    collector.stop().await;
    p.pile_up(8);
    p.release();
    p.reboot();
    collector.restart(assess_by_word()).await;
    p.call_back();
    nothing_broke(&collector, &run).await;
    assert_eq!(p.assigned().len(), 1);
}

#[tokio::test]
async fn an_outcome_of_which_the_word_is_late_is_found_before_its_attempt_is_given_up() {
    let (_folder, collector, p, run) = executing(PATIENT, always(Act::Hold), &["a"]).await;
    p.send_away();
    told(&collector, &run, "is away").await;
    // A new start, whose spool goes just as far as the outcome that the old one has left in it.
    let spooled = 1_000;
    let _orders = collector.connect_anew("p", spooled).await;
    let result = v1::trial_outcome::Result::Completed(v1::Completed::default());
    let outcome = v1::TrialOutcome { trial: Some(key(&run, 0, 1)), result: Some(result), ..Default::default() };
    collector.commit_untold("p", p.boot(), spooled, outcome).await;
    nothing_broke(&collector, &run).await;
}

#[tokio::test]
async fn an_outcome_that_comes_after_the_judgement_is_kept_and_changes_nothing() {
    let (_folder, mut collector, p, run) = executing(PATIENT, first_attempt_at(0, Act::Hold), &["a"]).await;
    p.send_away();
    told(&collector, &run, "is away").await;
    // Nothing tells that an outcome is on its way, and it is some seconds late.
    p.make_old();
    p.pile_up(16);
    p.release();
    p.reboot();
    p.call_back();
    let summary = collector.await_end(&run).await;
    assert_eq!((summary.state(), summary.valid_count), (v1::RunState::Completed, 1));
    assert_eq!(collector.broken(&run).await, ["0.1 agent_restarted"]);
    let late = AttemptId { run: run.clone(), trial: 0, attempt: 1 };
    assert!(collector.outcome(&late).await.is_some());
    let attempts = collector.attempts(&run).await;
    assert_eq!(attempts.iter().filter(|row| row.result.as_ref().unwrap().is_valid()).count(), 1);
    assert_ne!(attempts[0].boot, attempts[1].boot);
    // Nor does it after a restart.
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    assert_eq!(collector.broken(&run).await, ["0.1 agent_restarted"]);
    assert_eq!(collector.await_end(&run).await, summary);
}

#[tokio::test]
async fn an_outcome_behind_a_backlog_is_waited_for_as_long_as_records_arrive() {
    let grace = 8 * BACKLOG_PACE;
    let (_folder, collector, p, run) = executing(grace, always(Act::Hold), &["a"]).await;
    p.send_away();
    told(&collector, &run, "is away").await;
    // Three times the grace, in small steps.
    p.pile_up(24);
    p.release();
    p.call_back();
    nothing_broke(&collector, &run).await;
    assert_eq!(p.assigned().len(), 1);
}

#[tokio::test]
async fn an_outcome_that_another_node_delivers_is_not_assessed() {
    let (_folder, mut collector, p, run) = executing(PATIENT, always(Act::Hold), &["a"]).await;
    let failure = v1::Failure { reason: v1::FailureReason::Worker.into(), ..Default::default() };
    let outcome = v1::TrialOutcome {
        trial: Some(key(&run, 0, 1)),
        result: Some(v1::trial_outcome::Result::Failure(failure)),
        ..Default::default()
    };
    collector.deliver_as("q", outcome).await;
    // It is looked for when its node is back, and when the collector is.
    p.send_away();
    told(&collector, &run, "is away").await;
    p.call_back();
    collector.await_nodes(&["p"]).await;
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    collector.await_nodes(&["p"]).await;
    p.release();
    nothing_broke(&collector, &run).await;
    assert_eq!(p.assigned().len(), 1);
}

#[tokio::test]
async fn a_run_can_be_given_up_while_its_node_is_away() {
    let (_folder, mut collector, p, run) = executing(PATIENT, always(Act::Hold), &["a"]).await;
    p.send_away();
    collector.stop().await;
    collector.restart(assess_by_word()).await;
    told(&collector, &run, "gives it up").await;
    collector.control().await.cancel(v1::CancelRequest { run_id: run.to_string() }).await.unwrap();
    assert_eq!(collector.await_end(&run).await.state(), v1::RunState::Cancelled);
    assert_eq!(collector.broken(&run).await, ["0.1 cancelled"]);
    assert_eq!(node(&collector).await, (false, None));
    // Its agent is told when it is back.
    p.call_back();
    until("it is stopped", || p.cancelled() == [format!("{run}/0.1")]).await;
}
