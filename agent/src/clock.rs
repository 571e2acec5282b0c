//! The only reader of a clock in the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

/// A monotonic clock that a thread can wait on.
pub trait Clock: Clone + Send + 'static {
    /// The instant now.
    fn now(&self) -> MonoNs;

    /// Waits until `deadline`, at once when it has passed. Absolute, so that lateness does not add up.
    fn sleep_until(&self, deadline: MonoNs);
}

/// `CLOCK_MONOTONIC`. Not `CLOCK_MONOTONIC_RAW`, which Linux cannot sleep on: deadlines and time stamps must share one
/// clock. What NTP slews (at most 500 ppm) is far below a sensor's gain error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic;

impl Monotonic {
    /// What the clock is, as a node tells it to its collector.
    pub fn describe() -> v1::Clock {
        let resolution = rustix::time::clock_getres(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(resolution.tv_sec).unwrap_or(0);
        let resolution_ns = seconds * 1_000_000_000 + u64::try_from(resolution.tv_nsec).unwrap_or(0);
        v1::Clock { source: "CLOCK_MONOTONIC".to_owned(), resolution_ns }
    }
}

/// CPU time that this process has used, user and system, all threads.
pub fn process_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

impl Clock for Monotonic {
    fn now(&self) -> MonoNs {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        MonoNs(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn sleep_until(&self, deadline: MonoNs) {
        let request = rustix::time::Timespec {
            tv_sec: i64::try_from(deadline.0 / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(deadline.0 % 1_000_000_000).unwrap_or(0),
        };
        // A signal ends the sleep early; the caller looks at the clock anyway.
        let _ = rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &request);
    }
}

/// A clock that moves only when told, or when somebody sleeps on it. For tests and for playing recordings.
#[derive(Debug, Clone, Default)]
pub struct Virtual(Arc<AtomicU64>);

impl Virtual {
    /// Moves the clock on.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(tinywatt_proto::time::nanoseconds(duration), Ordering::SeqCst);
    }
}

impl Clock for Virtual {
    fn now(&self) -> MonoNs {
        MonoNs(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, deadline: MonoNs) {
        self.0.fetch_max(deadline.0, Ordering::SeqCst);
    }
}
