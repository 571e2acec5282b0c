//! The worker's own memory, as Linux counts it.

use std::io;

/// Resident memory now, bytes.
pub(super) fn resident_bytes() -> io::Result<u64> {
    field("VmRSS:")
}

/// Largest resident memory since the start, or since [`reset_peak`], bytes.
pub(super) fn peak_bytes() -> io::Result<u64> {
    field("VmHWM:")
}

/// Starts a new peak. Where that is not permitted the peak is that of the whole process, which is an upper bound.
pub(super) fn reset_peak() {
    // "5" resets the peak resident set size (proc(5), clear_refs). Some containers forbid it.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn field(name: &str) -> io::Result<u64> {
    parse(&std::fs::read_to_string("/proc/self/status")?, name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {name} in /proc/self/status")))
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_become_bytes() {
        let status = "Name:\tagent\nVmHWM:\t    5120 kB\nVmRSS:\t    4096 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(5 << 20));
        assert_eq!(parse(status, "VmRSS:"), Some(4 << 20));
        assert_eq!(parse(status, "VmSwap:"), None);
    }

    #[test]
    fn a_process_has_memory() {
        assert!(resident_bytes().expect("Linux") > 100 << 10);
        assert!(peak_bytes().expect("Linux") > 100 << 10);
    }
}
