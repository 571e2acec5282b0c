//! Inputs with their labels, from a folder or from the program itself, in their parts: train, validation, test. Reads
//! whole and checks whole.
//!
//! Four layouts are known by name; one's own data go into plain input set files (`proto/src/inputs.rs`), which are the data
//! set `file`. [`load`] reads test inputs, [`prepare`] all parts, [`fetch`] gets what is published.

mod cifar10;
pub mod digits;
mod facts;
pub mod fetch;
mod kws;
mod matlab;
mod plain;
mod split;
mod svhn;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tinywatt_proto::inputs::{Encoding, InputSet, InputSetError};

pub use facts::Facts;
pub use matlab::MatlabError;
pub use split::{Prepared, SplitRequest, prepare, repeated_count};

/// A data set that the collector can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Handwritten digits, 450 of 8×8 pixels, built in.
    Digits,
    /// CIFAR-10 in the official binary layout.
    Cifar10,
    /// SVHN's cropped digits in the official MATLAB files.
    Svhn,
    /// Keyword spotting of MLPerf Tiny.
    Kws,
    /// An input set file, or a folder with one for each part.
    File,
}

impl Kind {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Digits, Self::Cifar10, Self::Svhn, Self::Kws, Self::File];

    /// Its name in experiment files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Cifar10 => "cifar10",
            Self::Svhn => "svhn",
            Self::Kws => "kws",
            Self::File => "file",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is read from a path, which must then be given or fetched.
    pub fn has_path(self) -> bool {
        self != Self::Digits
    }
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What a model learns from.
    Train,
    /// What a trainer may look at.
    Validation,
    /// What decides about a model.
    Test,
}

impl Part {
    /// Its name for messages.
    fn of(self, kind: Kind) -> String {
        let name = match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        };
        format!("the {name} part of {kind}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Inputs, labels and what people call the classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Where it came from.
    pub kind: Kind,
    /// Inputs and labels.
    pub inputs: InputSet,
    /// One name per class.
    pub class_names: Vec<String>,
    /// Scaling that models of this data set usually expect: real value = byte × scale + offset.
    pub input_scale: f64,
    /// See `input_scale`.
    pub input_offset: f64,
}

/// A data set cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file is missing or unreadable.
    #[error("{path} cannot be read ({source}); {advice}", path = path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What would help.
        advice: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file has another size.
    #[error("{path} has {found} bytes and should have {expected}: it is cut short or of another layout; fetch it again",
        path = path.display())]
    Size {
        /// File.
        path: PathBuf,
        /// Bytes that the layout asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A label names no class.
    #[error("{path} gives input {index} the label {label}, and there are {class_count} classes, from 0",
        path = path.display())]
    Label {
        /// File.
        path: PathBuf,
        /// Input, from 0.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        class_count: u32,
    },
    /// A row of a table cannot be understood.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Row {
        /// File.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The input set file is damaged.
    #[error("{path} is not a whole input set: {source}", path = path.display())]
    InputSet {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: InputSetError,
    },
    /// More inputs are asked for than there are.
    #[error("a limit of {limit} was set, and {origin} has {found} inputs; lower the limit or leave it out")]
    Limit {
        /// Limit that was set.
        limit: u32,
        /// Data set.
        origin: String,
        /// Inputs there are.
        found: u64,
    },
    /// No inputs are asked for.
    #[error("a limit of 0 leaves nothing of {origin}; set 1 or more, or leave it out")]
    LimitZero {
        /// Data set.
        origin: String,
    },
    /// A MATLAB file is damaged or another one.
    #[error("{path} is not what it should be: {source}; fetch it again", path = path.display())]
    Matlab {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: MatlabError,
    },
    /// There is nothing to train on.
    #[error("the data set '{kind}' cannot be trained on: {reason}")]
    NoTraining {
        /// Data set.
        kind: Kind,
        /// Why, and what would do.
        reason: &'static str,
    },
    /// Parts of one's own data set do not belong together.
    #[error("{path} {problem}", path = path.display())]
    Misfit {
        /// File.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Class names do not fit the classes.
    #[error("{found} class names are given, and the data set has {expected} classes")]
    ClassNames {
        /// Names given.
        found: usize,
        /// Number of classes.
        expected: u32,
    },
}

/// What to read.
#[derive(Debug, Clone)]
pub struct Request {
    /// Layout.
    pub kind: Kind,
    /// Folder or file; not used by the data set that is built in.
    pub path: PathBuf,
    /// Only the first this many inputs.
    pub limit: Option<u32>,
    /// Class names for an input set file, which carries none.
    pub class_names: Option<Vec<String>>,
}

/// Largest input set file that is read, bytes: it is held in memory here, and again on each node.
pub const INPUT_SET_BYTES_MAX: u64 = 512 << 20;

/// Reads a data set's test inputs.
///
/// # Errors
/// Any [`DatasetError`]; the message names the file and what to do.
pub fn load(request: &Request) -> Result<Dataset, DatasetError> {
    let path = request.path.as_path();
    match request.kind {
        Kind::Digits => digits::load(request.limit),
        Kind::Cifar10 => cifar10::load(path, request.limit),
        Kind::Svhn => svhn::load(path, request.limit),
        Kind::Kws => kws::load(path, request.limit),
        Kind::File => plain::load(path, request.limit, request.class_names.as_deref()),
    }
}

/// How many inputs to take of those there are.
fn limited(limit: Option<u32>, found: u64, origin: impl fmt::Display) -> Result<usize, DatasetError> {
    match limit {
        Some(0) => Err(DatasetError::LimitZero { origin: origin.to_string() }),
        Some(limit) if u64::from(limit) > found => {
            Err(DatasetError::Limit { limit, origin: origin.to_string(), found })
        }
        Some(limit) => Ok(limit as usize),
        None => Ok(usize::try_from(found).unwrap_or(usize::MAX)),
    }
}

/// The first inputs of a set.
fn first(set: InputSet, limit: Option<u32>, origin: impl fmt::Display) -> Result<InputSet, DatasetError> {
    let count = limited(limit, set.labels().len() as u64, origin)?;
    if count == set.labels().len() {
        return Ok(set);
    }
    let mut data = Vec::with_capacity(count * set.input(0).len());
    for index in 0..count {
        data.extend_from_slice(set.input(index));
    }
    let labels = set.labels()[..count].to_vec();
    Ok(InputSet::new(set.encoding(), set.class_count(), set.shape().to_vec(), labels, data)
        .expect("the beginning of a set, with at least one input, is a set"))
}

/// Reads exactly `expected` bytes, the whole file.
fn read_exactly(path: &Path, expected: u64, advice: &'static str) -> Result<Vec<u8>, DatasetError> {
    let read = |source| DatasetError::Read { path: path.to_owned(), advice, source };
    let mut file = File::open(path).map_err(read)?;
    let found = file.metadata().map_err(read)?.len();
    if found != expected {
        return Err(DatasetError::Size { path: path.to_owned(), expected, found });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Puts a set together whose parts were checked, but for labels.
fn assemble(
    path: &Path,
    encoding: Encoding,
    class_count: u32,
    shape: &[u32],
    labels: Vec<u32>,
    data: Vec<u8>,
) -> Result<InputSet, DatasetError> {
    InputSet::new(encoding, class_count, shape.to_vec(), labels, data).map_err(|source| match source {
        InputSetError::Label { index, label, class_count } => {
            DatasetError::Label { path: path.to_owned(), index, label, class_count }
        }
        source => DatasetError::InputSet { path: path.to_owned(), source },
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests;
