//! The spool: a durable queue between what a node measures and the collector that keeps it.
//!
//! A record is written here before it is sent and deleted once the collector has committed it. The spool never drops
//! anything without telling: what it refuses, its caller counts.
//!
//! One SQLite file in WAL mode on a thread of its own, so that no asynchronous task ever waits for a disk. `kill -9`
//! loses nothing that was appended. `synchronous=NORMAL` rather than `FULL`: `FULL` would sync the card four times a
//! second and channel, and each sync of an SD card costs tens of milliseconds and wear. What it would save is small:
//! everything acknowledged is safe at the collector anyway, the file cannot be corrupted by a power cut in either
//! mode, and a short checkpoint interval keeps what a cut can take from the *unacknowledged* tail to a few seconds.
//! Nothing a cut takes leaves a hole: it takes the end of a boot id, and the next start has another one.

mod config;
mod error;
mod file;
mod thread;

use std::path::Path;
use std::sync::Arc;

use tinywatt_proto::ids::BootId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tokio::sync::{mpsc, oneshot, watch};

pub use config::SpoolConfig;
pub use error::{AppendError, OpenError, SpoolBroken};
use file::File;
use thread::Command;

/// Commands that may wait for the spool's thread. Each waiting command belongs to one task of the agent (a batcher per
/// channel, the link, the trial, health), so 64 never fill while fewer than 60 channels are open; more only wait longer.
const COMMAND_COUNT_MAX: usize = 64;

/// A handle on the spool; clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    last: watch::Receiver<u64>,
    /// Held by every handle: the thread ends, and the file is closed, when the last one is gone.
    _thread: Arc<thread::Joined>,
}

/// A page of records, in delivery order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The records, each with its delivery id.
    pub records: Vec<v1::Record>,
}

impl Spool {
    /// Opens the spool in `dir`, makes it when it is not there, and locks it against a second agent.
    ///
    /// # Errors
    /// Any [`OpenError`]; each says what to do.
    pub fn open(dir: &Path, config: &SpoolConfig) -> Result<Self, OpenError> {
        let file = File::open(dir, config)?;
        let (commands, receiver) = mpsc::channel(COMMAND_COUNT_MAX);
        let (last_sender, last) = watch::channel(file.last_delivery_id());
        let thread = thread::Joined::start(file, receiver, last_sender)
            .map_err(|source| OpenError::Thread { dir: dir.to_owned(), source })?;
        Ok(Self { commands, last, _thread: Arc::new(thread) })
    }

    /// Appends one fact of a boot id and gives its delivery id.
    ///
    /// Sequence numbers are given here, per boot id and stream (a channel's batches, or everything else), without
    /// holes: what is refused takes no number.
    ///
    /// # Errors
    /// [`AppendError::Full`] and [`AppendError::DiskFull`]: nothing was stored, later appends may succeed.
    /// [`AppendError::Broken`]: the spool accepts nothing any more.
    pub async fn append(&self, boot: BootId, fact: Fact) -> Result<u64, AppendError> {
        self.append_all(boot, vec![fact]).await
    }

    /// Appends facts in one transaction, all or none, and gives the last one's delivery id.
    ///
    /// # Errors
    /// As [`Spool::append`].
    pub async fn append_all(&self, boot: BootId, facts: Vec<Fact>) -> Result<u64, AppendError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Append { boot, facts, reply }).await;
        sent.map_err(|_| SpoolBroken::stopped())?;
        answer.await.map_err(|_| SpoolBroken::stopped())?
    }

    /// Reads the records after a delivery id, at most `record_count_max` of them and about 1 MiB.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self, after: u64, record_count_max: usize) -> Result<Page, SpoolBroken> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Read { after, record_count_max, reply }).await;
        sent.map_err(|_| SpoolBroken::stopped())?;
        answer.await.map_err(|_| SpoolBroken::stopped())?
    }

    /// Deletes everything up to and including a delivery id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn acknowledge(&self, through: u64) -> Result<(), SpoolBroken> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Acknowledge { through, reply }).await;
        sent.map_err(|_| SpoolBroken::stopped())?;
        answer.await.map_err(|_| SpoolBroken::stopped())?
    }

    /// Records that wait, from one look at the first of them: delivery ids have no holes, and what is acknowledged goes
    /// from the front. More by what is acknowledged during the look.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn record_count(&self) -> Result<u64, SpoolBroken> {
        let page = self.read(0, 1).await?;
        let last = *self.last.borrow();
        Ok(page.records.first().map_or(0, |first| (last + 1).saturating_sub(first.delivery_id)))
    }

    /// The last delivery id given, now and whenever it changes. 0 before the first.
    pub fn last_delivery_id(&self) -> watch::Receiver<u64> {
        self.last.clone()
    }
}

#[cfg(test)]
mod tests;
