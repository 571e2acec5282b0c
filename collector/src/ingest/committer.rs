//! Makes durable together whatever is queued, passes outcomes on, then acknowledges.

use tinywatt_proto::ids::NodeId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::{Answers, DeliverError, Ingest, OutcomeCommitted, RECORD_QUEUE_COUNT};
use crate::store::Urgency;

/// Records of one node in one commit from which it is catching up: 4 s of one channel, 1 s of four. Waiting would only
/// slow it down.
const CATCHING_UP_RECORD_COUNT: usize = 16;

/// Commits until the queue is closed and empty.
pub(super) async fn commit_all(
    ingest: Ingest,
    node: NodeId,
    mut queued: mpsc::Receiver<v1::Record>,
    answers: Answers,
) -> Result<(), DeliverError> {
    loop {
        let mut records = Vec::new();
        if queued.recv_many(&mut records, RECORD_QUEUE_COUNT).await == 0 {
            return Ok(());
        }
        let commit = ingest.store.commit_records_with(urgency(&records), node.clone(), records);
        let committed = commit.await.map_err(DeliverError::Commit)?;
        if let Some(reason) = committed.rejected.first() {
            warn!(%node, rejected_count = committed.rejected.len(), reason, "records were refused and set aside");
        }
        // Before the acknowledgement: a node that does not read its answers must not keep the schedule waiting.
        for outcome in committed.outcomes {
            let handed_over = ingest.outcomes.send(OutcomeCommitted { node: node.clone(), outcome }).await;
            if handed_over.is_err() && !ingest.stopping.is_cancelled() {
                error!(%node, "an outcome is stored, but the schedule has stopped: restart the collector");
            }
        }
        let acknowledgement = v1::Acknowledgement { delivery_id: committed.delivery_id };
        let item = Some(v1::deliver_response::Item::Acknowledgement(acknowledgement));
        // A node that has left gets its acknowledgement for these when it sends them again.
        let _ = answers.send(Ok(v1::DeliverResponse { item })).await;
    }
}

/// Somebody waits for an outcome, and a node that is catching up for its next group; for samples, probes and health nobody
/// does.
fn urgency(records: &[v1::Record]) -> Urgency {
    let is_flow =
        |record: &v1::Record| matches!(record.fact, Some(Fact::Batch(_) | Fact::ClockProbe(_) | Fact::Health(_)));
    let is_catching_up = records.len() >= CATCHING_UP_RECORD_COUNT;
    if records.iter().all(is_flow) && !is_catching_up { Urgency::CanWait } else { Urgency::Now }
}
