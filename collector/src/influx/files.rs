//! The folder that holds what people and `collector serve` need: secrets, readable by their owner alone, and `influx.toml`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ServerUrl, Token, TokenError};

/// Name of the file for `collector serve --influx`.
const SETTINGS_FILE: &str = "influx.toml";

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be written.
    #[error("failed to write {path}: is it writable? --out names another folder", path = path.display())]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings cannot be read.
    #[error("failed to read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings are none.
    #[error("{path} does not tell of a server: mend it, or remove it and it is made anew", path = path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

/// Of `influx.toml`, what says which server is meant. It may hold other keys, which are the sink's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Address of the server.
    #[serde(deserialize_with = "server_url")]
    pub url: ServerUrl,
    /// Its organisation.
    pub org: String,
    /// Bucket of results.
    pub bucket: String,
    /// Bucket of samples.
    pub samples_bucket: String,
}

fn server_url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ServerUrl, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// The end of `influx.toml`: what may be changed, with the defaults of a server on another machine.
const FURTHER: &str = "\
\n# What is changed here holds from the collector's next start on; `collector sink rebuild` then writes the past again.\n\
# Every reading of the sensors. false: decimated samples alone.\n\
# raw = true\n\
# Points a second that readings are made into besides, for curves over hours. 0: none.\n\
# decimated_hz = 10.0\n\
# Whether requests are compressed; by default unless InfluxDB is on this machine.\n\
# gzip = true\n\
# How long a request may take before it is tried again.\n\
# timeout = \"20s\"\n";

impl Folder {
    /// The folder at this path, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where a file of this name is or will be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where `influx.toml` is or will be.
    pub fn settings_path(&self) -> PathBuf {
        self.path(SETTINGS_FILE)
    }

    /// What `influx.toml` says, if it is there.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn settings(&self) -> Result<Option<Settings>, FileError> {
        let path = self.settings_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Read { path, source }),
        };
        let read = toml::from_str(&text).map(Some);
        read.map_err(|source| FileError::Settings { path, source: Box::new(source) })
    }

    /// Writes `influx.toml`; the token's file lies beside it. What may be changed stands there with its default.
    pub(super) fn write_settings(&self, settings: &Settings, token_file: &str) -> Result<(), FileError> {
        let string = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let text = format!(
            "# InfluxDB for `collector serve --influx FILE`. Made by `collector influx init`, and yours to change from now on.\n\
             url = {}\n\
             org = {}\n\
             # What is small and kept: results, windows, the state of nodes.\n\
             bucket = {}\n\
             # What is large and expires: samples.\n\
             samples_bucket = {}\n\
             # May write to both buckets and read nothing. A relative path begins at this file.\n\
             token_file = {}\n\
             {FURTHER}",
            string(&settings.url.to_string()),
            string(&settings.org),
            string(&settings.bucket),
            string(&settings.samples_bucket),
            string(token_file),
        );
        self.write(SETTINGS_FILE, &text, 0o644)
    }

    /// The secret in this file, if the file is there.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Token>, TokenError> {
        match Token::read(&self.path(name)) {
            Ok(token) => Ok(Some(token)),
            Err(TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether others than its owner may read a file.
    pub(super) fn is_open(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    }

    /// Puts a secret into a file that its owner alone can read.
    pub(super) fn write_secret(&self, name: &str, secret: &Token) -> Result<(), FileError> {
        self.write(name, &format!("{}\n", secret.secret()), 0o600)
    }

    /// Complete or not at all, on the disk before anything relies on it.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), FileError> {
        let path = self.path(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FileError::Write { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0))?;
        let part = self.path(&format!("{name}.part"));
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&part)(error)),
            _ => {}
        }
        // A new file has this mode from its first moment on.
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part);
        let mut file = file.map_err(failed(&part))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed(&part))?;
        fs::rename(&part, &path).map_err(failed(&path))?;
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(failed(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SinkConfig;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_their_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("a/b"));
        assert_eq!(folder.secret("write.token").unwrap(), None);
        for text in ["first", "second"] {
            let token = Token::new(text).unwrap();
            folder.write_secret("write.token", &token).unwrap();
            assert_eq!(folder.secret("write.token").unwrap(), Some(token));
        }
        assert_eq!(mode(&folder.path("write.token")), 0o600);
        assert_eq!(mode(&place.path().join("a/b")), 0o700);
        assert!(!folder.is_open("write.token"));
        assert_eq!(fs::read_dir(place.path().join("a/b")).unwrap().count(), 1, "nothing else is left there");
        fs::set_permissions(folder.path("write.token"), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(folder.is_open("write.token"));
    }

    #[test]
    fn settings_are_read_back_as_they_were_meant_whatever_else_is_there() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().to_owned());
        assert_eq!(folder.settings().unwrap(), None);
        let settings = Settings {
            url: "https://host/influx".parse().unwrap(),
            org: "our \"lab\" \\ ü".to_owned(),
            bucket: "b".to_owned(),
            samples_bucket: "'s'".to_owned(),
        };
        folder.write_settings(&settings, "write.token").unwrap();
        let text = fs::read_to_string(folder.settings_path()).unwrap();
        assert!(text.contains("token_file = \"write.token\"\n"), "{text}");
        fs::write(folder.settings_path(), format!("{text}\nraw = true\n")).unwrap();
        assert_eq!(folder.settings().unwrap(), Some(settings));
        // What stands there as a comment is what holds without it.
        let as_it_is = SinkConfig::read(&folder.settings_path(), None).unwrap();
        let spelt_out = text.replace("\n# raw", "\nraw").replace("\n# decimated_hz", "\ndecimated_hz");
        let spelt_out = spelt_out.replace("\n# gzip", "\ngzip").replace("\n# timeout", "\ntimeout");
        assert_eq!(spelt_out.matches("\n#").count() + 4, text.matches("\n#").count());
        fs::write(folder.settings_path(), spelt_out).unwrap();
        assert_eq!(SinkConfig::read(&folder.settings_path(), None).unwrap(), as_it_is);
    }

    #[test]
    fn settings_that_are_none_are_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().to_owned());
        let good = "url = \"http://h\"\norg = \"o\"\nbucket = \"b\"\nsamples_bucket = \"s\"\n";
        for bad in ["url = ", "org = \"o\"", &good.replace("http://h", "h"), &good.replace("\"b\"", "1")] {
            fs::write(folder.settings_path(), bad).unwrap();
            let error = folder.settings().unwrap_err().to_string();
            assert!(error.contains("influx.toml does not tell of a server"), "{error}");
        }
    }
}
