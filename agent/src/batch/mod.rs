//! From readings to batches in the spool: one [`Batcher`] per channel.
//!
//! Takes what the sampler's ring holds about four times a second, codes it as columns and appends it. Counts what it
//! cannot hand on and puts the count on the next batch; never drops a reading silently.

mod losses;
mod totals;

use std::time::Duration;

use tinywatt_proto::columns::{Encoder, READING_COUNT_MAX, has_two_columns};
use tinywatt_proto::ids::BootId;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::sampler::{Consumer, Event};
use crate::spool::{AppendError, Spool, SpoolBroken};
pub use losses::Losses;
pub use totals::Totals;

/// Time in one batch. Shorter ones cost more bytes a sample for their headers, longer ones lose more when the agent is
/// killed, because what is not in the spool yet is gone.
pub const BATCH_PERIOD: Duration = Duration::from_millis(250);

/// The reading end of a sampler's ring.
pub trait Source: Send + 'static {
    /// Hands over everything that is in the ring now, in order.
    fn drain(&mut self, consume: &mut impl FnMut(Event));
}

impl Source for Consumer {
    fn drain(&mut self, consume: &mut impl FnMut(Event)) {
        Self::drain(self, consume);
    }
}

/// Turns one channel's readings into records.
#[derive(Debug)]
pub struct Batcher<S> {
    source: S,
    spool: Spool,
    boot: BootId,
    channel: v1::Channel,
    encoder: Encoder,
    /// Losses before the last reading that was taken.
    losses: Losses,
    /// Losses after it, which lie before a reading that is still to come.
    untold: Losses,
    opened: bool,
    spooled: watch::Sender<MonoNs>,
    totals: watch::Sender<Totals>,
    /// So that a full spool is told once, and its end too.
    refusing: bool,
}

impl<S: Source> Batcher<S> {
    /// Makes a batcher for one channel of a boot id, whose `Channel.channel` is set.
    pub fn new(source: S, spool: Spool, boot: BootId, channel: v1::Channel) -> Self {
        Self {
            source,
            spool,
            boot,
            channel,
            encoder: Encoder::default(),
            losses: Losses::default(),
            untold: Losses::default(),
            opened: false,
            spooled: watch::Sender::new(MonoNs(0)),
            totals: watch::Sender::new(Totals::default()),
            refusing: false,
        }
    }

    /// Instant of the last reading in the spool. A record appended after this has passed an instant is delivered after
    /// all readings up to that instant.
    pub fn spooled(&self) -> watch::Receiver<MonoNs> {
        self.spooled.subscribe()
    }

    /// What all readings so far add up to, and how many were lost, batch by batch.
    pub fn totals(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }

    /// Batches until the sensor ends or `stop` is cancelled; the last, partial batch is in the spool on return.
    ///
    /// Stop the sampler first: what it puts into its ring after `stop` is not seen.
    ///
    /// # Errors
    /// When the spool is broken. A full spool is no error: its losses are counted.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SpoolBroken> {
        let mut tick = tokio::time::interval(BATCH_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stopping = tokio::select! {
                _ = tick.tick() => false,
                () = stop.cancelled() => true,
            };
            let ended = self.step().await?;
            if ended && !stopping {
                tracing::warn!(channel = %self.channel.name, "the sensor has ended, the channel gives no more readings");
            }
            if ended || stopping {
                break;
            }
        }
        let lost_readings = self.losses.total().saturating_add(self.untold.total());
        if lost_readings > 0 {
            tracing::warn!(channel = %self.channel.name, lost_readings, "readings lost after the last batch");
        }
        Ok(())
    }

    /// Spools what the ring holds. `true` when the sensor has ended.
    async fn step(&mut self) -> Result<bool, SpoolBroken> {
        self.open().await?;
        let (unit, two_columns) = (self.channel.time_unit_ns, has_two_columns(&self.channel));
        let mut ended = false;
        let mut batches = Vec::new();
        let (encoder, losses, index) = (&mut self.encoder, &mut self.losses, self.channel.channel);
        let (untold, mut totals) = (&mut self.untold, *self.totals.borrow());
        self.source.drain(&mut |event| match event {
            Event::Reading(reading) => {
                losses.add_all(&untold.take());
                totals.add(&reading);
                encoder.push(&reading, unit, two_columns);
                if encoder.reading_count() == READING_COUNT_MAX {
                    batches.extend(encoder.finish(index, losses.take()));
                }
            }
            // The ring may be emptied between a loss and the reading after it: it waits for that reading's batch, which
            // tells between which readings it lies.
            Event::Lost { reason, count } => {
                totals.lose(count);
                untold.add(reason, count);
            }
            Event::Ended => ended = true,
        });
        self.totals.send_replace(totals);
        if ended {
            losses.add_all(&untold.take());
        }
        if encoder.reading_count() > 0 {
            batches.extend(encoder.finish(index, losses.take()));
        }
        for batch in batches {
            self.append(batch).await?;
        }
        Ok(ended)
    }

    /// Announces the channel, once, before its first batch.
    async fn open(&mut self) -> Result<(), SpoolBroken> {
        if !self.opened {
            let announced = self.spool.append(self.boot, Fact::ChannelOpened(self.channel.clone())).await;
            self.opened = self.accepted(announced)?;
        }
        Ok(())
    }

    async fn append(&mut self, mut batch: v1::SampleBatch) -> Result<(), SpoolBroken> {
        // Losses of an earlier, refused batch lie before this one's first reading.
        self.losses.add_all(&batch.lost_readings);
        batch.lost_readings = self.losses.take();
        let (last, reading_count) = (MonoNs(batch.last_mono_ns), batch.reading_count);
        let lost = batch.lost_readings.clone();
        let stored = self.opened && {
            let appended = self.spool.append(self.boot, Fact::Batch(batch)).await;
            self.accepted(appended)?
        };
        if stored {
            self.spooled.send_replace(last);
        } else {
            self.losses.add_all(&lost);
            self.losses.add(v1::LossReason::SpoolFull, reading_count.into());
            self.totals.send_modify(|totals| totals.lose(reading_count.into()));
        }
        Ok(())
    }

    /// Whether a record is stored; tells when the spool begins and ceases to refuse.
    fn accepted(&mut self, appended: Result<u64, AppendError>) -> Result<bool, SpoolBroken> {
        let channel = &self.channel.name;
        match appended {
            Ok(_) => {
                if std::mem::take(&mut self.refusing) {
                    tracing::info!(%channel, "the spool takes batches again");
                }
                Ok(true)
            }
            Err(AppendError::Broken(broken)) => Err(broken),
            Err(full) => {
                if !std::mem::replace(&mut self.refusing, true) {
                    tracing::warn!(%channel, error = %full, "batches are dropped and counted");
                }
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
