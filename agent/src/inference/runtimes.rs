//! Which runtimes this node has, and the program that is the worker of each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::config::InferenceConfig;
use super::locate::{LocateError, Surroundings};
use super::release;

/// Name of LiteRT in experiments.
pub const LITERT: &str = "litert";

/// Name of PyTorch's runtime of TorchScript modules in experiments.
pub const TORCHSCRIPT: &str = "torchscript";

/// File name of the worker program that links PyTorch.
pub const TORCH_WORKER: &str = "torch-worker";

/// A runtime and its worker program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerProgram {
    /// Name of the runtime.
    pub runtime: &'static str,
    /// Version of its library.
    pub version: String,
    /// The program.
    pub exe: PathBuf,
    /// Its arguments.
    pub arguments: &'static [&'static str],
    /// The runtime's library, where the configuration names one.
    pub library: Option<PathBuf>,
}

/// A runtime cannot be used on this node.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The system does not tell where this program is.
    #[error("the system does not tell where this program is")]
    Executable,
    /// LiteRT's library is missing.
    #[error(transparent)]
    LiteRt(#[from] LocateError),
    /// The worker program is not there.
    #[error(
        "no `{TORCH_WORKER}` at {}: build it with `cargo build --release -p tinywatt-torch --features torch` and put it \
         beside the agent, or name it with `inference.torch_worker`", path.display()
    )]
    TorchMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The worker program does not start.
    #[error("{} does not start: is PyTorch's library still where it was when the program was built?", path.display())]
    TorchStart {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The worker program starts and fails.
    #[error("{} fails: {said}; is PyTorch's library still where it was when the program was built?", path.display())]
    TorchFails {
        /// The program.
        path: PathBuf,
        /// What it said.
        said: String,
    },
}

/// Finds LiteRT.
///
/// # Errors
/// Any [`RuntimeError`].
pub fn litert(config: &InferenceConfig, surroundings: &Surroundings) -> Result<WorkerProgram, RuntimeError> {
    let library = config.litert_library.clone();
    surroundings.find_library(library.as_deref())?;
    let exe = surroundings.executable.clone().ok_or(RuntimeError::Executable)?;
    Ok(WorkerProgram { runtime: LITERT, version: release::VERSION.to_owned(), exe, arguments: &["worker"], library })
}

/// Finds PyTorch's worker program and asks it for its version.
///
/// # Errors
/// Any [`RuntimeError`]; [`RuntimeError::TorchMissing`] is what a node without PyTorch gives.
pub fn torchscript(config: &InferenceConfig, surroundings: &Surroundings) -> Result<WorkerProgram, RuntimeError> {
    let beside = || surroundings.executable.as_deref().and_then(Path::parent).map(|folder| folder.join(TORCH_WORKER));
    let path = config.torch_worker.clone().or_else(beside).ok_or(RuntimeError::Executable)?;
    if !path.exists() {
        return Err(RuntimeError::TorchMissing { path });
    }
    let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|source| RuntimeError::TorchStart { path: path.clone(), source })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().chars().take(200).collect::<String>();
    if !output.status.success() {
        return Err(RuntimeError::TorchFails { path, said: said(&output.stderr) });
    }
    let version = said(&output.stdout);
    Ok(WorkerProgram { runtime: TORCHSCRIPT, version, exe: path, arguments: &[], library: None })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(folder: &Path, script: &str) -> InferenceConfig {
        let path = folder.join(TORCH_WORKER);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        InferenceConfig { torch_worker: Some(path), ..InferenceConfig::default() }
    }

    #[test]
    fn a_worker_program_tells_its_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = torchscript(&program(folder.path(), "echo 2.11.0"), &Surroundings::default()).expect("works");
        assert_eq!((found.runtime, found.version.as_str()), ("torchscript", "2.11.0"));
    }

    #[test]
    fn one_that_fails_is_told_with_its_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = program(folder.path(), "echo libtorch_cpu.so: cannot open >&2; exit 127");
        let error = torchscript(&config, &Surroundings::default()).expect_err("fails").to_string();
        assert!(error.contains("libtorch_cpu.so: cannot open") && error.contains("torch-worker"), "{error}");
    }

    #[test]
    fn a_missing_one_is_told_with_the_way_out() {
        let executable = Some("/nowhere/agent".into());
        let surroundings = Surroundings { executable, ..Surroundings::default() };
        let error = torchscript(&InferenceConfig::default(), &surroundings).expect_err("not there").to_string();
        assert!(error.contains("/nowhere/torch-worker") && error.contains("--features torch"), "{error}");
    }
}
