//! How the nodes and the collector are.

use super::super::line::{Lines, Point};
use super::super::series;
use crate::health::{Health, NodeView};

/// Writes what was seen at one look.
pub fn health(at_unix_ns: u64, health: &Health, lines: &mut Lines) {
    let at = i64::try_from(at_unix_ns).unwrap_or(i64::MAX);
    let collector = &health.collector;
    let sink = &collector.sink;
    Point::new(series::named("collector"))
        .field("cpu_seconds", collector.cpu_seconds)
        .field("memory_bytes", collector.memory_bytes)
        .field("store_bytes", collector.store_bytes)
        .field("disk_free_bytes", collector.disk_free_bytes)
        .field("running_run_count", collector.running_run_count)
        .field("connected_node_count", collector.connected_node_count)
        .field("sink_lag_batch_count", sink.lag_batch_count)
        .field("sink_lag_seconds", sink.lag_seconds)
        .field("sink_line_count", sink.line_count)
        .field("sink_request_count", sink.request_count)
        .field("sink_retry_count", sink.retry_count)
        .field("sink_quarantined_count", sink.quarantined_count)
        .field("sink_expired_count", sink.expired_count)
        .write(at, lines);
    health.nodes.iter().for_each(|view| node(at, view, lines));
}

fn node(at: i64, view: &NodeView, lines: &mut Lines) {
    let made_of = view.made_of.as_ref();
    Point::new(series::named("node"))
        .tag("node", &view.node)
        .field("connected", view.connected)
        .field("running", view.running.as_ref())
        .field("last_seen_unix_ns", view.last_seen_unix_ns)
        .field("record_count", view.record_count)
        .field("duplicate_count", view.duplicate_count)
        .field("rejected_count", view.rejected_count)
        .field("missing_count", view.missing_count)
        .field("clock_offset_ns", view.clock.map(|clock| clock.offset_ns))
        .field("clock_error_ns", view.clock.map(|clock| clock.error_ns))
        .field("clock_drift_ppb", view.clock.map(|clock| clock.drift_ppb))
        .field("agent_version", made_of.map(|made_of| &made_of.agent_version))
        .field("machine", made_of.map(|made_of| &made_of.machine))
        .field("channels", made_of.map(|made_of| &made_of.channels))
        .write(at, lines);
}
