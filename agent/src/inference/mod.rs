//! Local inference: a model in a process of its own, timed and checked.
//!
//! The way of a trial: [`worker::Worker`] starts `agent worker` as a child; the child finds the library
//! ([`locate`]), refuses any but the pinned release ([`release`]), opens it ([`litert`]), quantises inputs
//! ([`quantise`]) and runs. [`install`] fetches the library once. A runtime that is linked instead of opened has a worker
//! program of its own ([`runtimes`] finds it), which serves the same questions ([`model`]). This room knows neither trials
//! nor sensors.

mod ask;
pub mod config;
pub mod install;
pub mod litert;
pub mod locate;
pub mod model;
pub mod package;
pub mod quantise;
pub mod release;
pub mod runtimes;
pub mod tensor;
pub mod worker;
