//! `NodeService`: agents register.

use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::v1;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::clock;
use crate::schedule::driver::Handle;
use crate::store::Store;

/// The service.
#[derive(Debug, Clone)]
pub struct Node {
    store: Store,
    schedule: Option<Handle>,
}

impl Node {
    /// Registers nodes in `store`, whoever else may have their name.
    pub fn new(store: Store) -> Self {
        Self { store, schedule: None }
    }

    /// Like [`Self::new`], and refuses a node as which another agent works.
    pub fn with_schedule(store: Store, schedule: Handle) -> Self {
        Self { store, schedule: Some(schedule) }
    }

    /// Refuses a second agent of one name: two would take each other's place for ever, and break every trial.
    ///
    /// The first one's stream of work decides, and only while it is open. One that died without a word is noticed by
    /// the server's keepalive, so that a node whose power failed is let in again after seconds. A start that was replaced
    /// while it was away is dead, or one of two agents: it does not get its place back, or they would take turns.
    async fn check_alone(&self, request: &v1::RegisterRequest) -> Result<(), Status> {
        let Some(schedule) = &self.schedule else { return Ok(()) };
        // What is no name and no boot id is refused by the store, in its own words.
        let Ok(node) = request.node.parse::<NodeId>() else { return Ok(()) };
        let Some(boot) = BootId::from_bytes(&request.boot_id) else { return Ok(()) };
        if self.store.is_replaced(&node, boot).await? {
            schedule.refused(node.clone(), boot, true).await?;
            return Err(Status::already_exists(format!(
                "another agent has been connected as node '{node}' since this one was: two agents have one name, as \
                 after copying a card; give one of them another `node`, and restart the one that is to have this name"
            )));
        }
        if schedule.connected_boot(node.clone()).await?.is_some_and(|other| other != boot) {
            schedule.refused(node.clone(), boot, false).await?;
            return Err(Status::already_exists(format!(
                "node '{node}' is already connected from another agent: stop that one, or give one of them another \
                 `node`; if it lost its power or its network, this passes within half a minute"
            )));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl v1::node_service_server::NodeService for Node {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let request = request.into_inner();
        self.check_alone(&request).await?;
        self.store.upsert_node(&request, clock::unix_ns()).await?;
        info!(node = request.node, agent_version = request.agent_version, "node registered");
        Ok(Response::new(v1::RegisterResponse { collector_version: env!("CARGO_PKG_VERSION").to_owned() }))
    }
}
