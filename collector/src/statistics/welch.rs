//! Comparing two samples: Welch's t-test with its interval, Hedges' g, and Holm's correction over several comparisons.

use serde::Serialize;
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

use super::interval::{as_count, mean, standard_deviation, t_quantile_975};

/// How far two means lie apart, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Welch {
    /// Mean of the one less mean of the other.
    pub difference: f64,
    /// Half width of the difference's two-sided 95 % interval. A difference smaller than that would not have been shown.
    pub interval95_half_width: f64,
    /// Difference divided by its standard error.
    pub t: f64,
    /// After Welch and Satterthwaite; a fraction as a rule.
    pub degrees_of_freedom: f64,
    /// Two-sided: how often equal means would scatter as far apart or farther.
    pub p: f64,
}

/// Tests whether two samples have one mean, without taking their scatter as equal.
///
/// `None` where nothing can be said: below two values in a sample, for a value that is no number, and when neither
/// sample scatters at all.
pub fn welch(one: &[f64], other: &[f64]) -> Option<Welch> {
    let (a, b) = (squared_error(one)?, squared_error(other)?);
    let difference = mean(one)? - mean(other)?;
    // Parts of one: their squares neither overflow nor vanish.
    let (part, degrees) = (a / (a + b), |values: &[f64]| as_count(values) - 1.0);
    let degrees_of_freedom = 1.0 / (part.powi(2) / degrees(one) + (1.0 - part).powi(2) / degrees(other));
    let error = (a + b).sqrt();
    let t = difference / error;
    if !(t.is_finite() && degrees_of_freedom.is_finite()) {
        return None;
    }
    Some(Welch {
        difference,
        interval95_half_width: t_quantile_975(degrees_of_freedom) * error,
        t,
        degrees_of_freedom,
        p: beta_reg(degrees_of_freedom / 2.0, 0.5, degrees_of_freedom / (degrees_of_freedom + t.powi(2))),
    })
}

/// Where a difference or a ratio may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end; absent where the divisor scatters so much that there is none.
    pub high: Option<f64>,
}

/// The 95 % interval of the ratio of two means above 0, from 0 on: Fieller's, with the degrees of freedom of [`welch`]. It
/// knows the scatter of the divisor, and holds 1 exactly when the test's p is above 0.05.
///
/// A ratio r is in it when the mean of `one` and r times that of `other` lie within t standard errors of each other, which
/// is a quadratic inequality in r. `None` where [`welch`] says nothing, and for a mean that is not above 0.
pub fn ratio_interval95(one: &[f64], other: &[f64]) -> Option<Interval> {
    let t = t_quantile_975(welch(one, other)?.degrees_of_freedom);
    let (a, b) = (mean(one)?, mean(other)?);
    if !(a > 0.0 && b > 0.0) {
        return None;
    }
    // In units of the means: r² (1 − d) − 2 r + (1 − n) ≤ 0 for r in units of a / b.
    let doubt = |values: &[f64], mean: f64| Some(t.powi(2) * squared_error(values)? / mean.powi(2));
    let (n, d) = (doubt(one, a)?, doubt(other, b)?);
    let root = (n + d - n * d).max(0.0).sqrt();
    let low = (1.0 - n).max(0.0) / (1.0 + root);
    let high = (d < 1.0).then(|| (1.0 + root) / (1.0 - d));
    let interval = Interval { low: low * a / b, high: high.map(|high| high * a / b) };
    let is_finite = interval.low.is_finite() && interval.high.is_none_or(f64::is_finite);
    is_finite.then_some(interval)
}

/// Squared standard error of a mean.
fn squared_error(values: &[f64]) -> Option<f64> {
    Some(standard_deviation(values)?.powi(2) / as_count(values))
}

/// Hedges' g: the difference of two means in pooled standard deviations, freed of its bias in small samples by the exact
/// factor (gamma functions). `None` where [`welch`] says nothing.
///
/// Without an interval: the usual one takes g as normal, which three replicates are too few for.
pub fn hedges_g(one: &[f64], other: &[f64]) -> Option<f64> {
    let degrees = as_count(one) + as_count(other) - 2.0;
    let squares = |values: &[f64]| Some(standard_deviation(values)?.powi(2) * (as_count(values) - 1.0));
    let deviation = ((squares(one)? + squares(other)?) / degrees).sqrt();
    let correction = (ln_gamma(degrees / 2.0) - ln_gamma((degrees - 1.0) / 2.0)).exp() / (degrees / 2.0).sqrt();
    Some((mean(one)? - mean(other)?) / deviation * correction).filter(|g| g.is_finite())
}

/// Corrects the p values of a family of comparisons by Holm's step-down, in their order: whoever calls those below 0.05 a
/// difference is wrong about any of the family in at most 5 of 100 families.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = as_count(&p_values[rank..]);
        largest = largest.max(remaining * p_values[index]).min(1.0);
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    // Made by tests/fixtures/statistics.py, which names the versions of SciPy and statsmodels in its file.
    #[derive(Deserialize)]
    struct Fixture {
        comparisons: Vec<Case>,
        families: Vec<Family>,
    }

    #[derive(Deserialize)]
    struct Case {
        one: Vec<f64>,
        other: Vec<f64>,
        t: f64,
        degrees_of_freedom: f64,
        p: f64,
        interval95: [f64; 2],
        hedges_g: f64,
        hedges_g_statsmodels: f64,
    }

    #[derive(Deserialize)]
    struct Family {
        p: Vec<f64>,
        holm: Vec<f64>,
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../tests/fixtures/statistics.json")).expect("our own fixture")
    }

    #[track_caller]
    fn assert_close(ours: f64, theirs: f64, relative: f64) {
        assert!((ours - theirs).abs() <= relative * theirs.abs().max(1e-300), "ours {ours}, theirs {theirs}");
    }

    #[test]
    fn welch_agrees_with_scipy() {
        let cases = fixture().comparisons;
        assert!(cases.len() > 20);
        for case in cases {
            let ours = welch(&case.one, &case.other).unwrap();
            assert_close(ours.t, case.t, 1e-9);
            assert_close(ours.degrees_of_freedom, case.degrees_of_freedom, 1e-9);
            assert_close(ours.p, case.p, 1e-8);
            let [low, high] = case.interval95;
            assert_close(ours.interval95_half_width, (high - low) / 2.0, 1e-8);
            assert!((ours.difference - f64::midpoint(low, high)).abs() < 1e-9 * (high - low));
        }
    }

    #[test]
    fn g_agrees_with_scipys_gamma_functions_and_about_with_statsmodels() {
        for case in fixture().comparisons {
            let ours = hedges_g(&case.one, &case.other).unwrap();
            assert_close(ours, case.hedges_g, 1e-9);
            // statsmodels approximates the correction: 0.571 for 0.564 with two values each.
            assert_close(ours, case.hedges_g_statsmodels, 0.015);
        }
    }

    #[test]
    fn holm_agrees_with_statsmodels() {
        for family in fixture().families {
            let ours = holm(&family.p);
            assert_eq!(ours.len(), family.holm.len());
            for (ours, theirs) in ours.iter().zip(family.holm) {
                assert!((ours - theirs).abs() < 1e-12, "ours {ours}, theirs {theirs}");
            }
        }
    }

    /// 2, 4, 6 against 5, 7, 9: difference -3, variances 4, error √(8/3), t -1.837, 4 degrees of freedom.
    #[test]
    fn two_samples_by_hand() {
        let welch = welch(&[2.0, 4.0, 6.0], &[5.0, 7.0, 9.0]).unwrap();
        assert_close(welch.difference, -3.0, 1e-12);
        assert_close(welch.t, -3.0 / (8.0_f64 / 3.0).sqrt(), 1e-12);
        assert_close(welch.degrees_of_freedom, 4.0, 1e-12);
        assert_close(welch.interval95_half_width, 2.776_445 * (8.0_f64 / 3.0).sqrt(), 1e-6);
        // -3 / 2, times Γ(2) / (√2 Γ(1.5)) = 0.797885.
        assert_close(hedges_g(&[2.0, 4.0, 6.0], &[5.0, 7.0, 9.0]).unwrap(), -1.5 * 0.797_885, 1e-6);
    }

    #[test]
    fn samples_that_say_nothing_have_no_test() {
        for (one, other) in [
            (vec![], vec![1.0, 2.0]),
            (vec![1.0], vec![1.0, 2.0]),
            (vec![1.0, 2.0], vec![1.0]),
            (vec![1.0, 1.0], vec![1.0, 1.0]),
            (vec![1.0, 1.0], vec![2.0, 2.0]),
            (vec![1.0, f64::NAN], vec![2.0, 3.0]),
            (vec![1.0, f64::INFINITY], vec![2.0, 3.0]),
        ] {
            assert_eq!(welch(&one, &other), None, "{one:?} {other:?}");
            assert_eq!(hedges_g(&one, &other), None, "{one:?} {other:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_sample_without_scatter_leaves_the_other_ones_degrees_of_freedom() {
        let welch = welch(&[2.0; 3], &[3.0, 4.0, 5.0, 4.0]).unwrap();
        assert_close(welch.degrees_of_freedom, 3.0, 1e-12);
    }

    /// With a divisor that does not scatter, the interval is that of the mean, divided: 4.302653 × 2 / √3 of 6 over 2.
    #[test]
    fn a_ratio_to_what_does_not_scatter_by_hand() {
        let ratio = ratio_interval95(&[4.0, 6.0, 8.0], &[2.0; 3]).unwrap();
        assert_close(ratio.low, (6.0 - 4.968_275) / 2.0, 1e-6);
        assert_close(ratio.high.unwrap(), (6.0 + 4.968_275) / 2.0, 1e-6);
    }

    /// A dividend that does not scatter: 12 over 6 ± 4.968275.
    #[test]
    fn a_ratio_knows_the_scatter_of_its_divisor() {
        let ratio = ratio_interval95(&[12.0; 3], &[4.0, 6.0, 8.0]).unwrap();
        assert_close(ratio.low, 12.0 / (6.0 + 4.968_275), 1e-6);
        assert_close(ratio.high.unwrap(), 12.0 / (6.0 - 4.968_275), 1e-6);
        let open = ratio_interval95(&[12.0; 2], &[4.0, 8.0]).unwrap();
        assert!(open.low > 0.0 && open.high.is_none(), "a divisor that may be 0: {open:?}");
        assert_eq!(ratio_interval95(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(ratio_interval95(&[1.0, 2.0], &[-1.0, -2.0]), None);
        assert_eq!(ratio_interval95(&[-1.0, -2.0], &[-1.0, -2.0]), None);
    }

    /// Were the degrees of freedom those at each ratio, these would hold 0 and not 1.
    #[test]
    fn a_difference_that_is_shown_is_outside_of_the_ratio() {
        for (one, other) in [(&[8.0, 10.0][..], &[1.0, 3.0][..]), (&[8.5, 10.0], &[5.0, 5.0, 5.0, 5.0, 8.75])] {
            let (test, ratio) = (welch(one, other).unwrap(), ratio_interval95(one, other).unwrap());
            assert!(test.p < 0.05 && ratio.low > 1.0, "{test:?} {ratio:?}");
        }
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-1e6..1e6_f64, 2..8)
    }

    proptest! {
        #[test]
        fn who_comes_first_changes_the_sign_only(one in values(), other in values()) {
            if let (Some(there), Some(back)) = (welch(&one, &other), welch(&other, &one)) {
                prop_assert!((there.t + back.t).abs() <= 1e-12 * there.t.abs());
                prop_assert!((there.p - back.p).abs() <= 1e-9 * there.p);
                prop_assert!((0.0..=1.0).contains(&there.p));
                // The interval holds zero exactly when p is above 0.05.
                prop_assert!(((there.p - 0.05).abs() < 1e-9)
                    || ((there.difference.abs() < there.interval95_half_width) == (there.p > 0.05)));
                let (g, turned) = (hedges_g(&one, &other).unwrap(), hedges_g(&other, &one).unwrap());
                prop_assert!((g + turned).abs() <= 1e-12 * g.abs());
            }
        }

        #[test]
        fn a_ratio_of_one_is_held_when_no_difference_is_shown(
            one in prop::collection::vec(5.0..10.0_f64, 2..6),
            other in prop::collection::vec(5.0..10.0_f64, 2..6),
        ) {
            if let (Some(test), Some(ratio)) = (welch(&one, &other), ratio_interval95(&one, &other)) {
                let holds_one = ratio.low <= 1.0 && ratio.high.is_none_or(|high| high >= 1.0);
                prop_assert!((test.p - 0.05).abs() < 1e-9 || holds_one == (test.p > 0.05), "{ratio:?} {test:?}");
                // The inequality itself, at both ends.
                let squared = |values: &[f64]| standard_deviation(values).unwrap().powi(2) / as_count(values);
                let (a, b, t) = (mean(&one).unwrap(), mean(&other).unwrap(), t_quantile_975(test.degrees_of_freedom));
                for end in ratio.high.into_iter().chain((ratio.low > 0.0).then_some(ratio.low)) {
                    let error = (squared(&one) + end.powi(2) * squared(&other)).sqrt();
                    prop_assert!(((a - end * b).abs() / error - t).abs() < 1e-6 * t, "{ratio:?}");
                }
            }
        }

        #[test]
        fn the_unit_changes_nothing(one in values(), other in values(), unit in 1e-6..1e6_f64) {
            let scaled = |values: &[f64]| values.iter().map(|value| value * unit).collect::<Vec<_>>();
            if let (Some(plain), Some(scaled)) = (welch(&one, &other), welch(&scaled(&one), &scaled(&other))) {
                prop_assert!((plain.p - scaled.p).abs() <= 1e-6 * plain.p.max(1e-12));
            }
        }

        #[test]
        fn holm_keeps_the_order_and_lowers_nothing(ps in prop::collection::vec(0.0..=1.0_f64, 0..20)) {
            let corrected = holm(&ps);
            for (index, p) in ps.iter().enumerate() {
                prop_assert!(corrected[index] >= *p && corrected[index] <= 1.0);
                for (other, q) in ps.iter().enumerate() {
                    prop_assert!(p > q || corrected[index] <= corrected[other]);
                }
            }
        }
    }
}
