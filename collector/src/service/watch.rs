//! The stream behind `Watch`: how a run is now, then every change, until it has ended.

use tinywatt_proto::ids::RunId;
use tinywatt_proto::v1;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Status;

use crate::schedule::driver::{Handle, Snapshot, Stopped, summary};
use crate::store::Store;

/// Responses that wait for a watcher. Beyond, it falls behind, and is given the state anew when it catches up.
const RESPONSE_COUNT: usize = 16;

type Responses = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// Starts to watch a run that is in the store.
pub(super) fn start(store: Store, schedule: Handle, run: RunId) -> mpsc::Receiver<Result<v1::WatchResponse, Status>> {
    let (sender, receiver) = mpsc::channel(RESPONSE_COUNT);
    tokio::spawn(async move {
        if let Err(status) = watch(&store, &schedule, run, &sender).await {
            // Nobody is there to be told when the watcher has left.
            let _ = sender.send(Err(status)).await;
        }
    });
    receiver
}

async fn watch(store: &Store, schedule: &Handle, run: RunId, sender: &Responses) -> Result<(), Status> {
    // Before the snapshot, so that nothing falls between the two.
    let mut changes = schedule.changes();
    let Some(mut seen) = resync(store, schedule, &run, sender).await? else { return Ok(()) };
    loop {
        let change = tokio::select! {
            () = sender.closed() => return Ok(()),
            () = schedule.stopped() => return Err(Stopped.into()),
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
