//! RAPL: the energy counters of a processor's package, cores and memory, through the kernel's powercap files.
//!
//! Intel and AMD alike: both show as `intel-rapl`. Opens its file once and reads it in place; never needs root, only the
//! permission to read that file. (The crate `powercap` opens its files by name and allocates at each look, which the
//! sampler's thread must not.)

mod zone;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;

use super::config::RaplConfig;
use super::counter::{CounterSensor, Description, EnergyCounter, POWER_MAX};
use crate::clock::Clock;
pub use zone::{Zone, find, zones};

/// How often the hardware adds to its counters (Intel SDM volume 3, "RAPL Interfaces": about 1 ms).
pub const UPDATE_PERIOD: Duration = Duration::from_millis(1);

/// The files count in µJ.
const PICOJOULES_PER_CODE: u64 = 1_000_000;

/// Looks in the shortest time that a counter can take for a wrap-around: with fewer, one that comes late misses it.
const LOOKS_PER_WRAP_MIN: u32 = 2;

/// Longest text of a counter: 20 digits and a line end.
const TEXT_BYTES_MAX: usize = 24;

/// A zone could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RaplError {
    /// There is no RAPL here.
    #[error(
        "no RAPL zone below {}: virtual machines and ARM boards have none; on a PC load its driver (modprobe \
         intel_rapl_msr; AMD too), or use source = \"tdp\" for an estimate", root.display()
    )]
    NoZones {
        /// Where was looked.
        root: PathBuf,
    },
    /// There are other zones.
    #[error("no RAPL zone is named '{zone}': there are {}", known.join(", "))]
    UnknownZone {
        /// What was asked for.
        zone: String,
        /// What is there.
        known: Vec<String>,
    },
    /// Several packages have such a zone.
    #[error("several RAPL zones are named '{zone}': set `zone` to one of {}", known.join(", "))]
    Ambiguous {
        /// What was asked for.
        zone: String,
        /// Which ones are meant.
        known: Vec<String>,
    },
    /// A file cannot be read.
    #[error("failed to read {}{}", path.display(), advice(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no number of microjoules", path.display())]
    Number {
        /// The file.
        path: PathBuf,
    },
    /// The counter could wrap around unseen.
    #[error(
        "the counter of zone '{zone}' wraps around after {range}, at {POWER_MAX:.0} within {:?}: a sample_period of \
         {sample_period:?} could miss that, set at most {:?}", wrap_time(*range), sample_period_max(*range)
    )]
    WrapTooShort {
        /// The zone.
        zone: String,
        /// Energy of a whole round.
        range: Joules,
        /// As configured.
        sample_period: Duration,
    },
}

/// Since 2020 (CVE-2020-8694) only root may read the counters unless somebody allows more.
fn advice(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    format!(
        ": only root may by default; allow the agent's group once with `sudo chgrp GROUP {0} && sudo chmod g+r {0}`, or at \
         every start by a udev rule: SUBSYSTEM==\"powercap\", ACTION==\"add\", RUN+=\"/bin/sh -c 'chgrp GROUP \
         /sys%p/energy_uj; chmod g+r /sys%p/energy_uj'\"",
        path.display()
    )
}

/// Shortest time that a whole round can take.
fn wrap_time(range: Joules) -> Duration {
    Duration::try_from_secs_f64(range.get() / POWER_MAX.get()).unwrap_or(Duration::MAX)
}

fn sample_period_max(range: Joules) -> Duration {
    wrap_time(range) / LOOKS_PER_WRAP_MIN
}

/// A zone's counter.
#[derive(Debug)]
pub struct ZoneCounter {
    file: File,
}

impl EnergyCounter for ZoneCounter {
    fn count(&mut self, _now: MonoNs) -> Option<u64> {
        let mut text = [0; TEXT_BYTES_MAX];
        let count = self.file.read_at(&mut text, 0).ok()?;
        number(text.get(..count)?)
    }
}

/// Opens a zone's counter.
///
/// # Errors
/// Any [`RaplError`], with the file and what to do.
pub fn open<C: Clock>(config: &RaplConfig, clock: C) -> Result<CounterSensor<ZoneCounter, C>, RaplError> {
    let zone = find(&config.root, &config.zone)?;
    let range = read_number(&zone.path.join("max_energy_range_uj"))?;
    let path = zone.path.join("energy_uj");
    // Read once by its path, so that an error says why.
    read_number(&path)?;
    #[expect(clippy::cast_precision_loss, reason = "a range, of which three digits are shown")]
    let range_joules = Joules::new(range as f64 / 1e6);
    if config.sample_period > sample_period_max(range_joules) {
        let sample_period = config.sample_period;
        return Err(RaplError::WrapTooShort { zone: zone.name, range: range_joules, sample_period });
    }
    let file = File::open(&path).map_err(|source| RaplError::Read { path: path.clone(), source })?;
    let description = Description {
        name: config.name.clone(),
        source: "rapl",
        rail: zone.rail(),
        kind: v1::FigureKind::Measured,
        picojoules_per_code: PICOJOULES_PER_CODE,
        range: Some(range),
        update_period: UPDATE_PERIOD,
        sample_period: config.sample_period,
        tolerance: config.tolerance,
    };
    CounterSensor::open(ZoneCounter { file }, clock, description).ok_or(RaplError::Number { path })
}

fn read_number(path: &Path) -> Result<u64, RaplError> {
    let text = std::fs::read(path).map_err(|source| RaplError::Read { path: path.to_owned(), source })?;
    number(&text).ok_or_else(|| RaplError::Number { path: path.to_owned() })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::clock::Virtual;
    use crate::sensor::{Poll, Sensor};

    /// Files as the kernel lays them out: a package with cores and memory, and another one.
    pub(crate) fn lay_out(root: &Path, range: u64) {
        for (zone, name) in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:1/intel-rapl:1:0", "dram"),
            ("intel-rapl-mmio:0", "package-0"),
        ] {
            let zone = root.join(zone);
            fs::create_dir_all(&zone).expect("a folder");
            fs::write(zone.join("name"), format!("{name}\n")).expect("written");
            fs::write(zone.join("energy_uj"), "1000\n").expect("written");
            fs::write(zone.join("max_energy_range_uj"), format!("{range}\n")).expect("written");
        }
        fs::create_dir_all(root.join("intel-rapl")).expect("a folder");
    }

    fn config(root: &Path) -> RaplConfig {
        toml::from_str(&format!("name = 'cpu'\nroot = '{}'", root.display())).expect("complete")
    }

    fn refused(config: &RaplConfig) -> String {
        open(config, Virtual::default()).expect_err("refused").to_string()
    }

    #[test]
    fn a_zone_is_read_in_place_and_its_wrap_around_undone() {
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), 65_532_610_987);
        let counter = root.path().join("intel-rapl:0/energy_uj");
        fs::write(&counter, "65532610900\n").expect("written");
        let clock = Virtual::default();
        let mut sensor = open(&config(root.path()), clock.clone()).expect("opens");
        let channel = sensor.channel();
        assert_eq!((channel.source.as_str(), channel.kind()), ("rapl", v1::FigureKind::Measured));
        assert_eq!(channel.sample_period_ns, 20_000_000);
        for (text, expected) in [("65532610950\n", 50), ("13", 100), ("2000000\n", 2_000_087)] {
            clock.advance(Duration::from_millis(20));
            fs::write(&counter, text).expect("written");
            let Poll::Reading { reading, .. } = sensor.poll() else { panic!("a reading") };
            assert_eq!(reading.first, expected);
        }
        clock.advance(Duration::from_millis(20));
        fs::write(&counter, "").expect("written");
        assert!(matches!(sensor.poll(), Poll::Failed { .. }));
    }

    #[test]
    fn a_counter_that_could_wrap_unseen_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), 100_000_000);
        let error = refused(&config(root.path()));
        assert!(error.contains("after 100 J") && error.contains("at most 10ms"), "{error}");
        let faster = RaplConfig { sample_period: Duration::from_millis(10), ..config(root.path()) };
        assert!(open(&faster, Virtual::default()).is_ok());
    }

    #[test]
    fn what_is_missing_or_no_number_is_named_with_a_way_out() {
        let root = tempfile::tempdir().expect("a folder");
        let error = refused(&config(root.path()));
        assert!(error.contains("intel_rapl_msr") && error.contains("tdp"), "{error}");
        let error = refused(&config(&root.path().join("none")));
        assert!(error.contains("no RAPL zone"), "{error}");
        lay_out(root.path(), 65_532_610_987);
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "lots").expect("written");
        let error = refused(&config(root.path()));
        assert!(error.contains("intel-rapl:0/energy_uj holds no number"), "{error}");
        fs::remove_file(root.path().join("intel-rapl:0/energy_uj")).expect("removed");
        assert!(refused(&config(root.path())).contains("failed to read"));
    }

    #[test]
    fn a_lack_of_permission_tells_how_to_give_it_without_root() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = RaplError::Read { path: "/sys/class/powercap/intel-rapl:0/energy_uj".into(), source: denied };
        let text = error.to_string();
        for part in ["chgrp GROUP /sys/class/powercap/intel-rapl:0/energy_uj", "chmod g+r", "udev", "SUBSYSTEM"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn one_zone_has_one_rail_however_it_is_named_and_wherever_it_is_found() {
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), 65_532_610_987);
        let links = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(root.path().join("intel-rapl:0"), links.path().join("intel-rapl:0"))
            .expect("linked");
        std::os::unix::fs::symlink(root.path().join("intel-rapl:0:0"), links.path().join("intel-rapl:0:0"))
            .expect("linked");
        let rail = |root: &Path, zone: &str| {
            let config = RaplConfig { zone: zone.to_owned(), ..config(root) };
            open(&config, Virtual::default()).expect("opens").channel().rail
        };
        let core = rail(root.path(), "package-0/core");
        assert_eq!(core, "machine/processors/package-0/core");
        assert_eq!(rail(root.path(), "core"), core);
        assert_eq!(rail(links.path(), "core"), core);
        assert_eq!(rail(links.path(), "package-0"), "machine/processors/package-0");
        assert_eq!(rail(root.path(), "package-1/dram"), "machine/memory/package-1");
    }
}
