//! `NodeService`: agents register.

use tinywatt_proto::v1;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::clock;
use crate::store::Store;

/// The service.
#[derive(Debug, Clone)]
pub struct Node {
    store: Store,
}

impl Node {
    /// Registers nodes in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl v1::node_service_server::NodeService for Node {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let request = request.into_inner();
        self.store.upsert_node(&request, clock::unix_ns()).await?;
        info!(node = request.node, agent_version = request.agent_version, "node registered");
        Ok(Response::new(v1::RegisterResponse { collector_version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}
