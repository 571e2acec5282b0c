//! What the firmware of a Raspberry Pi says about undervoltage and throttling.

use std::path::Path;
use std::process::Command;

/// Names the machine on boards with a device tree.
const MODEL: &str = "/proc/device-tree/model";

/// The kernel's own file for the bits. Asked only where `vcgencmd` is missing: reading it clears the bits since boot.
const FIRMWARE: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// What the firmware says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Throttling {
    /// The machine is another one.
    NotARaspberryPi,
    /// The firmware could not be asked.
    Unknown,
    /// Bits of `get_throttled`: 0-3 now (undervoltage, frequency capped, throttled, soft temperature limit), 16-19 the
    /// same since boot.
    Bits(u32),
}

impl Throttling {
    /// Asks the firmware. Starts a process, so it is for moments when nothing is measured.
    pub fn read() -> Self {
        let model = std::fs::read_to_string(MODEL).unwrap_or_default();
        if !model.starts_with("Raspberry Pi") {
            return Self::NotARaspberryPi;
        }
        let asked =
            Command::new("vcgencmd").arg("get_throttled").output().ok().filter(|output| output.status.success());
        let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.or_else(|| std::fs::read_to_string(Path::new(FIRMWARE)).ok());
        text.as_deref().and_then(parse).map_or(Self::Unknown, Self::Bits)
    }

    /// The bits, where there are any.
    pub fn bits(&self) -> Option<u32> {
        match self {
            Self::Bits(bits) => Some(*bits),
            Self::NotARaspberryPi | Self::Unknown => None,
        }
    }
}

/// Reads `throttled=0x50000` of vcgencmd and `50000` of the kernel.
fn parse(text: &str) -> Option<u32> {
    let digits = text.trim();
    let digits = digits.strip_prefix("throttled=").unwrap_or(digits);
    u32::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_the_bits_are_read() {
        assert_eq!(parse("throttled=0x50005\n"), Some(0x5_0005));
        assert_eq!(parse("50000\n"), Some(0x5_0000));
        assert_eq!(parse("error=1"), None);
    }
}
