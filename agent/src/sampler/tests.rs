//! The sampler against sensors that behave badly.

use std::collections::VecDeque;

use tinywatt_proto::sample::Flags;

use super::*;
use crate::clock::{Monotonic, Virtual};
use crate::sensor::{Poll, SensorConfig, build};

/// Plays a list of polls, then ends.
struct Script(VecDeque<Poll>);

impl Sensor for Script {
    fn channel(&self) -> v1::Channel {
        v1::Channel { name: "rail".to_owned(), ..v1::Channel::default() }
    }
    fn poll(&mut self) -> Poll {
        self.0.pop_front().unwrap_or(Poll::End)
    }
}

fn reading(at: u64) -> Reading {
    Reading { at: MonoNs(at), first: 0, second: 0, flags: Flags::NONE }
}

fn gives(at: u64, lost_count: u64) -> Poll {
    Poll::Reading { reading: reading(at), lost_count, look_again: MonoNs(at) }
}

fn fails(reason: LossReason) -> Poll {
    Poll::Failed { reason, look_again: MonoNs(0) }
}

/// Everything a script makes a ring of this size hold when nobody empties it.
fn events(script: Vec<Poll>, ring: usize) -> Vec<Event> {
    let (producer, consumer) = rtrb::RingBuffer::new(ring);
    let mut pump = Pump::new(Box::new(Script(script.into())), Virtual::default(), producer, Arc::default());
    while pump.step(None) != Next::End {}
    pump.finish();
    let mut events = Vec::new();
    Consumer { ring: consumer }.drain(&mut |event| events.push(event));
    events
}

fn lost(reason: LossReason, count: u64) -> Event {
    Event::Lost { reason, count }
}

#[test]
fn a_loss_comes_before_the_reading_that_shows_it() {
    assert_eq!(
        events(vec![gives(1, 0), gives(2, 3)], 64),
        [Event::Reading(reading(1)), lost(LossReason::MissedDeadline, 3), Event::Reading(reading(2)), Event::Ended]
    );
}

#[test]
fn what_is_lost_while_the_sensor_fails_has_the_reason_of_the_first_failure() {
    let script =
        vec![gives(1, 0), fails(LossReason::BusError), fails(LossReason::ChipReset), gives(9, 7), gives(10, 1)];
    assert_eq!(
        events(script, 64),
        [
            Event::Reading(reading(1)),
            lost(LossReason::BusError, 7),
            Event::Reading(reading(9)),
            lost(LossReason::MissedDeadline, 1),
            Event::Reading(reading(10)),
            Event::Ended
        ]
    );
}

#[test]
fn a_full_ring_loses_readings_and_says_how_many() {
    let script = (1..=100).map(|at| gives(at, u64::from(at == 50))).collect();
    let events = events(script, 16);
    let readings = events.iter().filter(|event| matches!(event, Event::Reading(_))).count();
    let lost: u64 = events.iter().map(|event| if let Event::Lost { count, .. } = event { *count } else { 0 }).sum();
    assert_eq!(readings as u64 + lost, 101, "{events:?}");
    assert!(events.contains(&super::tests::lost(LossReason::MissedDeadline, 1)));
    assert_eq!(events.last(), Some(&Event::Ended));
}

#[test]
fn a_thread_samples_the_emulator_until_it_is_stopped() {
    let config = SensorConfig::emulator("rail".parse().expect("a name"), 1);
    let built = build(&config, Monotonic).expect("builds");
    let mut sampler = Sampler::start(built.sensor, Monotonic, SamplerConfig::default()).expect("starts");
    let mut consumer = sampler.readings();
    let mut readings = 0;
    let give_up = Monotonic.now().after(Duration::from_secs(10));
    while readings < 50 && Monotonic.now() < give_up {
        consumer.drain(&mut |event| readings += usize::from(matches!(event, Event::Reading(_))));
        std::thread::yield_now();
    }
    assert!(readings >= 50);
    assert!(sampler.scheduling().is_some());
    assert!(sampler.counters().lateness.quantile(0.5).is_some());
    sampler.stop();
    let mut last = None;
    consumer.drain(&mut |event| last = Some(event));
    assert_eq!(last, Some(Event::Ended));
}

#[test]
fn a_sensor_that_asks_for_a_long_pause_does_not_hold_up_a_stop() {
    let pause = Monotonic.now().after(Duration::from_secs(3_600));
    let script = Script([Poll::NotReady { look_again: pause }].into());
    let sampler = Sampler::start(Box::new(script), Monotonic, SamplerConfig::default()).expect("starts");
    sampler.stop();
}
