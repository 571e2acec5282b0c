//! Takes one node's stream of records in, and acknowledges after the commit. Looks into no sample.
//!
//! Two tasks per stream. The `reader` answers clock probes at once and queues records; the `committer` makes durable
//! together whatever is queued, passes new outcomes on, and acknowledges. Both queues are bounded: when the store is
//! slow the reader stops reading, and the node's spool holds what is to come.

mod committer;
mod reader;

use tinywatt_proto::ids::{NameError, NodeId};
use tinywatt_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::store::{CommitError, ReadError, Store};

/// Records of a stream that wait for a commit, and the most that one commit takes: 64 s of one channel. A node that
/// catches up after an outage fills it; one that keeps pace has one or two.
const RECORD_QUEUE_COUNT: usize = 256;

/// Answers that wait for the node to read them. It reads all the time; one that does not is slowed down.
const ANSWER_QUEUE_COUNT: usize = 16;

/// Outcomes that wait for the schedule, over all nodes; one per trial that ends.
pub const OUTCOME_QUEUE_COUNT: usize = 64;

/// A trial's outcome is durable, and the schedule may act on it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeCommitted {
    /// Node that executed the trial.
    pub node: NodeId,
    /// What came of it.
    pub outcome: v1::TrialOutcome,
}

/// A stream of records was ended by the collector. What was not acknowledged is to be sent again.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The first message must say who is speaking.
    #[error("a stream of records begins with one hello, and has no second one")]
    Hello,
    /// The hello names no node.
    #[error("the hello of a stream of records names no node")]
    Name(#[source] NameError),
    /// The node is not registered with this boot id.
    #[error("node {node} is not registered with this boot id: register before delivering")]
    NotRegistered {
        /// The node.
        node: NodeId,
    },
    /// A message holds nothing we know.
    #[error(
        "a message of node {node} holds nothing this collector knows: the agent may be newer, update the collector"
    )]
    Empty {
        /// The node.
        node: NodeId,
    },
    /// Acknowledgements are cumulative, so delivery ids must ascend.
    #[error("node {node} sent delivery id {delivery_id} after {before}: records go in the order of the spool")]
    Order {
        /// The node.
        node: NodeId,
        /// The id that came.
        delivery_id: u64,
        /// The id before it.
        before: u64,
    },
    /// The collector is stopping.
    #[error("the collector is stopping: connect again later")]
    Stopping,
    /// The store could not be asked for the node.
    #[error("failed to look up a node")]
    Lookup(#[source] ReadError),
    /// The store failed.
    #[error("failed to store records")]
    Commit(#[source] CommitError),
}

/// Takes streams of records in.
#[derive(Debug, Clone)]
pub struct Ingest {
    store: Store,
    outcomes: mpsc::Sender<OutcomeCommitted>,
    stopping: CancellationToken,
}

// === impl Ingest ===

impl Ingest {
    /// `outcomes` gets every outcome once it is durable, and none twice. One that is lost between commit and hand-over by
    /// a crash is in the store. Streams end when `stopping` is cancelled, after what they had received is committed.
    pub fn new(store: Store, outcomes: mpsc::Sender<OutcomeCommitted>, stopping: CancellationToken) -> Self {
        Self { store, outcomes, stopping }
    }

    /// Takes one stream in and gives its answers. Everything goes on in tasks of its own, which end with the stream:
    /// what was received is committed even if nobody reads the answers.
    pub fn deliver<S, E>(&self, requests: S) -> ReceiverStream<Result<v1::DeliverResponse, DeliverError>>
    where
        S: Stream<Item = Result<v1::DeliverRequest, E>> + Send + Unpin + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let (answers, answered) = mpsc::channel(ANSWER_QUEUE_COUNT);
        let ingest = self.clone();
        tokio::spawn(async move {
            if let Err(error) = reader::read(&ingest, requests, &answers).await {
                // The node may have left; then nobody is to be told.
                let _ = answers.send(Err(error)).await;
            }
        });
        ReceiverStream::new(answered)
    }
}

/// Where answers go.
type Answers = mpsc::Sender<Result<v1::DeliverResponse, DeliverError>>;
