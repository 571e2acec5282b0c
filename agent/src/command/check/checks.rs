//! The checks, one function each.

use std::time::Duration;

use crate::clock::{Clock as _, Monotonic};
use crate::config::{Config, Environment};
use crate::inference::locate::Surroundings;
use crate::inference::release;
use crate::inference::runtimes;
use crate::link::ask;
use crate::machine;
use crate::sampler::{Event, Sampler, SamplerConfig, Scheduling};
use crate::sensor::{self, SensorConfig};
use crate::spool::{OpenError, Spool};
use crate::throttle::Throttling;
use tinywatt_proto::chain::Chain;
use tinywatt_proto::v1;

use super::{Finding, Verdict, counter};

/// How long a sensor is looked at: a thousand readings of an INA219.
const LOOK: Duration = Duration::from_secs(1);

/// Time between two looks into the ring, which holds 3 s.
const DRAIN_PERIOD: Duration = Duration::from_millis(100);

/// A clock that ticks more coarsely than this would put more than a thousandth of a sampling period on each reading.
const RESOLUTION_NS_MAX: u64 = 1_000;

/// Trials are invalid when more than one reading in so many was lost.
const LOST_PART: u64 = 100;

/// A training's checkpoint, model and temporary files are rarely more.
const FREE_BYTES_GOOD: u64 = 4 << 30;

/// Bits of the firmware that say what is the case now; the same, 16 bits higher, since boot.
const THROTTLED_NOW: u32 = 0xf;

pub(super) fn configuration(config: &Config, environment: &Environment) -> Finding {
    let node = &config.node;
    let detail = match &config.file {
        Some(file) => format!("{}, node '{node}'", file.display()),
        None => {
            let looked = environment.config_files().iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
            format!("none (looked for {}), all by default, node '{node}'", looked.join(", "))
        }
    };
    Finding::new(Verdict::Ok, "configuration", detail)
}

/// Opens a sensor (which checks device file, permissions, bus speed and answer) and reads it for a second.
pub(super) fn sensor(config: &SensorConfig) -> Vec<Finding> {
    let subject = format!("sensor '{}'", config.name());
    let built = match sensor::build(config, Monotonic) {
        Ok(built) => built,
        Err(error) => return vec![Finding::new(Verdict::Fail, &subject, without(&subject, Chain(&error).to_string()))],
    };
    let mut sampler = match Sampler::start(built.sensor, Monotonic, SamplerConfig::default()) {
        Ok(sampler) => sampler,
        Err(error) => return vec![Finding::new(Verdict::Fail, subject, Chain(&error).to_string())],
    };
    let channel = sampler.channel().clone();
    let (mut reading_count, mut lost_count, mut readings) = (0u64, 0u64, sampler.readings());
    let mut last = None;
    let end = Monotonic.now().after(LOOK);
    while Monotonic.now() < end {
        Monotonic.sleep_until(end.min(Monotonic.now().after(DRAIN_PERIOD)));
        readings.drain(&mut |event| match event {
            Event::Reading(reading) => {
                reading_count += 1;
                last = Some(reading);
            }
            Event::Lost { count, .. } => lost_count += count,
            Event::Ended => {}
        });
    }
    let scheduling = sampler.scheduling();
    sampler.stop();
    let v1::Channel { source, rail, .. } = &channel;
    let seen = format!("{source} ({rail}), {reading_count} readings in {} s, {lost_count} lost", LOOK.as_secs());
    if let Some(v1::channel::Scale::Counter(scale)) = &channel.scale {
        let (verdict, detail) = counter::judge(config, scale, last.map(|reading| reading.first));
        return vec![Finding::new(verdict, subject.clone(), seen + &detail), scheduled(&subject, scheduling)];
    }
    let verdict = judge(reading_count, lost_count);
    let advice = advice(verdict, matches!(config, SensorConfig::Ina219(_)));
    vec![Finding::new(verdict, subject.clone(), seen + advice), scheduled(&subject, scheduling)]
}

/// Losses that no trial would mind are none to worry about.
fn judge(reading_count: u64, lost_count: u64) -> Verdict {
    match (reading_count, lost_count) {
        (0, _) => Verdict::Fail,
        (read, lost) if lost * LOST_PART > read + lost => Verdict::Warn,
        _ => Verdict::Ok,
    }
}

/// Only a real chip has wires and a bus.
fn advice(verdict: Verdict, is_wired: bool) -> &'static str {
    match (verdict, is_wired) {
        (Verdict::Ok, _) => "",
        (Verdict::Warn, true) => {
            "; more than 1 % makes trials invalid: on a busy machine this is the scheduling, otherwise the wires or the \
             bus speed"
        }
        (Verdict::Warn, false) => "; more than 1 % makes trials invalid: this machine is too busy, stop other programs",
        (Verdict::Fail, true) => "; check the wires and the chip's supply",
        (Verdict::Fail, false) => "; this machine is too busy, or the recording is empty",
    }
}

/// The text of an error that begins with its subject, which the line says already.
fn without(subject: &str, text: String) -> String {
    text.strip_prefix(subject).and_then(|rest| rest.strip_prefix(": ")).map_or_else(|| text.clone(), str::to_owned)
}

fn scheduled(subject: &str, scheduling: Option<Scheduling>) -> Finding {
    let subject = format!("{subject}, scheduling");
    match scheduling {
        Some(Scheduling::RealTime) => Finding::new(Verdict::Ok, subject, "real time"),
        _ => Finding::new(
            Verdict::Warn,
            subject,
            "ordinary: a busy machine may make readings late, which is counted; for real time give the program \
             CAP_SYS_NICE (setcap cap_sys_nice+ep PATH) or the service LimitRTPRIO=10",
        ),
    }
}

pub(super) fn clock() -> Finding {
    let clock = Monotonic::describe();
    let detail = format!("{}, resolution {} ns", clock.source, clock.resolution_ns);
    if clock.resolution_ns > RESOLUTION_NS_MAX {
        let advice = "; boot a kernel with high-resolution timers (CONFIG_HIGH_RES_TIMERS)";
        return Finding::new(Verdict::Warn, "clock", detail + advice);
    }
    Finding::new(Verdict::Ok, "clock", detail)
}

pub(super) fn runtime(config: &Config, surroundings: &Surroundings) -> Finding {
    const SUBJECT: &str = "LiteRT";
    let named = config.inference.litert_library.as_deref();
    let library = match surroundings.find_library(named) {
        Ok(library) => library,
        Err(error) => {
            // Without any library the node still measures and replays; one that was asked for must be there.
            let verdict = if named.is_some() { Verdict::Fail } else { Verdict::Warn };
            return Finding::new(verdict, SUBJECT, Chain(&error).to_string());
        }
    };
    match release::check(&library) {
        Ok(build) => {
            let detail = format!("{} for {}, {}", release::VERSION, build.machine, library.display());
            Finding::new(Verdict::Ok, SUBJECT, detail)
        }
        Err(error) => Finding::new(Verdict::Fail, SUBJECT, Chain(&error).to_string()),
    }
}

/// The worker programs of linked runtimes. Most nodes have none and want none; whoever does is told how.
pub(super) async fn linked(config: &Config, surroundings: &Surroundings) -> impl Iterator<Item = Finding> {
    runtimes::linked(&config.inference, surroundings).await.into_iter().map(|(linked, found)| match found {
        Ok(Some(program)) => {
            Finding::new(Verdict::Ok, linked.library, format!("{}, {}", program.version, program.exe.display()))
        }
        Ok(None) => {
            let detail = format!("not here, so this node runs no {}; {}", linked.models, linked.advice());
            Finding::new(Verdict::Ok, linked.library, detail)
        }
        Err(error) => Finding::new(Verdict::Fail, linked.library, Chain(&error).to_string()),
    })
}

pub(super) fn spool(config: &Config) -> Finding {
    const SUBJECT: &str = "spool";
    let dir = config.state_dir.join("spool");
    let spool = match Spool::open(&dir, &config.spool) {
        Ok(spool) => spool,
        Err(OpenError::Locked { holder, .. }) => {
            let holder = holder.map(|pid| format!(", process {pid}")).unwrap_or_default();
            return Finding::new(Verdict::Ok, SUBJECT, format!("{}, in use by a running agent{holder}", dir.display()));
        }
        Err(error) => return Finding::new(Verdict::Fail, SUBJECT, Chain(&error).to_string()),
    };
    drop(spool);
    let size_bytes_max = config.spool.size_bytes_max;
    let detail = format!("{}, writable, up to {} MiB", dir.display(), size_bytes_max >> 20);
    match rustix::fs::statvfs(&dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)) {
        Ok(free_bytes) if free_bytes < size_bytes_max => {
            let advice = format!(
                "; the disk has only {} MiB free: free some space, or lower `spool.size_bytes_max`",
                free_bytes >> 20
            );
            Finding::new(Verdict::Warn, SUBJECT, detail + &advice)
        }
        _ => Finding::new(Verdict::Ok, SUBJECT, detail),
    }
}

/// Whether this node executes jobs, and in how much room.
pub(super) fn jobs(config: &Config) -> Finding {
    const SUBJECT: &str = "jobs";
    if !config.jobs.enabled {
        let detail =
            "not executed here; `enabled = true` under [jobs] lets the collector start any command as this user";
        return Finding::new(Verdict::Ok, SUBJECT, detail);
    }
    let dir = config.state_dir.join("jobs");
    // The folder itself is made when the agent runs.
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(&dir);
    let free_bytes = rustix::fs::statvfs(there).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let gpus = machine::gpus(&config.sensors);
    let gpus = if gpus.is_empty() { "no GPU that NVIDIA's driver tells of".to_owned() } else { gpus.join(", ") };
    let detail = format!("executed as this user in {}, with {gpus}", dir.display());
    if rustix::process::geteuid().is_root() {
        let advice = "; this user is root, and no job needs that: run the agent as another one";
        return Finding::new(Verdict::Warn, SUBJECT, detail + advice);
    }
    match free_bytes {
        Ok(free_bytes) if free_bytes < FREE_BYTES_GOOD => {
            let advice = format!("; only {} MiB are free there, which a training may need", free_bytes >> 20);
            Finding::new(Verdict::Warn, SUBJECT, detail + &advice)
        }
        _ => Finding::new(Verdict::Ok, SUBJECT, detail),
    }
}

pub(super) async fn collector(config: &Config) -> Finding {
    const SUBJECT: &str = "collector";
    let address = &config.collector;
    match ask(address).await {
        Ok(()) => Finding::new(Verdict::Ok, SUBJECT, format!("{address} answers")),
        Err(error) => {
            let detail = format!("{}; until then the spool keeps everything", Chain(&error));
            Finding::new(Verdict::Fail, SUBJECT, detail)
        }
    }
}

pub(super) fn throttling() -> Finding {
    const SUBJECT: &str = "throttling";
    match Throttling::read() {
        Throttling::NotARaspberryPi => Finding::new(Verdict::Ok, SUBJECT, "not a Raspberry Pi, nothing to ask"),
        Throttling::Unknown => Finding::new(
            Verdict::Warn,
            SUBJECT,
            "the firmware could not be asked: install vcgencmd (package raspi-utils) and add the user to the group video",
        ),
        Throttling::Bits(0) => Finding::new(Verdict::Ok, SUBJECT, "none since boot"),
        Throttling::Bits(bits) => throttled(bits),
    }
}

fn throttled(bits: u32) -> Finding {
    let names = ["undervoltage", "frequency capped", "throttled", "soft temperature limit"];
    let named = |bits: u32| {
        let set = names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name);
        set.collect::<Vec<_>>().join(", ")
    };
    let (now, before) = (bits & THROTTLED_NOW, bits >> 16 & THROTTLED_NOW);
    let advice = "use the official supply and a heat sink";
    if now != 0 {
        return Finding::new(Verdict::Fail, "throttling", format!("now: {}; {advice}", named(now)));
    }
    Finding::new(Verdict::Warn, "throttling", format!("since boot: {}; {advice}", named(before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state_dir: &std::path::Path) -> Config {
        let environment = Environment { state_directory: Some(state_dir.to_owned()), ..Environment::default() };
        Config::load(None, &environment).expect("defaults")
    }

    #[test]
    fn what_the_firmware_says_is_named() {
        assert_eq!(throttled(0x5_0005).detail, "now: undervoltage, throttled; use the official supply and a heat sink");
        let before = throttled(0x1_0000);
        assert_eq!(before.verdict, Verdict::Warn);
        assert!(before.detail.starts_with("since boot: undervoltage"), "{}", before.detail);
    }

    #[test]
    fn an_emulated_sensor_gives_readings() {
        let findings = sensor(&SensorConfig::emulator("rail".parse().expect("a name"), 1));
        assert_ne!(findings[0].verdict, Verdict::Fail, "{}", findings[0]);
        assert!(findings[0].detail.contains("ina219-emulator"), "{}", findings[0]);
    }

    #[test]
    fn losses_within_the_bound_of_trials_are_fine_and_wires_are_only_those_of_chips() {
        assert_eq!(judge(1_000, 10), Verdict::Ok);
        assert_eq!(judge(1_000, 11), Verdict::Warn);
        assert_eq!(judge(0, 11), Verdict::Fail);
        for verdict in [Verdict::Warn, Verdict::Fail] {
            assert!(advice(verdict, true).contains("wires"));
            assert!(!advice(verdict, false).contains("wires") && !advice(verdict, false).contains("bus speed"));
        }
    }

    #[test]
    fn a_missing_bus_fails_with_advice() {
        let text = "source = 'ina219'\nname = 'rail'\nshunt_ohms = 0.1\nbus = '/dev/i2c-not-there'";
        let findings = sensor(&toml::from_str(text).expect("a sensor"));
        assert_eq!(findings[0].verdict, Verdict::Fail);
        assert!(findings[0].detail.contains("enable I2C"), "{}", findings[0]);
        assert_eq!(findings[0].to_string().matches("sensor 'rail'").count(), 1, "{}", findings[0]);
    }

    #[test]
    fn a_spool_that_an_agent_uses_is_fine_and_one_that_is_a_file_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = config(dir.path());
        assert_eq!(spool(&config).verdict, Verdict::Ok);
        let running = Spool::open(&dir.path().join("spool"), &config.spool).expect("opens");
        let finding = spool(&config);
        assert_eq!(finding.verdict, Verdict::Ok);
        assert!(finding.detail.contains("running agent"), "{finding}");
        drop(running);
        std::fs::remove_dir_all(dir.path().join("spool")).expect("removed");
        std::fs::write(dir.path().join("spool"), "").expect("written");
        assert_eq!(spool(&config).verdict, Verdict::Fail);
    }

    #[test]
    fn jobs_are_off_unless_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = config(dir.path());
        let finding = jobs(&config);
        assert!(finding.verdict == Verdict::Ok && finding.detail.starts_with("not executed here"), "{finding}");
        config.jobs.enabled = true;
        let finding = jobs(&config);
        assert_ne!(finding.verdict, Verdict::Fail, "{finding}");
        assert!(finding.detail.contains("/jobs"), "{finding}");
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_fails_with_advice() {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let finding = collector(&Config { collector: address.clone(), ..config(dir.path()) }).await;
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.detail.contains(&address) && finding.detail.contains("collector serve"), "{finding}");
    }
}
