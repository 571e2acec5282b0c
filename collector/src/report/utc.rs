//! Wall time for people. The only calendar in the collector; it reads no clock.

/// Writes an instant as `2026-02-03 14:05:09 UTC`, down to the second before it.
pub(super) fn utc_text(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Writes an instant as RFC 3339 with nanoseconds, for programs.
pub(super) fn rfc3339(unix_ns: u64) -> String {
    let text = utc_text(unix_ns);
    let (date, time) = (&text[..10], &text[11..19]);
    format!("{date}T{time}.{:09}Z", unix_ns % 1_000_000_000)
}

/// Writes a stretch of time as `2 h 05 min`, `3 min 12 s` or `41.5 s`.
pub(super) fn duration_text(duration_ns: u64) -> String {
    let seconds = duration_ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}.{} s", duration_ns / 100_000_000 % 10),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Year, month and day of a number of days after 1 January 1970, in the Gregorian calendar.
///
/// Counts from 1 March of the year 0, so that the leap day is the last of its year; an era is the 400 years (146,097
/// days) after which the calendar repeats. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 1 March 0000 to 1 January 1970
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153; // five months from March have 153 days, twice a year
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_that_others_computed() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_000_000_000, "2001-09-09 01:46:40 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (18_446_744_073, "2554-07-21 23:34:33 UTC"),
        ] {
            assert_eq!(utc_text(seconds * 1_000_000_000), text);
        }
        assert_eq!(utc_text(u64::MAX), "2554-07-21 23:34:33 UTC");
        assert_eq!(rfc3339(951_782_400_000_000_007), "2000-02-29T00:00:00.000000007Z");
    }

    #[test]
    fn every_day_of_an_era_follows_the_one_before() {
        let month_days = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil_from_days(days), expected, "day {days}");
            let (year, month, day) = expected;
            expected = if day < month_days(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration_text(41_560_000_000), "41.5 s");
        assert_eq!(duration_text(192_000_000_000), "3 min 12 s");
        assert_eq!(duration_text(7_500_000_000_000), "2 h 05 min");
    }
}
