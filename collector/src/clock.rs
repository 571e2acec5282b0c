//! The only reader of a clock in the collector.

use std::time::{SystemTime, UNIX_EPOCH};

use tinywatt_proto::time::{MonoNs, nanoseconds};
use tokio::time::Instant;

/// Nanoseconds since the Unix epoch; 0 on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

/// Time since the collector started, for deadlines. Stands still in tests that pause tokio's time.
#[derive(Debug, Clone, Copy)]
pub struct Uptime(Instant);

impl Uptime {
    /// Starts at zero now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The instant now.
    pub fn now(self) -> MonoNs {
        MonoNs::default().after(self.0.elapsed())
    }
}
