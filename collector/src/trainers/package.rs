//! The trainers' Python package as the program carries it.

use sha2::Digest;

/// A file of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Relative to the package's folder, with slashes.
    pub path: &'static str,
    /// What it holds.
    pub content: &'static [u8],
}

/// The package: sources under `src/`, and for each trainer the file `requirements-NAME.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Sorted by path.
    pub files: &'static [File],
}

/// The package that the program carries.
pub const PACKAGE: Package = Package { files: include!(concat!(env!("OUT_DIR"), "/trainers_files.rs")) };

/// Where architectures stand.
const ARCHITECTURES: &str = "src/tinywatt_trainers/architectures/";

impl Package {
    /// Names of the trainers, sorted: those with sources of their own. Other requirements are for who works on them.
    pub fn trainers(self) -> impl Iterator<Item = &'static str> {
        let named = self.files.iter().filter_map(|file| file.path.strip_prefix("requirements-")?.strip_suffix(".txt"));
        named.filter(move |name| {
            let sources = format!("src/tinywatt_trainers/{name}/");
            self.files.iter().any(|file| file.path.starts_with(&sources))
        })
    }

    /// What pip is to install for a trainer.
    pub fn requirements(self, trainer: &str) -> Option<File> {
        let name = self.trainers().find(|name| *name == trainer)?;
        self.files.iter().copied().find(|file| file.path == format!("requirements-{name}.txt"))
    }

    /// Names of the architectures, sorted.
    pub fn architectures(self) -> impl Iterator<Item = &'static str> {
        self.files.iter().filter_map(|file| file.path.strip_prefix(ARCHITECTURES)?.strip_suffix(".json"))
    }

    /// The description of an architecture.
    pub fn architecture(self, name: &str) -> Option<&'static [u8]> {
        let path = format!("{ARCHITECTURES}{name}.json");
        self.files.iter().find(|file| file.path == path).map(|file| file.content)
    }

    /// The first twelve digits of a SHA-256 over the sources, enough to tell two releases apart.
    pub(super) fn sources_hash(self) -> String {
        let mut hasher = sha2::Sha256::new();
        for file in self.sources() {
            for part in [file.path.as_bytes(), file.content] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        short(hasher)
    }

    /// Everything but the requirements.
    pub(super) fn sources(self) -> impl Iterator<Item = &'static File> {
        self.files.iter().filter(|file| file.path.starts_with("src/"))
    }
}

/// The first twelve digits of a file's SHA-256.
pub(super) fn hash(content: &[u8]) -> String {
    short(sha2::Sha256::new_with_prefix(content))
}

fn short(hasher: sha2::Sha256) -> String {
    let mut digits = tinywatt_proto::ids::Sha256(hasher.finalize().into()).to_string();
    digits.truncate(12);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_package_is_whole() {
        let names: Vec<_> = PACKAGE.architectures().collect();
        for wanted in ["cifar10-study", "digits-tiny", "resnet8", "svhn-study"] {
            assert!(names.contains(&wanted), "{names:?}");
        }
        assert!(PACKAGE.files.iter().any(|file| file.path == "src/tinywatt_trainers/__main__.py"));
        assert_eq!(PACKAGE.trainers().collect::<Vec<_>>(), ["keras", "torch"]);
        assert!(PACKAGE.files.iter().all(|file| !file.path.contains("__pycache__")));
        assert!(PACKAGE.files.windows(2).all(|pair| pair[0].path < pair[1].path));
    }

    #[test]
    fn a_changed_source_is_another_package() {
        const A: Package = Package { files: &[File { path: "src/a.py", content: b"1" }] };
        const B: Package = Package { files: &[File { path: "src/a.py", content: b"2" }] };
        assert_ne!(A.sources_hash(), B.sources_hash());
        assert_eq!(A.sources_hash().len(), 12);
    }
}
