//! Follows the chip's conversions in time.
//!
//! The chip converts on its own oscillator, which may be 10 % off, and says nothing but "since you last asked, at least
//! one finished". From looks that found nothing and looks that found something this keeps the length of a cycle and
//! the end of the last one, so that a conversion's instant is known better than the time between looks, the next look
//! comes when there is something to see, and after a pause the number of overwritten conversions is known.

use std::time::Duration;

use tinywatt_proto::time::{MonoNs, nanoseconds};

/// A conversion was found finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Estimated end of the conversion.
    pub(crate) end: MonoNs,
    /// Length of its cycle.
    pub(crate) cycle: Duration,
    /// Conversions between the one delivered before and this one.
    pub(crate) lost_count: u64,
    /// Whether the end is known worse than the stated error of a time stamp.
    pub(crate) is_late: bool,
}

/// Cycle lengths are kept in 1/256 ns.
const FRACTION: u64 = 256;
/// Ends bracketed by two looks before the cycle's length is trusted: 60 µs over 32 cycles of 808 µs are 0.2 %.
const LOCKED_AFTER: u64 = 32;
/// After a restart of the chip its oscillator is the same, if it is the same chip: half trusted.
const TRUSTED_AFTER_RESTART: u64 = 4;
/// A look that finds its conversion at once only says "not later". Leaning to the early side by this part of a cycle
/// makes some looks come too early, and those bracket the end. More than what is left of the length's error
/// ([`LOCKED_AFTER`]), so that the estimate cannot run away to the late side.
const LEAN_PART: u64 = 256;
/// Later brackets move the length by this part of their surprise: fast enough for a warming chip, slow enough that
/// brackets of 60 µs shake it by less than 0.1 %.
const SETTLED_PART: u64 = 128;
/// Unseen cycles beyond which the estimate has drifted too far to place an end: 0.1 % of 64 cycles is 50 µs.
const TRUSTED_CYCLES: u64 = 64;

#[derive(Debug)]
pub(crate) struct Tracker {
    nominal_ns: u64,
    cycle_q8: u64,
    look_interval_ns: u64,
    timestamp_error_ns: u64,
    /// End of the last conversion counted, or the instant the chip was started.
    end: MonoNs,
    /// Latest look since then that found nothing.
    nothing_at: Option<MonoNs>,
    bracket_count: u64,
    /// Conversions lost before `end` and not yet reported.
    lost_before: u64,
    /// Conversions reported as lost that turned out not to be; later losses are fewer by these.
    surplus: u64,
    has_started: bool,
}

impl Tracker {
    pub(crate) fn new(cycle: Duration, look_interval: Duration, timestamp_error: Duration) -> Self {
        let nominal_ns = nanoseconds(cycle);
        Self {
            nominal_ns,
            cycle_q8: nominal_ns * FRACTION,
            look_interval_ns: nanoseconds(look_interval),
            timestamp_error_ns: nanoseconds(timestamp_error),
            end: MonoNs(0),
            nothing_at: None,
            bracket_count: 0,
            lost_before: 0,
            surplus: 0,
            has_started: false,
        }
    }

    /// The chip was told to start converting at `at`. What it did not convert since the last hit is lost.
    pub(crate) fn start(&mut self, at: MonoNs) {
        if self.has_started {
            self.lost_before += self.cycles(at.0.saturating_sub(self.end.0));
        }
        self.has_started = true;
        self.end = at;
        self.nothing_at = None;
        self.bracket_count = self.bracket_count.min(TRUSTED_AFTER_RESTART);
    }

    /// Length of a cycle as estimated.
    pub(crate) fn cycle_ns(&self) -> u64 {
        self.cycle_q8 / FRACTION
    }

    /// Last conversion counted, or start.
    pub(crate) fn end(&self) -> MonoNs {
        self.end
    }

    /// When to look next: at the expected end of the conversion; earlier while the length is not known.
    pub(crate) fn next_look(&self) -> MonoNs {
        let cycle = self.cycle_ns();
        let early = match self.bracket_count {
            0 => cycle / 8,
            count if count < LOCKED_AFTER => cycle / 16,
            _ => 0,
        };
        MonoNs(self.end.0 + cycle - early)
    }

    /// A look at `at` found nothing.
    pub(crate) fn nothing(&mut self, at: MonoNs) {
        self.nothing_at = Some(at);
    }

    /// A look at `at` found a finished conversion.
    pub(crate) fn hit(&mut self, at: MonoNs) -> Hit {
        let since = at.0.saturating_sub(self.end.0);
        let bracket = self.nothing_at.map(|nothing| (nothing, at.0.saturating_sub(nothing.0)));
        let close = bracket.filter(|(_, width)| *width <= 2 * self.timestamp_error_ns + self.look_interval_ns);
        let is_locked = self.bracket_count >= LOCKED_AFTER;

        let (end, passed) = match close {
            Some((nothing, width)) => {
                let end = MonoNs(nothing.0 + width / 2);
                let half = self.cycle_ns() / 2;
                (end, self.cycles(end.0.saturating_sub(self.end.0) + half))
            }
            None => {
                let passed = self.cycles(since);
                let leaning = MonoNs(self.predicted(passed.max(1)).0 - self.cycle_ns() / LEAN_PART);
                (leaning.max(self.nothing_at.unwrap_or(self.end)).min(at), passed)
            }
        };
        if passed == 0 {
            // More conversions were counted than took place: an end was taken for passed when it was still to come.
            self.surplus += 1;
        }
        let passed = passed.max(1);
        self.learn(end, passed, close.is_some());

        let lost = self.lost_before + passed - 1;
        let returned = lost.min(self.surplus);
        self.surplus -= returned;
        self.lost_before = 0;
        let is_known = match close {
            Some((_, width)) => width / 2 <= self.timestamp_error_ns,
            None => is_locked && passed <= TRUSTED_CYCLES,
        };
        // Never at or before the one before, whatever the clock did.
        self.end = end.max(MonoNs(self.end.0 + 1));
        self.nothing_at = None;
        Hit {
            end: self.end,
            cycle: Duration::from_nanos(self.cycle_ns()),
            lost_count: lost - returned,
            is_late: !is_known,
        }
    }

    /// Adjusts length and end to what a hit showed.
    fn learn(&mut self, end: MonoNs, passed: u64, is_bracket: bool) {
        if passed > TRUSTED_CYCLES {
            return;
        }
        if is_bracket {
            self.bracket_count += 1;
        }
        let part = (self.bracket_count.max(1)).min(SETTLED_PART);
        let predicted = self.predicted(passed);
        let (later, earlier) = (end.0.saturating_sub(predicted.0), predicted.0.saturating_sub(end.0));
        let up = later * FRACTION / passed / part;
        let down = earlier * FRACTION / passed / part;
        let limit = self.nominal_ns * FRACTION;
        self.cycle_q8 = (self.cycle_q8 + up).saturating_sub(down).clamp(limit / 100 * 87, limit / 100 * 113);
    }

    fn predicted(&self, passed: u64) -> MonoNs {
        MonoNs(self.end.0 + passed * self.cycle_q8 / FRACTION)
    }

    /// Whole cycles in a time.
    fn cycles(&self, ns: u64) -> u64 {
        let cycles = u128::from(ns) * u128::from(FRACTION) / u128::from(self.cycle_q8);
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a chip of a given cycle against looks that come when asked for, plus a lateness.
    struct Play {
        tracker: Tracker,
        cycle: u64,
        now: u64,
        /// Conversions finished when the chip was last read.
        read: u64,
        hits: u64,
        lost: u64,
        worst_error: u64,
    }

    const LOOK: u64 = 60_000;

    impl Play {
        fn new(cycle: u64) -> Self {
            let mut tracker =
                Tracker::new(Duration::from_micros(808), Duration::from_nanos(LOOK), Duration::from_micros(90));
            tracker.start(MonoNs(0));
            Self { tracker, cycle, now: 0, read: 0, hits: 0, lost: 0, worst_error: 0 }
        }

        fn look(&mut self, at: u64) -> Option<Hit> {
            self.now = at;
            let finished = at / self.cycle;
            if finished == self.read {
                self.tracker.nothing(MonoNs(at));
                return None;
            }
            self.read = finished;
            let hit = self.tracker.hit(MonoNs(at));
            self.hits += 1;
            self.lost += hit.lost_count;
            if !hit.is_late {
                self.worst_error = self.worst_error.max(hit.end.0.abs_diff(finished * self.cycle));
            }
            Some(hit)
        }

        fn run(&mut self, hits: u64, mut lateness: impl FnMut(u64) -> u64) {
            for round in 0..hits {
                let mut at = self.tracker.next_look().0 + lateness(round);
                while self.look(at.max(self.now + 1)).is_none() {
                    at = self.now + LOOK;
                }
            }
        }
    }

    #[test]
    fn every_oscillator_of_the_datasheet_is_followed_without_loss() {
        for cycle in (727_200..=888_800).step_by(10_100) {
            let mut play = Play::new(cycle);
            play.run(5_000, |_| 0);
            assert_eq!((play.lost, play.read), (0, 5_000), "cycle {cycle}");
            assert!(play.tracker.cycle_ns().abs_diff(cycle) < cycle / 200, "cycle {cycle}");
            assert!(play.worst_error <= 90_000, "cycle {cycle}: {} ns", play.worst_error);
        }
    }

    #[test]
    fn pauses_are_counted_to_the_conversion() {
        for cycle in [727_200, 808_000, 888_800] {
            let mut play = Play::new(cycle);
            play.run(3_000, |round| if round > 200 && round % 97 == 0 { round * 5_003 } else { round * 7_919 % 40_000 });
            assert!(play.lost > 100);
            assert_eq!(play.hits + play.lost, play.read, "cycle {cycle}");
        }
    }

    #[test]
    fn a_first_look_costs_few_looks_afterwards() {
        let mut play = Play::new(800_000);
        play.run(200, |_| 0);
        let mut looks = 0;
        for _ in 0..1_000 {
            let mut at = play.tracker.next_look().0;
            loop {
                looks += 1;
                if play.look(at.max(play.now + 1)).is_some() {
                    break;
                }
                at = play.now + LOOK;
            }
        }
        assert!(looks < 1_300, "{looks} looks for 1,000 conversions");
    }

    #[test]
    fn a_restart_counts_what_was_not_converted() {
        let mut play = Play::new(808_000);
        play.run(100, |_| 0);
        let restart = play.now + 10 * 808_000 + 1_000;
        play.tracker.start(MonoNs(restart));
        let hit = play.tracker.hit(MonoNs(restart + 808_000));
        assert_eq!(hit.lost_count, 10);
    }
}
