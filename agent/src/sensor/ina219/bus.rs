//! The kernel's I2C bus behind embedded-hal, without an allocation per transaction.
//!
//! `linux-embedded-hal` collects the messages of every transaction into a vector, and the sampler's thread may not
//! allocate; so this goes straight to `i2cdev` beneath it, with the messages on the stack.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use i2cdev::core::{I2CMessage, I2CTransfer};
use i2cdev::linux::{LinuxI2CDevice, LinuxI2CError, LinuxI2CMessage};

/// One chip on /dev/i2c-N.
pub(crate) struct KernelBus {
    device: LinuxI2CDevice,
    address: u8,
}

/// A transaction failed in the kernel.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's I2C driver reported errno {errno}")]
pub struct KernelBusError {
    errno: i32,
}

impl KernelBus {
    /// Opens the bus for one chip. Fails with `EBUSY` when a kernel driver owns the chip; it is never taken away.
    pub(crate) fn open(path: &Path, address: u8) -> Result<Self, io::Error> {
        let device = LinuxI2CDevice::new(path, u16::from(address))?;
        Ok(Self { device, address })
    }
}

/// Major number of the kernel's I2C device files; their minor one is the adapter's (Documentation/admin-guide/devices.txt).
const MAJOR: u32 = 89;

/// What a chip is by, as in `Channel.rail`: however the device file is named, one chip has one rail.
pub(crate) fn rail(path: &Path, address: u8) -> String {
    let adapter = rustix::fs::stat(path).ok().filter(|file| rustix::fs::major(file.st_rdev) == MAJOR);
    let bus = match adapter {
        Some(file) => format!("i2c-{}", rustix::fs::minor(file.st_rdev)),
        None => {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            path.to_string_lossy().trim_start_matches('/').to_owned()
        }
    };
    format!("{}/{bus}/{address:#04x}", tinywatt_proto::rail::I2C)
}

impl KernelBusError {
    fn other(errno: rustix::io::Errno) -> Self {
        Self { errno: errno.raw_os_error() }
    }
}

impl From<LinuxI2CError> for KernelBusError {
    fn from(error: LinuxI2CError) -> Self {
        let errno = match error {
            LinuxI2CError::Errno(errno) => errno,
            LinuxI2CError::Io(error) => error.raw_os_error().unwrap_or(0),
        };
        Self { errno }
    }
}

impl embedded_hal::i2c::Error for KernelBusError {
    /// See the kernel's Documentation/i2c/fault-codes.rst; the Raspberry Pi reports a missing acknowledge as `EREMOTEIO`.
    fn kind(&self) -> ErrorKind {
        use rustix::io::Errno;
        match Errno::from_raw_os_error(self.errno) {
            Errno::NXIO | Errno::REMOTEIO => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
            Errno::AGAIN => ErrorKind::ArbitrationLoss,
            Errno::IO | Errno::TIMEDOUT => ErrorKind::Bus,
            _ => ErrorKind::Other,
        }
    }
}

impl ErrorType for KernelBus {
    type Error = KernelBusError;
}

impl I2c for KernelBus {
    /// One or two messages, which is all that registers need: the Raspberry Pi's driver takes one read per transfer, as
    /// the last message.
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), KernelBusError> {
        fn message<'a>(operation: &'a mut Operation<'_>) -> LinuxI2CMessage<'a> {
            match operation {
                Operation::Write(bytes) => LinuxI2CMessage::write(bytes),
                Operation::Read(bytes) => LinuxI2CMessage::read(bytes),
            }
        }
        if address != self.address {
            return Err(KernelBusError::other(rustix::io::Errno::NXIO));
        }
        match operations {
            [only] => self.device.transfer(&mut [message(only)]),
            [first, second] => self.device.transfer(&mut [message(first), message(second)]),
            _ => return Err(KernelBusError::other(rustix::io::Errno::OPNOTSUPP)),
        }?;
        Ok(())
    }
}

/// Clock of the bus behind a device file, Hz, if the system's device tree states it.
pub(crate) fn clock_hz(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let property = Path::new("/sys/class/i2c-adapter").join(name).join("of_node/clock-frequency");
    let bytes: [u8; 4] = fs::read(property).ok()?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Time that one reading takes on a bus: looking, shunt and power are three reads of 48 bit times, and Linux adds about
/// 50 µs to each.
pub(crate) fn reading_time(clock_hz: u32) -> Duration {
    const BITS: u32 = 3 * 48;
    const OVERHEAD: Duration = Duration::from_micros(3 * 50);
    Duration::from_secs(1) * BITS / clock_hz.max(1) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_of_400_kilohertz_keeps_up_and_one_of_100_does_not() {
        let fastest_cycle = Duration::from_nanos(808_000 * 9 / 10);
        assert!(reading_time(400_000) < fastest_cycle);
        assert!(reading_time(100_000) > fastest_cycle);
    }

    #[test]
    fn a_missing_device_file_is_an_error_and_states_no_clock() {
        let path = Path::new("/dev/i2c-that-is-not-there");
        assert!(KernelBus::open(path, 0x40).is_err());
        assert_eq!(clock_hz(path), None);
    }

    #[test]
    fn a_chip_has_one_rail_however_its_bus_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let (bus, link) = (dir.path().join("bus"), dir.path().join("link"));
        fs::write(&bus, "").expect("written");
        std::os::unix::fs::symlink(&bus, &link).expect("linked");
        assert_eq!(rail(&link, 0x40), rail(&bus, 0x40));
        assert_eq!(rail(&dir.path().join("./bus"), 0x40), rail(&bus, 0x40));
        assert_ne!(rail(&bus, 0x41), rail(&bus, 0x40));
        // None of the kernel's, so it is known by its path alone.
        assert_eq!(rail(Path::new("/dev/null"), 0x40), "i2c/dev/null/0x40");
        assert_eq!(rail(Path::new("/nowhere/i2c-1"), 0x4f), "i2c/nowhere/i2c-1/0x4f");
    }
}
