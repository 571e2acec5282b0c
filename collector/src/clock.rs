//! The only reader of a clock in the collector.

use std::time::{SystemTime, UNIX_EPOCH};

use tinywatt_proto::time::nanoseconds;

/// Nanoseconds since the Unix epoch; 0 on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}
