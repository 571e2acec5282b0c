//! The agent: measures and executes, knows no experiment.
//!
//! The way of the data: `sensor` → `sampler` → `spool` → `link`, with `inference` as the device under test and `trial`
//! putting the phases of one assignment in order.

pub mod batch;
pub mod clock;
pub mod command;
pub mod config;
pub mod health;
pub mod inference;
pub mod job;
pub mod link;
pub mod machine;
pub mod process;
pub mod sampler;
pub mod sensor;
pub mod spool;
pub mod throttle;
pub mod trial;
