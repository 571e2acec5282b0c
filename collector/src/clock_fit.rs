//! From four-timestamp probes to the offset and drift between a node's clock and the collector's.
//!
//! A probe bounds the offset from both sides: the question cannot arrive before it was sent, nor the answer return
//! before it left. The shorter its round trip, the tighter the bound; queues only ever add. So the probe with the
//! shortest delay of each stretch of time is kept, and a line is laid through those.

use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1::ClockProbe;

/// Stretches of time that give one probe each. More than the two a line needs, few enough that each holds several
/// probes to choose from.
const STRETCH_COUNT: usize = 32;

/// Probes slower than this many times the fastest are left out: they widen the bound more than they steady the line.
const DELAY_RATIO_MAX: u64 = 3;

/// Differences of delay below this are scheduling, not queues, ns.
const DELAY_SLACK_NS: u64 = 50_000;

/// Where a boot's monotonic clock stands against Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockFit {
    /// Unix time less monotonic time at `reference`, ns.
    pub offset_ns: i64,
    /// Largest possible error of the fit over the time of its probes, ns.
    pub error_ns: u64,
    /// How fast the offset grows, parts per billion.
    pub drift_ppb: i64,
    /// Instant of the newest probe of the fit.
    pub reference: MonoNs,
}

impl ClockFit {
    /// Unix time of an instant, ns.
    pub fn unix_ns(&self, at: MonoNs) -> u64 {
        let since = i128::from(at.0) - i128::from(self.reference.0);
        let drifted = since * i128::from(self.drift_ppb) / 1_000_000_000;
        let unix = i128::from(at.0) + i128::from(self.offset_ns) + drifted;
        u64::try_from(unix.max(0)).unwrap_or(u64::MAX)
    }
}

/// One probe as a point with an error bar.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: u64,
    offset_ns: i64,
    delay_ns: u64,
}

impl Point {
    /// `None` for a probe whose times run backwards.
    fn new(probe: &ClockProbe) -> Option<Self> {
        let round_trip = probe.returned_mono_ns.checked_sub(probe.sent_mono_ns)?;
        let answering = probe.answered_unix_ns.checked_sub(probe.received_unix_ns)?;
        let upper = i128::from(probe.received_unix_ns) - i128::from(probe.sent_mono_ns);
        let lower = i128::from(probe.answered_unix_ns) - i128::from(probe.returned_mono_ns);
        Some(Self {
            at: probe.sent_mono_ns + round_trip / 2,
            offset_ns: i64::try_from((upper + lower) / 2).ok()?,
            // Below zero when one of the clocks was set meanwhile; the residual then tells.
            delay_ns: round_trip.saturating_sub(answering),
        })
    }
}

/// Fits offset and drift to the probes of one boot, in any order. `None` without a usable probe.
///
/// A single usable probe gives its offset and no drift. The error bound holds under any asymmetry of the delays: it is
/// the largest distance of the line from a kept probe, plus half of that probe's delay.
pub fn fit(probes: &[ClockProbe]) -> Option<ClockFit> {
    let points = keep_fastest(probes.iter().filter_map(Point::new).collect());
    let reference = *points.last()?;
    // Differences to the newest point: a few hours and a few seconds in ns, exact in an f64.
    let rows: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (-difference(reference.at, point.at), signed_difference(point.offset_ns, reference.offset_ns)))
        .collect();
    let (intercept, slope) = line(&rows);
    let error = rows.iter().zip(&points).fold(0.0_f64, |worst, ((time, offset), point)| {
        let residual = (intercept + slope * time - offset).abs();
        worst.max(residual + difference(point.delay_ns, 0) / 2.0)
    });
    Some(ClockFit {
        offset_ns: reference.offset_ns.saturating_add(whole(intercept)),
        // One more for the halves that were rounded away.
        error_ns: whole(error).unsigned_abs() + 1,
        drift_ppb: whole(slope * 1e9),
        reference: MonoNs(reference.at),
    })
}

/// The probe with the shortest delay of each stretch, without those that are slow all the same. Ascending in time.
fn keep_fastest(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by_key(|point| point.at);
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else { return points };
    let stretch_ns = (last.at - first.at) / (STRETCH_COUNT as u64) + 1;
    let mut kept: Vec<Point> = Vec::with_capacity(STRETCH_COUNT);
    let mut stretch_before = None;
    for point in points {
        let stretch = (point.at - first.at) / stretch_ns;
        match kept.last_mut() {
            Some(best) if stretch_before == Some(stretch) => {
                if point.delay_ns < best.delay_ns {
                    *best = point;
                }
            }
            _ => kept.push(point),
        }
        stretch_before = Some(stretch);
    }
    let fastest_ns = kept.iter().map(|point| point.delay_ns).min().unwrap_or(0);
    let delay_max_ns = fastest_ns.saturating_mul(DELAY_RATIO_MAX).saturating_add(DELAY_SLACK_NS);
    kept.retain(|point| point.delay_ns <= delay_max_ns);
    kept
}

/// Least squares: intercept and slope. A slope of 0 when all times are one.
fn line(rows: &[(f64, f64)]) -> (f64, f64) {
    let count = rows.iter().fold(0.0, |count, _| count + 1.0_f64).max(1.0);
    let time_mean = rows.iter().map(|row| row.0).sum::<f64>() / count;
    let offset_mean = rows.iter().map(|row| row.1).sum::<f64>() / count;
    let spread: f64 = rows.iter().map(|row| (row.0 - time_mean).powi(2)).sum();
    let product: f64 = rows.iter().map(|row| (row.0 - time_mean) * (row.1 - offset_mean)).sum();
    let slope = if spread > 0.0 { product / spread } else { 0.0 };
    (offset_mean - slope * time_mean, slope)
}

fn difference(later: u64, earlier: u64) -> f64 {
    later.saturating_sub(earlier) as f64
}

fn signed_difference(a: i64, b: i64) -> f64 {
    a.saturating_sub(b) as f64
}

/// Nearest whole number; ends of the range are kept, as the cast does.
#[expect(clippy::cast_possible_truncation, reason = "a cast from float saturates")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIX_EPOCH_OFFSET_NS: i64 = 1_800_000_000_000_000_000;

    /// A probe over a link with these one-way delays, to a clock that drifts by `drift_ppb`.
    fn probe(sent: u64, there_ns: u64, back_ns: u64, drift_ppb: i64) -> ClockProbe {
        let unix = |mono: u64| {
            let drifted = i128::from(mono) * i128::from(drift_ppb) / 1_000_000_000;
            u64::try_from(i128::from(mono) + i128::from(UNIX_EPOCH_OFFSET_NS) + drifted).expect("after 1970")
        };
        let answering_ns = 20_000;
        ClockProbe {
            sent_mono_ns: sent,
            received_unix_ns: unix(sent + there_ns),
            answered_unix_ns: unix(sent + there_ns + answering_ns),
            returned_mono_ns: sent + there_ns + answering_ns + back_ns,
        }
    }

    fn true_offset(at: MonoNs, drift_ppb: i64) -> i128 {
        i128::from(UNIX_EPOCH_OFFSET_NS) + i128::from(at.0) * i128::from(drift_ppb) / 1_000_000_000
    }

    proptest! {
        #[test]
        fn the_error_bound_holds_under_asymmetric_delays(
            drift_ppb in -100_000i64..100_000,
            delays in prop::collection::vec((50_000u64..5_000_000, 50_000u64..5_000_000), 1..200),
        ) {
            let probes: Vec<_> = delays
                .iter()
                .zip(1u64..)
                .map(|(&(there, back), second)| probe(second * 1_000_000_000, there, back, drift_ppb))
                .collect();
            let fit = fit(&probes).expect("there are probes");
            let error = (i128::from(fit.offset_ns) - true_offset(fit.reference, drift_ppb)).unsigned_abs();
            prop_assert!(error <= u128::from(fit.error_ns), "off by {error} ns, bound {} ns", fit.error_ns);
        }

        #[test]
        fn the_order_of_the_probes_does_not_matter(
            delays in prop::collection::vec((50_000u64..500_000, 50_000u64..500_000), 2..50),
        ) {
            let mut probes: Vec<_> = delays
                .iter()
                .zip(1u64..)
                .map(|(&(there, back), second)| probe(second * 1_000_000_000, there, back, 7_000))
                .collect();
            let forwards = fit(&probes);
            probes.reverse();
            prop_assert_eq!(fit(&probes), forwards);
        }
    }

    #[test]
    fn drift_is_found_behind_queues_that_delay_one_way_only() {
        // Every fourth probe meets an empty queue; the rest wait up to 9 ms, on the way there only.
        let probes: Vec<_> = (1u64..=400)
            .map(|index| probe(index * 500_000_000, 100_000 + (index % 4) * 3_000_000, 100_000, 40_000))
            .collect();
        let fit = fit(&probes).expect("there are probes");
        assert!((fit.drift_ppb - 40_000).abs() < 50, "{fit:?}");
        assert!(fit.error_ns < 150_000, "{fit:?}");
        let unix = fit.unix_ns(MonoNs(1_000_000_000));
        let truth = 1_000_000_000 + true_offset(MonoNs(1_000_000_000), 40_000);
        assert!((i128::from(unix) - truth).unsigned_abs() < 150_000);
    }

    #[test]
    fn one_probe_gives_an_offset_and_half_its_delay_as_bound() {
        let fit = fit(&[probe(5_000_000_000, 300_000, 100_000, 0)]).expect("one probe");
        assert_eq!(fit.drift_ppb, 0);
        assert_eq!(fit.offset_ns - UNIX_EPOCH_OFFSET_NS, 100_000);
        assert_eq!(fit.error_ns, 200_001);
    }

    #[test]
    fn a_clock_that_was_set_shows_in_the_bound() {
        let mut probes: Vec<_> = (1..=20).map(|second| probe(second * 1_000_000_000, 50_000, 50_000, 0)).collect();
        for probe in &mut probes[10..] {
            probe.received_unix_ns += 1_000_000_000;
            probe.answered_unix_ns += 1_000_000_000;
        }
        assert!(fit(&probes).expect("probes").error_ns > 100_000_000);
    }

    #[test]
    fn no_probe_gives_no_fit() {
        assert_eq!(fit(&[]), None);
        let backwards = ClockProbe { sent_mono_ns: 5, returned_mono_ns: 4, ..ClockProbe::default() };
        assert_eq!(fit(&[backwards]), None);
    }
}
