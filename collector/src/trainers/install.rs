//! Installs a trainer: its sources unpacked, an environment made, its requirements fetched by pip.
//!
//! Sources appear whole by rename. An environment cannot be moved, so it is made in its place and counts once the file
//! `complete` stands in it; one that was interrupted is removed and made again, mostly from pip's cache.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::python::{self, Python, PythonError};
use super::{COMPLETE, Complete, LockError, Trainer, lock};

/// Lines of a failed pip that are shown: its last words tell the reason, with a few around them.
const LAST_LINE_COUNT: usize = 12;

/// How long to wait for the jobs that run from an environment, or for who else installs it: as long as a job may take
/// that states no more, or gigabytes on a slow line.
const WAIT_LIMIT: Duration = Duration::from_hours(1);

/// How an environment is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// An environment of the user's that has what the trainer needs, instead of one of our own.
    pub python: Option<&'a Path>,
    /// Anew, even when there is one.
    pub is_anew: bool,
}

/// What came of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// Everything was there.
    Already,
    /// It was made.
    Now,
}

/// A trainer could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The interpreter named is that of the environment which would be replaced.
    #[error(
        "{} is the trainer's own environment, which would be removed: leave --python out to use it, or name another one",
        python.display()
    )]
    Own {
        /// The interpreter.
        python: PathBuf,
    },
    /// No Python.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// A job or another installation is at it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A folder or file cannot be written.
    #[error("failed to write {}: is it writable, and has the disk room?", path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tool could not be started or heard.
    #[error("failed to start {tool}")]
    Start {
        /// What was run.
        tool: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error("{tool} ended with {status}; {advice}. Its last lines:\n{lines}")]
    Tool {
        /// What was run.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// What to do.
        advice: &'static str,
        /// Its last words.
        lines: String,
    },
}

/// Installs a trainer, or finds it installed. `tell` gets a line for everything that happens.
///
/// Two installations of one trainer wait for each other, also those of other processes. One that changes an environment
/// waits until no job runs from it.
///
/// # Errors
/// Any [`InstallError`]; the next call goes on.
pub fn install(trainer: &Trainer, wish: Wish<'_>, tell: &mut dyn FnMut(&str)) -> Result<Installed, InstallError> {
    install_within(trainer, wish, WAIT_LIMIT, tell)
}

pub(super) fn install_within(
    trainer: &Trainer,
    wish: Wish<'_>,
    limit: Duration,
    tell: &mut dyn FnMut(&str),
) -> Result<Installed, InstallError> {
    fs::create_dir_all(&trainer.root).map_err(write(&trainer.root))?;
    let unpacked = unpack(trainer, limit)?;
    let is_kept = wish.python.is_none() && !wish.is_anew;
    let path = trainer.lock_path();
    let mut wait = || {
        let limit_s = limit.as_secs();
        tell(&format!("'{}' is in use by a job or an installation; waiting for it, at most {limit_s} s", trainer.name));
    };
    // Before a lock of our own: a job that runs from the environment keeps nobody from finding it.
    if is_kept && path.exists() {
        let _held = lock::shared(&path, limit, &mut wait)?;
        if trainer.python().is_some() {
            return Ok(unpacked);
        }
    }
    let lock = lock::alone(&path, limit, &mut wait)?;
    // Another program may have made it meanwhile.
    if is_kept && trainer.python().is_some() {
        return Ok(unpacked);
    }
    let Some(path) = wish.python else {
        make_environment(trainer, &lock, tell)?;
        return Ok(Installed::Now);
    };
    let python = python::named(path)?;
    if python.path.starts_with(trainer.folder()) {
        return Err(InstallError::Own { python: python.path });
    }
    make_new(&trainer.folder())?;
    complete(trainer, python)?;
    Ok(Installed::Now)
}

fn unpack(trainer: &Trainer, limit: Duration) -> Result<Installed, InstallError> {
    let target = trainer.sources_folder();
    // Another trainer's installation unpacks the same.
    let _lock = lock::alone(&target.with_added_extension("lock"), limit, &mut || ())?;
    if target.is_dir() {
        return Ok(Installed::Already);
    }
    let scratch = target.with_added_extension("part");
    make_new(&scratch)?;
    for file in trainer.package.sources() {
        let path = scratch.join(file.path);
        let folder = path.parent().unwrap_or(&scratch);
        fs::create_dir_all(folder).map_err(write(folder))?;
        write_whole(&path, file.content)?;
    }
    fs::rename(&scratch, &target).map_err(write(&target))?;
    Ok(Installed::Now)
}

fn make_environment(trainer: &Trainer, lock: &fs::File, tell: &mut dyn FnMut(&str)) -> Result<(), InstallError> {
    let folder = trainer.folder();
    let python = python::find()?;
    make_new(&folder)?;
    tell(&format!(
        "making an environment for '{}' with Python {} in {}",
        trainer.name,
        python.version,
        folder.display()
    ));
    let environment = folder.join("environment");
    let mut venv = Command::new(&python.path);
    venv.args(["-m", "venv"]).arg(&environment);
    listen(venv, "`python3 -m venv`", "is there room on the disk?", lock, tell)?;
    let requirements = folder.join("requirements.txt");
    write_whole(&requirements, trainer.requirements.content)?;
    tell(&format!("fetching what '{}' needs; this can take minutes", trainer.name));
    let interpreter = environment.join("bin/python");
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
    pip.arg("--requirement").arg(&requirements);
    let advice = "no network, no such package for this machine or Python, or a full disk are usual causes; run it again, \
                  or name an environment of yours with --python";
    listen(pip, "`pip install`", advice, lock, tell)?;
    complete(trainer, Python { path: interpreter, version: python.version })
}

/// Executes a tool and hands on what it says, line by line.
fn listen(
    mut command: Command,
    tool: &str,
    advice: &'static str,
    lock: &fs::File,
    tell: &mut dyn FnMut(&str),
) -> Result<(), InstallError> {
    let start = |source| InstallError::Start { tool: tool.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(start)?;
    command.stdout(writer.try_clone().map_err(start)?).stderr(writer);
    // The lock as standard input, which is empty: a tool that outlives us, killed, keeps others away until it ends.
    command.stdin(Stdio::from(lock.try_clone().map_err(start)?));
    command.env_remove("PYTHONHOME").env_remove("PYTHONPATH").env("PYTHONUNBUFFERED", "1");
    let mut child = command.spawn().map_err(start)?;
    // It holds the pipe's writing end, and with it the reading end would never end.
    drop(command);
    let mut last = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        tell(&format!("  {line}"));
        last.push_back(line);
        if last.len() > LAST_LINE_COUNT {
            last.pop_front();
        }
    }
    let status = child.wait().map_err(start)?;
    if status.success() {
        return Ok(());
    }
    let lines: Vec<String> = last.iter().map(|line| format!("  {line}")).collect();
    Err(InstallError::Tool { tool: tool.to_owned(), status, advice, lines: lines.join("\n") })
}

fn complete(trainer: &Trainer, python: Python) -> Result<(), InstallError> {
    let path = trainer.folder().join(COMPLETE);
    let part = path.with_added_extension("part");
    let complete = Complete { python: python.path, version: python.version };
    let text = serde_json::to_vec(&complete).map_err(|error| write(&path)(error.into()))?;
    write_whole(&part, &text)?;
    fs::rename(&part, &path).map_err(write(&path))
}

/// Makes an empty folder where something unfinished may stand.
fn make_new(folder: &Path) -> Result<(), InstallError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(write(folder)(source)),
        _ => {}
    }
    fs::create_dir_all(folder).map_err(write(folder))
}

/// Writes a file down to the disk: what is renamed afterwards must not turn out empty after a power cut.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), InstallError> {
    let written = fs::File::create(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(write(path))
}

fn write(path: &Path) -> impl Fn(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Write { path: path.clone(), source }
}
