//! The commands of `agent`, one file each.

mod channels;
pub mod exec;
mod meter;
pub mod read;
pub mod runtime;
pub mod worker;
