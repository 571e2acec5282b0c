//! The reader against files that SciPy wrote, files written here, cut files and damaged ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

/// Made by `tests/fixtures/matlab/make.py`.
const PLAIN: &[u8] = include_bytes!("../../../tests/fixtures/matlab/plain.mat");
const DIGITS: &[u8] = include_bytes!("../../../tests/fixtures/matlab/digits.mat");

const UINT8_CLASS: u8 = 9;

/// An element in full form, filled up to eight bytes.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), u32::try_from(data.len()).expect("small").to_le_bytes()].concat();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn variable_of(class: u8, name: &str, dimensions: &[i32], kind: u32, values: &[u8]) -> Vec<u8> {
    let dimensions: Vec<u8> = dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()).collect();
    let parts = [
        element(element::UINT32, &[class, 0, 0, 0, 0, 0, 0, 0]),
        element(element::INT32, &dimensions),
        element(element::INT8, name.as_bytes()),
        element(kind, values),
    ];
    element(element::MATRIX, &parts.concat())
}

/// An array of bytes as MATLAB writes it.
pub(in crate::dataset) fn variable(name: &str, dimensions: &[i32], values: &[u8]) -> Vec<u8> {
    variable_of(UINT8_CLASS, name, dimensions, element::UINT8, values)
}

pub(in crate::dataset) fn compressed(variable: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(variable).expect("memory takes it");
    let data = encoder.finish().expect("memory takes it");
    // Compressed elements alone are not filled up.
    let tag = [element::COMPRESSED.to_le_bytes(), u32::try_from(data.len()).expect("small").to_le_bytes()].concat();
    [tag, data].concat()
}

pub(in crate::dataset) fn file(variables: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(HEADER_BYTES - 4, b' ');
    bytes.extend_from_slice(&VERSION);
    bytes.extend(variables.concat());
    bytes
}

fn one(bytes: &[u8], name: &'static str) -> Result<Array, MatlabError> {
    arrays(bytes, [name], 1 << 20).map(|[array]| array)
}

fn message(bytes: &[u8], name: &'static str) -> String {
    one(bytes, name).expect_err("wrong on purpose").to_string()
}

#[test]
fn what_scipy_writes_is_read() {
    let [shorts, doubles, y] = arrays(PLAIN, ["shorts", "doubles", "y"], 100).expect("whole");
    assert_eq!(shorts, Array { dimensions: vec![1, 3], values: vec![7, 8, 9] });
    // Columns first.
    assert_eq!(doubles, Array { dimensions: vec![2, 2], values: vec![0, 2, 1, 255] });
    assert_eq!(y, Array { dimensions: vec![1, 1], values: vec![4] });

    let [labels, images] = arrays(DIGITS, ["y", "X"], 1 << 20).expect("whole");
    assert_eq!(labels, Array { dimensions: vec![2, 1], values: vec![10, 3] });
    assert_eq!(images.dimensions, [32, 32, 3, 2]);
    // Row 5, column 7, channel 2, image 1.
    assert_eq!(images.values[5 + 32 * (7 + 32 * (2 + 3))], 5 + 3 * 7 + 40 * 2 + 17);
}

#[test]
fn compressed_and_plain_variables_are_alike() {
    let values: Vec<u8> = (0..=254).collect();
    let plain = variable("a", &[5, 51], &values);
    let other = variable("other", &[1, 2], &[1, 2]);
    let expected = Array { dimensions: vec![5, 51], values };
    for variables in [
        vec![plain.clone(), other.clone()],
        vec![compressed(&other), compressed(&plain)],
        vec![other, compressed(&plain)],
    ] {
        assert_eq!(one(&file(&variables), "a").expect("whole"), expected);
    }
}

#[test]
fn what_is_not_numbers_from_0_to_255_is_refused() {
    assert_eq!(message(PLAIN, "half"), "its variable 'half' holds other values than 0 to 255");
    assert_eq!(message(PLAIN, "z"), "its variable 'z' holds no real numbers");
    assert_eq!(message(PLAIN, "word"), "its variable 'word' holds no real numbers");
    assert_eq!(message(PLAIN, "nested"), "its variable 'nested' holds no real numbers");
    assert_eq!(message(PLAIN, "X"), "it has no variable 'X'");
    let negative = variable_of(8, "a", &[1, 2], element::INT8, &[1, 0xff]);
    assert_eq!(message(&file(&[negative]), "a"), "its variable 'a' holds other values than 0 to 255");
    let large = variable_of(11, "a", &[1, 1], element::UINT16, &[0, 1]);
    assert_eq!(message(&file(&[large]), "a"), "its variable 'a' holds other values than 0 to 255");
}

#[test]
fn other_files_are_told_by_their_header() {
    let header = "it is not a MATLAB file of version 5 (its header does not end in version 1 and `IM`)";
    assert_eq!(message(b"", "a"), header);
    assert_eq!(message(&[0; 200], "a"), header);
    let mut hdf5 = file(&[]);
    hdf5[125] = 2;
    hdf5[124] = 0;
    assert_eq!(message(&hdf5, "a"), "it is a file of MATLAB 7.3, which is HDF5 and not read here; save it with `-v7`");
}

#[test]
fn sizes_that_do_not_go_together_are_refused() {
    let check = |variables: &[Vec<u8>], expected: &str| {
        let text = message(&file(variables), "a");
        assert!(text.contains(expected), "{text}\nis not\n{expected}");
    };
    let good = variable("a", &[2, 2], &[1, 2, 3, 4]);
    check(&[variable("a", &[2, 2], &[1, 2, 3])], "at byte 128 is damaged: its dimensions ask for 4 values, it has 3");
    check(&[variable("a", &[2, -2], &[1, 2, 3, 4])], "a dimension is negative");
    check(&[variable("a", &[i32::MAX, i32::MAX, i32::MAX], &[1])], "'a' has more than 1048576 values");
    check(&[good.clone(), compressed(&good)], "'a' is there twice");
    check(&[compressed(&[good.clone(), vec![0; 8]].concat())], "its compressed data hold more than the array");
    check(&[compressed(&compressed(&good))], "it holds an element of type 15 instead of an array");
    check(&[element(element::UINT8, &[1])], "an element of type 2 is no variable");
    let mut wrong_sum = compressed(&good);
    *wrong_sum.last_mut().expect("not empty") ^= 1;
    check(&[wrong_sum], "its variable at byte 128 cannot be read");
    let place = good.len() + HEADER_BYTES;
    check(&[good, element(99, &[])], &format!("its variable at byte {place} is damaged"));
}

#[test]
fn cut_anywhere_it_is_refused() {
    let names = ["shorts", "doubles", "y", "half"];
    for end in 0..PLAIN.len() {
        // Behind the last variable that is asked for, whole variables may be missing.
        if let Ok([..]) = arrays(&PLAIN[..end], ["shorts", "doubles", "y"], 100) {
            let rest = arrays(&PLAIN[..end], names, 100).expect_err("half is no byte").to_string();
            assert!(rest.contains("'half'"), "cut at {end}: {rest}");
        }
    }
    for end in 0..DIGITS.len() {
        assert!(arrays(&DIGITS[..end], ["X", "y"], 1 << 20).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = one(&[file(&[]), bytes].concat(), "a");
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_compressed in any::<bool>(),
    ) {
        let mut bytes = if is_compressed { DIGITS } else { PLAIN }.to_vec();
        for (place, value) in damage {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        let _ = arrays(bytes.as_slice(), ["y", "X"], 1 << 20);
        let _ = arrays(bytes.as_slice(), ["shorts", "doubles", "y"], 1 << 20);
    }
}
