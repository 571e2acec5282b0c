//! The stream behind `Watch`: how a run is now, then every change, until it has ended; and in between, what it waits
//! for.

use std::collections::BTreeMap;
use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::v1;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Status;

use crate::result::TrialResult;
use crate::schedule::NodeView;
use crate::schedule::driver::{Handle, Snapshot, Stopped, summary};
use crate::store::{RunRow, Store};

/// Responses that wait for a watcher. Beyond, it falls behind, and is given the state anew when it catches up.
const RESPONSE_COUNT: usize = 16;

type Responses = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// Time between looks at the nodes of a run. An agent that restarts is back within one.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Starts to watch a run that is in the store.
pub(super) fn start(store: Store, schedule: Handle, row: RunRow) -> mpsc::Receiver<Result<v1::WatchResponse, Status>> {
    let (sender, receiver) = mpsc::channel(RESPONSE_COUNT);
    tokio::spawn(async move {
        if let Err(status) = watch(&store, &schedule, row, &sender).await {
            // Nobody is there to be told when the watcher has left.
            let _ = sender.send(Err(status)).await;
        }
    });
    receiver
}

async fn watch(store: &Store, schedule: &Handle, row: RunRow, sender: &Responses) -> Result<(), Status> {
    let run = row.run.clone();
    // Before the snapshot, so that nothing falls between the two.
    let mut changes = schedule.changes();
    let Some(mut seen) = resync(store, schedule, &run, sender).await? else { return Ok(()) };
    let mut waits = Waits::default();
    let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
    loop {
        let change = tokio::select! {
            () = sender.closed() => return Ok(()),
            () = schedule.stopped() => return Err(Stopped.into()),
            _ = looks.tick() => {
                for text in look(store, schedule, &row, &mut waits).await? {
                    // The revision stays: changes under way are still to be told.
                    if let Some(snapshot) = schedule.snapshot(run.clone()).await?
                        && !send(sender, snapshot, text).await
                    {
                        return Ok(());
                    }
                }
                continue;
            }
            change = changes.recv() => change,
        };
        match change {
            Ok(change) if change.run == run && change.snapshot.revision > seen => {
                seen = change.snapshot.revision;
                let is_over = change.snapshot.run.state() != v1::RunState::Running;
                if !send(sender, change.snapshot.clone(), change.text.clone()).await || is_over {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => match resync(store, schedule, &run, sender).await? {
                Some(revision) => seen = revision,
                None => return Ok(()),
            },
            Err(RecvError::Closed) => return Err(Stopped.into()),
        }
    }
}

/// Looks at every node of the run that still has trials to execute.
async fn look(store: &Store, schedule: &Handle, row: &RunRow, waits: &mut Waits) -> Result<Vec<String>, Status> {
    let views = schedule.nodes().await?;
    let views: BTreeMap<_, _> = views.into_iter().map(|view| (view.node.clone(), view)).collect();
    let mut nodes: Vec<&str> = row.trials.iter().map(|trial| trial.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut told = Vec::new();
    for node in nodes.into_iter().filter_map(|node| node.parse::<NodeId>().ok()) {
        let now = views.get(&node);
        let Some(text) = waits.look(&row.run, &node, now) else { continue };
        // Asked only when there is something to say: it reads all attempts.
        if now.is_some_and(|view| view.is_connected) || has_trials_left(store, row, &node).await? {
            told.push(text);
        }
    }
    Ok(told)
}

async fn has_trials_left(store: &Store, row: &RunRow, node: &NodeId) -> Result<bool, Status> {
    let attempts = store.attempts(&row.run).await?;
    let is_valid = |trial: u32| {
        let mut attempts = attempts.iter().filter(|attempt| attempt.attempt.trial == trial);
        attempts.any(|attempt| attempt.result.as_ref().is_some_and(TrialResult::is_valid))
    };
    Ok(row.trials.iter().any(|trial| trial.node == node.as_str() && !is_valid(trial.trial)))
}

/// What a run was last seen to wait for, by node. Tells every change once.
#[derive(Debug, Default)]
struct Waits(BTreeMap<NodeId, Wait>);

#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// With an attempt of the run, or without.
    Away(Option<AttemptId>),
    Behind(RunId),
}

impl Waits {
    /// Takes in how a node of `run` is; `None` is away. Gives what there is to tell.
    fn look(&mut self, run: &RunId, node: &NodeId, now: Option<&NodeView>) -> Option<String> {
        let attempt = now.and_then(|view| view.attempt.as_ref());
        let wait = match attempt {
            _ if !now.is_some_and(|view| view.is_connected) => {
                Some(Wait::Away(attempt.filter(|attempt| attempt.run == *run).cloned()))
            }
            Some(attempt) if attempt.run != *run => Some(Wait::Behind(attempt.run.clone())),
            // Between two trials of the other run.
            None if matches!(self.0.get(node), Some(Wait::Behind(_))) => return None,
            _ => None,
        };
        if wait.as_ref() == self.0.get(node) {
            return None;
        }
        let text = match &wait {
            Some(Wait::Away(None)) => Some(format!("node '{node}' is away, waiting for it")),
            Some(Wait::Away(Some(attempt))) => {
                let left = now.and_then(|view| view.given_up_after).unwrap_or_default();
                Some(format!(
                    "node '{node}' is away, its trial {} goes on and is waited for, {} at most; `collector cancel {run}` \
                     gives it up",
                    attempt.trial,
                    humantime::format_duration(Duration::from_secs(left.as_secs()))
                ))
            }
            Some(Wait::Behind(other)) => Some(format!("waits behind run '{other}' on node '{node}'")),
            None => None,
        };
        let before = match wait {
            Some(wait) => self.0.insert(node.clone(), wait),
            None => self.0.remove(node),
        };
        let is_back = matches!(before, Some(Wait::Away(_))) && !matches!(self.0.get(node), Some(Wait::Away(_)));
        let back = is_back.then(|| format!("node '{node}' is back"));
        match (back, text) {
            (Some(back), Some(text)) => Some(format!("{back}; {text}")),
            (back, text) => back.or(text),
        }
    }
}

/// Sends how the run is now, and gives the revision of it; `None` when there is nothing more to come.
async fn resync(store: &Store, schedule: &Handle, run: &RunId, sender: &Responses) -> Result<Option<u64>, Status> {
    if let Some(snapshot) = schedule.snapshot(run.clone()).await? {
        let revision = snapshot.revision;
        return Ok(send(sender, snapshot, String::new()).await.then_some(revision));
    }
    let row = store.run(run).await?;
    let row = row.ok_or_else(|| Status::not_found(format!("there is no run '{run}'")))?;
    let run = summary(&row, &store.attempts(run).await?);
    send(sender, Snapshot { revision: 0, run, running: Vec::new() }, String::new()).await;
    Ok(None)
}

/// False when the watcher has left.
async fn send(sender: &Responses, snapshot: Snapshot, event: String) -> bool {
    let Snapshot { run, running, .. } = snapshot;
    sender.send(Ok(v1::WatchResponse { run: Some(run), event, running })).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_is_told_once() {
        let (run, node): (RunId, NodeId) = ("mine".parse().expect("a run"), "pi".parse().expect("a node"));
        let mine = AttemptId { run: run.clone(), trial: 0, attempt: 1 };
        let other = AttemptId { run: "other".parse().expect("a run"), ..mine.clone() };
        let view = |attempt: Option<&AttemptId>, is_connected| NodeView {
            node: node.clone(),
            is_connected,
            attempt: attempt.cloned(),
            given_up_after: (!is_connected).then_some(Duration::from_millis(5_400_700)),
        };
        let (free, at_mine, at_other) = (view(None, true), view(Some(&mine), true), view(Some(&other), true));
        let (away_at_mine, away_at_other) = (view(Some(&mine), false), view(Some(&other), false));
        let mut waits = Waits::default();
        let mut look = |now| waits.look(&run, &node, now).unwrap_or_default();
        assert_eq!(look(Some(&free)), "");
        assert_eq!(look(None), "node 'pi' is away, waiting for it");
        assert_eq!(look(None), "");
        assert_eq!(look(Some(&away_at_other)), "", "whatever it does for others");
        assert_eq!(look(Some(&free)), "node 'pi' is back");
        assert_eq!(look(Some(&at_other)), "waits behind run 'other' on node 'pi'");
        assert_eq!(look(Some(&free)), "", "between two trials of the other run");
        assert_eq!(look(Some(&at_other)), "");
        assert_eq!(look(Some(&at_mine)), "");
        assert_eq!(
            look(Some(&away_at_mine)),
            "node 'pi' is away, its trial 0 goes on and is waited for, 1h 30m at most; `collector cancel mine` gives it up"
        );
        assert_eq!(look(Some(&away_at_mine)), "");
        assert_eq!(look(None), "node 'pi' is away, waiting for it", "the attempt was given up");
        assert_eq!(look(Some(&at_other)), "node 'pi' is back; waits behind run 'other' on node 'pi'");
    }
}
