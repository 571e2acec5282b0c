//! How far the load must stay away from a window whose edges are not to see it.

use std::time::Duration;

use tinywatt_proto::v1::{self, channel::Scale};

/// Sample periods between a window's edge and the load: a counter's edge looks two readings beyond it, a shunt sensor's
/// one, whose conversion reaches a period further. One more, because one of them may be lost.
const PERIOD_COUNT: u64 = 3;

/// Time to keep between an idle window and the load beside it, so that its edges are judged by idle power alone.
///
/// Beyond the periods it counts how far a counter may be behind, or how wrong a time stamp may be.
pub fn guard(channel: &v1::Channel) -> Duration {
    let late_ns = match &channel.scale {
        Some(Scale::Counter(counter)) => counter.update_period_ns,
        Some(Scale::ShuntBus(shunt)) => shunt.error_budget.as_ref().map_or(0, |budget| budget.timestamp_error_ns),
        Some(Scale::Energy(_)) | None => 0,
    };
    let period_ns = channel.sample_period_ns.max(late_ns);
    Duration::from_nanos(period_ns.saturating_mul(PERIOD_COUNT).saturating_add(late_ns))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tinywatt_proto::sample::{Flags, Reading};
    use tinywatt_proto::time::{MonoNs, Window};

    use super::*;
    use crate::{COVERAGE_FACTOR, Energy, Series, integrate, window_min};

    const MILLISECOND: u64 = 1_000_000;
    const IDLE_WATTS: u64 = 8;
    const LOAD_WATTS: u64 = 80;
    const EDGE_PART_MAX: f64 = 0.01;

    fn counter(period_ms: u64, update_ms: u64) -> v1::Channel {
        let update_period_ns = update_ms * MILLISECOND;
        let scale = v1::CounterScale { picojoules_per_code: 1_000, gain_ppm: None, update_period_ns };
        let sample_period_ns = period_ms * MILLISECOND;
        v1::Channel { sample_period_ns, scale: Some(Scale::Counter(scale)), ..v1::Channel::default() }
    }

    fn shunt() -> v1::Channel {
        let error_budget = Some(v1::ErrorBudget { timestamp_error_ns: 60_000, ..v1::ErrorBudget::default() });
        let scale = v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 100_000_000,
            error_budget,
            ..v1::ShuntBusScale::default()
        };
        v1::Channel { sample_period_ns: MILLISECOND, scale: Some(Scale::ShuntBus(scale)), ..v1::Channel::default() }
    }

    /// Energy used up to an instant: idle in `quiet`, `load` watts before it and from its end on.
    fn nanojoules(at: u64, quiet: Window, load: u64) -> u64 {
        let (start, end) = (quiet.start().0, quiet.end().0);
        let loaded = at.min(start) + at.saturating_sub(end);
        loaded * load + (at - loaded) * IDLE_WATTS
    }

    /// Readings of 5 s, without those `lost`; a counter is behind by a part of its update period each time.
    fn readings(channel: &v1::Channel, quiet: Window, load: u64, lags: &[f64], lost: &[usize]) -> Vec<Reading> {
        let period = channel.sample_period_ns;
        // What a counter holds never falls, however late it is.
        let mut highest = 0;
        let mut code = |at: u64, lag: f64| match &channel.scale {
            Some(Scale::Counter(scale)) => {
                let lag = Duration::from_nanos(scale.update_period_ns).mul_f64(lag).as_nanos();
                highest = highest.max(nanojoules(at - u64::try_from(lag).expect("short"), quiet, load));
                highest
            }
            // The mean of a conversion, one code a milliwatt.
            _ => (nanojoules(at, quiet, load) - nanojoules(at - period, quiet, load)) * 1_000 / period,
        };
        let mut readings = Vec::new();
        for (index, lag) in (0..5_000 * MILLISECOND / period).zip(lags.iter().cycle()) {
            let at = (index + 1) * period;
            let first = i64::try_from(code(at, *lag)).expect("small");
            readings.push(Reading { at: MonoNs(at), first, second: 1_250, flags: Flags::NONE });
        }
        let is_kept = |index: usize| !lost.contains(&index);
        readings.into_iter().enumerate().filter(|(index, _)| is_kept(*index)).map(|(_, reading)| reading).collect()
    }

    fn energy(channel: &v1::Channel, readings: &[Reading], window: Window) -> Energy {
        let series = Series::from_readings(channel, readings).expect("has a scale");
        integrate(&series, window, Duration::from_secs(1)).expect("covered")
    }

    fn widened(window: Window, by: Duration) -> Window {
        Window::new(window.start().before(by), window.end().after(by)).expect("wider")
    }

    /// 3.5 s at 50 Hz with ticks of 10 ms, ten times the power on both sides.
    #[test]
    fn a_window_that_its_own_power_carries_is_vague_beside_a_load_and_not_behind_a_guard() {
        let channel = counter(20, 10);
        let window = Window::new(MonoNs(1_005 * MILLISECOND), MonoNs(4_505 * MILLISECOND)).expect("ascending");
        assert!(window.duration() > window_min(&channel, EDGE_PART_MAX));
        let part = |distance| {
            let readings = readings(&channel, widened(window, distance), LOAD_WATTS, &[0.0], &[]);
            let energy = energy(&channel, &readings, window);
            energy.edge_uncertainty().expect("a counter") * COVERAGE_FACTOR / energy.joules
        };
        let (beside, behind) = (part(Duration::ZERO), part(guard(&channel)));
        assert!(beside > 0.05 && behind < EDGE_PART_MAX, "{beside} and {behind}");
    }

    #[test]
    fn a_guard_is_some_readings_long() {
        assert_eq!(guard(&counter(20, 10)), Duration::from_millis(70));
        assert_eq!(guard(&counter(100, 100)), Duration::from_millis(400), "NVML");
        assert_eq!(guard(&shunt()), Duration::from_micros(3_060));
        assert_eq!(guard(&v1::Channel::default()), Duration::ZERO);
        let (sample_period_ns, scale) = (u64::MAX, counter(0, u64::MAX / MILLISECOND).scale);
        assert!(guard(&v1::Channel { sample_period_ns, scale, ..v1::Channel::default() }) > Duration::from_hours(1));
    }

    proptest! {
        /// Wherever the readings lie, one near each edge lost: the edges are those of a machine that idles all the time.
        #[test]
        fn no_edge_sees_a_load_that_keeps_its_distance(
            start in 1_000_000_000u64..1_200_000_000,
            length in 1_000_000_000u64..2_000_000_000,
            lags in prop::collection::vec(0.0f64..1.0, 50),
            lost in prop::array::uniform2(0u64..8),
            which in 0usize..4,
        ) {
            let channel = [counter(20, 10), counter(20, 1), counter(100, 100), shunt()][which].clone();
            let window = Window::new(MonoNs(start), MonoNs(start + length)).expect("ascending");
            let index = |edge: MonoNs, beside: u64| {
                usize::try_from((edge.0 / channel.sample_period_ns + beside).saturating_sub(4)).expect("small")
            };
            let lost = [index(window.start(), lost[0]), index(window.end(), lost[1])];
            let quiet = widened(window, guard(&channel));
            let edges = |load| {
                let energy = energy(&channel, &readings(&channel, quiet, load, &lags, &lost), window);
                energy.edge_uncertainty().expect("known").get()
            };
            let (beside_load, beside_idle) = (edges(LOAD_WATTS), edges(IDLE_WATTS));
            prop_assert!((beside_load - beside_idle).abs() < 1e-9, "{} and {} J", beside_load, beside_idle);
        }
    }
}
