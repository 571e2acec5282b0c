//! What nodes, agents, clocks and the collector tell of themselves, every 10 s, and what was lost.

use super::lines::Point;
use super::{RUN_A, S, START_NS, scatter};

/// Two hours, every 10 s.
const LOOKS: i64 = 720;

/// Node, machine, channels, temperature, throttled bits.
type Machine = (&'static str, &'static str, &'static str, f64, Option<i64>);

const MACHINES: [Machine; 3] = [
    ("pi-5", "4 x Cortex-A76, Linux 6.12", "rail: ina219, 1000 Hz, measured", 58.0, Some(0)),
    ("pi-zero", "4 x Cortex-A53, Linux 6.12", "rail: ina219 (emulated), 1000 Hz, simulated", 46.0, Some(0x5_0005)),
    (
        "gpu-host",
        "16 x Xeon, Linux 6.1",
        "package: rapl, 50 Hz, measured; gpu: nvml, 10 Hz, measured; model: tdp, 50 Hz, estimated",
        63.0,
        None,
    ),
];

pub(super) fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for look in 0..LOOKS {
        for (index, machine) in MACHINES.iter().enumerate() {
            // One agent is gone for five minutes.
            let is_connected = index != 1 || !(300..330).contains(&look);
            points.push(node(machine, look, is_connected));
            if is_connected {
                points.push(agent(machine, look));
                points.push(clock(machine.0, look));
            }
        }
        points.push(collector(look));
    }
    lost(&mut points);
    points
}

fn at(look: i64) -> i64 {
    START_NS + look * 10 * S
}

fn seconds(look: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "two hours")]
    let looks = look as f64;
    looks * 10.0
}

fn node(&(name, machine, channels, ..): &Machine, look: i64, is_connected: bool) -> Point {
    let point = Point::new("node", at(look))
        .tag("node", name)
        .field("connected", is_connected)
        .field("last_seen_unix_ns", at(look) - S)
        .field("record_count", look * 40)
        .field("duplicate_count", 2_i64)
        .field("rejected_count", 0_i64)
        .field("missing_count", 0_i64)
        .field("clock_error_ns", 310_000_i64)
        .field("clock_drift_ppb", 4_120_i64)
        .field("agent_version", "0.5.0")
        .field("machine", machine)
        .field("channels", channels);
    if look % 9 == 0 || look + 1 == LOOKS && name == "gpu-host" {
        point.without(&["running"])
    } else {
        point.field("running", format!("{RUN_A}, trial {}, attempt 1", look / 5))
    }
}

fn agent(&(name, _, _, celsius, bits): &Machine, look: i64) -> Point {
    let scattered = scatter(usize::try_from(look).expect("not negative"));
    let point = Point::new("agent", at(look))
        .tag("node", name)
        .field("cpu_seconds", seconds(look) * 0.05 + scattered * 0.02)
        .field("memory_bytes", 9_800_000 + look * 120)
        .field("spool_record_count", if (330..336).contains(&look) { (336 - look) * 200 } else { 4 })
        .field("lost_reading_count", if look > 400 { 12_i64 } else { 0 })
        .field("temperature_celsius", celsius + 3.0 * scattered)
        .field("disk_free_bytes", 21_000_000_000 - look * 300_000)
        .field("memory_available_bytes", 3_100_000_000_i64);
    match bits {
        Some(bits) if look > 200 => point.field("throttled_bits", bits),
        Some(_) => point.field("throttled_bits", 0_i64),
        None => point.without(&["throttled_bits"]),
    }
}

fn clock(name: &str, look: i64) -> Point {
    #[expect(clippy::cast_possible_truncation, reason = "microseconds")]
    let error = (300_000.0 + 90_000.0 * scatter(usize::try_from(look).expect("not negative"))) as i64;
    Point::new("clock", at(look))
        .tag("node", name)
        .field("offset_ns", START_NS - 86_400 * S + look * 41_200)
        .field("error_ns", error)
        .field("axis_error_ns", look * 41_200)
}

fn collector(look: i64) -> Point {
    let is_behind = (500..530).contains(&look);
    Point::new("collector", at(look))
        .field("cpu_seconds", seconds(look) * 0.021)
        .field("memory_bytes", 38_000_000 + look * 900)
        .field("store_bytes", look * 310_000)
        .field("disk_free_bytes", 88_000_000_000 - look * 310_000)
        .field("running_run_count", 1_i64)
        .field("connected_node_count", 3_i64)
        .field("sink_lag_batch_count", if is_behind { (look - 499) * 12 } else { 2 })
        .field("sink_lag_seconds", if is_behind { seconds(look - 499) } else { 0.31 })
        .field("sink_line_count", look * 21_000)
        .field("sink_request_count", look * 5)
        .field("sink_retry_count", if look > 500 { 9_i64 } else { 0 })
        .field("sink_quarantined_count", if look > 510 { 1_i64 } else { 0 })
}

fn lost(points: &mut Vec<Point>) {
    for (index, (reason, count)) in
        [("missed_deadline", 7_i64), ("bus_error", 2), ("ring_full", 3)].into_iter().enumerate()
    {
        let at = START_NS + (i64::try_from(index).expect("three") * 31 + 20) * 60 * S;
        points.push(
            Point::new("loss", at)
                .tag("node", "pi-5")
                .tag("channel", "rail")
                .tag("reason", reason)
                .field("reading_count", count)
                .field("since_unix_ns", at - S / 4),
        );
    }
    for (node, minutes, batches) in [("pi-5", 12, 3_i64), ("pi-zero", 52, 0)] {
        let at = START_NS + minutes * 60 * S;
        points.push(
            Point::new("gap", at)
                .tag("node", node)
                .tag("channel", "rail")
                .field("batch_count", batches)
                .field("end_unix_ns", at + S)
                .field("seconds", 1.0),
        );
    }
}
