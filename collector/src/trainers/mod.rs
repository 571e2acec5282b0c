//! Trainers that are written in Python: carried in the program, installed on first use, started as jobs are.
//!
//! Under `tinywatt/trainers` in the user's cache stand `package-HASH/` (the sources, the same for all trainers) and
//! `NAME-HASH/` (a trainer's environment, by the hash of its requirements: another release of the program with the same
//! requirements fetches nothing). What stands there can be removed at any time and is made again.

mod install;
mod lock;
mod package;
mod python;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use install::{InstallError, Installed, Wish, install};
pub use lock::LockError;
pub use package::{File, PACKAGE, Package};
pub use python::PythonError;
use serde::{Deserialize, Serialize};

/// Where trainers stand in the user's folder for caches.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("tinywatt/trainers")
}

/// How long a job waits for an installation that has its environment. Not longer: the wait is measured as the job's work.
const RUN_LIMIT: Duration = Duration::from_secs(5);

/// One trainer of a package, and where it is or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainer {
    package: Package,
    name: String,
    requirements: File,
    /// The folder of all trainers.
    root: PathBuf,
}

/// Written last, by rename: an environment without it is unfinished.
const COMPLETE: &str = "complete";

/// What the file [`COMPLETE`] holds.
#[derive(Debug, Serialize, Deserialize)]
struct Complete {
    /// Full path of the interpreter.
    python: PathBuf,
    /// Its version, for people.
    version: String,
}

/// There is no trainer of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no trainer '{name}'; known: {known}")]
pub struct UnknownTrainer {
    name: String,
    known: String,
}

/// A job cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The trainer is not installed.
    #[error("trainer '{name}' is not installed here; `collector trainer install {name}` does it")]
    NotInstalled {
        /// The trainer.
        name: String,
    },
    /// An installation changes it.
    #[error(transparent)]
    Lock(LockError),
}

impl Trainer {
    /// Finds a trainer of a package; `root` is the folder of all trainers.
    ///
    /// # Errors
    /// When the package has none of this name; the message lists those it has.
    pub fn find(package: Package, name: &str, root: &Path) -> Result<Self, UnknownTrainer> {
        let unknown =
            || UnknownTrainer { name: name.to_owned(), known: package.trainers().collect::<Vec<_>>().join(", ") };
        let requirements = package.requirements(name).ok_or_else(unknown)?;
        Ok(Self { package, name: name.to_owned(), requirements, root: root.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Folder of its environment.
    pub fn folder(&self) -> PathBuf {
        self.root.join(format!("{}-{}", self.name, package::hash(self.requirements.content)))
    }

    /// The interpreter that has what the trainer needs; `None` when it is not installed, or is gone.
    pub fn python(&self) -> Option<PathBuf> {
        let text = std::fs::read(self.folder().join(COMPLETE)).ok()?;
        let complete: Complete = serde_json::from_slice(&text).ok()?;
        // A link to an interpreter that an update has removed leads nowhere.
        complete.python.exists().then_some(complete.python)
    }

    /// What executes a job. The environment stays as it is until the command has ended, or is dropped unstarted.
    ///
    /// # Errors
    /// Any [`StartError`].
    pub fn command(&self, job: &Path) -> Result<Command, StartError> {
        let not_installed = || StartError::NotInstalled { name: self.name.clone() };
        let lock = lock::shared(&self.lock_path(), RUN_LIMIT, &mut || ()).map_err(|error| match error {
            LockError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => not_installed(),
            error => StartError::Lock(error),
        })?;
        let sources = self.sources_folder();
        let mut command = Command::new(self.python().filter(|_| sources.is_dir()).ok_or_else(not_installed)?);
        command.args(["-m", "tinywatt_trainers", &self.name]).arg(job).stdin(Stdio::from(lock));
        // Only what was installed: neither the user's own packages nor a folder named in their environment.
        command.env("PYTHONPATH", sources.join("src")).env("PYTHONNOUSERSITE", "1").env("PYTHONUNBUFFERED", "1");
        command.env_remove("PYTHONHOME");
        Ok(command)
    }

    fn lock_path(&self) -> PathBuf {
        self.folder().with_added_extension("lock")
    }

    fn sources_folder(&self) -> PathBuf {
        self.root.join(format!("package-{}", self.package.sources_hash()))
    }
}

#[cfg(test)]
mod tests;
