//! What can go wrong with the spool, per operation.

use std::path::PathBuf;
use std::sync::Arc;

/// The spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made.
    #[error("failed to make the spool folder {}: choose another `state_dir`, or make this one writable", dir.display())]
    MakeFolder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is something else where the folder should be.
    #[error("the spool folder {} is not a folder: move the file away, or choose another `state_dir`", dir.display())]
    NotAFolder {
        /// The path.
        dir: PathBuf,
    },
    /// The folder, or a file in it, may not be written.
    #[error(
        "cannot write in the spool folder {}: give it to the user who runs the agent (`chown`), or choose another \
         `state_dir`",
        dir.display()
    )]
    NotWritable {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses it.
    #[error(
        "the spool {} is in use by another agent{}: stop that one, or give this one its own `state_dir`",
        dir.display(), holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// Process id of the other agent, where it is known.
        holder: Option<u32>,
    },
    /// The disk has no room.
    #[error("the disk of the spool {} is full: free some space, or choose another `state_dir`", dir.display())]
    DiskFull {
        /// The folder.
        dir: PathBuf,
    },
    /// The file is no spool, or damaged.
    #[error(
        "the spool file {} is damaged or not a spool: move it away to start with an empty spool (what it held and was \
         not delivered is lost unless the file is repaired)",
        file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What SQLite found; absent when the file is intact and not ours.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// The file is of another version of the agent.
    #[error("the spool file {} has version {version}, this agent knows up to {known}: update the agent", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: i64,
        /// The version of this program.
        known: i64,
    },
    /// SQLite failed otherwise.
    #[error("failed to open the spool file {}", file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread could not be started.
    #[error("failed to start the thread of the spool {}", dir.display())]
    Thread {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A fact was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The spool has reached its limit.
    #[error(
        "the spool {} has reached its limit of {size_bytes_max} bytes: start the collector, or raise \
         `spool.size_bytes_max`",
        dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// The limit.
        size_bytes_max: u64,
    },
    /// The disk has no room.
    #[error("the disk of the spool {} is full: free some space", dir.display())]
    DiskFull {
        /// The folder.
        dir: PathBuf,
    },
    /// The spool failed and accepts nothing any more.
    #[error(transparent)]
    Broken(#[from] SpoolBroken),
}

/// The spool failed. It stops accepting: after a failed commit nobody knows what the disk holds.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the spool {place} failed and accepts no more: check the disk, then start the agent again")]
pub struct SpoolBroken {
    place: String,
    #[source]
    source: Option<Arc<rusqlite::Error>>,
}

impl SpoolBroken {
    pub(super) fn new(dir: &std::path::Path, source: rusqlite::Error) -> Self {
        Self { place: dir.display().to_string(), source: Some(Arc::new(source)) }
    }

    /// The thread is gone.
    pub(crate) fn stopped() -> Self {
        Self { place: "thread".to_owned(), source: None }
    }
}
