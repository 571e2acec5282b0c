//! The only reader of a clock in the collector.

use std::time::Duration;

use tinywatt_proto::time::{MonoNs, nanoseconds};
use tokio::time::Instant;

/// Nanoseconds since the Unix epoch. For people and for the clock probes; never for an interval.
pub fn unix_ns() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the collector's clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, nanoseconds)
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
        MonoNs::default().after(self.0.elapsed().max(Duration::ZERO))
    }
}
