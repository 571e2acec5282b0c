//! Which runtimes this node has, and the program that is the worker of each.

use std::path::{Path, PathBuf};

use super::ask::{self, AskError};
use super::config::InferenceConfig;
use super::locate::{LocateError, Surroundings};
use super::release;

/// Name of LiteRT in experiments.
pub const LITERT: &str = "litert";

/// A runtime whose library is linked by a worker program of its own.
#[derive(Debug)]
pub struct Linked {
    /// Name of the runtime in experiments.
    pub runtime: &'static str,
    /// The library's name for people.
    pub library: &'static str,
    /// What it executes.
    pub models: &'static str,
    /// File name of the worker program.
    pub program: &'static str,
    /// The cargo feature that builds it, of the part of this project with the same name.
    feature: &'static str,
    /// Where the configuration names the program.
    setting: &'static str,
    named: fn(&InferenceConfig) -> Option<&PathBuf>,
}

/// PyTorch, which runs TorchScript modules.
pub const TORCHSCRIPT: Linked = Linked {
    runtime: "torchscript",
    library: "PyTorch",
    models: "TorchScript modules",
    program: "torch-worker",
    feature: "torch",
    setting: "inference.torch_worker",
    named: |config| config.torch_worker.as_ref(),
};

/// ExecuTorch.
pub const EXECUTORCH: Linked = Linked {
    runtime: "executorch",
    library: "ExecuTorch",
    models: ".pte programs",
    program: "executorch-worker",
    feature: "executorch",
    setting: "inference.executorch_worker",
    named: |config| config.executorch_worker.as_ref(),
};

/// All runtimes with a worker program of their own.
pub static LINKED: [Linked; 2] = [TORCHSCRIPT, EXECUTORCH];

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
    /// The worker program that the configuration names is not there.
    #[error("no worker program at {}, which `{setting}` names: {advice}", path.display())]
    Missing {
        /// The setting.
        setting: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// How to get one.
        advice: String,
    },
    /// The worker program is named by a path that means another file in another folder.
    #[error("`{setting}` names {}, which depends on where the agent is started: write the whole path, from / on", path.display())]
    Relative {
        /// The setting.
        setting: &'static str,
        /// What it names.
        path: PathBuf,
    },
    /// The worker program does not tell its version.
    #[error("{} does not tell its version: is {library}'s library still where it was when the program was built?", path.display())]
    Ask {
        /// The library.
        library: &'static str,
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: AskError,
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

/// Asks all worker programs at once, each within its limit.
pub async fn linked(
    config: &InferenceConfig,
    surroundings: &Surroundings,
) -> [(&'static Linked, Result<Option<WorkerProgram>, RuntimeError>); 2] {
    let [torch, executorch] = &LINKED;
    let (torch_found, executorch_found) =
        tokio::join!(torch.find(config, surroundings), executorch.find(config, surroundings));
    [(torch, torch_found), (executorch, executorch_found)]
}

impl Linked {
    /// How to get the worker program.
    pub fn advice(&self) -> String {
        let &Self { feature, program, .. } = self;
        format!(
            "`cargo build --release -p tinywatt-{feature} --features {feature}` builds `{program}`, to be put beside the \
             agent"
        )
    }

    /// Finds the worker program and asks it for its version; `None` on a node that has none and names none, as most do.
    ///
    /// # Errors
    /// Any [`RuntimeError`].
    pub async fn find(
        &self,
        config: &InferenceConfig,
        surroundings: &Surroundings,
    ) -> Result<Option<WorkerProgram>, RuntimeError> {
        let &Self { library, program, setting, .. } = self;
        let beside = || surroundings.executable.as_deref().and_then(Path::parent).map(|folder| folder.join(program));
        let named = (self.named)(config);
        let path = named.cloned().or_else(beside).ok_or(RuntimeError::Executable)?;
        if named.is_some() && path.is_relative() {
            return Err(RuntimeError::Relative { setting, path });
        }
        if !path.exists() {
            let missing = RuntimeError::Missing { setting, path, advice: self.advice() };
            return if named.is_some() { Err(missing) } else { Ok(None) };
        }
        let asked = ask::version(&path, ask::LIMIT).await;
        let version = asked.map_err(|source| RuntimeError::Ask { library, path: path.clone(), source })?;
        Ok(Some(WorkerProgram { runtime: self.runtime, version, exe: path, arguments: &[], library: None }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tinywatt_proto::chain::Chain;

    use super::*;

    fn program(path: &Path, script: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }

    fn beside(folder: &Path) -> Surroundings {
        Surroundings { executable: Some(folder.join("agent")), ..Surroundings::default() }
    }

    #[tokio::test]
    async fn a_worker_program_tells_its_version() {
        let folder = tempfile::tempdir().expect("a folder");
        for (linked, runtime) in LINKED.iter().zip(["torchscript", "executorch"]) {
            program(&folder.path().join(linked.program), &format!("echo {runtime} 2.11.0"));
            let found = linked.find(&InferenceConfig::default(), &beside(folder.path())).await.expect("works");
            let found = found.expect("there");
            assert_eq!((found.runtime, found.version), (runtime, format!("{runtime} 2.11.0")));
        }
    }

    #[tokio::test]
    async fn each_has_a_setting_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (torch, executorch) = (folder.path().join("one"), folder.path().join("two"));
        program(&torch, "echo 1");
        program(&executorch, "echo 2");
        let config = InferenceConfig {
            torch_worker: Some(torch.clone()),
            executorch_worker: Some(executorch.clone()),
            ..InferenceConfig::default()
        };
        for (linked, exe) in [(TORCHSCRIPT, torch), (EXECUTORCH, executorch)] {
            let found = linked.find(&config, &Surroundings::default()).await.expect("works").expect("there");
            assert_eq!(found.exe, exe);
        }
    }

    #[tokio::test]
    async fn one_that_fails_is_told_with_its_words() {
        let folder = tempfile::tempdir().expect("a folder");
        program(&folder.path().join("torch-worker"), "echo libtorch_cpu.so: cannot open >&2; exit 127");
        let found = TORCHSCRIPT.find(&InferenceConfig::default(), &beside(folder.path())).await;
        let error = Chain(&found.expect_err("fails")).to_string();
        for word in
            ["torch-worker does not tell its version", "PyTorch's library", "127", "libtorch_cpu.so: cannot open"]
        {
            assert!(error.contains(word), "'{word}' is not in '{error}'");
        }
    }

    #[tokio::test]
    async fn one_that_fails_does_not_keep_the_other_from_being_found() {
        let folder = tempfile::tempdir().expect("a folder");
        program(&folder.path().join("torch-worker"), "echo no version at all >&2; exit 3");
        program(&folder.path().join("executorch-worker"), "echo 1.5.1");
        let [(_, torch), (_, executorch)] = linked(&InferenceConfig::default(), &beside(folder.path())).await;
        assert!(torch.is_err());
        assert_eq!(executorch.expect("works").expect("there").version, "1.5.1");
    }

    #[tokio::test]
    async fn a_path_that_depends_on_the_folder_is_refused() {
        for path in ["torch-worker", "./bin/torch-worker"] {
            let config = InferenceConfig { torch_worker: Some(path.into()), ..InferenceConfig::default() };
            let error = TORCHSCRIPT.find(&config, &Surroundings::default()).await.expect_err("relative").to_string();
            assert!(error.contains(path) && error.contains("`inference.torch_worker`") && error.contains("whole path"));
        }
    }

    #[tokio::test]
    async fn a_missing_one_matters_only_where_it_is_named() {
        let nowhere = beside(Path::new("/nowhere"));
        let found = EXECUTORCH.find(&InferenceConfig::default(), &nowhere).await.expect("most nodes have none");
        assert_eq!(found, None);
        let config =
            InferenceConfig { executorch_worker: Some("/nowhere/worker".into()), ..InferenceConfig::default() };
        let error = EXECUTORCH.find(&config, &nowhere).await.expect_err("named, and not there").to_string();
        for word in ["/nowhere/worker", "`inference.executorch_worker`", "-p tinywatt-executorch --features executorch"]
        {
            assert!(error.contains(word), "'{word}' is not in '{error}'");
        }
    }
}
