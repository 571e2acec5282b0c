//! The chip on its bus, against what the datasheet prints.

use std::time::Duration;

use tinywatt_proto::units::{Amperes, Volts};

use super::*;
use crate::clock::Virtual;

/// A load of constant current and voltage.
struct Steady(f64, f64);

impl Load for Steady {
    fn mean(&mut self, _from: MonoNs, _to: MonoNs) -> Supply {
        Supply { current: Amperes::new(self.0), bus: Volts::new(self.1) }
    }
}

struct Bench {
    clock: Virtual,
    chip: Emulator<Virtual, Steady>,
}

const ADDRESS: u8 = 0x40;

impl Bench {
    fn new(amperes: f64, volts: f64, options: Options) -> Self {
        let clock = Virtual::default();
        Self { chip: Emulator::new(clock.clone(), Steady(amperes, volts), options), clock }
    }

    /// 10 A through 2 mΩ at 11.98 V: the datasheet's example.
    fn worked_example() -> Self {
        Self::new(10.0, 11.98, Options { shunt: Ohms::new(2e-3), ..Options::default() })
    }

    fn write(&mut self, register: u8, value: u16) {
        let [high, low] = value.to_be_bytes();
        self.chip.write(ADDRESS, &[register, high, low]).expect("acknowledged");
    }

    fn read(&mut self, register: u8) -> u16 {
        let mut bytes = [0; 2];
        self.chip.write_read(ADDRESS, &[register], &mut bytes).expect("acknowledged");
        u16::from_be_bytes(bytes)
    }

    fn is_ready(&mut self) -> bool {
        self.read(2) & 0b10 != 0
    }

    fn wait(&self, microseconds: u64) {
        self.clock.advance(Duration::from_micros(microseconds));
    }
}

#[test]
fn registers_have_their_reset_values() {
    let mut bench = Bench::worked_example();
    assert_eq!(bench.read(0), 0x399F);
    for register in [2, 3, 4, 5] {
        assert_eq!(bench.read(register), 0, "register {register}");
    }
}

#[test]
fn the_worked_example_of_the_datasheet_reads_as_printed() {
    let mut bench = Bench::worked_example();
    bench.write(5, 0x5000);
    bench.write(0, 0x019F);
    bench.wait(1_064);
    assert_eq!(bench.read(1), 0x07D0);
    assert_eq!(bench.read(2) & !0b111, 0x5D98);
    assert_eq!(bench.read(5), 20_480);
    assert_eq!(bench.read(4), 0x2710);
    assert_eq!(bench.read(3), 0x1766);
    assert_eq!(bench.read(0), 0x019F);
}

#[test]
fn bit_0_of_calibration_always_reads_0() {
    let mut bench = Bench::worked_example();
    bench.write(5, 0x5001);
    assert_eq!(bench.read(5), 0x5000);
}

#[test]
fn bit_14_of_the_configuration_is_not_kept_and_bit_15_resets() {
    let mut bench = Bench::worked_example();
    bench.write(5, 0x5000);
    bench.write(0, 0x419F);
    assert_eq!(bench.read(0), 0x019F);
    bench.write(0, 0x8000);
    assert_eq!(bench.read(0), 0x399F);
    assert_eq!(bench.read(5), 0);
}

#[test]
fn the_pointer_is_kept_between_transactions() {
    let mut bench = Bench::worked_example();
    bench.write(5, 0x1234);
    let mut bytes = [0; 4];
    bench.chip.transaction(ADDRESS, &mut [Operation::Read(&mut bytes)]).expect("acknowledged");
    assert_eq!(bytes, [0x12, 0x34, 0x12, 0x34], "and does not walk");
}

#[test]
fn the_ready_bit_is_cleared_by_reading_power_and_by_writing_a_mode_but_not_by_reading_bus() {
    let mut bench = Bench::worked_example();
    bench.write(0, 0x019F);
    assert!(!bench.is_ready());
    bench.wait(1_063);
    assert!(!bench.is_ready(), "1 µs before the end of the cycle");
    bench.wait(1);
    assert!(bench.is_ready());
    assert!(bench.is_ready(), "reading the bus register does not clear it");
    bench.read(3);
    assert!(!bench.is_ready());
    bench.wait(1_064);
    assert!(bench.is_ready());
    bench.write(0, 0x019F);
    assert!(!bench.is_ready(), "a write of the mode clears it");
}

#[test]
fn power_down_and_adc_off_stop_converting_and_leave_the_ready_bit() {
    for mode in [0b000, 0b100] {
        let mut bench = Bench::worked_example();
        bench.wait(1_064);
        bench.write(0, 0x0198 | mode);
        assert!(bench.is_ready(), "mode {mode}");
        bench.read(3);
        bench.wait(10_000);
        assert!(!bench.is_ready(), "mode {mode}");
    }
}

#[test]
fn waking_from_power_down_takes_40_microseconds_more() {
    let mut bench = Bench::worked_example();
    bench.write(0, 0x0198);
    bench.read(3);
    bench.write(0, 0x019F);
    bench.wait(1_064 + 39);
    assert!(!bench.is_ready());
    bench.wait(1);
    assert!(bench.is_ready());
}

#[test]
fn a_triggered_mode_converts_once_after_every_write() {
    let mut bench = Bench::worked_example();
    for _ in 0..3 {
        bench.write(0, 0x019B);
        bench.wait(1_064);
        assert!(bench.is_ready());
        bench.read(3);
        bench.wait(5_000);
        assert!(!bench.is_ready(), "it stopped");
    }
}

#[test]
fn every_mode_takes_the_time_of_its_converters() {
    // SADC 9 bit (84 µs), BADC 128 × (68,100 µs).
    let base = 0b1111 << 7;
    for (mode, microseconds) in [(0b001, 84), (0b010, 68_100), (0b011, 68_184), (0b101, 84), (0b110, 68_100)] {
        let mut bench = Bench::worked_example();
        bench.write(0, base | mode);
        bench.wait(microseconds - 1);
        assert!(!bench.is_ready(), "mode {mode}");
        bench.wait(1);
        assert!(bench.is_ready(), "mode {mode}");
    }
}

#[test]
fn the_oscillator_stretches_the_whole_table() {
    let deviations = Deviations { oscillator_factor: 1.1, ..Deviations::NONE };
    let mut bench = Bench::new(1.0, 5.0, Options { deviations, ..Options::default() });
    bench.wait(1_170);
    assert!(!bench.is_ready());
    bench.wait(1);
    assert!(bench.is_ready());
}

#[test]
fn the_shunt_register_changes_before_the_cycle_ends_unless_told_otherwise() {
    for (latch, early) in [(ShuntLatch::AtOnce, 0x07D0), (ShuntLatch::EndOfCycle, 0)] {
        let options = Options { shunt: Ohms::new(2e-3), shunt_latch: latch, ..Options::default() };
        let mut bench = Bench::new(10.0, 11.98, options);
        bench.wait(532);
        assert_eq!(bench.read(1), early, "{latch:?}");
        bench.wait(532);
        assert_eq!(bench.read(1), 0x07D0);
    }
}

#[test]
fn the_other_reading_of_the_datasheet_clears_ready_on_a_bus_read() {
    let mut bench = Bench::new(1.0, 5.0, Options { bus_read_clears_ready: true, ..Options::default() });
    bench.wait(1_064);
    assert!(bench.is_ready());
    assert!(!bench.is_ready());
}

#[test]
fn an_overflow_shows_in_bit_0_of_the_bus_register() {
    let mut bench = Bench::new(3.0, 12.0, Options::default());
    bench.write(5, 0xFFFE);
    bench.wait(1_064);
    assert_eq!(bench.read(2) & 1, 1);
}

#[test]
fn a_negative_current_reads_as_twos_complement() {
    let mut bench = Bench::new(-0.4001, 5.0, Options::default());
    bench.wait(1_064);
    assert_eq!(bench.read(1), 0xF05F, "-40.01 mV");
}

#[test]
fn another_address_is_not_acknowledged() {
    let mut bench = Bench::worked_example();
    let error = bench.chip.write(0x41, &[0]).expect_err("nobody there");
    assert_eq!(error, EmulatorError::NotAcknowledged(0x41));
}

#[test]
fn faults_happen_when_planned_and_end() {
    let at = |microseconds: u64| MonoNs(microseconds * 1_000);
    let faults = FaultPlan::new(vec![
        (at(100), Fault::NotAcknowledged { count: 2 }),
        (at(200), Fault::StuckBus { until: at(300) }),
        (at(400), Fault::FlippedBits { mask: 0x0100 }),
        (at(500), Fault::BrownOut),
        (at(600), Fault::Unplugged { until: at(700) }),
    ]);
    let mut bench = Bench::new(1.0, 5.0, Options { faults, ..Options::default() });
    bench.write(5, 0x1000);
    bench.wait(100);
    assert!(bench.chip.write(ADDRESS, &[0]).is_err());
    assert!(bench.chip.write(ADDRESS, &[0]).is_err());
    assert!(bench.chip.write(ADDRESS, &[0]).is_ok());
    bench.wait(100);
    assert_eq!(bench.chip.write(ADDRESS, &[0]), Err(EmulatorError::Stuck));
    bench.wait(200);
    assert_eq!(bench.read(0), 0x389F);
    assert_eq!(bench.read(0), 0x399F);
    assert_eq!(bench.read(5), 0x1000);
    bench.wait(100);
    assert_eq!(bench.read(5), 0, "a brown-out forgets the calibration");
    bench.wait(100);
    assert!(bench.chip.write(ADDRESS, &[0]).is_err());
    bench.wait(100);
    assert!(bench.chip.write(ADDRESS, &[0]).is_ok());
}

#[test]
fn an_hour_of_silence_costs_one_look_and_counts_its_conversions() {
    let mut bench = Bench::worked_example();
    let count = bench.chip.conversion_count();
    bench.wait(3_600_000_000);
    assert!(bench.is_ready());
    assert_eq!(count.load(Ordering::Relaxed), 3_600_000_000 / 1_064);
}
