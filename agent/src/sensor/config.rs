//! Sensors as the agent's configuration file describes them: one `[[sensor]]` table each.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tinywatt_proto::ids::ChannelName;
use tinywatt_proto::units::Ohms;

use super::ina219::{self, Adc, BusRange, Grade, Settings, ShuntRange};
use super::load::{LoadConfig, LoadConfigError};

/// One sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source")]
pub enum SensorConfig {
    /// A chip on the node's I2C bus.
    #[serde(rename = "ina219")]
    Ina219(Ina219Config),
    /// The emulated chip, with an emulated load behind it.
    #[serde(rename = "ina219-emulator")]
    Emulator(EmulatorConfig),
    /// A recorded energy trace.
    #[serde(rename = "replay")]
    Replay(ReplayConfig),
    /// The energy counter of a processor's package, cores or memory.
    #[serde(rename = "rapl")]
    Rapl(RaplConfig),
    /// The energy counter of an NVIDIA GPU.
    #[serde(rename = "nvml")]
    Nvml(NvmlConfig),
    /// A model of the processor's power: estimated, not measured.
    #[serde(rename = "tdp")]
    Tdp(TdpConfig),
}

/// A chip on the node's I2C bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ina219Config {
    /// Name of the channel.
    pub name: ChannelName,
    /// Device file of the bus.
    #[serde(default = "default_bus")]
    pub bus: PathBuf,
    /// Address of the chip, 0x40 to 0x4f.
    #[serde(default = "default_address")]
    pub address: u8,
    /// Shunt resistance. No default: a wrong one is wrong by its whole factor.
    pub shunt_ohms: f64,
    /// Tolerance of the shunt, as a part of its value.
    #[serde(default = "default_shunt_tolerance")]
    pub shunt_tolerance: f64,
    /// Full scale of the shunt voltage: "40mV", "80mV", "160mV" or "320mV".
    #[serde(default = "default_range")]
    pub range: ShuntRange,
    /// Full scale of the bus voltage: "16V" or "32V".
    #[serde(default = "default_bus_range")]
    pub bus_range: BusRange,
    /// Accuracy grade of the chip: "A" or "B".
    #[serde(default = "default_grade")]
    pub grade: Grade,
    /// Resolution of shunt and bus converter, "12/11".
    #[serde(default)]
    pub adc: Adc,
    /// Whether a bus too slow for `adc` makes the chip average over more conversions, instead of being refused.
    #[serde(default)]
    pub reduced_rate: bool,
}

/// The emulated chip: a 0.1 Ω shunt of 1 %, ±160 mV, grade A, 12/11 bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmulatorConfig {
    /// Name of the channel.
    pub name: ChannelName,
    /// Decides how chip, shunt and load differ from nominal.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What the emulated device draws.
    #[serde(default)]
    pub load: LoadConfig,
}

/// A recorded energy trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Name of the channel.
    pub name: ChannelName,
    /// The trace, a JSON file.
    pub path: PathBuf,
}

/// The energy counter of a processor's package, cores or memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaplConfig {
    /// Name of the channel.
    pub name: ChannelName,
    /// Name of the zone: "package-0", "psys", "dram"; "package-1/dram" where several packages have one.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// Folder of the kernel's powercap files.
    #[serde(default = "default_powercap")]
    pub root: PathBuf,
    /// Time from one look to the next.
    #[serde(default = "default_rapl_period", with = "humantime_serde")]
    pub sample_period: Duration,
    /// Limit of the counter's error as a part of the energy, from a comparison with a meter. Its maker states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// The energy counter of an NVIDIA GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvmlConfig {
    /// Name of the channel.
    pub name: ChannelName,
    /// Which GPU: its index (as in `nvidia-smi`) or its UUID.
    #[serde(default)]
    pub gpu: Gpu,
    /// NVIDIA's library, where it lies in no usual place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
    /// Time from one look to the next.
    #[serde(default = "default_nvml_period", with = "humantime_serde")]
    pub sample_period: Duration,
    /// Limit of the counter's error as a part of the energy, from a comparison with a meter. Its maker states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// Which GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "gpu is an index such as 0, or a UUID such as \"GPU-5a1e...\" (see `nvidia-smi -L`)")]
pub enum Gpu {
    /// By its index.
    Index(u32),
    /// By its UUID.
    Uuid(String),
}

impl Default for Gpu {
    fn default() -> Self {
        Self::Index(0)
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Uuid(uuid) => write!(f, "'{uuid}'"),
        }
    }
}

/// A model of the processor's power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdpConfig {
    /// Name of the channel.
    pub name: ChannelName,
    /// Power with all processors busy: the thermal design power of the processor's data sheet. No default: a wrong one is
    /// wrong by its whole factor.
    pub tdp_watts: f64,
    /// Power of the idle machine. By default 0, with which every stir of an idle machine is many times its idle power.
    #[serde(default)]
    pub idle_watts: f64,
    /// Folder of the kernel's process files.
    #[serde(default = "default_proc")]
    pub root: PathBuf,
    /// Time from one look to the next.
    #[serde(default = "default_tdp_period", with = "humantime_serde")]
    pub sample_period: Duration,
}

/// A sensor's settings contradict themselves or what the chip can do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SensorConfigError {
    /// The address is none of the chip's.
    #[error(
        "sensor '{name}': address = {address:#04x} is none of an INA219: give 0x40 to 0x4f (0x40 with open bridges)"
    )]
    Address {
        /// Channel.
        name: ChannelName,
        /// Value.
        address: u8,
    },
    /// The shunt is no resistance.
    #[error(
        "sensor '{name}': shunt_ohms = {value} is not a shunt: give its resistance in ohm, 0.0001 to 1000 (0.1 on most \
         breakout boards)"
    )]
    Shunt {
        /// Channel.
        name: ChannelName,
        /// Value.
        value: f64,
    },
    /// The tolerance is no part of one.
    #[error("sensor '{name}': {key} = {value} is not a tolerance: give a part of 1, such as 0.01 for 1 %")]
    Tolerance {
        /// Channel.
        name: ChannelName,
        /// Which setting.
        key: &'static str,
        /// Value.
        value: f64,
    },
    /// The load cannot exist.
    #[error("sensor '{name}': {problem}")]
    Load {
        /// Channel.
        name: ChannelName,
        /// Which setting, and why.
        problem: LoadConfigError,
    },
    /// The load would clip.
    #[error(
        "sensor '{name}': the load draws up to {amperes:.2} A and the emulated sensor reads up to {amperes_max:.2} A: \
         lower load.idle_amperes or load.active_amperes"
    )]
    LoadClips {
        /// Channel.
        name: ChannelName,
        /// Largest current of the load.
        amperes: f64,
        /// Largest current of the sensor.
        amperes_max: f64,
    },
    /// A counter is looked at too often, or too rarely.
    #[error(
        "sensor '{name}': sample_period = {period:?} is not usable: give \"{SAMPLE_PERIOD_MIN:?}\" to \
         \"{SAMPLE_PERIOD_MAX:?}\""
    )]
    SamplePeriod {
        /// Channel.
        name: ChannelName,
        /// Value.
        period: Duration,
    },
    /// The model's powers are none.
    #[error(
        "sensor '{name}': tdp_watts = {tdp_watts} with idle_watts = {idle_watts} is no processor: give powers in watt, up \
         to {WATTS_MAX}, the idle one not above the other"
    )]
    Watts {
        /// Channel.
        name: ChannelName,
        /// Power under load.
        tdp_watts: f64,
        /// Power of the idle machine.
        idle_watts: f64,
    },
    /// Two sensors read one chip.
    #[error(
        "sensor '{name}': the chip at {address:#04x} on {} is that of sensor '{other}', and each would take readings from \
         the other: keep one of them", bus.display()
    )]
    ChipTaken {
        /// Channel.
        name: ChannelName,
        /// The one before.
        other: ChannelName,
        /// Device file.
        bus: PathBuf,
        /// Address.
        address: u8,
    },
    /// Two sensors share a name.
    #[error("two sensors are named '{name}': give each channel its own name")]
    NameTaken {
        /// The name.
        name: ChannelName,
    },
}

/// Larger tolerances are no shunt but a guess.
const TOLERANCE_MAX: f64 = 0.5;
/// Counters add up by themselves; looking more often than the hardware counts shows nothing new.
const SAMPLE_PERIOD_MIN: Duration = Duration::from_millis(1);
/// Beyond, the edges of a window of seconds are not known, and commands would wait long for the reading after their end.
const SAMPLE_PERIOD_MAX: Duration = Duration::from_secs(1);
/// More than any machine's processors take.
const WATTS_MAX: f64 = 10_000.0;

impl SensorConfig {
    /// An emulated sensor with its default load.
    pub fn emulator(name: ChannelName, seed: u64) -> Self {
        Self::Emulator(EmulatorConfig { name, seed, load: LoadConfig::default() })
    }

    /// Name of the channel.
    pub fn name(&self) -> &ChannelName {
        match self {
            Self::Ina219(config) => &config.name,
            Self::Emulator(config) => &config.name,
            Self::Replay(config) => &config.name,
            Self::Rapl(config) => &config.name,
            Self::Nvml(config) => &config.name,
            Self::Tdp(config) => &config.name,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// The first setting that cannot be, by name, with its value and what to give instead.
    pub fn check(&self) -> Result<(), SensorConfigError> {
        match self {
            Self::Ina219(config) => config.check(),
            Self::Emulator(config) => config.check(),
            Self::Replay(_) => Ok(()),
            Self::Rapl(config) => check_counter(&config.name, config.sample_period, config.tolerance),
            Self::Nvml(config) => check_counter(&config.name, config.sample_period, config.tolerance),
            Self::Tdp(config) => config.check(),
        }
    }
}

/// Checks all sensors of a node, that their names differ, and that no chip is read by two of them. (Counters may be: a
/// look takes nothing from them.)
///
/// # Errors
/// The first that is wrong.
pub fn check_all(sensors: &[SensorConfig]) -> Result<(), SensorConfigError> {
    for (index, sensor) in sensors.iter().enumerate() {
        sensor.check()?;
        if sensors[..index].iter().any(|earlier| earlier.name() == sensor.name()) {
            return Err(SensorConfigError::NameTaken { name: sensor.name().clone() });
        }
        if let SensorConfig::Ina219(config) = sensor {
            config.check_is_alone(&sensors[..index])?;
        }
    }
    Ok(())
}

fn check_counter(name: &ChannelName, period: Duration, tolerance: Option<f64>) -> Result<(), SensorConfigError> {
    if !(SAMPLE_PERIOD_MIN..=SAMPLE_PERIOD_MAX).contains(&period) {
        return Err(SensorConfigError::SamplePeriod { name: name.clone(), period });
    }
    match tolerance.filter(|value| !(0.0..=TOLERANCE_MAX).contains(value)) {
        Some(value) => Err(SensorConfigError::Tolerance { name: name.clone(), key: "tolerance", value }),
        None => Ok(()),
    }
}

impl TdpConfig {
    fn check(&self) -> Result<(), SensorConfigError> {
        let Self { tdp_watts, idle_watts, .. } = *self;
        let is_power = tdp_watts > 0.0 && (0.0..=tdp_watts).contains(&idle_watts) && tdp_watts <= WATTS_MAX;
        if !is_power {
            return Err(SensorConfigError::Watts { name: self.name.clone(), tdp_watts, idle_watts });
        }
        check_counter(&self.name, self.sample_period, None)
    }
}

impl Ina219Config {
    fn check(&self) -> Result<(), SensorConfigError> {
        let name = || self.name.clone();
        if !(0x40..=0x4f).contains(&self.address) {
            return Err(SensorConfigError::Address { name: name(), address: self.address });
        }
        // Smaller ones would not fit the wire's nano-ohm, larger ones no shunt's purpose.
        if !(1e-4..=1e3).contains(&self.shunt_ohms) {
            return Err(SensorConfigError::Shunt { name: name(), value: self.shunt_ohms });
        }
        if !(0.0..=TOLERANCE_MAX).contains(&self.shunt_tolerance) {
            let (key, value) = ("shunt_tolerance", self.shunt_tolerance);
            return Err(SensorConfigError::Tolerance { name: name(), key, value });
        }
        Ok(())
    }

    fn check_is_alone(&self, earlier: &[SensorConfig]) -> Result<(), SensorConfigError> {
        let own = ina219::rail(&self.bus, self.address);
        let same = earlier.iter().find(
            |other| matches!(other, SensorConfig::Ina219(other) if ina219::rail(&other.bus, other.address) == own),
        );
        let Some(other) = same else { return Ok(()) };
        let (name, other, bus) = (self.name.clone(), other.name().clone(), self.bus.clone());
        Err(SensorConfigError::ChipTaken { name, other, bus, address: self.address })
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            shunt: Ohms::new(self.shunt_ohms),
            shunt_tolerance: self.shunt_tolerance,
            shunt_range: self.range,
            bus_range: self.bus_range,
            grade: self.grade,
            adc: self.adc,
        }
    }
}

impl EmulatorConfig {
    fn check(&self) -> Result<(), SensorConfigError> {
        let name = self.name.clone();
        self.load.check().map_err(|problem| SensorConfigError::Load { name: name.clone(), problem })?;
        // Offset, gain and a shunt above nominal take their part of the range.
        let amperes_max = self.settings().current_max().get() * 0.97;
        let amperes = self.load.amperes_max();
        if amperes > amperes_max { Err(SensorConfigError::LoadClips { name, amperes, amperes_max }) } else { Ok(()) }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            shunt: Ohms::new(0.1),
            shunt_tolerance: default_shunt_tolerance(),
            shunt_range: default_range(),
            bus_range: default_bus_range(),
            grade: default_grade(),
            adc: Adc::default(),
        }
    }
}

/// The one zone that every processor with RAPL has.
fn default_zone() -> String {
    "package-0".to_owned()
}

fn default_powercap() -> PathBuf {
    PathBuf::from("/sys/class/powercap")
}

fn default_proc() -> PathBuf {
    PathBuf::from("/proc")
}

/// 50 Hz: the edges of a window of 10 s stand for 0.2 % of its energy.
fn default_rapl_period() -> Duration {
    Duration::from_millis(20)
}

/// As often as the driver surely counts.
fn default_nvml_period() -> Duration {
    Duration::from_millis(100)
}

/// Five of the kernel's ticks: the edges of a window of 10 s stand for less than 1 % of its energy.
fn default_tdp_period() -> Duration {
    Duration::from_millis(50)
}

fn default_bus() -> PathBuf {
    PathBuf::from("/dev/i2c-1")
}

/// Both address pins on ground, as breakout boards come.
fn default_address() -> u8 {
    0x40
}

/// What breakout boards carry.
fn default_shunt_tolerance() -> f64 {
    0.01
}

/// ±160 mV: 1.6 A at 0.1 Ω, the largest burden that leaves a 5 V supply within its limits.
fn default_range() -> ShuntRange {
    ShuntRange::Millivolts160
}

fn default_bus_range() -> BusRange {
    BusRange::Volts16
}

fn default_grade() -> Grade {
    Grade::A
}

fn default_seed() -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct File {
        sensor: Vec<SensorConfig>,
    }

    fn read(text: &str) -> Result<SensorConfig, String> {
        let file: File = toml::from_str(&format!("[[sensor]]\n{text}")).map_err(|error| error.to_string())?;
        let sensor = file.sensor.into_iter().next().expect("one table");
        sensor.check().map_err(|error| error.to_string())?;
        Ok(sensor)
    }

    #[test]
    fn a_chip_needs_a_name_and_its_shunt() {
        let SensorConfig::Ina219(config) =
            read("name = 'rail'\nsource = 'ina219'\nshunt_ohms = 0.1").expect("complete")
        else {
            panic!("a chip")
        };
        assert_eq!((config.address, config.shunt_tolerance), (0x40, 0.01));
        assert_eq!(config.adc.to_string(), "12/11");
        let error = read("name = 'rail'\nsource = 'ina219'").expect_err("no shunt");
        assert!(error.contains("shunt_ohms"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_a_way_out() {
        for (text, expected) in [
            ("source = 'ina219'\nshunt_ohms = -1.0", &["shunt_ohms = -1", "0.1 on most"][..]),
            ("source = 'ina219'\nshunt_ohms = 0.1\naddress = 0x20", &["address = 0x20", "0x40 to 0x4f"]),
            ("source = 'ina219'\nshunt_ohms = 0.1\nshunt_tolerance = 5", &["shunt_tolerance = 5", "0.01 for 1 %"]),
            ("source = 'ina219'\nshunt_ohms = 0.1\nadc = '13/12'", &["adc = \"13/12\"", "\"12/11\""]),
            ("source = 'ina219'\nshunt_ohms = 0.1\nrange = '60mV'", &["60mV", "160mV"]),
            ("source = 'ina219'\nshunt_ohms = 0.1\nseed = 3", &["unknown field `seed`", "`shunt_ohms`"]),
            ("source = 'ina226'", &["ina226", "ina219-emulator"]),
            ("source = 'ina219-emulator'\nload = { idle_amperes = 0 }", &["sensor 'rail'", "load.idle_amperes = 0"]),
            ("source = 'ina219-emulator'\nload = { active_amperes = 2 }", &["2.07 A", "load.active_amperes"]),
            ("source = 'replay'", &["path"]),
            ("source = 'rapl'\nsample_period = '2s'", &["sensor 'rail'", "sample_period = 2s", "\"1ms\" to \"1s\""]),
            ("source = 'rapl'\ntolerance = 5", &["tolerance = 5", "0.01 for 1 %"]),
            ("source = 'rapl'\npackage = 0", &["unknown field `package`", "`zone`"]),
            ("source = 'nvml'\ngpu = 1.5", &["an index such as 0", "nvidia-smi -L"]),
            ("source = 'nvml'\nsample_period = '0s'", &["sample_period = 0ns"]),
            ("source = 'tdp'", &["tdp_watts"]),
            ("source = 'tdp'\ntdp_watts = 10\nidle_watts = 20", &["tdp_watts = 10 with idle_watts = 20"]),
            ("source = 'tdp'\ntdp_watts = nan", &["tdp_watts = NaN"]),
        ] {
            let error = read(&format!("name = 'rail'\n{text}")).expect_err(text);
            for part in expected {
                assert!(error.contains(part), "{text}\n{error}");
            }
        }
    }

    #[test]
    fn two_sensors_cannot_share_a_name() {
        let sensor = SensorConfig::emulator("rail".parse().expect("a name"), 1);
        let error = check_all(&[sensor.clone(), sensor]).expect_err("taken");
        assert!(error.to_string().contains("'rail'"));
    }

    #[test]
    fn a_configuration_survives_its_text() {
        let sensor = SensorConfig::emulator("rail".parse().expect("a name"), 7);
        let text = toml::to_string(&File { sensor: vec![sensor.clone()] }).expect("writes");
        let file: File = toml::from_str(&text).expect("reads its own text");
        assert_eq!(file.sensor, [sensor]);
    }

    #[test]
    fn two_sensors_cannot_read_one_chip() {
        let read = |text: &str| -> SensorConfig { toml::from_str(text).expect("a sensor") };
        let chip = |name: &str, bus: &str, address: u8| {
            read(&format!("source = 'ina219'\nname = '{name}'\nbus = '{bus}'\naddress = {address}\nshunt_ohms = 0.1"))
        };
        let dir = tempfile::tempdir().expect("a folder");
        let (bus, link) = (dir.path().join("i2c-1"), dir.path().join("link"));
        std::fs::write(&bus, "").expect("written");
        std::os::unix::fs::symlink(&bus, &link).expect("linked");
        let (bus, link) = (bus.display().to_string(), link.display().to_string());
        let error = check_all(&[chip("a", &bus, 0x40), chip("b", &link, 0x40)]).expect_err("one chip").to_string();
        assert!(error.contains("sensor 'b': the chip at 0x40") && error.contains("sensor 'a'"), "{error}");
        assert_eq!(check_all(&[chip("a", &bus, 0x40), chip("b", &bus, 0x41), chip("c", "/dev/i2c-9", 0x40)]), Ok(()));
        // A look takes nothing from a counter: a fast and a slow one of the same are no mistake.
        let zone = |name: &str| read(&format!("source = 'rapl'\nname = '{name}'"));
        assert_eq!(check_all(&[zone("fast"), zone("slow")]), Ok(()));
    }
}
