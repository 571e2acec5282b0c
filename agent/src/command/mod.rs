//! The commands of `agent`, one file each.

mod channels;
pub mod check;
pub mod exec;
mod meter;
pub mod read;
pub mod run;
pub mod runtime;
pub mod worker;
