//! CIFAR-10's test images in the official binary layout: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! `test_batch.bin`: 10,000 records of one label and 3,072 pixels, all red, then all green, then all blue. Models take
//! red, green, blue of one pixel together, so the planes are woven.

use std::path::{Path, PathBuf};

use tinywatt_proto::inputs::Encoding;

use super::{Dataset, DatasetError, Kind, assemble, limited, names, read_exactly};

const FILE: &str = "test_batch.bin";
/// Folder that the official archive unpacks to.
const FOLDER: &str = "cifar-10-batches-bin";
const RECORD_COUNT: u64 = 10_000;
const SIDE: u32 = 32;
const PLANE_BYTES: usize = 32 * 32;
const RECORD_BYTES: u64 = 1 + 3 * PLANE_BYTES as u64;
const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const ADVICE: &str = "path must name the folder of CIFAR-10's binary version, the one that holds test_batch.bin \
    (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz)";

pub(super) fn load(path: &Path, limit: Option<u32>) -> Result<Dataset, DatasetError> {
    let folder = folder(path);
    let file = folder.join(FILE);
    let bytes = read_exactly(&file, RECORD_COUNT * RECORD_BYTES, ADVICE)?;
    let count = limited(limit, RECORD_COUNT, file.display())?;
    let mut labels = Vec::with_capacity(count);
    let mut data = Vec::with_capacity(count * 3 * PLANE_BYTES);
    for record in bytes.chunks_exact(1 + 3 * PLANE_BYTES).take(count) {
        labels.push(record[0].into());
        let (red, rest) = record[1..].split_at(PLANE_BYTES);
        let (green, blue) = rest.split_at(PLANE_BYTES);
        for pixel in 0..PLANE_BYTES {
            data.extend([red[pixel], green[pixel], blue[pixel]]);
        }
    }
    let inputs = assemble(&file, Encoding::Plain, 10, &[SIDE, SIDE, 3], labels, data)?;
    Ok(Dataset { kind: Kind::Cifar10, inputs, class_names: class_names(&folder), input_scale: 1.0, input_offset: 0.0 })
}

/// The folder itself, or the one that the archive makes in it.
fn folder(path: &Path) -> PathBuf {
    let inner = path.join(FOLDER);
    if !path.join(FILE).exists() && inner.is_dir() { inner } else { path.to_owned() }
}

/// The names beside the images; they are part of the data set's definition, so a lost file costs nothing.
fn class_names(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("batches.meta.txt")).unwrap_or_default();
    let found: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if found.len() == CLASS_NAMES.len() { found } else { names(&CLASS_NAMES) }
}
