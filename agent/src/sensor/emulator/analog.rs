//! What lies between the load and a code: shunt, amplifier, noise, converter. One chip out of the datasheet's spread.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tinywatt_proto::units::{Ohms, Volts};

use super::registers::Configuration;
use crate::sensor::ina219::{Grade, ShuntRange};

/// How one chip and its shunt deviate from what they should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviations {
    /// Real shunt as a multiple of its nominal value.
    pub shunt_factor: f64,
    /// Offset of the shunt voltage in each range, from ±40 mV to ±320 mV.
    pub shunt_offset: [Volts; 4],
    /// Real gain of the shunt path, 1 when perfect.
    pub shunt_gain: f64,
    /// Real gain of the bus path, 1 when perfect.
    pub bus_gain: f64,
    /// Real length of a conversion as a multiple of the typical one.
    pub oscillator_factor: f64,
}

impl Deviations {
    /// A perfect chip.
    pub const NONE: Self = Self {
        shunt_factor: 1.0,
        shunt_offset: [Volts::new(0.0); 4],
        shunt_gain: 1.0,
        bus_gain: 1.0,
        oscillator_factor: 1.0,
    };

    /// Draws a chip, evenly within the datasheet's limits at 25 °C and the shunt's tolerance. The oscillator is drawn
    /// within ±10 %: the datasheet's maxima are 10 % above typical, a minimum is not given.
    pub fn draw(seed: u64, grade: Grade, shunt_tolerance: f64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut within = |limit: f64| limit * random.random_range(-1.0..=1.0);
        Self {
            shunt_factor: 1.0 + within(shunt_tolerance),
            shunt_offset: ShuntRange::ALL.map(|range| Volts::new(within(grade.shunt_offset_max(range).get()))),
            shunt_gain: 1.0 + within(grade.shunt_gain_max()),
            bus_gain: 1.0 + within(grade.bus_gain_max()),
            oscillator_factor: 1.0 + within(0.1),
        }
    }
}

/// Step of the shunt converter. The datasheet prints 10 µV for every range, but 12 bits cannot fill 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShuntStep {
    /// 10 µV in every range, as printed.
    #[default]
    TenMicrovolts,
    /// Full scale / 4096, rounded up: 10, 20, 40, 80 µV.
    TwelveBits,
}

/// Noise of a single 12-bit conversion, standard deviation: one step of each register. The datasheet states none.
const SHUNT_NOISE: Volts = Volts::new(10e-6);
const BUS_NOISE: Volts = Volts::new(4e-3);

const SHUNT_VOLTS_PER_CODE: f64 = 10e-6;
const BUS_VOLTS_PER_CODE: f64 = 4e-3;

/// Turns what the load draws into codes.
#[derive(Debug, Clone)]
pub(crate) struct Analog {
    pub(crate) deviations: Deviations,
    shunt: Ohms,
    step: ShuntStep,
    noise: Option<ChaCha8Rng>,
}

impl Analog {
    /// `noise_seed` `None` gives a silent chip.
    pub(crate) fn new(nominal: Ohms, deviations: Deviations, step: ShuntStep, noise_seed: Option<u64>) -> Self {
        let shunt = nominal * deviations.shunt_factor;
        Self { deviations, shunt, step, noise: noise_seed.map(ChaCha8Rng::seed_from_u64) }
    }

    /// Code of a conversion over which the mean current was `amperes`.
    pub(crate) fn shunt_code(&mut self, amperes: f64, configuration: Configuration) -> i16 {
        let adc = configuration.shunt_adc();
        let range = configuration.gain_index();
        let noise = self.noise(SHUNT_NOISE, adc.averages);
        let volts =
            amperes * self.shunt.get() * self.deviations.shunt_gain + self.deviations.shunt_offset[range].get() + noise;
        let step = match self.step {
            ShuntStep::TenMicrovolts => 1,
            ShuntStep::TwelveBits => 1 << range,
        };
        let limit = configuration.shunt_code_max();
        let code = quantise(volts / SHUNT_VOLTS_PER_CODE, step * adc.coarseness).clamp(-limit, limit);
        i16::try_from(code).expect("clamped to 32,000")
    }

    /// Code of a conversion over which the mean voltage was `volts`.
    pub(crate) fn bus_code(&mut self, volts: f64, configuration: Configuration) -> u16 {
        let adc = configuration.bus_adc();
        let noise = self.noise(BUS_NOISE, adc.averages);
        let volts = volts * self.deviations.bus_gain + noise;
        let code = quantise(volts / BUS_VOLTS_PER_CODE, adc.coarseness).clamp(0, configuration.bus_code_max());
        u16::try_from(code).expect("clamped to 0..8,000")
    }

    /// Gaussian by Box and Muller; averaging n conversions divides it by √n.
    fn noise(&mut self, deviation: Volts, averages: u16) -> f64 {
        let Some(random) = &mut self.noise else { return 0.0 };
        let radius = (-2.0 * random.random_range(f64::MIN_POSITIVE..1.0).ln()).sqrt();
        let angle = random.random_range(0.0..std::f64::consts::TAU);
        deviation.get() * radius * angle.cos() / f64::from(averages).sqrt()
    }
}

/// Nearest multiple of `step`.
fn quantise(codes: f64, step: i32) -> i32 {
    let nearest = (codes / f64::from(step)).round().clamp(-1e6, 1e6);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a million, and whole")]
    let nearest = nearest as i32;
    nearest * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(shunt: f64) -> Analog {
        Analog::new(Ohms::new(shunt), Deviations::NONE, ShuntStep::default(), None)
    }

    #[test]
    fn the_datasheets_shunt_voltages_give_its_codes() {
        let mut chip = silent(1.0);
        for (volts, register) in
            [(319.99e-3, 0x7CFF), (320e-3, 0x7D00), (-320e-3, 0x8300), (-40.01e-3, 0xF05F), (0.4, 0x7D00)]
        {
            let code = chip.shunt_code(volts, Configuration::RESET);
            assert_eq!(u16::from_ne_bytes(code.to_ne_bytes()), register, "{volts} V");
        }
    }

    #[test]
    fn every_range_clamps_at_its_full_scale() {
        for (range, limit) in [(0u16, 4_000), (1, 8_000), (2, 16_000), (3, 32_000)] {
            let configuration = Configuration::written(0x019F | range << 11).expect("no reset");
            assert_eq!(silent(1.0).shunt_code(1.0, configuration), limit);
            assert_eq!(silent(1.0).shunt_code(-1.0, configuration), -limit);
        }
    }

    #[test]
    fn the_bus_register_counts_4_millivolts_and_clamps_at_its_range() {
        let narrow = Configuration::written(0x019F).expect("no reset");
        assert_eq!(silent(1.0).bus_code(11.98, narrow), 2_995);
        assert_eq!(silent(1.0).bus_code(20.0, narrow), 4_000);
        assert_eq!(silent(1.0).bus_code(40.0, Configuration::RESET), 8_000);
    }

    #[test]
    fn fewer_bits_make_coarser_steps() {
        // Bus converter at 11 bit: steps of 8 mV.
        let configuration = Configuration::written(0x019F & !(0b1111 << 7) | 0b0010 << 7).expect("no reset");
        assert_eq!(silent(1.0).bus_code(5.004, configuration) % 2, 0);
        let mut stepped = Analog::new(Ohms::new(1.0), Deviations::NONE, ShuntStep::TwelveBits, None);
        assert_eq!(stepped.shunt_code(0.1234, Configuration::RESET) % 8, 0);
    }

    #[test]
    fn drawn_chips_stay_within_the_datasheet_and_differ() {
        let drawn: Vec<_> = (0..200).map(|seed| Deviations::draw(seed, Grade::A, 0.01)).collect();
        for chip in &drawn {
            assert!((chip.shunt_factor - 1.0).abs() <= 0.01);
            assert!(chip.shunt_offset[2].abs() <= Volts::new(150e-6));
            assert!((chip.shunt_gain - 1.0).abs() <= 0.005);
            assert!((chip.bus_gain - 1.0).abs() <= 0.005);
            assert!((chip.oscillator_factor - 1.0).abs() <= 0.1);
        }
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(drawn.iter().any(|chip| chip.oscillator_factor > 1.08));
    }
}
