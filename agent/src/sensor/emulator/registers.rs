//! Registers and timing of the chip as its datasheet prints them (SBOS448), independent of the driver's tables.

/// Bus-side addresses of the registers.
pub(crate) mod pointer {
    pub(crate) const CONFIGURATION: u8 = 0;
    pub(crate) const SHUNT: u8 = 1;
    pub(crate) const BUS: u8 = 2;
    pub(crate) const POWER: u8 = 3;
    pub(crate) const CURRENT: u8 = 4;
    pub(crate) const CALIBRATION: u8 = 5;
}

/// Configuration after power-on: 32 V, /8, 12 bit, continuous.
pub(crate) const CONFIGURATION_RESET: u16 = 0x399F;
const RESET_BIT: u16 = 1 << 15;
/// Bit 14 is unused and reads 0.
const STORED_BITS: u16 = !(RESET_BIT | 1 << 14);

/// The configuration register, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuration(u16);

impl Configuration {
    pub(crate) const RESET: Self = Self(CONFIGURATION_RESET);

    /// What a write stores; `None` when it asks for a reset.
    pub(crate) fn written(bits: u16) -> Option<Self> {
        (bits & RESET_BIT == 0).then_some(Self(bits & STORED_BITS))
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// Index of the shunt range: 0 = ±40 mV to 3 = ±320 mV.
    pub(crate) fn gain_index(self) -> usize {
        usize::from(self.0 >> 11 & 0b11)
    }

    /// Full scale of the shunt register, in codes of 10 µV.
    pub(crate) fn shunt_code_max(self) -> i32 {
        4_000 << self.gain_index()
    }

    /// Full scale of the bus register, in codes of 4 mV.
    pub(crate) fn bus_code_max(self) -> i32 {
        if self.0 >> 13 & 1 == 1 { 8_000 } else { 4_000 }
    }

    pub(crate) fn bus_adc(self) -> Adc {
        Adc::from_code(self.0 >> 7 & 0b1111)
    }

    pub(crate) fn shunt_adc(self) -> Adc {
        Adc::from_code(self.0 >> 3 & 0b1111)
    }

    fn mode(self) -> u16 {
        self.0 & 0b111
    }

    /// Whether writing these mode bits clears the ready bit: all but power-down and ADC off.
    pub(crate) fn clears_ready(self) -> bool {
        self.converts_shunt() || self.converts_bus()
    }

    pub(crate) fn is_power_down(self) -> bool {
        self.mode() == 0
    }

    pub(crate) fn converts_shunt(self) -> bool {
        self.mode() & 0b001 != 0
    }

    pub(crate) fn converts_bus(self) -> bool {
        self.mode() & 0b010 != 0
    }

    pub(crate) fn is_continuous(self) -> bool {
        self.mode() & 0b100 != 0
    }
}

/// Setting of one of the two converters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Adc {
    /// Conversion time, typical, µs.
    pub(crate) microseconds: u64,
    /// Conversions averaged.
    pub(crate) averages: u16,
    /// A code's step as a multiple of the step at 12 bit.
    pub(crate) coarseness: i32,
}

impl Adc {
    /// Table "ADC settings" of the datasheet. Bit 2 does not matter while bit 3 is 0; 1000 is 12 bit again.
    fn from_code(code: u16) -> Self {
        let single = |microseconds, coarseness| Self { microseconds, averages: 1, coarseness };
        let averaged = |microseconds, averages| Self { microseconds, averages, coarseness: 1 };
        match code & 0b1111 {
            0b0000 | 0b0100 => single(84, 8),
            0b0001 | 0b0101 => single(148, 4),
            0b0010 | 0b0110 => single(276, 2),
            0b1001 => averaged(1_060, 2),
            0b1010 => averaged(2_130, 4),
            0b1011 => averaged(4_260, 8),
            0b1100 => averaged(8_510, 16),
            0b1101 => averaged(17_020, 32),
            0b1110 => averaged(34_050, 64),
            0b1111 => averaged(68_100, 128),
            _ => single(532, 1),
        }
    }
}

/// What the chip computes at the end of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Computed {
    pub(crate) current: i16,
    pub(crate) power: u16,
    pub(crate) overflow: bool,
}

/// Current = shunt × calibration / 4096, power = |current| × bus / 5000, both truncated. The datasheet does not say
/// what the power of a negative current is; its magnitude is taken.
pub(crate) fn compute(shunt: i16, bus: u16, calibration: u16) -> Computed {
    let current = i32::from(shunt) * i32::from(calibration) / 4_096;
    let power = u64::from(current.unsigned_abs()) * u64::from(bus) / 5_000;
    match (i16::try_from(current), u16::try_from(power)) {
        (Ok(current), Ok(power)) => Computed { current, power, overflow: false },
        (current, power) => {
            Computed { current: current.unwrap_or(i16::MAX), power: power.unwrap_or(u16::MAX), overflow: true }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_datasheet_computes() {
        let computed = compute(0x07D0, 0x5D98 >> 3, 20_480);
        assert_eq!(computed, Computed { current: 0x2710, power: 0x1766, overflow: false });
    }

    #[test]
    fn without_calibration_current_and_power_are_zero() {
        assert_eq!(compute(32_000, 8_000, 0), Computed { current: 0, power: 0, overflow: false });
    }

    #[test]
    fn a_result_beyond_16_bits_raises_the_overflow_bit() {
        assert!(compute(32_000, 4_000, 0xFFFE).overflow);
        assert!(compute(-32_000, 4_000, 0xFFFE).overflow);
        assert!(!compute(32_000, 8_000, 4_096).overflow, "51,200 fits");
    }

    #[test]
    fn the_conversion_times_are_the_datasheets() {
        let table = [
            (0b0000, 84),
            (0b0100, 84),
            (0b0001, 148),
            (0b0101, 148),
            (0b0010, 276),
            (0b0110, 276),
            (0b0011, 532),
            (0b0111, 532),
            (0b1000, 532),
            (0b1001, 1_060),
            (0b1010, 2_130),
            (0b1011, 4_260),
            (0b1100, 8_510),
            (0b1101, 17_020),
            (0b1110, 34_050),
            (0b1111, 68_100),
        ];
        for (code, microseconds) in table {
            assert_eq!(Adc::from_code(code).microseconds, microseconds, "code {code:04b}");
        }
    }

    #[test]
    fn the_reset_configuration_is_32_volts_320_millivolts_12_bit_continuous() {
        let reset = Configuration::RESET;
        assert_eq!((reset.bus_code_max(), reset.shunt_code_max()), (8_000, 32_000));
        assert_eq!((reset.bus_adc().microseconds, reset.shunt_adc().microseconds), (532, 532));
        assert!(reset.converts_shunt() && reset.converts_bus() && reset.is_continuous());
    }

    #[test]
    fn the_worked_examples_configuration_decodes() {
        let configuration = Configuration::written(0x019F).expect("no reset");
        assert_eq!((configuration.bus_code_max(), configuration.shunt_code_max()), (4_000, 4_000));
    }
}
