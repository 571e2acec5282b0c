//! A counter of energy that something else keeps, read at a steady pace: what RAPL, NVML and the TDP model have in common.
//!
//! Every reading is the energy since the channel was opened. A read that fails or takes too long is left out and counted
//! as lost, which loses no energy: the next reading holds it.

mod tally;

use std::time::Duration;

use tinywatt_proto::ids::ChannelName;
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, nanoseconds};
use tinywatt_proto::v1::{self, LossReason};

use super::{Poll, Sensor};
use crate::clock::Clock;
pub use tally::{POWER_MAX, Tally};

/// Time steps of a batch, as fine as those of a shunt sensor.
const TIME_UNIT_NS: u32 = 1_000;

/// What keeps the counter.
pub trait EnergyCounter: Send {
    /// Reads what it holds now, in codes; `None` when it cannot be read. Neither allocates nor logs.
    fn count(&mut self, now: MonoNs) -> Option<u64>;
}

/// What the channel says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Name of the channel.
    pub name: ChannelName,
    /// Kind of sensor, as in `Channel.source`.
    pub source: &'static str,
    /// What it measures, as in `Channel.rail`.
    pub rail: String,
    /// Whether it is measured or estimated.
    pub kind: v1::FigureKind,
    /// Energy of one code, pJ.
    pub picojoules_per_code: u64,
    /// Codes after which the counter begins at 0 again; `None` when it never does.
    pub range: Option<u64>,
    /// How old what the counter holds may be.
    pub update_period: Duration,
    /// Time from one look to the next.
    pub sample_period: Duration,
    /// Limit of its error as a part of the energy, where somebody states one.
    pub tolerance: Option<f64>,
}

/// A counter as a sensor.
#[derive(Debug)]
pub struct CounterSensor<M, C> {
    counter: M,
    clock: C,
    description: Description,
    tally: Tally,
    /// When the next look is meant to be; unset before the first.
    due: Option<MonoNs>,
    lost_count: u64,
}

impl<M: EnergyCounter, C: Clock> CounterSensor<M, C> {
    /// Begins to count, from what the counter holds now. `None` when it cannot be read.
    pub fn open(mut counter: M, clock: C, description: Description) -> Option<Self> {
        let now = clock.now();
        let count = counter.count(now)?;
        let tally = Tally::new(count, now, description.range, description.picojoules_per_code);
        Some(Self { counter, clock, description, tally, due: None, lost_count: 0 })
    }

    fn failed(&mut self, reason: LossReason, look_again: MonoNs) -> Poll {
        self.lost_count += 1;
        Poll::Failed { reason, look_again }
    }
}

impl<M: EnergyCounter, C: Clock> Sensor for CounterSensor<M, C> {
    fn channel(&self) -> v1::Channel {
        let Description {
            name, source, rail, kind, picojoules_per_code, update_period, sample_period, tolerance, ..
        } = &self.description;
        v1::Channel {
            channel: 0,
            name: name.to_string(),
            source: (*source).to_owned(),
            kind: (*kind).into(),
            // Looking more often than the counter moves shows nothing new: windows are judged by the slower of the two.
            sample_period_ns: nanoseconds((*sample_period).max(*update_period)),
            time_unit_ns: TIME_UNIT_NS,
            scale: Some(v1::channel::Scale::Counter(v1::CounterScale {
                picojoules_per_code: *picojoules_per_code,
                gain_ppm: tolerance.map(millionths),
                update_period_ns: nanoseconds(*update_period),
            })),
            rail: rail.clone(),
        }
    }

    fn poll(&mut self) -> Poll {
        let before = self.clock.now();
        let due = *self.due.get_or_insert(before);
        if before < due {
            return Poll::NotReady { look_again: due };
        }
        let period_ns = nanoseconds(self.description.sample_period).max(1);
        let missed_count = nanoseconds(before.since(due)) / period_ns;
        let next = MonoNs(due.0 + (missed_count + 1) * period_ns);
        self.due = Some(next);
        self.lost_count += missed_count;

        let count = self.counter.count(before);
        let took = self.clock.now().since(before);
        match count {
            // Held up while reading: nobody knows which instant the count belongs to.
            Some(_) if took > self.description.update_period => self.failed(LossReason::MissedDeadline, next),
            Some(count) => {
                let at = before.after(took / 2);
                let Some(first) = self.tally.add(count, at) else { return self.failed(LossReason::BusError, next) };
                let reading = Reading { at, first, second: 0, flags: Flags::NONE };
                Poll::Reading { reading, lost_count: std::mem::take(&mut self.lost_count), look_again: next }
            }
            None => self.failed(LossReason::BusError, next),
        }
    }
}

/// A part of one in the wire's parts per million, rounded up: a limit stays one.
fn millionths(part: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked with the configuration: 0 to 1"
    )]
    let ppm = (part * 1e6).ceil() as u32;
    ppm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Virtual;

    /// Holds a microjoule for each microsecond of its clock: 1 W. Some reads fail, some take long.
    struct Watt {
        clock: Virtual,
        count: u32,
        fails: Vec<u32>,
        slow: Vec<u32>,
    }

    impl EnergyCounter for Watt {
        fn count(&mut self, now: MonoNs) -> Option<u64> {
            self.count += 1;
            if self.slow.contains(&self.count) {
                self.clock.advance(Duration::from_millis(2));
            }
            (!self.fails.contains(&self.count)).then_some(now.0 / 1_000)
        }
    }

    fn description() -> Description {
        Description {
            name: "cpu".parse().expect("a name"),
            source: "rapl",
            rail: "machine".to_owned(),
            kind: v1::FigureKind::Measured,
            picojoules_per_code: 1_000_000,
            range: None,
            update_period: Duration::from_millis(1),
            sample_period: Duration::from_millis(20),
            tolerance: Some(0.05),
        }
    }

    fn sensor(fails: &[u32], slow: &[u32]) -> (CounterSensor<Watt, Virtual>, Virtual) {
        let clock = Virtual::default();
        clock.advance(Duration::from_secs(1_000));
        let counter = Watt { clock: clock.clone(), count: 0, fails: fails.to_vec(), slow: slow.to_vec() };
        (CounterSensor::open(counter, clock.clone(), description()).expect("reads"), clock)
    }

    #[test]
    fn readings_begin_at_nothing_and_keep_their_pace() {
        let (mut sensor, clock) = sensor(&[], &[]);
        for index in 0..100 {
            let Poll::Reading { reading, lost_count, look_again } = sensor.poll() else { panic!("a reading is due") };
            assert_eq!((reading.first, lost_count), (index * 20_000, 0));
            assert_eq!(sensor.poll(), Poll::NotReady { look_again });
            // A little late each time, which does not add up.
            clock.sleep_until(look_again);
        }
        assert_eq!(clock.now(), MonoNs(1_002_000_000_000));
    }

    #[test]
    fn what_fails_or_is_held_up_or_missed_is_counted_and_loses_no_energy() {
        // The first read is the one that opens.
        let (mut sensor, clock) = sensor(&[3], &[4]);
        let mut readings = Vec::new();
        let mut reasons = Vec::new();
        for index in 0..5 {
            match sensor.poll() {
                Poll::Reading { reading, lost_count, look_again } => {
                    readings.push((reading.first, lost_count));
                    clock.sleep_until(look_again);
                }
                Poll::Failed { reason, look_again } => {
                    reasons.push(reason);
                    clock.sleep_until(look_again);
                }
                other => panic!("{other:?}"),
            }
            if index == 3 {
                clock.advance(Duration::from_millis(45));
            }
        }
        assert_eq!(reasons, [LossReason::BusError, LossReason::MissedDeadline]);
        assert_eq!(readings, [(0, 0), (60_000, 2), (125_000, 2)]);
    }

    #[test]
    fn the_channel_states_the_slower_of_both_periods() {
        let (mut sensor, _) = sensor(&[], &[]);
        assert_eq!(sensor.channel().sample_period_ns, 20_000_000);
        sensor.description.update_period = Duration::from_millis(100);
        let channel = sensor.channel();
        assert_eq!(channel.sample_period_ns, 100_000_000);
        let Some(v1::channel::Scale::Counter(scale)) = channel.scale else { panic!("a counter") };
        assert_eq!((scale.gain_ppm, scale.update_period_ns), (Some(50_000), 100_000_000));
    }
}
