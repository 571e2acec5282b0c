//! The collector: keeps, decides, tells. Knows no register.
//!
//! The way of the data: `ingest` → `store` → `assess` → `report`, with `schedule` deciding what is executed next.

pub mod artifacts;
pub mod assess;
pub mod cache;
pub mod carbon;
pub mod card;
pub mod clock;
pub mod clock_fit;
pub mod command;
pub mod dataset;
pub mod experiment;
pub mod export;
pub mod health;
pub mod influx;
pub mod ingest;
pub mod report;
pub mod result;
pub mod schedule;
pub mod server;
pub mod service;
mod shuffle;
pub mod sink;
pub mod statistics;
pub mod store;
pub mod tflite;
pub mod trainers;
