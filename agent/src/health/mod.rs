//! How the agent and its machine fare, for people who look after many: one record every ten seconds.
//!
//! Never decides anything, and starts no process while a trial executes. Its record is the only one that may be left out:
//! one that a full spool refuses is not tried again, because the next look says what matters of it.

mod machine;

use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::ids::BootId;
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::batch::Totals;
use crate::clock::{Clock, process_cpu};
use crate::spool::{AppendError, Spool, SpoolBroken};
use crate::throttle::Firmware;

/// Time between looks. A look and its record take 0.8 ms of CPU time (x86_64, after a pause as long), most of it the spool's
/// commit, of which each channel has four a second: 0.01 % of a core.
const PERIOD: Duration = Duration::from_secs(10);

/// Time between questions to the firmware, each of which starts a process.
const FIRMWARE_PERIOD: Duration = Duration::from_secs(60);

/// Looks at the agent and its machine.
#[derive(Debug)]
pub struct Health<C> {
    /// This start of the agent.
    pub boot: BootId,
    /// The node's clock.
    pub clock: C,
    /// Where the records go.
    pub spool: Spool,
    /// Folder of the agent's state, whose disk is looked at.
    pub state_dir: PathBuf,
    /// What each channel has lost.
    pub totals: Vec<watch::Receiver<Totals>>,
    /// What is executing. Shown as soon as a trial begins, before it asks the firmware itself.
    pub executing: watch::Receiver<Option<v1::Progress>>,
    /// Whom to ask about undervoltage.
    pub firmware: Firmware,
}

impl<C: Clock + Sync> Health<C> {
    /// Looks at once and every ten seconds, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the spool is broken. A full spool is no error.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SpoolBroken> {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                tick.tick().await;
                self.tell().await
            };
            tokio::select! {
                told = next => told?,
                // Also while it waits for the firmware or a disk: whoever stops an agent need not.
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Looks once and spools what was seen, if there is room.
    async fn tell(&self) -> Result<(), SpoolBroken> {
        let health = self.look().await?;
        match self.spool.append(self.boot, Fact::Health(health)).await {
            Ok(_) => Ok(()),
            Err(AppendError::Broken(broken)) => Err(broken),
            Err(full) => {
                tracing::debug!(error = %full, "a look at the agent's health was left out");
                Ok(())
            }
        }
    }

    async fn look(&self) -> Result<v1::NodeHealth, SpoolBroken> {
        let may_ask = || self.executing.borrow().is_none();
        let throttling = self.firmware.last(self.clock.now(), FIRMWARE_PERIOD, may_ask).await;
        let spool_record_count = self.spool.record_count().await?;
        let lost = self.totals.iter().map(|totals| totals.borrow().lost_reading_count);
        let lost_reading_count = lost.fold(0, u64::saturating_add);
        let state_dir = self.state_dir.clone();
        // On a thread that may wait: a network's disk or a thermal zone of the firmware may take its time.
        let seen = tokio::task::spawn_blocking(move || machine::look(&state_dir));
        let seen = seen.await.expect("looking does not panic");
        Ok(v1::NodeHealth {
            mono_ns: self.clock.now().0,
            agent_cpu_ns: nanoseconds(process_cpu()),
            agent_memory_bytes: seen.agent_memory_bytes.unwrap_or(0),
            spool_record_count,
            lost_reading_count,
            throttled_bits: throttling.bits(),
            temperature_millicelsius: seen.temperature_millicelsius,
            disk_free_bytes: seen.disk_free_bytes,
            memory_available_bytes: seen.memory_available_bytes,
        })
    }
}

#[cfg(test)]
mod tests;
