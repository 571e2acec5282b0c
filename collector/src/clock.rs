//! The only reader of a clock in the collector.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tinywatt_proto::time::{MonoNs, nanoseconds};
use tokio::time::Instant;

/// Nanoseconds since the Unix epoch; 0 on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

/// CPU time of this process so far, all threads, user and system.
pub fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
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
