//! How others speak to the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};
use tinywatt_proto::v1;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::link::{Connection, Link};
use super::watch::{Change, Snapshot};
use crate::schedule::NodeView;
use crate::store::CatalogueError;

/// The driver has ended, because the collector is stopping or its store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the collector is stopping: try again when it has been restarted")]
pub struct Stopped;

/// A run was not started.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The driver has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The experiment's name cannot begin an id.
    #[error("'{0}' cannot name a run: use 1 to 48 of a-z, 0-9 and '-', beginning with a letter or digit")]
    Name(String),
    /// The store did not keep it.
    #[error("failed to keep the run")]
    Store(#[source] CatalogueError),
}

/// A checked experiment, with its trial list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Submission {
    pub(super) submit: v1::SubmitRequest,
    pub(super) trials: Vec<v1::PlannedTrial>,
}

/// Everything that the driver is told from outside.
pub(super) enum Input {
    Connected { node: NodeId, boot: BootId, running: Option<AttemptId>, spooled: Option<u64>, link: Link },
    Disconnected { node: NodeId, link: u64 },
    Progress { node: NodeId, link: u64, attempt: AttemptId, progress: v1::Progress },
    Finished { node: NodeId, link: u64, attempt: AttemptId, spooled: Option<u64> },
    OutcomeCommitted { node: NodeId, attempt: AttemptId },
    Submit { submission: Box<Submission>, answer: oneshot::Sender<Result<RunId, SubmitError>> },
    Cancel { run: RunId, answer: oneshot::Sender<bool> },
    Watch { run: RunId, answer: oneshot::Sender<Option<Snapshot>> },
    ConnectedBoot { node: NodeId, answer: oneshot::Sender<Option<BootId>> },
    Refused { node: NodeId, boot: BootId, is_certain: bool },
    Nodes { answer: oneshot::Sender<Vec<NodeView>> },
}

/// Speaks to the driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    changes: broadcast::Sender<Arc<Change>>,
    link_count: Arc<AtomicU64>,
}

impl Handle {
    pub(super) fn new(inputs: mpsc::Sender<Input>, changes: broadcast::Sender<Arc<Change>>) -> Self {
        Self { inputs, changes, link_count: Arc::default() }
    }

    /// Connects an agent that executes `running`, and whose spool holds records up to `spooled`. A newer connection of
    /// the same node takes the place of an older one.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn connect(
        &self,
        node: NodeId,
        boot: BootId,
        running: Option<AttemptId>,
        spooled: Option<u64>,
    ) -> Result<Connection, Stopped> {
        let (link, connection) = Link::new(self, &node, boot, self.link_count.fetch_add(1, Ordering::Relaxed));
        self.send(Input::Connected { node, boot, running, spooled, link }).await?;
        Ok(connection)
    }

    /// Says that the store has committed an outcome.
    ///
    /// # Errors
    /// When the collector is stopping; a restart finds the outcome in the store.
    pub async fn outcome_committed(&self, node: &NodeId, outcome: &v1::TrialOutcome) -> Result<(), Stopped> {
        match outcome.trial.as_ref().map(AttemptId::try_from) {
            Some(Ok(attempt)) => self.send(Input::OutcomeCommitted { node: node.clone(), attempt }).await,
            Some(Err(_)) | None => {
                tracing::warn!(%node, trial = ?outcome.trial, "outcome names no trial");
                Ok(())
            }
        }
    }

    /// Starts a run from a checked experiment and its trial list.
    ///
    /// # Errors
    /// When the store does not keep it, or the collector is stopping.
    pub async fn submit(&self, submit: v1::SubmitRequest, trials: Vec<v1::PlannedTrial>) -> Result<RunId, SubmitError> {
        let submission = Box::new(Submission { submit, trials });
        self.ask(|answer| Input::Submit { submission, answer }).await?
    }

    /// Cancels a run; false when it is not running.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn cancel(&self, run: RunId) -> Result<bool, Stopped> {
        self.ask(|answer| Input::Cancel { run, answer }).await
    }

    /// How far a run is; `None` when it is not running.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn snapshot(&self, run: RunId) -> Result<Option<Snapshot>, Stopped> {
        self.ask(|answer| Input::Watch { run, answer }).await
    }

    /// The changes of all runs from now on. Subscribe before asking for a snapshot, and none is missed.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    /// The nodes that are connected, each with what it executes, and those that are waited for.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Stopped> {
        self.ask(|answer| Input::Nodes { answer }).await
    }

    /// The start of the agent that is connected as a node; `None` when none is.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn connected_boot(&self, node: NodeId) -> Result<Option<BootId>, Stopped> {
        self.ask(|answer| Input::ConnectedBoot { node, answer }).await
    }

    /// Says that an agent was not let in because another works under its name; `is_certain` when that cannot be its own
    /// connection before, which nobody has noticed to be dead.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn refused(&self, node: NodeId, boot: BootId, is_certain: bool) -> Result<(), Stopped> {
        self.send(Input::Refused { node, boot, is_certain }).await
    }

    /// Waits until the driver has ended.
    pub async fn stopped(&self) {
        self.inputs.closed().await;
    }

    pub(super) async fn send(&self, input: Input) -> Result<(), Stopped> {
        self.inputs.send(input).await.map_err(|_| Stopped)
    }

    /// Leaves the input out when the driver is busy.
    pub(super) fn offer(&self, input: Input) {
        if self.inputs.try_send(input).is_err() {
            tracing::debug!("progress left out");
        }
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Stopped> {
        let (sender, answer) = oneshot::channel();
        self.send(input(sender)).await?;
        answer.await.map_err(|_| Stopped)
    }
}
