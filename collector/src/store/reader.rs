//! Reading, on connections that cannot write, away from the async threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction};
use tinywatt_proto::columns::DecodeError;
use tinywatt_proto::ids::{BootId, NodeId};
use tokio::sync::Semaphore;

use super::open;

/// Reads under way at once. Reports and schedules are few; the writer shares the machine.
const READER_COUNT: usize = 4;

/// The store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite failed, or a row is not what the writer writes.
    #[error("failed to read the store {path}: check the disk, or restore the file from a copy")]
    Database {
        /// The database.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rusqlite::Error,
    },
    /// No such channel was ever announced.
    #[error("node {node} announced no channel {channel} with boot id {boot}")]
    UnknownChannel {
        /// The node.
        node: NodeId,
        /// The boot id.
        boot: BootId,
        /// The channel's index.
        channel: u32,
    },
    /// The window holds more than fits in memory.
    #[error("the window holds {reading_count} readings, more than {max}: ask for a shorter one")]
    TooManyReadings {
        /// Readings of the batches that touch the window.
        reading_count: u64,
        /// Most that are given at once.
        max: u64,
    },
    /// A batch that was checked on arrival cannot be decoded now.
    #[error("batch {sequence} of channel {channel} of node {node} is damaged: restore the store from a copy")]
    Batch {
        /// The node.
        node: NodeId,
        /// The channel's index.
        channel: u32,
        /// The batch's sequence.
        sequence: u64,
        /// Cause.
        #[source]
        source: DecodeError,
    },
    /// The program is stopping.
    #[error("the store {path} is closed: restart the collector")]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

/// Idle connections, and the permission to use one.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, permits: Arc::new(Semaphore::new(READER_COUNT)), idle: Arc::default() }
    }

    /// Reads in one snapshot: what is committed meanwhile is not seen.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let closed = || ReadError::Closed { path: self.path.clone() };
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let reused = idle.lock().expect("no reader panics while it holds the list").pop();
            let mut connection = match reused {
                Some(connection) => connection,
                None => open::reader(&path).map_err(Failure::Database)?,
            };
            // A failed read may leave the connection in any state; it is not used again.
            let value = work(&connection.transaction().map_err(Failure::Database)?)?;
            idle.lock().expect("no reader panics while it holds the list").push(connection);
            Ok(value)
        });
        task.await.map_err(|_| closed())?.map_err(|failure| match failure {
            Failure::Database(source) => ReadError::Database { path: self.path.clone(), source },
            Failure::Answer(error) => *error,
        })
    }
}

/// Why a read ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite failed.
    Database(rusqlite::Error),
    /// The question has no answer.
    Answer(Box<ReadError>),
}

impl From<rusqlite::Error> for Failure {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database(source)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Answer(Box::new(error))
    }
}
