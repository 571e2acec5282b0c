//! One window of an attempt: its energy, and what is known to be missing in it.

use std::time::Duration;

use tinywatt_energy::{Energy, EnergyError, Series, Uncertainty, integrate};
use tinywatt_proto::sample::Flags;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;

use super::{bounds, reason, uncertain};
use crate::result::{InvalidReason, Uncertain, WindowResult};
use crate::store::ChannelSamples;

/// A window with its energy.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) row: WindowResult,
    pub(super) energy: Energy,
    /// Readings inside that are torn or late.
    pub(super) doubtful_count: u64,
    /// Whether a reading inside stands at the end of the sensor's range.
    pub(super) clipped: bool,
}

impl Measured {
    pub(super) fn is_active(&self) -> bool {
        self.row.phase == "active"
    }

    /// Energy of one inference.
    pub(super) fn per_inference(&self) -> Uncertain {
        self.share(self.energy.joules, self.energy.uncertainty)
    }

    /// An energy of this window divided among its inferences. The count is exact, so the uncertainty divides alike.
    pub(super) fn share(&self, joules: Joules, uncertainty: Option<Uncertainty>) -> Uncertain {
        let count = whole(self.row.inference_count.max(1));
        let Uncertain { value, expanded_uncertainty } = uncertain(joules, uncertainty);
        Uncertain { value: value / count, expanded_uncertainty: expanded_uncertainty.map(|half| half / count) }
    }
}

/// Name of the phase whose energy is reported; `None` for all others.
pub(super) fn phase(window: &v1::Window) -> Option<&'static str> {
    match window.phase() {
        v1::Phase::Idle => Some("idle"),
        v1::Phase::Active => Some("active"),
        _ => None,
    }
}

/// Integrates one window.
///
/// # Errors
/// The reason why the attempt does not count, when the window has no energy.
pub(super) fn measure(series: &Series, samples: &ChannelSamples, wire: &v1::Window) -> Result<Measured, InvalidReason> {
    let phase = phase(wire).unwrap_or_default();
    let window = Window::new(MonoNs(wire.start_mono_ns), MonoNs(wire.end_mono_ns))
        .map_err(|error| reason("unreadable", format!("the {phase} window is empty: {error}")))?;
    let period = Duration::from_nanos(samples.channel.sample_period_ns);
    let energy = integrate(series, window, bounds::gap_max(period))
        .map_err(|error| reason("samples_missing", no_energy(phase, error, bounds::gap_max(period))))?;
    let inside = || samples.readings.iter().filter(|reading| window.contains(reading.at));
    let doubtful = |flags: Flags| flags.contains(Flags::TORN) || flags.contains(Flags::LATE);
    let touches = |other: &Window| other.start() < window.end() && window.start() < other.end();
    let lost_reading_count = samples.lost.iter().filter(|lost| touches(&lost.between)).map(|lost| lost.count).sum();
    Ok(Measured {
        doubtful_count: inside().filter(|reading| doubtful(reading.flags)).count() as u64,
        clipped: inside().any(|reading| reading.flags.contains(Flags::CLIPPED)),
        row: WindowResult {
            phase: phase.to_owned(),
            start_mono_ns: wire.start_mono_ns,
            end_mono_ns: wire.end_mono_ns,
            inference_count: wire.inference_count,
            sample_count: energy.sample_count,
            lost_reading_count,
            energy_joules: uncertain(energy.joules, energy.uncertainty),
            power_watts_mean: energy.power_mean().get(),
            simulated_true_joules: wire.simulated_true_joules,
        },
        energy,
    })
}

/// Says for people what is missing, and what to do about it.
fn no_energy(phase: &str, error: EnergyError, gap_max: Duration) -> String {
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    match error {
        EnergyError::Gap { length, .. } => format!(
            "a hole of {} ms in the {phase} window (bound {} ms): the sampler was held up or the sensor did not answer; \
             {WAY_OUT}",
            milliseconds(length),
            milliseconds(gap_max)
        ),
        EnergyError::NotCovered(_) => format!(
            "the readings do not reach past both edges of the {phase} window: the sampler began late or stopped early; \
             {WAY_OUT}"
        ),
        EnergyError::CountLost { .. } => {
            format!("the {phase} window has no energy: {error} (did the machine sleep, or was a driver loaded again?)")
        }
        EnergyError::NotAscending(_) => format!("the {phase} window has no energy: {error}"),
    }
}

/// What to do when readings are missing.
pub(super) const WAY_OUT: &str = "quiet the machine, or see `agent check`";

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts of inferences and nanoseconds of a period stay below 2^53")]
pub(super) fn whole(count: u64) -> f64 {
    count as f64
}
