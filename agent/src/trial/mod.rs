//! The phases of one assignment, in order, and their outcome.
//!
//! Executes one assignment at a time, as the collector describes it; knows no experiment. What it says goes into the
//! spool: markers of the phases, and an outcome after every sample the outcome refers to.

pub mod desk;
mod dut;
mod error;
mod executor;
mod inference;
mod job;
mod metering;
mod replay;

use tinywatt_proto::ids::BootId;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tokio::sync::watch;

use crate::batch::Totals;
use crate::job::Jobs;
use crate::link::artifacts::Artifacts;
use crate::sensor::load::LoadSwitch;
use crate::spool::Spool;
use crate::throttle::Firmware;
pub use dut::{Dut, Launch, LaunchWorker};
pub use error::TrialError;
pub use executor::Executor;

/// A channel that can measure a trial.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What it is.
    pub channel: v1::Channel,
    /// Instant of its last reading in the spool.
    pub spooled: watch::Receiver<MonoNs>,
    /// What its readings add up to and how many were lost, for people.
    pub totals: watch::Receiver<Totals>,
    /// The emulated load behind it, if it is one.
    pub load: Option<LoadSwitch>,
}

/// What trials are executed with.
#[derive(Debug)]
pub struct Equipment<C, L> {
    /// This start of the agent.
    pub boot: BootId,
    /// The node's clock.
    pub clock: C,
    /// Where markers and outcomes go.
    pub spool: Spool,
    /// Channels of the node.
    pub channels: Vec<Measured>,
    /// Models and inputs, and what jobs make.
    pub artifacts: Artifacts,
    /// Where jobs work; absent on a node that executes none.
    pub jobs: Option<Jobs>,
    /// Whom to ask about undervoltage.
    pub firmware: Firmware,
    /// What executes models.
    pub launch: L,
}

#[cfg(test)]
mod tests;
