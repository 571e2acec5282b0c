//! The task that keeps power in stretches of 10 s when raw samples have expired: `downsample.flux` with this server's names.

use super::Retention;

const TEMPLATE: &str = include_str!("downsample.flux");

/// As far back as late samples are looked for: what the bucket keeps, but no longer than 30 days, so that each hour still has
/// its turn every 5 days.
const HOURS_BACK_MAX: u64 = 30 * 24;

/// Name of the task. Another results bucket has a task of its own.
pub(super) fn name(bucket: &str) -> String {
    if bucket == super::init::BUCKET_DEFAULT {
        "tinywatt-downsample".to_owned()
    } else {
        format!("tinywatt-downsample ({bucket})")
    }
}

/// Its Flux.
pub(super) fn flux(bucket: &str, samples_bucket: &str, samples_retention: Retention) -> String {
    let hours_back = match samples_retention.seconds() / 3_600 {
        0 => HOURS_BACK_MAX,
        hours => hours.min(HOURS_BACK_MAX),
    };
    let values = [
        ("{{HOURS_BACK}}", hours_back.to_string()),
        ("{{TASK}}", string(&name(bucket))),
        ("{{SAMPLES_BUCKET}}", string(samples_bucket)),
        ("{{BUCKET}}", string(bucket)),
    ];
    // From mark to mark, never looking at what was put in: a name may look like a mark.
    let mut text = String::with_capacity(TEMPLATE.len());
    let mut rest = TEMPLATE;
    while let Some(begin) = rest.find("{{") {
        let (before, behind) = rest.split_at(begin);
        let (mark, value) = values
            .iter()
            .find(|(mark, _)| behind.starts_with(mark))
            .expect("the file has no other marks, which a test sees");
        text.push_str(before);
        text.push_str(value);
        rest = &behind[mark.len()..];
    }
    text.push_str(rest);
    text
}

/// A text as Flux has it: `${` would begin an expression.
fn string(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_filled_and_names_cannot_be_more_than_names() {
        let text = flux("a\"b ${c} {{TASK}}", "d\\", Retention::from_seconds(7_200));
        assert!(text.contains(r#"bucket: "a\"b \${c} {{TASK}}""#), "{text}");
        assert!(text.contains(r#"from(bucket: "d\\")"#), "{text}");
        assert!(text.contains("turn % 2 * hour"), "{text}");
        let plain = flux("tinywatt", "tinywatt-samples", Retention::FOREVER);
        assert!(!plain.contains("{{") && plain.contains("turn % 720 * hour"), "{plain}");
        assert!(plain.contains(r#"option task = {name: "tinywatt-downsample", every: 10m}"#), "{plain}");
    }
}
