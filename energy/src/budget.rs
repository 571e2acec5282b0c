//! What a sensor may do wrong, and how wrong an energy is because of it.

use tinywatt_proto::units::{Joules, Ohms, Volts};
use tinywatt_proto::v1;

/// Limits of a shunt sensor's errors, half widths of intervals that surely hold the truth.
///
/// # Source
/// The datasheet's maxima at 25 °C, or a calibration. A limit becomes a standard uncertainty by division by √3
/// (rectangular distribution, GUM 4.3.7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Offset of the shunt voltage.
    pub shunt_offset: Volts,
    /// Gain of the shunt-voltage path, as a part of the reading.
    pub shunt_gain: f64,
    /// Shunt resistance, as a part of its value.
    pub shunt_tolerance: f64,
    /// Gain of the bus-voltage path, as a part of the reading.
    pub bus_gain: f64,
    /// Half a step of the shunt-voltage converter.
    pub shunt_half_step: Volts,
    /// Half a step of the bus-voltage converter.
    pub bus_half_step: Volts,
    /// Time stamp of a reading, seconds.
    pub timestamp_seconds: f64,
    /// Effective shunt resistance, which turns voltage errors into current errors.
    pub shunt: Ohms,
}

impl Budget {
    /// Reads the wire's integers.
    pub fn new(wire: &v1::ErrorBudget, shunt: Ohms) -> Self {
        let millionths = |ppm: u32| f64::from(ppm) / 1e6;
        #[expect(clippy::cast_precision_loss, reason = "nanovolts and nanoseconds of an error stay far below 2^53")]
        let billionths = |value: u64| value as f64 / 1e9;
        Self {
            shunt_offset: Volts::new(billionths(wire.shunt_offset_nanovolts)),
            shunt_gain: millionths(wire.shunt_gain_ppm),
            shunt_tolerance: millionths(wire.shunt_tolerance_ppm),
            bus_gain: millionths(wire.bus_gain_ppm),
            shunt_half_step: Volts::new(f64::from(wire.shunt_quantum_nanovolts) / 2e9),
            bus_half_step: Volts::new(f64::from(wire.bus_quantum_microvolts) / 2e6),
            timestamp_seconds: billionths(wire.timestamp_error_ns),
            shunt,
        }
    }
}

/// Standard uncertainties of an energy (coverage factor 1), one per cause; causes are independent of each other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Uncertainty {
    /// Offset of the shunt voltage.
    pub offset: Joules,
    /// Gain of the sensor and value of the shunt: everything in proportion to the energy.
    pub gain: Joules,
    /// Steps of both converters, taken as systematic: a steady load does not average them out.
    pub quantisation: Joules,
    /// The samples around the window's edges, which also see what lies outside.
    pub edges: Joules,
    /// What the load did between samples.
    pub sampling: Joules,
    /// Drift of the idle power between the idle windows; zero for a total.
    pub idle_drift: Joules,
}

/// Coverage factor of every expanded uncertainty: about 95 % for a sum of several causes.
pub const COVERAGE_FACTOR: f64 = 2.0;

/// A limit as a standard uncertainty.
pub(crate) fn rectangular(limit: Joules) -> Joules {
    limit.abs() / 3f64.sqrt()
}

/// Root sum of squares.
pub(crate) fn quadrature(parts: &[Joules]) -> Joules {
    Joules::new(parts.iter().map(|part| part.get().powi(2)).sum::<f64>().sqrt())
}

impl Uncertainty {
    /// All causes together, coverage factor 1.
    pub fn combined(&self) -> Joules {
        let Self { offset, gain, quantisation, edges, sampling, idle_drift } = *self;
        quadrature(&[offset, gain, quantisation, edges, sampling, idle_drift])
    }

    /// Half width of the interval that holds the truth with about 95 %.
    pub fn expanded(&self) -> Joules {
        self.combined() * COVERAGE_FACTOR
    }
}
