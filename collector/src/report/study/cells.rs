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

/// A unit needs no prefix when the largest figure of a column is at least this.
const PLAIN_MIN: f64 = 0.01;

/// Scale of a column whose figures lie orders of magnitude apart: without a prefix if that can be read, so that tables of
/// costs have one unit.
pub(super) fn largest_scale(figures: impl Iterator<Item = f64> + Clone) -> Scale {
    let largest = figures.clone().map(f64::abs).max_by(f64::total_cmp);
    let is_plain = largest.is_some_and(|largest| (PLAIN_MIN..1e5).contains(&largest));
    spread_scale(if is_plain { Prefix::NONE } else { Prefix::for_column(largest) }, figures)
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
    let text = format!("{difference:+.decimals$}");
    if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { text } else { text[1..].to_owned() }
}
