//! The collector: keeps, decides, tells. Knows no register.
//!
//! The way of the data: `ingest` → `store` → `assess` → `report`, with `schedule` deciding what is executed next.

pub mod command;
pub mod dataset;
pub mod experiment;
pub mod hex;
pub mod report;
pub mod result;
pub mod statistics;
pub mod tflite;
