//! Ids of runs: the experiment's name and four random characters.

use tinywatt_proto::ids::RunId;
use uuid::Uuid;

/// Longest experiment name: with '-' and four characters it stays well inside the 64 of a name.
pub(crate) const EXPERIMENT_BYTES_MAX: usize = 48;

/// 32 characters that nobody takes for another: no l, o, 0 or 1.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Makes an id that is new with a probability of a million to one for each run of the experiment.
pub(super) fn random(experiment: &str) -> Option<RunId> {
    let random = Uuid::new_v4();
    let ending: String =
        random.as_bytes()[..4].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    format!("{experiment}-{ending}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_experiment_and_four_characters() {
        let run = random("digits").expect("a name").to_string();
        let ending = run.strip_prefix("digits-").expect("the experiment comes first");
        assert_eq!(ending.len(), 4);
        assert!(ending.bytes().all(|byte| ALPHABET.contains(&byte)), "{ending}");
        assert!(random(&"x".repeat(EXPERIMENT_BYTES_MAX)).is_some());
        assert!(random("Not a name").is_none());
    }
}
