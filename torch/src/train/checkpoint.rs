//! What a training goes on from: the module as it is after an epoch, and in the same file, as extra files that PyTorch
//! passes over, the optimiser's moments and how far the training is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor, TrainableCModule};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::adam::Adam;
use super::job::Epoch;
use crate::card;

const MOMENTS: &str = "extra/adam.safetensors";
const PLACE: &str = "extra/training.json";

/// Largest state that is read back: a network of 5.85 million parameters has 47 MB of moments.
const STATE_BYTES_MAX: u64 = 4 << 30;

/// How far a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Of the job, so that another job's checkpoint is told.
    pub(super) fingerprint: String,
    /// Steps of the optimiser.
    pub(super) step_count: i32,
    /// The epochs that are done.
    pub(super) epochs: Vec<Epoch>,
}

/// A checkpoint cannot be kept or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written.
    #[error("failed to write the checkpoint {path}: is there room, and may this user write there?")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("failed to read the checkpoint {path}: may this user read it? Remove it to train from the start")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// PyTorch cannot read or write its part.
    #[error("PyTorch failed on the checkpoint {path}")]
    Torch {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TchError,
    },
    /// It belongs to another job, or to none.
    #[error("{path} is not a checkpoint of this job: remove it to train from the start")]
    Other {
        /// The file.
        path: PathBuf,
    },
}

/// Keeps a checkpoint, whole or not at all.
pub(super) fn keep(path: &Path, module: &TrainableCModule, adam: &Adam, place: &Place) -> Result<(), CheckpointError> {
    let at = || path.to_owned();
    let torch = |source| CheckpointError::Torch { path: at(), source };
    let file = |source| CheckpointError::Write { path: at(), source };
    let (part, moments) = (path.with_extension("part"), path.with_extension("moments"));
    module.save(&part).map_err(torch)?;
    let state = adam.state().map_err(torch)?;
    Tensor::write_safetensors(&state, &moments).map_err(torch)?;
    let folder = folder(&part).map_err(file)?;
    let archive = OpenOptions::new().read(true).write(true).open(&part).map_err(file)?;
    let mut writer = ZipWriter::new_append(archive).map_err(other).map_err(file)?;
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let text = serde_json::to_vec(place).map_err(io::Error::from).map_err(file)?;
    for (name, content) in [(MOMENTS, fs::read(&moments).map_err(file)?), (PLACE, text)] {
        writer.start_file(format!("{folder}/{name}"), stored).map_err(other).map_err(file)?;
        writer.write_all(&content).map_err(file)?;
    }
    writer.finish().map_err(other).and_then(|archive| archive.sync_all()).map_err(file)?;
    fs::remove_file(&moments).map_err(file)?;
    fs::rename(&part, path).map_err(file)
}

/// How far the training of a checkpoint is, and the optimiser's moments.
pub(super) fn read(path: &Path, fingerprint: &str) -> Result<(Place, Vec<(String, Tensor)>), CheckpointError> {
    let other = || CheckpointError::Other { path: path.to_owned() };
    let write = |source| CheckpointError::Write { path: path.to_owned(), source };
    let unreadable = |source| CheckpointError::Read { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(File::open(path).map_err(unreadable)?).map_err(|_| other())?;
    let mut entry = |name: &str| {
        let found = card::entry(&archive, |entry| entry.ends_with(name))?;
        let mut content = Vec::new();
        archive.by_name(&found).ok()?.take(STATE_BYTES_MAX).read_to_end(&mut content).ok()?;
        Some(content)
    };
    let place = entry(PLACE).and_then(|text| serde_json::from_slice::<Place>(&text).ok());
    let place = place.filter(|place| place.fingerprint == fingerprint).ok_or_else(other)?;
    let moments = path.with_extension("moments");
    fs::write(&moments, entry(MOMENTS).ok_or_else(other)?).map_err(write)?;
    let state = Tensor::read_safetensors(&moments);
    fs::remove_file(&moments).map_err(write)?;
    Ok((place, state.map_err(|source| CheckpointError::Torch { path: path.to_owned(), source })?))
}

fn folder(path: &Path) -> io::Result<String> {
    let archive = ZipArchive::new(File::open(path)?).map_err(other)?;
    card::folder(&archive).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "PyTorch saved no archive"))
}

fn other(error: ZipError) -> io::Error {
    io::Error::other(error)
}
