//! Where the data of a command go: standard output, or a file that is only there when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Takes text in pieces.
pub(super) enum Output {
    Standard,
    File { part: PathBuf, path: PathBuf, writer: BufWriter<File> },
}

impl Output {
    /// Opens a file, or standard output when there is none.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Standard) };
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let file = File::create(&part)
            .with_context(|| format!("{} cannot be written; choose another --output", path.display()))?;
        Ok(Self::File { part, path: path.to_owned(), writer: BufWriter::new(file) })
    }

    /// Takes a piece. `false` when the reader has left and wants no more, as `head` does.
    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<bool> {
        match self {
            Self::Standard => match io::stdout().lock().write_all(text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
                written => written.map(|()| true).context("standard output cannot be written"),
            },
            Self::File { part, writer, .. } => {
                let written = writer.write_all(text.as_bytes()).map(|()| true);
                written.with_context(|| format!("{} cannot be written", part.display()))
            }
        }
    }

    /// Makes the file appear under its name.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Standard => match io::stdout().lock().flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).context("standard output cannot be written")
                }
                _ => Ok(()),
            },
            Self::File { part, path, mut writer } => {
                let written = writer.flush().and_then(|()| fs::rename(&part, &path));
                written.with_context(|| format!("{} cannot be written", path.display()))
            }
        }
    }
}

/// Prints a text to standard output.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    output.write(text)?;
    output.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::TempDir::new().expect("temporary folder");
        let path = folder.path().join("report.md");
        let mut output = Output::open(Some(&path)).expect("writable");
        assert!(output.write("a").expect("writable"));
        assert!(!path.exists());
        assert!(output.write("b").expect("writable"));
        output.finish().expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("there"), "ab");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }
}
