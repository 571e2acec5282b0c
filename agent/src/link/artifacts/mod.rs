//! Models, inputs and traces: fetched once by their SHA-256, kept in a bounded cache, checked before every use. What jobs
//! make goes the other way.

mod upload;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tinywatt_proto::backoff;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::{CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::Refusal;
use tinywatt_proto::chain::Chain;
pub use upload::{Content, NotSent, UploadError};

/// Largest artifact. CIFAR-10's test inputs are 31 MB, ImageNet's at 224 × 224 would be 7.5 GB: a node is not for those.
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

/// Most bytes kept. Four of the largest artifacts, so that those of the inference at hand (two) are never the oldest;
/// a job's inputs, which may be more, are linked into its folder one by one.
pub const CACHE_BYTES_MAX: u64 = 4 << 30;

/// Connections that may fail while one artifact is fetched; each goes on where the one before stopped. With the waits
/// between them that bears an outage of about a minute; a longer one fails the attempt, and the trial is repeated.
const ATTEMPT_COUNT_MAX: u32 = 8;

/// Longest wait for the next 64 KiB: a link that needs longer would take five days for the largest artifact.
const CHUNK_LIMIT: Duration = Duration::from_secs(30);

/// An artifact could not be made available.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The assignment does not name it.
    #[error("the assignment names no {what}, or its SHA-256 has not 32 bytes: are agent and collector of one version?")]
    Reference {
        /// Which artifact.
        what: &'static str,
    },
    /// It is larger than an agent takes.
    #[error("artifact '{name}' has {size_bytes} bytes, a node takes up to {ARTIFACT_BYTES_MAX}: use fewer inputs")]
    TooLarge {
        /// Name for people.
        name: String,
        /// Size as announced.
        size_bytes: u64,
    },
    /// The collector does not have it.
    #[error(
        "the collector does not have artifact '{name}' ({sha256}): schedule the experiment again, which puts it there"
    )]
    Missing {
        /// Name for people.
        name: String,
        /// Its name.
        sha256: Sha256,
    },
    /// It could not be fetched.
    #[error("failed to fetch artifact '{name}' in {ATTEMPT_COUNT_MAX} tries: is the collector reachable?")]
    Fetch {
        /// Name for people.
        name: String,
        /// The last failure.
        #[source]
        source: Interrupted,
    },
    /// What arrived is something else.
    #[error(
        "artifact '{name}' arrived with SHA-256 {found} instead of {sha256}: put it again by scheduling the experiment"
    )]
    Checksum {
        /// Name for people.
        name: String,
        /// Its name.
        sha256: Sha256,
        /// What arrived.
        found: Sha256,
    },
    /// The cache folder cannot be used.
    #[error("failed to keep artifact '{name}' in {}: make the folder writable, and leave it room", dir.display())]
    Cache {
        /// Name for people.
        name: String,
        /// The cache's folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why one try ended early.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The collector refused, or the connection broke.
    #[error("the collector stopped sending")]
    Status(#[source] Refusal),
    /// The stream ended before the artifact did.
    #[error("only {received_bytes} of {size_bytes} bytes arrived")]
    Short {
        /// Bytes there.
        received_bytes: u64,
        /// Bytes announced.
        size_bytes: u64,
    },
    /// More arrived than was announced.
    #[error("more than the announced {size_bytes} bytes arrived")]
    Long {
        /// Bytes announced.
        size_bytes: u64,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived for {} s", CHUNK_LIMIT.as_secs())]
    Silent,
}

/// Fetches artifacts and keeps them in a folder, and sends what was made here. Used by one task at a time.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
    client: ArtifactServiceClient<Channel>,
    cache_bytes_max: u64,
}

/// Why a try failed: what passes, and what does not.
enum Failed {
    Passing(Interrupted),
    Lasting(ArtifactError),
}

struct Wanted {
    name: String,
    sha256: Sha256,
    size_bytes: u64,
}

impl Artifacts {
    /// Keeps artifacts in `dir`, which is made when needed. Connects to the collector when something is to be fetched.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(dir: &Path, endpoint: &Endpoint) -> Self {
        let client = ArtifactServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { dir: dir.to_owned(), client, cache_bytes_max: CACHE_BYTES_MAX }
    }

    /// Makes an artifact available and gives its path. `progress` is told the part that is there, 0 to 1.
    ///
    /// # Errors
    /// Any [`ArtifactError`]; what was fetched so far is kept for the next time.
    pub async fn fetch(
        &self,
        what: &'static str,
        artifact: Option<&v1::ArtifactRef>,
        mut progress: impl FnMut(f64) + Send,
    ) -> Result<PathBuf, ArtifactError> {
        let artifact = artifact.ok_or(ArtifactError::Reference { what })?;
        let sha256 = Sha256::from_bytes(&artifact.sha256).ok_or(ArtifactError::Reference { what })?;
        let wanted = Wanted { name: artifact.name.clone(), sha256, size_bytes: artifact.size_bytes };
        if wanted.size_bytes > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge { name: wanted.name, size_bytes: wanted.size_bytes });
        }
        let cache = |source| ArtifactError::Cache { name: wanted.name.clone(), dir: self.dir.clone(), source };
        tokio::fs::create_dir_all(&self.dir).await.map_err(cache)?;
        let path = self.dir.join(sha256.to_string());
        if hash(&path).await.is_ok_and(|found| found == sha256) {
            touch(&path).map_err(cache)?;
            return Ok(path);
        }
        make_room(&self.dir, self.cache_bytes_max.saturating_sub(wanted.size_bytes), &part(&path)).map_err(cache)?;
        self.download(&wanted, &path, &mut progress).await?;
        Ok(path)
    }

    async fn download(
        &self,
        wanted: &Wanted,
        path: &Path,
        progress: &mut (impl FnMut(f64) + Send),
    ) -> Result<(), ArtifactError> {
        let mut try_count = 0;
        loop {
            try_count += 1;
            match self.try_download(wanted, path, progress).await {
                Ok(()) => return Ok(()),
                Err(Failed::Lasting(error)) => return Err(error),
                Err(Failed::Passing(source)) if try_count == ATTEMPT_COUNT_MAX => {
                    return Err(ArtifactError::Fetch { name: wanted.name.clone(), source });
                }
                Err(Failed::Passing(source)) => {
                    tracing::debug!(artifact = %wanted.sha256, error = %Chain(&source), "fetching is interrupted");
                    sleep(backoff::delay(try_count, 0.5)).await;
                }
            }
        }
    }

    /// Fetches what is missing, checks the whole and gives it its name.
    async fn try_download(
        &self,
        wanted: &Wanted,
        path: &Path,
        progress: &mut (impl FnMut(f64) + Send),
    ) -> Result<(), Failed> {
        let cache =
            |source| Failed::Lasting(ArtifactError::Cache { name: wanted.name.clone(), dir: self.dir.clone(), source });
        let size_bytes = wanted.size_bytes;
        let part = part(path);
        let mut file = tokio::fs::OpenOptions::new().append(true).create(true).open(&part).await.map_err(cache)?;
        let mut received_bytes = file.metadata().await.map_err(cache)?.len();
        if received_bytes > size_bytes {
            file.set_len(0).await.map_err(cache)?;
            received_bytes = 0;
        }
        let resumed = received_bytes > 0;
        if received_bytes < size_bytes {
            let request = v1::GetRequest { sha256: wanted.sha256.0.to_vec(), offset: received_bytes };
            let answer = timeout(CHUNK_LIMIT, self.client.clone().get(request)).await;
            let answer = answer.map_err(|_| Failed::Passing(Interrupted::Silent))?;
            let mut chunks = answer.map_err(|status| refused(wanted, status))?.into_inner();
            while received_bytes < size_bytes {
                let chunk = timeout(CHUNK_LIMIT, chunks.message()).await;
                let chunk = chunk.map_err(|_| Failed::Passing(Interrupted::Silent))?;
                let Some(v1::GetResponse { chunk }) = chunk.map_err(|status| refused(wanted, status))? else { break };
                received_bytes += chunk.len() as u64;
                if received_bytes > size_bytes {
                    file.set_len(0).await.map_err(cache)?;
                    return Err(Failed::Passing(Interrupted::Long { size_bytes }));
                }
                file.write_all(&chunk).await.map_err(cache)?;
                progress(part_of(received_bytes, size_bytes));
            }
        }
        file.flush().await.map_err(cache)?;
        if received_bytes < size_bytes {
            return Err(Failed::Passing(Interrupted::Short { received_bytes, size_bytes }));
        }
        // A power cut must not leave the name without the content.
        file.sync_all().await.map_err(cache)?;
        let found = hash(&part).await.map_err(cache)?;
        if found == wanted.sha256 {
            return tokio::fs::rename(&part, path).await.map_err(cache);
        }
        tokio::fs::remove_file(&part).await.map_err(cache)?;
        if resumed {
            // The beginning may be what a power cut left of an earlier try.
            return Err(Failed::Passing(Interrupted::Short { received_bytes: 0, size_bytes }));
        }
        let (name, sha256) = (wanted.name.clone(), wanted.sha256);
        Err(Failed::Lasting(ArtifactError::Checksum { name, sha256, found }))
    }
}

/// Where the beginning of an artifact lies while it is fetched.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

fn refused(wanted: &Wanted, status: Status) -> Failed {
    if status.code() == Code::NotFound {
        Failed::Lasting(ArtifactError::Missing { name: wanted.name.clone(), sha256: wanted.sha256 })
    } else {
        Failed::Passing(Interrupted::Status(status.into()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people; exact below 2^53 anyway")]
fn part_of(received_bytes: u64, size_bytes: u64) -> f64 {
    received_bytes as f64 / size_bytes.max(1) as f64
}

/// The SHA-256 of a file, off the asynchronous threads.
async fn hash(path: &Path) -> io::Result<Sha256> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        use sha2::Digest as _;
        let mut file = std::fs::File::open(path)?;
        let (mut hasher, mut piece) = (sha2::Sha256::new(), vec![0; CHUNK_BYTES_MAX]);
        loop {
            match io::Read::read(&mut file, &mut piece)? {
                0 => return Ok(Sha256(hasher.finalize().into())),
                count => hasher.update(&piece[..count]),
            }
        }
    });
    hashing.await.map_err(io::Error::other)?
}

/// Marks a file as used now. The system reads its own clock for that.
fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    utimensat(CWD, path, &times, AtFlags::empty()).map_err(io::Error::from)
}

/// Removes the files used longest ago until `bytes_max` are left; `keep` is not one of them.
fn make_room(dir: &Path, bytes_max: u64, keep: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && entry.path() != keep {
            files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, file_bytes, path) in files {
        if bytes <= bytes_max {
            break;
        }
        std::fs::remove_file(path)?;
        bytes -= file_bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_used_longest_ago_make_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = ["a", "b", "c"].map(|name| dir.path().join(name));
        for (age, file) in files.iter().enumerate() {
            std::fs::write(file, [0; 100]).expect("written");
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            std::fs::File::options().write(true).open(file).expect("there").set_modified(used).expect("set");
        }
        touch(&files[0]).expect("its owner may");
        make_room(dir.path(), 250, &files[2]).expect("removes");
        assert_eq!(files.each_ref().map(|file| file.exists()), [true, true, true], "200 bytes beside the kept one");
        make_room(dir.path(), 150, &dir.path().join("other")).expect("removes");
        assert_eq!(files.each_ref().map(|file| file.exists()), [true, false, false], "the touched one is the newest");
    }
}
