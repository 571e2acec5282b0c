//! The thread that owns the file, and its group commit.

use std::thread::JoinHandle;

use tinywatt_proto::ids::BootId;
use tinywatt_proto::v1::record::Fact;
use tokio::sync::{mpsc, oneshot, watch};

use super::file::{File, failed};
use super::{AppendError, Page, SpoolBroken};

/// Commands that share a transaction when they wait together; more would only delay the first of them.
const GROUP_COUNT_MAX: usize = 32;

pub(super) type Reply<T> = oneshot::Sender<T>;

/// What a handle asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Append { boot: BootId, facts: Vec<Fact>, reply: Reply<Result<u64, AppendError>> },
    Read { after: u64, record_count_max: usize, reply: Reply<Result<Page, SpoolBroken>> },
    Acknowledge { through: u64, reply: Reply<Result<(), SpoolBroken>> },
}

/// The running thread. Dropping waits until the file is closed.
#[derive(Debug)]
pub(super) struct Joined(Option<JoinHandle<()>>);

impl Joined {
    pub(super) fn start(
        file: File,
        commands: mpsc::Receiver<Command>,
        last: watch::Sender<u64>,
    ) -> std::io::Result<Self> {
        let worker = Worker { file, commands, last, broken: None };
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || worker.run())?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Joined {
    /// The last handle is gone and its sender before it, so the thread is at its end. Joining keeps the folder locked
    /// until whoever drops the spool goes on, so that it can be opened again at once.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    file: File,
    commands: mpsc::Receiver<Command>,
    last: watch::Sender<u64>,
    /// Set by the first failure that leaves the state of the disk unknown.
    broken: Option<SpoolBroken>,
}

/// A write that is done but not committed.
enum Pending {
    Append(Reply<Result<u64, AppendError>>, Result<u64, AppendError>),
    Acknowledge(Reply<Result<(), SpoolBroken>>),
}

impl Worker {
    /// Ends when the last handle is gone; closing the file then moves the log into it.
    fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP_COUNT_MAX);
        while let Some(first) = self.commands.blocking_recv() {
            group.push(first);
            while group.len() < GROUP_COUNT_MAX
                && let Ok(next) = self.commands.try_recv()
            {
                group.push(next);
            }
            let mut writes = Vec::with_capacity(group.len());
            for command in group.drain(..) {
                match command {
                    Command::Read { after, record_count_max, reply } => {
                        // A reader sees only what is committed before it is answered.
                        self.write(std::mem::take(&mut writes));
                        let _ = reply.send(self.read(after, record_count_max));
                    }
                    write => writes.push(write),
                }
            }
            self.write(writes);
        }
    }

    fn read(&mut self, after: u64, record_count_max: usize) -> Result<Page, SpoolBroken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        self.file.read(after, record_count_max).map_err(|error| self.break_down(error))
    }

    /// Executes writes in one transaction and answers after its commit.
    fn write(&mut self, writes: Vec<Command>) {
        if writes.is_empty() {
            return;
        }
        let last_before = self.file.last_delivery_id();
        let mut failure = match &self.broken {
            Some(broken) => Some(AppendError::Broken(broken.clone())),
            None => self.file.begin().map_err(|error| failed(self.file.dir(), error)).err(),
        };
        let mut pending = Vec::with_capacity(writes.len());
        for write in writes {
            // After a failure nothing more is tried: SQLite may have ended the transaction by itself, and what
            // follows would be stored although everybody in the group is told that it is not.
            pending.push(match write {
                Command::Append { boot, facts, reply } if failure.is_none() => {
                    let stored = self.file.append(boot, &facts);
                    match stored {
                        Err(error @ (AppendError::DiskFull { .. } | AppendError::Broken(_))) => {
                            failure = Some(error);
                            Pending::Append(reply, Ok(0))
                        }
                        other => Pending::Append(reply, other),
                    }
                }
                Command::Acknowledge { through, reply } if failure.is_none() => {
                    failure = self.file.acknowledge(through).map_err(|error| failed(self.file.dir(), error)).err();
                    Pending::Acknowledge(reply)
                }
                Command::Append { reply, .. } => Pending::Append(reply, Ok(0)),
                Command::Acknowledge { reply, .. } => Pending::Acknowledge(reply),
                Command::Read { .. } => continue,
            });
        }
        if failure.is_none() {
            failure = self.file.commit().map_err(|error| failed(self.file.dir(), error)).err();
        }
        if let Some(failure) = failure {
            self.file.roll_back(last_before);
            return self.fail(pending, &failure);
        }
        let last = self.file.last_delivery_id();
        self.last.send_if_modified(|known| std::mem::replace(known, last) != last);
        for pending in pending {
            match pending {
                Pending::Append(reply, stored) => drop(reply.send(stored)),
                Pending::Acknowledge(reply) => drop(reply.send(Ok(()))),
            }
        }
    }

    /// Tells everybody in a failed transaction. A full disk passes; anything else ends the spool.
    fn fail(&mut self, pending: Vec<Pending>, failure: &AppendError) {
        let broken = match failure {
            AppendError::Broken(broken) => Some(self.broken.get_or_insert_with(|| broken.clone()).clone()),
            AppendError::Full { .. } | AppendError::DiskFull { .. } => None,
        };
        let again = || match &broken {
            Some(broken) => AppendError::Broken(broken.clone()),
            None => AppendError::DiskFull { dir: self.file.dir().to_owned() },
        };
        for pending in pending {
            match pending {
                Pending::Append(reply, stored) => drop(reply.send(stored.and_then(|_| Err(again())))),
                // Not deleted for want of space: the records are sent again and change nothing.
                Pending::Acknowledge(reply) => drop(reply.send(broken.clone().map_or(Ok(()), Err))),
            }
        }
    }

    fn break_down(&mut self, error: rusqlite::Error) -> SpoolBroken {
        let broken = SpoolBroken::new(self.file.dir(), error);
        self.broken.get_or_insert(broken).clone()
    }
}
