//! Cells of the study's tables: means with their intervals, and scales for what lies far apart.

use super::super::scale::Prefix;
use super::super::table::{Figure, JoulesOverReplicates};
use super::super::text::{ABSENT, Scale};

/// Significant digits of a column's smallest figure.
pub(super) const DIGITS: i32 = 4;

/// What ± means in every table of the study.
pub(super) const PLUS_MINUS: &str = "± is the half width of the 95 % interval of the mean over n replicates";

/// "12.3 ± 0.4", or the mean alone when there is no interval.
pub(super) fn plus_minus(scale: &Scale, figure: Option<&Figure>) -> String {
    let Some(figure) = figure else { return ABSENT.to_owned() };
    with_doubt(scale, figure.mean, figure.interval95_half_width)
}

/// The same of an energy, in a unit of that many joules.
pub(super) fn joules_cell(scale: &Scale, joules: Option<&JoulesOverReplicates>, divisor: f64) -> String {
    let Some(joules) = joules else { return ABSENT.to_owned() };
    with_doubt(
        scale,
        joules.joules_mean / divisor,
        joules.joules_interval95_half_width.map(|half_width| half_width / divisor),
    )
}

fn with_doubt(scale: &Scale, mean: f64, half_width: Option<f64>) -> String {
    match half_width {
        Some(half_width) => format!("{} ± {}", scale.cell(Some(mean)), scale.cell(Some(half_width))),
        None => scale.cell(Some(mean)),
    }
}

/// Scale of a column whose figures lie near each other.
pub(super) fn own_scale(figures: impl Iterator<Item = f64> + Clone) -> Scale {
    Scale::new(Prefix::for_column(figures.clone()), figures, DIGITS)
}

/// What shows three digits in the four decimals that a column may have.
const SMALLEST_MIN: f64 = 0.01;

/// Scale of a column whose figures lie orders of magnitude apart: in the first of no prefix, thousandths and millionths that
/// leaves the smallest figure its digits, so that tables of costs have one unit where they can.
pub(super) fn largest_scale(figures: impl Iterator<Item = f64> + Clone) -> Scale {
    let sizes = || figures.clone().map(f64::abs).filter(|figure| *figure > 0.0 && figure.is_finite());
    let (smallest, largest) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    let shows = |(_, unit): &(Prefix, f64)| smallest / unit >= SMALLEST_MIN;
    let prefixes = [(Prefix::NONE, 1.0), (Prefix::MILLI, 1e-3), (Prefix::MICRO, 1e-6)];
    let prefix = match prefixes.into_iter().find(shows) {
        _ if largest >= 1e5 => Prefix::for_column([largest]),
        Some((prefix, _)) => prefix,
        None => Prefix::for_column([largest]),
    };
    spread_scale(prefix, figures)
}

/// Scale that shows the smallest figure with three digits.
pub(super) fn spread_scale(prefix: Prefix, figures: impl Iterator<Item = f64>) -> Scale {
    Scale::new(prefix, figures, 3)
}

#[expect(clippy::cast_precision_loss, reason = "shown to four digits")]
pub(super) fn count(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

/// A difference with its sign; what rounds to nothing has none.
pub(super) fn signed(difference: f64, decimals: usize) -> String {
    let size = format!("{:.decimals$}", difference.abs());
    let is_zero = size.bytes().all(|byte| byte == b'0' || byte == b'.');
    let sign = match difference {
        _ if is_zero => "",
        difference if difference < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{size}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_that_lie_apart_all_show_digits() {
        #[track_caller]
        fn check(figures: &[f64], expected: &[&str]) {
            let scale = largest_scale(figures.iter().copied());
            let cells: Vec<String> = figures
                .iter()
                .map(|figure| format!("{} {}", scale.cell(Some(*figure)), scale.head("", "Wh").trim()))
                .collect();
            assert_eq!(cells, expected);
        }
        // A whole training and the evaluation of its model, of the study on CIFAR-10: not "0.0539" and "0.0003".
        check(&[0.0539, 0.000_27], &["53.900 (mWh)", "0.270 (mWh)"]);
        check(&[5.9, 0.119], &["5.900 (Wh)", "0.119 (Wh)"]);
        check(&[2e-5], &["0.0200 (mWh)"]);
        check(&[2.5e5, 1.0], &["250.0000 (kWh)", "0.0010 (kWh)"]);
        check(&[0.0], &["0 (Wh)"]);
    }

    #[test]
    fn one_sign_is_used_and_none_for_nothing() {
        assert_eq!([signed(-0.126, 2), signed(0.126, 2), signed(-0.001, 2)], ["−0.13", "+0.13", "0.00"]);
    }
}
