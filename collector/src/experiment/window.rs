//! How short a window may be for the sensor that measures it.

use std::time::Duration;

/// Sample periods that a window must at least hold.
///
/// At each edge the energy is off by at most half a sample period's worth of the power step there, so both edges
/// together by `step / power × period / window`. Idle and active windows lie back to back, hence the step can be as large
/// as the power itself; a hundred periods then keep the error of the edges within 1 %.
pub const SAMPLE_PERIODS_MIN: u32 = 100;

/// The shortest window for a sensor of this sample period.
pub fn shortest(sample_period: Duration) -> Duration {
    sample_period.saturating_mul(SAMPLE_PERIODS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_the_shortest_window_cost_one_percent() {
        let period = Duration::from_micros(808);
        assert_eq!(shortest(period), Duration::from_micros(80_800));
        assert!((period.as_secs_f64() / shortest(period).as_secs_f64() - 0.01).abs() < 1e-12);
    }
}
