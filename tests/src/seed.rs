//! Points of every declared series, made up: the data on which dashboards are checked and looked at where a small run
//! gives none, such as of a GPU or a microcontroller.
//!
//! The story is told in `runs`, `fleet` and `samples`; what it leaves unsaid is filled in from the series files. So a field that is declared is
//! written, and one that is not declared any more is an error here.

mod fleet;
mod jobs;
mod lines;
mod recordings;
mod runs;
mod samples;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

pub use self::lines::Point;
use crate::series::{self, Series};

/// 2026-11-20 08:00:00 UTC.
pub const START_NS: i64 = 1_795_161_600_000_000_000;

/// All points lie in the four hours from the start.
pub const HOURS: i64 = 4;

/// A second.
const S: i64 = 1_000_000_000;

/// A run with replicates, techniques and frameworks on two nodes, and its trainings on a host.
pub const RUN_A: &str = "digits-ab2c";

/// A second one.
pub const RUN_B: &str = "cifar10-k7mn";

/// Replayed recordings of an energy meter.
pub const RUN_RECORDINGS: &str = "energyrunner-x3yz";

/// Lines in line protocol, by the kind of bucket: `samples`, `results`.
///
/// # Errors
/// When the story and the series files contradict each other, or a series has no point.
pub fn lines() -> Result<BTreeMap<String, Vec<String>>> {
    let declared = series::declared();
    let mut points = runs::points();
    points.extend(fleet::points());
    points.extend(samples::points());
    for name in declared.keys() {
        ensure!(points.iter().any(|point| point.series == name), "the story has no point of series {name}");
    }
    written(&points, &declared)
}

fn written(points: &[Point], declared: &BTreeMap<String, Series>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, point) in points.iter().enumerate() {
        let series = declared.get(point.series);
        let Some(series) = series else { anyhow::bail!("series {} is not declared", point.series) };
        lines.entry(series.bucket.word().to_owned()).or_default().push(point.line(series, index)?);
    }
    Ok(lines)
}

/// Scatter that is the same in every run of the tests: between -1 and 1.
fn scatter(index: usize) -> f64 {
    let mixed = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    // 53 bits are what a double holds exactly.
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_field_is_written_somewhere() {
        let lines = lines().expect("the story fits the series files");
        for (name, series) in series::declared() {
            for field in &series.fields {
                let named = format!("{}=", field.name);
                let begins = format!("{name},");
                let untagged = format!("{name} ");
                let found = lines[series.bucket.word()].iter().any(|line| {
                    (line.starts_with(&begins) || line.starts_with(&untagged))
                        && (line.contains(&format!(",{named}")) || line.contains(&format!(" {named}")))
                });
                assert!(found, "{name}.{} is in no line", field.name);
            }
        }
    }

    #[test]
    fn a_point_of_what_is_not_declared_is_refused() {
        let declared = series::declared();
        for (point, what) in [
            (Point::new("nonsense", 0), "series nonsense"),
            (Point::new("collector", 0).field("nonsense", 1.0), "nonsense"),
            (Point::new("gap", 0).tag("node", "a"), "tag channel"),
            (Point::new("gap", 0).tag("node", "a").tag("channel", "b").tag("c", "d"), "tag c"),
            (Point::new("collector", 0).field("cpu_seconds", "words"), "cpu_seconds"),
        ] {
            let error = written(&[point], &declared).expect_err(what);
            assert!(format!("{error:#}").contains(what), "{error:#}");
        }
    }
}
