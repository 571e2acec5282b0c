//! The reader against real models, cut models and damaged models.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::dataset::digits::MODELS;

fn digits(name: &str) -> Model {
    let model = MODELS.iter().find(|model| model.name == name).expect("one of the four");
    Model::read(model.content).expect("made by the converter")
}

#[test]
fn the_digits_models_are_read() {
    for (name, precision, input, output) in [
        ("float32", Precision::Float32, "float32 1×8×8×1", "float32 1×10"),
        ("float16", Precision::Float16, "float32 1×8×8×1", "float32 1×10"),
        ("dynamic-range", Precision::DynamicRange, "float32 1×8×8×1", "float32 1×10"),
        ("full-integer", Precision::FullInteger, "int8 1×8×8×1", "int8 1×10"),
    ] {
        let model = digits(name);
        assert_eq!(model.precision, precision, "{name}");
        assert_eq!(model.precision.to_string(), name);
        assert_eq!((model.inputs.len(), model.inputs[0].to_string().as_str()), (1, input), "{name}");
        assert_eq!((model.outputs.len(), model.outputs[0].to_string().as_str()), (1, output), "{name}");
    }
    let quantised = digits("full-integer").inputs[0].quantisation.expect("int8 input");
    assert_eq!((quantised.scale, quantised.zero_point), (0.003_921_569, -128));
    assert_eq!(digits("float32").inputs[0].quantisation, None);
}

#[test]
fn the_reference_models_of_mlperf_tiny_are_read() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mlperf-tiny"));
    if !folder.exists() {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {} is not there\n", folder.display()),
        );
        return;
    }
    for (file, precision, input, output) in [
        ("ic_resnet8_float32", "float32", "float32 ?×32×32×3", "float32 ?×10"),
        ("ic_resnet8_int8", "full-integer", "int8 ?×32×32×3", "int8 ?×10"),
        ("kws_dscnn_int8", "full-integer", "int8 ?×49×10×1", "int8 ?×12"),
        // Sold as float32; five of its weight tensors are int8, its activations are floats.
        ("kws_dscnn_hybrid", "dynamic-range", "float32 ?×49×10×1", "float32 ?×12"),
        ("ad_autoencoder_float32", "float32", "float32 ?×640", "float32 ?×640"),
        ("ad_autoencoder_int8", "full-integer", "int8 ?×640", "int8 ?×640"),
    ] {
        let bytes = std::fs::read(folder.join(file).with_extension("tflite")).expect("readable");
        let model = Model::read(&bytes).expect("official model");
        assert_eq!(model.precision.to_string(), precision, "{file}");
        assert_eq!(model.inputs[0].to_string(), input, "{file}");
        assert_eq!(model.outputs[0].to_string(), output, "{file}");
    }
}

/// Published: 12.5 M, 2.7 M and 0.26 M multiply-accumulates; 78,666, 24,908 and 269,992 parameters before conversion. The
/// converter folds each normalised channel's four numbers into the convolution: 4 × 240, 4 × 576 and 4 × 1,032 fewer.
#[test]
fn the_reference_models_cost_what_is_published() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mlperf-tiny"));
    if !folder.exists() {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: {} is not there\n", folder.display()),
        );
        return;
    }
    for (file, mac_count, parameter_count) in [
        ("ic_resnet8_float32", 12_501_632, 78_666 - 4 * 240),
        ("ic_resnet8_int8", 12_501_632, 78_666 - 4 * 240),
        ("kws_dscnn_hybrid", 2_656_768, 24_908 - 4 * 576),
        ("kws_dscnn_int8", 2_656_768, 24_908 - 4 * 576),
        ("ad_autoencoder_float32", 264_192, 269_992 - 4 * 1_032),
        ("ad_autoencoder_int8", 264_192, 269_992 - 4 * 1_032),
    ] {
        let bytes = std::fs::read(folder.join(file).with_extension("tflite")).expect("readable");
        let model = Model::read(&bytes).expect("official model");
        assert_eq!((model.mac_count, model.parameter_count), (Some(mac_count), Some(parameter_count)), "{file}");
    }
}

#[test]
fn every_technique_leaves_the_cost_of_the_digits_model_as_it_is() {
    // By hand: 3×3×1×16 + 16, 3×3×16×32 + 32, 128×64 + 64, 64×10 + 10 parameters;
    // 8×8×16 outputs × 9, 4×4×32 × 144, 128×64 and 64×10 multiply-accumulates.
    for model in &MODELS {
        let model = digits(model.name);
        assert_eq!(model.parameter_count, Some(160 + 4_640 + 8_256 + 650));
        assert_eq!(model.mac_count, Some(9_216 + 73_728 + 8_192 + 640));
    }
}

#[test]
fn the_cost_of_other_operations_is_counted_or_unknown() {
    let check = |content: &[u8], parameter_count, mac_count| {
        let model = Model::read(content).expect("made by the converter");
        assert_eq!((model.parameter_count, model.mac_count), (parameter_count, mac_count));
    };
    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/fixtures/tflite/", $name, ".tflite"))
        };
    }
    // 8×8×4 inputs, each to 3×3 places of 6 channels.
    check(fixture!("transposed"), Some(3 * 3 * 4 * 6 + 6), Some(8 * 8 * 4 * 3 * 3 * 6));
    // Query, key, value and output of 5×16 by 16; two heads of 5×8 by 5, and back. Equal biases are kept once.
    check(fixture!("attention"), Some(4 * 16 * 16 + 16), Some(4 * 5 * 16 * 16 + 2 * 2 * 5 * 5 * 8));
    // Per input, not per batch of four.
    check(fixture!("rows"), Some(16 * 7 + 7 + 35 * 3 + 3), Some(5 * 16 * 7 + 35 * 3));
    // The converter has put the five rows into the open batch, where their number cannot be seen.
    check(fixture!("rows-open-batch"), Some(16 * 7 + 7 + 35 * 3 + 3), None);
    // A loop over another subgraph.
    check(fixture!("recurrent"), None, None);
}

#[test]
fn cut_anywhere_a_model_is_refused() {
    for model in &MODELS {
        for end in (0..model.content.len()).rev().step_by(7).chain([model.content.len() - 1]) {
            assert!(Model::read(&model.content[..end]).is_err(), "{} cut at {end}", model.name);
        }
    }
}

#[test]
fn a_damaged_model_is_refused_with_its_place() {
    assert_eq!(Model::read(b"PK\x03\x04 something else"), Err(ModelError::NotTflite));
    let mut bytes = MODELS[0].content.to_vec();
    bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Model::read(&bytes).expect_err("root outside the file");
    assert_eq!(error.to_string(), "the model is damaged at byte 0: points beyond the end of the file (58376 bytes)");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let headed = [&[16, 0, 0, 0][..], IDENTIFIER, &bytes].concat();
        let _ = Model::read(&headed);
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        model in 0..MODELS.len(),
        // The layout lies in front of and behind the weights; damage is put everywhere, and more of it at the ends.
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
    ) {
        let mut bytes = MODELS[model].content.to_vec();
        for (place, value, part) in damage {
            let range = match part {
                0 => 0..bytes.len(),
                1 => 0..1024,
                _ => bytes.len() - 4096..bytes.len(),
            };
            let at = range.start + place.index(range.len());
            bytes[at] = value;
        }
        let _ = Model::read(&bytes);
    }
}
