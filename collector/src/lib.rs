//! The collector: keeps, decides, tells. Knows no register.
//!
//! The way of the data: `ingest` → `store` → `assess` → `report`, with `schedule` deciding what is executed next.

pub mod clock;
pub mod result;
pub mod schedule;
