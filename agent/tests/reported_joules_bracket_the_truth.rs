//! One hundred seeded trials, each with its own chip out of the datasheet's spread and its own load: idle, active, idle,
//! through the emulated registers, the driver and the sampler into the integrator, on a virtual clock.

use std::time::Duration;

use tinywatt_agent::clock::{Clock, Virtual};
use tinywatt_agent::sampler::{Event, Sampler, SamplerConfig};
use tinywatt_agent::sensor::load::LoadState;
use tinywatt_agent::sensor::{SensorConfig, build};
use tinywatt_energy::{Energy, Series, above_idle, integrate};
use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::{MonoNs, Window};

const TRIALS: u64 = 100;
/// Two samples of the slowest chip.
const GAP_MAX: Duration = Duration::from_millis(2);

fn milliseconds(count: u64) -> MonoNs {
    MonoNs(count * 1_000_000)
}

/// What one trial reported, and what its load really took: total, and above idle.
struct Trial {
    total: (f64, f64, f64), // reported, expanded uncertainty, truth
    above_idle: (f64, f64, f64),
}

/// A virtual clock that stops being slept on at `until`, so that the sampler's thread does not run away.
#[derive(Clone)]
struct Limited {
    clock: Virtual,
    until: MonoNs,
}

impl Clock for Limited {
    fn now(&self) -> MonoNs {
        self.clock.now()
    }
    fn sleep_until(&self, deadline: MonoNs) {
        if deadline <= self.until {
            self.clock.sleep_until(deadline);
        } else {
            std::thread::yield_now();
        }
    }
}

fn trial(seed: u64) -> Trial {
    let until = milliseconds(1_320);
    let clock = Limited { clock: Virtual::default(), until };
    let config = SensorConfig::emulator("rail".parse().expect("a name"), seed);
    let built = build(&config, clock.clone()).expect("builds");
    let load = built.load.expect("emulated");
    // The device is switched on and off a little beside the windows, as a worker process would be.
    load.set(LoadState::Active, milliseconds(405));
    load.set(LoadState::Idle, milliseconds(935));
    let channel = built.sensor.channel();
    let readings = sample(built.sensor, clock, until);

    let window = |start, end| Window::new(milliseconds(start), milliseconds(end)).expect("not empty");
    let windows = [window(50, 400), window(430, 930), window(960, 1_310)];
    let series = Series::from_readings(&channel, &readings).expect("has a scale");
    let energy = windows.map(|window| integrate(&series, window, GAP_MAX).expect("covered"));
    let truth = windows.map(|window| load.true_energy(window).expect("looked at").get());
    let [before, active, after] = &energy;

    let net = above_idle(active, &[*before, *after]).expect("two idle windows");
    let seconds = |energy: &Energy| energy.window.duration().as_secs_f64();
    let idle_watts = (truth[0] / seconds(before) + truth[2] / seconds(after)) / 2.0;
    Trial {
        total: (active.joules.get(), active.expanded_uncertainty().expect("stated").get(), truth[1]),
        above_idle: (
            net.joules.get(),
            net.uncertainty.expect("stated").expanded().get(),
            truth[1] - idle_watts * seconds(active),
        ),
    }
}

fn sample(sensor: Box<dyn tinywatt_agent::sensor::Sensor>, clock: Limited, until: MonoNs) -> Vec<Reading> {
    let mut sampler =
        Sampler::start(sensor, clock, SamplerConfig { real_time: false, ..SamplerConfig::default() }).expect("starts");
    let mut consumer = sampler.readings();
    let mut readings: Vec<Reading> = Vec::new();
    // The last look lies within a cycle of the end, and its reading half a cycle earlier.
    while readings.last().is_none_or(|reading| reading.at < until.before(Duration::from_millis(3))) {
        consumer.drain(&mut |event| match event {
            Event::Reading(reading) => readings.push(reading),
            Event::Lost { reason, count } => panic!("{count} lost: {reason:?}"),
            Event::Ended => panic!("ended"),
        });
        std::thread::yield_now();
    }
    sampler.stop();
    readings
}

fn brackets(results: impl Iterator<Item = (f64, f64, f64)>, what: &str) -> usize {
    let results: Vec<_> = results.collect();
    let count = results.iter().filter(|(reported, expanded, truth)| (reported - truth).abs() <= *expanded).count();
    let worst =
        results.iter().map(|(reported, expanded, truth)| (reported - truth).abs() / expanded).fold(0.0, f64::max);
    let (reported, expanded, truth) = results[0];
    println!(
        "{what}: {count} of {TRIALS} bracket the truth; worst {worst:.2} of the uncertainty; \
         first: {reported:.5} ± {expanded:.5} J, true {truth:.5} J"
    );
    count
}

#[test]
fn at_least_95_of_100_reports_bracket_the_true_joules() {
    let trials: Vec<Trial> = (0..TRIALS).map(trial).collect();
    let total = brackets(trials.iter().map(|trial| trial.total), "total");
    let net = brackets(trials.iter().map(|trial| trial.above_idle), "above idle");
    assert!(total >= 95, "{total}");
    assert!(net >= 95, "{net}");
    // An uncertainty so wide that everything fits would prove nothing.
    let relative = trials.iter().map(|trial| trial.total.1 / trial.total.2).fold(0.0, f64::max);
    assert!(relative < 0.03, "expanded uncertainty of {relative} of the energy");
}
