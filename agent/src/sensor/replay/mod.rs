//! A recorded energy trace as a sensor.

mod decimal;
mod trace;

use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, nanoseconds};
use tinywatt_proto::v1;

pub use trace::{Problem, Trace, TraceError, TraceWindow};

use super::{Poll, Sensor};
use crate::clock::Clock;

/// Plays a trace against a clock: on a real one in the recording's own time, on a virtual one as fast as it is moved.
///
/// A recording cannot be late: readings that are overdue are given one after the other, and none is lost.
pub struct ReplaySensor<C> {
    trace: Trace,
    name: String,
    clock: C,
    /// Start of the recording that is playing; set by the first look.
    start: Option<MonoNs>,
    recording: usize,
    sample: usize,
}

impl<C: Clock> ReplaySensor<C> {
    /// Prepares a trace; it begins with the first look.
    pub fn new(trace: Trace, name: String, clock: C) -> Self {
        Self { trace, name, clock, start: None, recording: 0, sample: 0 }
    }

    /// Instant and code of the next reading; steps over the end of a recording.
    fn next(&mut self, now: MonoNs) -> Option<(MonoNs, i64)> {
        let start = *self.start.get_or_insert(now);
        let window = self.trace.windows.get(self.recording)?;
        let code = *window.energy_codes.get(self.sample)?;
        Some((MonoNs(start.0 + (self.sample as u64 + 1) * nanoseconds(self.trace.interval)), code))
    }

    fn step(&mut self) {
        self.sample += 1;
        let Some(window) = self.trace.windows.get(self.recording) else { return };
        if self.sample >= window.energy_codes.len() {
            let length = self.trace.next_recording_after(window);
            self.start = self.start.map(|start| start.after(length));
            self.recording += 1;
            self.sample = 0;
        }
    }
}

impl<C: Clock> Sensor for ReplaySensor<C> {
    fn channel(&self) -> v1::Channel {
        self.trace.channel(&self.name)
    }

    fn poll(&mut self) -> Poll {
        let now = self.clock.now();
        let Some((at, code)) = self.next(now) else { return Poll::End };
        if at > now {
            return Poll::NotReady { look_again: at };
        }
        self.step();
        let look_again = self.next(now).map_or(now, |(at, _)| at);
        let reading = Reading { at, first: code, second: 0, flags: Flags::NONE };
        Poll::Reading { reading, lost_count: 0, look_again }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Virtual;

    #[test]
    fn the_sensor_plays_what_the_trace_lists() {
        let recording = r#"{"infer": {"iterations": 1},
            "power": {"samples": [1e-5, 2e-5, 3e-5], "timestamps": [["00", 0], ["01", 2]]}}"#;
        let trace = Trace::parse(Path::new("t"), &format!("[{recording},{recording}]")).expect("a trace");
        let clock = Virtual::default();
        clock.sleep_until(MonoNs(777));
        let mut sensor = ReplaySensor::new(trace.clone(), "rail".to_owned(), clock.clone());
        let mut played = Vec::new();
        loop {
            match sensor.poll() {
                Poll::Reading { reading, lost_count, look_again } => {
                    assert_eq!(lost_count, 0);
                    played.push(reading);
                    clock.sleep_until(look_again);
                }
                Poll::NotReady { look_again } => clock.sleep_until(look_again),
                Poll::Failed { .. } => panic!("a recording does not fail"),
                Poll::End => break,
            }
        }
        assert_eq!(played, trace.readings(MonoNs(777)).collect::<Vec<_>>());
    }
}
