//! NVML: the energy counter that NVIDIA's driver keeps for each GPU since Volta.
//!
//! The driver's library is opened at run time, so that the agent starts on machines without one. A look is a call into
//! the driver, 10 µs to some ms: the one sensor whose look may block, which is why it is asked ten times a second and on
//! the thread of its channel alone. Only the counter is read: power readings are means of an unknown part of the time,
//! and their sum is no energy.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tinywatt_proto::rail;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

use super::config::{Gpu, NvmlConfig};
use super::counter::{CounterSensor, Description, EnergyCounter};
use crate::clock::Clock;

/// How old the counter may be. NVIDIA states nothing; 20 to 100 ms have been published, by GPU. Not tried on a GPU here.
pub const UPDATE_PERIOD: Duration = Duration::from_millis(100);

/// The counter counts mJ.
const PICOJOULES_PER_CODE: u64 = 1_000_000_000;

/// The library as drivers install it; without the number it comes with development packages only.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// A GPU's counter could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The library is not there.
    #[error(
        "failed to load {}: it comes with NVIDIA's driver (in a container: start it with --gpus all); elsewhere set \
         `library`", library.display()
    )]
    Library {
        /// Which one.
        library: PathBuf,
        /// Why, as the loader says it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The library is there, the driver does not answer.
    #[error("NVIDIA's driver does not answer: `nvidia-smi` tells more")]
    Driver(#[source] NvmlError),
    /// There are other GPUs.
    #[error("there is no GPU {gpu}: {}", listed(known))]
    UnknownGpu {
        /// What was asked for.
        gpu: Gpu,
        /// What is there.
        known: Vec<String>,
    },
    /// The GPU counts no energy.
    #[error(
        "GPU {gpu} ({name}) keeps no energy counter: NVIDIA's have one since Volta. Its power readings are not added up \
         instead, because they miss what happens between them"
    )]
    NoCounter {
        /// Which one.
        gpu: Gpu,
        /// Its model.
        name: String,
    },
    /// The GPU cannot be asked.
    #[error("failed to read the energy counter of GPU {gpu}")]
    Read {
        /// Which one.
        gpu: Gpu,
        /// Why.
        #[source]
        source: NvmlError,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "NVML sees none".to_owned() } else { format!("there are {}", known.join(", ")) }
}

/// A GPU's counter.
#[derive(Debug)]
pub struct GpuCounter {
    nvml: Nvml,
    index: u32,
}

impl EnergyCounter for GpuCounter {
    fn count(&mut self, _now: MonoNs) -> Option<u64> {
        self.nvml.device_by_index(self.index).and_then(|device| device.total_energy_consumption()).ok()
    }
}

/// Opens the counter of one GPU.
///
/// # Errors
/// Any [`GpuError`], with what to do.
pub fn open<C: Clock>(config: &NvmlConfig, clock: C) -> Result<CounterSensor<GpuCounter, C>, GpuError> {
    let nvml = load(config.library.as_deref())?;
    let gpu = || config.gpu.clone();
    let failed = |source| GpuError::Read { gpu: gpu(), source };
    let device = match &config.gpu {
        Gpu::Index(index) => nvml.device_by_index(*index),
        Gpu::Uuid(uuid) => nvml.device_by_uuid(uuid.as_str()),
    };
    let device = device.map_err(|error| match error {
        NvmlError::InvalidArg | NvmlError::NotFound => GpuError::UnknownGpu { gpu: gpu(), known: known(&nvml) },
        source => failed(source),
    })?;
    device.total_energy_consumption().map_err(|error| match error {
        NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) => {
            GpuError::NoCounter { gpu: gpu(), name: device.name().unwrap_or_default() }
        }
        source => failed(source),
    })?;
    let index = device.index().map_err(failed)?;
    // Of the GPU whose counter is read from now on, however it was named.
    let uuid = nvml.device_by_index(index).and_then(|device| device.uuid()).map_err(failed)?;
    let description = Description {
        name: config.name.clone(),
        source: "nvml",
        rail: format!("{}/{uuid}", rail::GPUS),
        kind: v1::FigureKind::Measured,
        picojoules_per_code: PICOJOULES_PER_CODE,
        range: None,
        update_period: UPDATE_PERIOD,
        sample_period: config.sample_period,
        tolerance: config.tolerance,
    };
    // It was just read, so this is a GPU that was lost between the two.
    CounterSensor::open(GpuCounter { nvml, index }, clock, description).ok_or_else(|| failed(NvmlError::GpuLost))
}

fn load(library: Option<&Path>) -> Result<Nvml, GpuError> {
    let library = library.map_or_else(|| OsStr::new(LIBRARY), Path::as_os_str);
    Nvml::builder().lib_path(library).init().map_err(|error| match error {
        NvmlError::LibloadingError(source) => GpuError::Library { library: library.into(), source: source.into() },
        NvmlError::FailedToLoadSymbol(_) => GpuError::Library { library: library.into(), source: error.into() },
        error => GpuError::Driver(error),
    })
}

/// The GPUs by index, model and UUID.
fn known(nvml: &Nvml) -> Vec<String> {
    let described = |index: u32, device: Device<'_>| {
        format!("{index} ({}, {})", device.name().unwrap_or_default(), device.uuid().unwrap_or_default())
    };
    let count = nvml.device_count().unwrap_or(0);
    (0..count).filter_map(|index| nvml.device_by_index(index).ok().map(|device| described(index, device))).collect()
}

/// Models of this machine's GPUs, by the first library that sees any: those of the sensors, then the usual one. None where
/// there is no driver to ask.
pub fn names<'a>(configured: impl Iterator<Item = &'a NvmlConfig>) -> Vec<String> {
    let libraries = configured.filter_map(|config| config.library.as_deref()).map(Some).chain([None]);
    let seen = |library| {
        let nvml = load(library).ok()?;
        let count = nvml.device_count().ok()?;
        let name = |index| nvml.device_by_index(index).and_then(|device| device.name()).ok();
        let names: Vec<String> = (0..count).filter_map(name).collect();
        (!names.is_empty()).then_some(names)
    };
    libraries.into_iter().find_map(seen).unwrap_or_default()
}

#[cfg(test)]
mod tests;
