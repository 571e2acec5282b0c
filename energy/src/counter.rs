//! The energy of one window by a counter: what it held at the end less what it held at the start.

use std::time::Duration;

use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::units::{Joules, Watts};
use tinywatt_proto::v1;

use crate::budget::{COVERAGE_FACTOR, quadrature, rectangular};
use crate::{Energy, EnergyError, Uncertainty};

/// What a counter of energy held at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterSample {
    /// When it was read.
    pub at: MonoNs,
    /// Energy since some instant that is the same for a whole series.
    pub energy: Joules,
}

/// What is known of a counter beside its readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterErrors {
    /// Energy of one step of the counter.
    pub step: Joules,
    /// How old what it holds may be.
    pub update_period: Duration,
    /// Limit of its error as a part of the energy; `None` when nobody states one.
    pub gain_limit: Option<f64>,
}

/// Takes the difference of the counter between the window's edges, each interpolated between the readings around it.
///
/// What happened between them needs no reading: a hole loses nothing, except that it makes an edge vague that lies in it.
/// The same reading twice changes nothing.
///
/// # Errors
/// [`EnergyError::NotCovered`] when an edge has no reading on its far side, [`EnergyError::CountLost`] when the counter
/// began anew between the edges, [`EnergyError::NotAscending`] when readings are out of order.
pub(crate) fn difference(
    samples: &[CounterSample],
    errors: &CounterErrors,
    window: Window,
) -> Result<Energy, EnergyError> {
    let after_start = samples.partition_point(|sample| sample.at <= window.start());
    let before_end = samples.partition_point(|sample| sample.at < window.end());
    if after_start == 0 || before_end == samples.len() {
        return Err(EnergyError::NotCovered(window));
    }
    check(&samples[after_start - 1..=before_end])?;
    let joules = at_edge(samples, before_end, window.end()) - at_edge(samples, after_start, window.start());

    let edges = [(after_start, window.start()), (before_end, window.end())];
    let limits = edges.map(|(later, at)| edge_limit(samples, later, at, errors.update_period));
    let edges = quadrature(&limits.map(rectangular));
    // Each edge is cut to a whole step.
    let quantisation = quadrature(&[rectangular(errors.step / 2.0); 2]);
    let gain = errors.gain_limit.map(|limit| rectangular(joules * limit));
    let uncertainty = gain.map(|gain| Uncertainty { gain, quantisation, edges, ..Uncertainty::default() });
    let sample_count = samples[after_start - 1..=before_end].iter().filter(|sample| window.contains(sample.at)).count();
    Ok(Energy {
        joules,
        uncertainty,
        window,
        sample_count: sample_count as u64,
        moments: None,
        gain_limit: errors.gain_limit,
        edges: Some(edges),
    })
}

fn check(samples: &[CounterSample]) -> Result<(), EnergyError> {
    for pair in samples.windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        if later.energy < earlier.energy {
            return Err(EnergyError::CountLost { after: earlier.at });
        }
        if later.at < earlier.at || (later.at == earlier.at && later != earlier) {
            return Err(EnergyError::NotAscending(later.at));
        }
    }
    Ok(())
}

/// What the counter held at an instant between the reading before `later` and the one at `later`, which differ in time.
fn at_edge(samples: &[CounterSample], later: usize, at: MonoNs) -> Joules {
    let (left, right) = (samples[later - 1], samples[later]);
    let part = at.since(left.at).as_secs_f64() / right.at.since(left.at).as_secs_f64();
    left.energy + (right.energy - left.energy) * part
}

/// How far the counter at an edge may lie from the straight line between the readings around it: the largest power near
/// there, for half their distance (the load may have been on in either half) and for as long as the counter may be behind.
///
/// A burst beside the step that holds the edge is left out where the readings show that it was no part of it: at the edge
/// the counter is not below the reading before, nor above the first that surely holds all up to there.
fn edge_limit(samples: &[CounterSample], later: usize, at: MonoNs, update_period: Duration) -> Joules {
    let distance = samples[later].at.since(samples[later - 1].at);
    let of = |near: &[CounterSample]| {
        Joules::new(largest_power(near, update_period).get() * (distance / 2 + update_period).as_secs_f64())
    };
    // The step that holds the edge, and the two beside it.
    let near = &samples[later.saturating_sub(2)..(later + 2).min(samples.len())];
    let (widest, own) = (of(near), of(&samples[later - 1..=later]));

    let holds_all = at.after(update_period);
    let above = near.iter().find(|sample| sample.at >= holds_all).filter(|above| above.energy >= samples[later].energy);
    let Some(above) = above else { return widest };
    let here = at_edge(samples, later, at);
    let furthest = (here - samples[later - 1].energy).get().max((above.energy - here).get());
    Joules::new(widest.get().min(own.get().max(furthest)))
}

fn largest_power(samples: &[CounterSample], update_period: Duration) -> Watts {
    let power = |pair: &[CounterSample]| {
        // Readings closer than the counter's updates see two of its steps, or none.
        let seconds = pair[1].at.since(pair[0].at).max(update_period).as_secs_f64();
        if seconds > 0.0 { (pair[1].energy - pair[0].energy).get().max(0.0) / seconds } else { 0.0 }
    };
    Watts::new(samples.windows(2).map(power).fold(0.0, f64::max))
}

/// Shortest window of a steady load whose edges stand for at most a part of its energy (with coverage factor 2).
///
/// Zero for channels that are no counter: their edges err by changes of the power alone.
pub fn window_min(channel: &v1::Channel, edge_part_max: f64) -> Duration {
    let Some(v1::channel::Scale::Counter(scale)) = &channel.scale else { return Duration::ZERO };
    let limit = Duration::from_nanos(channel.sample_period_ns / 2 + scale.update_period_ns);
    let both = COVERAGE_FACTOR * (2f64 / 3.0).sqrt();
    Duration::try_from_secs_f64(limit.as_secs_f64() * both / edge_part_max).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::integrate::tests::window;
    use crate::{Series, above_idle, integrate};

    const PERIOD_NS: u64 = 20_000_000;
    const UPDATE: Duration = Duration::from_millis(1);
    const GAP_MAX: Duration = Duration::from_millis(100);
    const ERRORS: CounterErrors =
        CounterErrors { step: Joules::new(1e-6), update_period: UPDATE, gain_limit: Some(0.03) };

    /// One reading each 20 ms, with the energy of each step.
    fn samples(joules: &[f64]) -> Vec<CounterSample> {
        let mut energy = 0.0;
        let sample = |(index, joules): (u64, &f64)| {
            energy += joules;
            CounterSample { at: MonoNs(index * PERIOD_NS), energy: Joules::new(energy) }
        };
        (0..).zip(joules).map(sample).collect()
    }

    fn series(samples: Vec<CounterSample>) -> Series {
        Series::Counter { samples, period: Duration::from_nanos(PERIOD_NS), errors: ERRORS }
    }

    fn of(samples: &[CounterSample], start_ns: u64, end_ns: u64) -> Result<Energy, EnergyError> {
        integrate(&series(samples.to_vec()), window(start_ns, end_ns), GAP_MAX)
    }

    /// 50 W for 1 s from between two readings to between two others. Limits: gain 3 % of 50 J; each edge 50 W × (10 + 1) ms;
    /// half a microjoule for each cut.
    #[test]
    fn a_steady_load_is_the_difference_with_the_errors_of_its_edges() {
        let samples = samples(&[1.0; 100]);
        let energy = of(&samples, 510_000_000, 1_510_000_000).expect("covered");
        assert!((energy.joules.get() - 50.0).abs() < 1e-9, "{:?}", energy.joules);
        assert_eq!(energy.sample_count, 50);
        let uncertainty = energy.uncertainty.expect("a gain is stated");
        assert!((uncertainty.gain.get() - 1.5 / 3f64.sqrt()).abs() < 1e-9);
        let edges = 0.55 * (2f64 / 3.0).sqrt();
        assert!((uncertainty.edges.get() - edges).abs() < 1e-9, "{:?}", uncertainty.edges);
        assert!((uncertainty.quantisation.get() - 0.5e-6 * (2f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn without_a_stated_gain_the_whole_is_unknown_and_the_edges_are_known() {
        let series = Series::Counter {
            samples: samples(&[1.0; 100]),
            period: Duration::from_nanos(PERIOD_NS),
            errors: CounterErrors { gain_limit: None, ..ERRORS },
        };
        let energy = integrate(&series, window(510_000_000, 1_510_000_000), GAP_MAX).expect("covered");
        assert_eq!(energy.uncertainty, None);
        assert!(energy.edge_uncertainty().expect("a counter").get() > 0.4);
    }

    #[test]
    fn a_hole_loses_nothing_and_widens_an_edge_that_lies_in_it() {
        let all = samples(&[1.0; 100]);
        let without: Vec<_> = all[..30].iter().chain(&all[60..]).copied().collect();
        let whole = of(&all, 110_000_000, 1_510_000_000).expect("covered");
        let over = of(&without, 110_000_000, 1_510_000_000).expect("31 periods long, far from both edges");
        assert_eq!((over.joules, over.uncertainty), (whole.joules, whole.uncertainty));
        let edges = |energy: Energy| energy.edge_uncertainty().expect("a counter").get();
        let inside = of(&without, 900_000_000, 1_510_000_000).expect("covered");
        // 50 W × (310 + 1) ms at the start, 50 W × (10 + 1) ms at the end.
        let expected = (15.55f64.powi(2) + 0.55f64.powi(2)).sqrt() / 3f64.sqrt();
        assert!((edges(inside) - expected).abs() < 1e-9, "{}", edges(inside));
    }

    #[test]
    fn a_counter_that_began_anew_gives_no_figure_across_that() {
        let mut samples = samples(&[1.0; 100]);
        let lost = samples[49].energy;
        samples[50..].iter_mut().for_each(|sample| sample.energy = sample.energy - lost);
        let after = MonoNs(49 * PERIOD_NS);
        assert_eq!(of(&samples, 510_000_000, 1_510_000_000), Err(EnergyError::CountLost { after }));
        assert!(of(&samples, 110_000_000, 910_000_000).is_ok() && of(&samples, 1_110_000_000, 1_510_000_000).is_ok());
    }

    #[test]
    fn an_edge_without_a_reading_beyond_it_is_not_covered() {
        let samples = samples(&[1.0; 100]);
        let outside = window(510_000_000, 1_980_000_001);
        assert_eq!(of(&samples, 510_000_000, 1_980_000_001), Err(EnergyError::NotCovered(outside)));
        assert!(of(&samples, 0, 1_980_000_000).is_ok());
        assert!(of(&samples[1..], 0, 1_980_000_000).is_err());
    }

    #[test]
    fn above_idle_keeps_gain_edges_and_drift() {
        let watts = |index: u32| if (50..100).contains(&index) { 1.0 } else { 0.2 };
        let samples = samples(&(0..150).map(watts).collect::<Vec<f64>>());
        let part = |start, end| of(&samples, start, end).expect("covered");
        let active = part(1_110_000_000, 1_910_000_000);
        let idle = [part(110_000_000, 910_000_000), part(2_110_000_000, 2_910_000_000)];
        let above = above_idle(&active, &idle).expect("two idle windows");
        assert!((above.joules.get() - 32.0).abs() < 1e-9, "40 W for 0.8 s");
        let (net, whole) = (above.uncertainty.expect("stated"), active.uncertainty.expect("stated"));
        assert!((net.gain / whole.gain - 0.8).abs() < 1e-9, "the gain applies to the difference");
        assert!(net.edges > whole.edges, "of three windows");
        assert!(net.idle_drift.get() < 1e-9);
    }

    #[test]
    fn updates_that_two_readings_straddle_do_not_double_the_power() {
        let staircase: Vec<f64> = (0..100).map(|index| if index % 5 == 0 { 5.0 } else { 0.0 }).collect();
        let errors = CounterErrors { update_period: Duration::from_millis(100), ..ERRORS };
        let limit = edge_limit(&samples(&staircase), 51, MonoNs(51 * PERIOD_NS - 1), errors.update_period);
        assert!((limit.get() - 50.0 * 0.11).abs() < 1e-9, "50 W for 10 + 100 ms: {limit}");
    }

    /// One tick of a processor, 0.36 J, in the step beside that of the edge: at 8 W nobody doubts 0.16 J for it.
    #[test]
    fn a_burst_beside_the_step_of_an_edge_is_no_doubt_about_it() {
        let mut joules = [0.16; 100];
        joules[50] += 0.36;
        let samples = samples(&joules);
        let limit = |at_ms: u64| {
            let at = MonoNs(at_ms * 1_000_000);
            let later = samples.partition_point(|sample| sample.at < at);
            edge_limit(&samples, later, at, Duration::from_millis(10)).get()
        };
        // The tick is in the step from 980 to 1,000 ms, and what is read at 1,000 ms holds all up to 990 ms.
        assert!(
            (limit(1_005) - 0.16).abs() < 1e-9 && (limit(965) - 0.16).abs() < 1e-9,
            "{} {}",
            limit(1_005),
            limit(965)
        );
        assert!((limit(990) - 0.52).abs() < 1e-9, "26 W for 20 ms: {}", limit(990));
        // The reading at 980 ms may not hold it yet, although it belongs before 975 ms.
        assert!(limit(975) > 0.36, "{}", limit(975));
    }

    #[test]
    fn the_shortest_window_just_keeps_its_edges_within_their_part() {
        let counter = v1::CounterScale { picojoules_per_code: 1_000_000, gain_ppm: None, update_period_ns: 1_000_000 };
        let scale = Some(v1::channel::Scale::Counter(counter));
        let mut channel = v1::Channel { sample_period_ns: PERIOD_NS, scale, ..v1::Channel::default() };
        let least = window_min(&channel, 0.01);
        assert_eq!(least.as_millis(), 1_796, "2 √(2/3) × 11 ms / 1 %");
        let part = |length: Duration| {
            let start = MonoNs(510_000_000);
            let energy = of(&samples(&[1.0; 200]), start.0, start.after(length).0).expect("covered");
            energy.edge_uncertainty().expect("a counter") * COVERAGE_FACTOR / energy.joules
        };
        assert!(part(least.mul_f64(1.001)) <= 0.01 && part(least.mul_f64(0.999)) > 0.01);
        channel.scale = Some(v1::channel::Scale::Energy(v1::EnergyScale::default()));
        assert_eq!(window_min(&channel, 0.01), Duration::ZERO);
    }

    fn cuts() -> impl Strategy<Value = [u64; 3]> {
        prop::array::uniform3(0..99 * PERIOD_NS).prop_map(|mut cuts| {
            cuts.sort_unstable();
            cuts
        })
    }

    proptest! {
        #[test]
        fn energy_is_additive_over_adjoining_windows(
            joules in prop::collection::vec(0.0f64..10.0, 100),
            [a, b, c] in cuts(),
        ) {
            prop_assume!(a < b && b < c);
            let samples = samples(&joules);
            let of = |start, end| of(&samples, start, end).expect("covered");
            let whole = of(a, c);
            let joined = of(a, b).followed_by(&of(b, c)).expect("they touch");
            prop_assert!((whole.joules - joined.joules).abs().get() < 1e-9);
            prop_assert!(joined.expanded_uncertainty() >= whole.expanded_uncertainty().map(|joules| joules * (1.0 - 1e-12)));
            prop_assert_eq!(whole.sample_count, joined.sample_count);
        }

        #[test]
        fn duplicates_change_nothing(
            joules in prop::collection::vec(0.0f64..10.0, 100),
            [a, _, c] in cuts(),
            doubled in prop::collection::vec(any::<bool>(), 100),
        ) {
            prop_assume!(a < c);
            let once = samples(&joules);
            let twice: Vec<_> =
                once.iter().zip(doubled).flat_map(|(sample, double)| vec![*sample; 1 + usize::from(double)]).collect();
            prop_assert_eq!(of(&once, a, c).expect("covered").joules, of(&twice, a, c).expect("covered").joules);
        }

        #[test]
        fn interior_readings_are_not_needed(
            joules in prop::collection::vec(0.0f64..10.0, 100),
            [a, _, c] in cuts(),
            kept in prop::collection::vec(any::<bool>(), 100),
        ) {
            prop_assume!(a < c);
            let all = samples(&joules);
            let near = |at: MonoNs| [a, c].iter().any(|edge| at.0.abs_diff(*edge) <= PERIOD_NS);
            let some: Vec<_> =
                all.iter().zip(kept).filter(|(sample, kept)| *kept || near(sample.at)).map(|(sample, _)| *sample).collect();
            prop_assert_eq!(of(&all, a, c).expect("covered").joules, of(&some, a, c).expect("covered").joules);
        }

        /// Bursts at any instant, and a counter that is behind by up to its update period: what the readings leave out
        /// of the limit was not there.
        #[test]
        fn a_limit_below_that_of_the_largest_power_near_holds_the_truth(
            bursts in prop::collection::vec((0u64..2_000_000_000, 0.0f64..5.0), 0..40),
            lags in prop::collection::vec(0u64..=20_000_000, 100),
            at in 60_000_000u64..1_900_000_000,
        ) {
            let update_period = Duration::from_millis(20);
            let truth = |at: u64| {
                let burst: f64 = bursts.iter().filter(|burst| burst.0 < at).map(|burst| burst.1).sum();
                burst + 8e-9 * at as f64
            };
            let mut highest = 0.0f64;
            let sample = |(index, lag): (u64, &u64)| {
                highest = highest.max(truth((index * PERIOD_NS).saturating_sub(*lag)));
                CounterSample { at: MonoNs(index * PERIOD_NS), energy: Joules::new(highest) }
            };
            let samples: Vec<_> = (0..).zip(&lags).map(sample).collect();
            let later = samples.partition_point(|sample| sample.at < MonoNs(at));
            let limit = edge_limit(&samples, later, MonoNs(at), update_period).get();
            let near = largest_power(&samples[later - 2..later + 2], update_period).get();
            let widest = near * (PERIOD_NS as f64 / 2e9 + update_period.as_secs_f64());
            let error = (at_edge(&samples, later, MonoNs(at)).get() - truth(at)).abs();
            prop_assert!(limit >= widest * (1.0 - 1e-12) || error <= limit + 1e-9, "{} J off, limit {} J", error, limit);
        }

        /// The counter is read where the load is not steady: the true energy lies within the edges' limits.
        #[test]
        fn a_hole_anywhere_is_within_the_stated_edges(
            joules in prop::collection::vec(0.5f64..1.0, 100),
            [a, _, c] in cuts(),
            hole in 1usize..90,
        ) {
            prop_assume!(a + 10 * PERIOD_NS < c);
            let all = samples(&joules);
            let some: Vec<_> = all[..hole].iter().chain(&all[hole + 10..]).copied().collect();
            let (truth, seen) = (of(&all, a, c).expect("covered"), of(&some, a, c).expect("covered"));
            // Limits, not standard deviations: the two edges may err in the same direction.
            let limit = seen.edge_uncertainty().expect("a counter").get() * 6f64.sqrt();
            prop_assert!((truth.joules - seen.joules).abs().get() <= limit);
        }
    }
}
