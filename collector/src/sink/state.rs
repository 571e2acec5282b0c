//! How the sink is: what it counts, and what it is doing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tinywatt_proto::time::MonoNs;

use crate::clock::Uptime;

/// What the sink counts, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Meter {
    /// Batches in the store that the database does not have yet.
    pub lag_batch_count: u64,
    /// Time since the database last had everything; from the collector's start when it never had.
    pub lag_seconds: f64,
    /// Lines that the database took since the collector started.
    pub line_count: u64,
    /// Requests that were answered.
    pub request_count: u64,
    /// Requests that had to be repeated.
    pub retry_count: u64,
    /// Lines that the database refused for good, ever.
    pub quarantined_count: u64,
    /// Lines that were older than the database keeps, since the collector started.
    #[serde(default)]
    pub expired_count: u64,
}

/// What the sink is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Doing {
    /// The database has everything, or is sent it.
    #[default]
    Writing,
    /// The database is not there, or asks to be left alone.
    Waiting {
        /// Why, with the way out.
        reason: String,
    },
    /// Nothing goes on until somebody has done something.
    Held {
        /// What, and why.
        reason: String,
    },
}

/// Shared between those who send and those who ask.
#[derive(Debug)]
pub struct State {
    uptime: Uptime,
    newest_batch_key: AtomicI64,
    done_batch_key: AtomicI64,
    level_at: Mutex<MonoNs>,
    line_count: AtomicU64,
    request_count: AtomicU64,
    retry_count: AtomicU64,
    quarantined_count: AtomicU64,
    expired_count: AtomicU64,
    /// When the database may be asked again.
    not_before: Mutex<MonoNs>,
    doing: Mutex<Doing>,
}

// === impl State ===

impl State {
    /// Nothing was sent yet; `quarantined_count` lines were refused in earlier starts.
    pub fn new(quarantined_count: u64) -> Self {
        let uptime = Uptime::start();
        Self {
            uptime,
            newest_batch_key: AtomicI64::new(0),
            done_batch_key: AtomicI64::new(0),
            level_at: Mutex::new(uptime.now()),
            line_count: AtomicU64::new(0),
            request_count: AtomicU64::new(0),
            retry_count: AtomicU64::new(0),
            quarantined_count: AtomicU64::new(quarantined_count),
            expired_count: AtomicU64::new(0),
            not_before: Mutex::default(),
            doing: Mutex::default(),
        }
    }

    /// What is counted, now.
    pub fn meter(&self) -> Meter {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let lag = self.newest_batch_key.load(Ordering::Relaxed) - self.done_batch_key.load(Ordering::Relaxed);
        let level_at = *self.level_at.lock().unwrap_or_else(PoisonError::into_inner);
        Meter {
            lag_batch_count: u64::try_from(lag).unwrap_or_default(),
            lag_seconds: self.uptime.now().since(level_at).as_secs_f64(),
            line_count: get(&self.line_count),
            request_count: get(&self.request_count),
            retry_count: get(&self.retry_count),
            quarantined_count: get(&self.quarantined_count),
            expired_count: get(&self.expired_count),
        }
    }

    /// What is being done, now.
    pub fn doing(&self) -> Doing {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The instant now, for [`Self::note_done`].
    pub(super) fn now(&self) -> MonoNs {
        self.uptime.now()
    }

    pub(super) fn note_newest(&self, batch_key: i64) {
        self.newest_batch_key.fetch_max(batch_key, Ordering::Relaxed);
    }

    /// The database has everything up to a batch, and `level_at` is when that was all there was.
    pub(super) fn note_done(&self, batch_key: i64, level_at: Option<MonoNs>) {
        self.done_batch_key.store(batch_key, Ordering::Relaxed);
        if let Some(level_at) = level_at {
            *self.level_at.lock().unwrap_or_else(PoisonError::into_inner) = level_at;
        }
    }

    pub(super) fn note_answer(&self, taken_line_count: u64) {
        self.request_count.fetch_add(1, Ordering::Relaxed);
        self.line_count.fetch_add(taken_line_count, Ordering::Relaxed);
    }

    pub(super) fn note_retry(&self) {
        self.retry_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_quarantined(&self, line_count: u64) {
        self.quarantined_count.fetch_add(line_count, Ordering::Relaxed);
    }

    pub(super) fn note_expired(&self, line_count: u64) {
        if self.expired_count.fetch_add(line_count, Ordering::Relaxed) == 0 {
            tracing::info!("some lines are older than the database keeps them; they are left out and counted");
        }
    }

    /// The database asks to be left alone for a while.
    pub(super) fn ask_for_time(&self, time: Duration) {
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(self.uptime.now().after(time));
    }

    /// How long it is still to be left alone.
    pub(super) fn time_asked_for(&self) -> Duration {
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner).since(self.uptime.now())
    }

    /// Says what is done now; true when that is something else than before.
    pub(super) fn set_doing(&self, doing: Doing) -> bool {
        let mut known = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = std::mem::discriminant(&*known) != std::mem::discriminant(&doing);
        *known = doing;
        is_news
    }
}
