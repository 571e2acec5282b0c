//! Instants and windows on a node's monotonic clock.

use std::fmt;
use std::time::Duration;

/// Nanoseconds on the monotonic clock of one boot id. Means nothing outside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// The instant `duration` later; stays at the end of time instead of wrapping (584 years).
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// The instant `duration` earlier; stays at 0 instead of wrapping.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }

    /// Time since `earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for MonoNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Whole nanoseconds of a duration, capped at 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Half-open stretch `[start, end)` on one monotonic clock. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: MonoNs,
    end: MonoNs,
}

/// A window would be empty or backwards.
#[derive(Debug, thiserror::Error)]
#[error("a window from {start} to {end} has no length")]
pub struct EmptyWindow {
    start: MonoNs,
    end: MonoNs,
}

impl Window {
    /// Makes the window `[start, end)`.
    ///
    /// # Errors
    /// When `end` is not later than `start`.
    pub fn new(start: MonoNs, end: MonoNs) -> Result<Self, EmptyWindow> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptyWindow { start, end }) }
    }

    /// First instant inside.
    pub fn start(self) -> MonoNs {
        self.start
    }

    /// First instant after.
    pub fn end(self) -> MonoNs {
        self.end
    }

    /// Length of the window.
    pub fn duration(self) -> Duration {
        self.end.since(self.start)
    }

    /// Whether `instant` lies in `[start, end)`.
    pub fn contains(self, instant: MonoNs) -> bool {
        self.start <= instant && instant < self.end
    }
}
