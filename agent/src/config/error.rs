//! What can be wrong with a configuration.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::link::AddressError;

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line cannot be used.
    #[error("{}, line {line}, `{text}`: {problem}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The line, which holds the key.
        text: String,
        /// What is wrong and what to give instead.
        problem: String,
    },
    /// The collector's address on the command line is none.
    #[error("failed to take --collector")]
    Collector(#[source] AddressError),
    /// There is no such sensor.
    #[error(
        "no sensor is named '{name}'; {}, or give `--sensor emulated` for a simulated one",
        if known.is_empty() { "none is configured".to_owned() } else { format!("there are: {}", known.join(", ")) }
    )]
    UnknownSensor {
        /// The name.
        name: String,
        /// Configured names.
        known: Vec<String>,
    },
    /// There is no sensor at all.
    #[error(
        "no sensor is configured{}. For an INA219 write this into {}:\n\n    [[sensor]]\n    name = \"rail\"\n    \
         source = \"ina219\"\n    bus = \"/dev/i2c-1\"\n    shunt_ohms = 0.1\n\nWithout hardware, `--sensor emulated` \
         takes a simulated one.",
        file.as_ref().map(|file| format!(" in {}", file.display())).unwrap_or_default(),
        file.as_ref().map_or("~/.config/tinywatt/agent.toml".to_owned(), |file| file.display().to_string())
    )]
    NoSensor {
        /// The file, if there is one.
        file: Option<PathBuf>,
    },
    /// There is no place for the state.
    #[error("there is no folder for the agent's state: set `state_dir` in the configuration, or the variable HOME")]
    NoStateDir,
}

impl ConfigError {
    /// A mistake that the parser found.
    pub(super) fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::wrong(file, text, error.span().unwrap_or(0..0), error.message().to_owned())
    }

    /// A mistake at a place of the text.
    pub(super) fn wrong(file: &Path, text: &str, span: Range<usize>, problem: String) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        Self::Line { file: file.to_owned(), line, text: shown, problem }
    }
}
