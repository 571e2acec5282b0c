//! How long a bucket keeps its points.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const HOUR_SECONDS: u64 = 3_600;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// Time after which a bucket forgets a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// 0 keeps for ever, as in InfluxDB.
    seconds: u64,
}

impl Retention {
    /// Nothing is forgotten.
    pub const FOREVER: Self = Self { seconds: 0 };

    /// A month of raw samples.
    pub const DAYS_30: Self = Self { seconds: 30 * DAY_SECONDS };

    /// As InfluxDB says it: 0 keeps for ever.
    pub fn from_seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// As InfluxDB wants it: 0 keeps for ever.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Length of the pieces that are forgotten at once: what InfluxDB itself takes by this retention. It wants it to be told
    /// when a retention is made shorter than the pieces that there are.
    pub fn shard_seconds(self) -> u64 {
        match self.seconds {
            0 => 7 * DAY_SECONDS,
            seconds if seconds < 2 * DAY_SECONDS => HOUR_SECONDS,
            seconds if seconds < 180 * DAY_SECONDS => DAY_SECONDS,
            _ => 7 * DAY_SECONDS,
        }
    }
}

impl FromStr for Retention {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::FOREVER);
        }
        let duration: Duration =
            humantime::parse_duration(text).map_err(|_| "expected a duration like 30days, or forever")?;
        if !duration.is_zero() && duration.as_secs() < HOUR_SECONDS {
            return Err("InfluxDB keeps for an hour at least; 0s or forever is for ever");
        }
        // InfluxDB counts in nanoseconds, 63 bits of them, and takes seconds.
        if duration.subsec_nanos() > 0 || i64::try_from(duration.as_nanos()).is_err() {
            return Err("expected whole seconds and at most 292 years");
        }
        Ok(Self { seconds: duration.as_secs() })
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            0 => formatter.write_str("for ever"),
            // Days are what people set; humantime would make months of them.
            seconds if seconds % DAY_SECONDS == 0 => write!(formatter, "for {} days", seconds / DAY_SECONDS),
            seconds => write!(formatter, "for {}", humantime::format_duration(Duration::from_secs(seconds))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_for_ever_are_understood() {
        let shown = |text: &str| text.parse::<Retention>().map(|retention| retention.to_string());
        assert_eq!(shown("30d").unwrap(), "for 30 days");
        assert_eq!(shown("1h 30m").unwrap(), "for 1h 30m");
        assert_eq!(shown("0s").unwrap(), "for ever");
        assert_eq!(shown("forever").unwrap(), "for ever");
        assert_eq!("30days".parse(), Ok(Retention::DAYS_30));
        assert!(shown("59m").unwrap_err().contains("an hour at least"));
        assert!(shown("1ms").unwrap_err().contains("an hour at least"));
        assert!(shown("1h 1ms").unwrap_err().contains("whole seconds"));
        assert!(shown("300years").unwrap_err().contains("292 years"));
        assert!(shown("soon").unwrap_err().contains("30days"));
    }

    #[test]
    fn pieces_are_never_longer_than_what_is_kept() {
        for hours in [1, 2, 47, 48, 49, 24 * 30, 24 * 179, 24 * 180, 24 * 365] {
            let retention = Retention::from_seconds(hours * HOUR_SECONDS);
            assert!(retention.shard_seconds() <= retention.seconds(), "{retention}");
        }
    }
}
