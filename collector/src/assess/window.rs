//! One window of an attempt: its energy, and what is known to be missing in it.

use std::time::Duration;

use tinywatt_energy::{Energy, EnergyError, Series, integrate};
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::sample::Flags;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use super::{bounds, reason, uncertain};
use crate::result::{InvalidReason, WindowResult};
use crate::store::{ChannelSamples, ReadError, Store};

/// Where the samples of one channel come from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// The store.
    Stored { store: &'a Store, node: &'a NodeId, boot: BootId, channel: u32 },
    /// All of them at hand, and how many readings make a slice.
    #[cfg(test)]
    Given(&'a ChannelSamples, u64),
}

impl Source<'_> {
    pub(super) async fn read(&self, window: Window) -> Result<ChannelSamples, ReadError> {
        match self {
            Self::Stored { store, node, boot, channel } => store.samples(node, *boot, *channel, window).await,
            #[cfg(test)]
            Self::Given(samples, _) => Ok((*samples).clone()),
        }
    }

    fn slice_reading_count(&self) -> u64 {
        match self {
            Self::Stored { .. } => SLICE_READING_COUNT,
            #[cfg(test)]
            Self::Given(_, count) => *count,
        }
    }
}

/// Readings that are held at once: 100 MB with their samples. An hour of training at 1 kHz has three times as many.
const SLICE_READING_COUNT: u64 = 1 << 20;

/// What is known of a window beside its energy.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) phase: &'static str,
    /// Readings inside.
    pub(super) sample_count: u64,
    /// Readings known to be lost inside.
    pub(super) lost_count: u64,
    /// Readings inside that are torn or late.
    pub(super) doubtful_count: u64,
    /// Whether a reading inside stands at the end of the sensor's range.
    pub(super) clipped: bool,
    /// Stretches inside whose batches never arrived.
    pub(super) gap_count: u64,
    /// Whether there was no use in looking at the rest, so that no part of the window can be told.
    pub(super) is_partial: bool,
}

impl Seen {
    fn nothing(phase: &'static str) -> Self {
        Self {
            phase,
            sample_count: 0,
            lost_count: 0,
            doubtful_count: 0,
            clipped: false,
            gap_count: 0,
            is_partial: false,
        }
    }

    /// Counts what is in a slice of the window, and what is missing from it.
    fn add(&mut self, samples: &ChannelSamples, slice: Window, is_first: bool) {
        let inside = || samples.readings.iter().filter(|reading| slice.contains(reading.at));
        let doubtful = |flags: Flags| flags.contains(Flags::TORN) || flags.contains(Flags::LATE);
        // What began before the slice was counted with the one before.
        let is_new = |other: &Window| is_first || other.start() >= slice.start();
        let touches = |other: &Window| other.start() < slice.end() && slice.start() < other.end() && is_new(other);
        self.sample_count += inside().count() as u64;
        self.doubtful_count += inside().filter(|reading| doubtful(reading.flags)).count() as u64;
        self.clipped |= inside().any(|reading| reading.flags.contains(Flags::CLIPPED));
        self.lost_count +=
            samples.lost.iter().filter(|lost| touches(&lost.between)).map(|lost| lost.count).sum::<u64>();
        self.gap_count += samples.gaps.iter().filter(|gap| touches(gap)).count() as u64;
    }
}

/// Integrates a window slice by slice, and counts what is in it. A slice without an energy ends the walk: so does the
/// window then, and what lies behind may be without end.
pub(super) async fn look(
    source: &Source<'_>,
    channel: &v1::Channel,
    window: Window,
    phase: &'static str,
) -> Result<(Seen, Result<Energy, String>), ReadError> {
    let period = Duration::from_nanos(channel.sample_period_ns.max(1));
    let slice_length =
        Duration::from_nanos(channel.sample_period_ns.max(1).saturating_mul(source.slice_reading_count()));
    // What a counter did beside the edge tells how vague the edge is.
    let margin = period.saturating_mul(4);
    let (mut seen, mut whole) = (Seen::nothing(phase), None::<Energy>);
    let mut from = window.start();
    while let Ok(rest) = Window::new(from, window.end()) {
        let end = if rest.duration() > slice_length * 2 { from.after(slice_length) } else { rest.end() };
        let slice = Window::new(from, end).expect("a slice is not empty");
        let wide = Window::new(from.before(margin), end.after(margin)).expect("wider than one that is not empty");
        let samples = source.read(wide).await?;
        seen.add(&samples, slice, from == window.start());
        let part = match energy(&samples, slice, phase) {
            Ok(part) => part,
            Err(message) => {
                seen.is_partial = end < window.end();
                return Ok((seen, Err(message)));
            }
        };
        whole = match whole {
            None => Some(part),
            Some(before) => before.followed_by(&part),
        };
        if whole.is_none() {
            return Ok((seen, Err(format!("the pieces of the {phase} window do not fit together"))));
        }
        from = end;
    }
    Ok((seen, whole.ok_or_else(|| format!("the {phase} window is empty"))))
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

/// A window's figures.
pub(super) fn measured(wire: &v1::Window, seen: &Seen, energy: Energy) -> Measured {
    Measured {
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
    }
}

/// Energy of a stretch of time.
fn energy(samples: &ChannelSamples, window: Window, phase: &str) -> Result<Energy, String> {
    let series = Series::from_readings(&samples.channel, &samples.readings);
    let series = series.ok_or_else(|| "the channel states no scale".to_owned())?;
    let gap_max = bounds::gap_max(Duration::from_nanos(samples.channel.sample_period_ns));
    integrate(&series, window, gap_max).map_err(|error| no_energy(phase, error, gap_max))
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
