//! Gets published data sets from their official homes into the user's cache, once, and checks them.
//!
//! Every file is pinned by size and SHA-256: nothing is unpacked, or appears under its name, before its content is the one
//! that was published. A fetch that breaks off goes on where it stopped, in the same call or a later one. Blocks.

mod download;
mod unpack;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Kind, cifar10, svhn};
use download::Source;

/// SHA-256 and sizes of all three files are those that TensorFlow Datasets pins
/// (`tensorflow_datasets/url_checksums/{cifar10,svhn_cropped}.txt`, commit 333639b3); torchvision pins the same SHA-256 of
/// SVHN's (`torchvision/prototype/datasets/_builtin/svhn.py`, commit 05caddc3). Those who looked at a file by both its
/// sums give the MD5 c32a1d4ab5d03f1284b67883e8d87530 beside CIFAR-10's, which is that of its own page, and
/// e26dedcc434d2e4c54c9b2d4a06d8373 and eb5a983be6a315427106f1b164d9cef3 beside SVHN's, which torchvision's releases pin.
const CIFAR10_ARCHIVE: Source<'static> = Source {
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    name: "cifar-10-binary.tar.gz",
    bytes: 170_052_171,
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
};
/// See [`CIFAR10_ARCHIVE`]. The home has no HTTPS; the checksum is what is believed.
const SVHN_FILES: [Source<'static>; 2] = [
    Source {
        url: "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        name: svhn::TRAIN_FILE,
        bytes: 182_040_794,
        sha256: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    },
    Source {
        url: "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        name: svhn::TEST_FILE,
        bytes: 64_275_384,
        sha256: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
];

/// What is published of a data set, as far as it is read.
fn sources(kind: Kind) -> &'static [Source<'static>] {
    match kind {
        Kind::Cifar10 => &[CIFAR10_ARCHIVE],
        Kind::Svhn => &SVHN_FILES,
        Kind::Digits | Kind::Kws | Kind::File => &[],
    }
}

impl Kind {
    /// Bytes that fetching it takes; `None` for data sets that are built in or brought.
    pub fn fetch_bytes(self) -> Option<u64> {
        let sources = sources(self);
        (!sources.is_empty()).then(|| sources.iter().map(|source| source.bytes).sum())
    }
}

/// A data set cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is published in no form that could be fetched.
    #[error("the data set '{0}' is not fetched: name its folder or file with a path")]
    NoHome(Kind),
    /// A folder or file of the cache cannot be written.
    #[error("failed to write {path}: is it writable, and is there room for {} MB?", bytes.div_ceil(1_000_000), path = path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// Room that is needed in all.
        bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the cache cannot be read back.
    #[error("failed to read {path} back", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else is at it.
    #[error("another program is fetching into {path}: wait for it and try again", path = path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The home does not answer.
    #[error("failed to fetch {url}; where there is no way to it, bring the data set and name its folder with a path")]
    Request {
        /// Address.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The home answers with something else.
    #[error("{url} answers with status {status}; if it has moved, bring the data set and name its folder with a path")]
    Status {
        /// Address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The connection was cut or stood still, again and again.
    #[error(
        "{url} broke off at {done_bytes} of {total_bytes} bytes; what has come is kept, the next fetch goes on from there"
    )]
    Broken {
        /// Address.
        url: String,
        /// What is there.
        done_bytes: u64,
        /// What should be there.
        total_bytes: u64,
        /// How it ended the last time.
        #[source]
        source: io::Error,
    },
    /// The home has a file of another size.
    #[error(
        "{url} has {found} bytes where {expected} were published: it is another file, or a page in between; nothing of \
         it is kept"
    )]
    Size {
        /// Address.
        url: String,
        /// Bytes that were published.
        expected: u64,
        /// Bytes that are offered, at least.
        found: u64,
    },
    /// The file is not the one that was published.
    #[error(
        "{url} came with SHA-256 {found}, and {expected} was published: it is damaged, or another file; it was removed"
    )]
    Checksum {
        /// Address.
        url: String,
        /// What was published.
        expected: String,
        /// What came.
        found: String,
    },
    /// The archive does not hold what it should.
    #[error("{path} cannot be unpacked", path = path.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Bytes that are there.
    pub done_bytes: u64,
    /// Bytes that will be there.
    pub total_bytes: u64,
}

/// How long to wait for what, and how often to try.
#[derive(Debug, Clone)]
struct Patience {
    /// For a connection, TLS included.
    connect: Duration,
    /// For an answer, and for each next bytes of it.
    silence_max: Duration,
    /// After the first failure; doubled after each next one.
    wait_min: Duration,
    wait_max: Duration,
    /// Failures one after another that brought nothing.
    fruitless_count_max: u32,
    /// Attempts in all: a server that gives a few bytes at a time is not worth more.
    attempt_count_max: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            silence_max: Duration::from_secs(30),
            wait_min: Duration::from_secs(1),
            wait_max: Duration::from_secs(10),
            fruitless_count_max: 4,
            attempt_count_max: 50,
        }
    }
}

/// Keeps data sets in a cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    datasets: PathBuf,
    mirror: Option<String>,
    patience: Patience,
}

impl Fetcher {
    /// Keeps data sets in `tinywatt/datasets` of the user's folder for caches.
    pub fn new(cache_home: &Path) -> Self {
        Self { datasets: cache_home.join("tinywatt/datasets"), mirror: None, patience: Patience::default() }
    }

    /// Fetches files by their names from this address instead of their homes. What they must hold stays the same.
    #[must_use]
    pub fn with_mirror(mut self, url: impl Into<String>) -> Self {
        self.mirror = Some(url.into());
        self
    }

    /// Folder that a data set is fetched to, whether or not it is there.
    pub fn folder(&self, kind: Kind) -> PathBuf {
        self.datasets.join(kind.name())
    }

    /// Whether a data set has been fetched, by the sizes of its files: they got their names when they were checked.
    pub fn is_available(&self, kind: Kind) -> bool {
        let folder = self.folder(kind);
        let has = |name: &str, bytes: u64| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == bytes);
        match kind {
            Kind::Digits => true,
            Kind::Cifar10 => unpack::is_whole(&folder.join(cifar10::FOLDER), &cifar10::FILES),
            Kind::Svhn => sources(kind).iter().all(|source| has(source.name, source.bytes)),
            Kind::Kws | Kind::File => false,
        }
    }

    /// Makes sure that a data set is there and returns the path that [`super::Request`] takes: the one that is given, or
    /// the cache's folder with what was fetched. The digits are built in and need none: their path is empty.
    ///
    /// # Errors
    /// Any [`FetchError`]. A path that is given is believed; reading it tells what is wrong with it.
    pub fn make_available(
        &self,
        kind: Kind,
        path: Option<&Path>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, FetchError> {
        if let Some(path) = path {
            return Ok(path.to_owned());
        }
        if kind == Kind::Digits {
            return Ok(PathBuf::new());
        }
        let Some(bytes) = kind.fetch_bytes() else { return Err(FetchError::NoHome(kind)) };
        let folder = self.folder(kind);
        if self.is_available(kind) {
            return Ok(folder);
        }
        let _lock = lock(&folder, bytes)?;
        // Another program may have fetched it while the lock was taken.
        if !self.is_available(kind) {
            match kind {
                Kind::Cifar10 => self.archive(&CIFAR10_ARCHIVE, &folder, cifar10::FOLDER, &cifar10::FILES, progress)?,
                _ => self.files(sources(kind), &folder, progress)?,
            }
        }
        Ok(folder)
    }

    /// Fetches files that are kept as they come.
    fn files(
        &self,
        sources: &[Source<'_>],
        folder: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), FetchError> {
        for source in sources {
            let file = folder.join(source.name);
            if fs::metadata(&file).is_ok_and(|metadata| metadata.len() == source.bytes) {
                continue;
            }
            let part = self.download(source, folder, progress)?;
            let write =
                |source_error| FetchError::Write { path: file.clone(), bytes: source.bytes, source: source_error };
            fs::rename(&part, &file).map_err(write)?;
        }
        Ok(())
    }

    /// Fetches an archive, unpacks the files that are read, and removes it.
    fn archive(
        &self,
        source: &Source<'_>,
        folder: &Path,
        inner: &str,
        files: &[(&str, u64)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), FetchError> {
        let part = self.download(source, folder, progress)?;
        unpack::unpack(&part, folder, inner, files)?;
        // A file more in the cache harms nobody.
        let _ = fs::remove_file(&part);
        Ok(())
    }

    fn download(
        &self,
        source: &Source<'_>,
        folder: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, FetchError> {
        let mirrored = self.mirror.as_ref().map(|mirror| format!("{}/{}", mirror.trim_end_matches('/'), source.name));
        let source = Source { url: mirrored.as_deref().unwrap_or(source.url), ..*source };
        download::download(&source, folder, &self.patience, progress)
    }
}

/// Holds the folder for this program alone, until the file is closed.
fn lock(folder: &Path, bytes: u64) -> Result<File, FetchError> {
    let write = |source| FetchError::Write { path: folder.to_owned(), bytes, source };
    fs::create_dir_all(folder).map_err(write)?;
    let file = File::create(folder.join(".lock")).map_err(write)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FetchError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(write(error)),
    }
}

#[cfg(test)]
mod tests;
