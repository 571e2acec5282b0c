//! From a configuration to a sensor that gives readings.

use std::io;
use std::path::PathBuf;

use tinywatt_proto::ids::ChannelName;
use tinywatt_proto::rail;
use tinywatt_proto::v1;

use super::Sensor;
use super::config::{EmulatorConfig, Ina219Config, SensorConfig, SensorConfigError};
use super::emulator::{Deviations, Emulator, EmulatorError, Options};
use super::ina219::{self, BusSpeed, Identity, Ina219, KernelBus, KernelBusError, SetUpError};
use super::load::{LoadSwitch, Profile};
use super::rapl::{self, RaplError};
use super::replay::{ReplaySensor, Trace, TraceError};
use super::tdp::{self, TdpError};
use crate::clock::Clock;

/// A sensor that is ready to be sampled.
pub struct Built {
    /// The sensor.
    pub sensor: Box<dyn Sensor>,
    /// Handle on the load, if it is an emulated one.
    pub load: Option<LoadSwitch>,
}

/// A configured sensor could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] SensorConfigError),
    /// The bus cannot be opened.
    #[error("sensor '{name}': failed to open {}: {}", bus.display(), advice(source))]
    Open {
        /// Channel.
        name: ChannelName,
        /// Device file.
        bus: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bus is slower than the chip.
    #[error(
        "sensor '{name}': {} runs at {clock_hz} Hz, too slow to read every conversion: set \
         dtparam=i2c_arm_baudrate=400000 (/boot/firmware/config.txt on a Raspberry Pi), or reduced_rate = true to let \
         the chip average (adc = \"{fitting}\")", bus.display()
    )]
    BusTooSlow {
        /// Channel.
        name: ChannelName,
        /// Device file.
        bus: PathBuf,
        /// Clock of the bus.
        clock_hz: u32,
        /// What the bus could follow.
        fitting: String,
    },
    /// The chip did not answer as an INA219.
    #[error("sensor '{name}': failed to set up the INA219 at {address:#04x}; `i2cdetect -y` shows what answers")]
    SetUp {
        /// Channel.
        name: ChannelName,
        /// Address.
        address: u8,
        /// Why.
        #[source]
        source: SetUpError<KernelBusError>,
    },
    /// The emulator did not take its settings, which only a mistake in it explains.
    #[error("sensor '{name}': failed to set up the emulated INA219")]
    Emulator {
        /// Channel.
        name: ChannelName,
        /// Why.
        #[source]
        source: SetUpError<EmulatorError>,
    },
    /// The trace cannot be read.
    #[error("sensor '{name}': the trace cannot be played")]
    Trace {
        /// Channel.
        name: ChannelName,
        /// Why.
        #[source]
        source: TraceError,
    },
    /// The processor's counter cannot be read.
    #[error("sensor '{name}': the processor's energy counter cannot be used")]
    Rapl {
        /// Channel.
        name: ChannelName,
        /// Why.
        #[source]
        source: RaplError,
    },
    /// The GPU's counter cannot be read.
    #[cfg(feature = "nvml")]
    #[error("sensor '{name}': the GPU cannot be metered")]
    Nvml {
        /// Channel.
        name: ChannelName,
        /// Why.
        #[source]
        source: super::nvml::GpuError,
    },
    /// This program cannot ask GPUs.
    #[cfg(not(feature = "nvml"))]
    #[error(
        "sensor '{name}': this agent was built without NVML: build it with the feature `nvml`, which is a default one"
    )]
    NoNvml {
        /// Channel.
        name: ChannelName,
    },
    /// The model has nothing to go by.
    #[error("sensor '{name}': the TDP model cannot be computed")]
    Tdp {
        /// Channel.
        name: ChannelName,
        /// Why.
        #[source]
        source: TdpError,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) => {
            "there is no such bus; enable I2C (raspi-config, or dtparam=i2c_arm=on) or set `bus`"
        }
        Some(rustix::io::Errno::ACCESS) => "no permission; add the user to the group i2c and log in again",
        Some(rustix::io::Errno::BUSY) => {
            "a kernel driver owns the chip; unbind it (echo the device to /sys/bus/i2c/drivers/ina2xx/unbind)"
        }
        _ => "see the cause",
    }
}

/// Opens a configured sensor.
///
/// # Errors
/// Any [`SensorError`], with the channel, the place and the way out.
pub fn build<C: Clock>(config: &SensorConfig, clock: C) -> Result<Built, SensorError> {
    config.check()?;
    match config {
        SensorConfig::Ina219(config) => build_ina219(config, clock),
        SensorConfig::Emulator(config) => build_emulator(config, clock),
        SensorConfig::Replay(config) => {
            let name = config.name.clone();
            let trace = Trace::read(&config.path).map_err(|source| SensorError::Trace { name, source })?;
            let sensor = ReplaySensor::new(trace, config.name.to_string(), clock);
            Ok(metered(sensor))
        }
        SensorConfig::Rapl(config) => {
            let failed = |source| SensorError::Rapl { name: config.name.clone(), source };
            rapl::open(config, clock).map(metered).map_err(failed)
        }
        SensorConfig::Tdp(config) => {
            let failed = |source| SensorError::Tdp { name: config.name.clone(), source };
            tdp::open(config, clock).map(metered).map_err(failed)
        }
        #[cfg(feature = "nvml")]
        SensorConfig::Nvml(config) => {
            let failed = |source| SensorError::Nvml { name: config.name.clone(), source };
            super::nvml::open(config, clock).map(metered).map_err(failed)
        }
        #[cfg(not(feature = "nvml"))]
        SensorConfig::Nvml(config) => Err(SensorError::NoNvml { name: config.name.clone() }),
    }
}

/// A sensor whose load is not ours.
fn metered(sensor: impl Sensor + 'static) -> Built {
    Built { sensor: Box::new(sensor), load: None }
}

fn build_ina219<C: Clock>(config: &Ina219Config, clock: C) -> Result<Built, SensorError> {
    let name = config.name.clone();
    let mut settings = config.settings();
    if let BusSpeed::TooSlow { clock_hz, fitting } = BusSpeed::of(&config.bus, settings.adc) {
        if !config.reduced_rate {
            let fitting = fitting.to_string();
            return Err(SensorError::BusTooSlow { name, bus: config.bus.clone(), clock_hz, fitting });
        }
        settings.adc = fitting;
    }
    let bus = KernelBus::open(&config.bus, config.address).map_err(|source| SensorError::Open {
        name: name.clone(),
        bus: config.bus.clone(),
        source,
    })?;
    let rail = ina219::rail(&config.bus, config.address);
    let identity = Identity { name: name.to_string(), source: "ina219", rail, kind: v1::FigureKind::Measured };
    let sensor = Ina219::open(bus, config.address, clock, identity, settings).map_err(|source| SensorError::SetUp {
        name,
        address: config.address,
        source,
    })?;
    Ok(metered(sensor))
}

fn build_emulator<C: Clock>(config: &EmulatorConfig, clock: C) -> Result<Built, SensorError> {
    let settings = config.settings();
    // Chip, noise and load come from one seed and must not be copies of each other.
    let [chip_seed, noise_seed, load_seed] = [0, 1, 2].map(|part| config.seed.wrapping_mul(3).wrapping_add(part));
    let options = Options {
        shunt: settings.shunt,
        deviations: Deviations::draw(chip_seed, settings.grade, settings.shunt_tolerance),
        noise_seed: Some(noise_seed),
        ..Options::default()
    };
    let (switch, load) = LoadSwitch::new(Profile::new(&config.load, load_seed));
    let address = options.address;
    let chip = Emulator::new(clock.clone(), load, options);
    let (name, rail) = (config.name.to_string(), format!("{}/{}", rail::EMULATOR, config.name));
    let identity = Identity { name, source: "ina219-emulator", rail, kind: v1::FigureKind::Simulated };
    let sensor = Ina219::open(chip, address, clock, identity, settings)
        .map_err(|source| SensorError::Emulator { name: config.name.clone(), source })?;
    Ok(Built { sensor: Box::new(sensor), load: Some(switch) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Monotonic;

    fn parse(text: &str) -> SensorConfig {
        toml::from_str(text).expect("a sensor")
    }

    #[test]
    fn a_missing_bus_is_named_with_advice() {
        let config = parse("source = 'ina219'\nname = 'rail'\nshunt_ohms = 0.1\nbus = '/dev/i2c-not-there'");
        let error = build(&config, Monotonic).err().expect("no such bus").to_string();
        assert!(error.contains("'rail'") && error.contains("/dev/i2c-not-there"), "{error}");
        assert!(error.contains("enable I2C"), "{error}");
    }

    #[test]
    fn a_missing_trace_is_named() {
        let config = parse("source = 'replay'\nname = 'rail'\npath = '/nowhere.json'");
        let error = anyhow::Error::from(build(&config, Monotonic).err().expect("no such file"));
        assert!(format!("{error:#}").contains("/nowhere.json"), "{error:#}");
    }

    #[test]
    fn an_emulated_sensor_says_that_it_is_simulated_and_hands_out_its_load() {
        let built = build(&SensorConfig::emulator("rail".parse().expect("a name"), 1), Monotonic).expect("builds");
        assert_eq!(built.sensor.channel().kind(), v1::FigureKind::Simulated);
        assert_eq!(built.sensor.channel().name, "rail");
        assert!(built.load.is_some());
    }

    #[test]
    fn sensors_say_what_they_measure() {
        let rail = |text: &str| build(&parse(text), Monotonic).expect("opens").sensor.channel().rail;
        assert_eq!(rail("source = 'ina219-emulator'\nname = 'usb'"), "emulator/usb");
        assert_eq!(rail("source = 'tdp'\nname = 'a'\ntdp_watts = 65"), "machine/processors");
        let dir = tempfile::tempdir().expect("a folder");
        let text = r#"[{"infer": {"iterations": 1}, "power": {"samples": [1e-5, 2e-5], "timestamps": [["00", 0], ["01", 2]]}}]"#;
        let recording = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            rail(&format!("source = 'replay'\nname = 'bench'\npath = '{}'", path.display()))
        };
        let first = recording("a.json", text);
        assert!(first.starts_with("recording/") && first.len() == "recording/".len() + 64, "{first}");
        assert_eq!(recording("copy.json", text), first);
        assert_ne!(recording("other.json", &text.replace("1e-5", "3e-5")), first);
    }
}
