//! Power of a few attempts as it was sampled: by shunt, counter and recording.

use super::lines::Point;
use super::runs::{ATTEMPT_EVERY_NS, PHASES};
use super::{HOURS, S, START_NS, scatter};

/// A reading every 4 ms: enough to see, and little to write.
const PERIOD_NS: i64 = 4_000_000;

pub(super) fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for (node, kind, idle_watts) in [("pi-5", "measured", 1.9), ("pi-zero", "simulated", 2.9)] {
        // The first trial's two attempts; one collector sends every sample, or decimated ones.
        if node == "pi-5" {
            shunt(&mut points, node, kind, idle_watts);
        } else {
            decimated(&mut points, node, kind, idle_watts);
        }
        ten_seconds(&mut points, node, kind, idle_watts);
    }
    counters(&mut points);
    recording(&mut points);
    points
}

/// Power at an instant of an attempt of the first run: idle, evaluating, warming up or active.
fn watts_at(after_ns: i64, idle_watts: f64, index: usize) -> f64 {
    let second = after_ns % ATTEMPT_EVERY_NS / S;
    let phase = PHASES.iter().find(|(_, begin, end)| (*begin..*end).contains(&second)).map_or("", |(phase, ..)| phase);
    let more = match phase {
        "active" | "warm_up" => 1.4,
        "evaluate" => 1.2,
        "prepare" => 0.5,
        _ => 0.0,
    };
    let busy = if more > 0.0 && (after_ns / PERIOD_NS) % 5 == 0 { -0.35 } else { 0.0 };
    idle_watts + more + busy + 0.04 * scatter(index)
}

fn shunt(points: &mut Vec<Point>, node: &str, kind: &str, idle_watts: f64) {
    for reading in 0..(2 * ATTEMPT_EVERY_NS / PERIOD_NS) {
        let after_ns = reading * PERIOD_NS;
        let watts = watts_at(after_ns, idle_watts, points.len());
        let volts = 5.08 - 0.011 * watts;
        let point = Point::new("sample", START_NS + after_ns)
            .tag("node", node)
            .tag("channel", "rail")
            .tag("kind", kind)
            .field("volts", volts)
            .field("amperes", watts / volts)
            .field("watts", watts)
            .bare();
        points.push(if reading % 900 == 17 { point.field("flags", 4_i64) } else { point });
    }
}

fn decimated(points: &mut Vec<Point>, node: &str, kind: &str, idle_watts: f64) {
    for group in 0..(2 * ATTEMPT_EVERY_NS / (S / 10)) {
        let after_ns = group * S / 10;
        let watts = watts_at(after_ns, idle_watts, points.len());
        let point = Point::new("sample_decimated", START_NS + after_ns)
            .tag("node", node)
            .tag("channel", "rail")
            .tag("kind", kind)
            .field("volts_mean", 5.05)
            .field("amperes_mean", watts / 5.05)
            .field("watts_mean", watts)
            .field("watts_min", watts * 0.93)
            .field("watts_max", watts * 1.06)
            .field("reading_count", 25_i64)
            .bare();
        points.push(if group == 40 { point.field("flags", 4_i64) } else { point });
    }
}

fn ten_seconds(points: &mut Vec<Point>, node: &str, kind: &str, idle_watts: f64) {
    for stretch in 1..=720_i64 {
        let watts = idle_watts + 0.6 + 0.3 * scatter(points.len());
        points.push(
            Point::new("sample_10s", START_NS + stretch * 10 * S)
                .tag("node", node)
                .tag("channel", "rail")
                .tag("kind", kind)
                .field("watts_mean", watts)
                .field("watts_min", watts - 0.5)
                .field("watts_max", watts + 0.9),
        );
    }
}

/// RAPL, NVML and the TDP model on the host, while it trains; the model's are decimated.
fn counters(points: &mut Vec<Point>) {
    for (channel, kind, watts, period_ns) in [
        ("package", "measured", 46.0, S / 50),
        ("gpu", "measured", 118.0, S / 10),
        ("model", "estimated", 62.0, S / 50),
    ] {
        let mut joules = 0.0;
        for reading in 0..(120 * S / period_ns) {
            let is_busy = reading * period_ns > 10 * S && reading * period_ns < 90 * S;
            #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
            let seconds = period_ns as f64 / 1e9;
            joules += watts * if is_busy { 1.0 } else { 0.3 } * (1.0 + 0.05 * scatter(points.len())) * seconds;
            let series = if channel == "model" { "sample_decimated" } else { "sample" };
            points.push(
                Point::new(series, START_NS + reading * period_ns)
                    .tag("node", "gpu-host")
                    .tag("channel", channel)
                    .tag("kind", kind)
                    .field("counter_joules", joules)
                    .bare(),
            );
        }
    }
}

/// A recording of a meter that counts intervals of 1 ms, in the last hour.
fn recording(points: &mut Vec<Point>) {
    let start_ns = START_NS + (HOURS - 1) * 3_600 * S;
    for interval in 1..=10_000_i64 {
        let watts = if interval % 250 < 40 { 0.019 } else { 0.0063 } * (1.0 + 0.03 * scatter(points.len()));
        points.push(
            Point::new("sample", start_ns + interval * S / 1_000)
                .tag("node", "bench")
                .tag("channel", "kws.csv")
                .tag("kind", "measured_elsewhere")
                .field("interval_joules", watts / 1_000.0)
                .bare(),
        );
    }
    for group in 1..=100_i64 {
        points.push(
            Point::new("sample_decimated", start_ns + group * S / 10)
                .tag("node", "bench")
                .tag("channel", "vww.csv")
                .tag("kind", "measured_elsewhere")
                .field("interval_joules", 0.000_82)
                .bare(),
        );
    }
}
