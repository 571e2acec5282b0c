//! The few statistics that a report needs, as pure functions. Nothing here returns NaN: what cannot be said is `None`.

mod classification;
mod interval;

pub use classification::{Scores, scores};
pub use interval::{MeanInterval, mean, mean_interval95, median, standard_deviation};
