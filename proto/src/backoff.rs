//! How long to wait before the next try.

use std::time::Duration;

/// Longest wait after the first failure: a server that is just being restarted is back at once.
pub const FIRST: Duration = Duration::from_millis(250);

/// Longest wait ever: a server that comes back after hours is found within this, and a hundred agents that wait for a
/// collector ask it about ten times a second.
pub const CAP: Duration = Duration::from_secs(15);

/// Wait after `failure_count` failures in a row (from 1): between half of and a whole limit that doubles up to [`CAP`].
///
/// `random` in `[0, 1)` spreads those that lost the same server at the same moment.
pub fn delay(failure_count: u32, random: f64) -> Duration {
    let doublings = failure_count.saturating_sub(1).min(16);
    let limit = FIRST.saturating_mul(1 << doublings).min(CAP);
    let half = limit / 2;
    half + half.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_lies_within_its_bounds(failure_count in 0u32.., random in 0.0f64..1.0) {
            let wait = delay(failure_count, random);
            prop_assert!(wait >= FIRST / 2);
            prop_assert!(wait <= CAP);
        }

        #[test]
        fn waits_grow_until_the_cap_and_stay_there(failure_count in 1u32..100, random in 0.0f64..1.0) {
            let (now, next) = (delay(failure_count, random), delay(failure_count + 1, random));
            prop_assert!(now <= next);
            prop_assert!(now < next || now >= CAP / 2);
        }

        #[test]
        fn agents_are_spread_over_half_the_limit(failure_count in 1u32..100) {
            let spread = delay(failure_count, 0.999_999) - delay(failure_count, 0.0);
            prop_assert!(spread >= FIRST / 3);
        }
    }
}
