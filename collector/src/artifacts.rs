//! Models, inputs and traces: files named by their SHA-256. What stands under a name is complete and right.
//!
//! Nothing is ever removed: a run's report names what it executed, and whoever doubts it can have it back. The folder grows
//! with what is put into it, each content once.
//!
//! Content is written beside its place and moved there once its checksum agrees, so neither a crash nor two uploads of
//! the same content can leave half a file under a name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::Digest;
use tinywatt_proto::ids::Sha256;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_stream::{Stream, StreamExt};

/// Largest artifact, bytes; an agent takes no larger one. Models of the devices we measure stay below 100 MB, input sets
/// below 1 GB.
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

/// Space that no artifact may take from the disk: the store beside them commits samples, and stops when it cannot.
const RESERVE_BYTES: u64 = 64 << 20;

/// Folder of unfinished uploads, inside the folder of artifacts.
const PARTIAL: &str = "partial";

/// An artifact could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Larger than anything we keep.
    #[error("artifact {sha256} has {size_bytes} bytes, more than the {ARTIFACT_BYTES_MAX} that are kept")]
    TooLarge {
        /// The artifact.
        sha256: Sha256,
        /// Its size as stated, or as far as it was received.
        size_bytes: u64,
    },
    /// The upload ended early or late.
    #[error("artifact {sha256} was announced with {stated_bytes} bytes and came with {received_bytes}: send it again")]
    Size {
        /// The artifact.
        sha256: Sha256,
        /// Size in the first message.
        stated_bytes: u64,
        /// Size received.
        received_bytes: u64,
    },
    /// The content belongs to another name.
    #[error(
        "the content sent as artifact {sha256} has SHA-256 {found}: it was changed on the way or while it was read, send it again"
    )]
    Checksum {
        /// The name.
        sha256: Sha256,
        /// What the content gives.
        found: Sha256,
    },
    /// The sender gave up.
    #[error("the upload of artifact {sha256} broke off")]
    Broken {
        /// The artifact.
        sha256: Sha256,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such artifact.
    #[error("there is no artifact {sha256}: submit the experiment again, which uploads it")]
    Unknown {
        /// The artifact.
        sha256: Sha256,
    },
    /// An offset beyond the end.
    #[error("artifact {sha256} has {size_bytes} bytes, nothing can be read from {offset}")]
    Offset {
        /// The artifact.
        sha256: Sha256,
        /// Its size.
        size_bytes: u64,
        /// The offset.
        offset: u64,
    },
    /// There is no room for it, or what is left is needed for samples.
    #[error(
        "the collector's disk has no room for artifact {sha256} of {size_bytes} bytes: make room where {folder} is, and \
         try again"
    )]
    DiskFull {
        /// The artifact.
        sha256: Sha256,
        /// Its size as stated.
        size_bytes: u64,
        /// Where artifacts are kept.
        folder: PathBuf,
    },
    /// The file system failed.
    #[error("failed to {action} {path}: check the disk and its free space")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// The folder of artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
    upload_count: Arc<AtomicU64>,
}

// === impl Artifacts ===

impl Artifacts {
    /// Opens `artifacts` in the store's folder and removes what unfinished uploads left there. Called by whoever holds
    /// the store's lock: another collector's uploads would be removed, too.
    pub(crate) fn in_store(store: &Path) -> Result<Self, ArtifactError> {
        let folder = store.join("artifacts");
        let partial = folder.join(PARTIAL);
        match std::fs::remove_dir_all(&partial) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove unfinished uploads in", &partial)(source));
            }
            _ => {}
        }
        std::fs::create_dir_all(&partial).map_err(failed("make", &partial))?;
        Ok(Self { folder, upload_count: Arc::default() })
    }

    /// Where an artifact stands, or would stand: `artifacts/ab/abcdef…`.
    pub fn path(&self, sha256: Sha256) -> PathBuf {
        let name = sha256.to_string();
        self.folder.join(&name[..2]).join(&name)
    }

    /// Whether the artifact is here.
    pub fn has(&self, sha256: Sha256) -> bool {
        self.path(sha256).is_file()
    }

    /// Keeps the content of a stream of chunks under its name. Content that is here already is left as it is.
    ///
    /// # Errors
    /// [`ArtifactError`]; nothing is left behind.
    pub async fn put<S, C, E>(&self, sha256: Sha256, stated_bytes: u64, chunks: S) -> Result<(), ArtifactError>
    where
        S: Stream<Item = Result<C, E>>,
        C: AsRef<[u8]>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if stated_bytes > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge { sha256, size_bytes: stated_bytes });
        }
        if self.has(sha256) {
            return Ok(());
        }
        if room_bytes(&self.folder).is_some_and(|room_bytes| stated_bytes.saturating_add(RESERVE_BYTES) > room_bytes) {
            return Err(self.disk_full(sha256, stated_bytes));
        }
        self.receive(sha256, stated_bytes, chunks).await.map_err(|error| match error {
            // Others may have written, too, since the room was looked at.
            ArtifactError::Io { source, .. } if is_full(&source) => self.disk_full(sha256, stated_bytes),
            error => error,
        })
    }

    fn disk_full(&self, sha256: Sha256, size_bytes: u64) -> ArtifactError {
        ArtifactError::DiskFull { sha256, size_bytes, folder: self.folder.clone() }
    }

    async fn receive<S, C, E>(&self, sha256: Sha256, stated_bytes: u64, chunks: S) -> Result<(), ArtifactError>
    where
        S: Stream<Item = Result<C, E>>,
        C: AsRef<[u8]>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let upload = self.upload_count.fetch_add(1, Ordering::Relaxed);
        let partial = Partial(self.folder.join(PARTIAL).join(format!("{sha256}.{upload}")));
        let mut file = File::create_new(&partial.0).await.map_err(failed("create", &partial.0))?;
        let mut hasher = sha2::Sha256::new();
        let mut received_bytes = 0u64;
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| ArtifactError::Broken { sha256, source: source.into() })?;
            let chunk = chunk.as_ref();
            received_bytes += u64::try_from(chunk.len()).expect("a length fits 64 bits");
            if received_bytes > stated_bytes {
                return Err(ArtifactError::Size { sha256, stated_bytes, received_bytes });
            }
            hasher.update(chunk);
            file.write_all(chunk).await.map_err(failed("write", &partial.0))?;
        }
        if received_bytes != stated_bytes {
            return Err(ArtifactError::Size { sha256, stated_bytes, received_bytes });
        }
        let found = Sha256(hasher.finalize().into());
        if found != sha256 {
            return Err(ArtifactError::Checksum { sha256, found });
        }
        file.sync_all().await.map_err(failed("write", &partial.0))?;
        let path = self.path(sha256);
        let folder = path.parent().expect("an artifact's path has a folder");
        tokio::fs::create_dir_all(folder).await.map_err(failed("make", folder))?;
        tokio::fs::rename(&partial.0, &path).await.map_err(failed("name", &path))?;
        // The new name is durable once its folder is.
        let folder_file = File::open(folder).await.map_err(failed("open", folder))?;
        folder_file.sync_all().await.map_err(failed("write", folder))
    }

    /// Opens an artifact for reading from `offset` on.
    ///
    /// # Errors
    /// [`ArtifactError::Unknown`], [`ArtifactError::Offset`], and when the file system failed.
    pub async fn open(&self, sha256: Sha256, offset: u64) -> Result<File, ArtifactError> {
        let path = self.path(sha256);
        let mut file = match File::open(&path).await {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(ArtifactError::Unknown { sha256 }),
            file => file.map_err(failed("open", &path))?,
        };
        let size_bytes = file.metadata().await.map_err(failed("read", &path))?.len();
        if offset > size_bytes {
            return Err(ArtifactError::Offset { sha256, size_bytes, offset });
        }
        file.seek(io::SeekFrom::Start(offset)).await.map_err(failed("read", &path))?;
        Ok(file)
    }
}

/// Bytes that may still be written to a folder's file system; `None` when it does not tell.
fn room_bytes(folder: &Path) -> Option<u64> {
    let known = rustix::fs::statvfs(folder).ok()?;
    known.f_bavail.checked_mul(known.f_frsize)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::Io { action, path: path.clone(), source }
}

/// Removes an unfinished upload. After the rename there is nothing to remove.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(content: &[u8]) -> impl Stream<Item = Result<Vec<u8>, io::Error>> {
        tokio_stream::iter(content.chunks(7).map(|chunk| Ok(chunk.to_vec())).collect::<Vec<_>>())
    }

    fn partial_count(folder: &Path) -> usize {
        std::fs::read_dir(folder.join("artifacts/partial")).unwrap().count()
    }

    #[tokio::test]
    async fn what_was_put_is_there_and_can_be_read_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::in_store(folder.path()).unwrap();
        let content = b"a model of twenty b.";
        let sha256 = Sha256::of(content);
        assert!(!artifacts.has(sha256));
        artifacts.put(sha256, 20, chunks(content)).await.unwrap();
        assert!(artifacts.has(sha256));
        let mut rest = String::new();
        let mut file = artifacts.open(sha256, 2).await.unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut file, &mut rest).await.unwrap();
        assert_eq!(rest, "model of twenty b.");
        assert!(matches!(artifacts.open(sha256, 21).await, Err(ArtifactError::Offset { .. })));
        let unknown = Sha256::of(b"never seen");
        assert!(matches!(artifacts.open(unknown, 0).await, Err(ArtifactError::Unknown { .. })));
    }

    #[tokio::test]
    async fn wrong_content_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::in_store(folder.path()).unwrap();
        let sha256 = Sha256::of(b"right");
        let refused = |size, content: &'static [u8]| artifacts.put(sha256, size, chunks(content));
        assert!(matches!(refused(5, b"wrong").await, Err(ArtifactError::Checksum { .. })));
        assert!(matches!(refused(5, b"righ").await, Err(ArtifactError::Size { .. })));
        assert!(matches!(refused(4, b"right").await, Err(ArtifactError::Size { .. })));
        assert!(matches!(refused(3 << 30, b"right").await, Err(ArtifactError::TooLarge { .. })));
        let broken = tokio_stream::iter([Ok(b"ri".to_vec()), Err(io::Error::other("gone"))]);
        assert!(matches!(artifacts.put(sha256, 5, broken).await, Err(ArtifactError::Broken { .. })));
        assert!(!artifacts.has(sha256));
        assert_eq!(partial_count(folder.path()), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::in_store(folder.path()).unwrap();
        let room_bytes = room_bytes(folder.path()).unwrap();
        assert!(room_bytes > 0);
        assert!(is_full(&io::Error::from_raw_os_error(28)), "ENOSPC");
        let error = artifacts.disk_full(Sha256::of(b"x"), 7);
        let message = error.to_string();
        assert!(message.contains("no room") && message.contains("7 bytes"), "{message}");
        assert_eq!(tonic::Status::from(error).code(), tonic::Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn two_uploads_of_the_same_content_both_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::in_store(folder.path()).unwrap();
        let content = vec![7u8; 100_000];
        let sha256 = Sha256::of(&content);
        let (a, b) = tokio::join!(
            artifacts.put(sha256, 100_000, chunks(&content)),
            artifacts.put(sha256, 100_000, chunks(&content))
        );
        a.unwrap();
        b.unwrap();
        assert_eq!(std::fs::read(artifacts.path(sha256)).unwrap(), content);
        assert_eq!(partial_count(folder.path()), 0);
    }

    #[test]
    fn what_a_crash_left_is_removed_at_start() {
        let folder = tempfile::tempdir().unwrap();
        Artifacts::in_store(folder.path()).unwrap();
        std::fs::write(folder.path().join("artifacts/partial/half"), "ha").unwrap();
        Artifacts::in_store(folder.path()).unwrap();
        assert_eq!(partial_count(folder.path()), 0);
    }
}
