//! The way to one connected agent and back.

use tinywatt_proto::ids::{AttemptId, BootId, NodeId};
use tinywatt_proto::v1;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Stopped;
use super::handle::{Handle, Input};

/// Messages that may wait for an agent: one assignment and its cancellations. An agent that does not take them off
/// its stream is as good as gone.
pub(super) const WORK_COUNT: usize = 8;

/// The driver's end. Dropping it ends the stream.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) boot: BootId,
    work: mpsc::Sender<v1::WorkResponse>,
    _closed: DropGuard,
}

/// The agent's end.
#[derive(Debug)]
pub struct Connection {
    /// What the agent is to be told.
    pub work: mpsc::Receiver<v1::WorkResponse>,
    /// What the agent tells.
    pub reporter: Reporter,
    /// Ends when the driver lets go of the connection: a newer one took its place, or the collector stops.
    pub closed: CancellationToken,
}

/// Carries what an agent says to the driver. What comes over a connection that has been replaced is not heard.
#[derive(Debug)]
pub struct Reporter {
    handle: Handle,
    node: NodeId,
    link: u64,
}

impl Link {
    pub(super) fn new(handle: &Handle, node: &NodeId, boot: BootId, id: u64) -> (Self, Connection) {
        let (sender, work) = mpsc::channel(WORK_COUNT);
        let closed = CancellationToken::new();
        let reporter = Reporter { handle: handle.clone(), node: node.clone(), link: id };
        let connection = Connection { work, reporter, closed: closed.clone() };
        (Self { id, boot, work: sender, _closed: closed.drop_guard() }, connection)
    }

    /// Hands a message to the agent's stream; false when the agent is gone or does not read.
    pub(super) fn send(&self, item: v1::work_response::Item) -> bool {
        self.work.try_send(v1::WorkResponse { item: Some(item) }).is_ok()
    }
}

impl Reporter {
    /// Says how far the agent is. Not durable, and not waited for: left out when the driver is busy.
    pub fn progress(&self, attempt: AttemptId, progress: v1::Progress) {
        self.handle.offer(Input::Progress { node: self.node.clone(), link: self.link, attempt, progress });
    }

    /// Says that the agent is free again; its spool holds records up to `spooled`.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn finished(&self, attempt: AttemptId, spooled: Option<u64>) -> Result<(), Stopped> {
        self.handle.send(Input::Finished { node: self.node.clone(), link: self.link, attempt, spooled }).await
    }

    /// Says that the connection ended.
    ///
    /// # Errors
    /// When the collector is stopping.
    pub async fn disconnected(self) -> Result<(), Stopped> {
        self.handle.send(Input::Disconnected { node: self.node.clone(), link: self.link }).await
    }
}
