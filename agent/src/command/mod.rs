//! The commands of `agent`, one file each.

pub mod runtime;
pub mod worker;
