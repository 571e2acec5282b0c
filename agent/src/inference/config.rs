//! The `[inference]` table of the agent's configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How models are executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// LiteRT's shared library. When absent it is looked for where `agent runtime install` puts it.
    pub litert_library: Option<PathBuf>,
    /// The worker program that links PyTorch, by its whole path. When absent it is looked for beside the agent.
    pub torch_worker: Option<PathBuf>,
    /// The worker program that links ExecuTorch, by its whole path. When absent it is looked for beside the agent.
    pub executorch_worker: Option<PathBuf>,
}
