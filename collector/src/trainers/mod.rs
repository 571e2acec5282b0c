//! Trainers that are written in Python: carried in the program, installed on first use, started as jobs are.
//!
//! Under `tinywatt/trainers` in the user's cache stand `package-HASH/` (the sources, the same for all trainers) and
//! `NAME-HASH/` (a trainer's environment, by the hash of its requirements: another release of the program with the same
//! requirements fetches nothing). What stands there can be removed at any time and is made again.

mod install;
mod package;
mod python;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use install::{InstallError, Installed, install};
pub use package::{File, PACKAGE, Package};
pub use python::PythonError;
use serde::{Deserialize, Serialize};

/// Where trainers stand, given the environment's `XDG_CACHE_HOME` and `HOME`; `None` without a home folder.
///
/// A relative folder counts as none, as the XDG base directory specification says.
pub fn folder(xdg_cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute(xdg_cache_home).or_else(|| Some(absolute(home)?.join(".cache")))?;
    Some(cache.join("tinywatt/trainers"))
}

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

    /// What executes a job; `None` when the trainer is not installed.
    pub fn command(&self, job: &Path) -> Option<Command> {
        let sources = self.sources_folder();
        let mut command = Command::new(self.python().filter(|_| sources.is_dir())?);
        command.args(["-m", "tinywatt_trainers", &self.name]).arg(job);
        // Only what was installed: neither the user's own packages nor a folder named in their environment.
        command.env("PYTHONPATH", sources.join("src")).env("PYTHONNOUSERSITE", "1").env("PYTHONUNBUFFERED", "1");
        command.env_remove("PYTHONHOME");
        Some(command)
    }

    fn sources_folder(&self) -> PathBuf {
        self.root.join(format!("package-{}", self.package.sources_hash()))
    }
}

#[cfg(test)]
mod tests;
