//! Mean, standard deviation, median, and the t interval of a mean.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean and how well the replicates know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanInterval {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half width of the two-sided 95 % t interval; `None` for a single value.
    pub half_width: Option<f64>,
}

/// Averages; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / as_count(values))
}

/// Computes the sample standard deviation (divisor n − 1); `None` below two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (as_count(values) - 1.0)).sqrt())
}

/// Finds the median; of an even number of values the mean of the middle two. `None` for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper)) }
}

/// Computes the mean with its two-sided 95 % interval by Student's t, n − 1 degrees of freedom; `None` for no values.
///
/// The interval speaks of the scatter between independent replicates only. An error that all replicates share, such as
/// a shunt 1 % off, does not show in it.
pub fn mean_interval95(values: &[f64]) -> Option<MeanInterval> {
    let mean = mean(values)?;
    let half_width = standard_deviation(values)
        .map(|deviation| t_quantile_975(as_count(values) - 1.0) * deviation / as_count(values).sqrt());
    Some(MeanInterval { mean, half_width })
}

/// The point that Student's t stays below with probability 0.975. To 1e-11 of SciPy up to 1,000 degrees of freedom; the
/// quantile of `statrs` gets coarser beyond (4e-6 at 100,000).
pub(super) fn t_quantile_975(degrees_of_freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees_of_freedom)
        .expect("two values or more leave a degree of freedom")
        .inverse_cdf(0.975)
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 replicates")]
pub(super) fn as_count(values: &[f64]) -> f64 {
    values.len() as f64
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        samples: Vec<Case>,
        t_quantiles_975: Vec<(f64, f64)>,
    }

    #[derive(Deserialize)]
    struct Case {
        values: Vec<f64>,
        mean: f64,
        standard_deviation: f64,
        median: f64,
        interval95_half_width: f64,
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../tests/fixtures/statistics.json")).expect("our own fixture")
    }

    #[track_caller]
    fn assert_close(ours: f64, theirs: f64, relative: f64) {
        assert!((ours - theirs).abs() <= relative * theirs.abs(), "ours {ours}, theirs {theirs}");
    }

    #[test]
    fn quantiles_of_t_agree_with_scipy() {
        for (degrees_of_freedom, quantile) in fixture().t_quantiles_975 {
            assert_close(t_quantile_975(degrees_of_freedom), quantile, 1e-11);
        }
    }

    #[test]
    fn figures_of_samples_agree_with_numpy_and_scipy() {
        for case in fixture().samples {
            let interval = mean_interval95(&case.values).unwrap();
            assert_close(interval.mean, case.mean, 1e-12);
            assert_close(standard_deviation(&case.values).unwrap(), case.standard_deviation, 1e-12);
            assert_close(median(&case.values).unwrap(), case.median, 1e-15);
            assert_close(interval.half_width.unwrap(), case.interval95_half_width, 1e-11);
        }
    }

    /// 4, 6, 8: mean 6, deviation 2, t(2) = 4.302653, 4.302653 × 2 / √3 = 4.968275.
    #[test]
    fn three_values_by_hand() {
        let interval = mean_interval95(&[4.0, 6.0, 8.0]).unwrap();
        assert_close(interval.mean, 6.0, 1e-15);
        assert_close(interval.half_width.unwrap(), 4.968_275, 1e-6);
    }

    #[test]
    fn too_few_values_say_nothing() {
        assert_eq!(mean(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(mean_interval95(&[]), None);
        assert_eq!(mean_interval95(&[3.0]), Some(MeanInterval { mean: 3.0, half_width: None }));
        assert_eq!(standard_deviation(&[3.0]), None);
    }

    #[test]
    fn equal_values_have_an_interval_of_no_width() {
        assert_eq!(mean_interval95(&[2.5; 4]), Some(MeanInterval { mean: 2.5, half_width: Some(0.0) }));
    }
}
