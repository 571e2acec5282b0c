//! The reasons why a measured attempt does not count.

use tinywatt_energy::Energy;
use tinywatt_proto::v1;

use super::bounds::{EDGE_PART_MAX, IDLE_DRIFT_PART_MAX, SUSPECT_PART_MAX};
use super::reason;
use super::window::{Measured, Seen, WAY_OUT, whole};
use crate::result::InvalidReason;

/// All reasons, not only the first: whoever repeats a trial wants to mend everything at once. A window without an energy
/// is among those seen and not among those measured.
pub(super) fn reasons(seen: &[Seen], measured: &[Measured], channel: &v1::Channel) -> Vec<InvalidReason> {
    let mut reasons = Vec::new();
    // A counter loses no energy with a reading: one that is missing near an edge is judged by what it does to the edge.
    let is_counter = matches!(channel.scale, Some(v1::channel::Scale::Counter(_)));
    for window in seen.iter().filter(|_| !is_counter) {
        reasons.extend(suspect(window));
        reasons.extend(clipped(window));
        reasons.extend(gaps(window));
    }
    for window in measured {
        reasons.extend(powerless(window, is_counter));
        reasons.extend(edges(window).filter(|_| window.is_active()));
    }
    reasons
}

/// What makes the power of idle windows vague, so that nobody knows what is above it. Next to a load that is many times
/// idle, a window that is long enough for its own power can still hang on its edges.
pub(super) fn idle_edges(measured: &[Measured]) -> Vec<InvalidReason> {
    measured.iter().filter(|window| !window.is_active()).filter_map(edges).collect()
}

/// Lost, late and torn readings share one bound: each of them is a piece of the window that was not seen well.
fn suspect(window: &Seen) -> Vec<InvalidReason> {
    let Seen { phase, lost_count: lost, doubtful_count: late, .. } = *window;
    let due = lost + window.sample_count;
    if window.is_partial || part(lost + late, due) <= SUSPECT_PART_MAX {
        return Vec::new();
    }
    let percent = |count| part(count, due) * 100.0;
    let bound = SUSPECT_PART_MAX * 100.0;
    let (lost_percent, late_percent) = (percent(lost), percent(late));
    let lost = (lost > 0).then(|| {
        let message = format!("{lost} readings of the {phase} window were lost ({lost_percent:.1} %");
        reason("readings_lost", format!("{message}, bound {bound} % with those late or torn): {WAY_OUT}"))
    });
    let late = (late > 0).then(|| {
        let message = format!("{late} readings of the {phase} window are late or torn ({late_percent:.1} %");
        reason("readings_late", format!("{message}, bound {bound} % with those lost): {WAY_OUT}"))
    });
    lost.into_iter().chain(late).collect()
}

/// A device that executes takes energy. None at all, or less than that, is a wire that is off or a shunt turned round.
/// (An idle device may take less than the sensor's offset.)
fn powerless(window: &Measured, is_counter: bool) -> Option<InvalidReason> {
    let joules = window.energy.joules;
    let advice = if is_counter {
        "its counter stood still, see `agent check`"
    } else {
        "check that it is connected, and which way round its shunt is"
    };
    (window.is_active() && joules.get() <= 0.0)
        .then(|| reason("no_power", format!("the sensor saw {joules:.5} in the active window: {advice}")))
}

fn clipped(window: &Seen) -> Option<InvalidReason> {
    window.clipped.then(|| {
        let phase = window.phase;
        reason("clipped", format!("the sensor reached the end of its range in the {phase} window: choose a larger range or a smaller shunt"))
    })
}

/// A window that hangs on its edges is too short for its sensor.
fn edges(window: &Measured) -> Option<InvalidReason> {
    let part = edge_part(&window.energy)?;
    (part > EDGE_PART_MAX).then(|| {
        let (phase, percent, bound) = (&window.row.phase, part * 100.0, EDGE_PART_MAX * 100.0);
        reason("window_too_short", format!("the edges of the {phase} window stand for {percent:.1} % of its energy (bound {bound} %): make it longer"))
    })
}

/// The part of an energy that hangs on the window's edges; `None` when its source states no error.
pub(super) fn edge_part(energy: &Energy) -> Option<f64> {
    let edges = energy.edge_uncertainty()?.get() * tinywatt_energy::COVERAGE_FACTOR;
    Some(edges / energy.joules.get().abs())
}

fn gaps(window: &Seen) -> Option<InvalidReason> {
    let (phase, count) = (window.phase, window.gap_count);
    (count > 0).then(|| reason("samples_missing", format!("{count} batches of the {phase} window never arrived")))
}

/// Says that the idle windows contradict each other, so that nobody knows what is above them.
pub(super) fn idle_drift(windows: &[Measured]) -> Option<String> {
    let idle = || windows.iter().filter(|window| !window.is_active()).map(|window| window.row.power_watts_mean);
    let (lowest, highest) = (idle().fold(f64::INFINITY, f64::min), idle().fold(f64::NEG_INFINITY, f64::max));
    let mean = (lowest + highest) / 2.0;
    let part = (highest - lowest) / mean.abs();
    (part > IDLE_DRIFT_PART_MAX).then(|| {
        let (percent, bound) = (part * 100.0, IDLE_DRIFT_PART_MAX * 100.0);
        format!("the idle windows differ by {percent:.1} % ({lowest:.4} W and {highest:.4} W, bound {bound} %)")
    })
}

/// Bits of the firmware's word that cost performance or falsify the supply: undervoltage, capped, throttled, hot.
const THROTTLED_NOW: u32 = 0b1111;

/// What the firmware of a Raspberry Pi said. What it said before and no more after is not "nothing happened".
pub(super) fn throttled(completed: &v1::Completed) -> Option<InvalidReason> {
    let Some(after) = completed.throttled_bits else {
        return completed.throttled_bits_before.map(|_| {
            let message =
                "the Raspberry Pi's firmware told of throttling before the trial and could not be asked after it";
            reason("throttling_unknown", format!("{message}: see `agent check`"))
        });
    };
    let before = completed.throttled_bits_before.unwrap_or(0);
    // "Since boot" counts only when it was not set before: the firmware never clears it.
    let during = (after >> 16) & !(before >> 16);
    let seen = (after | before | during) & THROTTLED_NOW;
    (seen != 0).then(|| {
        let names = ["undervoltage", "frequency capped", "throttled", "soft temperature limit"];
        let seen: Vec<_> =
            names.iter().enumerate().filter(|(bit, _)| seen >> bit & 1 == 1).map(|(_, name)| *name).collect();
        reason("throttled", format!("the Raspberry Pi reported {}: check its supply and cooling", seen.join(", ")))
    })
}

fn part(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { whole(count) / whole(of) }
}
