//! Train, validation and test: which input is in which part never changes, on no machine and with no version.
//!
//! The test part is the publisher's own and is never trained on. Validation inputs are drawn from the publisher's training
//! part: a tenth of it, 5,000 at most (so 5,000 for CIFAR-10 and SVHN, 134 for the digits). The draw is a shuffle that
//! depends on the data set's name and the number of inputs alone: Fisher and Yates over ChaCha8, keyed with
//! SHA-256("tinywatt split 1" ‖ name). Its first places are validation, the others train. A limit takes the first of its
//! part's places, so a smaller part lies within a larger one and has the classes mixed alike; the inputs that are taken
//! then stand in the order of the publisher's files.

use std::collections::HashSet;
use std::path::PathBuf;

use tinywatt_proto::inputs::{Encoding, InputSet};

use super::{Dataset, DatasetError, Kind, Part, Request, cifar10, digits, first, limited, load, plain, svhn};
use crate::shuffle::shuffle;

/// What to prepare.
#[derive(Debug, Clone)]
pub struct SplitRequest {
    /// Layout.
    pub kind: Kind,
    /// Folder; not used by the data set that is built in.
    pub path: PathBuf,
    /// Only the first this many training inputs of the split's order.
    pub train_limit: Option<u32>,
    /// Only the first this many validation inputs of the split's order.
    pub validation_limit: Option<u32>,
    /// Only the first this many test inputs, in the order of the publisher's file.
    pub test_limit: Option<u32>,
    /// Class names for `file`, instead of those in its `classes.txt`.
    pub class_names: Option<Vec<String>>,
}

/// A data set in its three parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Where it came from.
    pub kind: Kind,
    /// What a model learns from, and what calibrates its quantisation.
    pub train: InputSet,
    /// What a trainer may look at while it trains.
    pub validation: InputSet,
    /// What decides about the model; nothing before may look at it.
    pub test: InputSet,
    /// One name per class.
    pub class_names: Vec<String>,
    /// Scaling to train with, and then to calibrate and infer with: real value = byte × scale + offset. Images of bytes
    /// become −1 to 1, the digits 0 to 1.
    pub input_scale: f64,
    /// See `input_scale`.
    pub input_offset: f64,
}

/// Most inputs that are set aside for validation.
const VALIDATION_COUNT_MAX: usize = 5_000;
/// One input in this many is set aside.
const VALIDATION_PART: usize = 10;

/// Bytes to −1 … 1.
const IMAGE_SCALE: f64 = 2.0 / 255.0;
const IMAGE_OFFSET: f64 = -1.0;

/// Reads a data set and lays out its parts.
///
/// # Errors
/// Any [`DatasetError`]; [`DatasetError::NoTraining`] for data sets that have no training inputs.
pub fn prepare(request: &SplitRequest) -> Result<Prepared, DatasetError> {
    let SplitRequest { kind, path, train_limit, validation_limit, test_limit, class_names } = request;
    let whole = Request { kind: *kind, path: path.clone(), limit: None, class_names: class_names.clone() };
    let (pool, validation) = match kind {
        Kind::Kws => return Err(no_training(*kind, KWS_REASON)),
        Kind::Digits => (digits::train(), None),
        Kind::Cifar10 => (cifar10::train(path)?, None),
        Kind::Svhn => (svhn::train(path)?, None),
        Kind::File if !path.is_dir() => return Err(no_training(*kind, FILE_REASON)),
        Kind::File => plain::training(path)?,
    };
    if pool.encoding() == Encoding::Quantised {
        return Err(no_training(*kind, QUANTISED_REASON));
    }
    let test = load(&whole)?;
    if *kind == Kind::File {
        plain::fit(path, &pool, validation.as_ref(), &test.inputs)?;
    }
    let (train, validation) = match validation {
        Some(validation) => {
            let name = kind.name();
            let chosen = |set: InputSet, limit, part| {
                let order = order(name, set.labels().len());
                taken(&set, &order, limit, *kind, part)
            };
            (chosen(pool, *train_limit, Part::Train)?, chosen(validation, *validation_limit, Part::Validation)?)
        }
        None => {
            let order = order(kind.name(), pool.labels().len());
            let validation_count = validation_count(order.len());
            if validation_count == 0 {
                return Err(no_training(*kind, SMALL_REASON));
            }
            let (validation, train) = order.split_at(validation_count);
            let train = taken(&pool, train, *train_limit, *kind, Part::Train)?;
            (train, taken(&pool, validation, *validation_limit, *kind, Part::Validation)?)
        }
    };
    let Dataset { inputs, class_names, .. } = test;
    let test = first(inputs, *test_limit, Part::Test.of(*kind))?;
    let (input_scale, input_offset) =
        if *kind == Kind::Digits { (digits::INPUT_SCALE, 0.0) } else { (IMAGE_SCALE, IMAGE_OFFSET) };
    Ok(Prepared { kind: *kind, train, validation, test, class_names, input_scale, input_offset })
}

const KWS_REASON: &str = "MLPerf Tiny publishes its test inputs alone, quantised for its reference model; train on \
    'digits', 'cifar10', 'svhn' or your own 'file'";
const FILE_REASON: &str = "path names no folder; put train.twin, test.twin and, if you like, validation.twin into one \
    and name that";
const QUANTISED_REASON: &str = "its inputs already carry the quantisation of some model; training needs plain bytes";
const SMALL_REASON: &str = "it has fewer than ten training inputs to take validation inputs from";

fn no_training(kind: Kind, reason: &'static str) -> DatasetError {
    DatasetError::NoTraining { kind, reason }
}

/// Inputs that are set aside of so many.
pub(super) fn validation_count(pool_count: usize) -> usize {
    (pool_count / VALIDATION_PART).min(VALIDATION_COUNT_MAX)
}

/// How many test inputs are also, byte for byte, training or validation inputs; equal test inputs count once.
///
/// Published data sets hold a few such images; that is theirs to know, and the reader's to be told.
pub fn repeated_count(train: &InputSet, validation: &InputSet, test: &InputSet) -> usize {
    fn inputs(set: &InputSet) -> impl Iterator<Item = &[u8]> {
        (0..set.labels().len()).map(|index| set.input(index))
    }
    let tested: HashSet<&[u8]> = inputs(test).collect();
    let repeated: HashSet<&[u8]> =
        inputs(train).chain(inputs(validation)).filter(|&input| tested.contains(input)).collect();
    repeated.len()
}

/// A data set's inputs in the order in which they are dealt to the parts.
fn order(name: &str, count: usize) -> Vec<usize> {
    let key = [b"tinywatt split 1", name.as_bytes()].concat();
    let mut order: Vec<usize> = (0..count).collect();
    shuffle(&mut order, &key);
    order
}

/// The first inputs of an order, in the order of the set.
fn taken(
    set: &InputSet,
    order: &[usize],
    limit: Option<u32>,
    kind: Kind,
    part: Part,
) -> Result<InputSet, DatasetError> {
    let count = limited(limit, order.len() as u64, part.of(kind))?;
    let mut indices = order[..count].to_vec();
    indices.sort_unstable();
    let mut data = Vec::with_capacity(count * set.input(0).len());
    for &index in &indices {
        data.extend_from_slice(set.input(index));
    }
    let labels = indices.iter().map(|&index| set.labels()[index]).collect();
    Ok(InputSet::new(set.encoding(), set.class_count(), set.shape().to_vec(), labels, data)
        .expect("inputs of a set, at least one, are a set"))
}

#[cfg(test)]
mod tests;
