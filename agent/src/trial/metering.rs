//! What every metered workload shares: its channels, its idle windows, and the wait for the last readings.

use std::pin::pin;
use std::time::Duration;

use tinywatt_proto::rail::Overlap;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tinywatt_proto::v1::Phase;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::executor::Workshop;
use super::{Launch, Measured, TrialError};
use crate::batch::Totals;
use crate::clock::Clock;
use crate::sensor::load::{LoadState, LoadSwitch};

/// How long a reading may take from the sensor into the spool. A batch is a quarter of a second, and a slow card may
/// take seconds over a commit; what takes longer than this is not late but missing.
const SPOOL_LIMIT: Duration = Duration::from_secs(10);

/// Shortest pause between an idle window and the load beside it. A runtime's threads may go on spinning when they have
/// nothing to do: those of Intel's and LLVM's OpenMP for 200 ms (KMP_BLOCKTIME).
const GUARD_MIN: Duration = Duration::from_millis(250);

/// Time between two showings of progress.
const SHOW_PERIOD: Duration = Duration::from_millis(500);

/// The channels that measure a trial, at least one.
#[derive(Debug)]
pub(super) struct Meters<'a>(Vec<&'a Measured>);

impl<'a> Meters<'a> {
    /// Finds the channels of an assignment by their names; no name means the node's only one.
    pub(super) fn find(channels: &'a [Measured], assignment: &v1::Assignment) -> Result<Self, TrialError> {
        let mut found = vec![find(channels, &assignment.channel)?];
        for name in &assignment.further_channels {
            let further = find(channels, name)?;
            if found.iter().any(|other| other.channel.channel == further.channel.channel) {
                // Added up, its energy would count twice.
                return Err(TrialError::ChannelTwice { name: further.channel.name.clone() });
            }
            if let Some(overlap) = found.iter().find_map(|other| Overlap::between(&other.channel, &further.channel)) {
                return Err(TrialError::ChannelsOverlap(overlap));
            }
            found.push(further);
        }
        Ok(Self(found))
    }

    /// How far idle windows keep from the load beside them, so that none of the channels sees it at their edges.
    pub(super) fn guard(&self) -> Duration {
        let guards = self.0.iter().map(|measured| tinywatt_energy::guard(&measured.channel));
        guards.fold(GUARD_MIN, Duration::max)
    }

    /// Index of the first channel.
    pub(super) fn channel(&self) -> u32 {
        self.0[0].channel.channel
    }

    /// Indices of the others.
    pub(super) fn further_channels(&self) -> Vec<u32> {
        self.0[1..].iter().map(|measured| measured.channel.channel).collect()
    }

    /// What the readings of each channel add up to now.
    pub(super) fn totals(&self) -> Vec<Totals> {
        self.0.iter().map(|measured| *measured.totals.borrow()).collect()
    }

    /// Mean power of all channels since then, W. `None` until each of them has told.
    pub(super) fn power_watts_since(&self, earlier: &[Totals]) -> Option<f64> {
        let of = |(measured, earlier): (&&Measured, &Totals)| {
            measured.totals.borrow().power_watts_since(earlier, &measured.channel)
        };
        self.0.iter().zip(earlier).map(of).sum()
    }

    /// Energy that the emulated loads really took; `None` unless all are emulated.
    fn true_joules(&self, window: Window) -> Option<f64> {
        let of = |measured: &&Measured| measured.load.as_ref()?.true_energy(window).map(|joules| joules.get());
        self.0.iter().map(of).sum()
    }

    /// A window as the outcome states it.
    pub(super) fn window(&self, phase: Phase, window: Window, inference_count: u64) -> v1::Window {
        v1::Window {
            phase: phase.into(),
            start_mono_ns: window.start().0,
            end_mono_ns: window.end().0,
            inference_count,
            simulated_true_joules: self.true_joules(window),
        }
    }
}

impl<C: Clock + Sync, L: Launch> Workshop<C, L> {
    /// An idle window with whatever is loaded waiting, a guard before and after it. `None` when no time was asked for.
    pub(super) async fn idle(
        &self,
        trial: &v1::TrialKey,
        meters: &Meters<'_>,
        nanos: u64,
    ) -> Result<Option<Window>, TrialError> {
        if nanos == 0 {
            return Ok(None);
        }
        sleep(meters.guard()).await;
        let window = self.pass(trial, Phase::Idle, Duration::from_nanos(nanos)).await;
        // The markers too are written only then: a commit is no idling.
        sleep(meters.guard()).await;
        self.mark(self.equipment.boot, trial, Phase::Idle, window).await?;
        Ok(Some(window))
    }

    /// Lets the device cool down, if time was asked for.
    pub(super) async fn cool_down(&self, trial: &v1::TrialKey, nanos: u64) -> Result<(), TrialError> {
        if nanos > 0 {
            let window = self.pass(trial, Phase::CoolDown, Duration::from_nanos(nanos)).await;
            self.mark(self.equipment.boot, trial, Phase::CoolDown, window).await?;
        }
        Ok(())
    }

    /// Lets time pass, not zero.
    async fn pass(&self, trial: &v1::TrialKey, phase: Phase, duration: Duration) -> Window {
        let start = self.equipment.clock.now();
        // The timer and the clock may differ by a little; a window is never shorter than asked for.
        loop {
            let left = start.after(duration).since(self.equipment.clock.now());
            if left.is_zero() {
                break;
            }
            self.showing(trial, phase, duration, sleep(left)).await;
        }
        Window::new(start, self.equipment.clock.now()).expect("at least `duration`, which is not zero")
    }

    /// Shows progress by the clock while something is going on.
    pub(super) async fn showing<T>(
        &self,
        trial: &v1::TrialKey,
        phase: Phase,
        duration: Duration,
        going_on: impl Future<Output = T> + Send,
    ) -> T {
        let start = self.equipment.clock.now();
        let mut going_on = pin!(going_on);
        let mut tick = interval(SHOW_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut going_on => return done,
                _ = tick.tick() => {
                    let passed = self.equipment.clock.now().since(start).as_secs_f64() / duration.as_secs_f64();
                    self.board.show(trial, phase, passed.min(1.0));
                }
            }
        }
    }

    /// Waits until the readings of all channels up to an instant are in the spool. Those of a window reach a guard
    /// further: its edge looks at readings beyond it, and is not to look different to whoever assesses it later.
    pub(super) async fn wait_for_readings(&self, meters: &Meters<'_>, until: MonoNs) -> Result<(), TrialError> {
        for measured in &meters.0 {
            let mut spooled = measured.spooled.clone();
            let waited = timeout(SPOOL_LIMIT, spooled.wait_for(|&last| last >= until)).await;
            if !matches!(waited, Ok(Ok(_))) {
                let channel = measured.channel.name.clone();
                return Err(TrialError::Sensor { channel, seconds: SPOOL_LIMIT.as_secs() });
            }
        }
        Ok(())
    }

    /// What the firmware says of the machine's supply.
    pub(super) async fn throttled_bits(&self) -> Option<u32> {
        self.equipment.firmware.ask(self.equipment.clock.now()).await.bits()
    }

    /// Lets the emulated loads work until what is returned is dropped.
    pub(super) fn busy<'a>(&'a self, meters: &Meters<'a>) -> Busy<'a, C> {
        let now = self.equipment.clock.now();
        let loads: Vec<_> = meters.0.iter().filter_map(|measured| measured.load.as_ref()).collect();
        loads.iter().for_each(|load| load.set(LoadState::Active, now));
        Busy { loads, clock: &self.equipment.clock }
    }
}

/// While it lives the emulated loads work; then they idle, also when a trial is cancelled.
pub(super) struct Busy<'a, C: Clock> {
    loads: Vec<&'a LoadSwitch>,
    clock: &'a C,
}

impl<C: Clock> Drop for Busy<'_, C> {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.loads.iter().for_each(|load| load.set(LoadState::Idle, now));
    }
}

/// Finds a channel by name; no name means the only one.
fn find<'a>(channels: &'a [Measured], name: &str) -> Result<&'a Measured, TrialError> {
    let known = || channels.iter().map(|measured| measured.channel.name.as_str()).collect::<Vec<_>>().join(", ");
    match channels {
        [only] if name.is_empty() => Ok(only),
        _ if name.is_empty() => Err(TrialError::ChannelNotNamed { count: channels.len(), known: known() }),
        _ => {
            let found = channels.iter().find(|measured| measured.channel.name == name);
            found.ok_or_else(|| TrialError::Channel { name: name.to_owned(), known: known() })
        }
    }
}
