//! Sensors: what gives readings. A sensor looks when it is told to and never waits.

mod build;
pub mod config;
pub mod counter;
pub mod emulator;
pub mod ina219;
pub mod load;
#[cfg(feature = "nvml")]
pub mod nvml;
pub mod rapl;
pub mod replay;
pub mod tdp;

use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

pub use build::{Built, SensorError, build};
pub use config::SensorConfig;

/// A source of readings for one channel.
///
/// Called from the sampler's thread: `poll` neither allocates, locks, waits nor logs.
pub trait Sensor: Send {
    /// What the channel is, with its scale and error budget. `Channel.channel` is filled in by the agent.
    fn channel(&self) -> v1::Channel;

    /// Looks once.
    fn poll(&mut self) -> Poll;
}

/// What one look gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Poll {
    /// A new reading, and readings before it that are known to be lost.
    Reading {
        /// The reading.
        reading: Reading,
        /// Conversions overwritten since the reading before.
        lost_count: u64,
        /// When the next one may be there.
        look_again: MonoNs,
    },
    /// The conversion is not finished.
    NotReady {
        /// When it may be.
        look_again: MonoNs,
    },
    /// The sensor failed; the readings of this time are lost.
    Failed {
        /// Why.
        reason: v1::LossReason,
        /// When to try again.
        look_again: MonoNs,
    },
    /// A recording has ended.
    End,
}
