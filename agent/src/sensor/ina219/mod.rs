//! Driver of the INA219, for a chip and for the emulator alike.
//!
//! One reading: bus register; only if its ready bit is set the shunt register; then the power register, whose reading
//! clears the ready bit. (The crate's own `next_measurement` reads power before it knows that the bit was set, and
//! loses a third of the conversions.) Current comes from the shunt voltage and the shunt in software, with all of the
//! chip's 10 µV; the calibration register only makes the power register a witness that the chip has not been reset.

mod bus;
mod settings;
#[cfg(test)]
mod tests;
mod tracker;

use std::path::Path;
use std::time::Duration;

use embedded_hal::i2c::I2c;
use ina219::SyncIna219;
use ina219::address::Address;
use ina219::calibration::Calibration;
use ina219::configuration::Configuration;
use ina219::errors::{BusVoltageReadError, ConfigurationReadError, ShuntVoltageReadError};
use ina219::measurements::{BusVoltage, CurrentRegister, PowerRegister, ShuntVoltage};
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, nanoseconds};
use tinywatt_proto::v1;

pub(crate) use bus::KernelBus;
pub use bus::KernelBusError;
pub(crate) use bus::rail;
pub use settings::{Adc, AdcError, BusRange, Grade, Settings, ShuntRange};

use self::tracker::Tracker;
use super::{Poll, Sensor};
use crate::clock::Clock;

/// Whether a bus is fast enough for a setting, and what to do if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BusSpeed {
    /// Every conversion can be read, or the speed is not known.
    Enough,
    /// Too slow; the fastest setting it could follow.
    TooSlow {
        /// What the system states.
        clock_hz: u32,
        /// Slower setting, averaged by the chip, that loses nothing.
        fitting: Adc,
    },
}

impl BusSpeed {
    /// Looks at the clock behind a device file.
    pub(crate) fn of(path: &Path, adc: Adc) -> Self {
        bus::clock_hz(path).map_or(Self::Enough, |clock_hz| Self::judge(clock_hz, adc))
    }

    fn judge(clock_hz: u32, adc: Adc) -> Self {
        let needed = bus::reading_time(clock_hz);
        // The fastest chip's oscillator runs 10 % ahead.
        let fits = |adc: &Adc| adc.cycle() * 9 / 10 > needed;
        if fits(&adc) {
            return Self::Enough;
        }
        let slowest = Adc::slower().last().expect("there are settings");
        Self::TooSlow { clock_hz, fitting: Adc::slower().find(fits).unwrap_or(slowest) }
    }
}

/// What the registers say the channel is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name from the configuration.
    pub name: String,
    /// "ina219" or "ina219-emulator".
    pub source: &'static str,
    /// What it measures, as in `Channel.rail`.
    pub rail: String,
    /// Measured or simulated.
    pub kind: v1::FigureKind,
}

/// The chip did not take its settings.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError<E: std::fmt::Debug> {
    /// The address is none that the chip can have.
    #[error("address {0:#04x} is no address of an INA219: they are 0x40 to 0x4f")]
    Address(u8),
    /// The bus failed.
    #[error("failed to write the settings: {0:?}")]
    Bus(E),
    /// Something answered, with another configuration than was written.
    #[error("wrote configuration {written:#06x} and read back {read:#06x}: is the chip at this address an INA219?")]
    Mismatch {
        /// What was written.
        written: u16,
        /// What came back.
        read: u16,
    },
}

/// The calibration that makes current equal to the shunt code, so that power = shunt × bus / 5000 and cannot overflow.
#[derive(Debug, Clone, Copy)]
struct Witness;

impl Calibration for Witness {
    type Current = ();
    type Power = ();
    const READ_CURRENT: bool = false;

    fn register_bits(&self) -> u16 {
        4_096
    }
    fn current_from_register(&self, _register: CurrentRegister) {}
    fn power_from_register(&self, _register: PowerRegister) {}
}

/// One INA219 on any bus.
pub struct Ina219<B, C> {
    chip: SyncIna219<B, Witness>,
    clock: C,
    identity: Identity,
    settings: Settings,
    configuration: Configuration,
    tracker: Tracker,
    is_set_up: bool,
    /// Looks that failed, one after the other.
    failure_count: u32,
    /// Readings in a row whose power register read zero against all expectation.
    suspicion_count: u32,
    next_check: MonoNs,
    /// How late looks come, on average, ns: they are asked for earlier by this.
    lateness_ns: u64,
    look_asked: Option<MonoNs>,
}

/// Time between two looks at the configuration register, which alone shows a brown-out while no current flows. Its
/// 120 µs on the bus are 0.01 % of a second.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// First pause after a failed look, and the longest: a bus that is gone is tried once a second.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Cycles without any conversion after which the chip must have stopped converting.
const SILENT_CYCLES_MAX: u64 = 8;
/// Power codes below which a power register of zero is no witness against the chip.
const WITNESS_POWER_MIN: u32 = 2;

enum Fault {
    Bus,
    Reset,
}

impl<B: I2c, C: Clock> Ina219<B, C> {
    /// Sets the chip up and checks that it took its settings.
    ///
    /// # Errors
    /// Any [`SetUpError`].
    pub fn open(
        bus: B,
        address: u8,
        clock: C,
        identity: Identity,
        settings: Settings,
    ) -> Result<Self, SetUpError<B::Error>> {
        let at = Address::from_byte(address).map_err(|_| SetUpError::Address(address))?;
        let mut driver = Self {
            chip: SyncIna219::new_unchecked(bus, at, Witness),
            clock,
            identity,
            settings,
            configuration: settings.configuration(),
            tracker: Tracker::new(settings.adc.cycle(), settings.look_interval(), settings.timestamp_error()),
            is_set_up: false,
            failure_count: 0,
            suspicion_count: 0,
            next_check: MonoNs(0),
            lateness_ns: 0,
            look_asked: None,
        };
        driver.set_up().map_err(SetUpError::Bus)?;
        let read = driver.chip.configuration().map_err(|error| match error {
            ConfigurationReadError::I2cError(error) => SetUpError::Bus(error),
            ConfigurationReadError::ConfigurationMismatch { read, saved } => {
                SetUpError::Mismatch { written: saved.as_bits(), read: read.as_bits() }
            }
        })?;
        if read != driver.configuration {
            let (written, read) = (driver.configuration.as_bits(), read.as_bits());
            return Err(SetUpError::Mismatch { written, read });
        }
        Ok(driver)
    }

    /// Writes calibration, then configuration, which starts the first cycle.
    fn set_up(&mut self) -> Result<(), B::Error> {
        self.chip.calibrate(Witness)?;
        let before = self.clock.now();
        self.chip.set_configuration(self.configuration)?;
        let started = between(before, self.clock.now());
        self.tracker.start(started);
        self.is_set_up = true;
        self.suspicion_count = 0;
        self.next_check = started.after(CHECK_INTERVAL);
        Ok(())
    }

    /// One look; `None` when nothing is finished.
    fn look(&mut self, now: MonoNs) -> Result<Option<(Reading, u64)>, Fault> {
        if now >= self.next_check {
            self.check_configuration()?;
            self.next_check = now.after(CHECK_INTERVAL);
        }
        let before = self.clock.now();
        let bus = self.chip.bus_voltage().map_err(|error| match error {
            BusVoltageReadError::I2cError(_) | BusVoltageReadError::BusVoltageOutOfRange { .. } => Fault::Bus,
        })?;
        let looked = between(before, self.clock.now());
        if !bus.is_conversion_ready() {
            self.tracker.nothing(looked);
            let silence = looked.0.saturating_sub(self.tracker.end().0);
            // A chip in continuous mode that converts nothing has lost its mode.
            return if silence > SILENT_CYCLES_MAX * self.tracker.cycle_ns() { Err(Fault::Reset) } else { Ok(None) };
        }
        let shunt = self.chip.shunt_voltage().map_err(|error| match error {
            ShuntVoltageReadError::I2cError(_) | ShuntVoltageReadError::ShuntVoltageOutOfRange { .. } => Fault::Bus,
        })?;
        let shunt_read = self.clock.now();
        // Only once this succeeded the reading counts: otherwise the ready bit still stands, and the same conversion is
        // found again at the next look.
        let power = self.chip.power_raw().map_err(|_| Fault::Bus)?;
        let is_suspicious = self.witness(bus, shunt, power)?;

        let hit = self.tracker.hit(looked);
        let mut flags = Flags::NONE;
        if self.is_clipped(bus, shunt) {
            flags |= Flags::CLIPPED;
        }
        // The next shunt conversion overwrites the register one shunt time after the end of the cycle.
        let shunt_ns = nanoseconds(self.settings.adc.shunt_time()) * nanoseconds(hit.cycle)
            / nanoseconds(self.settings.adc.cycle()).max(1);
        let is_torn = shunt_read.since(hit.end.min(before)) >= Duration::from_nanos(shunt_ns);
        if is_torn || is_suspicious {
            flags |= Flags::TORN;
        }
        if hit.is_late {
            flags |= Flags::LATE;
        }
        let reading = Reading {
            at: hit.end.before(hit.cycle / 2),
            first: i64::from(shunt.shunt_voltage_10uv()),
            second: i64::from(bus.voltage_4mv()),
            flags,
        };
        Ok(Some((reading, hit.lost_count)))
    }

    fn is_clipped(&self, bus: BusVoltage, shunt: ShuntVoltage) -> bool {
        let shunt_code = u32::from(shunt.shunt_voltage_10uv().unsigned_abs());
        bus.has_math_overflowed()
            || shunt_code >= self.settings.shunt_range.code_max()
            || u32::from(bus.voltage_4mv()) >= self.settings.bus_range.code_max()
    }

    /// After a brown-out the calibration is gone and power reads zero. Costs nothing: power is read anyway.
    fn witness(&mut self, bus: BusVoltage, shunt: ShuntVoltage, power: PowerRegister) -> Result<bool, Fault> {
        let shunt_code = u32::from(shunt.shunt_voltage_10uv().unsigned_abs());
        let expected = shunt_code * u32::from(bus.voltage_4mv()) / 5_000;
        if power.0 != 0 || expected < WITNESS_POWER_MIN {
            self.suspicion_count = 0;
            return Ok(false);
        }
        // Also seen when the load was switched on between this cycle's power and the next one's shunt: torn, no reset.
        self.suspicion_count += 1;
        self.check_configuration()?;
        if self.suspicion_count > 1 { Err(Fault::Reset) } else { Ok(true) }
    }

    fn check_configuration(&mut self) -> Result<(), Fault> {
        match self.chip.configuration() {
            Ok(read) if read == self.configuration => Ok(()),
            Ok(_) | Err(ConfigurationReadError::ConfigurationMismatch { .. }) => Err(Fault::Reset),
            Err(ConfigurationReadError::I2cError(_)) => Err(Fault::Bus),
        }
    }

    fn failed(&mut self, fault: &Fault, now: MonoNs) -> Poll {
        let reason = match fault {
            Fault::Bus => {
                let pause = RETRY_FIRST * 2u32.saturating_pow(self.failure_count.min(16));
                self.failure_count += 1;
                let look_again = now.after(pause.min(RETRY_MAX));
                return Poll::Failed { reason: v1::LossReason::BusError, look_again };
            }
            Fault::Reset => v1::LossReason::ChipReset,
        };
        self.is_set_up = false;
        Poll::Failed { reason, look_again: now }
    }

    fn ask(&mut self, look_again: MonoNs) -> MonoNs {
        let asked = MonoNs(look_again.0.saturating_sub(self.lateness_ns));
        self.look_asked = Some(asked);
        asked
    }
}

/// The middle: a register is latched about half-way through its transaction.
fn between(before: MonoNs, after: MonoNs) -> MonoNs {
    before.after(after.since(before) / 2)
}

impl<B: I2c + Send, C: Clock> Sensor for Ina219<B, C> {
    fn channel(&self) -> v1::Channel {
        v1::Channel {
            channel: 0,
            name: self.identity.name.clone(),
            source: self.identity.source.to_owned(),
            kind: self.identity.kind.into(),
            sample_period_ns: nanoseconds(self.settings.adc.cycle()),
            time_unit_ns: 1_000,
            scale: Some(v1::channel::Scale::ShuntBus(self.settings.scale())),
            rail: self.identity.rail.clone(),
        }
    }

    fn poll(&mut self) -> Poll {
        let now = self.clock.now();
        if let Some(asked) = self.look_asked.take() {
            // At most a quarter of a cycle, so that one long pause does not make later looks too early.
            let late = now.0.saturating_sub(asked.0).min(self.tracker.cycle_ns() / 4);
            self.lateness_ns = (self.lateness_ns * 15 + late) / 16;
        }
        if !self.is_set_up && self.set_up().is_err() {
            return self.failed(&Fault::Bus, now);
        }
        match self.look(now) {
            Ok(Some((reading, lost_count))) => {
                self.failure_count = 0;
                let look_again = self.tracker.next_look();
                Poll::Reading { reading, lost_count, look_again: self.ask(look_again) }
            }
            Ok(None) => {
                self.failure_count = 0;
                // Not before the expected end, but for the first look after a start or a failure.
                let again = now.after(self.settings.look_interval());
                let look_again = again.max(self.tracker.next_look());
                Poll::NotReady { look_again: self.ask(look_again) }
            }
            Err(fault) => self.failed(&fault, now),
        }
    }
}
