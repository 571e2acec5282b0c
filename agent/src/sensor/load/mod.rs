//! The load behind an emulated sensor: what a device would draw, seeded, with its true joules known.
//!
//! A [`Profile`] says what current flows as a continuous function of time and of what the device does; a [`LoadSwitch`]
//! tells it what the device does and answers what it really took.

mod profile;
mod switch;

pub use profile::{LoadConfig, LoadConfigError, Profile};
pub use switch::{LoadState, LoadSwitch, Supply, SwitchedLoad};
