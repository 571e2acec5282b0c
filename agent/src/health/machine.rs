//! What the kernel tells of this process, the memory, the disk and the temperature. Reads files, starts nothing.

use std::fs;
use std::path::Path;

use crate::machine::{field, kibibytes};

/// Folder of the kernel's thermal zones.
const THERMAL: &str = "/sys/class/thermal";

/// Absolute zero. Drivers answer less when they know no temperature (THERMAL_TEMP_INVALID is -274 °C).
const MILLICELSIUS_MIN: i32 = -273_150;

/// What was seen. What the kernel does not tell is absent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) agent_memory_bytes: Option<u64>,
    pub(super) temperature_millicelsius: Option<i32>,
    pub(super) disk_free_bytes: Option<u64>,
    pub(super) memory_available_bytes: Option<u64>,
}

/// Looks at the machine, and at the disk of a folder.
pub(super) fn look(dir: &Path) -> Seen {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    // As the agent's user may fill it: the part reserved for root does not count.
    let disk = rustix::fs::statvfs(dir).ok();
    Seen {
        agent_memory_bytes: resident_bytes(&read("/proc/self/statm"), page_bytes),
        temperature_millicelsius: hottest(Path::new(THERMAL)),
        disk_free_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        memory_available_bytes: available_bytes(&read("/proc/meminfo")),
    }
}

/// Resident bytes: the second of the numbers in `/proc/PID/statm` counts pages.
fn resident_bytes(statm: &str, page_bytes: u64) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page_bytes)
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    kibibytes(&field(meminfo, "MemAvailable")?)
}

/// Temperature of the hottest zone. One that is switched off gives an error in place of a number, and is passed over.
fn hottest(dir: &Path) -> Option<i32> {
    let zones = fs::read_dir(dir).ok()?.flatten();
    let zones = zones.filter(|zone| zone.file_name().as_encoded_bytes().starts_with(b"thermal_zone"));
    zones.filter_map(|zone| millicelsius(&fs::read_to_string(zone.path().join("temp")).ok()?)).max()
}

fn millicelsius(temp: &str) -> Option<i32> {
    temp.trim().parse().ok().filter(|millicelsius| *millicelsius >= MILLICELSIUS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded on a Linux machine with 24 GB.
    const MEMINFO: &str = "MemTotal:       24684084 kB\nMemFree:        20003884 kB\nMemAvailable:   24133184 kB\n\
        Buffers:           63024 kB\nCached:          4030292 kB\n";

    /// Recorded there from `cat`.
    const STATM: &str = "765 436 408 5 0 123 0\n";

    #[test]
    fn the_files_of_proc_are_read() {
        assert_eq!(resident_bytes(STATM, 4_096), Some(1_785_856));
        assert_eq!(resident_bytes("", 4_096), None);
        assert_eq!(available_bytes(MEMINFO), Some(24_712_380_416));
        assert_eq!(available_bytes("MemTotal: 12 kB\n"), None, "a kernel before 3.14");
    }

    #[test]
    fn the_hottest_zone_counts_and_those_that_know_nothing_do_not() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(hottest(dir.path()), None);
        assert_eq!(hottest(&dir.path().join("none")), None);
        let zones = [
            ("thermal_zone0", "48199\n"),
            ("thermal_zone1", "-5000\n"),
            ("thermal_zone2", "-274000\n"),
            ("thermal_zone3", ""),
            ("cooling_device0", "99000\n"),
        ];
        for (zone, temp) in &zones[1..] {
            fs::create_dir(dir.path().join(zone)).expect("a folder");
            fs::write(dir.path().join(zone).join("temp"), temp).expect("written");
        }
        assert_eq!(hottest(dir.path()), Some(-5_000));
        fs::create_dir(dir.path().join(zones[0].0)).expect("a folder");
        fs::write(dir.path().join(zones[0].0).join("temp"), zones[0].1).expect("written");
        assert_eq!(hottest(dir.path()), Some(48_199));
    }

    #[test]
    fn this_machine_has_a_disk_and_memory() {
        let seen = look(&std::env::temp_dir());
        assert!(seen.disk_free_bytes.is_some() && seen.memory_available_bytes > Some(1 << 20), "{seen:?}");
        assert!(seen.agent_memory_bytes > Some(100 << 10), "{seen:?}");
    }
}
