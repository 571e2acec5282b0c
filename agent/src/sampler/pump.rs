//! One step of sampling, apart from the thread that repeats it, so that tests drive it on a virtual clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1::LossReason;

use super::{Event, Lateness};
use crate::clock::Clock;
use crate::sensor::{Poll, Sensor};

/// Counters of one sampler, written by its thread and read anywhere.
#[derive(Debug, Default)]
pub struct Counters {
    /// Readings pushed into the ring.
    pub reading_count: AtomicU64,
    /// Readings lost, for whatever reason.
    pub lost_count: AtomicU64,
    /// Looks that failed. While the last look failed, nothing comes out of the ring.
    pub failure_count: AtomicU64,
    /// How late the thread woke.
    pub lateness: Lateness,
}

/// Readings lost and not yet told, by reason.
#[derive(Debug, Default)]
struct Losses([u64; REASONS.len()]);

/// Reasons that arise here. A fixed set, so that losses need no list that grows.
const REASONS: [LossReason; 4] =
    [LossReason::MissedDeadline, LossReason::RingFull, LossReason::BusError, LossReason::ChipReset];

/// Slots kept free for the end: every reason once, and the end itself.
pub(super) const RESERVED_SLOTS: usize = REASONS.len() + 1;

/// Polls a sensor and puts what it gives into a ring.
pub(crate) struct Pump<C> {
    sensor: Box<dyn Sensor>,
    clock: C,
    ring: rtrb::Producer<Event>,
    counters: Arc<Counters>,
    losses: Losses,
    /// Why the sensor failed since its last reading.
    failing: Option<LossReason>,
}

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Step again at this instant.
    At(MonoNs),
    /// Nothing more will come.
    End,
}

impl<C: Clock> Pump<C> {
    pub(crate) fn new(sensor: Box<dyn Sensor>, clock: C, ring: rtrb::Producer<Event>, counters: Arc<Counters>) -> Self {
        Self { sensor, clock, ring, counters, losses: Losses::default(), failing: None }
    }

    /// Looks once. `asked` is the instant this step was meant for, if it was meant for one.
    pub(crate) fn step(&mut self, asked: Option<MonoNs>) -> Next {
        if let Some(asked) = asked {
            self.counters.lateness.record(self.clock.now().since(asked));
        }
        match self.sensor.poll() {
            Poll::Reading { reading, lost_count, look_again } => {
                let reason = self.failing.take().unwrap_or(LossReason::MissedDeadline);
                self.lose(reason, lost_count);
                self.push(reading);
                Next::At(look_again)
            }
            Poll::NotReady { look_again } => Next::At(look_again),
            Poll::Failed { reason, look_again } => {
                // The first reason is the cause; a reset that follows a bus error is its consequence.
                self.failing.get_or_insert(reason);
                self.counters.failure_count.fetch_add(1, Relaxed);
                Next::At(look_again)
            }
            Poll::End => Next::End,
        }
    }

    /// Tells what is still to be told, and that this is the end. Slots are reserved for it.
    pub(crate) fn finish(mut self) {
        self.tell_losses();
        let _ = self.ring.push(Event::Ended);
    }

    fn lose(&mut self, reason: LossReason, count: u64) {
        let index = REASONS.iter().position(|known| *known == reason).unwrap_or(0);
        self.losses.0[index] += count;
        self.counters.lost_count.fetch_add(count, Relaxed);
    }

    fn push(&mut self, reading: Reading) {
        let untold = self.losses.0.iter().filter(|count| **count > 0).count();
        if self.ring.slots() < untold + 1 + RESERVED_SLOTS {
            self.lose(LossReason::RingFull, 1);
            return;
        }
        self.tell_losses();
        if self.ring.push(Event::Reading(reading)).is_ok() {
            self.counters.reading_count.fetch_add(1, Relaxed);
        }
    }

    fn tell_losses(&mut self) {
        for (reason, count) in REASONS.into_iter().zip(&mut self.losses.0) {
            if *count > 0 && self.ring.push(Event::Lost { reason, count: *count }).is_ok() {
                *count = 0;
            }
        }
    }
}
