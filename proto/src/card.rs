//! The card of a TorchScript module: what its file does not tell and whoever executes it must know.
//!
//! It lies in the module's own file, as the extra file [`NAME`], so that it cannot be lost on the way. TorchScript keeps
//! neither the shape of the input nor the engine that quantised weights were packed for; under another engine a module
//! answers, and wrongly.

use serde::{Deserialize, Serialize};

/// Name of the extra file; in the archive it is `<archive>/extra/tinywatt.json`.
pub const NAME: &str = "tinywatt.json";

/// Largest card that is read.
pub const BYTES_MAX: u64 = 64 << 10;

/// The only schema so far.
pub const SCHEMA: &str = "tinywatt.model.v1";

/// What a module's file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// [`SCHEMA`].
    pub schema: String,
    /// "torchscript".
    pub runtime: String,
    /// "fbgemm", "qnnpack", or "none" for a module without quantised operations.
    pub engine: String,
    /// How it was optimised, in the trainer's word: "float32", "static-fbgemm" ...
    pub technique: String,
    /// Dimensions of the input, the batch of 1 first, channels last.
    pub input_shape: Vec<u32>,
    /// Type of the input's elements: "float32".
    pub input_dtype: String,
    /// Number of outputs.
    pub class_count: u32,
    /// Parameters of the architecture.
    #[serde(default)]
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference.
    #[serde(default)]
    pub mac_count: Option<u64>,
}

/// Whether an entry of the archive is the card.
pub fn is_card(entry: &str) -> bool {
    entry.split_once('/').is_some_and(|(_, rest)| rest == concat!("extra/", "tinywatt.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_found_under_any_archive_name() {
        assert!(is_card("model/extra/tinywatt.json") && is_card("archive/extra/tinywatt.json"));
        assert!(!is_card("tinywatt.json") && !is_card("a/b/extra/tinywatt.json") && !is_card("model/extra/other.json"));
    }
}
