//! The ground truth: one SQLite file with the catalogue, and the batches as the bytes that arrived.
//!
//! One thread writes, and makes durable together what waits for it; readers have connections of their own. Never
//! written by two threads, never by two collectors: a lock in the folder sees to that.

mod axis;
mod catalogue;
mod check;
mod facts;
mod feed;
mod health;
mod migrate;
mod nodes;
mod open;
mod place;
mod reader;
mod records;
mod samples;
mod session;
mod sink;
mod sql;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub use axis::{Axis, AxisError, Placed, Waited};
pub use catalogue::{AttemptRow, CatalogueError, RunRow};
pub use feed::{Changed, Changes, FedChannel, Neighbour, Newest, StoredBatch};
pub use nodes::{NodeCounts, NodeRow, RegisterError};
pub use open::{DATABASE_NAME, OpenError};
pub use reader::ReadError;
pub use records::{CommitError, Committed};
pub use samples::{ChannelSamples, Lost};
pub use sink::{Position, Quarantined};
pub use writer::{Urgency, WriteError};

pub use crate::clock_fit::ClockFit;

use tinywatt_proto::ids::NodeId;

use crate::artifacts::Artifacts;

/// Handle on the store. Cheap to clone; the last one to go waits for what is queued and closes the file.
#[derive(Debug, Clone)]
pub struct Store {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    readers: reader::Readers,
    artifacts: Artifacts,
    /// The last record of each node's spool that was committed.
    delivered: Mutex<HashMap<NodeId, u64>>,
    // Last: its connection closes the file, and lets go of the lock.
    writer: writer::Writer,
}

// === impl Store ===

impl Store {
    /// Opens the store in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`], each with the way out.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let lock = open::lock(folder)?;
        let path = folder.join(open::DATABASE_NAME);
        let session = session::Session::new(open::writer(&path)?);
        let artifacts =
            Artifacts::in_store(folder).map_err(|source| OpenError::Artifacts { folder: folder.to_owned(), source })?;
        let writer = writer::Writer::start(path.clone(), session, lock).map_err(OpenError::Thread)?;
        Ok(Self {
            parts: Arc::new(Parts {
                readers: reader::Readers::new(path),
                artifacts,
                delivered: Mutex::default(),
                writer,
            }),
        })
    }

    /// The artifacts beside the database.
    pub fn artifacts(&self) -> Artifacts {
        self.parts.artifacts.clone()
    }

    /// The failure after which the store accepts nothing any more, if there was one.
    pub fn poison(&self) -> Option<WriteError> {
        self.parts.writer.poison().cloned()
    }

    /// How far a node's spool has arrived: the delivery id of the last record that was committed since this start.
    pub fn delivered(&self, node: &NodeId) -> Option<u64> {
        self.parts.delivered.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    async fn write<T, F>(&self, work: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut session::Session) -> rusqlite::Result<T> + Send + 'static,
    {
        self.parts.writer.write(Urgency::Now, work).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Transaction<'_>) -> Result<T, reader::Failure> + Send + 'static,
    {
        self.parts.readers.read(work).await
    }
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::chain::Chain;
    use tinywatt_proto::ids::BootId;
    use tinywatt_proto::v1;

    use super::*;

    /// A store in a folder of its own, with one registered node.
    pub(super) async fn registered_store() -> (tempfile::TempDir, Store, NodeId) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let request = v1::RegisterRequest {
            node: "pi".to_owned(),
            boot_id: BootId::random().to_vec(),
            agent_version: "0.1.0".to_owned(),
            capabilities: None,
        };
        store.upsert_node(&request, 1).await.unwrap();
        (folder, store, "pi".parse().unwrap())
    }

    fn refusal(folder: &Path) -> String {
        let error = Store::open(folder).expect_err("must be refused");
        Chain(&error).to_string()
    }

    #[test]
    fn a_second_collector_on_the_same_folder_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        let message = refusal(folder.path());
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let connection = rusqlite::Connection::open(folder.path().join(open::DATABASE_NAME)).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let message = refusal(folder.path());
        assert!(message.contains("layout 99") && message.contains("newer collector"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(open::DATABASE_NAME);
        let content = "dear diary, ".repeat(1_000);
        std::fs::write(&path, &content).unwrap();
        assert!(refusal(folder.path()).contains("not a store of tinywatt"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }

    #[test]
    fn another_programs_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join(open::DATABASE_NAME)).unwrap();
        connection.execute_batch("CREATE TABLE recipe (title TEXT)").unwrap();
        drop(connection);
        assert!(refusal(folder.path()).contains("not a store of tinywatt"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_or_written_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = refusal(&file.join("store"));
        assert!(message.contains("file/store") && message.contains("name another"), "{message}");
        // A folder where the lock should be stands in for a folder without permission: tests may run as root.
        std::fs::create_dir_all(folder.path().join("taken/collector.lock")).unwrap();
        let message = refusal(&folder.path().join("taken"));
        assert!(message.contains("let this user write there"), "{message}");
    }
}
