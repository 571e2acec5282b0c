//! The one thread that writes. What waits in its queue is made durable together: one transaction, one flush, then all
//! answers.
//!
//! Samples come from each node a few times a second, and nobody waits for their acknowledgement: the node keeps them
//! until then. So a change that [`Urgency::CanWait`] waits a moment for the changes of other nodes. 20 nodes then cost
//! 10 flushes a second instead of 80, which is the difference between an idle and a busy disk.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tinywatt_proto::chain::Chain;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{debug, error};

use super::session::Session;

/// Jobs that wait for the writer, and the most of them in one transaction. A node has one commit under way, so 64 lets
/// three times the 20 nodes of the budget share a flush; each job holds about a megabyte at most (see `ingest`).
const QUEUE_JOB_COUNT: usize = 64;

/// How long a change that can wait does so: less than the 250 ms that a batch covers, so that a node does not notice.
const PATIENCE: Duration = Duration::from_millis(100);

/// How soon a change is to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// At once, and with it everything that waits.
    Now,
    /// With whatever else comes within a moment.
    CanWait,
}

/// A write was not made durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// A write failed, then or earlier, and nothing is accepted any more.
    #[error(
        "the store {path} stopped accepting after a write failed: free space on its disk or repair it, then restart \
         the collector; nothing that was acknowledged is lost"
    )]
    Poisoned {
        /// The database.
        path: PathBuf,
        /// The failure.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The writer has ended.
    #[error("the store {path} is closed: restart the collector")]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

/// A change, and somebody who waits for it to be durable.
trait Job: Send {
    /// Makes the change inside the open transaction.
    fn execute(&mut self, session: &mut Session) -> rusqlite::Result<()>;

    /// Tells the waiting one, after the commit or its failure.
    fn answer(self: Box<Self>, committed: Result<(), WriteError>);
}

/// A [`Job`] from a closure.
struct Change<F, T> {
    work: Option<F>,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, WriteError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnOnce(&mut Session) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn execute(&mut self, session: &mut Session) -> rusqlite::Result<()> {
        let work = self.work.take().expect("a job is executed once");
        self.value = Some(work(session)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), WriteError>) {
        let Self { value, answer, .. } = *self;
        // Whoever asked may have left; the change is durable all the same.
        let _ = answer.send(committed.map(|()| value.expect("a committed job was executed")));
    }
}

/// Handle on the writer's thread. Dropping it waits for what is queued.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    hurry: Arc<Notify>,
    poison: Arc<OnceLock<WriteError>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `lock` is let go after the connection is closed.
    pub(super) fn start(path: PathBuf, session: Session, lock: File) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOB_COUNT);
        let hurry = Arc::new(Notify::new());
        // A runtime of its own, for nothing but its timer: the thread blocks on the disk.
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let poison = Arc::new(OnceLock::new());
        let (thread_path, thread_hurry, thread_poison) = (path.clone(), hurry.clone(), poison.clone());
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            timer.block_on(write_until_closed(&thread_path, session, jobs, &thread_hurry, &thread_poison));
            drop(lock);
        })?;
        Ok(Self { path, queue: Some(queue), hurry, poison, thread: Some(thread) })
    }

    /// The failure after which nothing is accepted any more.
    pub(super) fn poison(&self) -> Option<&WriteError> {
        self.poison.get()
    }

    /// Makes a change and waits until it is durable. Once it is queued, it is made even if the caller gives up.
    pub(super) async fn write<T, F>(&self, urgency: Urgency, work: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> rusqlite::Result<T> + Send + 'static,
    {
        let closed = || WriteError::Closed { path: self.path.clone() };
        let (sender, answer) = oneshot::channel();
        let job = Box::new(Change { work: Some(work), value: None, answer: sender });
        let queue = self.queue.as_ref().expect("the queue is there until the writer is dropped");
        queue.send(job).await.map_err(|_| closed())?;
        if urgency == Urgency::Now {
            self.hurry.notify_one();
        }
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        self.hurry.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been reported on standard error; every waiting job was told.
            let _ = thread.join();
        }
    }
}

async fn write_until_closed(
    path: &std::path::Path,
    mut session: Session,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    hurry: &Notify,
    poison: &OnceLock<WriteError>,
) {
    let mut group: Vec<Box<dyn Job>> = Vec::with_capacity(QUEUE_JOB_COUNT);
    while let Some(first) = jobs.recv().await {
        // An urgent job has left its notice behind: then this does not wait. A notice of a job that is done already
        // makes one group smaller than it could be.
        let _ = tokio::time::timeout(PATIENCE, hurry.notified()).await;
        group.push(first);
        while group.len() < QUEUE_JOB_COUNT
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let job_count = group.len();
        let committed = match poison.get() {
            Some(poison) => Err(poison.clone()),
            None => commit(&mut session, &mut group)
                .map_err(|source| WriteError::Poisoned { path: path.to_owned(), source: Arc::new(source) }),
        };
        match &committed {
            Ok(()) => debug!(job_count, "group committed"),
            Err(cause) if poison.get().is_none() => {
                error!(job_count, error = %Chain(cause), "the store stopped accepting");
                poison.get_or_init(|| cause.clone());
            }
            Err(_) => {}
        }
        group.drain(..).for_each(|job| job.answer(committed.clone()));
    }
}

fn commit(session: &mut Session, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    session.begin()?;
    let done = group.iter_mut().try_for_each(|job| job.execute(session)).and_then(|()| session.commit());
    if done.is_err() {
        session.roll_back();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::super::tests::registered_store;
    use super::*;

    #[tokio::test]
    async fn after_a_full_disk_nothing_more_is_accepted_and_the_way_out_is_told() {
        let (folder, store, node) = registered_store().await;
        assert!(store.poison().is_none());
        // The limit of pages stands in for a full disk: SQLite answers with the same error.
        store.write(|session| session.connection.query_row("PRAGMA max_page_count = 1", [], |_| Ok(()))).await.unwrap();
        let blob = |size: i64| {
            store.write(move |session| {
                session.connection.execute(
                    "INSERT INTO rejected (node_key, delivery_id, reason, record_bytes, record) \
                     VALUES (1, 0, '', ?1, zeroblob(?1))",
                    [size],
                )
            })
        };
        let error = blob(1 << 20).await.unwrap_err();
        assert!(matches!(error, WriteError::Poisoned { .. }));
        assert!(store.poison().is_some(), "whoever stops the collector can tell");
        let message = Chain(&error).to_string();
        assert!(message.contains("free space") && message.contains("full"), "{message}");
        blob(0).await.expect_err("poisoned, though this one would fit");
        store.commit_records(node, Vec::new()).await.expect_err("poisoned for everybody");

        drop(store);
        let store = super::super::Store::open(folder.path()).expect("a restart is the way out");
        assert_eq!(store.nodes().await.unwrap().len(), 1);
    }
}
