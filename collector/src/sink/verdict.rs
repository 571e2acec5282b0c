//! What an answer of InfluxDB means for the lines that were sent. Pure.

use std::time::Duration;

/// Longest that a server may ask to be left alone; longer wishes are cut to it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// An answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The server's own words.
    pub message: String,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every line is durable.
    Taken,
    /// All but some lines are: those were dropped for good.
    PartlyTaken {
        /// How many.
        dropped_count: u64,
        /// Whether they were dropped for their age, which says nothing about the lines themselves.
        is_for_age: bool,
    },
    /// No line is, because of one of them at least.
    Refused,
    /// No line is: the request is too large.
    TooLarge,
    /// Not now.
    Later {
        /// Not before this has passed.
        after: Duration,
    },
    /// Not until somebody has done something.
    Held {
        /// What.
        advice: &'static str,
    },
}

/// Judges an answer.
pub fn judge(answer: &Answer) -> Verdict {
    let later = || Verdict::Later { after: answer.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) };
    match answer.status {
        200..=299 => Verdict::Taken,
        400 => Verdict::Refused,
        401 => Verdict::Held {
            advice: "the token is unknown there: `collector influx init` makes one; the file is read again at each try",
        },
        403 => Verdict::Held {
            advice: "the token may not write to this bucket: `collector influx init` makes one that may",
        },
        404 => Verdict::Held {
            advice: "there is no such organisation or bucket: `collector influx init` makes them; or correct the names",
        },
        413 => Verdict::TooLarge,
        422 => match dropped(&answer.message) {
            Some(dropped_count) => {
                Verdict::PartlyTaken { dropped_count, is_for_age: answer.message.contains("retention") }
            }
            // Whoever says so is not known to have kept the others.
            None => Verdict::Refused,
        },
        // A timeout of the server or of a proxy, too many requests, and every trouble of the server itself, a full disk
        // included: the lines are not to blame.
        408 | 425 | 429 | 500..=599 => later(),
        _ => Verdict::Held { advice: "this is no answer of InfluxDB 2: is the address right, and is a proxy between?" },
    }
}

/// Reads the number after the last `dropped=`.
fn dropped(message: &str) -> Option<u64> {
    let (_, after) = message.rsplit_once("dropped=")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Reads a `Retry-After`: seconds, or a date that is compared with `now_unix_ns`.
pub fn retry_after(text: &str, now_unix_ns: u64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_nanos(now_unix_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, message: &str, retry_after: Option<u64>) -> Verdict {
        let retry_after = retry_after.map(Duration::from_secs);
        judge(&Answer { status, retry_after, message: message.to_owned() })
    }

    /// Messages as a server of version 2.9.1 sends them.
    #[test]
    fn every_answer_has_its_verdict() {
        assert_eq!(verdict(204, "", None), Verdict::Taken);
        assert_eq!(verdict(400, "unable to parse 'x y': invalid boolean", None), Verdict::Refused);
        let conflict = "failure writing points to database: partial write: field type conflict: input field \"watts\" on \
                        measurement \"sample\" is type integer, already exists as type float dropped=1";
        let partly = |dropped_count, is_for_age| Verdict::PartlyTaken { dropped_count, is_for_age };
        assert_eq!(verdict(422, conflict, None), partly(1, false));
        let age = "failure writing points to database: partial write: dropped 3 points outside retention policy of \
                   duration 1h0m0s - oldest point … dropped=3";
        assert_eq!(verdict(422, age, None), partly(3, true));
        assert_eq!(verdict(422, "unprocessable", None), Verdict::Refused);
        assert_eq!(verdict(413, "", None), Verdict::TooLarge);
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, "", Some(7)), Verdict::Later { after: Duration::from_secs(7) });
            assert_eq!(verdict(status, "", None), Verdict::Later { after: Duration::ZERO });
        }
        assert_eq!(verdict(429, "", Some(u64::MAX)), Verdict::Later { after: RETRY_AFTER_MAX });
        for status in [301, 401, 403, 404, 405, 418] {
            assert!(matches!(verdict(status, "", None), Verdict::Held { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_777_000_000_000;
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO), "in the past");
        assert_eq!(retry_after("soon", now), None);
    }
}
