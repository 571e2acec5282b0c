//! Reads one stream: who is speaking, then probes and records.

use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::v1;
use tinywatt_proto::v1::deliver_request::Item;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tracing::{debug, warn};

use super::{Answers, DeliverError, Ingest, RECORD_QUEUE_COUNT, committer};
use crate::clock;

/// Reads until the node leaves, errs, or the collector stops; returns after everything received is committed.
pub(super) async fn read<S, E>(ingest: &Ingest, mut requests: S, answers: &Answers) -> Result<(), DeliverError>
where
    S: Stream<Item = Result<v1::DeliverRequest, E>> + Send + Unpin,
    E: std::fmt::Display + Send,
{
    let Some(first) = next(ingest, &mut requests).await? else { return Ok(()) };
    let node = greet(ingest, first).await?;
    debug!(%node, "stream of records opened");
    let (records, queued) = mpsc::channel(RECORD_QUEUE_COUNT);
    let committing = tokio::spawn(committer::commit_all(ingest.clone(), node.clone(), queued, answers.clone()));
    let reading = queue_all(ingest, &node, &mut requests, records, answers).await;
    // The queue is closed now, so the committer ends with what is in it.
    let committing = committing.await;
    if let Err(error) = ingest.store.node_seen(&node, clock::unix_ns()).await {
        debug!(%node, error = %Chain(&error), "the end of a stream was not noted");
    }
    debug!(%node, "stream of records closed");
    // The store's failure is the reason, if there is one: the reader stops because of it.
    committing.unwrap_or(Ok(())).and(reading)
}

/// The next message; `None` when the node has left.
async fn next<S, E>(ingest: &Ingest, requests: &mut S) -> Result<Option<v1::DeliverRequest>, DeliverError>
where
    S: Stream<Item = Result<v1::DeliverRequest, E>> + Send + Unpin,
    E: std::fmt::Display + Send,
{
    let request = tokio::select! {
        () = ingest.stopping.cancelled() => return Err(DeliverError::Stopping),
        request = requests.next() => request,
    };
    match request {
        Some(Ok(request)) => Ok(Some(request)),
        Some(Err(error)) => {
            debug!(%error, "a stream of records broke off");
            Ok(None)
        }
        None => Ok(None),
    }
}

async fn greet(ingest: &Ingest, first: v1::DeliverRequest) -> Result<NodeId, DeliverError> {
    let Some(Item::Hello(hello)) = first.item else { return Err(DeliverError::Hello) };
    let node: NodeId = hello.node.parse().map_err(DeliverError::Name)?;
    let registered = ingest.store.registered_boot(&node).await.map_err(DeliverError::Lookup)?;
    if registered.is_none() || registered != BootId::from_bytes(&hello.boot_id) {
        return Err(DeliverError::NotRegistered { node });
    }
    Ok(node)
}

async fn queue_all<S, E>(
    ingest: &Ingest,
    node: &NodeId,
    requests: &mut S,
    records: mpsc::Sender<v1::Record>,
    answers: &Answers,
) -> Result<(), DeliverError>
where
    S: Stream<Item = Result<v1::DeliverRequest, E>> + Send + Unpin,
    E: std::fmt::Display + Send,
{
    let mut delivered = None;
    loop {
        let request = tokio::select! {
            // The committer failed, and has the reason. A node that waits for it sends nothing that would show it here.
            () = records.closed() => return Ok(()),
            request = next(ingest, requests) => request?,
        };
        let Some(request) = request else { return Ok(()) };
        match request.item.ok_or_else(|| DeliverError::Empty { node: node.clone() })? {
            Item::Hello(_) => return Err(DeliverError::Hello),
            Item::Probe(probe) => {
                let received_unix_ns = clock::unix_ns();
                let Ok(place) = answers.reserve().await else { return Ok(()) };
                place.send(Ok(probe_answer(&probe, received_unix_ns)));
            }
            Item::Record(record) => {
                if let Some(before) = delivered.filter(|before| *before >= record.delivery_id) {
                    warn!(%node, delivery_id = record.delivery_id, before, "records out of order");
                    return Err(DeliverError::Order { node: node.clone(), delivery_id: record.delivery_id, before });
                }
                delivered = Some(record.delivery_id);
                if records.send(record).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The answer's own stamp is taken when it is certain to leave: waiting for a place in the queue is the collector's
/// time, not the network's.
fn probe_answer(probe: &v1::ProbeRequest, received_unix_ns: u64) -> v1::DeliverResponse {
    let answered_unix_ns = clock::unix_ns().max(received_unix_ns);
    v1::DeliverResponse {
        item: Some(v1::deliver_response::Item::Probe(v1::ProbeResponse {
            sent_mono_ns: probe.sent_mono_ns,
            received_unix_ns,
            answered_unix_ns,
        })),
    }
}
