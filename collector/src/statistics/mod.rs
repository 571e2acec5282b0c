//! The few statistics that a report needs, as pure functions. Nothing here returns NaN: what cannot be said is `None`.

mod classification;
mod interval;
mod welch;

pub use classification::{ClassScores, Scores, class_scores, scores};
pub use interval::{MeanInterval, mean, mean_interval95, median, standard_deviation};
pub use welch::{Interval, Welch, hedges_g, holm, ratio_interval95, welch};
