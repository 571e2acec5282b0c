//! The private folder of one attempt: what the job is given, what it leaves, and nothing once it is over.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tinywatt_proto::v1;

use super::{JobError, strays};

/// Tries to remove a folder in which a process that was just killed may still have been writing.
const REMOVE_COUNT_MAX: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Folder of the inputs, inside an attempt's.
const INPUTS: &str = "inputs";

/// Where jobs work.
#[derive(Debug, Clone)]
pub struct Jobs {
    dir: PathBuf,
    agent: PathBuf,
}

/// One attempt's folder. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// What a job has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) file_count: u64,
    /// What ordinary users may still write on its disk.
    pub(super) free_bytes: Option<u64>,
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
        Ok(Self { dir, agent: agent.to_owned() })
    }

    pub(super) fn agent(&self) -> &Path {
        &self.agent
    }

    /// Makes an attempt's folder.
    pub(crate) fn folder(&self, trial: &v1::TrialKey) -> Result<Folder, JobError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        let run: String =
            trial.run_id.chars().take(64).map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let path = self.dir.join(format!("{run}-{}-{}", trial.trial, trial.attempt));
        let failed = |action| {
            let path = path.clone();
            move |source| JobError::Folder { action, path, source }
        };
        // Of the same attempt, whose folder could not be removed.
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed("empty")(source)),
            _ => {}
        }
        let folder = Folder { path: path.clone() };
        for part in [&folder.path, &folder.input_dir(), &folder.output_dir()] {
            make(part).map_err(failed("make"))?;
        }
        Ok(folder)
    }
}

/// A job's files are its user's alone: they may hold data that is nobody else's business.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn job_file(&self) -> PathBuf {
        self.path.join("job.json")
    }

    pub(super) fn output_dir(&self) -> PathBuf {
        self.path.join("output")
    }

    pub(super) fn result(&self) -> PathBuf {
        self.path.join("result.json")
    }

    pub(crate) fn progress(&self) -> PathBuf {
        self.path.join("progress.jsonl")
    }

    fn input_dir(&self) -> PathBuf {
        self.path.join(INPUTS)
    }

    /// Gives the job a file of the artifact cache, to read. The content stays with the job even when the cache gives it
    /// up meanwhile, so the cache's limit may be smaller than a job's inputs.
    pub(crate) async fn take_in(&self, name: &str, source: PathBuf) -> Result<PathBuf, JobError> {
        let path = self.input_dir().join(name);
        let failed = {
            let path = path.clone();
            |source| JobError::Folder { action: "make", path, source }
        };
        let taking = tokio::task::spawn_blocking(move || {
            fs::set_permissions(&source, fs::Permissions::from_mode(0o444))?;
            // On another file system, or one without links, a copy does it.
            fs::hard_link(&source, &path).or_else(|_| fs::copy(&source, &path).map(drop))?;
            Ok(path)
        });
        taking.await.map_err(io::Error::other).flatten().map_err(failed)
    }
}

impl Usage {
    /// Looks at an attempt's folder: everything but its inputs. Ends the count beyond so many files. Blocks.
    pub(super) fn of(path: &Path, file_count_max: u64) -> Self {
        let free_bytes = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let mut usage = Self { free_bytes, ..Self::default() };
        let (mut folders, inputs) = (vec![path.to_owned()], path.join(INPUTS));
        while let Some(folder) = folders.pop() {
            // What cannot be read now was removed meanwhile, or is hidden from the agent, which is the job's own user.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                let path = entry.path();
                if path == inputs {
                    continue;
                }
                usage.file_count += 1;
                // Sparse files count with their length: it is what an upload would take.
                usage.bytes = usage.bytes.saturating_add(metadata.len().max(metadata.blocks().saturating_mul(512)));
                if usage.file_count > file_count_max {
                    return usage;
                }
                if metadata.is_dir() {
                    folders.push(path);
                }
            }
        }
        usage
    }
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

    #[test]
    fn what_earlier_starts_left_is_removed_and_a_folder_goes_with_its_job() {
        let dir = tempfile::tempdir().expect("a folder");
        let left = dir.path().join("jobs/a-1-1/output");
        fs::create_dir_all(&left).expect("made");
        fs::write(left.join("model.pt"), "old").expect("written");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("/usr/bin/agent")).expect("opens");
        assert_eq!(fs::read_dir(dir.path().join("jobs")).expect("there").count(), 0);

        let folder = jobs.folder(&key("../run 1")).expect("made");
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
        let folder = jobs.folder(&key("a")).expect("made");
        let cached = dir.path().join("cached");
        fs::write(&cached, vec![1; 100_000]).expect("written");
        let input = folder.take_in("train", cached.clone()).await.expect("linked");
        fs::remove_file(&cached).expect("removed");
        let metadata = fs::metadata(&input).expect("there");
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (100_000, 0o444));

        let before = Usage::of(folder.path(), 10);
        fs::write(folder.output_dir().join("model"), vec![1; 10_000]).expect("written");
        let after = Usage::of(folder.path(), 10);
        assert_eq!(after.file_count, before.file_count + 1);
        assert!((10_000..20_000).contains(&(after.bytes - before.bytes)), "{before:?} {after:?}");
        assert!(before.bytes < 50_000, "{before:?}");
        for index in 0..20 {
            fs::write(folder.output_dir().join(index.to_string()), "").expect("written");
        }
        assert_eq!(Usage::of(folder.path(), 10).file_count, 11, "counted no further than needed");
    }
}
