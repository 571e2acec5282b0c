//! What the surroundings of the process say about places and names. Only `main` can read them.

use std::ffi::OsString;
use std::path::PathBuf;

use tinywatt_proto::ids::NodeId;

/// Configuration of the whole machine, for an agent that systemd starts.
const SYSTEM_FILE: &str = "/etc/tinywatt/agent.toml";

/// Longest name of a node.
const NAME_BYTES_MAX: usize = 64;

/// Places and names from the surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The user's folder of configurations.
    pub config_home: Option<PathBuf>,
    /// The user's folder of state.
    pub state_home: Option<PathBuf>,
    /// The folder that systemd made for this service (`StateDirectory=`).
    pub state_directory: Option<PathBuf>,
    /// Name of the host.
    pub host: String,
}

impl Environment {
    /// Reads the surroundings through `variable`, which gives the value of an environment variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>, host: &str) -> Self {
        // An empty variable counts as not set, and a relative folder is to be ignored (XDG base directories).
        let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let below_home = |folder: &str| path("HOME").map(|home| home.join(folder));
        // systemd gives several folders with colons between them; ours is the first.
        let systemd = variable("STATE_DIRECTORY").map(|value| value.to_string_lossy().into_owned());
        let systemd = systemd.and_then(|value| value.split(':').next().map(PathBuf::from));
        Self {
            config_home: path("XDG_CONFIG_HOME").or_else(|| below_home(".config")),
            state_home: path("XDG_STATE_HOME").or_else(|| below_home(".local/state")),
            state_directory: systemd.filter(|path| path.is_absolute()),
            host: host.trim().to_owned(),
        }
    }

    /// The files that are looked for when none is named, in this order.
    pub fn config_files(&self) -> Vec<PathBuf> {
        let user = self.config_home.as_ref().map(|folder| folder.join("tinywatt/agent.toml"));
        user.into_iter().chain([PathBuf::from(SYSTEM_FILE)]).collect()
    }

    /// Where state is kept when nothing is configured.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        let user = || self.state_home.as_ref().map(|folder| folder.join("tinywatt"));
        self.state_directory.clone().or_else(user)
    }

    /// The host's name made a node's: small letters, digits and hyphens.
    pub(super) fn node(&self) -> NodeId {
        let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let name: String = self.host.chars().map(allowed).take(NAME_BYTES_MAX).collect();
        name.trim_matches('-').parse().unwrap_or_else(|_| "node".parse().expect("a name"))
    }
}
