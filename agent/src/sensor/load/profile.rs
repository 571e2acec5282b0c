//! Current and voltage of the emulated load as functions of time.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tinywatt_proto::time::{MonoNs, nanoseconds};
use tinywatt_proto::units::{Amperes, Volts};

/// What the emulated device draws. The defaults are about a Raspberry Pi 4 without a screen: 2.6 W idle, 5.2 W busy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadConfig {
    /// Mean current while idle.
    pub idle_amperes: f64,
    /// Mean current while active.
    pub active_amperes: f64,
    /// Voltage of the supply without load.
    pub supply_volts: f64,
    /// Resistance of supply and cable, which makes the voltage sag under load.
    pub supply_ohms: f64,
    /// Time constant with which the current settles after a switch.
    #[serde(with = "humantime_serde")]
    pub settling: Duration,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            idle_amperes: 0.52,
            active_amperes: 1.05,
            supply_volts: 5.1,
            supply_ohms: 0.08,
            settling: Duration::from_millis(3),
        }
    }
}

/// The described load cannot exist, or not behind this sensor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadConfigError {
    /// A number is negative, zero or not finite.
    #[error("load.{field} = {value} is not a quantity of this kind: give a positive number")]
    NotPositive {
        /// Name of the setting.
        field: &'static str,
        /// What it holds.
        value: f64,
    },
    /// The supply would collapse.
    #[error(
        "load.supply_ohms = {supply_ohms} leaves {left} V of load.supply_volts = {supply_volts} at {amperes} A: \
         give a smaller resistance"
    )]
    Collapse {
        /// Resistance of the supply.
        supply_ohms: f64,
        /// Voltage without load.
        supply_volts: f64,
        /// The largest current.
        amperes: f64,
        /// Voltage under that load.
        left: f64,
    },
}

impl LoadConfig {
    /// Checks that the load can exist.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<(), LoadConfigError> {
        let positive = [
            ("idle_amperes", self.idle_amperes),
            ("active_amperes", self.active_amperes),
            ("supply_volts", self.supply_volts),
        ];
        for (field, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(LoadConfigError::NotPositive { field, value });
            }
        }
        if !(self.supply_ohms.is_finite() && self.supply_ohms >= 0.0) {
            return Err(LoadConfigError::NotPositive { field: "supply_ohms", value: self.supply_ohms });
        }
        let left = self.supply_volts - self.supply_ohms * self.amperes_max();
        if left < self.supply_volts / 2.0 {
            return Err(LoadConfigError::Collapse {
                supply_ohms: self.supply_ohms,
                supply_volts: self.supply_volts,
                amperes: self.amperes_max(),
                left,
            });
        }
        Ok(())
    }

    /// Largest current the load can draw, ripple and drift included.
    pub fn amperes_max(&self) -> f64 {
        self.idle_amperes.max(self.active_amperes) * (1.0 + RIPPLE_MAX + DRIFT_MAX)
    }
}

/// Largest sum of all ripple, as a part of the level. A few percent is what a switching regulator and a kernel's timer
/// ticks leave on a rail behind its capacitors.
const RIPPLE_MAX: f64 = 0.03;
/// Largest slow drift, as a part of the level: what self-heating changes over minutes.
const DRIFT_MAX: f64 = 0.003;
/// Bands of the ripple, Hz; one sine is drawn from each. The last ends where the mean over one conversion of 0.5 ms
/// still sees it whole.
const RIPPLE_BANDS_HZ: [(f64, f64); 5] = [(7.0, 15.0), (15.0, 40.0), (40.0, 90.0), (90.0, 190.0), (190.0, 410.0)];
/// Period of the drift, seconds.
const DRIFT_PERIOD_SECONDS: (f64, f64) = (60.0, 600.0);
/// After this many time constants a level has settled to the last bit of an `f64`.
const SETTLED_AFTER: f64 = 40.0;

#[derive(Debug, Clone, Copy)]
struct Sine {
    hertz: f64,
    amplitude: f64,
    phase: f64,
}

impl Sine {
    fn at(&self, seconds: f64) -> f64 {
        self.amplitude * (TAU * self.hertz * seconds + self.phase).sin()
    }
}

/// A load drawn from a seed. The same configuration and seed give the same load.
#[derive(Debug, Clone)]
pub struct Profile {
    config: LoadConfig,
    settling_seconds: f64,
    /// Relative to the level: the ripple, and last the drift.
    sines: [Sine; RIPPLE_BANDS_HZ.len() + 1],
}

impl Profile {
    /// Draws a load.
    pub fn new(config: &LoadConfig, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let share = RIPPLE_MAX / f64::from(u32::try_from(RIPPLE_BANDS_HZ.len()).unwrap_or(1));
        let mut sine = |hertz: (f64, f64), amplitude_max: f64| Sine {
            hertz: random.random_range(hertz.0..hertz.1),
            amplitude: random.random_range(0.2..1.0) * amplitude_max,
            phase: random.random_range(0.0..TAU),
        };
        let drift = sine((1.0 / DRIFT_PERIOD_SECONDS.1, 1.0 / DRIFT_PERIOD_SECONDS.0), DRIFT_MAX);
        let mut sines = [drift; RIPPLE_BANDS_HZ.len() + 1];
        for (slot, band) in sines.iter_mut().zip(RIPPLE_BANDS_HZ) {
            *slot = sine(band, share);
        }
        Self { config: config.clone(), settling_seconds: config.settling.as_secs_f64(), sines }
    }

    /// Level the load settles to.
    pub(super) fn target(&self, active: bool) -> f64 {
        if active { self.config.active_amperes } else { self.config.idle_amperes }
    }

    /// Level `elapsed_ns` after a switch at which it stood at `from`.
    pub(super) fn level(&self, from: f64, target: f64, elapsed_ns: u64) -> f64 {
        let constants = Duration::from_nanos(elapsed_ns).as_secs_f64() / self.settling_seconds.max(1e-9);
        if constants > SETTLED_AFTER { target } else { target + (from - target) * (-constants).exp() }
    }

    /// Current and voltage at an instant, for a level without ripple.
    pub(super) fn at(&self, instant: MonoNs, level: f64) -> (Amperes, Volts) {
        let seconds = Duration::from_nanos(instant.0).as_secs_f64();
        let ripple: f64 = self.sines.iter().map(|sine| sine.at(seconds)).sum();
        let current = level * (1.0 + ripple);
        (Amperes::new(current), Volts::new(self.config.supply_volts - self.config.supply_ohms * current))
    }
}

/// Integrals over `[from, to)` of what `at` gives, by three-point Gauss quadrature over panels of at most 200 µs.
///
/// # Source
/// The rule's error over a panel h of a sine of angular frequency ω is (ωh)⁶/2,016,000 of its amplitude: 10⁻⁸ for the
/// fastest ripple of 410 Hz, 10⁻¹⁴ for a settling of 3 ms. A true energy is exact to 10⁻⁹ of itself.
pub(super) fn quadrature(from: MonoNs, to: MonoNs, mut add: impl FnMut(MonoNs, f64)) {
    const PANEL: Duration = Duration::from_micros(200);
    /// √(3/5) / 2 in parts of 2³²: place of the outer nodes from the panel's middle.
    const OUTER: u64 = 1_663_433_681;
    let length = to.0.saturating_sub(from.0);
    if length == 0 {
        return;
    }
    let panels = length.div_ceil(nanoseconds(PANEL));
    for panel in 0..panels {
        // In 128 bits the product cannot overflow, whatever the window.
        let edge = |index: u64| {
            let offset = u128::from(length) * u128::from(index) / u128::from(panels);
            from.0 + u64::try_from(offset).expect("at most `length`")
        };
        let (start, end) = (edge(panel), edge(panel + 1));
        let middle = start + (end - start) / 2;
        let outer = ((end - start) * OUTER) >> 32;
        let seconds = Duration::from_nanos(end - start).as_secs_f64();
        add(MonoNs(middle - outer), seconds * 5.0 / 18.0);
        add(MonoNs(middle), seconds * 8.0 / 18.0);
        add(MonoNs(middle + outer), seconds * 5.0 / 18.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quadrature_integrates_a_sine() {
        let mut sum = 0.0;
        quadrature(MonoNs(0), MonoNs(1_000_000_000), |at, weight| {
            let seconds = Duration::from_nanos(at.0).as_secs_f64();
            sum += weight * (TAU * 410.3 * seconds).sin();
        });
        let exact = (1.0 - (TAU * 410.3).cos()) / (TAU * 410.3);
        assert!((sum - exact).abs() < 1e-10, "{sum} against {exact}");
    }

    #[test]
    fn the_same_seed_gives_the_same_load() {
        let at = |seed| Profile::new(&LoadConfig::default(), seed).at(MonoNs(123_456_789), 1.0).0.get();
        assert_eq!(at(7).to_bits(), at(7).to_bits());
        assert_ne!(at(7).to_bits(), at(8).to_bits());
    }

    #[test]
    fn the_current_stays_within_its_stated_maximum() {
        let config = LoadConfig::default();
        let profile = Profile::new(&config, 3);
        for millisecond in 0..10_000 {
            let (current, _) = profile.at(MonoNs(millisecond * 1_000_000), config.active_amperes);
            assert!(current.get() <= config.amperes_max());
        }
    }

    #[test]
    fn an_impossible_load_is_refused_by_name() {
        let config = LoadConfig { idle_amperes: -1.0, ..LoadConfig::default() };
        let error = config.check().expect_err("negative");
        assert!(error.to_string().contains("load.idle_amperes = -1"), "{error}");
        let config = LoadConfig { supply_ohms: 4.0, ..LoadConfig::default() };
        assert!(config.check().expect_err("collapses").to_string().contains("smaller resistance"));
    }
}
