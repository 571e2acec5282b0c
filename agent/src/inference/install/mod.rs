//! Fetches LiteRT's library once, from the official Python package into the user's cache.
//!
//! The machine's own Python does the fetching, so that its mirror, proxy and certificates apply and this program needs
//! no TLS. Nothing is believed: the wheel and the library in it must have the checksums of [`release`].

mod fetch;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use self::fetch::FetchError;
use super::release::{self, Build, LIBRARY_IN_WHEEL, VERSION};

/// Largest library that is unpacked, bytes. The pinned ones have 6 and 8 MB; more is not what was asked for.
const LIBRARY_BYTES_MAX: u64 = 64 << 20;

/// Where the wheel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The Python package index that the machine is set up for.
    Index,
    /// A wheel that somebody has brought. Only the library in it is checked: the package's wheels for all Python
    /// versions carry the same one.
    Wheel(PathBuf),
}

/// What came of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The library was there, and is the right one.
    Already,
    /// The library was fetched.
    Now,
}

/// The library could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The release has no build for this machine.
    #[error("LiteRT {VERSION} exists for x86_64 and aarch64 Linux, and this machine is {machine}")]
    Machine {
        /// This machine.
        machine: String,
    },
    /// A folder or file of the cache cannot be written.
    #[error("failed to write {path}: is it writable, and is there room for 40 MB?")]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The wheel could not be fetched.
    #[error(
        "failed to fetch {wheel}; on a machine without a way to the index, bring a wheel of {} {VERSION} and give it \
         with `agent runtime install --from WHEEL`",
        release::PACKAGE
    )]
    Fetch {
        /// File name of the wheel.
        wheel: &'static str,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The wheel cannot be read.
    #[error("failed to read the wheel {path}")]
    Read {
        /// The wheel.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The wheel is damaged, or no wheel of the package.
    #[error("{path} is not a whole wheel with {LIBRARY_IN_WHEEL} in it")]
    Unpack {
        /// The wheel.
        path: PathBuf,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// A file is not the one that was asked for.
    #[error(
        "{what} has SHA-256 {found}, and {expected} was expected: it is damaged, or another file; nothing was installed"
    )]
    Checksum {
        /// The file.
        what: String,
        /// What it should have.
        expected: &'static str,
        /// What it has.
        found: String,
    },
}

/// Puts the library of `build` at `target`. Nothing is there, or the whole library: it comes by rename.
///
/// # Errors
/// Any [`InstallError`].
pub fn install(build: &'static Build, target: &Path, origin: &Origin) -> Result<Installed, InstallError> {
    let there = release::sha256_of_file(target).is_ok_and(|sha256| sha256.to_string() == build.library_sha256);
    if there {
        return Ok(Installed::Already);
    }
    let folder = target.parent().unwrap_or(Path::new("/"));
    let write = |source| InstallError::Write { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(write)?;
    // Beside the target, so that the rename stays within one file system; removed when it is dropped.
    let scratch = tempfile::Builder::new().prefix(".install-").tempdir_in(folder).map_err(write)?;
    let wheel = match origin {
        Origin::Wheel(wheel) => wheel.clone(),
        Origin::Index => {
            let failed = |source| InstallError::Fetch { wheel: build.wheel, source };
            let wheel = fetch::wheel(build, scratch.path()).map_err(failed)?;
            check(build.wheel.to_owned(), &wheel, build.wheel_sha256)?;
            wheel
        }
    };
    let unpacked = scratch.path().join(release::LIBRARY);
    unpack(&wheel, &unpacked)?;
    check(format!("{LIBRARY_IN_WHEEL} of {}", wheel.display()), &unpacked, build.library_sha256)?;
    fs::rename(&unpacked, target).map_err(write)?;
    Ok(Installed::Now)
}

/// The build for this machine.
///
/// # Errors
/// When the release has none.
pub fn build_here() -> Result<&'static Build, InstallError> {
    let machine = if cfg!(target_os = "linux") { std::env::consts::ARCH } else { std::env::consts::OS };
    release::build_for(machine).ok_or_else(|| InstallError::Machine { machine: machine.to_owned() })
}

fn check(what: String, path: &Path, expected: &'static str) -> Result<(), InstallError> {
    let read = |source| InstallError::Read { path: path.to_owned(), source };
    let found = release::sha256_of_file(path).map_err(read)?.to_string();
    if found == expected { Ok(()) } else { Err(InstallError::Checksum { what, expected, found }) }
}

fn unpack(wheel: &Path, target: &Path) -> Result<(), InstallError> {
    let read = |source| InstallError::Read { path: wheel.to_owned(), source };
    let damaged = |source| InstallError::Unpack { path: wheel.to_owned(), source };
    let write = |source| InstallError::Write { path: target.to_owned(), source };
    let mut archive = zip::ZipArchive::new(File::open(wheel).map_err(read)?).map_err(damaged)?;
    let member = archive.by_name(LIBRARY_IN_WHEEL).map_err(damaged)?;
    let mut member = io::Read::take(member, LIBRARY_BYTES_MAX);
    let mut file = File::create(target).map_err(write)?;
    // A member whose bytes cannot be unpacked and a disk that is full arrive alike; only the first is `InvalidData`.
    io::copy(&mut member, &mut file).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => read(source),
        _ => write(source),
    })?;
    file.sync_all().map_err(write)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("temporary folder") }
        }

        fn wheel(&self, member: &str, content: &[u8]) -> Origin {
            let path = self.folder.path().join("some.whl");
            let mut archive = zip::ZipWriter::new(File::create(&path).expect("made"));
            archive.start_file(member, zip::write::SimpleFileOptions::default()).expect("begun");
            archive.write_all(content).expect("written");
            archive.finish().expect("finished");
            Origin::Wheel(path)
        }

        fn target(&self) -> PathBuf {
            self.folder.path().join("cache/2.3.0/libLiteRt.so")
        }

        fn files(&self) -> usize {
            fs::read_dir(self.target().parent().expect("has a folder")).expect("there").count()
        }
    }

    /// A build whose library is "library".
    fn build() -> &'static Build {
        const BUILD: Build = Build {
            library_sha256: "b718f1354f7247312eca086d9a024afe5fa717ddea5adeddd6f12bcf945b2e8c",
            ..release::BUILDS[0]
        };
        &BUILD
    }

    #[test]
    fn the_library_of_a_wheel_is_installed_once() {
        let scene = Scene::new();
        let wheel = scene.wheel(LIBRARY_IN_WHEEL, b"library");
        assert_eq!(install(build(), &scene.target(), &wheel).expect("fits"), Installed::Now);
        assert_eq!(fs::read(scene.target()).expect("there"), b"library");
        assert_eq!(install(build(), &scene.target(), &wheel).expect("there"), Installed::Already);
        assert_eq!(scene.files(), 1, "nothing is left behind");
    }

    #[test]
    fn a_damaged_library_in_the_cache_is_replaced() {
        let scene = Scene::new();
        fs::create_dir_all(scene.target().parent().expect("has a folder")).expect("made");
        fs::write(scene.target(), b"libr").expect("written");
        let wheel = scene.wheel(LIBRARY_IN_WHEEL, b"library");
        assert_eq!(install(build(), &scene.target(), &wheel).expect("fits"), Installed::Now);
        assert_eq!(fs::read(scene.target()).expect("there"), b"library");
    }

    #[test]
    fn another_library_is_refused_with_both_checksums_and_leaves_nothing() {
        let scene = Scene::new();
        let wheel = scene.wheel(LIBRARY_IN_WHEEL, b"another");
        let text = install(build(), &scene.target(), &wheel).expect_err("another").to_string();
        let found = tinywatt_proto::ids::Sha256::of(b"another").to_string();
        assert!(text.contains(build().library_sha256) && text.contains(&found), "{text}");
        assert_eq!(scene.files(), 0);
    }

    #[test]
    fn what_is_no_wheel_of_the_package_is_named() {
        let scene = Scene::new();
        let other = scene.wheel("other/member", b"library");
        assert!(matches!(install(build(), &scene.target(), &other), Err(InstallError::Unpack { .. })));
        let Origin::Wheel(path) = other else { unreachable!() };
        fs::write(&path, b"PK not really").expect("written");
        assert!(matches!(
            install(build(), &scene.target(), &Origin::Wheel(path.clone())),
            Err(InstallError::Unpack { .. })
        ));
        fs::remove_file(&path).expect("removed");
        let error = install(build(), &scene.target(), &Origin::Wheel(path)).expect_err("missing");
        assert!(error.to_string().contains("some.whl"), "{error}");
    }

    #[test]
    fn a_wheel_cut_anywhere_installs_nothing() {
        let scene = Scene::new();
        let Origin::Wheel(path) = scene.wheel(LIBRARY_IN_WHEEL, b"library") else { unreachable!() };
        let whole = fs::read(&path).expect("there");
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).expect("written");
            assert!(install(build(), &scene.target(), &Origin::Wheel(path.clone())).is_err(), "cut at {end}");
            assert!(!scene.target().exists());
        }
    }

    #[test]
    fn a_cache_that_cannot_be_made_is_named() {
        let scene = Scene::new();
        let wheel = scene.wheel(LIBRARY_IN_WHEEL, b"library");
        fs::write(scene.folder.path().join("cache"), b"a file in the way").expect("written");
        let text = install(build(), &scene.target(), &wheel).expect_err("in the way").to_string();
        assert!(text.contains("cache/2.3.0"), "{text}");
    }
}
