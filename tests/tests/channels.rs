//! Several channels that measure one trial: what lies beside each other is added up, what holds the other is refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tinywatt_agent::clock::{Clock, Monotonic};
use tinywatt_tests::{Agent, Collector};

/// Channels, the zones that they read, the folders of those as the kernel lays them out, and the watts that they take.
const ZONES: [(&str, &str, &str, u64); 4] = [
    ("cpu", "package-0", "intel-rapl:0", 10),
    ("cores", "core", "intel-rapl:0:0", 6),
    ("memory", "dram", "intel-rapl:0:1", 2),
    ("all", "psys", "intel-rapl:1", 15),
];

/// Counters like the kernel's that count while it lives.
struct Counters {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Counters {
    fn start(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for (_, name, folder, watts) in ZONES {
            let zone = root.join(folder);
            fs::create_dir_all(&zone)?;
            fs::write(zone.join("name"), format!("{name}\n"))?;
            fs::write(zone.join("max_energy_range_uj"), "262143328850\n")?;
            files.push((File::create(zone.join("energy_uj"))?, watts));
        }
        let start = Monotonic.now();
        // Always as long, so that no reader meets half a number.
        let write = move || {
            let microseconds = u64::try_from(Monotonic.now().since(start).as_micros()).expect("short");
            for (file, watts) in &files {
                let text = format!("{:020}\n", microseconds * watts);
                file.write_all_at(text.as_bytes(), 0).expect("written");
            }
        };
        write();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                write();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Does what the contract asks for, in more seconds than the counters need.
const JOB: &str = r#"
sleep 4
printf '{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},"artifacts":[],"phases":[]}' > "${1%/*}/result.json"
"#;

fn study(folder: &Path, channel: &str, further: &str) -> Result<String> {
    let script = folder.join("job.sh");
    fs::write(&script, JOB)?;
    let text = format!(
        "name = \"sum\"\nreplicates = 1\nattempts_max = 10\n[dataset]\nname = \"digits\"\n[training]\nnode = \"bench\"\n\
         channel = \"{channel}\"\nfurther_channels = [{further}]\nidle = \"4s\"\n[[train]]\nname = \"job\"\n\
         command = [\"sh\", \"{}\"]\narchitecture = \"digits-tiny\"\nepochs = 1\ntechniques = []\n",
        script.display()
    );
    let file = folder.join("study.toml");
    fs::write(&file, text)?;
    Ok(file.to_string_lossy().into_owned())
}

#[test]
fn siblings_are_added_and_what_holds_the_other_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("powercap");
    let _counters = Counters::start(&root)?;
    let collector = Collector::start(&folder.path().join("collector"))?;
    let sensor = |(channel, zone, _, _): (&str, &str, &str, u64)| {
        format!(
            "[[sensor]]\nname = \"{channel}\"\nsource = \"rapl\"\nzone = \"{zone}\"\nroot = \"{}\"\n",
            root.display()
        )
    };
    let further = format!("{}\n[jobs]\nenabled = true\n", ZONES.map(sensor).concat());
    let _agent = Agent::start_configured(&folder.path().join("bench"), "bench", &collector.address, 1, &further)?;
    collector.wait_for_node("bench")?;
    let nodes = collector.text(&["nodes"])?;
    for rail in
        ["cores: rapl, 50 Hz, measured, machine/processors/package-0/core", "measured, machine/memory/package-0"]
    {
        ensure!(nodes.contains(rail), "{rail} is not in\n{nodes}");
    }

    let both = study(folder.path(), "cpu", "\"memory\", \"cores\"")?;
    for arguments in [&["schedule", &both][..], &["schedule", &both, "--dry-run"]] {
        let refused = collector.command(arguments)?;
        let words = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success(), "{words}");
        let expected = "study.toml:9: training.further_channels: on node 'bench' channel 'cores' \
                        (machine/processors/package-0/core) is already in channel 'cpu' (machine/processors/package-0)";
        ensure!(words.contains(expected), "{words}");
    }
    let all = study(folder.path(), "all", "\"memory\", \"cpu\"")?;
    let refused = collector.command(&["schedule", &all])?;
    let words = String::from_utf8_lossy(&refused.stderr);
    ensure!(words.matches("is already in channel 'all' (machine)").count() == 2, "all at once: {words}");
    ensure!(collector.text(&["runs"])?.lines().count() <= 1, "nothing was begun");

    let beside = study(folder.path(), "cpu", "\"memory\"")?;
    let told = collector.text(&["schedule", &beside])?;
    let report = collector.report().context(told.clone())?;
    let energy = &report["rows"][0]["energy"];
    ensure!(energy["sensors"] == serde_json::json!(["rapl (cpu) + rapl (memory)"]), "{energy}");
    let number = |name: &str| energy[name].as_f64().with_context(|| format!("no {name} in {energy}"));
    // 10 and 2 W; a busy machine may hold up the thread that counts, beside the edges of 4 s.
    let (watts, seconds) = (number("power_watts_mean")?, number("active_window_seconds_min")?);
    ensure!((watts / 12.0 - 1.0).abs() < 0.03, "{watts} W");
    let joules = energy["per_inference"]["joules_mean"].as_f64().context("joules")?;
    ensure!((joules / (watts * seconds) - 1.0).abs() < 1e-9, "{joules} J in {seconds} s: {energy}");
    Ok(())
}
