//! Readings, samples and the scale between them.

use crate::time::MonoNs;
use crate::units::{Amperes, Joules, Ohms, Volts, Watts};
use crate::v1;

/// Raw codes of one conversion and the instant they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Centre of the conversion; for an energy channel the end of the interval; for a counter the instant it was read at.
    pub at: MonoNs,
    /// Shunt-voltage code, energy code, or what the counter holds.
    pub first: i64,
    /// Bus-voltage code; 0 on all other channels.
    pub second: i64,
    /// What is wrong with the reading.
    pub flags: Flags,
}

/// What may be wrong with a reading. Empty for a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Nothing is wrong.
    pub const NONE: Self = Self(0);
    /// The shunt code stands at the end of its range, or the chip reported an overflow.
    pub const CLIPPED: Self = Self(1);
    /// Shunt and bus code may belong to different conversions: the burst of reads took too long.
    pub const TORN: Self = Self(2);
    /// The reading was taken so late that its instant is known worse than the error budget states.
    pub const LATE: Self = Self(4);

    /// Reads the wire's bits; unknown bits are kept, so that nothing suspicious is lost.
    pub fn from_bits(bits: u32) -> Self {
        Self(u8::try_from(bits & 0xff).unwrap_or(u8::MAX))
    }

    /// The wire's bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// Whether all flags of `other` are set here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A calibrated reading of a shunt channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Instant of the reading.
    pub at: MonoNs,
    /// Voltage at the load.
    pub bus: Volts,
    /// Current through the shunt.
    pub current: Amperes,
    /// Power into the load.
    pub power: Watts,
    /// What is wrong with the reading.
    pub flags: Flags,
}

/// Turns codes of a shunt channel into quantities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShuntBusScale {
    /// Shunt voltage of one code.
    pub shunt_step: Volts,
    /// Bus voltage of one code.
    pub bus_step: Volts,
    /// Effective shunt resistance.
    pub shunt: Ohms,
}

impl ShuntBusScale {
    /// Calibrates one reading.
    pub fn sample(&self, reading: &Reading) -> Sample {
        let bus = self.bus_step * code(reading.second);
        let current = self.shunt_step * code(reading.first) / self.shunt;
        Sample { at: reading.at, bus, current, power: bus * current, flags: reading.flags }
    }
}

impl From<&v1::ShuntBusScale> for ShuntBusScale {
    fn from(scale: &v1::ShuntBusScale) -> Self {
        Self {
            shunt_step: Volts::new(f64::from(scale.shunt_nanovolts_per_code) / 1e9),
            bus_step: Volts::new(f64::from(scale.bus_microvolts_per_code) / 1e6),
            shunt: Ohms::new(wide(scale.shunt_nanoohms) / 1e9),
        }
    }
}

/// Energy of one code of an energy channel.
pub fn joules_per_code(scale: &v1::EnergyScale) -> Joules {
    Joules::new(wide(scale.picojoules_per_code) / 1e12)
}

/// Energy of one code of a counter.
pub fn joules_per_count(scale: &v1::CounterScale) -> Joules {
    Joules::new(wide(scale.picojoules_per_code) / 1e12)
}

/// Codes are 16 bits wide on a shunt channel and below 2^53 on an energy channel, where `f64` is exact.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn code(code: i64) -> f64 {
    code as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53: 9,000 J in pJ, 9 MΩ in nΩ")]
fn wide(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked example of the INA219 datasheet (SBOS448): 2 mΩ, codes 2000 and 2995.
    #[test]
    fn the_datasheets_example_gives_119_8_watts() {
        let scale = ShuntBusScale::from(&v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 2_000_000,
            shunt_code_max: 32_000,
            error_budget: None,
        });
        let sample = scale.sample(&Reading { at: MonoNs(0), first: 2_000, second: 2_995, flags: Flags::NONE });
        assert!((sample.bus.get() - 11.98).abs() < 1e-12);
        assert!((sample.current.get() - 10.0).abs() < 1e-12);
        assert!((sample.power.get() - 119.8).abs() < 1e-10);
    }
}
