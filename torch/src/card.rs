//! The card in a TorchScript module's file: read, and put into one that has none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tinywatt_proto::card::{BYTES_MAX, ModelCard, NAME, SCHEMA, is_card};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A card cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The file cannot be read or written.
    #[error("failed to open the module {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a TorchScript module (no zip archive)")]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ZipError,
    },
    /// There is no card.
    #[error(
        "{path} carries no card, so nobody knows the engine and the input that it was made for: save it with \
         torch.jit.save(module, path, _extra_files={{\"{NAME}\": ...}})"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The card cannot be read.
    #[error("the card in {path} is not readable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The card is of another schema.
    #[error("the card in {path} is of schema '{schema}', and this program knows '{SCHEMA}'")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
}

/// Reads the card of a module.
///
/// # Errors
/// Any [`CardError`].
pub fn read(path: &Path) -> Result<ModelCard, CardError> {
    let at = || path.to_owned();
    let file = File::open(path).map_err(|source| CardError::Open { path: at(), source })?;
    let mut archive = ZipArchive::new(file).map_err(|source| CardError::NotAModule { path: at(), source })?;
    let name = entry(&archive, is_card).ok_or_else(|| CardError::Missing { path: at() })?;
    let unreadable = |source| CardError::Unreadable { path: at(), source };
    let entry = archive.by_name(&name).map_err(|error| unreadable(io::Error::other(error)))?;
    let mut text = Vec::new();
    entry.take(BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    let card: ModelCard = serde_json::from_slice(&text).map_err(|error| unreadable(error.into()))?;
    if card.schema == SCHEMA { Ok(card) } else { Err(CardError::Schema { path: at(), schema: card.schema }) }
}

/// Adds a card to a module that has none: PyTorch's C++ interface saves modules without extra files.
///
/// # Errors
/// Any [`CardError`].
pub fn add(path: &Path, card: &ModelCard) -> Result<(), CardError> {
    let at = || path.to_owned();
    let open = |source| CardError::Open { path: at(), source };
    let archive = ZipArchive::new(File::open(path).map_err(open)?);
    let archive = archive.map_err(|source| CardError::NotAModule { path: at(), source })?;
    let folder = folder(&archive).ok_or_else(|| CardError::Missing { path: at() })?;
    drop(archive);
    let write = |error: ZipError| CardError::Open { path: at(), source: io::Error::other(error) };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(open)?;
    let mut writer = ZipWriter::new_append(file).map_err(write)?;
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.start_file(format!("{folder}/extra/{NAME}"), stored).map_err(write)?;
    let text = serde_json::to_vec(card).expect("a card has string keys and whole numbers only");
    writer.write_all(&text).map_err(open)?;
    let file = writer.finish().map_err(write)?;
    file.sync_all().map_err(open)
}

/// Whether a module's code calls a quantised operation.
///
/// # Errors
/// When the file is no module.
pub fn has_quantised_code(path: &Path) -> Result<bool, CardError> {
    const WORD: &[u8] = b"quantized";
    let at = || path.to_owned();
    let file = File::open(path).map_err(|source| CardError::Open { path: at(), source })?;
    let mut archive = ZipArchive::new(file).map_err(|source| CardError::NotAModule { path: at(), source })?;
    let code: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter(|name| name.contains("/code/") && name.ends_with(".py"))
        .map(|name| name.into_owned())
        .collect();
    for name in code {
        let unreadable = |source| CardError::Unreadable { path: at(), source };
        let entry = archive.by_name(&name).map_err(|error| unreadable(io::Error::other(error)))?;
        let mut text = Vec::new();
        entry.take(CODE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
        if text.windows(WORD.len()).any(|part| part == WORD) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Code of one class that is looked through; that of large networks takes some hundred kilobytes.
const CODE_BYTES_MAX: u64 = 16 << 20;

/// The first entry of an archive whose name fits.
pub(crate) fn entry<R: io::Read + io::Seek>(archive: &ZipArchive<R>, fits: impl Fn(&str) -> bool) -> Option<String> {
    archive.file_names().filter_map(Result::ok).find(|name| fits(name)).map(|name| name.into_owned())
}

/// The folder that everything in a module's archive lies in.
pub(crate) fn folder<R: io::Read + io::Seek>(archive: &ZipArchive<R>) -> Option<String> {
    let entry = entry(archive, |name| name.contains('/'))?;
    entry.split_once('/').map(|(folder, _)| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            schema: SCHEMA.to_owned(),
            runtime: "torchscript".to_owned(),
            engine: "fbgemm".to_owned(),
            technique: "static-fbgemm".to_owned(),
            input_shape: vec![1, 8, 8, 1],
            input_dtype: "float32".to_owned(),
            class_count: 10,
            parameter_count: Some(7),
            mac_count: None,
        }
    }

    fn module(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("module.pt");
        let mut writer = ZipWriter::new(File::create(&path).expect("created"));
        for (name, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).expect("starts");
            writer.write_all(content).expect("written");
        }
        writer.finish().expect("finished");
        path
    }

    #[test]
    fn a_card_that_was_added_is_read_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = module(folder.path(), &[("archive/data.pkl", b"pickle"), ("archive/code/x.py", b"code")]);
        assert!(matches!(read(&path), Err(CardError::Missing { .. })));
        add(&path, &card()).expect("added");
        assert_eq!(read(&path).expect("read"), card());
        let mut archive = ZipArchive::new(File::open(&path).expect("opened")).expect("an archive");
        let mut text = String::new();
        archive.by_name("archive/data.pkl").expect("kept").read_to_string(&mut text).expect("read");
        assert_eq!(text, "pickle");
    }

    #[test]
    fn what_is_no_card_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = module(folder.path(), &[("archive/extra/tinywatt.json", b"{")]);
        assert!(matches!(read(&path), Err(CardError::Unreadable { .. })));
        let other = serde_json::to_vec(&ModelCard { schema: "other.v9".to_owned(), ..card() }).expect("JSON");
        let path = module(folder.path(), &[("archive/extra/tinywatt.json", &other)]);
        assert!(read(&path).expect_err("another schema").to_string().contains("other.v9"));
        let path = folder.path().join("notes.pt");
        std::fs::write(&path, "just notes").expect("written");
        assert!(matches!(read(&path), Err(CardError::NotAModule { .. })));
        assert!(matches!(read(Path::new("/nowhere.pt")), Err(CardError::Open { .. })));
    }
}
