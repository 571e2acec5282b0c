//! Undoes the wrap-arounds of a counter, and tells when it began anew.

use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Watts;

/// No processor package, memory or GPU of today takes as much: what a counter seems to have counted faster, it has not.
pub const POWER_MAX: Watts = Watts::new(5_000.0);

/// A counter that is updated late holds more than since the last look.
const UPDATE_SLACK: Duration = Duration::from_millis(100);

/// What a counter has counted since it was opened.
///
/// A counter that wraps at its range goes on. One that began anew (the machine slept, a driver was loaded again) looks
/// much like that; but a wrap-around needs time, and so what [`POWER_MAX`] cannot explain is none. Then, and after a
/// pause in which more than one wrap-around could have been, what was used is not known: the total falls, which is how a
/// reader of the channel sees it.
#[derive(Debug, Clone)]
pub struct Tally {
    range: Option<u64>,
    codes_per_nanosecond_max: f64,
    last: u64,
    last_at: MonoNs,
    total: i64,
}

impl Tally {
    /// Begins to count from what the counter holds now.
    pub fn new(count: u64, at: MonoNs, range: Option<u64>, picojoules_per_code: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a bound, which needs few digits")]
        let codes_per_joule = 1e12 / picojoules_per_code.max(1) as f64;
        let codes_per_nanosecond_max = POWER_MAX.get() * codes_per_joule / 1e9;
        Self { range, codes_per_nanosecond_max, last: count, last_at: at, total: 0 }
    }

    /// Takes what the counter holds now, and gives all that it has counted since the start.
    pub fn add(&mut self, count: u64, at: MonoNs) -> i64 {
        let step = self.step(count, at.since(self.last_at));
        (self.last, self.last_at) = (count, at);
        self.total = match step.and_then(|step| self.total.checked_add_unsigned(step)) {
            Some(total) => total,
            // Below whatever was said before.
            None if self.total > 0 => 0,
            None => self.total - 1,
        };
        self.total
    }

    /// What was counted since the last look; `None` when that is not known.
    fn step(&self, count: u64, elapsed: Duration) -> Option<u64> {
        let Some(range) = self.range else { return count.checked_sub(self.last) };
        let step = count.checked_sub(self.last).or_else(|| count.checked_add(range.checked_sub(self.last)?))?;
        // A wrap-around that cannot have been missed, and not more than can have been used.
        (self.possible(elapsed) < range && step <= self.possible(elapsed + UPDATE_SLACK)).then_some(step)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a bound, never negative; the cast saturates"
    )]
    fn possible(&self, elapsed: Duration) -> u64 {
        (elapsed.as_nanos() as f64 * self.codes_per_nanosecond_max) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MICROJOULE: u64 = 1_000_000;
    const RANGE: u64 = 65_532_610_987;

    fn at(milliseconds: u64) -> MonoNs {
        MonoNs(milliseconds * 1_000_000)
    }

    #[test]
    fn a_wrap_around_is_undone() {
        let mut tally = Tally::new(RANGE - 1_000, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(RANGE - 400, at(20)), 600);
        assert_eq!(tally.add(300, at(40)), 1_300);
        assert_eq!(tally.add(500, at(60)), 1_500);
    }

    #[test]
    fn a_counter_that_began_anew_is_no_wrap_around() {
        let mut tally = Tally::new(2_000_000_000, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(2_001_000_000, at(20)), 1_000_000);
        assert_eq!(tally.add(5_000, at(40)), 0, "63 kJ in 20 ms");
        assert_eq!(tally.add(6_000, at(60)), 1_000, "goes on from there");
        assert_eq!(tally.add(5_999, at(80)), 0, "again");
        assert_eq!(tally.add(5_998, at(100)), -1, "and even from nothing it falls");
        let mut endless = Tally::new(70, at(0), None, MICROJOULE);
        assert_eq!((endless.add(90, at(20)), endless.add(10, at(40)), endless.add(15, at(60))), (20, 0, 5));
    }

    #[test]
    fn a_pause_in_which_wraps_may_have_been_missed_leaves_nothing_known() {
        let mut tally = Tally::new(0, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(1_000_000, at(13_000)), 1_000_000, "65 kJ at 5 kW take 13.1 s");
        assert_eq!(tally.add(2_000_000, at(27_000)), 0);
    }

    proptest! {
        #[test]
        fn wraps_change_nothing(steps in prop::collection::vec(0u64..100_000_000, 0..200), start in 0..RANGE) {
            let mut tally = Tally::new(start, at(0), Some(RANGE), MICROJOULE);
            let mut sum = 0;
            for (index, step) in (1..).zip(steps) {
                sum += step;
                prop_assert_eq!(tally.add((start + sum) % RANGE, at(20 * index)), i64::try_from(sum).expect("small"));
            }
        }
    }
}
