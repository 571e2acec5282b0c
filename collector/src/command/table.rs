//! Tables and values as the terminal shows them.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use tinywatt_proto::v1::RunState;

/// A table with these columns, ready for rows.
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(columns.iter().copied());
    table
}

/// Text of a table, without spaces at the ends of its lines.
pub(super) fn text(table: &Table) -> String {
    table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect()
}

/// An instant in UTC, to the second.
pub(super) fn instant(unix_ns: u64) -> String {
    let instant = UNIX_EPOCH + Duration::from_secs(unix_ns / 1_000_000_000);
    humantime::format_rfc3339_seconds(instant).to_string().replace('T', " ")
}

/// A duration to the second, or to the millisecond below ten seconds.
pub(super) fn duration(duration: Duration) -> String {
    let shown = if duration < Duration::from_secs(10) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(shown).to_string()
}

/// What became of a run.
pub(super) fn state(state: RunState) -> &'static str {
    match state {
        RunState::Unspecified => "unknown",
        RunState::Running => "running",
        RunState::Completed => "completed",
        RunState::Cancelled => "cancelled",
        RunState::Incomplete => "incomplete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_durations_are_short() {
        assert_eq!(instant(1_700_000_000_123_456_789), "2023-11-14 22:13:20Z");
        assert_eq!(duration(Duration::from_nanos(1_234_567_890)), "1s 234ms");
        assert_eq!(duration(Duration::from_millis(83_999)), "1m 23s");
    }
}
