//! Lost readings that wait for a batch to travel with.

use std::collections::BTreeMap;

use tinywatt_proto::v1;

/// Counts by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<i32, u64>);

impl Losses {
    /// Adds losses of one reason.
    pub fn add(&mut self, reason: v1::LossReason, count: u64) {
        self.add_all(&[v1::LostReadings { reason: reason.into(), count }]);
    }

    /// Adds what another batch would have carried.
    pub fn add_all(&mut self, lost: &[v1::LostReadings]) {
        for lost in lost.iter().filter(|lost| lost.count > 0) {
            let count = self.0.entry(lost.reason).or_default();
            *count = count.saturating_add(lost.count);
        }
    }

    /// Takes all counts, as a batch carries them.
    pub fn take(&mut self) -> Vec<v1::LostReadings> {
        std::mem::take(&mut self.0).into_iter().map(|(reason, count)| v1::LostReadings { reason, count }).collect()
    }

    /// Readings lost, all reasons together.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |total, &count| total.saturating_add(count))
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
