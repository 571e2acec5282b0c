//! The configured sensors, opened and sampled, for commands that show or meter.

use anyhow::{Context, bail};
use tinywatt_proto::sample::{Reading, ShuntBusScale, joules_per_code, joules_per_count};
use tinywatt_proto::units::{Amperes, Volts, Watts};
use tinywatt_proto::v1;

use crate::clock::Monotonic;
use crate::sampler::{Consumer, Sampler, SamplerConfig};
use crate::sensor::load::LoadSwitch;
use crate::sensor::{SensorConfig, build};

/// One channel that is being sampled.
pub(super) struct Channel {
    pub(super) description: v1::Channel,
    pub(super) sampler: Sampler,
    pub(super) readings: Consumer,
    pub(super) load: Option<LoadSwitch>,
    /// The last reading that was shown: power by a counter is the difference of two.
    pub(super) previous: Option<Reading>,
}

/// Opens every sensor and starts its sampler.
pub(super) fn open(sensors: &[SensorConfig]) -> anyhow::Result<Vec<Channel>> {
    if sensors.is_empty() {
        bail!(
            "no sensor is configured: add a [[sensor]] table to the configuration (source = \"ina219-emulator\" needs \
             no hardware)"
        );
    }
    let open = |config: &SensorConfig| {
        let built = build(config, Monotonic)?;
        let description = built.sensor.channel();
        let mut sampler = Sampler::start(built.sensor, Monotonic, SamplerConfig::default())
            .with_context(|| format!("failed to sample sensor '{}'", config.name()))?;
        let readings = sampler.readings();
        Ok(Channel { description, sampler, readings, load: built.load, previous: None })
    };
    sensors.iter().map(open).collect()
}

/// What people are told about where figures come from.
pub(super) fn kind_name(channel: &v1::Channel) -> &'static str {
    match channel.kind() {
        v1::FigureKind::Measured => "measured",
        v1::FigureKind::MeasuredElsewhere => "measured elsewhere",
        v1::FigureKind::Estimated => "estimated",
        v1::FigureKind::Simulated => "simulated",
        v1::FigureKind::Unspecified => "unknown",
    }
}

/// One reading as quantities, for showing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// Voltage and current; an energy meter gives none.
    pub(super) electric: Option<(Volts, Amperes)>,
    pub(super) power: Watts,
}

/// Calibrates a reading. `None` when the channel states no scale, or it is a counter without a reading before.
pub(super) fn show(channel: &v1::Channel, previous: Option<&Reading>, reading: &Reading) -> Option<Shown> {
    match channel.scale.as_ref()? {
        v1::channel::Scale::ShuntBus(scale) => {
            let sample = ShuntBusScale::from(scale).sample(reading);
            Some(Shown { electric: Some((sample.bus, sample.current)), power: sample.power })
        }
        v1::channel::Scale::Counter(scale) => {
            let previous = previous.filter(|previous| previous.at < reading.at && previous.first <= reading.first)?;
            let seconds = reading.at.since(previous.at).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a difference of codes stays below 2^53")]
            let count = (reading.first - previous.first) as f64;
            // The mean since the reading before.
            Some(Shown { electric: None, power: Watts::new(joules_per_count(scale).get() * count / seconds) })
        }
        v1::channel::Scale::Energy(scale) => {
            #[expect(clippy::cast_precision_loss, reason = "codes and periods stay below 2^53")]
            let (code, seconds) = (reading.first as f64, channel.sample_period_ns as f64 / 1e9);
            // The mean over the interval that the meter itself integrated.
            Some(Shown { electric: None, power: Watts::new(joules_per_code(scale).get() * code / seconds) })
        }
    }
}
