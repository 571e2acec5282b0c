//! What jobs make goes to the collector: named by its SHA-256, sent in chunks, and there before an outcome speaks of it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::backoff;
use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{ARTIFACT_BYTES_MAX, Artifacts, CHUNK_LIMIT, hash, part_of};
use crate::link::Refusal;

/// Uploads that may fail before one is given up. With the waits between them, 11 s each, that bears an outage of twelve
/// hours, a night without the collector: training for hours again costs more than a node that waits. The collector
/// cancels an attempt sooner when its limit is over, or when somebody gives it up.
const ATTEMPT_COUNT_MAX: u32 = 3_850;

/// How long the collector may take to commit what it has received: the largest artifact on a slow card.
const COMMIT_LIMIT: Duration = Duration::from_secs(120);

/// Chunks read ahead of a slow line: 256 KiB.
const CHUNK_QUEUE_COUNT: usize = 4;

/// Something could not be given to the collector.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It cannot be read.
    #[error("failed to read '{name}', which the job made, to send it to the collector")]
    Read {
        /// Name for people.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than other nodes take.
    #[error("'{name}' has {size_bytes} bytes, an artifact may have {ARTIFACT_BYTES_MAX}")]
    TooLarge {
        /// Name for people.
        name: String,
        /// Its size.
        size_bytes: u64,
    },
    /// The collector does not want it.
    #[error("the collector does not take '{name}'")]
    Refused {
        /// Name for people.
        name: String,
        /// What it says.
        #[source]
        source: Refusal,
    },
    /// It did not get there.
    #[error("failed to send '{name}' to the collector in {ATTEMPT_COUNT_MAX} tries: is it reachable, and has it room?")]
    Send {
        /// Name for people.
        name: String,
        /// The last failure.
        #[source]
        source: NotSent,
    },
}

/// Why one try ended early.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The collector refused, or the connection broke.
    #[error("the collector stopped receiving")]
    Status(#[source] Refusal),
    /// Nothing was taken for too long.
    #[error("nothing was taken for {} s", CHUNK_LIMIT.as_secs())]
    Silent,
    /// Everything was taken, and nothing said.
    #[error("it was not committed within {} s", COMMIT_LIMIT.as_secs())]
    NotCommitted,
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file that nobody changes any more.
    File(PathBuf),
    /// A text in memory.
    Bytes(Vec<u8>),
}

/// Why a try failed: what passes, and what does not.
enum Failed {
    Passing(NotSent),
    Lasting(UploadError),
}

impl Artifacts {
    /// Gives the collector an artifact, unless it has it, and says how it is called there. `progress` is told the part
    /// that is sent, 0 to 1.
    ///
    /// # Errors
    /// Any [`UploadError`].
    pub async fn put(
        &self,
        name: &str,
        content: &Content,
        mut progress: impl FnMut(f64) + Send,
    ) -> Result<v1::ArtifactRef, UploadError> {
        let read = |source| UploadError::Read { name: name.to_owned(), source };
        let (sha256, size_bytes) = match content {
            Content::File(path) => {
                let size_bytes = tokio::fs::metadata(path).await.map_err(read)?.len();
                (hash(path).await.map_err(read)?, size_bytes)
            }
            Content::Bytes(bytes) => (Sha256::of(bytes), bytes.len() as u64),
        };
        if size_bytes > ARTIFACT_BYTES_MAX {
            return Err(UploadError::TooLarge { name: name.to_owned(), size_bytes });
        }
        let artifact = v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes, name: name.to_owned() };
        let mut try_count = 0;
        loop {
            try_count += 1;
            match self.try_put(&artifact, content, &mut progress).await {
                Ok(()) => return Ok(artifact),
                Err(Failed::Lasting(error)) => return Err(error),
                Err(Failed::Passing(source)) if try_count == ATTEMPT_COUNT_MAX => {
                    return Err(UploadError::Send { name: name.to_owned(), source });
                }
                Err(Failed::Passing(source)) => {
                    tracing::debug!(artifact = %sha256, error = %Chain(&source), "sending is interrupted");
                    sleep(backoff::delay(try_count, 0.5)).await;
                }
            }
        }
    }

    /// Asks, and sends everything from the beginning: the collector keeps no parts.
    async fn try_put(
        &self,
        artifact: &v1::ArtifactRef,
        content: &Content,
        progress: &mut (impl FnMut(f64) + Send),
    ) -> Result<(), Failed> {
        let refused = |status| refused(&artifact.name, status);
        let asked = v1::HasRequest { sha256: vec![artifact.sha256.clone()] };
        let answer = timeout(CHUNK_LIMIT, self.client.clone().has(asked)).await;
        let answer = answer.map_err(|_| Failed::Passing(NotSent::Silent))?.map_err(refused)?;
        if answer.into_inner().present.first() == Some(&true) {
            progress(1.0);
            return Ok(());
        }
        let (chunks, sending) = mpsc::channel(CHUNK_QUEUE_COUNT);
        let mut client = self.client.clone();
        tokio::select! {
            biased;
            answer = client.put(ReceiverStream::new(sending)) => answer.map(drop).map_err(refused),
            // Ends only when it fails: the collector's answer is what ends an upload well.
            failed = feed(artifact, content, chunks, progress) => Err(failed),
        }
    }
}

/// Puts the content into the queue, chunk by chunk, and waits to be told that it was committed.
async fn feed(
    artifact: &v1::ArtifactRef,
    content: &Content,
    chunks: mpsc::Sender<v1::PutRequest>,
    progress: &mut (impl FnMut(f64) + Send),
) -> Failed {
    let read = |source| Failed::Lasting(UploadError::Read { name: artifact.name.clone(), source });
    let mut file: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match content {
        Content::File(path) => match tokio::fs::File::open(path).await {
            Ok(file) => Box::new(file),
            Err(error) => return read(error),
        },
        Content::Bytes(bytes) => Box::new(&bytes[..]),
    };
    let (mut sent_bytes, mut is_first) = (0u64, true);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
        let count = match (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut chunk).await {
            Ok(count) => count,
            Err(error) => return read(error),
        };
        if count == 0 && !is_first {
            break;
        }
        let mut request = v1::PutRequest { chunk, ..v1::PutRequest::default() };
        if std::mem::take(&mut is_first) {
            request.sha256 = Some(artifact.sha256.clone());
            request.size_bytes = Some(artifact.size_bytes);
        }
        match timeout(CHUNK_LIMIT, chunks.send(request)).await {
            Ok(Ok(())) => {}
            // The collector wants no more, and its answer says why.
            Ok(Err(_)) => break,
            Err(_) => return Failed::Passing(NotSent::Silent),
        }
        sent_bytes += count as u64;
        progress(part_of(sent_bytes, artifact.size_bytes));
    }
    drop(chunks);
    sleep(COMMIT_LIMIT).await;
    Failed::Passing(NotSent::NotCommitted)
}

fn refused(name: &str, status: Status) -> Failed {
    match status.code() {
        Code::InvalidArgument | Code::ResourceExhausted | Code::PermissionDenied | Code::Unimplemented => {
            Failed::Lasting(UploadError::Refused { name: name.to_owned(), source: status.into() })
        }
        _ => Failed::Passing(NotSent::Status(status.into())),
    }
}
