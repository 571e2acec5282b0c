//! Checks that a file is a recording which an agent can play. The agent turns it into readings; here it is only told
//! early, and with its line in the experiment, that it could not.

use serde::Deserialize;

/// Largest recording, bytes: agents read no more.
const FILE_BYTES_MAX: usize = 256 << 20;

#[derive(Deserialize)]
struct Recording {
    #[serde(default, rename = "file")]
    _file: String,
    infer: Infer,
    power: Power,
}

#[derive(Deserialize)]
struct Infer {
    iterations: u64,
}

#[derive(Deserialize)]
struct Power {
    /// Joules.
    samples: Vec<f64>,
    /// A label and the index of a sample; the measured window lies between the last two.
    timestamps: Vec<(String, usize)>,
}

/// What is wrong with the file, to be read after its name.
pub(super) fn check(content: &[u8]) -> Result<(), String> {
    if content.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {} MiB; agents play no larger recording", FILE_BYTES_MAX >> 20));
    }
    let recordings: Vec<Recording> = serde_json::from_slice(content).map_err(|error| {
        format!(
            "is not a recording, which is a JSON list of windows, each with power.samples, power.timestamps and \
             infer.iterations: {error}"
        )
    })?;
    if recordings.is_empty() {
        return Err("holds no recording; record it again".to_owned());
    }
    for (index, recording) in recordings.iter().enumerate() {
        recording.check().map_err(|problem| format!("is not a whole recording: [{index}].{problem}"))?;
    }
    Ok(())
}

impl Recording {
    fn check(&self) -> Result<(), String> {
        let [.., (_, start), (_, end)] = self.power.timestamps[..] else {
            let count = self.power.timestamps.len();
            return Err(format!("power.timestamps has {count} entries; the measured window lies between the last two"));
        };
        let sample_count = self.power.samples.len();
        if start >= end || end > sample_count {
            return Err(format!(
                "power.timestamps: the measured window, samples {start} to {end}, does not lie in the {sample_count} \
                 samples"
            ));
        }
        if self.infer.iterations == 0 {
            return Err("infer.iterations is 0; energy per inference would be infinite".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(samples: &str, timestamps: &str, iterations: &str) -> String {
        format!(
            r#"[{{"infer": {{"iterations": {iterations}}}, "power": {{"samples": {samples}, "timestamps": {timestamps}}}}}]"#
        )
    }

    #[test]
    fn what_an_agent_cannot_play_is_refused() {
        let stamps = r#"[["00", 0], ["01", 2]]"#;
        assert_eq!(check(recording("[1e-5, 2e-5]", stamps, "5").as_bytes()), Ok(()));
        for (text, expected) in [
            ("{}".to_owned(), "is not a recording, which is a JSON list"),
            ("[]".to_owned(), "holds no recording"),
            ("[{}]".to_owned(), "missing field `infer`"),
            (recording("[1e-5, null]", stamps, "5"), "invalid type: null, expected f64"),
            (recording("[1e-5]", stamps, "5"), "[0].power.timestamps: the measured window, samples 0 to 2"),
            (recording("[1e-5]", "[]", "5"), "[0].power.timestamps has 0 entries"),
            (recording("[1e-5, 2e-5]", stamps, "0"), "[0].infer.iterations is 0"),
        ] {
            let problem = check(text.as_bytes()).expect_err(&text);
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
