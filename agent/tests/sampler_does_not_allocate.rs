//! The sampler's thread allocates nothing while it samples: not when all is well, not when the bus fails, the chip is
//! reset or the ring is full.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::time::Duration;

use tinywatt_agent::clock::{Clock, Virtual};
use tinywatt_agent::sampler::{Sampler, SamplerConfig};
use tinywatt_agent::sensor::config::{RaplConfig, TdpConfig};
use tinywatt_agent::sensor::emulator::{Emulator, Fault, FaultPlan, Options};
use tinywatt_agent::sensor::ina219::{Adc, BusRange, Grade, Identity, Ina219, Settings, ShuntRange};
use tinywatt_agent::sensor::load::{LoadConfig, LoadState, LoadSwitch, Profile};
use tinywatt_agent::sensor::replay::{ReplaySensor, Trace};
use tinywatt_agent::sensor::{Poll, Sensor, rapl, tdp};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Ohms;
use tinywatt_proto::v1;

struct Counting;

thread_local! {
    /// Allocations of this thread while counting. Without a destructor, so that using it allocates nothing.
    static COUNT: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

fn note() {
    COUNT.with(|count| count.set(count.get().map(|count| count + 1)));
}

#[expect(unsafe_code, reason = "counting allocations takes an allocator; each call is passed on unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a thread allocated between the first poll and the end.
static RESULT: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Counts from the first poll on, ends the recording after a number of polls, and tells the count there.
struct Counted<S> {
    sensor: S,
    polls: u64,
    polls_max: u64,
}

impl<S: Sensor> Sensor for Counted<S> {
    fn channel(&self) -> v1::Channel {
        self.sensor.channel()
    }

    fn poll(&mut self) -> Poll {
        if self.polls == 0 {
            COUNT.with(|count| count.set(Some(0)));
        }
        self.polls += 1;
        let poll = if self.polls > self.polls_max { Poll::End } else { self.sensor.poll() };
        if poll == Poll::End {
            let count = COUNT.with(|count| count.replace(None)).unwrap_or(u64::MAX);
            RESULT.lock().expect("one thread at a time").push((self.polls, count));
        }
        poll
    }
}

/// Samples on a thread of its own with nobody emptying the ring, and gives polls and allocations.
fn sample(sensor: impl Sensor + 'static, clock: impl Clock) -> (u64, u64) {
    let polls_max = 30_000;
    let sensor = Counted { sensor, polls: 0, polls_max };
    let sampler = Sampler::start(Box::new(sensor), clock, SamplerConfig::default()).expect("starts");
    loop {
        if let Some(result) = RESULT.lock().expect("one thread at a time").pop() {
            drop(sampler);
            return result;
        }
        std::thread::yield_now();
    }
}

fn emulated(faults: Vec<(MonoNs, Fault)>, clock: &Virtual) -> (impl Sensor + use<>, LoadSwitch) {
    let (switch, load) = LoadSwitch::new(Profile::new(&LoadConfig::default(), 1));
    let options = Options { noise_seed: Some(1), faults: FaultPlan::new(faults), ..Options::default() };
    let chip = Emulator::new(clock.clone(), load, options);
    let (name, rail) = ("rail".to_owned(), "emulator/rail".to_owned());
    let identity = Identity { name, source: "ina219-emulator", rail, kind: v1::FigureKind::Simulated };
    let settings = Settings {
        shunt: Ohms::new(0.1),
        shunt_tolerance: 0.01,
        shunt_range: ShuntRange::Millivolts160,
        bus_range: BusRange::Volts16,
        grade: Grade::A,
        adc: Adc::default(),
    };
    (Ina219::open(chip, 0x40, clock.clone(), identity, settings).expect("sets up"), switch)
}

/// One test, because the counters are one.
#[test]
fn the_loop_does_not_allocate() {
    let clock = Virtual::default();
    let (sensor, switch) = emulated(Vec::new(), &clock);
    switch.set(LoadState::Active, MonoNs(1_000_000_000));
    switch.set(LoadState::Idle, MonoNs(2_000_000_000));
    let (polls, allocations) = sample(sensor, clock);
    assert!(polls > 10_000);
    assert_eq!(allocations, 0, "in {polls} polls of a sensor in good health, most of them with a full ring");

    let clock = Virtual::default();
    let faults = (1..200u64)
        .map(|index| {
            let at = MonoNs(index * 37_000_000);
            let fault = match index % 4 {
                0 => Fault::BrownOut,
                1 => Fault::NotAcknowledged { count: 2 },
                2 => Fault::FlippedBits { mask: 0x8000 },
                _ => Fault::StuckBus { until: at.after(Duration::from_millis(5)) },
            };
            (at, fault)
        })
        .collect();
    let (sensor, _switch) = emulated(faults, &clock);
    let (polls, allocations) = sample(sensor, clock);
    assert_eq!(allocations, 0, "in {polls} polls of a sensor with faults");

    let samples = vec!["1.5e-5"; 20_000].join(",");
    let text = format!(
        r#"[{{"infer": {{"iterations": 1}}, "power": {{"samples": [{samples}], "timestamps": [["00", 0], ["01", 9]]}}}}]"#
    );
    let trace = Trace::parse("trace.json".as_ref(), &text).expect("a trace");
    let clock = Virtual::default();
    let (polls, allocations) = sample(ReplaySensor::new(trace, "rail".to_owned(), clock.clone()), clock);
    assert!(polls > 10_000);
    assert_eq!(allocations, 0, "in {polls} polls of a recording");

    let root = tempfile::tempdir().expect("a folder");
    let zone = root.path().join("intel-rapl:0");
    std::fs::create_dir_all(&zone).expect("a folder");
    let files = [("name", "package-0\n"), ("max_energy_range_uj", "65532610987\n"), ("energy_uj", "5000000000\n")];
    files.iter().for_each(|(name, text)| std::fs::write(zone.join(name), text).expect("written"));
    let config = RaplConfig {
        name: "cpu".parse().expect("a name"),
        zone: "package-0".to_owned(),
        root: root.path().to_owned(),
        sample_period: Duration::from_millis(20),
        tolerance: None,
    };
    for text in ["5000000000\n", "none"] {
        let clock = Virtual::default();
        let sensor = rapl::open(&config, clock.clone()).expect("opens");
        std::fs::write(zone.join("energy_uj"), text).expect("written");
        let (polls, allocations) = sample(sensor, clock);
        assert_eq!(allocations, 0, "in {polls} polls of a counter that holds '{text}'");
    }

    let config = TdpConfig {
        name: "model".parse().expect("a name"),
        tdp_watts: 65.0,
        idle_watts: 5.0,
        root: root.path().to_owned(),
        sample_period: Duration::from_millis(50),
    };
    std::fs::write(root.path().join("stat"), "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n").expect("written");
    let clock = Virtual::default();
    let (polls, allocations) = sample(tdp::open(&config, clock.clone()).expect("opens"), clock);
    assert_eq!(allocations, 0, "in {polls} polls of a model");

    #[cfg(feature = "nvml")]
    gpu();
}

/// A stand-in for NVML, which answers ten times and is lost then.
#[cfg(feature = "nvml")]
fn gpu() {
    use tinywatt_agent::sensor::config::{Gpu, NvmlConfig};
    let dir = tempfile::tempdir().expect("a folder");
    let library = dir.path().join("libnvidia-ml.so.1");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sensor/nvml/fake.c");
    match std::process::Command::new("cc").args(["-shared", "-fPIC", source, "-o"]).arg(&library).status() {
        Ok(status) => assert!(status.success(), "the library does not compile"),
        Err(error) => {
            eprintln!("SKIPPED: no C compiler (cc) to build a stand-in for NVML: {error}");
            return;
        }
    }
    let config = NvmlConfig {
        name: "gpu".parse().expect("a name"),
        gpu: Gpu::Index(0),
        library: Some(library),
        sample_period: Duration::from_millis(100),
        tolerance: None,
    };
    let clock = Virtual::default();
    let sensor = tinywatt_agent::sensor::nvml::open(&config, clock.clone()).expect("opens");
    let (polls, allocations) = sample(sensor, clock);
    assert_eq!(allocations, 0, "in {polls} polls of a GPU that is lost");
}
