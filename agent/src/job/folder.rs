//! The private folder of one attempt: what the job is given, what it leaves, and nothing once it is over.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::fs::CWD;
use tinywatt_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::plain::{self, NotPlain};
use super::{JobError, strays};

/// Tries to remove a folder in which a process that was just killed may still have been writing.
const REMOVE_COUNT_MAX: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// How long a trial waits for a job's folder to be gone, so that no window holds work on the disk. Removing 200,000
/// files takes seconds; a slow card takes longer, and the next trial waits as long again before it begins.
const REMOVE_LIMIT: Duration = Duration::from_secs(60);

/// The same for a job that is to end, whose log and outcome must still get away.
const REMOVE_LIMIT_ENDING: Duration = Duration::from_secs(5);

/// Folder of the inputs, inside an attempt's.
const INPUTS: &str = "inputs";

/// Folder of what the job makes, inside an attempt's.
const OUTPUT: &str = "output";

/// What the job leaves, inside an attempt's folder.
pub(super) const RESULT: &str = "result.json";

/// Where jobs work.
#[derive(Debug, Clone)]
pub struct Jobs {
    dir: PathBuf,
    agent: PathBuf,
    /// One folder at a time, until it is gone: what is being removed is as bounded as what works.
    places: Arc<Semaphore>,
}

/// One attempt's folder. Dropping it removes it, which blocks.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The folder itself, whatever stands under its name by now.
    dir: File,
    /// What the agent has put there.
    given: Mutex<Given>,
    /// Dropped after it was removed.
    _place: OwnedSemaphorePermit,
}

/// Files by their device and number, with their bytes. They are held open, so that no other file gets their number.
type Given = HashMap<(u64, u64), (u64, Arc<File>)>;

/// What a job has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) file_count: u64,
    /// What ordinary users may still write on its disk.
    pub(super) free_bytes: Option<u64>,
    /// Something else stands in place of the folder itself or its output: what the job writes is not counted.
    pub(super) is_replaced: bool,
}

impl Jobs {
    /// Makes `dir`, and ends and removes what earlier starts of the agent left there. Programs without a slash are
    /// looked up beside `agent`, this program, first.
    ///
    /// # Errors
    /// When the folder cannot be made or emptied.
    pub fn open(dir: &Path, agent: &Path) -> Result<Self, JobError> {
        let failed = |action| move |source| JobError::Folder { action, path: dir.to_owned(), source };
        make(dir).map_err(failed("make"))?;
        // As the processes of jobs name it.
        let dir = dir.canonicalize().map_err(failed("find"))?;
        let stray_count = strays::end(&dir);
        if stray_count > 0 {
            tracing::warn!(stray_count, "processes of an earlier start's job were still running and are ended");
        }
        for entry in fs::read_dir(&dir).map_err(failed("read"))? {
            let path = entry.map_err(failed("read"))?.path();
            let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed("empty"))?;
        }
        Ok(Self { dir, agent: agent.to_owned(), places: Arc::new(Semaphore::new(1)) })
    }

    pub(super) fn agent(&self) -> &Path {
        &self.agent
    }

    /// Waits until the folder of the job before is gone: removing it is work that no other trial may hold in its windows.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub(crate) async fn cleared(&self) -> Result<(), JobError> {
        self.place(&self.dir).await.map(drop)
    }

    async fn place(&self, path: &Path) -> Result<OwnedSemaphorePermit, JobError> {
        let failed = |source| JobError::Folder { action: "make", path: path.to_owned(), source };
        let place = timeout(REMOVE_LIMIT, Arc::clone(&self.places).acquire_owned()).await.map_err(|_| {
            let problem = format!("an earlier job's is still being removed after {} s", REMOVE_LIMIT.as_secs());
            failed(io::Error::new(io::ErrorKind::TimedOut, problem))
        })?;
        place.map_err(|closed| failed(io::Error::other(closed)))
    }

    /// Makes an attempt's folder, once that of the job before is gone.
    pub(crate) async fn folder(&self, trial: &v1::TrialKey) -> Result<Folder, JobError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        let run: String =
            trial.run_id.chars().take(64).map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let path = self.dir.join(format!("{run}-{}-{}", trial.trial, trial.attempt));
        let failed = |source| JobError::Folder { action: "make", path: path.clone(), source };
        let place = self.place(&path).await?;
        let making = {
            let path = path.clone();
            spawn_blocking(move || Folder::new(path, place))
        };
        making.await.map_err(io::Error::other).flatten().map_err(failed)
    }
}

/// A job's files are its user's alone: they may hold data that is nobody else's business.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Folder {
    fn new(path: PathBuf, place: OwnedSemaphorePermit) -> io::Result<Self> {
        // Of the same attempt, whose folder could not be removed.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        make(&path)?;
        let dir = File::from(plain::open_folder(CWD, &path).map_err(io::Error::other)?);
        let folder = Self { path, dir, given: Mutex::default(), _place: place };
        make(&folder.path.join(INPUTS))?;
        make(&folder.output_dir())?;
        Ok(folder)
    }

    /// Removes it off the asynchronous threads. Waits for that, but not without end, and shortly once `ending` is
    /// cancelled.
    pub(crate) async fn remove(self, ending: &CancellationToken) {
        let path = self.path.clone();
        let hurried = async {
            ending.cancelled().await;
            sleep(REMOVE_LIMIT_ENDING).await;
        };
        tokio::select! {
            biased;
            _ = spawn_blocking(|| drop(self)) => return,
            () = hurried => {}
            () = sleep(REMOVE_LIMIT) => {}
        }
        tracing::warn!(folder = %path.display(), "a job's folder is still being removed, beside what follows");
    }

    /// The folder itself, for what is to be opened in it.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The folder of what the job made, unless something else stands there.
    pub(super) fn output(&self) -> Result<OwnedFd, NotPlain> {
        plain::open_folder(&self.dir, Path::new(OUTPUT))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn job_file(&self) -> PathBuf {
        self.path.join("job.json")
    }

    pub(super) fn output_dir(&self) -> PathBuf {
        self.path.join(OUTPUT)
    }

    pub(super) fn result(&self) -> PathBuf {
        self.path.join(RESULT)
    }

    pub(crate) fn progress(&self) -> PathBuf {
        self.path.join("progress.jsonl")
    }

    /// Gives the job a file of the artifact cache, to read. The content stays with the job even when the cache gives it
    /// up meanwhile, so the cache's limit may be smaller than a job's inputs.
    pub(crate) async fn take_in(&self, name: &str, source: PathBuf) -> Result<PathBuf, JobError> {
        let path = self.path.join(INPUTS).join(name);
        let failed = {
            let path = path.clone();
            |source| JobError::Folder { action: "make", path, source }
        };
        let taking = spawn_blocking(move || {
            fs::set_permissions(&source, fs::Permissions::from_mode(0o444))?;
            // On another file system, or one without links, a copy does it.
            fs::hard_link(&source, &path).or_else(|_| fs::copy(&source, &path).map(drop))?;
            let file = File::open(&path)?;
            Ok((file.metadata()?, file, path))
        });
        let (metadata, file, path) = taking.await.map_err(io::Error::other).flatten().map_err(failed)?;
        self.given().insert((metadata.dev(), metadata.ino()), (held_bytes(&metadata), Arc::new(file)));
        Ok(path)
    }

    /// Looks at what it holds beside its inputs, off the asynchronous threads. Ends the count beyond so many files.
    pub(super) async fn usage(&self, file_count_max: u64) -> io::Result<Usage> {
        let (path, dir, given) = (self.path.clone(), self.dir.try_clone()?, self.given().clone());
        spawn_blocking(move || Usage::of(&path, &dir, &given, file_count_max)).await.map_err(io::Error::other)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().expect("nobody panics while they hold it")
    }
}

impl Usage {
    fn of(path: &Path, dir: &File, given: &Given, file_count_max: u64) -> Self {
        let free_bytes = rustix::fs::fstatvfs(dir).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let mut usage = Self { free_bytes, is_replaced: is_replaced(path, dir), ..Self::default() };
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            // What cannot be read now was removed meanwhile, or is hidden from the agent, which is the job's own user.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                // Of a link itself, which is not followed.
                let Ok(metadata) = entry.metadata() else { continue };
                usage.file_count += 1;
                // An input counts with what the job has added to it, and one that was removed makes no room.
                let given_bytes = given.get(&(metadata.dev(), metadata.ino())).map_or(0, |(bytes, _)| *bytes);
                usage.bytes = usage.bytes.saturating_add(held_bytes(&metadata).saturating_sub(given_bytes));
                if usage.file_count > file_count_max {
                    return usage;
                }
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        usage
    }
}

/// Sparse files count with their length: it is what an upload would take.
fn held_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len().max(metadata.blocks().saturating_mul(512))
}

/// Whether what stands under the folder's name is another one, or its output is no folder. Output that is not there at
/// all may be in the making.
fn is_replaced(path: &Path, dir: &File) -> bool {
    let is_same = match (fs::symlink_metadata(path), dir.metadata()) {
        (Ok(found), Ok(made)) => (found.dev(), found.ino()) == (made.dev(), made.ino()),
        _ => false,
    };
    !is_same || fs::symlink_metadata(path.join(OUTPUT)).is_ok_and(|output| !output.is_dir())
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut removed = Ok(());
        for _ in 0..REMOVE_COUNT_MAX {
            removed = match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => return,
            };
            std::thread::sleep(REMOVE_PAUSE);
        }
        if let Err(error) = removed {
            tracing::warn!(folder = %self.path.display(), %error, "a job's folder stays until the agent's next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(run: &str) -> v1::TrialKey {
        v1::TrialKey { run_id: run.to_owned(), trial: 3, attempt: 2 }
    }

    #[tokio::test]
    async fn what_earlier_starts_left_is_removed_and_a_folder_goes_with_its_job() {
        let dir = tempfile::tempdir().expect("a folder");
        let left = dir.path().join("jobs/a-1-1/output");
        fs::create_dir_all(&left).expect("made");
        fs::write(left.join("model.pt"), "old").expect("written");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("/usr/bin/agent")).expect("opens");
        assert_eq!(fs::read_dir(dir.path().join("jobs")).expect("there").count(), 0);

        let folder = jobs.folder(&key("../run 1")).await.expect("made");
        let path = folder.path().to_owned();
        assert!(path.ends_with("jobs/___run_1-3-2"), "{}", path.display());
        assert!(folder.output_dir().is_dir() && !folder.result().exists());
        drop(folder);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_input_stays_when_the_cache_gives_it_up_and_does_not_count_as_output() {
        let dir = tempfile::tempdir().expect("a folder");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("agent")).expect("opens");
        let folder = jobs.folder(&key("a")).await.expect("made");
        let cached = dir.path().join("cached");
        fs::write(&cached, vec![1; 100_000]).expect("written");
        let input = folder.take_in("train", cached.clone()).await.expect("linked");
        fs::remove_file(&cached).expect("removed");
        let metadata = fs::metadata(&input).expect("there");
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (100_000, 0o444));

        let before = folder.usage(10).await.expect("looked");
        fs::write(folder.output_dir().join("model"), vec![1; 10_000]).expect("written");
        let after = folder.usage(10).await.expect("looked");
        assert_eq!(after.file_count, before.file_count + 1);
        assert!((10_000..20_000).contains(&(after.bytes - before.bytes)), "{before:?} {after:?}");
        assert!(before.bytes < 50_000, "{before:?}");
        // What a job puts beside its inputs is its own.
        fs::write(folder.path().join(INPUTS).join("hidden"), vec![1; 10_000]).expect("written");
        let hidden = folder.usage(10).await.expect("looked");
        assert!((10_000..20_000).contains(&(hidden.bytes - after.bytes)), "{after:?} {hidden:?}");
        fs::remove_file(&input).expect("removed");
        let freed = folder.usage(10).await.expect("looked");
        assert_eq!(freed.bytes, hidden.bytes, "an input that is gone makes no room");
        for index in 0..20 {
            fs::write(folder.output_dir().join(index.to_string()), "").expect("written");
        }
        assert_eq!(folder.usage(10).await.expect("looked").file_count, 11, "counted no further than needed");
    }

    #[tokio::test]
    async fn a_link_in_place_of_a_folder_is_found_and_a_new_folder_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("agent")).expect("opens");
        let folder = jobs.folder(&key("a")).await.expect("made");
        let is_replaced = async || folder.usage(10).await.expect("looked").is_replaced;
        let output = folder.output_dir();
        assert!(!is_replaced().await);
        fs::remove_dir(&output).expect("empty");
        assert!(!is_replaced().await, "it may be in the making");
        fs::create_dir(&output).expect("made");
        assert!(!is_replaced().await, "emptied in the way trainers do");
        folder.output().expect("a folder");

        fs::remove_dir(&output).expect("empty");
        std::os::unix::fs::symlink(dir.path(), &output).expect("made");
        assert!(is_replaced().await);
        assert!(matches!(folder.output(), Err(NotPlain::Other("folder"))));
        fs::remove_file(&output).expect("a link");
        fs::create_dir(&output).expect("made");

        fs::rename(folder.path(), dir.path().join("elsewhere")).expect("moved");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), folder.path()).expect("made");
        assert!(is_replaced().await);
        let (path, elsewhere) = (folder.path().to_owned(), dir.path().join("elsewhere"));
        drop(folder);
        assert!(path.symlink_metadata().is_err() && elsewhere.exists(), "the link goes, what it names stays");
    }

    /// The asynchronous thread of this test, its only one, has time for other things meanwhile.
    #[tokio::test]
    async fn a_large_folder_is_removed_beside_other_work_and_the_next_job_waits_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("agent")).expect("opens");
        let folder = jobs.folder(&key("a")).await.expect("made");
        let path = folder.path().to_owned();
        for index in 0..20_000 {
            fs::write(folder.output_dir().join(index.to_string()), "").expect("written");
        }
        let mut turn_count = 0;
        let ending = CancellationToken::new();
        tokio::select! {
            biased;
            () = folder.remove(&ending) => {}
            () = async { loop { turn_count += 1; tokio::task::yield_now().await; } } => {}
        }
        assert!(turn_count > 10, "{turn_count}");
        assert!(!path.exists());

        let first = jobs.folder(&key("a")).await.expect("made");
        fs::write(first.result(), "{}").expect("written");
        let again = key("a");
        let (second, ()) = tokio::join!(jobs.folder(&again), first.remove(&ending));
        assert!(!second.expect("made").result().exists());
    }
}
