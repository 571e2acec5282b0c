//! `TelemetryService`: nodes deliver what they measured.

use std::pin::Pin;

use tinywatt_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::ingest::{Ingest, OutcomeCommitted};
use crate::store::Store;

/// The service.
#[derive(Debug, Clone)]
pub struct Telemetry {
    ingest: Ingest,
}

impl Telemetry {
    /// Stores records in `store` and passes outcomes on once they are durable.
    pub fn new(store: Store, outcomes: mpsc::Sender<OutcomeCommitted>) -> Self {
        Self::with_stopping(store, outcomes, CancellationToken::new())
    }

    /// Like [`Self::new`], and ends all streams when `stopping` is cancelled.
    pub fn with_stopping(store: Store, outcomes: mpsc::Sender<OutcomeCommitted>, stopping: CancellationToken) -> Self {
        Self { ingest: Ingest::new(store, outcomes, stopping) }
    }
}

#[tonic::async_trait]
impl v1::telemetry_service_server::TelemetryService for Telemetry {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<v1::DeliverResponse, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<v1::DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let answers = self.ingest.deliver(request.into_inner()).map(|answer| answer.map_err(Status::from));
        Ok(Response::new(Box::pin(answers)))
    }
}
