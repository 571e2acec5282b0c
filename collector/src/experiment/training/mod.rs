//! What is trained, and what becomes of it: `[training]` and `[[train]]` into jobs and the models that they make.

mod architecture;
mod expand;
mod parse;
mod technique;
mod trainer;

use std::time::Duration;

use tinywatt_proto::ids::{ChannelName, NodeId};
use tinywatt_proto::v1;

pub(super) use architecture::{Architecture, ArchitectureKey};
pub(super) use expand::{DeviceModel, Shared, device_models, treatment_names};
pub(super) use parse::{check_entries, entry, training};
pub(super) use technique::{ENGINES, Technique};
pub(super) use trainer::Trainer;

use super::Artifact;
use super::problem::Located;

/// Where jobs run, and how they are measured.
#[derive(Debug, Clone)]
pub(super) struct Training {
    pub(super) node: Located<NodeId>,
    pub(super) channel: Option<Located<ChannelName>>,
    pub(super) further_channels: Vec<Located<ChannelName>>,
    pub(super) device: Located<v1::JobDevice>,
    pub(super) thread_count: Located<u32>,
    pub(super) idle: Located<Duration>,
    pub(super) time_limit: Duration,
    pub(super) output_bytes_max: u64,
    pub(super) input_scale: Option<f64>,
    pub(super) input_offset: Option<f64>,
}

/// One `[[train]]`; `A` is how its architecture is known so far.
#[derive(Debug, Clone)]
pub(super) struct Entry<A> {
    pub(super) name: Located<String>,
    pub(super) trainer: Trainer,
    /// Absent for own trainers that need none.
    pub(super) architecture: Option<A>,
    /// Another entry, which this one learns from.
    pub(super) teacher: Option<Located<String>>,
    pub(super) techniques: Vec<Located<Technique>>,
    /// Of the models on the devices.
    pub(super) thread_count: Located<u32>,
    /// What the job's configuration says beside architecture, teacher and scaling.
    pub(super) config: serde_json::Map<String, serde_json::Value>,
    /// The same for optimisation.
    pub(super) optimise: serde_json::Map<String, serde_json::Value>,
}

/// What jobs learn from, and look at while they do.
#[derive(Debug, Clone)]
pub(super) struct TrainingData {
    pub(super) train: Artifact,
    pub(super) validation: Artifact,
    /// Real value of an input byte = byte × scale + offset, at training, calibration and on the devices.
    pub(super) input_scale: f64,
    pub(super) input_offset: f64,
}
