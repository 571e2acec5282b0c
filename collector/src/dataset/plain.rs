//! One's own data: input set files (`proto/src/inputs.rs` has the layout), one with test inputs, or a folder with a file
//! for each part. `collector/data/README.md` tells how to make them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use tinywatt_proto::inputs::InputSet;

use super::{Dataset, DatasetError, INPUT_SET_BYTES_MAX, Kind, first};

const TRAIN_FILE: &str = "train.twin";
const VALIDATION_FILE: &str = "validation.twin";
const TEST_FILE: &str = "test.twin";
/// Class names, one a line.
const CLASSES_FILE: &str = "classes.txt";
/// A list of class names is small.
const CLASSES_BYTES_MAX: u64 = 1 << 20;
const ADVICE: &str = "path must name an input set file";
const FOLDER_ADVICE: &str = "a folder of one's own inputs holds test.twin, and train.twin to train on; \
    collector/data/README.md tells how to make them";

pub(super) fn load(path: &Path, limit: Option<u32>, class_names: Option<&[String]>) -> Result<Dataset, DatasetError> {
    let (path, listed, advice) = if path.is_dir() {
        (path.join(TEST_FILE), listed_names(path)?, FOLDER_ADVICE)
    } else {
        (path.to_owned(), None, ADVICE)
    };
    let inputs = read(&path, advice)?;
    let class_count = inputs.class_count();
    let class_names = match class_names.map(<[String]>::to_vec).or(listed) {
        Some(names) if names.len() != class_count as usize => {
            return Err(DatasetError::ClassNames { found: names.len(), expected: class_count });
        }
        Some(names) => names,
        None => (0..class_count).map(|class| class.to_string()).collect(),
    };
    let inputs = first(inputs, limit, path.display())?;
    Ok(Dataset { kind: Kind::File, inputs, class_names, input_scale: 1.0, input_offset: 0.0 })
}

/// Training inputs of a folder, and validation inputs where it has them.
pub(super) fn training(folder: &Path) -> Result<(InputSet, Option<InputSet>), DatasetError> {
    let train = read(&folder.join(TRAIN_FILE), FOLDER_ADVICE)?;
    let file = folder.join(VALIDATION_FILE);
    // What is there and cannot be read is told; only what is not there is drawn from the training inputs.
    let is_there =
        file.try_exists().map_err(|source| DatasetError::Read { path: file.clone(), advice: FOLDER_ADVICE, source })?;
    Ok((train, if is_there { Some(read(&file, FOLDER_ADVICE)?) } else { None }))
}

/// Checks that the parts are of one data set, and that no test input is among the others: nobody else has looked.
pub(super) fn fit(
    folder: &Path,
    train: &InputSet,
    validation: Option<&InputSet>,
    test: &InputSet,
) -> Result<(), DatasetError> {
    let tested: HashMap<&[u8], usize> = (0..test.labels().len()).map(|index| (test.input(index), index)).collect();
    for (name, set) in [(TRAIN_FILE, Some(train)), (VALIDATION_FILE, validation)] {
        let Some(set) = set else { continue };
        let facts = |set: &InputSet| (set.encoding(), set.class_count(), set.shape().to_vec());
        if facts(set) != facts(test) {
            let problem = "has another encoding, class count or shape than test.twin; make all parts alike";
            return Err(DatasetError::Misfit { path: folder.join(name), problem: problem.to_owned() });
        }
        if let Some((index, test_index)) =
            (0..set.labels().len()).find_map(|index| Some((index, *tested.get(set.input(index))?)))
        {
            let problem = format!(
                "holds as input {index} what test.twin holds as input {test_index}: a model must not be trained on what \
                 it is tested with; take such inputs out of one of the files"
            );
            return Err(DatasetError::Misfit { path: folder.join(name), problem });
        }
    }
    Ok(())
}

fn read(path: &Path, advice: &'static str) -> Result<InputSet, DatasetError> {
    let bytes = read_at_most(path, INPUT_SET_BYTES_MAX, advice)?;
    InputSet::from_bytes(&bytes).map_err(|source| DatasetError::InputSet { path: path.to_owned(), source })
}

fn listed_names(folder: &Path) -> Result<Option<Vec<String>>, DatasetError> {
    let path = folder.join(CLASSES_FILE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let bytes = read_at_most(&path, CLASSES_BYTES_MAX, FOLDER_ADVICE)?;
    let text = String::from_utf8(bytes).map_err(|_| DatasetError::Misfit {
        path,
        problem: "is not text in UTF-8; write one class name a line".to_owned(),
    })?;
    Ok(Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()))
}

fn read_at_most(path: &Path, bytes_max: u64, advice: &'static str) -> Result<Vec<u8>, DatasetError> {
    let read = |source| DatasetError::Read { path: path.to_owned(), advice, source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it is larger than {} MiB", bytes_max >> 20);
        return Err(read(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    Ok(bytes)
}
