//! Who says whether the emulated device idles or works, and who knows what it really took.
//!
//! One thread, the sampler's, owns the load: it takes requests from a bounded ring and writes each switch into a
//! history that other threads read without a lock. A request for an instant that the sensor has already looked at
//! takes effect at the first instant it has not, so that readings and truth can never disagree.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::units::{Amperes, Joules, Volts};

use super::Profile;
use super::profile::quadrature;

/// What the device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadState {
    /// Nothing but staying on.
    Idle,
    /// Working.
    Active,
}

/// Switches kept. A trial makes six, so the truth of the last 170 trials is known; older windows answer `None`.
const KEPT_COUNT: u64 = 1_024;

/// Requests that may wait for the sensor's next look. It looks every millisecond, so one that finds this many waiting
/// met a sensor that nobody samples.
const REQUESTS_MAX: usize = 64;

/// Switches an emulated load and knows what it took. Clones are handles on the same load.
#[derive(Debug, Clone)]
pub struct LoadSwitch {
    history: Arc<History>,
    /// Locked only by threads that switch; the sampler's end of the ring takes no lock.
    requests: Arc<Mutex<rtrb::Producer<Request>>>,
}

/// The sensor's end of the load.
#[derive(Debug)]
pub struct SwitchedLoad {
    history: Arc<History>,
    requests: rtrb::Consumer<Request>,
    latest: Step,
    step_count: u64,
}

/// What the load draws, averaged over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supply {
    /// Current through the shunt.
    pub current: Amperes,
    /// Voltage at the load.
    pub bus: Volts,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    at: MonoNs,
    active: bool,
}

/// From `at` on the load goes from `from` to its new level.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: MonoNs,
    active: bool,
    from: f64,
}

#[derive(Debug)]
struct History {
    profile: Profile,
    slots: Box<[Slot]>,
    /// Steps ever written. Step `i` lies in slot `i % KEPT_COUNT` until step `i + KEPT_COUNT` is written.
    step_count: AtomicU64,
    /// No switch before this instant will be added any more, ns.
    known_until: AtomicU64,
    /// Requests that found the ring full. From the first on the truth is not known.
    refused_count: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Instant in ns, times two, plus one if active.
    packed: AtomicU64,
    /// Bits of `Step::from`.
    level: AtomicU64,
}

impl LoadSwitch {
    /// Makes a load that idles from the beginning of time, as its two ends.
    pub fn new(profile: Profile) -> (Self, SwitchedLoad) {
        let latest = Step { at: MonoNs(0), active: false, from: profile.target(false) };
        let (producer, requests) = rtrb::RingBuffer::new(REQUESTS_MAX);
        let history = Arc::new(History {
            profile,
            slots: (0..KEPT_COUNT).map(|_| Slot::default()).collect(),
            step_count: AtomicU64::new(0),
            known_until: AtomicU64::new(0),
            refused_count: AtomicU64::new(0),
        });
        history.write(0, latest);
        let switch = Self { history: Arc::clone(&history), requests: Arc::new(Mutex::new(producer)) };
        (switch, SwitchedLoad { history, requests, latest, step_count: 1 })
    }

    /// Asks the load to change at `at`, or as soon after it as the sensor has not looked yet (at most one conversion).
    ///
    /// When 64 requests wait, the sensor is not sampled: the request is dropped, and from then on
    /// [`Self::true_energy`] answers `None`, since the load no longer does what the device does.
    pub fn set(&self, state: LoadState, at: MonoNs) {
        let request = Request { at, active: state == LoadState::Active };
        // A thread that panicked while pushing left the ring whole: its index moves last.
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.push(request).is_err() {
            self.history.refused_count.fetch_add(1, SeqCst);
        }
    }

    /// Joules the load really took in a window, exact to a part in 10⁸.
    ///
    /// A property of the emulated load, not a measurement. `None` when the window reaches beyond what the sensor has
    /// looked at, or back before the oldest switch that is kept, or after a request was dropped.
    pub fn true_energy(&self, window: Window) -> Option<Joules> {
        let known = self.history.known_until.load(SeqCst);
        if window.end().0 > known || self.history.refused_count.load(SeqCst) > 0 {
            return None;
        }
        let mut joules = 0.0;
        self.history.integrate(window.start(), window.end(), |supply, weight| {
            joules += (supply.bus * supply.current).get() * weight;
        })?;
        Some(Joules::new(joules))
    }
}

impl SwitchedLoad {
    /// Mean current and voltage over `[from, to)`. What was asked for up to `to` is taken into account, and nothing
    /// before `to` can change afterwards.
    pub(crate) fn mean(&mut self, from: MonoNs, to: MonoNs) -> Supply {
        self.advance(to);
        let (mut ampere_seconds, mut volt_seconds, mut seconds) = (0.0, 0.0, 0.0);
        let known = self.history.integrate(from, to, |supply, weight| {
            ampere_seconds += supply.current.get() * weight;
            volt_seconds += supply.bus.get() * weight;
            seconds += weight;
        });
        if known.is_none() || seconds <= 0.0 {
            // An empty stretch, or one that began more than `KEPT_COUNT` switches ago: its end stands for it.
            let step = self.latest;
            let level = self.history.level(step, to);
            let (current, bus) = self.history.profile.at(to, level);
            return Supply { current, bus };
        }
        Supply { current: Amperes::new(ampere_seconds / seconds), bus: Volts::new(volt_seconds / seconds) }
    }

    /// Applies requests up to `until` and closes the time before it.
    pub(crate) fn advance(&mut self, until: MonoNs) {
        let known = self.history.known_until.load(SeqCst);
        while let Ok(request) = self.requests.peek().copied() {
            if request.at >= until {
                break;
            }
            let _ = self.requests.pop();
            if request.active == self.latest.active {
                continue;
            }
            let at = request.at.max(MonoNs(known)).max(self.latest.at);
            let step = Step { at, active: request.active, from: self.history.level(self.latest, at) };
            self.history.write(self.step_count, step);
            self.latest = step;
            self.step_count += 1;
        }
        self.history.known_until.fetch_max(until.0, SeqCst);
    }
}

impl History {
    fn write(&self, index: u64, step: Step) {
        let slot = self.slot(index);
        slot.packed.store(step.at.0 << 1 | u64::from(step.active), SeqCst);
        slot.level.store(step.from.to_bits(), SeqCst);
        self.step_count.store(index + 1, SeqCst);
    }

    fn slot(&self, index: u64) -> &Slot {
        &self.slots[usize::try_from(index % KEPT_COUNT).expect("below KEPT_COUNT")]
    }

    fn read(&self, index: u64) -> Step {
        let slot = self.slot(index);
        let packed = slot.packed.load(SeqCst);
        Step { at: MonoNs(packed >> 1), active: packed & 1 == 1, from: f64::from_bits(slot.level.load(SeqCst)) }
    }

    fn level(&self, step: Step, at: MonoNs) -> f64 {
        self.profile.level(step.from, self.profile.target(step.active), at.0.saturating_sub(step.at.0))
    }

    /// Visits the quadrature's nodes in `[from, to)`. `None` when steps that are needed are no longer kept; what was
    /// visited then is void.
    fn integrate(&self, from: MonoNs, to: MonoNs, mut visit: impl FnMut(Supply, f64)) -> Option<()> {
        let count = self.step_count.load(SeqCst);
        // The oldest slot may be under the writer's hand, so one less than all of them is readable.
        let oldest = count.saturating_sub(KEPT_COUNT - 1);
        let first = (oldest..count).rev().find(|&index| self.read(index).at <= from)?;
        let mut start = from;
        for index in first..count {
            let step = self.read(index);
            let end = if index + 1 < count { self.read(index + 1).at.min(to) } else { to };
            quadrature(start, end, |at, weight| {
                let (current, bus) = self.profile.at(at, self.level(step, at));
                visit(Supply { current, bus }, weight);
            });
            start = start.max(end);
            if end >= to {
                break;
            }
        }
        // Nothing that was read has been overwritten meanwhile.
        (self.step_count.load(SeqCst).saturating_sub(KEPT_COUNT - 1) <= first).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::load::LoadConfig;

    fn window(start: u64, end: u64) -> Window {
        Window::new(MonoNs(start), MonoNs(end)).expect("not empty")
    }

    fn load() -> (LoadSwitch, SwitchedLoad) {
        LoadSwitch::new(Profile::new(&LoadConfig::default(), 1))
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_active_second_takes_more_than_an_idle_one() {
        let (switch, mut load) = load();
        switch.set(LoadState::Active, MonoNs(SECOND));
        load.advance(MonoNs(3 * SECOND));
        let idle = switch.true_energy(window(0, SECOND)).expect("known").get();
        let active = switch.true_energy(window(SECOND, 2 * SECOND)).expect("known").get();
        assert!((idle - 5.06 * 0.52).abs() < 0.05, "{idle}");
        assert!((active - 5.02 * 1.05).abs() < 0.1, "{active}");
    }

    #[test]
    fn energy_adds_up_over_any_cut() {
        let (switch, mut load) = load();
        switch.set(LoadState::Active, MonoNs(SECOND / 2));
        load.advance(MonoNs(SECOND));
        let of = |start, end| switch.true_energy(window(start, end)).expect("known").get();
        for cut in [1, 499_999_999, 500_000_000, 501_234_567, 999_999_999] {
            assert!((of(0, SECOND) - of(0, cut) - of(cut, SECOND)).abs() < 1e-8, "cut at {cut}");
        }
    }

    #[test]
    fn a_window_beyond_the_last_look_is_not_known() {
        let (switch, mut load) = load();
        load.advance(MonoNs(SECOND));
        assert!(switch.true_energy(window(0, SECOND)).is_some());
        assert_eq!(switch.true_energy(window(0, SECOND + 1)), None);
    }

    #[test]
    fn a_late_request_changes_nothing_that_was_looked_at() {
        let (switch, mut load) = load();
        load.advance(MonoNs(SECOND));
        let before = switch.true_energy(window(0, SECOND));
        switch.set(LoadState::Active, MonoNs(SECOND / 2));
        load.advance(MonoNs(2 * SECOND));
        assert_eq!(switch.true_energy(window(0, SECOND)), before);
        let after = switch.true_energy(window(SECOND, 2 * SECOND)).expect("known").get();
        assert!(after > 5.0, "active from the first instant not looked at: {after}");
    }

    #[test]
    fn the_oldest_switches_are_forgotten_and_say_so() {
        let (switch, mut load) = load();
        let mut now = 0;
        for round in 0..2_000u64 {
            now += 1_000_000;
            switch.set(if round.is_multiple_of(2) { LoadState::Active } else { LoadState::Idle }, MonoNs(now));
            load.advance(MonoNs(now + 1));
        }
        assert_eq!(switch.true_energy(window(0, 5_000_000)), None);
        assert!(switch.true_energy(window(1_900_000_000, 1_950_000_000)).is_some());
    }

    #[test]
    fn a_load_that_nobody_samples_admits_that_its_truth_is_unknown() {
        let (switch, mut load) = load();
        for round in 0..=u64::try_from(REQUESTS_MAX).expect("small") {
            switch.set(if round.is_multiple_of(2) { LoadState::Active } else { LoadState::Idle }, MonoNs(round));
        }
        load.advance(MonoNs(SECOND));
        assert_eq!(switch.true_energy(window(1, 2)), None);
    }
}
