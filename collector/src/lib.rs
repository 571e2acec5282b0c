//! The collector: keeps, decides, tells. Knows no register.
//!
//! The way of the data: `ingest` → `store` → `assess` → `report`, with `schedule` deciding what is executed next.

pub mod artifacts;
pub mod clock;
pub mod clock_fit;
pub mod ingest;
pub mod result;
pub mod schedule;
pub mod service;
pub mod store;
