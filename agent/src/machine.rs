//! What machine this is, as a node tells it to its collector.

use std::fs;

use tinywatt_proto::v1;

use crate::sensor::SensorConfig;

/// Describes the machine; the sensors say where NVIDIA's library lies.
pub fn describe(sensors: &[SensorConfig]) -> v1::Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let system = format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim());
    let cpu_count = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    // The model line of a Raspberry Pi is in the device tree; /proc/cpuinfo has none on arm64.
    let board = read("/proc/device-tree/model");
    let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| board.trim_end_matches('\0').to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| kibibytes(&text));
    v1::Machine {
        system: system.trim().to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        cpu,
        cpu_count: u32::try_from(cpu_count).unwrap_or(u32::MAX),
        memory_bytes: memory.unwrap_or(0),
        gpus: gpus(sensors),
    }
}

/// Models of the GPUs, as NVIDIA's driver tells them.
#[cfg(feature = "nvml")]
pub fn gpus(sensors: &[SensorConfig]) -> Vec<String> {
    crate::sensor::nvml::names(sensors.iter().filter_map(|sensor| match sensor {
        SensorConfig::Nvml(config) => Some(config),
        _ => None,
    }))
}

/// None: this program cannot ask NVIDIA's driver.
#[cfg(not(feature = "nvml"))]
pub fn gpus(_sensors: &[SensorConfig]) -> Vec<String> {
    Vec::new()
}

/// Value of the first line `NAME : VALUE`.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

/// Bytes of `N kB`, as the kernel writes kibibytes.
pub(crate) fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: Another\n";
        assert_eq!(field(cpuinfo, "model name").as_deref(), Some("A CPU @ 2 GHz"));
        assert_eq!(field(cpuinfo, "Hardware"), None);
        assert_eq!(kibibytes("3884180 kB"), Some(3_977_400_320));
    }
}
