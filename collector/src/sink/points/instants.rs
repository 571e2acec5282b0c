//! Facts of one instant: a phase's edge, a clock probe, how an agent is.

use tinywatt_proto::ids::NodeId;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

use super::super::line::{Lines, Point};
use super::super::series;
use crate::store::Axis;

/// A phase of an attempt began or ended.
pub fn phase(node: &NodeId, marker: &v1::Marker, axis: Axis, lines: &mut Lines) {
    let trial = marker.trial.clone().unwrap_or_default();
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
    Point::new(series::named("phase"))
        .tag("node", node.as_str())
        .tag("run", &trial.run_id)
        .tag("phase", &word(marker.phase().as_str_name(), "PHASE_"))
        .field("edge", &word(marker.edge().as_str_name(), "EDGE_"))
        .field("trial", trial.trial)
        .field("attempt", trial.attempt)
        .write(axis.unix_ns(MonoNs(marker.mono_ns)), lines);
}

/// A clock probe: what it says of the node's clock, and how far the axis is off.
pub fn clock(node: &NodeId, probe: &v1::ClockProbe, axis: Axis, lines: &mut Lines) {
    let round_trip_ns = probe.returned_mono_ns.saturating_sub(probe.sent_mono_ns);
    let answering_ns = probe.answered_unix_ns.saturating_sub(probe.received_unix_ns);
    let there = i128::from(probe.received_unix_ns) - i128::from(probe.sent_mono_ns);
    let back = i128::from(probe.answered_unix_ns) - i128::from(probe.returned_mono_ns);
    let offset_ns = (there + back) / 2;
    let integer = |value: i128| i64::try_from(value).ok();
    Point::new(series::named("clock"))
        .tag("node", node.as_str())
        .field("offset_ns", integer(offset_ns))
        .field("error_ns", round_trip_ns.saturating_sub(answering_ns).div_ceil(2))
        .field("axis_error_ns", integer(offset_ns - i128::from(axis.offset_ns)))
        .write(axis.unix_ns(MonoNs(probe.returned_mono_ns)), lines);
}

/// How an agent is.
pub fn agent(node: &NodeId, health: &v1::NodeHealth, axis: Axis, lines: &mut Lines) {
    let seconds = |ns: u64| std::time::Duration::from_nanos(ns).as_secs_f64();
    Point::new(series::named("agent"))
        .tag("node", node.as_str())
        .field("cpu_seconds", seconds(health.agent_cpu_ns))
        // 0 stands for a kernel that did not tell.
        .field("memory_bytes", Some(health.agent_memory_bytes).filter(|bytes| *bytes > 0))
        .field("spool_record_count", health.spool_record_count)
        .field("lost_reading_count", health.lost_reading_count)
        .field("throttled_bits", health.throttled_bits)
        .field("temperature_celsius", health.temperature_millicelsius.map(|milli| f64::from(milli) / 1e3))
        .field("disk_free_bytes", health.disk_free_bytes)
        .field("memory_available_bytes", health.memory_available_bytes)
        .write(axis.unix_ns(MonoNs(health.mono_ns)), lines);
}
