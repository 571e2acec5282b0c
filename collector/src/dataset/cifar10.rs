//! CIFAR-10's images in the official binary layout: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`: 10,000 records each of one label and 3,072 pixels, all red, then all green, then all blue. Models take
//! red, green, blue of one pixel together, so the planes are woven.

use std::path::{Path, PathBuf};

use tinywatt_proto::inputs::{Encoding, InputSet};

use super::{Dataset, DatasetError, Kind, assemble, limited, names, read_exactly};

const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST_FILE: &str = "test_batch.bin";
/// Folder that the official archive unpacks to.
pub(super) const FOLDER: &str = "cifar-10-batches-bin";
const RECORD_COUNT: u64 = 10_000;
const CLASS_COUNT: u32 = 10;
const SIDE: u32 = 32;
const PLANE_BYTES: usize = 32 * 32;
const RECORD_BYTES: u64 = 1 + 3 * PLANE_BYTES as u64;
const NAMES_FILE: &str = "batches.meta.txt";
/// Files of the official archive that are needed, with their sizes.
pub(super) const FILES: [(&str, u64); 6] = [
    (TRAIN_FILES[0], RECORD_COUNT * RECORD_BYTES),
    (TRAIN_FILES[1], RECORD_COUNT * RECORD_BYTES),
    (TRAIN_FILES[2], RECORD_COUNT * RECORD_BYTES),
    (TRAIN_FILES[3], RECORD_COUNT * RECORD_BYTES),
    (TRAIN_FILES[4], RECORD_COUNT * RECORD_BYTES),
    (TEST_FILE, RECORD_COUNT * RECORD_BYTES),
];
const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const ADVICE: &str = "path must name the folder of CIFAR-10's binary version, the one that holds test_batch.bin \
    (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz); `collector dataset fetch cifar10` gets it";

pub(super) fn load(path: &Path, limit: Option<u32>) -> Result<Dataset, DatasetError> {
    let folder = folder(path);
    let file = folder.join(TEST_FILE);
    let mut images = Images::default();
    images.read(&file, limit)?;
    let inputs = images.into_set(&file)?;
    Ok(Dataset { kind: Kind::Cifar10, inputs, class_names: class_names(&folder), input_scale: 1.0, input_offset: 0.0 })
}

/// The training part, in the order of the files.
pub(super) fn train(path: &Path) -> Result<InputSet, DatasetError> {
    let folder = folder(path);
    let mut images = Images::default();
    for name in TRAIN_FILES {
        images.read(&folder.join(name), None)?;
    }
    images.into_set(&folder)
}

#[derive(Default)]
struct Images {
    labels: Vec<u32>,
    data: Vec<u8>,
}

impl Images {
    /// Adds the records of a file. A wrong label is found here, where the file is known.
    fn read(&mut self, file: &Path, limit: Option<u32>) -> Result<(), DatasetError> {
        let bytes = read_exactly(file, RECORD_COUNT * RECORD_BYTES, ADVICE)?;
        let count = limited(limit, RECORD_COUNT, file.display())?;
        self.labels.reserve(count);
        self.data.reserve(count * 3 * PLANE_BYTES);
        for (index, record) in bytes.chunks_exact(1 + 3 * PLANE_BYTES).take(count).enumerate() {
            let label = u32::from(record[0]);
            if label >= CLASS_COUNT {
                return Err(DatasetError::Label { path: file.to_owned(), index, label, class_count: CLASS_COUNT });
            }
            self.labels.push(label);
            let (red, rest) = record[1..].split_at(PLANE_BYTES);
            let (green, blue) = rest.split_at(PLANE_BYTES);
            for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
                self.data.extend_from_slice(&[red, green, blue]);
            }
        }
        Ok(())
    }

    fn into_set(self, path: &Path) -> Result<InputSet, DatasetError> {
        assemble(path, Encoding::Plain, CLASS_COUNT, &[SIDE, SIDE, 3], self.labels, self.data)
    }
}

/// The folder itself, or the one that the archive makes in it.
fn folder(path: &Path) -> PathBuf {
    let inner = path.join(FOLDER);
    if !path.join(TEST_FILE).exists() && inner.is_dir() { inner } else { path.to_owned() }
}

/// The names beside the images; they are part of the data set's definition, so a lost file costs nothing.
fn class_names(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(NAMES_FILE)).unwrap_or_default();
    let found: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if found.len() == CLASS_NAMES.len() { found } else { names(&CLASS_NAMES) }
}
