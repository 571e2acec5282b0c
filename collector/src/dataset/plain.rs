//! One's own data: an input set file (`proto/src/inputs.rs` has the layout), with class names from the experiment.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tinywatt_proto::inputs::InputSet;

use super::{Dataset, DatasetError, INPUT_SET_BYTES_MAX, Kind, first};

const ADVICE: &str = "path must name an input set file";

pub(super) fn load(path: &Path, limit: Option<u32>, class_names: Option<&[String]>) -> Result<Dataset, DatasetError> {
    let read = |source| DatasetError::Read { path: path.to_owned(), advice: ADVICE, source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(INPUT_SET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > INPUT_SET_BYTES_MAX {
        let message = format!("it is larger than {} MiB", INPUT_SET_BYTES_MAX >> 20);
        return Err(read(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    let inputs =
        InputSet::from_bytes(&bytes).map_err(|source| DatasetError::InputSet { path: path.to_owned(), source })?;
    let class_count = inputs.class_count();
    let class_names = match class_names {
        Some(names) if names.len() != class_count as usize => {
            return Err(DatasetError::ClassNames { found: names.len(), expected: class_count });
        }
        Some(names) => names.to_vec(),
        None => (0..class_count).map(|class| class.to_string()).collect(),
    };
    let inputs = first(inputs, limit, path.display())?;
    Ok(Dataset { kind: Kind::File, inputs, class_names, input_scale: 1.0, input_offset: 0.0 })
}
