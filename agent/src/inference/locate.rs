//! Where LiteRT's library may be, in the order in which it is looked for.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::release::{LIBRARY, VERSION};

/// Environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "TINYWATT_LITERT";

/// What the surroundings of the process say about the library. Only `main` can read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Value of [`LIBRARY_VARIABLE`].
    pub variable: Option<PathBuf>,
    /// The running program.
    pub executable: Option<PathBuf>,
    /// Folder for things that can be fetched again.
    pub cache_home: Option<PathBuf>,
}

/// Who named a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `litert_library` in the configuration.
    Configuration,
    /// The environment variable.
    Variable,
    /// The folder of the program.
    BesideProgram,
    /// The user's cache.
    Cache,
}

/// The library is not there.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A place was named, and nothing is there. Another library would not be the one that was asked for.
    #[error(
        "no LiteRT library at {path}, which {place} names: correct it, or remove it to use the one that `agent runtime install` installs"
    )]
    Named {
        /// Who named it.
        place: Place,
        /// The path.
        path: PathBuf,
    },
    /// Nobody named a place, and the usual places are empty.
    #[error("no LiteRT library: looked {}; `agent runtime install` fetches it", list(looked))]
    Nowhere {
        /// Places and paths.
        looked: Vec<(Place, PathBuf)>,
    },
}

impl Surroundings {
    /// Reads the surroundings through `variable`, which gives the value of an environment variable.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>, executable: Option<PathBuf>) -> Self {
        // An empty variable counts as not set, and a relative cache folder is to be ignored (XDG base directories).
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg = path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let cache_home = xdg.or_else(|| path("HOME").map(|home| home.join(".cache")));
        Self { variable: path(LIBRARY_VARIABLE), executable, cache_home }
    }

    /// Where `agent runtime install` puts the library; `None` without a home folder.
    pub fn cached_library(&self) -> Option<PathBuf> {
        Some(self.cache_home.as_ref()?.join("tinywatt/litert").join(VERSION).join(LIBRARY))
    }

    /// Finds the library.
    ///
    /// # Errors
    /// Any [`LocateError`]; it lists every place that was looked at.
    pub fn find_library(&self, configured: Option<&Path>) -> Result<PathBuf, LocateError> {
        let named = configured.map(|path| (Place::Configuration, path));
        let named = named.or_else(|| self.variable.as_deref().map(|path| (Place::Variable, path)));
        if let Some((place, path)) = named {
            let path = path.to_owned();
            return if path.exists() { Ok(path) } else { Err(LocateError::Named { place, path }) };
        }
        let beside = self.executable.as_deref().and_then(Path::parent).map(|folder| folder.join(LIBRARY));
        let places = [(Place::BesideProgram, beside), (Place::Cache, self.cached_library())];
        let looked: Vec<_> = places.into_iter().filter_map(|(place, path)| Some((place, path?))).collect();
        let found = looked.iter().find(|(_, path)| path.exists()).map(|(_, path)| path.clone());
        found.ok_or(LocateError::Nowhere { looked })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "`litert_library` in the configuration",
            Self::Variable => "the environment variable TINYWATT_LITERT",
            Self::BesideProgram => "beside the program",
            Self::Cache => "in the user's cache",
        })
    }
}

/// Prints every place; the configuration and the variable named none, or the error would be another one.
fn list(looked: &[(Place, PathBuf)]) -> String {
    let mut text = format!("into {} and {} (both name none)", Place::Configuration, Place::Variable);
    for (place, path) in looked {
        text.push_str(&format!(", {place} ({})", path.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
        surroundings: Surroundings,
    }

    fn scene() -> Scene {
        let folder = tempfile::tempdir().expect("temporary folder");
        let root = folder.path().to_owned();
        let variables = move |name: &str| match name {
            "HOME" => Some(root.join("home").into_os_string()),
            _ => None,
        };
        let surroundings = Surroundings::read(variables, Some(folder.path().join("bin/agent")));
        Scene { folder, surroundings }
    }

    impl Scene {
        fn put(&self, path: &str) -> PathBuf {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("has a folder")).expect("made");
            std::fs::write(&path, b"").expect("written");
            path
        }
    }

    #[test]
    fn the_order_is_configuration_variable_program_cache() {
        let mut scene = scene();
        let cached = scene.put("home/.cache/tinywatt/litert/2.3.0/libLiteRt.so");
        assert_eq!(scene.surroundings.find_library(None).expect("cached"), cached);
        let beside = scene.put("bin/libLiteRt.so");
        assert_eq!(scene.surroundings.find_library(None).expect("beside"), beside);
        let named = scene.put("variable.so");
        scene.surroundings.variable = Some(named.clone());
        assert_eq!(scene.surroundings.find_library(None).expect("named"), named);
        let configured = scene.put("configured.so");
        assert_eq!(scene.surroundings.find_library(Some(&configured)).expect("configured"), configured);
    }

    #[test]
    fn nothing_found_lists_every_place_and_the_way_out() {
        let text = scene().surroundings.find_library(None).expect_err("empty").to_string();
        for part in ["litert_library", "TINYWATT_LITERT", "bin/libLiteRt.so", "home/.cache", "agent runtime install"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn a_named_library_that_is_not_there_is_not_replaced_by_another() {
        let mut scene = scene();
        scene.put("bin/libLiteRt.so");
        let missing = scene.folder.path().join("missing.so");
        let error = scene.surroundings.find_library(Some(&missing)).expect_err("missing");
        assert!(matches!(error, LocateError::Named { place: Place::Configuration, .. }));
        scene.surroundings.variable = Some(missing);
        let error = scene.surroundings.find_library(None).expect_err("missing");
        assert!(matches!(error, LocateError::Named { place: Place::Variable, .. }));
    }

    #[test]
    fn the_cache_follows_xdg_and_needs_no_home() {
        let variables = |name: &str| (name == "XDG_CACHE_HOME").then(|| OsString::from("/cache"));
        let surroundings = Surroundings::read(variables, None);
        assert_eq!(surroundings.cached_library(), Some("/cache/tinywatt/litert/2.3.0/libLiteRt.so".into()));
        let bare = Surroundings::read(|_| Some(OsString::new()), None);
        assert_eq!(bare.cached_library(), None);
        assert!(bare.find_library(None).is_err());
    }
}
