//! Small files in the official layout, and each way they can be wrong.

use std::fs;

use tempfile::TempDir;

use super::super::matlab::tests::{compressed, file, variable};
use super::super::{Request, load as load_any};
use super::*;

fn folder(images: &[i32], labels: &[u8]) -> TempDir {
    let folder = TempDir::new().expect("temporary folder");
    let bytes = vec![0; images.iter().product::<i32>().try_into().expect("small")];
    let labels = variable("y", &[i32::try_from(labels.len()).expect("small"), 1], labels);
    let content = file(&[compressed(&variable("X", images, &bytes)), labels]);
    fs::write(folder.path().join(TEST_FILE), content).expect("file");
    folder
}

fn message(images: &[i32], labels: &[u8]) -> String {
    let folder = folder(images, labels);
    let error = load(folder.path(), None).expect_err("wrong on purpose");
    error.to_string().replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn images_of_a_small_file_are_woven_into_rows_of_pixels() {
    let folder = TempDir::new().expect("temporary folder");
    let content = include_bytes!("../../../tests/fixtures/matlab/digits.mat");
    fs::write(folder.path().join(TEST_FILE), content).expect("file");
    let request = Request { kind: Kind::Svhn, path: folder.path().to_owned(), limit: None, class_names: None };
    let dataset = load_any(&request).expect("whole");
    assert_eq!(dataset.inputs.labels(), [0, 3], "label 10 is the digit 0");
    assert_eq!(dataset.inputs.shape(), [32, 32, 3]);
    assert_eq!(dataset.class_names[0], "0");
    for image in 0..2 {
        for (place, &value) in dataset.inputs.input(image).iter().enumerate() {
            let (row, column, channel) = (place / 96, place / 3 % 32, place % 3);
            assert_eq!(usize::from(value), row + 3 * column + 40 * channel + 17 * image);
        }
    }
}

#[test]
fn one_image_may_lack_its_last_dimension() {
    let folder = folder(&[32, 32, 3], &[10]);
    assert_eq!(load(folder.path(), None).expect("whole").inputs.labels(), [0]);
}

#[test]
fn what_is_not_cropped_digits_is_refused() {
    let other = "FOLDER/test_32x32.mat is not what it should be: its variable";
    assert_eq!(
        message(&[3, 32, 32, 2], &[1, 2]),
        format!(
            "{other} 'X' has the dimensions [3, 32, 32, 2], and cropped digits have [32, 32, 3, count]; fetch it again"
        )
    );
    assert_eq!(
        message(&[32, 32, 3, 2], &[1]),
        format!("{other} 'y' has 1 labels, and there are 2 images; fetch it again")
    );
    assert_eq!(
        message(&[32, 32, 3, 2], &[1, 0]),
        format!("{other} 'y' gives image 1 the label 0; labels are 1 to 10, and 10 is the digit 0; fetch it again")
    );
    let empty = TempDir::new().expect("temporary folder");
    let text = load(empty.path(), None).expect_err("nothing there").to_string();
    assert!(text.contains("test_32x32.mat cannot be read") && text.contains("collector dataset fetch svhn"), "{text}");
}
