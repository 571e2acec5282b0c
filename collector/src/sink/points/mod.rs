//! What is in the store, as points of the declared series. Each file turns one kind of fact into lines; none reads the
//! store or a clock, and none computes a joule.

pub mod attempt;
pub mod health;
pub mod instants;
mod remembered;
pub mod run;
pub mod samples;

use crate::result::Uncertain;

/// Word of what counts and what does not, as tags have it.
fn valid_word(is_valid: bool) -> &'static str {
    if is_valid { "true" } else { "false" }
}

/// The half width of a figure that may be missing, or may have none.
fn half_width(figure: Option<Uncertain>) -> Option<f64> {
    figure.and_then(|figure| figure.expanded_uncertainty)
}
