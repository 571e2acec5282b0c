//! One thread per channel that looks at its sensor on time. Its loop never allocates, locks, awaits or logs.
//!
//! Readings leave through a bounded ring. What is lost, and why, travels in the same ring before the next reading, so
//! that a consumer cannot see the one without the other.

mod lateness;
mod pump;
mod realtime;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1::{self, LossReason};

pub use lateness::Lateness;
pub use pump::Counters;
pub(crate) use pump::{Next, Pump};
pub use realtime::Scheduling;

use crate::clock::Clock;
use crate::sensor::Sensor;

/// Events a ring holds: 3.3 s of an INA219 at 1.24 kHz, longer than a slow SD card takes to sync a batch. 40 bytes each,
/// 160 KiB a channel.
pub const RING_EVENTS: usize = 4_096;

/// Longest sleep of the thread, so that it notices a stop while a sensor asks for a longer pause.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What comes out of the ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A reading.
    Reading(Reading),
    /// Readings were lost since the last event.
    Lost {
        /// Why.
        reason: LossReason,
        /// How many.
        count: u64,
    },
    /// The recording is over, or the sampler was stopped. Nothing follows.
    Ended,
}

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerConfig {
    /// Events the ring holds.
    pub ring_events: usize,
    /// Whether to ask for real-time scheduling. It is never required.
    pub real_time: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { ring_events: RING_EVENTS, real_time: true }
    }
}

/// The sampler's thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("failed to start the sampler's thread for channel '{channel}'")]
pub struct StartError {
    channel: String,
    #[source]
    source: io::Error,
}

/// A running sampler. Dropping it stops the thread.
#[derive(Debug)]
pub struct Sampler {
    channel: v1::Channel,
    control: Arc<Control>,
    counters: Arc<Counters>,
    readings: Option<Consumer>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Control {
    stop: AtomicBool,
    /// 0 not asked yet, 1 ordinary, 2 real time.
    scheduling: AtomicU8,
}

/// The consuming end of the ring, for ordinary code.
#[derive(Debug)]
pub struct Consumer {
    ring: rtrb::Consumer<Event>,
}

impl Sampler {
    /// Starts a thread that samples `sensor`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<C: Clock>(sensor: Box<dyn Sensor>, clock: C, config: SamplerConfig) -> Result<Self, StartError> {
        let channel = sensor.channel();
        let control = Arc::new(Control::default());
        let counters = Arc::new(Counters::default());
        // Room for one reading beside the reserved slots, however small the ring was asked to be.
        let (ring, readings) = rtrb::RingBuffer::new(config.ring_events.max(2 * pump::RESERVED_SLOTS + 1));
        let pump = Pump::new(sensor, clock.clone(), ring, Arc::clone(&counters));
        let thread = std::thread::Builder::new().name(format!("sampler-{}", channel.name));
        let for_thread = Arc::clone(&control);
        let thread = thread
            .spawn(move || {
                if config.real_time && realtime::request() == Scheduling::RealTime {
                    for_thread.scheduling.store(2, Ordering::Relaxed);
                } else {
                    for_thread.scheduling.store(1, Ordering::Relaxed);
                }
                run(pump, &clock, &for_thread.stop);
            })
            .map_err(|source| StartError { channel: channel.name.clone(), source })?;
        Ok(Self { channel, control, counters, readings: Some(Consumer { ring: readings }), thread: Some(thread) })
    }

    /// What the channel is.
    pub fn channel(&self) -> &v1::Channel {
        &self.channel
    }

    /// Takes the consuming end.
    ///
    /// # Panics
    /// When it was taken before.
    pub fn readings(&mut self) -> Consumer {
        self.readings.take().expect("the readings of a sampler have one consumer")
    }

    /// What the thread counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How the thread is scheduled; `None` until it has asked.
    pub fn scheduling(&self) -> Option<Scheduling> {
        match self.control.scheduling.load(Ordering::Relaxed) {
            0 => None,
            2 => Some(Scheduling::RealTime),
            _ => Some(Scheduling::Ordinary),
        }
    }

    /// Stops the thread and waits for it, at most about 100 ms. Afterwards the ring ends with [`Event::Ended`].
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.control.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by itself; its ring has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

impl Consumer {
    /// Hands over everything that is in the ring now, oldest first. A thread that died without an end gives one.
    pub fn drain(&mut self, consume: &mut impl FnMut(Event)) {
        // Asked first: what the thread pushed before it went is then seen by the loop.
        let is_abandoned = self.ring.is_abandoned();
        let mut last = None;
        while let Ok(event) = self.ring.pop() {
            last = Some(event);
            consume(event);
        }
        if is_abandoned && last != Some(Event::Ended) {
            consume(Event::Ended);
        }
    }
}

/// The loop. Deadlines are absolute, so that lateness does not add up.
fn run<C: Clock>(mut pump: Pump<C>, clock: &C, stop: &AtomicBool) {
    let mut asked = None;
    while !stop.load(Ordering::Relaxed) {
        let Next::At(deadline) = pump.step(asked) else { break };
        while clock.now() < deadline && !stop.load(Ordering::Relaxed) {
            clock.sleep_until(deadline.min(clock.now().after(SLEEP_MAX)));
        }
        asked = Some(deadline).filter(|deadline| *deadline > MonoNs(0));
    }
    pump.finish();
}

#[cfg(test)]
mod tests;
