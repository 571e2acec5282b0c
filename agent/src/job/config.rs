//! `[jobs]` of the configuration.

use serde::{Deserialize, Serialize};

/// Whether this node executes training and optimisation jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Lets the collector start any command as the agent's user. Off unless somebody says so.
    pub enabled: bool,
}
