//! Energy of one channel between two instants that may be days apart, in bounded memory.

use std::time::Duration;

use tinywatt_energy::{Energy, EnergyError, Series, integrate};
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;

use crate::sampler::Event;

/// Readings are integrated in windows of this length and then let go: 74,000 readings of an INA219, 2.4 MB.
const PART: Duration = Duration::from_secs(60);
/// Longest hole that a straight line may cross (a counter has none): what a busy machine without real-time scheduling shows now and then.
/// Every lost reading is counted beside the figure.
const GAP_MAX: Duration = Duration::from_millis(100);

/// What a channel took so far.
#[derive(Debug)]
pub(super) struct Meter {
    channel: v1::Channel,
    readings: Vec<Reading>,
    /// What is not integrated yet begins here; unset before the start.
    start: Option<MonoNs>,
    joined: Option<Energy>,
    failure: Option<EnergyError>,
    lost_count: u64,
    flags: Flags,
    has_ended: bool,
}

/// What a channel took in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metered {
    pub(super) energy: Energy,
    pub(super) lost_count: u64,
    pub(super) flags: Flags,
}

impl Meter {
    pub(super) fn new(channel: v1::Channel) -> Self {
        Self {
            channel,
            readings: Vec::new(),
            start: None,
            joined: None,
            failure: None,
            lost_count: 0,
            flags: Flags::NONE,
            has_ended: false,
        }
    }

    /// Begins to meter. Readings from before stay, so that the first edge can be interpolated.
    pub(super) fn start(&mut self, at: MonoNs) {
        self.start = Some(at);
        (self.lost_count, self.flags) = (0, Flags::NONE);
        self.forget_before(at);
    }

    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Reading(reading) => {
                self.flags |= reading.flags;
                self.readings.push(reading);
                self.integrate_parts();
            }
            Event::Lost { count, .. } => self.lost_count += count,
            Event::Ended => self.has_ended = true,
        }
    }

    /// Whether a reading at or after this instant has come, or none will any more.
    pub(super) fn reaches(&self, instant: MonoNs) -> bool {
        self.has_ended || self.readings.last().is_some_and(|reading| reading.at >= instant)
    }

    /// Whether any reading has come.
    pub(super) fn has_readings(&self) -> bool {
        !self.readings.is_empty()
    }

    /// Energy from the start to `end`.
    pub(super) fn finish(mut self, end: MonoNs) -> Result<Metered, EnergyError> {
        self.integrate_until(end);
        match (self.failure, self.joined) {
            (None, Some(energy)) => Ok(Metered { energy, lost_count: self.lost_count, flags: self.flags }),
            (Some(failure), _) => Err(failure),
            (None, None) => {
                // Only an empty stretch has neither: the command took no time that the clock could see.
                let start = self.start.unwrap_or(end);
                let instant = Window::new(start, MonoNs(start.0 + 1)).expect("one nanosecond long");
                Err(EnergyError::NotCovered(instant))
            }
        }
    }

    fn integrate_parts(&mut self) {
        if self.failure.is_some() {
            // There will be no figure; the last reading still tells how far the readings reach.
            self.readings.drain(..self.readings.len().saturating_sub(1));
            return;
        }
        while let Some(end) = self.start.map(|start| start.after(PART)) {
            // A reading of the next second lies surely after every one that the edge needs.
            if !self.reaches(end.after(Duration::from_secs(1))) || self.has_ended || self.failure.is_some() {
                break;
            }
            self.integrate_until(end);
        }
        if self.start.is_none() {
            let Some(last) = self.readings.last() else { return };
            self.forget_before(last.at.before(Duration::from_secs(1)));
        }
    }

    fn integrate_until(&mut self, end: MonoNs) {
        // A part after a failed one does not touch what came before it.
        if self.failure.is_some() {
            return;
        }
        let Some(window) = self.start.and_then(|start| Window::new(start, end).ok()) else { return };
        let series = Series::from_readings(&self.channel, &self.readings).expect("every channel here has a scale");
        match integrate(&series, window, GAP_MAX) {
            Ok(energy) => {
                self.joined = match self.joined {
                    None => Some(energy),
                    Some(before) => Some(before.followed_by(&energy).expect("each part begins where the last ended")),
                };
            }
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
        self.start = Some(end);
        self.forget_before(end);
    }

    /// Lets go of readings that no later edge needs: all but four before `instant`.
    fn forget_before(&mut self, instant: MonoNs) {
        let before = self.readings.partition_point(|reading| reading.at < instant);
        self.readings.drain(..before.saturating_sub(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Monotonic;
    use crate::sensor::{SensorConfig, build};

    fn meter() -> Meter {
        let config = SensorConfig::emulator("rail".parse().expect("a name"), 1);
        Meter::new(build(&config, Monotonic).expect("builds").sensor.channel())
    }

    /// 5 V and 0.4 A, one reading a millisecond.
    fn reading(millisecond: u64) -> Event {
        let at = MonoNs(millisecond * 1_000_000 + 500_000);
        Event::Reading(Reading { at, first: 4_000, second: 1_250, flags: Flags::NONE })
    }

    #[test]
    fn hours_are_metered_in_the_memory_of_a_minute() {
        let mut meter = meter();
        (0..10).for_each(|millisecond| meter.take(reading(millisecond)));
        meter.start(MonoNs(5_000_000));
        let mut readings_max = 0;
        for millisecond in 10..400_000 {
            meter.take(reading(millisecond));
            readings_max = readings_max.max(meter.readings.len());
        }
        assert!(readings_max < 62_000, "{readings_max}");
        let metered = meter.finish(MonoNs(399_005_000_000)).expect("covered");
        assert!((metered.energy.joules.get() - 2.0 * 399.0).abs() < 1e-6);
        assert_eq!(metered.energy.sample_count, 399_000);
    }

    #[test]
    fn a_hole_in_the_middle_makes_the_figure_unknown() {
        let mut meter = meter();
        meter.take(reading(0));
        meter.start(MonoNs(1_000_000));
        (1..100).chain(300..400).for_each(|millisecond| meter.take(reading(millisecond)));
        let error = meter.finish(MonoNs(390_000_000)).expect_err("200 ms without a reading");
        assert!(matches!(error, EnergyError::Gap { .. }), "{error}");
    }

    #[test]
    fn a_hole_in_a_counter_loses_nothing_over_minutes() {
        let counter = v1::CounterScale { picojoules_per_code: 1_000_000, gain_ppm: None, update_period_ns: 1_000_000 };
        let scale = Some(v1::channel::Scale::Counter(counter));
        let mut meter = Meter::new(v1::Channel { sample_period_ns: 20_000_000, scale, ..v1::Channel::default() });
        // 10 W, a reading each 20 ms, and none for three minutes.
        let reading = |index: u64| {
            let first = i64::try_from(index * 200_000).expect("small");
            Event::Reading(Reading { at: MonoNs(index * 20_000_000), first, second: 0, flags: Flags::NONE })
        };
        meter.take(reading(0));
        meter.start(MonoNs(10_000_000));
        (1..1_000).chain(10_000..15_000).for_each(|index| meter.take(reading(index)));
        let metered = meter.finish(MonoNs(290_010_000_000)).expect("covered");
        assert!((metered.energy.joules.get() - 2_900.0).abs() < 1e-6, "{:?}", metered.energy.joules);
        assert_eq!(metered.energy.uncertainty, None);
    }

    #[test]
    fn a_hole_in_a_later_minute_makes_the_figure_unknown_and_costs_no_memory() {
        let mut meter = meter();
        meter.take(reading(0));
        meter.start(MonoNs(1_000_000));
        for millisecond in (1..90_000).chain(90_200..300_000) {
            meter.take(reading(millisecond));
            assert!(meter.readings.len() < 62_000, "{} readings", meter.readings.len());
        }
        let error = meter.finish(MonoNs(299_000_000_000)).expect_err("200 ms without a reading");
        assert!(matches!(error, EnergyError::Gap { .. }), "{error}");
    }

    #[test]
    fn losses_before_the_start_are_not_the_commands() {
        let mut meter = meter();
        meter.take(Event::Lost { reason: v1::LossReason::MissedDeadline, count: 5 });
        meter.take(reading(0));
        meter.start(MonoNs(1_000_000));
        meter.take(Event::Lost { reason: v1::LossReason::MissedDeadline, count: 2 });
        (1..10).for_each(|millisecond| meter.take(reading(millisecond)));
        assert_eq!(meter.finish(MonoNs(8_000_000)).expect("covered").lost_count, 2);
    }
}
