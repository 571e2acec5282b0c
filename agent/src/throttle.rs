//! What the firmware of a Raspberry Pi says about undervoltage and throttling.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Names the machine on boards with a device tree.
const MODEL: &str = "/proc/device-tree/model";

/// The kernel's own file for the bits. Asked only where `vcgencmd` is missing: reading it clears the bits since boot.
const FIRMWARE: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// Bits that tell what has happened since boot.
const SINCE_BOOT: u32 = 0xf_0000;

/// What the firmware says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub fn bits(self) -> Option<u32> {
        match self {
            Self::Bits(bits) => Some(bits),
            Self::NotARaspberryPi | Self::Unknown => None,
        }
    }
}

/// The firmware as trials and the agent's health share it: asked by one at a time, its last answer kept. Clones are one.
#[derive(Debug, Clone)]
pub struct Firmware {
    read: fn() -> Throttling,
    last: Arc<Mutex<Option<Answer>>>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    at: MonoNs,
    said: Throttling,
    /// The same, with everything since boot that any answer told: reading the kernel's file clears those bits.
    kept: Throttling,
}

impl Firmware {
    /// Makes a firmware that answers so.
    pub(crate) fn new(read: fn() -> Throttling) -> Self {
        Self { read, last: Arc::default() }
    }

    /// Asks. Whoever is asking already gets an answer first, so that no process of another's runs when this returns.
    pub async fn ask(&self, now: MonoNs) -> Throttling {
        let last = Arc::clone(&self.last).lock_owned().await;
        self.ask_alone(last, now).await.map_or(Throttling::Unknown, |answer| answer.said)
    }

    /// The last answer; asks anew when it is as old as `age_max` and `may_ask` says so. A machine that is no Raspberry Pi
    /// does not become one, and is not asked again.
    ///
    /// `may_ask` is called when nobody else is asking: a trial that is shown as executing before it asks waits for what
    /// was begun before, and nothing is begun after.
    pub async fn last(&self, now: MonoNs, age_max: Duration, may_ask: impl FnOnce() -> bool) -> Throttling {
        let last = Arc::clone(&self.last).lock_owned().await;
        let is_due =
            last.is_none_or(|answer| answer.said != Throttling::NotARaspberryPi && now.since(answer.at) >= age_max);
        let answer = if is_due && may_ask() { self.ask_alone(last, now).await } else { *last };
        answer.map_or(Throttling::Unknown, |answer| answer.kept)
    }

    /// Asks on a thread that may wait, and that holds the lock even when the caller has been dropped.
    async fn ask_alone(&self, mut last: OwnedMutexGuard<Option<Answer>>, now: MonoNs) -> Option<Answer> {
        let read = self.read;
        let asking = tokio::task::spawn_blocking(move || {
            let said = read();
            let before = last.and_then(|answer| answer.kept.bits()).unwrap_or(0);
            let kept = match said {
                Throttling::Bits(bits) => Throttling::Bits(bits | before & SINCE_BOOT),
                other => other,
            };
            *last = Some(Answer { at: now, said, kept });
            *last
        });
        asking.await.ok().flatten()
    }
}

impl Default for Firmware {
    /// This machine's.
    fn default() -> Self {
        Self::new(Throttling::read)
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
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    #[test]
    fn the_firmware_is_asked_anew_when_its_answer_is_old_and_nobody_minds() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        // Each answer is another bit since boot, which the next one has lost.
        let firmware = Firmware::new(|| Throttling::Bits(0x1_0001 << ASKED.fetch_add(1, Relaxed)));
        run(async {
            let last = async |at, may_ask| firmware.last(seconds(at), MINUTE, || may_ask).await;
            assert_eq!(last(0, false).await, Throttling::Unknown, "never asked, and not to be");
            assert_eq!(last(1, true).await, Throttling::Bits(0x1_0001));
            assert_eq!(last(60, true).await, Throttling::Bits(0x1_0001), "59 s old");
            assert_eq!(last(61, false).await, Throttling::Bits(0x1_0001), "a trial minds");
            assert_eq!(last(61, true).await, Throttling::Bits(0x3_0002), "what was since boot is kept");
            assert_eq!(firmware.ask(seconds(62)).await, Throttling::Bits(0x4_0004), "a trial hears what was said");
            assert_eq!(last(121, true).await, Throttling::Bits(0x7_0004), "the trial's answer is young enough");
            assert_eq!(ASKED.load(Relaxed), 3);
        });
    }

    #[test]
    fn what_is_no_raspberry_pi_is_asked_once() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let firmware = Firmware::new(|| {
            ASKED.fetch_add(1, Relaxed);
            Throttling::NotARaspberryPi
        });
        run(async {
            for at in [1, 1_000, 2_000] {
                assert_eq!(firmware.last(seconds(at), MINUTE, || true).await.bits(), None);
            }
            assert_eq!(ASKED.load(Relaxed), 1);
        });
    }

    #[test]
    fn a_trial_waits_for_what_was_asked_before_it() {
        static ASKING: AtomicU32 = AtomicU32::new(0);
        let firmware = Firmware::new(|| {
            assert_eq!(ASKING.fetch_add(1, Relaxed), 0, "one at a time");
            std::thread::sleep(Duration::from_millis(50));
            ASKING.fetch_sub(1, Relaxed);
            Throttling::Bits(0)
        });
        run(async {
            let health = firmware.clone();
            let asking = tokio::spawn(async move { health.last(seconds(1), MINUTE, || true).await });
            while ASKING.load(Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            // Dropped while it waits for the answer, as when an agent stops.
            asking.abort();
            assert_eq!(firmware.ask(seconds(2)).await, Throttling::Bits(0));
            assert_eq!(ASKING.load(Relaxed), 0);
        });
    }

    #[test]
    fn both_ways_of_writing_the_bits_are_read() {
        assert_eq!(parse("throttled=0x50005\n"), Some(0x5_0005));
        assert_eq!(parse("50000\n"), Some(0x5_0000));
        assert_eq!(parse("error=1"), None);
    }
}
