//! How much may be wrong before an attempt no longer counts, each with its reason.

use std::time::Duration;

/// Part of a window's readings that may be lost, torn or late. What is missing is interpolated over; at 1 % a load that
/// changed by its whole power just there would still move the energy by less than the shunt's tolerance.
pub(super) const SUSPECT_PART_MAX: f64 = 0.01;

/// Longest hole inside a window that is still interpolated over, in sample periods. A hole of 25 periods (20 ms at
/// 1.24 kHz) is 0.2 % of the default active window of 10 s.
pub(super) const GAP_PERIODS_MAX: u32 = 25;

/// Part of the mean idle power by which the two idle windows may differ. A device that settles by more has not come to
/// rest, and what is "above idle" depends on which window one believes.
pub(super) const IDLE_DRIFT_PART_MAX: f64 = 0.05;

/// Part of the window's energy that may hang on its edges: MLPerf Tiny and the sensor's error budget both ask for 1 %.
pub(super) const EDGE_PART_MAX: f64 = 0.01;

/// Longest hole that is interpolated over on a channel.
pub(super) fn gap_max(sample_period: Duration) -> Duration {
    sample_period.saturating_mul(GAP_PERIODS_MAX)
}
