//! `[spool]` of the configuration.

use serde::{Deserialize, Serialize};

/// How much the spool may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Most bytes on the disk; at the limit new batches are dropped and counted.
    pub size_bytes_max: u64,
}

impl SpoolConfig {
    /// Smallest limit that makes sense: an eighth of it is kept for records that are not batches.
    pub const SIZE_BYTES_MIN: u64 = 1 << 20;
}

impl Default for SpoolConfig {
    /// 1 GiB: two to three days of one channel at 1 kHz and 4.5 B a sample, and small beside a Pi's card.
    fn default() -> Self {
        Self { size_bytes_max: 1 << 30 }
    }
}
