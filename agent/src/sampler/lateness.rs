//! How late the sampler wakes, counted where it happens and read anywhere.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets: below 1 µs, then [1, 2), [2, 4) ... µs; the last is open and begins at 0.5 s.
const BUCKET_COUNT: usize = 21;

/// Histogram of wake-up lateness, written by one thread without a lock.
#[derive(Debug, Default)]
pub struct Lateness {
    buckets: [AtomicU64; BUCKET_COUNT],
}

impl Lateness {
    pub(super) fn record(&self, late: Duration) {
        let microseconds = late.as_micros();
        let bucket = usize::try_from(u128::BITS - microseconds.leading_zeros()).unwrap_or(usize::MAX);
        self.buckets[bucket.min(BUCKET_COUNT - 1)].fetch_add(1, Relaxed);
    }

    /// Wake-ups so far, by bucket: the upper bound of each and its count.
    pub fn counts(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let bound = |index: usize| match u32::try_from(index) {
            Ok(index) if usize::try_from(index) != Ok(BUCKET_COUNT - 1) => Duration::from_micros(1u64 << index),
            _ => Duration::MAX,
        };
        self.buckets.iter().enumerate().map(move |(index, count)| (bound(index), count.load(Relaxed)))
    }

    /// Bound that this part of all wake-ups did not exceed, for example 0.99. `None` before the first.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let total: u64 = self.counts().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let wanted = part * total as f64;
        let mut seen = 0;
        self.counts()
            .find(|(_, count)| {
                seen += count;
                #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
                let reached = seen as f64;
                seen > 0 && reached >= wanted
            })
            .map(|(bound, _)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let lateness = Lateness::default();
        assert_eq!(lateness.quantile(0.5), None);
        for _ in 0..98 {
            lateness.record(Duration::from_micros(50));
        }
        lateness.record(Duration::from_millis(3));
        lateness.record(Duration::from_secs(100));
        assert_eq!(lateness.quantile(0.5), Some(Duration::from_micros(64)));
        assert_eq!(lateness.quantile(0.99), Some(Duration::from_micros(4_096)));
        assert_eq!(lateness.quantile(1.0), Some(Duration::MAX));
    }
}
