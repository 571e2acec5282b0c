//! The agent's configuration: read, checked, and from then on only checked values.

mod environment;
mod error;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tinywatt_proto::ids::{ChannelName, NodeId};
use toml::Spanned;

use crate::inference::config::InferenceConfig;
use crate::job::JobsConfig;
use crate::sensor::SensorConfig;
use crate::sensor::config::check_all;
use crate::spool::SpoolConfig;
pub use environment::Environment;
pub use error::ConfigError;

/// Where a collector listens when nothing is configured on either side.
pub const COLLECTOR_DEFAULT: &str = "http://127.0.0.1:7400";

/// The word that stands for an emulated sensor where a sensor's name is expected.
pub const EMULATED: &str = "emulated";

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it was read from; `None` when there is no file and everything is as by default.
    pub file: Option<PathBuf>,
    /// Name of the node.
    pub node: NodeId,
    /// Where the collector listens.
    pub collector: String,
    /// Folder of the spool and of fetched artifacts.
    pub state_dir: PathBuf,
    /// The sensors; may be empty.
    pub sensors: Vec<SensorConfig>,
    /// How models are executed.
    pub inference: InferenceConfig,
    /// Whether jobs are executed.
    pub jobs: JobsConfig,
    /// How much the spool may take.
    pub spool: SpoolConfig,
}

/// The file's content. Spans are kept for what is checked after parsing, so that a mistake can be shown with its line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    collector: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<PathBuf>,
    sensor: Vec<Spanned<SensorConfig>>,
    inference: InferenceConfig,
    jobs: JobsConfig,
    spool: Spanned<SpoolConfig>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            node: None,
            collector: Spanned::new(0..0, COLLECTOR_DEFAULT.to_owned()),
            state_dir: None,
            sensor: Vec::new(),
            inference: InferenceConfig::default(),
            jobs: JobsConfig::default(),
            spool: Spanned::new(0..0, SpoolConfig::default()),
        }
    }
}

impl Config {
    /// Reads the file that was named, or else the first of the usual ones that is there, or else takes the defaults.
    ///
    /// # Errors
    /// Any [`ConfigError`], with file, line and key.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let found =
            named.map(Path::to_owned).or_else(|| environment.config_files().into_iter().find(|file| file.exists()));
        let text = match &found {
            Some(file) => {
                std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.clone(), source })?
            }
            None => String::new(),
        };
        Self::parse(found, &text, environment)
    }

    fn parse(file: Option<PathBuf>, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let path = file.clone().unwrap_or_default();
        let content: File = toml::from_str(text).map_err(|error| ConfigError::syntax(&path, text, &error))?;
        let wrong = |span: std::ops::Range<usize>, problem: String| ConfigError::wrong(&path, text, span, problem);

        let collector = &content.collector;
        crate::link::endpoint(collector.get_ref())
            .map_err(|error| wrong(collector.span(), format!("collector: {error}")))?;
        let spool = content.spool;
        if spool.get_ref().size_bytes_max < SpoolConfig::SIZE_BYTES_MIN {
            let (found, least) = (spool.get_ref().size_bytes_max, SpoolConfig::SIZE_BYTES_MIN);
            let problem = format!("spool.size_bytes_max = {found} is too small: give at least {least} (1 MiB)");
            return Err(wrong(spool.span(), problem));
        }
        let mut sensors = Vec::with_capacity(content.sensor.len());
        for sensor in content.sensor {
            let span = sensor.span();
            sensors.push(sensor.into_inner());
            // The ones before are known to be good, so what is found belongs to this one.
            check_all(&sensors).map_err(|error| wrong(span, error.to_string()))?;
        }
        let state_dir = content.state_dir.or_else(|| environment.state_dir()).ok_or(ConfigError::NoStateDir)?;
        Ok(Self {
            file,
            node: content.node.unwrap_or_else(|| environment.node()),
            collector: content.collector.into_inner(),
            state_dir,
            sensors,
            inference: content.inference,
            jobs: content.jobs,
            spool: spool.into_inner(),
        })
    }

    /// Takes what the command line says instead of what the file says.
    ///
    /// # Errors
    /// When the collector's address is none, or there is no sensor of that name.
    pub fn with(mut self, overrides: &Overrides) -> Result<Self, ConfigError> {
        if let Some(node) = &overrides.node {
            self.node = node.clone();
        }
        if let Some(collector) = &overrides.collector {
            crate::link::endpoint(collector).map_err(ConfigError::Collector)?;
            self.collector.clone_from(collector);
        }
        if let Some(name) = &overrides.sensor {
            self.sensors = vec![self.sensor(name)?];
        }
        Ok(self)
    }

    /// A configured sensor by its name; [`EMULATED`] is there without being configured.
    ///
    /// # Errors
    /// When there is none.
    pub fn sensor(&self, name: &str) -> Result<SensorConfig, ConfigError> {
        if let Some(sensor) = self.sensors.iter().find(|sensor| sensor.name().as_str() == name) {
            return Ok(sensor.clone());
        }
        if name == EMULATED {
            let name: ChannelName = EMULATED.parse().expect("a name");
            return Ok(SensorConfig::emulator(name, 1));
        }
        let known = self.sensors.iter().map(|sensor| sensor.name().to_string()).collect();
        Err(ConfigError::UnknownSensor { name: name.to_owned(), known })
    }

    /// The sensors, when there are any.
    ///
    /// # Errors
    /// [`ConfigError::NoSensor`], which says how to get one.
    pub fn require_sensors(&self) -> Result<&[SensorConfig], ConfigError> {
        if self.sensors.is_empty() {
            return Err(ConfigError::NoSensor { file: self.file.clone() });
        }
        Ok(&self.sensors)
    }
}

/// What the command line may say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Overrides {
    /// Name of this node, instead of the configured one or the host's
    #[arg(long, value_name = "NAME")]
    pub node: Option<NodeId>,
    /// Where the collector listens, instead of the configured place
    #[arg(long, value_name = "URL")]
    pub collector: Option<String>,
    /// Use this sensor alone; `emulated` needs neither hardware nor configuration, and its figures are simulated
    #[arg(long, value_name = "NAME")]
    pub sensor: Option<String>,
}

#[cfg(test)]
mod tests;
