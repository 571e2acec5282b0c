//! A model of the processor's power where nothing can be measured: ESTIMATED, never measured.
//!
//! Power = idle power + (thermal design power − idle power) × utilisation of all processors. It knows nothing of clock
//! speeds, of memory or of a GPU, and counts whatever else the machine does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::rail;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

use super::config::TdpConfig;
use super::counter::{CounterSensor, Description, EnergyCounter};
use crate::clock::Clock;

/// The kernel accounts time in ticks of 10 ms.
pub const UPDATE_PERIOD: Duration = Duration::from_millis(10);

/// The model counts in µJ.
const PICOJOULES_PER_CODE: u64 = 1_000_000;

/// Bytes of `/proc/stat` that surely hold its first line: ten numbers of up to 20 digits.
const TEXT_BYTES_MAX: usize = 256;

/// The model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TdpError {
    /// The file is not there.
    #[error("failed to read {}: the model needs Linux's /proc, mounted (or set `root`)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is another one.
    #[error("{} does not begin with the times of all processors ('cpu ...')", path.display())]
    Times {
        /// The file.
        path: PathBuf,
    },
}

/// The model as a counter.
#[derive(Debug)]
pub struct Model {
    file: File,
    idle_microwatts: f64,
    /// Energy of one tick that one processor was busy.
    tick_microjoules: f64,
    start: MonoNs,
    busy_start: u64,
    /// What was said last: ticks of processors that come and go must not make it fall.
    last: u64,
}

impl EnergyCounter for Model {
    fn count(&mut self, now: MonoNs) -> Option<u64> {
        let busy = busy_ticks(&self.file)?.saturating_sub(self.busy_start);
        let seconds = now.since(self.start).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and below 2^53 for centuries"
        )]
        let microjoules = (self.idle_microwatts * seconds + self.tick_microjoules * busy as f64) as u64;
        self.last = self.last.max(microjoules);
        Some(self.last)
    }
}

/// Ticks that all processors together were busy since the machine started. What waits or was stolen by other virtual
/// machines is no use; time of guests is contained in that of users.
fn busy_ticks(file: &File) -> Option<u64> {
    let mut text = [0; TEXT_BYTES_MAX];
    let count = file.read_at(&mut text, 0).ok()?;
    let line = std::str::from_utf8(text.get(..count)?).ok()?.lines().next()?;
    let mut times = line.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || times.next()?.ok();
    let (user, nice, system, _idle, _waiting) = (next()?, next()?, next()?, next()?, next()?);
    let (interrupts, soft_interrupts) = (next()?, next()?);
    Some(user + nice + system + interrupts + soft_interrupts)
}

/// Begins the model.
///
/// # Errors
/// Any [`TdpError`].
pub fn open<C: Clock>(config: &TdpConfig, clock: C) -> Result<CounterSensor<Model, C>, TdpError> {
    let path = config.root.join("stat");
    let failed = |source| TdpError::Read { path: path.clone(), source };
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let is_processor =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let processor_count = u32::try_from(text.lines().filter(is_processor).count()).unwrap_or(u32::MAX).max(1);
    let file = File::open(&path).map_err(failed)?;
    let times = || TdpError::Times { path: path.clone() };
    let busy_start = busy_ticks(&file).ok_or_else(times)?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
    let model = Model {
        file,
        idle_microwatts: config.idle_watts * 1e6,
        tick_microjoules: (config.tdp_watts - config.idle_watts) * 1e6
            / (f64::from(ticks_per_second) * f64::from(processor_count)),
        start: clock.now(),
        busy_start,
        last: 0,
    };
    let description = Description {
        name: config.name.clone(),
        source: "tdp",
        rail: rail::PROCESSORS.to_owned(),
        kind: v1::FigureKind::Estimated,
        picojoules_per_code: PICOJOULES_PER_CODE,
        range: None,
        update_period: UPDATE_PERIOD,
        sample_period: config.sample_period,
        tolerance: None,
    };
    CounterSensor::open(model, clock, description).ok_or_else(times)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::clock::Virtual;
    use crate::sensor::{Poll, Sensor};

    fn write(root: &Path, user: u64, idle: u64) {
        let text = format!("cpu  {user} 10 20 {idle} 5 3 2 77 0 0\ncpu0 1 1 1 1 1\ncpu1 1 1 1 1 1\nintr 5\n");
        fs::write(root.join("stat"), text).expect("written");
    }

    fn config(root: &Path) -> TdpConfig {
        let text = format!("name = 'host'\ntdp_watts = 65\nidle_watts = 5\nroot = '{}'", root.display());
        toml::from_str(&text).expect("complete")
    }

    #[test]
    fn power_lies_between_idle_and_tdp_by_the_part_of_time_that_processors_are_busy() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), 1_000, 50_000);
        let clock = Virtual::default();
        let mut sensor = open(&config(root.path()), clock.clone()).expect("opens");
        assert_eq!((sensor.channel().kind(), sensor.channel().source.as_str()), (v1::FigureKind::Estimated, "tdp"));
        assert_eq!(sensor.channel().rail, "machine/processors");
        let mut joules = |user, idle| {
            clock.advance(Duration::from_secs(1));
            write(root.path(), user, idle);
            let Poll::Reading { reading, .. } = sensor.poll() else { panic!("a reading") };
            reading.first / 1_000
        };
        assert_eq!(joules(1_000, 50_200), 5_000, "idle: 5 W for a second");
        assert_eq!(joules(1_200, 50_200), 70_000, "both processors: 65 W");
        assert_eq!(joules(1_250, 50_350), 90_000, "a quarter: 5 + 60/4 W");
        assert_eq!(joules(900, 50_550), 90_000, "ticks that are gone take nothing back");
    }

    #[test]
    fn another_file_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let refused = || open(&config(root.path()), Virtual::default()).expect_err("refused").to_string();
        assert!(refused().contains("stat") && refused().contains("/proc"));
        fs::write(root.path().join("stat"), "cpu  1 2\n").expect("written");
        assert!(refused().contains("does not begin with the times"), "{}", refused());
    }

    #[test]
    fn this_machine_can_be_modelled() {
        let config = TdpConfig { root: "/proc".into(), ..config(Path::new("/proc")) };
        let clock = Virtual::default();
        let mut sensor = open(&config, clock.clone()).expect("opens");
        clock.advance(Duration::from_millis(100));
        assert!(matches!(sensor.poll(), Poll::Reading { .. }));
    }
}
