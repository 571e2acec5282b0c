//! The declared time series, by their names.

use std::collections::BTreeMap;

pub use tinywatt_collector::sink::series::{Bucket, Field, FieldType, Series, all};

/// Every declared series, by its name.
pub fn declared() -> BTreeMap<String, Series> {
    all().iter().map(|series| (series.name.clone(), series.clone())).collect()
}
