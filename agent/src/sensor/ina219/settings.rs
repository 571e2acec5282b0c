//! How the chip is set up, and what its datasheet then promises.
//!
//! Source of every limit: TI SBOS448, electrical characteristics at 25 °C, maxima.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ina219::configuration::{
    BusVoltageRange, Configuration, MeasuredSignals, OperatingMode, Reset, Resolution, ShuntVoltageRange,
};
use serde::{Deserialize, Serialize};
use tinywatt_proto::units::{Amperes, Ohms, Volts};
use tinywatt_proto::v1;

/// Full scale of the shunt voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShuntRange {
    /// ±40 mV.
    #[serde(rename = "40mV")]
    Millivolts40,
    /// ±80 mV.
    #[serde(rename = "80mV")]
    Millivolts80,
    /// ±160 mV.
    #[serde(rename = "160mV")]
    Millivolts160,
    /// ±320 mV.
    #[serde(rename = "320mV")]
    Millivolts320,
}

impl ShuntRange {
    /// All ranges, by the value of the chip's two gain bits.
    pub const ALL: [Self; 4] = [Self::Millivolts40, Self::Millivolts80, Self::Millivolts160, Self::Millivolts320];

    fn index(self) -> u32 {
        match self {
            Self::Millivolts40 => 0,
            Self::Millivolts80 => 1,
            Self::Millivolts160 => 2,
            Self::Millivolts320 => 3,
        }
    }

    /// Code at full scale; the step is 10 µV in every range.
    pub fn code_max(self) -> u32 {
        4_000 << self.index()
    }

    /// Voltage at full scale.
    pub fn volts_max(self) -> Volts {
        Volts::new(10e-6 * f64::from(self.code_max()))
    }

    /// Step that 12 bits can really resolve, nV: full scale / 4096, rounded up to 10, 20, 40, 80 µV.
    fn step_nanovolts(self) -> u32 {
        10_000 << self.index()
    }

    fn bits(self) -> ShuntVoltageRange {
        match self {
            Self::Millivolts40 => ShuntVoltageRange::Fsr40mv,
            Self::Millivolts80 => ShuntVoltageRange::Fsr80mv,
            Self::Millivolts160 => ShuntVoltageRange::Fsr160mv,
            Self::Millivolts320 => ShuntVoltageRange::Fsr320mv,
        }
    }
}

/// Full scale of the bus voltage. No more than 26 V may ever lie on the pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BusRange {
    /// 16 V.
    #[serde(rename = "16V")]
    Volts16,
    /// 32 V.
    #[serde(rename = "32V")]
    Volts32,
}

impl BusRange {
    /// Code at full scale; the step is 4 mV in both ranges.
    pub fn code_max(self) -> u32 {
        match self {
            Self::Volts16 => 4_000,
            Self::Volts32 => 8_000,
        }
    }

    /// Step that 12 bits can resolve, µV: 4,000 codes fill them, 8,000 need twice the step.
    fn step_microvolts(self) -> u32 {
        match self {
            Self::Volts16 => 4_000,
            Self::Volts32 => 8_000,
        }
    }

    fn bits(self) -> BusVoltageRange {
        match self {
            Self::Volts16 => BusVoltageRange::Fsr16v,
            Self::Volts32 => BusVoltageRange::Fsr32v,
        }
    }
}

/// Accuracy grade of the chip, the letter in its part number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grade {
    /// INA219A.
    A,
    /// INA219B.
    B,
}

impl Grade {
    /// Largest offset of the shunt voltage.
    pub fn shunt_offset_max(self, range: ShuntRange) -> Volts {
        use ShuntRange::{Millivolts40, Millivolts80, Millivolts160, Millivolts320};
        Volts::new(match (self, range) {
            (Self::A, Millivolts40) | (Self::B, Millivolts320) => 100e-6,
            (Self::A, Millivolts80) => 125e-6,
            (Self::A, Millivolts160) => 150e-6,
            (Self::A, Millivolts320) => 200e-6,
            (Self::B, Millivolts40) => 50e-6,
            (Self::B, Millivolts80 | Millivolts160) => 75e-6,
        })
    }

    /// Largest error of the current measurement beside offset and shunt, as a part of the reading.
    pub fn shunt_gain_max(self) -> f64 {
        match self {
            Self::A => 0.005,
            Self::B => 0.003,
        }
    }

    /// Largest error of the bus voltage, as a part of the reading.
    pub fn bus_gain_max(self) -> f64 {
        0.005
    }
}

/// Resolutions of the shunt and the bus converter, written "12/11"; with averaging "12x4/12x4".
///
/// The default is the finest pair that gives 1.1 kHz with the slowest chip: 12 bit for the current, 11 for the voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Adc {
    shunt: Resolution,
    bus: Resolution,
}

impl Default for Adc {
    fn default() -> Self {
        Self { shunt: Resolution::Res12Bit, bus: Resolution::Res11Bit }
    }
}

const RESOLUTIONS: [(&str, Resolution); 11] = [
    ("9", Resolution::Res9Bit),
    ("10", Resolution::Res10Bit),
    ("11", Resolution::Res11Bit),
    ("12", Resolution::Res12Bit),
    ("12x2", Resolution::Avg2),
    ("12x4", Resolution::Avg4),
    ("12x8", Resolution::Avg8),
    ("12x16", Resolution::Avg16),
    ("12x32", Resolution::Avg32),
    ("12x64", Resolution::Avg64),
    ("12x128", Resolution::Avg128),
];

/// Text is no converter setting.
#[derive(Debug, thiserror::Error)]
#[error(
    "adc = \"{0}\" is not a converter setting: give shunt/bus resolution in bits, such as \"12/11\" (1.2 kHz), \
     \"12/12\" (940 Hz) or, averaged, \"12x4/12x4\" (235 Hz)"
)]
pub struct AdcError(String);

impl FromStr for Adc {
    type Err = AdcError;
    fn from_str(text: &str) -> Result<Self, AdcError> {
        let find = |name: &str| RESOLUTIONS.iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
        text.split_once('/')
            .and_then(|(shunt, bus)| Some(Self { shunt: find(shunt)?, bus: find(bus)? }))
            .ok_or_else(|| AdcError(text.to_owned()))
    }
}

impl TryFrom<String> for Adc {
    type Error = AdcError;
    fn try_from(text: String) -> Result<Self, AdcError> {
        text.parse()
    }
}

impl From<Adc> for String {
    fn from(adc: Adc) -> Self {
        adc.to_string()
    }
}

impl fmt::Display for Adc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |resolution| RESOLUTIONS.iter().find(|(_, known)| *known == resolution).map_or("?", |found| found.0);
        write!(f, "{}/{}", name(self.shunt), name(self.bus))
    }
}

impl Adc {
    /// Averaging settings from the fastest on, with equal averages on both converters: what a slow bus can follow.
    pub(crate) fn slower() -> impl Iterator<Item = Self> {
        RESOLUTIONS.into_iter().skip(3).map(|(_, both)| Self { shunt: both, bus: both })
    }

    /// Typical time of a whole cycle: shunt, then bus.
    pub fn cycle(self) -> Duration {
        self.shunt_time() + Duration::from_micros(u64::from(self.bus.conversion_time_us()))
    }

    /// Typical time of the shunt conversion.
    pub fn shunt_time(self) -> Duration {
        Duration::from_micros(u64::from(self.shunt.conversion_time_us()))
    }

    /// A code's step as a multiple of the step at 12 bit.
    fn coarseness(resolution: Resolution) -> u32 {
        match resolution {
            Resolution::Res9Bit => 8,
            Resolution::Res10Bit => 4,
            Resolution::Res11Bit => 2,
            _ => 1,
        }
    }
}

/// Everything that decides what a code means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Nominal or calibrated shunt.
    pub shunt: Ohms,
    /// Tolerance of the shunt, as a part of its value.
    pub shunt_tolerance: f64,
    /// Full scale of the shunt voltage.
    pub shunt_range: ShuntRange,
    /// Full scale of the bus voltage.
    pub bus_range: BusRange,
    /// Accuracy grade.
    pub grade: Grade,
    /// Converter setting.
    pub adc: Adc,
}

impl Settings {
    /// Largest current before the converter clips.
    pub fn current_max(&self) -> Amperes {
        self.shunt_range.volts_max() / self.shunt
    }

    /// Time between looks while a conversion is awaited: 60 µs, which a timer can keep, or a 32nd of a slow cycle.
    pub(crate) fn look_interval(&self) -> Duration {
        Duration::from_micros(60).max(self.adc.cycle() / 32)
    }

    /// How well a conversion's end is known: half the time between looks, and half of a bus transaction at 400 kHz
    /// (120 µs) within which the chip's answer was latched.
    pub(crate) fn timestamp_error(&self) -> Duration {
        self.look_interval() / 2 + Duration::from_micros(60)
    }

    /// The registers' content.
    pub(crate) fn configuration(&self) -> Configuration {
        Configuration {
            reset: Reset::Run,
            bus_voltage_range: self.bus_range.bits(),
            shunt_voltage_range: self.shunt_range.bits(),
            bus_resolution: self.adc.bus,
            shunt_resolution: self.adc.shunt,
            operating_mode: OperatingMode::Continous(MeasuredSignals::ShutAndBusVoltage),
        }
    }

    /// Meaning of the codes, with the limits of their errors.
    pub fn scale(&self) -> v1::ShuntBusScale {
        v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: whole(self.shunt.get() * 1e9),
            shunt_code_max: self.shunt_range.code_max(),
            error_budget: Some(v1::ErrorBudget {
                shunt_offset_nanovolts: whole(self.grade.shunt_offset_max(self.shunt_range).get() * 1e9),
                shunt_gain_ppm: millionths(self.grade.shunt_gain_max()),
                shunt_tolerance_ppm: millionths(self.shunt_tolerance),
                bus_gain_ppm: millionths(self.grade.bus_gain_max()),
                bus_quantum_microvolts: self.bus_range.step_microvolts() * Adc::coarseness(self.adc.bus),
                shunt_quantum_nanovolts: self.shunt_range.step_nanovolts() * Adc::coarseness(self.adc.shunt),
                timestamp_error_ns: tinywatt_proto::time::nanoseconds(self.timestamp_error()),
            }),
        }
    }
}

/// Nearest whole number; 0 for what is negative or not a number.
fn whole(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is what is meant")]
    let whole = value.round() as u64;
    whole
}

fn millionths(part: f64) -> u32 {
    u32::try_from(whole(part * 1e6)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            shunt: Ohms::new(0.1),
            shunt_tolerance: 0.01,
            shunt_range: ShuntRange::Millivolts160,
            bus_range: BusRange::Volts16,
            grade: Grade::A,
            adc: Adc::default(),
        }
    }

    #[test]
    fn the_default_gives_1_1_kilohertz_with_the_slowest_chip() {
        let slowest = Adc::default().cycle().mul_f64(1.1);
        assert_eq!(Adc::default().cycle(), Duration::from_micros(808));
        assert!(1.0 / slowest.as_secs_f64() > 1_100.0);
    }

    #[test]
    fn the_budget_is_the_datasheets() {
        let budget = settings().scale().error_budget.expect("stated");
        assert_eq!(budget.shunt_offset_nanovolts, 150_000);
        assert_eq!((budget.shunt_gain_ppm, budget.shunt_tolerance_ppm, budget.bus_gain_ppm), (5_000, 10_000, 5_000));
        assert_eq!((budget.bus_quantum_microvolts, budget.shunt_quantum_nanovolts), (8_000, 40_000));
        assert_eq!(budget.timestamp_error_ns, 90_000);
        assert_eq!(settings().scale().shunt_nanoohms, 100_000_000);
    }

    #[test]
    fn ranges_end_at_0_4_to_3_2_amperes_of_a_tenth_of_an_ohm() {
        let ends = ShuntRange::ALL.map(|shunt_range| Settings { shunt_range, ..settings() }.current_max().get());
        assert!(ends.iter().zip([0.4, 0.8, 1.6, 3.2]).all(|(found, expected)| (found - expected).abs() < 1e-12));
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        for text in ["12/11", "9/9", "12x128/12x2"] {
            assert_eq!(text.parse::<Adc>().expect(text).to_string(), text);
        }
        let error = "12-11".parse::<Adc>().expect_err("not a setting").to_string();
        assert!(error.contains("adc = \"12-11\"") && error.contains("\"12/11\""), "{error}");
    }

    #[test]
    fn the_configuration_has_the_datasheets_bits() {
        // 16 V, /4, 11-bit bus, 12-bit shunt, continuous.
        assert_eq!(settings().configuration().as_bits(), 0b0001_0001_0001_1111);
    }
}
