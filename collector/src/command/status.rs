//! `collector status`: how the collector is, and how far its database for dashboards has everything.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use tinywatt_proto::v1::{self, SinkState};

use super::client::Client;
use super::{output, table};

/// Arguments of `collector status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Lag below which a database is told to have everything: what arrived since the last look is on its way ...
const LEVEL_SECONDS: f64 = 3.0;

/// ... which is no more than three seconds of twenty channels.
const LEVEL_BATCH_COUNT: u64 = 240;

/// Prints how the collector is.
///
/// # Errors
/// When the collector does not answer.
pub async fn run(_arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let answer = client.control.status(v1::StatusRequest {}).await;
    let status = answer.map_err(|status| client.failed("asking for the status", &status))?.into_inner();
    output::print(&text(&status))?;
    Ok(ExitCode::SUCCESS)
}

fn text(status: &v1::StatusResponse) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:<14}{value}").expect("a string takes all text");
    };
    line("collector", status.collector_version.clone());
    line("store", format!("{}, {}", status.data, bytes(status.store_bytes)));
    line("nodes", format!("{} of {} connected", status.connected_node_count, status.node_count));
    line("runs", format!("{} running", status.running_run_count));
    let Some(sink) = &status.sink else {
        line("sink", "none; `collector serve --influx FILE` writes to InfluxDB".to_owned());
        return text;
    };
    line("sink", sink.target.clone());
    let state = match sink.state() {
        SinkState::Unspecified => "unknown".to_owned(),
        SinkState::Writing => "writing".to_owned(),
        SinkState::Waiting => format!("waiting: {}", sink.reason),
        SinkState::Held => format!("held: {}", sink.reason),
    };
    line("  state", state);
    line("  lag", lag(sink));
    line("  lines", format!("{} in {} requests, {} repeated", sink.line_count, sink.request_count, sink.retry_count));
    let hint = if sink.quarantined_count > 0 { "; `collector sink quarantine` lists them" } else { "" };
    line("  refused", format!("{} lines{hint}", sink.quarantined_count));
    if sink.expired_count > 0 {
        line("  too old", format!("{} lines, older than the database keeps them", sink.expired_count));
    }
    text
}

fn lag(sink: &v1::SinkStatus) -> String {
    if sink.lag_seconds < LEVEL_SECONDS && sink.lag_batch_count <= LEVEL_BATCH_COUNT {
        return "none".to_owned();
    }
    let behind = table::duration(Duration::try_from_secs_f64(sink.lag_seconds).unwrap_or_default());
    format!("{} batches, for {behind}", sink.lag_batch_count)
}

fn bytes(count: u64) -> String {
    // Whole mebibytes, rounded up: for people.
    format!("{} MiB", count.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sink_is_told_with_the_way_out() {
        let mut sink = v1::SinkStatus {
            target: "http://127.0.0.1:8086 o b s".to_owned(),
            state: SinkState::Held.into(),
            reason: "the token is unknown there".to_owned(),
            lag_batch_count: 480,
            lag_seconds: 61.0,
            line_count: 5_000,
            request_count: 2,
            retry_count: 7,
            quarantined_count: 1,
            expired_count: 0,
        };
        let status = |sink| v1::StatusResponse { store_bytes: 1, sink, ..v1::StatusResponse::default() };
        let shown = text(&status(Some(sink.clone())));
        for part in [
            "held: the token is unknown there",
            "480 batches, for 1m 1s",
            "5000 in 2 requests, 7 repeated",
            "1 lines; `collector sink quarantine`",
            "1 MiB",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        sink.lag_seconds = 0.4;
        assert!(text(&status(Some(sink.clone()))).contains("480 batches, for 400ms"));
        (sink.lag_batch_count, sink.expired_count) = (40, 7);
        assert!(text(&status(Some(sink.clone()))).contains("7 lines, older"));
        assert!(text(&status(Some(sink))).contains("lag         none"));
        assert!(text(&status(None)).contains("collector serve --influx FILE"));
    }
}
