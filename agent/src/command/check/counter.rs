//! What there is to say of a counter of energy that was looked at for a second.

use tinywatt_proto::sample::joules_per_count;
use tinywatt_proto::units::Joules;
use tinywatt_proto::v1;

use super::Verdict;
use crate::sensor::SensorConfig;

/// Judges by what it counted since it was opened, in codes; `None` when it was never read.
pub(super) fn judge(config: &SensorConfig, scale: &v1::CounterScale, count: Option<i64>) -> (Verdict, String) {
    // Lost readings are no matter: the next one holds their energy.
    let Some(count) = count else {
        return (Verdict::Fail, "; no look succeeded: the driver does not answer".to_owned());
    };
    if count == 0 {
        return (Verdict::Fail, "; the counter stands still: this machine does not count what it takes".to_owned());
    }
    if count < 0 {
        let advice = "; the counter began anew while it was looked at (a driver was loaded?): look again";
        return (Verdict::Warn, advice.to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "a second of codes stays below 2^53")]
    let joules: Joules = joules_per_count(scale) * (count as f64);
    let counted = format!(", {joules:.4} counted");
    match config {
        SensorConfig::Tdp(config) if config.idle_watts == 0.0 => {
            let advice = "; ESTIMATED; idle_watts is 0, so the slightest activity makes idle windows differ and trials \
                          invalid: give the power of the idle machine";
            (Verdict::Warn, counted + advice)
        }
        SensorConfig::Tdp(_) => (Verdict::Ok, counted + "; ESTIMATED by a model, not measured"),
        SensorConfig::Rapl(_) | SensorConfig::Nvml(_) if scale.gain_ppm.is_none() => {
            (Verdict::Ok, counted + "; its maker states no accuracy: set `tolerance` if you know one")
        }
        _ => (Verdict::Ok, counted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor(text: &str) -> SensorConfig {
        toml::from_str(&format!("name = 'host'\n{text}")).expect("a sensor")
    }

    const SCALE: v1::CounterScale =
        v1::CounterScale { picojoules_per_code: 1_000_000, gain_ppm: None, update_period_ns: 1_000_000 };

    #[test]
    fn a_counter_that_stands_still_or_does_not_answer_fails() {
        let rapl = sensor("source = 'rapl'");
        assert_eq!(judge(&rapl, &SCALE, None).0, Verdict::Fail);
        let (verdict, detail) = judge(&rapl, &SCALE, Some(0));
        assert!(verdict == Verdict::Fail && detail.contains("stands still"), "{detail}");
        let (verdict, detail) = judge(&rapl, &SCALE, Some(5 - (1 << 52)));
        assert!(verdict == Verdict::Warn && detail.contains("began anew"), "{detail}");
        let (verdict, detail) = judge(&rapl, &SCALE, Some(12_345_678));
        assert!(verdict == Verdict::Ok && detail.contains("12.35 J") && detail.contains("`tolerance`"), "{detail}");
    }

    #[test]
    fn a_model_says_that_it_estimates_and_wants_the_idle_power() {
        let (verdict, detail) = judge(&sensor("source = 'tdp'\ntdp_watts = 65"), &SCALE, Some(5));
        assert!(verdict == Verdict::Warn && detail.contains("idle_watts is 0"), "{detail}");
        let (verdict, detail) = judge(&sensor("source = 'tdp'\ntdp_watts = 65\nidle_watts = 9"), &SCALE, Some(5));
        assert!(verdict == Verdict::Ok && detail.contains("ESTIMATED"), "{detail}");
    }
}
