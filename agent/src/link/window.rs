//! Which records are on their way, and when to probe the clock. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Records sent and not acknowledged. 128 batches are half a megabyte and half a minute of one channel; with a round
/// trip of 50 ms they still empty a spool six hundred times faster than it fills.
pub(super) const IN_FLIGHT_COUNT_MAX: usize = 128;

/// Pages smaller than this are not worth a query while others are on their way.
const REFILL_COUNT_MIN: usize = 32;

/// The records on their way, in delivery order.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    sent: VecDeque<u64>,
    last_sent: u64,
}

impl InFlight {
    /// How many records may be sent now.
    pub(super) fn room(&self) -> usize {
        let room = IN_FLIGHT_COUNT_MAX - self.sent.len();
        if self.sent.is_empty() || room >= REFILL_COUNT_MIN { room } else { 0 }
    }

    /// The last record sent; the next page begins after it.
    pub(super) fn last_sent(&self) -> u64 {
        self.last_sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn sent(&mut self, delivery_id: u64) {
        self.sent.push_back(delivery_id);
        self.last_sent = delivery_id;
    }

    /// Takes note of an acknowledgement. `false` when it is for what was never sent: nothing may be deleted then.
    pub(super) fn acknowledge(&mut self, through: u64) -> bool {
        while self.sent.front().is_some_and(|&id| id <= through) {
            self.sent.pop_front();
        }
        through <= self.last_sent
    }
}

/// Probes right after a connect, so that the first trial already has a clock.
pub(super) const FAST_COUNT: u32 = 8;

/// Time between those.
const FAST_PERIOD: Duration = Duration::from_millis(250);

/// Time between all later ones. A crystal drifts by up to 50 ppm, and changes of it are slow: in 10 s it moves by less
/// than the half millisecond that a round trip in a local network leaves open anyway.
const PERIOD: Duration = Duration::from_secs(10);

/// When to probe the clock. One probe is on its way at a time, so this also bounds what probes add to the spool.
#[derive(Debug, Default)]
pub(super) struct Probing {
    answered_count: u32,
    is_waiting: bool,
}

impl Probing {
    /// A probe was sent.
    pub(super) fn sent(&mut self) {
        self.is_waiting = true;
    }

    /// Whether a probe is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// An answer came. `false` when nobody asked.
    pub(super) fn answered(&mut self) -> bool {
        self.answered_count = self.answered_count.saturating_add(1);
        std::mem::take(&mut self.is_waiting)
    }

    /// Time until the next probe.
    pub(super) fn pause(&self) -> Duration {
        if self.answered_count < FAST_COUNT { FAST_PERIOD } else { PERIOD }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_the_limit_is_on_its_way(acknowledgements in prop::collection::vec(0u64..60, 0..100)) {
            let (mut in_flight, mut next, mut acknowledged) = (InFlight::default(), 1, 0);
            for step in acknowledgements {
                for _ in 0..in_flight.room() {
                    in_flight.sent(next);
                    next += 1;
                }
                prop_assert!(in_flight.sent.len() <= IN_FLIGHT_COUNT_MAX);
                acknowledged = (acknowledged + step).min(in_flight.last_sent());
                prop_assert!(in_flight.acknowledge(acknowledged));
                prop_assert_eq!(in_flight.sent.len() as u64, in_flight.last_sent() - acknowledged);
            }
        }
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let mut in_flight = InFlight::default();
        in_flight.sent(7);
        assert!(!in_flight.acknowledge(8));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_not_taken() {
        let mut probing = Probing::default();
        assert!(!probing.answered());
        probing.sent();
        assert!(probing.answered());
        assert!(!probing.answered());
    }
}
