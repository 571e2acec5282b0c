//! Energy counters end to end: the program meters a command by files laid out like the kernel's, which count while it runs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tinywatt_agent::clock::{Clock, Monotonic};

/// A range as packages have it.
const RANGE_MICROJOULES: u64 = 65_532_610_987;
/// It wraps around half a second after the start.
const START_MICROJOULES: u64 = RANGE_MICROJOULES - 5_000_000;
const MICROWATTS: u64 = 10_000_000;

/// A package that takes 10 W, as long as it lives.
struct Package {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Package {
    fn start(root: &Path) -> Self {
        Self::start_zone(root, "intel-rapl:0", "package-0")
    }

    fn start_zone(root: &Path, id: &str, name: &str) -> Self {
        let zone = root.join(id);
        fs::create_dir_all(&zone).expect("a folder");
        fs::write(zone.join("name"), format!("{name}\n")).expect("written");
        fs::write(zone.join("max_energy_range_uj"), format!("{RANGE_MICROJOULES}\n")).expect("written");
        let file = File::create(zone.join("energy_uj")).expect("created");
        let start = Monotonic.now();
        // Always as long, so that no reader meets half a number.
        let write = move || {
            let taken =
                u64::try_from(Monotonic.now().since(start).as_micros()).expect("short") * MICROWATTS / 1_000_000;
            let text = format!("{:020}\n", (START_MICROJOULES + taken) % RANGE_MICROJOULES);
            file.write_all_at(text.as_bytes(), 0).expect("written");
        };
        write();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                write();
                Monotonic.sleep_until(Monotonic.now().after(Duration::from_millis(1)));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

fn agent(dir: &Path, sensor: &str, arguments: &[&str]) -> Output {
    let config = dir.join("agent.toml");
    fs::write(&config, format!("state_dir = '{}'\n[[sensor]]\n{sensor}", dir.display())).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command.arg("--config").arg(config).args(arguments).output().expect("runs")
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// The number before a word, as in `mean 10.0 W`.
fn number_after<'a>(text: &'a str, word: &str) -> (f64, &'a str) {
    let mut rest = text.split(word).nth(1).unwrap_or_else(|| panic!("no '{word}' in {text}")).split_whitespace();
    let number = rest.next().and_then(|number| number.parse().ok()).expect("a number");
    (number, rest.next().expect("a unit"))
}

#[test]
fn a_command_is_metered_by_rapl_across_a_wrap_around() {
    let dir = tempfile::tempdir().expect("a folder");
    let _package = Package::start(dir.path());
    let sensor = format!("name = 'cpu'\nsource = 'rapl'\ntolerance = 0.05\nroot = '{}'", dir.path().display());
    let output = agent(dir.path(), &sensor, &["exec", "--sensor", "cpu", "--", "sh", "-c", "sleep 1; exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    let words = words(&output);
    assert!(words.contains("cpu (rapl, measured): "), "{words}");
    let (watts, unit) = number_after(&words, "mean ");
    // A busy machine may hold up the thread that counts.
    assert!((8.0..12.0).contains(&watts) && unit.starts_with('W'), "{words}");
    let (uncertainty, _) = number_after(&words, "± ");
    assert!(uncertainty > 0.0, "{words}");
}

#[test]
fn the_power_of_a_counter_is_shown_and_its_check_passes() {
    let dir = tempfile::tempdir().expect("a folder");
    let _package = Package::start(dir.path());
    let sensor = format!("name = 'cpu'\nsource = 'rapl'\nroot = '{}'", dir.path().display());
    let output = agent(dir.path(), &sensor, &["read", "--once"]);
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && table.contains("rapl") && table.contains("measured"), "{table}");
    assert!(table.contains(" W "), "{table}");
    let checked = String::from_utf8(agent(dir.path(), &sensor, &["check"]).stdout).expect("text");
    let line = checked.lines().find(|line| line.contains("sensor 'cpu': rapl")).expect("the sensor's line");
    assert!(line.starts_with("ok") && line.contains("counted"), "{line}");
    assert!(line.contains("rapl (machine/processors/package-0), "), "{line}");
}

#[test]
fn figures_that_hold_each_other_are_shown_and_said_to_have_no_sum() {
    let dir = tempfile::tempdir().expect("a folder");
    let _zones = [("0", "package-0"), ("0:0", "core"), ("0:1", "dram")]
        .map(|(id, name)| Package::start_zone(dir.path(), &format!("intel-rapl:{id}"), name));
    let sensors = |zones: &[(&str, &str)]| {
        let sensor = |(name, zone): &(&str, &str)| {
            format!("name = '{name}'\nsource = 'rapl'\nzone = '{zone}'\nroot = '{}'\n", dir.path().display())
        };
        zones.iter().map(sensor).collect::<Vec<_>>().join("[[sensor]]\n")
    };
    let (cpu, cores, memory) = (("cpu", "package-0"), ("cores", "core"), ("memory", "dram"));
    let output = agent(dir.path(), &sensors(&[cpu, cores]), &["exec", "--", "sleep", "0.3"]);
    let said = words(&output);
    assert!(output.status.success() && said.contains("cpu (rapl") && said.contains("cores (rapl"), "{said}");
    assert!(said.contains("do not add these figures: channel 'cores' (machine/processors/package-0/core)"), "{said}");
    let output = agent(dir.path(), &sensors(&[cpu, memory]), &["exec", "--", "sleep", "0.3"]);
    let said = words(&output);
    assert!(output.status.success() && said.contains("memory (rapl") && !said.contains("do not add"), "{said}");
}

#[test]
fn the_model_says_aloud_that_it_estimates() {
    let dir = tempfile::tempdir().expect("a folder");
    let sensor = "name = 'model'\nsource = 'tdp'\ntdp_watts = 65\nidle_watts = 5";
    let output = agent(dir.path(), sensor, &["exec", "--", "sleep", "0.5"]);
    let words = words(&output);
    assert!(output.status.success() && words.contains("model (tdp, estimated): "), "{words}");
    assert!(words.contains("± unknown") && words.contains("ESTIMATED"), "{words}");
    let (watts, _) = number_after(&words, "mean ");
    assert!((4.9..66.0).contains(&watts), "{words}");
}

#[test]
fn what_is_not_there_is_told_with_a_way_out() {
    let dir = tempfile::tempdir().expect("a folder");
    for (sensor, parts) in [
        (format!("name = 'cpu'\nsource = 'rapl'\nroot = '{}'", dir.path().display()), &["intel_rapl_msr", "tdp"][..]),
        ("name = 'gpu'\nsource = 'nvml'\nlibrary = '/nowhere/libnvidia-ml.so.1'".to_owned(), &["/nowhere/", "driver"]),
    ] {
        let output = agent(dir.path(), &sensor, &["exec", "--", "true"]);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        let checked = String::from_utf8(agent(dir.path(), &sensor, &["check"]).stdout).expect("text");
        let failed = checked.lines().find(|line| line.starts_with("FAIL  sensor")).expect("the sensor's line");
        for part in parts {
            assert!(words.contains(part), "{part} in {words}");
            assert!(failed.contains(part), "{part} in {failed}");
        }
    }
}
