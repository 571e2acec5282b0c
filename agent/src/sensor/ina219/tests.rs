//! The driver against the emulated chip.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tinywatt_proto::units::{Amperes, Ohms, Volts};

use super::*;
use crate::clock::Virtual;
use crate::sensor::emulator::{Deviations, Emulator, EmulatorError, Fault, FaultPlan, Load, Options};
use crate::sensor::load::Supply;
use embedded_hal::i2c::{ErrorType, Operation};

struct Steady(f64, f64);

impl Load for Steady {
    fn mean(&mut self, _from: MonoNs, _to: MonoNs) -> Supply {
        Supply { current: Amperes::new(self.0), bus: Volts::new(self.1) }
    }
}

/// A bus that takes its time: moves the virtual clock on by what a transaction lasts.
struct Slow<B> {
    bus: B,
    clock: Virtual,
    transaction: Duration,
}

impl<B: ErrorType> ErrorType for Slow<B> {
    type Error = B::Error;
}

impl<B: I2c> I2c for Slow<B> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), B::Error> {
        // Registers are latched half-way.
        self.clock.advance(self.transaction / 2);
        let result = self.bus.transaction(address, operations);
        self.clock.advance(self.transaction / 2);
        result
    }
}

fn settings() -> Settings {
    Settings {
        shunt: Ohms::new(0.1),
        shunt_tolerance: 0.01,
        shunt_range: ShuntRange::Millivolts160,
        bus_range: BusRange::Volts16,
        grade: Grade::A,
        adc: Adc::default(),
    }
}

fn identity() -> Identity {
    let (name, rail) = ("rail".to_owned(), "emulator/rail".to_owned());
    Identity { name, source: "ina219-emulator", rail, kind: v1::FigureKind::Simulated }
}

struct Bench {
    clock: Virtual,
    driver: Ina219<Slow<Emulator<Virtual, Steady>>, Virtual>,
    conversions: std::sync::Arc<std::sync::atomic::AtomicU64>,
    readings: Vec<Reading>,
    lost: u64,
    failures: Vec<v1::LossReason>,
    converted_before: u64,
}

impl Bench {
    fn new(amperes: f64, volts: f64, options: Options, transaction: Duration) -> Self {
        let clock = Virtual::default();
        let emulator = Emulator::new(clock.clone(), Steady(amperes, volts), options);
        let conversions = emulator.conversion_count();
        let bus = Slow { bus: emulator, clock: clock.clone(), transaction };
        let driver = Ina219::open(bus, 0x40, clock.clone(), identity(), settings()).expect("sets up");
        let converted_before = conversions.load(Ordering::Relaxed);
        Self { clock, driver, conversions, readings: Vec::new(), lost: 0, failures: Vec::new(), converted_before }
    }

    /// Polls as the sampler does; `pause` makes it oversleep.
    fn run(&mut self, until: Duration, mut pause: impl FnMut(MonoNs) -> Duration) {
        while self.clock.now() < MonoNs(nanoseconds(until)) {
            let look_again = match self.driver.poll() {
                Poll::Reading { reading, lost_count, look_again } => {
                    self.readings.push(reading);
                    self.lost += lost_count;
                    look_again
                }
                Poll::NotReady { look_again } => look_again,
                Poll::Failed { reason, look_again } => {
                    self.failures.push(reason);
                    look_again
                }
                Poll::End => panic!("a chip does not end"),
            };
            let pause = pause(look_again);
            self.clock.sleep_until(look_again.after(pause));
        }
    }

    /// Goes on until a reading has told what was lost before it.
    fn run_to_reading(&mut self) {
        let before = self.readings.len();
        while self.readings.len() == before {
            self.run(Duration::from_nanos(self.clock.now().0 + 1), |_| Duration::ZERO);
        }
    }

    fn converted(&self) -> u64 {
        self.conversions.load(Ordering::Relaxed) - self.converted_before
    }

    fn accounted(&self) -> u64 {
        self.readings.len() as u64 + self.lost
    }
}

const WIRE_400_KHZ: Duration = Duration::from_micros(120);

#[test]
fn every_conversion_is_delivered_once() {
    for oscillator_factor in [0.9, 0.97, 1.0, 1.04, 1.1] {
        let deviations = Deviations { oscillator_factor, ..Deviations::NONE };
        let mut bench = Bench::new(1.0, 5.0, Options { deviations, ..Options::default() }, WIRE_400_KHZ);
        bench.run(Duration::from_secs(2), |_| Duration::ZERO);
        assert_eq!(bench.lost, 0);
        assert!(bench.converted().abs_diff(bench.accounted()) <= 1, "oscillator {oscillator_factor}");
        let flagged = bench.readings.iter().position(|reading| !reading.flags.is_empty());
        assert_eq!(flagged.map(|index| (index, bench.readings[index])), None, "oscillator {oscillator_factor}");
        assert!(bench.readings.windows(2).all(|pair| pair[0].at < pair[1].at));
        // 1 A through 0.1 Ω = 100 mV; 5 V.
        assert!(bench.readings.iter().all(|reading| (reading.first, reading.second) == (10_000, 1_250)));
    }
}

#[test]
fn a_reading_lies_in_the_centre_of_its_cycle() {
    let mut bench = Bench::new(1.0, 5.0, Options::default(), Duration::ZERO);
    bench.run(Duration::from_secs(1), |_| Duration::ZERO);
    // The configuration was written at 0, so cycle k ends at k × 808 µs.
    for (index, reading) in bench.readings.iter().enumerate().skip(100) {
        let centre = index as u64 * 808_000 + 404_000;
        assert!(reading.at.0.abs_diff(centre) < 90_000, "reading {index} at {}", reading.at);
    }
}

#[test]
fn oversleeping_is_counted_to_the_conversion() {
    let mut bench = Bench::new(1.0, 5.0, Options::default(), WIRE_400_KHZ);
    let mut round = 0u64;
    bench.run(Duration::from_secs(4), |_| {
        round += 1;
        if round > 200 && round.is_multiple_of(61) { Duration::from_micros(round * 13) } else { Duration::ZERO }
    });
    assert!(bench.lost > 20, "{}", bench.lost);
    assert!(bench.converted().abs_diff(bench.accounted()) <= 1, "{} {}", bench.converted(), bench.accounted());
}

#[test]
fn a_reading_fetched_later_than_one_shunt_conversion_is_torn() {
    let mut bench = Bench::new(1.0, 5.0, Options::default(), WIRE_400_KHZ);
    let mut round = 0u64;
    bench.run(Duration::from_secs(1), |_| {
        round += 1;
        if round == 500 { Duration::from_micros(560) } else { Duration::ZERO }
    });
    let torn = bench.readings.iter().filter(|reading| reading.flags.contains(Flags::TORN)).count();
    assert_eq!(torn, 1);
}

#[test]
fn a_bus_of_100_kilohertz_tears_its_readings_and_counts_what_it_misses() {
    let mut bench = Bench::new(1.0, 5.0, Options::default(), Duration::from_micros(480));
    bench.run(Duration::from_secs(2), |_| Duration::ZERO);
    assert!(bench.lost > 500, "{}", bench.lost);
    // Never a look that came too early, so the oscillator stays unknown; this one is nominal.
    assert!(bench.converted().abs_diff(bench.accounted()) <= 3, "{} {}", bench.converted(), bench.accounted());
    let torn = bench.readings.iter().filter(|reading| reading.flags.contains(Flags::TORN)).count();
    assert!(torn > bench.readings.len() / 2, "{torn} of {}", bench.readings.len());
}

#[test]
fn a_code_at_full_scale_is_flagged_as_clipped() {
    let mut bench = Bench::new(1.7, 5.0, Options::default(), Duration::ZERO);
    bench.run(Duration::from_millis(100), |_| Duration::ZERO);
    assert!(bench.readings.iter().all(|reading| reading.first == 16_000 && reading.flags.contains(Flags::CLIPPED)));
}

#[test]
fn a_brown_out_is_found_within_a_cycle_and_repaired() {
    let at = MonoNs(500_000_000);
    let faults = FaultPlan::new(vec![(at, Fault::BrownOut)]);
    let mut bench = Bench::new(1.0, 5.0, Options { faults, ..Options::default() }, WIRE_400_KHZ);
    bench.run(Duration::from_secs(1), |_| Duration::ZERO);
    assert_eq!(bench.failures, [v1::LossReason::ChipReset]);
    assert!(bench.readings.iter().all(|reading| reading.first == 10_000));
    assert!(bench.readings.last().expect("goes on").at > MonoNs(990_000_000));
    assert!((1..=4).contains(&bench.lost), "{}", bench.lost);
}

#[test]
fn a_brown_out_without_current_is_found_within_a_second() {
    let faults = FaultPlan::new(vec![(MonoNs(500_000_000), Fault::BrownOut)]);
    let mut bench = Bench::new(0.0, 5.0, Options { faults, ..Options::default() }, WIRE_400_KHZ);
    bench.run(Duration::from_secs(2), |_| Duration::ZERO);
    assert_eq!(bench.failures, [v1::LossReason::ChipReset]);
}

#[test]
fn a_bus_that_is_gone_is_tried_at_most_once_a_second() {
    let until = MonoNs(20_000_000_000);
    let faults = FaultPlan::new(vec![(MonoNs(100_000_000), Fault::Unplugged { until })]);
    let mut bench = Bench::new(1.0, 5.0, Options { faults, ..Options::default() }, WIRE_400_KHZ);
    bench.run(Duration::from_secs(22), |_| Duration::ZERO);
    let tries = bench.failures.iter().filter(|reason| **reason == v1::LossReason::BusError).count();
    assert!((20..=32).contains(&tries), "{tries}");
    assert!(bench.failures.contains(&v1::LossReason::ChipReset), "it came back unconfigured");
    let expected = 22_000_000 / 808;
    assert!(bench.accounted().abs_diff(expected) <= expected / 1_000, "{} of {expected}", bench.accounted());
}

#[test]
fn a_chip_that_is_not_there_is_refused_at_the_start() {
    let clock = Virtual::default();
    let options = Options { address: 0x41, ..Options::default() };
    let emulator = Emulator::new(clock.clone(), Steady(1.0, 5.0), options);
    let error = Ina219::open(emulator, 0x40, clock, identity(), settings()).err().expect("nobody there");
    assert!(matches!(error, SetUpError::Bus(EmulatorError::NotAcknowledged(0x40))), "{error}");
}

#[test]
fn a_slow_bus_is_judged_with_a_way_out() {
    assert_eq!(BusSpeed::judge(400_000, Adc::default()), BusSpeed::Enough);
    let judged = BusSpeed::judge(100_000, Adc::default());
    let fitting = "12x2/12x2".parse().expect("a setting");
    assert_eq!(judged, BusSpeed::TooSlow { clock_hz: 100_000, fitting });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the bus and the chip do, a conversion is delivered, or counted as lost.
    #[test]
    fn with_faults_every_conversion_is_delivered_or_counted(
        oscillator in 0.9..1.1f64,
        faults in prop::collection::vec((100..1_900u64, 0..4u8, 1..6u32), 0..6),
    ) {
        let milliseconds = |at: u64| MonoNs(at * 1_000_000);
        let mut resets = 0u64;
        let plan = faults.iter().map(|&(at, kind, size)| {
            let fault = match kind {
                0 | 1 => Fault::NotAcknowledged { count: size },
                2 => Fault::StuckBus { until: milliseconds(at + u64::from(size) * 10) },
                _ => { resets += 1; Fault::BrownOut }
            };
            (milliseconds(at), fault)
        }).collect();
        let deviations = Deviations { oscillator_factor: oscillator, ..Deviations::NONE };
        let options = Options { deviations, faults: FaultPlan::new(plan), ..Options::default() };
        let mut bench = Bench::new(1.0, 5.0, options, WIRE_400_KHZ);
        bench.run(Duration::from_secs(2), |_| Duration::ZERO);
        bench.run_to_reading();
        // One is between chip and driver. An outage of seconds is counted by the estimated cycle, good to 0.2 %.
        let unsure = 1 + bench.lost / 500;
        if resets == 0 {
            let (converted, accounted) = (bench.converted(), bench.accounted());
            prop_assert!(converted.abs_diff(accounted) <= unsure, "{accounted} of {converted}");
            return Ok(());
        }
        // A brown-out changes the chip's cycle until it is found, so the time it took is counted in cycles of before;
        // each costs at most one and a half in either direction.
        let real_cycle = 808_000.0 * oscillator;
        let expected = bench.clock.now().0 as f64 / real_cycle;
        let difference = (bench.accounted() as f64 - expected).abs();
        prop_assert!(difference <= 1.5 + unsure as f64 + 1.5 * resets as f64, "{} of {expected}", bench.accounted());
        prop_assert!(bench.readings.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}
