//! An INA219 made of registers and a clock, behind embedded-hal's `I2c`: the real driver reads it.
//!
//! Every transaction first brings the chip up to the clock's present, then acts on its registers. A transaction itself
//! takes no time here; a test that wants a slow bus wraps this one. The state machine follows the datasheet (SBOS448);
//! where that is silent, [`Options`] says what is assumed.

mod analog;
mod fault;
mod registers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Ohms;

pub use analog::{Deviations, ShuntStep};
pub use fault::{Fault, FaultPlan};

use self::analog::Analog;
use self::registers::{Configuration, compute, pointer};
use super::load::{Supply, SwitchedLoad};
use crate::clock::Clock;

/// What hangs on the emulated chip.
pub trait Load: Send {
    /// Mean current and voltage over `[from, to)`. Called in ascending order, from the thread that polls.
    fn mean(&mut self, from: MonoNs, to: MonoNs) -> Supply;
}

impl Load for SwitchedLoad {
    fn mean(&mut self, from: MonoNs, to: MonoNs) -> Supply {
        SwitchedLoad::mean(self, from, to)
    }
}

/// When the shunt register takes a new value; the datasheet does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShuntLatch {
    /// At the end of the shunt conversion.
    #[default]
    AtOnce,
    /// At the end of the whole cycle, together with the bus register.
    EndOfCycle,
}

/// The chip, and what the datasheet leaves open.
#[derive(Debug, Clone)]
pub struct Options {
    /// 7-bit address it answers to.
    pub address: u8,
    /// Nominal shunt.
    pub shunt: Ohms,
    /// How this chip and shunt differ from nominal.
    pub deviations: Deviations,
    /// Seed of the converters' noise; `None` gives a silent chip.
    pub noise_seed: Option<u64>,
    /// Step of the shunt converter.
    pub shunt_step: ShuntStep,
    /// When the shunt register changes.
    pub shunt_latch: ShuntLatch,
    /// Whether reading the bus register clears the ready bit too, as one sentence of the datasheet has it. Linux and
    /// users on real chips found that it does not.
    pub bus_read_clears_ready: bool,
    /// What goes wrong, and when.
    pub faults: FaultPlan,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: 0x40,
            shunt: Ohms::new(0.1),
            deviations: Deviations::NONE,
            noise_seed: None,
            shunt_step: ShuntStep::default(),
            shunt_latch: ShuntLatch::default(),
            bus_read_clears_ready: false,
            faults: FaultPlan::default(),
        }
    }
}

/// The emulated bus refused a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmulatorError {
    /// Nobody acknowledged the address.
    #[error("address {0:#04x} was not acknowledged")]
    NotAcknowledged(u8),
    /// The bus was held low until the controller gave up.
    #[error("the bus is stuck")]
    Stuck,
}

impl embedded_hal::i2c::Error for EmulatorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAcknowledged(_) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Stuck => ErrorKind::Bus,
        }
    }
}

/// The chip.
#[derive(Debug)]
pub struct Emulator<C, L> {
    clock: C,
    load: L,
    analog: Analog,
    options: Options,
    configuration: Configuration,
    calibration: u16,
    shunt: i16,
    /// Result of the shunt conversion of the running cycle.
    shunt_next: i16,
    bus: u16,
    current: i16,
    power: u16,
    is_ready: bool,
    has_overflowed: bool,
    /// Register that the next read gives; kept from transaction to transaction.
    pointer: u8,
    running: Option<Conversion>,
    conversion_count: Arc<AtomicU64>,
    refusals_left: u32,
    stuck_until: MonoNs,
    unplugged_until: MonoNs,
    flip_mask: u16,
}

/// What the converter is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conversion {
    phase: Phase,
    start: MonoNs,
    end: MonoNs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Shunt,
    Bus,
}

/// Time to wake from power-down, ns.
const WAKE_NS: u64 = 40_000;

impl<C: Clock, L: Load> Emulator<C, L> {
    /// Powers the chip on.
    pub fn new(clock: C, load: L, options: Options) -> Self {
        let now = clock.now();
        let analog = Analog::new(options.shunt, options.deviations, options.shunt_step, options.noise_seed);
        let mut chip = Self {
            clock,
            load,
            analog,
            options,
            configuration: Configuration::RESET,
            calibration: 0,
            shunt: 0,
            shunt_next: 0,
            bus: 0,
            current: 0,
            power: 0,
            is_ready: false,
            has_overflowed: false,
            pointer: pointer::CONFIGURATION,
            running: None,
            conversion_count: Arc::default(),
            refusals_left: 0,
            stuck_until: MonoNs(0),
            unplugged_until: MonoNs(0),
            flip_mask: 0,
        };
        chip.power_on(now);
        chip
    }

    /// Number of finished cycles, readable while the chip belongs to a driver.
    pub fn conversion_count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.conversion_count)
    }

    fn power_on(&mut self, at: MonoNs) {
        self.configuration = Configuration::RESET;
        (self.calibration, self.shunt, self.shunt_next, self.bus) = (0, 0, 0, 0);
        (self.current, self.power, self.pointer) = (0, 0, pointer::CONFIGURATION);
        (self.is_ready, self.has_overflowed) = (false, false);
        self.start_cycle(at);
    }

    /// First conversion of a cycle, if the mode has any.
    fn start_cycle(&mut self, at: MonoNs) {
        self.running = if self.configuration.converts_shunt() {
            Some(self.conversion(Phase::Shunt, at))
        } else if self.configuration.converts_bus() {
            Some(self.conversion(Phase::Bus, at))
        } else {
            None
        };
    }

    fn conversion(&self, phase: Phase, start: MonoNs) -> Conversion {
        let adc = match phase {
            Phase::Shunt => self.configuration.shunt_adc(),
            Phase::Bus => self.configuration.bus_adc(),
        };
        Conversion { phase, start, end: MonoNs(start.0 + self.real_ns(adc.microseconds)) }
    }

    /// A typical time as this chip's oscillator counts it.
    fn real_ns(&self, microseconds: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "at most 68,100 µs")]
        let real = microseconds as f64 * 1e3 * self.analog.deviations.oscillator_factor;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, below a second")]
        let real = real.round() as u64;
        real.max(1)
    }

    fn cycle_ns(&self) -> u64 {
        let part = |used: bool, microseconds| if used { self.real_ns(microseconds) } else { 0 };
        part(self.configuration.converts_shunt(), self.configuration.shunt_adc().microseconds)
            + part(self.configuration.converts_bus(), self.configuration.bus_adc().microseconds)
    }

    /// Brings the chip to the present, faults included.
    fn advance(&mut self) {
        let now = self.clock.now();
        while let Some(fault) = self.options.faults.due(now) {
            match fault {
                Fault::NotAcknowledged { count } => self.refusals_left = count,
                Fault::StuckBus { until } => self.stuck_until = until,
                Fault::FlippedBits { mask } => self.flip_mask = mask,
                Fault::BrownOut => {
                    self.convert_until(now);
                    self.power_on(now);
                }
                Fault::Unplugged { until } => {
                    self.convert_until(now);
                    self.power_on(until);
                    self.unplugged_until = until;
                }
            }
        }
        self.convert_until(now);
    }

    fn convert_until(&mut self, now: MonoNs) {
        self.skip_unseen_cycles(now);
        while let Some(conversion) = self.running.filter(|conversion| conversion.end <= now) {
            let supply = self.load.mean(conversion.start, conversion.end);
            match conversion.phase {
                Phase::Shunt => {
                    self.shunt_next = self.analog.shunt_code(supply.current.get(), self.configuration);
                    if self.options.shunt_latch == ShuntLatch::AtOnce {
                        self.shunt = self.shunt_next;
                    }
                    if self.configuration.converts_bus() {
                        self.running = Some(self.conversion(Phase::Bus, conversion.end));
                    } else {
                        self.end_cycle(conversion.end);
                    }
                }
                Phase::Bus => {
                    self.bus = self.analog.bus_code(supply.bus.get(), self.configuration);
                    self.end_cycle(conversion.end);
                }
            }
        }
    }

    /// Whole cycles whose results are overwritten before anybody looks are counted, not computed: a look after an
    /// hour of silence costs no more than one after a millisecond.
    fn skip_unseen_cycles(&mut self, now: MonoNs) {
        /// Cycles computed before the present, so that every register holds a value of its own cycle.
        const COMPUTED: u64 = 2;
        let Some(conversion) = self.running.filter(|_| self.configuration.is_continuous()) else { return };
        let cycle = self.cycle_ns();
        let cycles = now.0.saturating_sub(conversion.end.0) / cycle;
        if cycles > COMPUTED {
            let skipped = cycles - COMPUTED;
            let shift = skipped * cycle;
            let moved = |instant: MonoNs| MonoNs(instant.0 + shift);
            self.running =
                Some(Conversion { start: moved(conversion.start), end: moved(conversion.end), ..conversion });
            self.conversion_count.fetch_add(skipped, Ordering::Relaxed);
        }
    }

    fn end_cycle(&mut self, at: MonoNs) {
        self.shunt = self.shunt_next;
        let computed = compute(self.shunt, self.bus, self.calibration);
        (self.current, self.power, self.has_overflowed) = (computed.current, computed.power, computed.overflow);
        self.is_ready = true;
        self.conversion_count.fetch_add(1, Ordering::Relaxed);
        if self.configuration.is_continuous() {
            self.start_cycle(at);
        } else {
            self.running = None;
        }
    }

    fn write_register(&mut self, register: u8, value: u16) {
        let now = self.clock.now();
        match register {
            pointer::CONFIGURATION => match Configuration::written(value) {
                None => self.power_on(now),
                Some(configuration) => {
                    let wake = if self.configuration.is_power_down() { WAKE_NS } else { 0 };
                    self.configuration = configuration;
                    if configuration.clears_ready() {
                        self.is_ready = false;
                    }
                    self.start_cycle(MonoNs(now.0 + wake));
                }
            },
            pointer::CALIBRATION => self.calibration = value & !1,
            // The others are read only; what a write to an unknown register does is not specified.
            _ => {}
        }
    }

    fn read_register(&mut self) -> u16 {
        let signed = |value: i16| u16::from_ne_bytes(value.to_ne_bytes());
        let value = match self.pointer {
            pointer::CONFIGURATION => self.configuration.bits(),
            pointer::SHUNT => signed(self.shunt),
            pointer::BUS => {
                let value = self.bus << 3 | u16::from(self.is_ready) << 1 | u16::from(self.has_overflowed);
                if self.options.bus_read_clears_ready {
                    self.is_ready = false;
                }
                value
            }
            pointer::POWER => {
                self.is_ready = false;
                self.power
            }
            pointer::CURRENT => signed(self.current),
            pointer::CALIBRATION => self.calibration,
            _ => 0,
        };
        value ^ std::mem::take(&mut self.flip_mask)
    }

    fn check_bus(&mut self, address: u8) -> Result<(), EmulatorError> {
        let now = self.clock.now();
        if now < self.stuck_until {
            return Err(EmulatorError::Stuck);
        }
        if address != self.options.address || now < self.unplugged_until {
            return Err(EmulatorError::NotAcknowledged(address));
        }
        if self.refusals_left > 0 {
            self.refusals_left -= 1;
            return Err(EmulatorError::NotAcknowledged(address));
        }
        Ok(())
    }
}

impl<C, L> ErrorType for Emulator<C, L> {
    type Error = EmulatorError;
}

impl<C: Clock, L: Load> I2c for Emulator<C, L> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), EmulatorError> {
        self.advance();
        self.check_bus(address)?;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => match **bytes {
                    [register] => self.pointer = register,
                    // Registers have 16 bits; what a longer write does is not specified, and nothing sends one.
                    [register, high, low, ..] => {
                        self.pointer = register;
                        self.write_register(register, u16::from_be_bytes([high, low]));
                    }
                    _ => {}
                },
                Operation::Read(bytes) => {
                    let value = self.read_register().to_be_bytes();
                    // The pointer does not walk: a longer read gives the same register again.
                    bytes.iter_mut().zip(value.iter().cycle()).for_each(|(byte, read)| *byte = *read);
                }
            }
        }
        Ok(())
    }
}
