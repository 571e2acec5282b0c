//! Samples of one channel as the integrator takes them.

use std::time::Duration;

use tinywatt_proto::sample::{Flags, Reading, Sample, ShuntBusScale, joules_per_code, joules_per_count};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;

use crate::{Budget, CounterErrors, CounterSample};

/// The energy of one interval of a meter that counts energy itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergySample {
    /// End of the interval.
    pub end: MonoNs,
    /// Energy of the interval.
    pub energy: Joules,
}

/// Samples of one channel, ascending in time.
#[derive(Debug, Clone, PartialEq)]
pub enum Series {
    /// Power at instants, from a shunt and a bus voltage.
    Power {
        /// The samples.
        samples: Vec<Sample>,
        /// What the sensor may do wrong.
        budget: Budget,
        /// Nominal time between samples.
        period: Duration,
    },
    /// Energy of adjoining intervals.
    Energy {
        /// The samples.
        samples: Vec<EnergySample>,
        /// Length of every interval.
        period: Duration,
        /// Limit of the meter's error as a part of the reading; `None` when nobody states one.
        gain_limit: Option<f64>,
    },
    /// A counter of energy, read now and then.
    Counter {
        /// The samples.
        samples: Vec<CounterSample>,
        /// Nominal time between samples.
        period: Duration,
        /// What may be wrong with them.
        errors: CounterErrors,
    },
}

impl Series {
    /// Calibrates the readings of a channel. `None` when the channel's description lacks its scale.
    pub fn from_readings(channel: &v1::Channel, readings: &[Reading]) -> Option<Self> {
        let period = Duration::from_nanos(channel.sample_period_ns);
        match channel.scale.as_ref()? {
            v1::channel::Scale::ShuntBus(wire) => {
                let scale = ShuntBusScale::from(wire);
                Some(Self::Power {
                    samples: readings.iter().map(|reading| scale.sample(reading)).collect(),
                    budget: Budget::new(wire.error_budget.as_ref()?, scale.shunt),
                    period,
                })
            }
            v1::channel::Scale::Counter(wire) => {
                let step = joules_per_count(wire);
                // Counted from the first reading, so that a counter of years loses no digits.
                let first = readings.first().map_or(0, |reading| reading.first);
                #[expect(clippy::cast_precision_loss, reason = "what a series adds stays below 2^53 codes")]
                let sample = |reading: &Reading| CounterSample {
                    at: reading.at,
                    energy: step * (reading.first.wrapping_sub(first) as f64),
                };
                let errors = CounterErrors {
                    step,
                    update_period: Duration::from_nanos(wire.update_period_ns),
                    gain_limit: wire.gain_ppm.map(|ppm| f64::from(ppm) / 1e6),
                };
                Some(Self::Counter { samples: readings.iter().map(sample).collect(), period, errors })
            }
            v1::channel::Scale::Energy(wire) => {
                let step = joules_per_code(wire);
                #[expect(clippy::cast_precision_loss, reason = "codes stay below 2^53")]
                let sample =
                    |reading: &Reading| EnergySample { end: reading.at, energy: step * (reading.first as f64) };
                let gain_limit = wire.gain_ppm.map(|ppm| f64::from(ppm) / 1e6);
                Some(Self::Energy { samples: readings.iter().map(sample).collect(), period, gain_limit })
            }
        }
    }

    /// Flags of the samples inside a window, all of them together.
    pub fn flags(&self, window: tinywatt_proto::time::Window) -> Flags {
        match self {
            Self::Power { samples, .. } => samples
                .iter()
                .filter(|sample| window.contains(sample.at))
                .fold(Flags::NONE, |all, sample| all | sample.flags),
            Self::Energy { .. } | Self::Counter { .. } => Flags::NONE,
        }
    }
}
