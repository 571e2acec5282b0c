//! The integral of one window.

use std::time::Duration;

use tinywatt_proto::sample::Sample;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::units::{Joules, Watts};

use crate::budget::{quadrature, rectangular};
use crate::counter::difference;
use crate::{Budget, EnergySample, Series, Uncertainty};

/// The energy of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Energy {
    /// All energy of the window.
    pub joules: Joules,
    /// How wrong it may be; `None` when the source of the samples states no error.
    pub uncertainty: Option<Uncertainty>,
    /// The window.
    pub window: Window,
    /// Samples inside the window.
    pub sample_count: u64,
    pub(crate) moments: Option<Moments>,
    pub(crate) gain_limit: Option<f64>,
    /// What the edges alone make uncertain, which a counter knows even when nobody states its gain.
    pub(crate) edges: Option<Joules>,
}

/// What a later subtraction needs to know which errors cancel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    pub(crate) budget: Budget,
    /// Integral of the bus voltage, V·s.
    pub(crate) volt_seconds: f64,
    /// Integral of the current, A·s.
    pub(crate) coulombs: f64,
}

impl Energy {
    /// Mean power of the window.
    pub fn power_mean(&self) -> Watts {
        Watts::new(self.joules.get() / self.window.duration().as_secs_f64())
    }

    /// Half width of the interval that holds the truth with about 95 %; `None` when nobody states an error.
    pub fn expanded_uncertainty(&self) -> Option<Joules> {
        self.uncertainty.map(|uncertainty| uncertainty.expanded())
    }

    /// Standard uncertainty by what lies around the window's edges; `None` when its readings cannot tell.
    pub fn edge_uncertainty(&self) -> Option<Joules> {
        self.edges
    }
}

/// A window could not be integrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnergyError {
    /// The samples do not reach past both edges.
    #[error("the samples do not cover the window from {} to {}", .0.start(), .0.end())]
    NotCovered(Window),
    /// Neighbours are further apart than allowed: a hole is never bridged.
    #[error("no sample for {length:?} after {after}")]
    Gap {
        /// The sample before the hole.
        after: MonoNs,
        /// Length of the hole.
        length: Duration,
    },
    /// Samples do not ascend in time.
    #[error("the sample at {0} is not later than the one before")]
    NotAscending(MonoNs),
    /// A counter began anew: the machine slept, or its driver was loaded again.
    #[error("the energy counter began anew after {after}: what was used meanwhile is unknown")]
    CountLost {
        /// The last reading before.
        after: MonoNs,
    },
}

/// Integrates power over a window with the trapezoid rule, adds up the intervals of an energy meter, or takes the
/// difference of an energy counter.
///
/// Samples ascend in time and reach past both edges; power or count at an edge is interpolated, an interval that crosses
/// an edge counts with the part inside.
///
/// # Errors
/// [`EnergyError::Gap`] when neighbours are further apart than `gap_max`, or an interval of a meter is missing (a
/// counter has no such holes); [`EnergyError::NotCovered`] when an edge has no sample on its far side;
/// [`EnergyError::CountLost`] when a counter began anew.
///
/// # Source
/// Error terms: ARCHITECTURE.md, "From watts to joules".
pub fn integrate(series: &Series, window: Window, gap_max: Duration) -> Result<Energy, EnergyError> {
    match series {
        Series::Power { samples, budget, period } => {
            let samples = around(samples, |sample| sample.at, window, gap_max)?;
            Ok(trapezoid(samples, budget, *period, window))
        }
        Series::Energy { samples, period, gain_limit } => {
            // Energy is added up, not interpolated: an interval that is missing would count as no energy at all.
            let adjoining = *period + *period / 2;
            // An interval counts from its start, so the sample after the window's last instant is the far one.
            let samples = around_intervals(samples, *period, window, gap_max.min(adjoining))?;
            Ok(add_up(samples, *period, *gain_limit, window))
        }
        Series::Counter { samples, errors, .. } => difference(samples, errors, window),
    }
}

/// The samples from the last one at or before the start to the first one at or after the end, checked for order and holes.
fn around<T>(samples: &[T], at: impl Fn(&T) -> MonoNs, window: Window, gap_max: Duration) -> Result<&[T], EnergyError> {
    let after_start = samples.partition_point(|sample| at(sample) <= window.start());
    let before_end = samples.partition_point(|sample| at(sample) < window.end());
    if after_start == 0 || before_end == samples.len() {
        return Err(EnergyError::NotCovered(window));
    }
    let used = &samples[after_start - 1..=before_end];
    check(used, at, gap_max)?;
    Ok(used)
}

/// The intervals that share time with the window.
fn around_intervals(
    samples: &[EnergySample],
    period: Duration,
    window: Window,
    gap_max: Duration,
) -> Result<&[EnergySample], EnergyError> {
    let first = samples.partition_point(|sample| sample.end <= window.start());
    let last = samples.partition_point(|sample| sample.end < window.end());
    let used = samples.get(first..=last).filter(|used| !used.is_empty()).ok_or(EnergyError::NotCovered(window))?;
    if used[0].end.before(period) > window.start() {
        return Err(EnergyError::NotCovered(window));
    }
    check(used, |sample| sample.end, gap_max)?;
    Ok(used)
}

fn check<T>(samples: &[T], at: impl Fn(&T) -> MonoNs, gap_max: Duration) -> Result<(), EnergyError> {
    for pair in samples.windows(2) {
        let (earlier, later) = (at(&pair[0]), at(&pair[1]));
        if later <= earlier {
            return Err(EnergyError::NotAscending(later));
        }
        let length = later.since(earlier);
        if length > gap_max {
            return Err(EnergyError::Gap { after: earlier, length });
        }
    }
    Ok(())
}

fn trapezoid(samples: &[Sample], budget: &Budget, period: Duration, window: Window) -> Energy {
    let (mut joules, mut volt_seconds, mut coulombs) = (0.0, 0.0, 0.0);
    let mut squared_steps = 0.0;
    for pair in samples.windows(2) {
        let (left, right) = (&pair[0], &pair[1]);
        let length = right.at.since(left.at).as_secs_f64();
        // The part of this step that lies inside the window, as fractions of the step.
        let from = window.start().since(left.at).as_secs_f64() / length;
        let to = (window.end().since(left.at).as_secs_f64() / length).min(1.0);
        let inside = (to - from) * length;
        let middle = (from + to) / 2.0;
        let at_middle = |a: f64, b: f64| a + (b - a) * middle;
        joules += at_middle(left.power.get(), right.power.get()) * inside;
        volt_seconds += at_middle(left.bus.get(), right.bus.get()) * inside;
        coulombs += at_middle(left.current.get(), right.current.get()) * inside;
        squared_steps += (right.power - left.power).get().powi(2);
    }
    let moments = Moments { budget: *budget, volt_seconds, coulombs };
    let joules = Joules::new(joules);
    let steps = samples.len().saturating_sub(1);
    let uncertainty = Uncertainty {
        offset: rectangular(moments.offset_limit(volt_seconds)),
        gain: moments.gain(joules),
        quantisation: moments.quantisation(volt_seconds, coulombs),
        edges: edges(samples, budget, period),
        sampling: sampling(squared_steps, steps, window),
        idle_drift: Joules::default(),
    };
    let sample_count = samples.iter().filter(|sample| window.contains(sample.at)).count() as u64;
    Energy {
        joules,
        uncertainty: Some(uncertainty),
        window,
        sample_count,
        moments: Some(moments),
        gain_limit: None,
        edges: Some(uncertainty.edges),
    }
}

impl Moments {
    /// Energy of the largest shunt offset over an integral of the bus voltage.
    pub(crate) fn offset_limit(&self, volt_seconds: f64) -> Joules {
        Joules::new((self.budget.shunt_offset / self.budget.shunt).get() * volt_seconds)
    }

    /// Gains of both voltage paths and the shunt's tolerance, all in proportion to the energy.
    pub(crate) fn gain(&self, joules: Joules) -> Joules {
        let Budget { shunt_gain, shunt_tolerance, bus_gain, .. } = self.budget;
        quadrature(&[shunt_gain, shunt_tolerance, bus_gain].map(|limit| rectangular(joules * limit)))
    }

    /// Half a step of the shunt converter all along, and half a step of the bus converter all along.
    pub(crate) fn quantisation(&self, volt_seconds: f64, coulombs: f64) -> Joules {
        let Budget { shunt_half_step, bus_half_step, shunt, .. } = self.budget;
        let by_shunt = Joules::new((shunt_half_step / shunt).get() * volt_seconds);
        let by_bus = Joules::new(bus_half_step.get() * coulombs);
        quadrature(&[rectangular(by_shunt), rectangular(by_bus)])
    }
}

/// A step of power near an edge is smeared over a sample period, and the edge is known as well as a time stamp.
///
/// Limit at each edge: the largest change between neighbours there, times half their distance and the time-stamp error.
/// Where readings were lost the distance is more than a period, and the change may have come anywhere in it.
fn edges(samples: &[Sample], budget: &Budget, period: Duration) -> Joules {
    /// The step that holds the edge and the two beside it: a conversion's mean reaches into its neighbours.
    const STEPS: usize = 3;
    let limit = |pair: &[Sample]| {
        let distance = pair[1].at.since(pair[0].at).max(period).as_secs_f64();
        (pair[1].power - pair[0].power).abs().get() * (distance / 2.0 + budget.timestamp_seconds)
    };
    let largest = |samples: &[Sample]| samples.windows(2).map(limit).fold(0.0, f64::max);
    let count = samples.len().min(STEPS + 1);
    let limits = [largest(&samples[..count]), largest(&samples[samples.len() - count..])];
    quadrature(&limits.map(|joules| rectangular(Joules::new(joules))))
}

/// Standard error of an integral over samples that scatter: the scatter is taken from successive differences (which a
/// slow trend does not enter), and each sample stands for its own share of the window.
fn sampling(squared_steps: f64, steps: usize, window: Window) -> Joules {
    let Ok(steps) = u32::try_from(steps) else { return Joules::default() };
    if steps == 0 {
        return Joules::default();
    }
    let steps = f64::from(steps);
    let variance = squared_steps / (2.0 * steps);
    Joules::new((variance / steps).sqrt() * window.duration().as_secs_f64())
}

fn add_up(samples: &[EnergySample], period: Duration, gain_limit: Option<f64>, window: Window) -> Energy {
    let seconds = period.as_secs_f64();
    let part_inside = |sample: &EnergySample| {
        let start = sample.end.before(period).max(window.start());
        let end = sample.end.min(window.end());
        let inside = end.since(start);
        // An interval that lies inside whole counts whole, without a division that could round.
        if inside == period { sample.energy } else { sample.energy * (inside.as_secs_f64() / seconds) }
    };
    let joules: Joules = samples.iter().map(part_inside).sum();
    let uncertainty =
        gain_limit.map(|limit| Uncertainty { gain: rectangular(joules * limit), ..Uncertainty::default() });
    let sample_count = samples.len() as u64;
    Energy { joules, uncertainty, window, sample_count, moments: None, gain_limit, edges: None }
}

/// The INA219 A grade with a 1 % shunt of 0.1 Ω, for tests.
#[cfg(test)]
pub(crate) fn test_budget() -> Budget {
    use tinywatt_proto::units::{Ohms, Volts};
    Budget {
        shunt_offset: Volts::new(100e-6),
        shunt_gain: 0.005,
        shunt_tolerance: 0.01,
        bus_gain: 0.005,
        shunt_half_step: Volts::new(5e-6),
        bus_half_step: Volts::new(4e-3),
        timestamp_seconds: 60e-6,
        shunt: Ohms::new(0.1),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use tinywatt_proto::sample::Flags;
    use tinywatt_proto::units::{Amperes, Volts};

    use super::*;

    const PERIOD: Duration = Duration::from_millis(1);
    const GAP_MAX: Duration = Duration::from_millis(5);

    pub(crate) fn power_series(watts: impl Fn(f64) -> f64, count: u64) -> Series {
        let sample = |index: u64| {
            let at = MonoNs(index * 1_000_000);
            let current = Amperes::new(watts(index as f64 * 1e-3) / 5.0);
            Sample { at, bus: Volts::new(5.0), current, power: Volts::new(5.0) * current, flags: Flags::NONE }
        };
        Series::Power { samples: (0..count).map(sample).collect(), budget: test_budget(), period: PERIOD }
    }

    pub(crate) fn window(start_ns: u64, end_ns: u64) -> Window {
        Window::new(MonoNs(start_ns), MonoNs(end_ns)).expect("ascending")
    }

    #[test]
    fn a_ramp_is_integrated_exactly_between_interpolated_edges() {
        let series = power_series(|seconds| 2.0 * seconds, 3_000);
        let energy = integrate(&series, window(500_300_000, 2_000_700_000), GAP_MAX).expect("covered");
        let truth = 2.000_7f64.powi(2) - 0.500_3f64.powi(2);
        assert!((energy.joules.get() - truth).abs() < 1e-12, "{} {truth}", energy.joules.get());
        assert_eq!(energy.sample_count, 1_500);
    }

    #[test]
    fn a_window_inside_one_step_is_interpolated_too() {
        let series = power_series(|seconds| 1_000.0 * seconds, 3);
        let energy = integrate(&series, window(1_250_000, 1_750_000), GAP_MAX).expect("covered");
        assert!((energy.joules.get() - 1.5 * 0.5e-3).abs() < 1e-15);
        assert_eq!(energy.sample_count, 0);
    }

    #[test]
    fn a_window_over_a_gap_is_refused() {
        let Series::Power { mut samples, budget, period } = power_series(|_| 1.0, 1_000) else { unreachable!() };
        samples.drain(400..420);
        let series = Series::Power { samples, budget, period };
        let error = integrate(&series, window(100_000_000, 900_000_000), GAP_MAX).expect_err("a hole of 21 ms");
        assert_eq!(error, EnergyError::Gap { after: MonoNs(399_000_000), length: Duration::from_millis(21) });
        assert!(integrate(&series, window(100_000_000, 390_000_000), GAP_MAX).is_ok());
    }

    #[test]
    fn a_window_past_the_samples_is_refused() {
        let series = power_series(|_| 1.0, 1_000);
        for outside in [window(500_000_000, 999_000_001), window(2_000_000_000, 3_000_000_000)] {
            assert_eq!(integrate(&series, outside, GAP_MAX), Err(EnergyError::NotCovered(outside)));
        }
        let last = window(0, 999_000_000);
        assert!((integrate(&series, last, GAP_MAX).expect("just covered").joules.get() - 0.999).abs() < 1e-12);
    }

    /// Worked by hand: 5 V, 1 A, 0.1 Ω for 1 s. Limits: offset 1 mA × 5 V = 5 mJ, gains 25, 50 and 25 mJ, steps
    /// 50 µA × 5 V = 0.25 mJ and 4 mV × 1 A = 4 mJ; nothing changes, so edges and sampling give nothing.
    #[test]
    fn the_uncertainty_of_a_steady_load_is_the_datasheets() {
        let series = power_series(|_| 5.0, 2_000);
        let energy = integrate(&series, window(500_000_000, 1_500_000_000), GAP_MAX).expect("covered");
        let uncertainty = energy.uncertainty.expect("a shunt states its errors");
        let limits = [5e-3, 25e-3, 50e-3, 25e-3, 0.25e-3, 4e-3];
        let expected = limits.iter().map(|limit: &f64| limit.powi(2) / 3.0).sum::<f64>().sqrt() * 2.0;
        assert!((uncertainty.expanded().get() - expected).abs() < 1e-12, "{}", uncertainty.expanded().get());
        assert!((expected - 0.071).abs() < 0.001, "1.4 % of 5 J");
    }

    /// The load switches from 2 to 5 W somewhere in a hole of 21 ms around the start: a straight line through the hole is
    /// off by up to 3 W × 10.5 ms, and the time stamp by 3 W × 60 µs.
    #[test]
    fn a_hole_at_an_edge_widens_the_uncertainty_by_its_length() {
        let step = |seconds: f64| if seconds < 0.41 { 2.0 } else { 5.0 };
        let Series::Power { mut samples, budget, period } = power_series(step, 1_000) else { unreachable!() };
        samples.drain(400..420);
        let series = Series::Power { samples, budget, period };
        let energy =
            integrate(&series, window(410_000_000, 900_000_000), PERIOD * 25).expect("shorter than 25 periods");
        let edges = energy.uncertainty.expect("a shunt states its errors").edges.get();
        assert!((edges - 3.0 * (10.5e-3 + 60e-6) / 3f64.sqrt()).abs() < 1e-9, "{edges}");
    }

    #[test]
    fn a_missing_interval_of_a_meter_is_refused_not_counted_as_nothing() {
        let end = |index: u64| MonoNs((index + 1) * 1_000_000);
        let samples = (0..10).filter(|index| *index != 4);
        let samples = samples.map(|index| EnergySample { end: end(index), energy: Joules::new(1e-5) }).collect();
        let series = Series::Energy { samples, period: PERIOD, gain_limit: None };
        let error = integrate(&series, window(0, 10_000_000), GAP_MAX).expect_err("9 of 10 intervals");
        assert_eq!(error, EnergyError::Gap { after: end(3), length: PERIOD * 2 });
        assert!(integrate(&series, window(0, 4_000_000), GAP_MAX).is_ok());
    }

    #[test]
    fn intervals_of_a_meter_add_up_to_the_last_digit() {
        let end = |index: u64| MonoNs((index + 1) * 1_000_000);
        let samples = (0..10).map(|index| EnergySample { end: end(index), energy: Joules::new(1e-5) }).collect();
        let series = Series::Energy { samples, period: PERIOD, gain_limit: None };
        let whole = integrate(&series, window(0, 10_000_000), GAP_MAX).expect("covered");
        assert!((whole.joules.get() - 1e-4).abs() < 1e-19);
        assert_eq!((whole.sample_count, whole.uncertainty), (10, None));
        let half = integrate(&series, window(500_000, 3_250_000), GAP_MAX).expect("covered");
        assert!((half.joules.get() - 2.75e-5).abs() < 1e-18);
        assert!(integrate(&series, window(0, 10_000_001), GAP_MAX).is_err());
    }

    proptest! {
        #[test]
        fn energy_is_additive_over_adjoining_windows(
            watts in prop::collection::vec(0.0f64..10.0, 200),
            mut cuts in prop::array::uniform3(1_000_000u64..198_000_000),
        ) {
            cuts.sort_unstable();
            prop_assume!(cuts[0] < cuts[1] && cuts[1] < cuts[2]);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below 200")]
            let series = power_series(|seconds| watts[(seconds * 1e3).round() as usize], 200);
            let joules = |a, b| integrate(&series, window(a, b), GAP_MAX).expect("covered").joules.get();
            let parts = joules(cuts[0], cuts[1]) + joules(cuts[1], cuts[2]);
            prop_assert!((joules(cuts[0], cuts[2]) - parts).abs() < 1e-12);
        }

        #[test]
        fn more_error_in_the_budget_never_makes_the_uncertainty_smaller(factor in 1.0f64..10.0) {
            let Series::Power { samples, budget, period } = power_series(|s| 3.0 + (s * 300.0).sin(), 1_000) else { unreachable!() };
            let expanded = |budget: Budget| {
                let series = Series::Power { samples: samples.clone(), budget, period };
                integrate(&series, window(100_000_000, 900_000_000), GAP_MAX).expect("covered")
                    .uncertainty.expect("a shunt states its errors").expanded().get()
            };
            let base = expanded(budget);
            let worse_offset = Budget { shunt_offset: budget.shunt_offset * factor, ..budget };
            let worse_gain = Budget { shunt_gain: budget.shunt_gain * factor, ..budget };
            let worse_time = Budget { timestamp_seconds: budget.timestamp_seconds * factor, ..budget };
            for worse in [worse_offset, worse_gain, worse_time] {
                prop_assert!(expanded(worse) >= base);
            }
        }
    }
}
