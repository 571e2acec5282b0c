//! Undoes the wrap-arounds of a counter, and tells when it began anew.

use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Watts;

/// No processor package, memory or GPU of today takes as much: what a counter seems to have counted faster, it has not.
pub const POWER_MAX: Watts = Watts::new(5_000.0);

/// A counter that is updated late holds more than since the last look.
const UPDATE_SLACK: Duration = Duration::from_millis(100);

/// How far the total may climb once the counter has begun anew, in codes: 4.5 GJ in steps of a microjoule, eight months
/// at 200 W. Then it falls again, which costs a window its figure and keeps the next falls unmistakable.
const CLIMB_MAX: i64 = 1 << 52;

/// Within this range on both sides of 0 any two totals differ by at most 64 bits. Half of it is room for 1,024 falls;
/// what is counted before the first has the other half, 4.6 TJ in steps of a microjoule.
const TOTAL_MAX: i64 = 1 << 62;

/// What a counter has counted since it was opened.
///
/// A counter that wraps at its range goes on. One that began anew (the machine slept, a driver was loaded again) looks
/// much like that; but a wrap-around needs time, and so what [`POWER_MAX`] cannot explain is none. Then, and after a
/// pause in which more than one wrap-around could have been, what was used is not known: the total falls, which is how a
/// reader of the channel sees it.
///
/// Readings around the fall may be lost on their way, so it must show between any two that are left. So each fall
/// goes 2⁵² codes below the one before, and the total never climbs back that far: whatever is told after a fall is
/// below whatever was told before. Once there is no room for another fall nothing is told any more.
#[derive(Debug, Clone)]
pub struct Tally {
    range: Option<u64>,
    codes_per_nanosecond_max: f64,
    last: u64,
    last_at: MonoNs,
    total: i64,
    /// The total after the last fall: 0 before the first.
    base: i64,
    /// What the total must stay below: whatever was told before the last fall.
    ceiling: i64,
}

impl Tally {
    /// Begins to count from what the counter holds now.
    pub fn new(count: u64, at: MonoNs, range: Option<u64>, picojoules_per_code: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a bound, which needs few digits")]
        let codes_per_joule = 1e12 / picojoules_per_code.max(1) as f64;
        let codes_per_nanosecond_max = POWER_MAX.get() * codes_per_joule / 1e9;
        Self { range, codes_per_nanosecond_max, last: count, last_at: at, total: 0, base: 0, ceiling: TOTAL_MAX }
    }

    /// Takes what the counter holds now, and gives all that it has counted since the start. `None` when the counter has
    /// begun anew so often that nothing more can be told.
    pub fn add(&mut self, count: u64, at: MonoNs) -> Option<i64> {
        let step = self.step(count, at.since(self.last_at));
        (self.last, self.last_at) = (count, at);
        let total = step.and_then(|step| self.total.checked_add_unsigned(step));
        self.total = match total.filter(|total| *total < self.ceiling) {
            Some(total) => total,
            None => self.fall()?,
        };
        Some(self.total)
    }

    /// Begins again below whatever was said before.
    fn fall(&mut self) -> Option<i64> {
        let base = self.base.checked_sub(CLIMB_MAX).filter(|base| *base >= -TOTAL_MAX);
        // Without room for it every further total is refused as well.
        self.ceiling = if base.is_some() { self.base } else { i64::MIN };
        self.base = base?;
        Some(self.base)
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
    use tinywatt_energy::{CounterErrors, CounterSample, EnergyError, Series, integrate};
    use tinywatt_proto::time::Window;
    use tinywatt_proto::units::Joules;

    use super::*;

    const MICROJOULE: u64 = 1_000_000;
    const RANGE: u64 = 65_532_610_987;

    fn at(milliseconds: u64) -> MonoNs {
        MonoNs(milliseconds * 1_000_000)
    }

    #[test]
    fn a_wrap_around_is_undone() {
        let mut tally = Tally::new(RANGE - 1_000, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(RANGE - 400, at(20)), Some(600));
        assert_eq!(tally.add(300, at(40)), Some(1_300));
        assert_eq!(tally.add(500, at(60)), Some(1_500));
    }

    #[test]
    fn a_counter_that_began_anew_is_no_wrap_around() {
        let mut tally = Tally::new(2_000_000_000, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(2_001_000_000, at(20)), Some(1_000_000));
        assert_eq!(tally.add(5_000, at(40)), Some(-CLIMB_MAX), "63 kJ in 20 ms");
        assert_eq!(tally.add(6_000, at(60)), Some(1_000 - CLIMB_MAX), "goes on from there");
        assert_eq!(tally.add(5_999, at(80)), Some(-2 * CLIMB_MAX), "again");
        let mut endless = Tally::new(70, at(0), None, MICROJOULE);
        let totals = [(90, 20), (10, 40), (15, 60)].map(|(count, time)| endless.add(count, at(time)));
        assert_eq!(totals, [Some(20), Some(-CLIMB_MAX), Some(5 - CLIMB_MAX)]);
    }

    #[test]
    fn a_pause_in_which_wraps_may_have_been_missed_leaves_nothing_known() {
        let mut tally = Tally::new(0, at(0), Some(RANGE), MICROJOULE);
        assert_eq!(tally.add(1_000_000, at(13_000)), Some(1_000_000), "65 kJ at 5 kW take 13.1 s");
        assert_eq!(tally.add(2_000_000, at(27_000)), Some(-CLIMB_MAX));
    }

    #[test]
    fn what_has_climbed_back_falls_again_and_without_room_nothing_is_told() {
        let mut tally = Tally::new(1, at(0), None, MICROJOULE);
        let climb = CLIMB_MAX.unsigned_abs();
        assert_eq!(tally.add(0, at(20)), Some(-CLIMB_MAX));
        assert_eq!(tally.add(climb - 1, at(40)), Some(-1));
        assert_eq!(tally.add(climb, at(60)), Some(-2 * CLIMB_MAX), "0 was told before the first fall");
        let falls = (0..2_000).map(|index| tally.add(2_000 - index, at(80 + index)));
        let told = falls.take_while(Option::is_some).count();
        assert_eq!(told, 1_022, "and two before");
        assert_eq!([tally.add(1, at(9_000)), tally.add(2, at(9_020)), tally.add(0, at(9_040))], [None; 3]);
    }

    proptest! {
        #[test]
        fn wraps_change_nothing(steps in prop::collection::vec(0u64..100_000_000, 0..200), start in 0..RANGE) {
            let mut tally = Tally::new(start, at(0), Some(RANGE), MICROJOULE);
            let mut sum = 0;
            for (index, step) in (1..).zip(steps) {
                sum += step;
                let total = Some(i64::try_from(sum).expect("small"));
                prop_assert_eq!(tally.add((start + sum) % RANGE, at(20 * index)), total);
            }
        }

        /// Whichever readings are lost, the one right after the fall and the one right before among them.
        #[test]
        fn across_a_fall_there_is_no_energy_whatever_is_lost(
            steps in prop::collection::vec(0u64..100_000_000, 20..100),
            restarts in prop::collection::btree_set(3usize..17, 1..4),
            kept in prop::collection::vec(any::<bool>(), 100),
        ) {
            let mut tally = Tally::new(0, at(0), None, MICROJOULE);
            let mut count = 0;
            let mut samples = Vec::new();
            for (index, step) in steps.iter().enumerate() {
                // Behind what it held before at first, and soon above it.
                count = if restarts.contains(&index) { 0 } else { count + step + 1 };
                let at = at(20 * (index as u64 + 1));
                let total = tally.add(count, at).expect("room");
                if kept[index] || index == 0 || index + 1 == steps.len() {
                    #[expect(clippy::cast_precision_loss, reason = "as a series does it")]
                    let energy = Joules::new(1e-6) * (total as f64);
                    samples.push(CounterSample { at, energy });
                }
            }
            let errors = CounterErrors { step: Joules::new(1e-6), update_period: Duration::ZERO, gain_limit: None };
            let last = samples[samples.len() - 1].at;
            let series = Series::Counter { samples, period: Duration::from_millis(20), errors };
            let window = Window::new(at(20), last).expect("ascending");
            let energy = integrate(&series, window, Duration::from_secs(1));
            prop_assert!(matches!(energy, Err(EnergyError::CountLost { .. })), "{:?}", energy);
        }
    }
}
