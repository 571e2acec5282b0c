//! One window of an attempt: its energy, and what is known to be missing in it.

use std::time::Duration;

use tinywatt_energy::{Energy, EnergyError, Series, integrate};
use tinywatt_proto::sample::Flags;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use super::{bounds, reason, uncertain};
use crate::result::{InvalidReason, WindowResult};
use crate::store::ChannelSamples;

/// What is known of a window before it is integrated.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) phase: &'static str,
    pub(super) window: Window,
    /// Readings inside.
    pub(super) sample_count: u64,
    /// Readings known to be lost inside.
    pub(super) lost_count: u64,
    /// Readings inside that are torn or late.
    pub(super) doubtful_count: u64,
    /// Whether a reading inside stands at the end of the sensor's range.
    pub(super) clipped: bool,
}

impl Seen {
    /// Counts what is in a window of the wire, and what is missing from it.
    pub(super) fn new(samples: &ChannelSamples, wire: &v1::Window, window: Window) -> Self {
        let inside = || samples.readings.iter().filter(|reading| window.contains(reading.at));
        let doubtful = |flags: Flags| flags.contains(Flags::TORN) || flags.contains(Flags::LATE);
        let touches = |other: &Window| other.start() < window.end() && window.start() < other.end();
        Self {
            phase: phase(wire).unwrap_or_default(),
            window,
            sample_count: inside().count() as u64,
            lost_count: samples.lost.iter().filter(|lost| touches(&lost.between)).map(|lost| lost.count).sum(),
            doubtful_count: inside().filter(|reading| doubtful(reading.flags)).count() as u64,
            clipped: inside().any(|reading| reading.flags.contains(Flags::CLIPPED)),
        }
    }
}

/// A window with its energy.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) row: WindowResult,
    pub(super) energy: Energy,
}

impl Measured {
    pub(super) fn is_active(&self) -> bool {
        self.row.phase == "active"
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

/// Name of a part of a job's active window; `None` for all other windows.
pub(super) fn part(window: &v1::Window) -> Option<&'static str> {
    match window.phase() {
        v1::Phase::Train => Some("train"),
        v1::Phase::Evaluate => Some("evaluate"),
        v1::Phase::Optimise => Some("optimise"),
        _ => None,
    }
}

/// The stretch of time of a window.
///
/// # Errors
/// The reason why the attempt does not count, when it is empty.
pub(super) fn bounds_of(wire: &v1::Window) -> Result<Window, InvalidReason> {
    let phase = phase(wire).or(part(wire)).unwrap_or_default();
    Window::new(MonoNs(wire.start_mono_ns), MonoNs(wire.end_mono_ns))
        .map_err(|error| reason("unreadable", format!("the {phase} window is empty: {error}")))
}

/// Integrates one window.
///
/// # Errors
/// The reason why the attempt does not count, when the window has no energy.
pub(super) fn measure(
    series: &Series,
    samples: &ChannelSamples,
    wire: &v1::Window,
    seen: &Seen,
) -> Result<Measured, InvalidReason> {
    let energy =
        energy(series, samples, seen.window, seen.phase).map_err(|message| reason("samples_missing", message))?;
    Ok(Measured {
        row: WindowResult {
            phase: seen.phase.to_owned(),
            start_mono_ns: wire.start_mono_ns,
            end_mono_ns: wire.end_mono_ns,
            inference_count: wire.inference_count,
            sample_count: energy.sample_count,
            lost_reading_count: seen.lost_count,
            energy_joules: uncertain(energy.joules, energy.uncertainty),
            power_watts_mean: energy.power_mean().get(),
            simulated_true_joules: wire.simulated_true_joules,
        },
        energy,
    })
}

/// Energy of a window.
///
/// # Errors
/// For people, what is missing and what to do about it.
pub(super) fn energy(series: &Series, samples: &ChannelSamples, window: Window, phase: &str) -> Result<Energy, String> {
    let gap_max = bounds::gap_max(Duration::from_nanos(samples.channel.sample_period_ns));
    integrate(series, window, gap_max).map_err(|error| no_energy(phase, error, gap_max))
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
