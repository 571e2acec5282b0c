//! SVHN's cropped digits in the official MATLAB files: <http://ufldl.stanford.edu/housenumbers/>.
//!
//! `X` is `[row][column][channel][image]` with the row innermost, so an image's bytes stand together, each plane by columns;
//! models take rows of pixels. `y` has labels 1 to 10, and 10 is the digit 0.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use tinywatt_proto::inputs::{Encoding, InputSet};

use super::matlab::{self, Array, MatlabError};
use super::{Dataset, DatasetError, INPUT_SET_BYTES_MAX, Kind, assemble, first, names};

pub(super) const TRAIN_FILE: &str = "train_32x32.mat";
pub(super) const TEST_FILE: &str = "test_32x32.mat";
const SIDE: usize = 32;
const CHANNEL_COUNT: usize = 3;
const IMAGE_BYTES: usize = SIDE * SIDE * CHANNEL_COUNT;
const CLASS_COUNT: u32 = 10;
const LABEL_OF_ZERO: u8 = 10;
const ADVICE: &str = "path must name the folder of SVHN's cropped digits, with train_32x32.mat and test_32x32.mat \
    (http://ufldl.stanford.edu/housenumbers/); `collector dataset fetch svhn` gets them";

pub(super) fn load(path: &Path, limit: Option<u32>) -> Result<Dataset, DatasetError> {
    let inputs = first(read(path, TEST_FILE)?, limit, path.join(TEST_FILE).display())?;
    let class_names = names(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    Ok(Dataset { kind: Kind::Svhn, inputs, class_names, input_scale: 1.0, input_offset: 0.0 })
}

/// The training part, in the file's order.
pub(super) fn train(path: &Path) -> Result<InputSet, DatasetError> {
    read(path, TRAIN_FILE)
}

fn read(folder: &Path, name: &str) -> Result<InputSet, DatasetError> {
    let path = folder.join(name);
    let file = File::open(&path).map_err(|source| DatasetError::Read { path: path.clone(), advice: ADVICE, source })?;
    let refuse = |source| DatasetError::Matlab { path: path.clone(), source };
    let [images, labels] = matlab::arrays(BufReader::new(file), ["X", "y"], INPUT_SET_BYTES_MAX).map_err(refuse)?;
    let count = image_count(&images).map_err(refuse)?;
    if labels.values.len() != count {
        let problem = format!("has {} labels, and there are {count} images", labels.values.len());
        return Err(refuse(MatlabError::Unsuitable { name: "y", problem }));
    }
    let labels = labels.values.iter().enumerate().map(|(index, &label)| match label {
        LABEL_OF_ZERO => Ok(0),
        1..LABEL_OF_ZERO => Ok(label.into()),
        other => {
            let problem = format!("gives image {index} the label {other}; labels are 1 to 10, and 10 is the digit 0");
            Err(refuse(MatlabError::Unsuitable { name: "y", problem }))
        }
    });
    let labels = labels.collect::<Result<Vec<u32>, _>>()?;
    let shape = [SIDE, SIDE, CHANNEL_COUNT].map(|dimension| u32::try_from(dimension).expect("32 and 3"));
    assemble(&path, Encoding::Plain, CLASS_COUNT, &shape, labels, woven(images.values))
}

fn image_count(images: &Array) -> Result<usize, MatlabError> {
    match *images.dimensions {
        // MATLAB leaves out a last dimension of 1.
        [32, 32, 3] => Ok(1),
        [32, 32, 3, count] if count > 0 => Ok(count as usize),
        ref other => {
            let problem = format!("has the dimensions {other:?}, and cropped digits have [32, 32, 3, count]");
            Err(MatlabError::Unsuitable { name: "X", problem })
        }
    }
}

/// Planes of columns into rows of pixels, image by image in their place.
fn woven(mut images: Vec<u8>) -> Vec<u8> {
    let mut planes = [0; IMAGE_BYTES];
    for image in images.chunks_exact_mut(IMAGE_BYTES) {
        planes.copy_from_slice(image);
        for (pixel, colours) in image.chunks_exact_mut(CHANNEL_COUNT).enumerate() {
            let (row, column) = (pixel / SIDE, pixel % SIDE);
            for (channel, colour) in colours.iter_mut().enumerate() {
                *colour = planes[channel * SIDE * SIDE + column * SIDE + row];
            }
        }
    }
    images
}

#[cfg(test)]
mod tests;
