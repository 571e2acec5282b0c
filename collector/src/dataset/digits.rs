//! The data set and the models that the program carries, so that a demo needs no download. See `collector/data/digits`.

use tinywatt_proto::inputs::InputSet;

use super::{Dataset, DatasetError, Kind, first, names};

/// A model of the digits that the program carries.
#[derive(Debug, Clone, Copy)]
pub struct DigitsModel {
    /// Name of the treatment: the technique.
    pub name: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// The file.
    pub content: &'static [u8],
}

macro_rules! model {
    ($name:literal) => {
        DigitsModel {
            name: $name,
            file: concat!("cnn-", $name, ".tflite"),
            content: include_bytes!(concat!("../../data/digits/cnn-", $name, ".tflite")),
        }
    };
}

/// One trained network, converted with four techniques.
pub const MODELS: [DigitsModel; 4] =
    [model!("float32"), model!("float16"), model!("dynamic-range"), model!("full-integer")];

/// The 450 test inputs, as an input set's bytes.
pub const TEST_SET: &[u8] = include_bytes!("../../data/digits/test.twin");

/// The other 1,347 inputs, those that the models were trained on.
pub const TRAIN_SET: &[u8] = include_bytes!("../../data/digits/train.twin");

/// Pixels run from 0 to 16; the models take 0 to 1.
pub(super) const INPUT_SCALE: f64 = 1.0 / 16.0;

pub(super) fn load(limit: Option<u32>) -> Result<Dataset, DatasetError> {
    let inputs = built_in(TEST_SET);
    Ok(Dataset {
        kind: Kind::Digits,
        inputs: first(inputs, limit, "digits")?,
        class_names: names(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
        input_scale: INPUT_SCALE,
        input_offset: 0.0,
    })
}

pub(super) fn train() -> InputSet {
    built_in(TRAIN_SET)
}

fn built_in(bytes: &[u8]) -> InputSet {
    InputSet::from_bytes(bytes).expect("tests read both files that are built in")
}
