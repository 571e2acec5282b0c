//! How much may be wrong before an attempt no longer counts, each with its reason.

use std::time::Duration;

use tinywatt_proto::v1;

/// Part of a window's readings that may be lost, torn or late. What is missing is interpolated over; at 1 % a load that
/// changed by its whole power just there would still move the energy by less than the shunt's tolerance.
pub(super) const SUSPECT_PART_MAX: f64 = 0.01;

/// Longest hole inside a window that is still interpolated over, in sample periods. A hole of 25 periods (20 ms at
/// 1.24 kHz) is 0.2 % of the default active window of 10 s.
pub(super) const GAP_PERIODS_MAX: u32 = 25;

/// Part of the mean idle power by which the two idle windows may differ. A device that settles by more has not come to
/// rest, and what is "above idle" depends on which window one believes.
///
/// An inference is measured for that figure on a device that does nothing else, so an attempt beyond the bound does not
/// count. A job's question is its total, which no idle window enters, and its host has other things to do: repeating
/// hours of training for them would be dear and no help. There only the figures above idle are refused, with the reason.
pub(super) const IDLE_DRIFT_PART_MAX: f64 = 0.05;

/// Part of the window's energy that may hang on its edges: MLPerf Tiny and the sensor's error budget both ask for 1 %.
pub(super) const EDGE_PART_MAX: f64 = 0.01;

/// Sample periods that a window must hold. Each edge is known to within one period, so the energy of the window to
/// within one period of the power's change there: below 1 % from 100 periods on, even for a load that switches fully.
const WINDOW_PERIOD_COUNT_MIN: u32 = 100;

/// Shortest window that a channel can carry: what is submitted is held to it, and jobs and their parts when they have
/// ended.
///
/// The edges of a counter are as vague as its readings lie apart and as it may be behind, whatever the load does, so
/// that it may need more than the number of periods: 24.5 s for NVML at its 0.1 s.
pub fn window_min(channel: &v1::Channel) -> Duration {
    let periods = sample_period(channel).saturating_mul(WINDOW_PERIOD_COUNT_MIN);
    let edges = tinywatt_energy::window_min(channel, EDGE_PART_MAX);
    // Whole milliseconds: people copy it into their experiments.
    let milliseconds = edges.as_nanos().div_ceil(1_000_000);
    periods.max(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX)))
}

/// What to add where people are told [`window_min`], which is that of a steady load. An edge of a counter is judged by the
/// largest power near it: that of an idle machine, or of one that shares its time, is easily several times the mean.
pub fn window_advice(channel: &v1::Channel) -> &'static str {
    match channel.scale {
        Some(v1::channel::Scale::Counter(_)) => ", and several times that where power is not steady",
        _ => "",
    }
}

/// How often a channel tells something new: a counter may be read more often than its hardware adds to it.
pub fn sample_period(channel: &v1::Channel) -> Duration {
    let update_ns = match &channel.scale {
        Some(v1::channel::Scale::Counter(counter)) => counter.update_period_ns,
        _ => 0,
    };
    Duration::from_nanos(channel.sample_period_ns.max(update_ns))
}

/// Longest hole that is interpolated over on a channel.
pub(super) fn gap_max(sample_period: Duration) -> Duration {
    sample_period.saturating_mul(GAP_PERIODS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(sample_period_ms: u64, update_period_ms: u64) -> v1::Channel {
        let counter = v1::CounterScale { update_period_ns: update_period_ms * 1_000_000, ..Default::default() };
        v1::Channel {
            sample_period_ns: sample_period_ms * 1_000_000,
            scale: Some(v1::channel::Scale::Counter(counter)),
            ..v1::Channel::default()
        }
    }

    #[test]
    fn the_shortest_window_is_that_of_the_periods_or_of_the_edges() {
        let shunt = v1::Channel { sample_period_ns: 808_000, ..v1::Channel::default() };
        assert_eq!(window_min(&shunt), Duration::from_micros(80_800), "100 periods");
        assert_eq!(window_min(&counter(20, 1)), Duration::from_secs(2), "RAPL: 100 periods, its edges 1.8 s");
        assert_eq!(window_min(&counter(100, 100)), Duration::from_millis(24_495), "NVML: 2 √(2/3) × 150 ms / 1 %");
        assert_eq!(window_min(&counter(0, 0)), Duration::ZERO);
        assert!(window_min(&counter(u64::MAX / 1_000_000, u64::MAX / 2_000_000)) > Duration::from_secs(1 << 30));
    }
}
