//! `AssignmentService`: one stream per agent, over which it is given work.

use std::pin::Pin;
use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, BootId, NodeId};
use tinywatt_proto::v1;
use tinywatt_proto::v1::assignment_service_server::AssignmentService;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::schedule::driver::{Handle, Reporter};
use crate::store::Store;

/// How long a new stream may stay silent. An agent sends its hello with the request; ten seconds cover a bad link.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// Gives agents their work.
#[derive(Debug, Clone)]
pub struct Assignments {
    store: Store,
    schedule: Handle,
}

impl Assignments {
    /// Serves what the schedule decides.
    pub fn new(store: Store, schedule: Handle) -> Self {
        Self { store, schedule }
    }

    async fn check_registered(&self, node: &NodeId, boot: BootId) -> Result<(), Status> {
        if self.store.registered_boot(node).await? == Some(boot) {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("node {node} has not registered with this boot id: register first")))
    }
}

#[tonic::async_trait]
impl AssignmentService for Assignments {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<v1::WorkResponse, Status>> + Send>>;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(HELLO_WAIT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the stream stayed silent: its first message is a hello"))??;
        let Some(v1::work_request::Item::Hello(hello)) = first.and_then(|message| message.item) else {
            return Err(Status::invalid_argument("the first message of a stream is a hello"));
        };
        let node: NodeId = hello.node.parse().map_err(invalid)?;
        let boot =
            BootId::from_bytes(&hello.boot_id).ok_or_else(|| Status::invalid_argument("a boot id has 16 bytes"))?;
        let running = hello.running.as_ref().map(AttemptId::try_from).transpose().map_err(invalid)?;
        self.check_registered(&node, boot).await?;
        let connection = self.schedule.connect(node, boot, running, hello.spooled_delivery_id).await?;
        tokio::spawn(listen(inbound, connection.reporter, connection.closed));
        Ok(Response::new(Box::pin(ReceiverStream::new(connection.work).map(Ok))))
    }
}

/// Passes on what the agent says, until either side lets go.
async fn listen(mut inbound: Streaming<v1::WorkRequest>, reporter: Reporter, closed: CancellationToken) {
    loop {
        let message = tokio::select! {
            () = closed.cancelled() => return,
            message = inbound.message() => message,
        };
        let Ok(Some(message)) = message else { break };
        let key = match &message.item {
            Some(v1::work_request::Item::Progress(progress)) => progress.trial.as_ref(),
            Some(v1::work_request::Item::Finished(finished)) => finished.trial.as_ref(),
            Some(v1::work_request::Item::Hello(_)) | None => None,
        };
        let Some(Ok(attempt)) = key.map(AttemptId::try_from) else {
            tracing::warn!(?message, "message of an agent names no trial");
            continue;
        };
        match message.item {
            Some(v1::work_request::Item::Progress(progress)) => reporter.progress(attempt, progress),
            Some(v1::work_request::Item::Finished(finished))
                if reporter.finished(attempt, finished.spooled_delivery_id).await.is_err() =>
            {
                return;
            }
            _ => {}
        }
    }
    // When the driver has ended there is nobody left to care.
    let _ = reporter.disconnected().await;
}

fn invalid(error: tinywatt_proto::ids::NameError) -> Status {
    Status::invalid_argument(error.to_string())
}
