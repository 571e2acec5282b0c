//! The one release of LiteRT that this agent knows, and how it is told from others.
//!
//! The library states no version, and its functions changed their arguments without changing their names between
//! releases. A guess could call into the wrong place; so a library is known by the SHA-256 of its file, and checked
//! before a single instruction of it is executed. The figures of a report then name one exact build.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::Digest;
use tinywatt_proto::ids::Sha256;

/// Version of the release.
pub const VERSION: &str = "2.3.0";

/// Python package that carries the library.
pub const PACKAGE: &str = "ai-edge-litert";

/// File name of the library, in the package and in the cache.
pub const LIBRARY: &str = "libLiteRt.so";

/// Path of the library in the package's wheel.
pub const LIBRARY_IN_WHEEL: &str = "ai_edge_litert/libLiteRt.so";

/// The release for one kind of machine. One fixed wheel serves every Python version: only its library is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Machine as `std::env::consts::ARCH` names it.
    pub machine: &'static str,
    /// Platform tag of the wheel.
    pub platform: &'static str,
    /// File name of the wheel.
    pub wheel: &'static str,
    /// SHA-256 of the wheel.
    pub wheel_sha256: &'static str,
    /// SHA-256 of the library in it.
    pub library_sha256: &'static str,
}

/// All builds of the release.
pub const BUILDS: [Build; 2] = [
    Build {
        machine: "x86_64",
        platform: "manylinux_2_27_x86_64",
        wheel: "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_x86_64.whl",
        wheel_sha256: "1f15078a6725d2357d9de9221664c29afa0545d807559c5f7199ce5e40b96b23",
        library_sha256: "eec47eb35e2924b3166015887e652a58edc9af823ae38e02bf83bef2548300bb",
    },
    Build {
        machine: "aarch64",
        platform: "manylinux_2_27_aarch64",
        wheel: "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_aarch64.whl",
        wheel_sha256: "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae",
        library_sha256: "b57687dc234d2b8b0598aef5a9c961ed24263df8f8b3f56adbee1cff618e544b",
    },
];

/// Libraries of other releases (x86_64), known only to be called by their name when they are refused.
const OTHERS: [(&str, &str); 4] = [
    ("2.1.4", "c590f1124053ce6d2ceaef6d1174af15f8103a76872059414d18ff2e9cfaf681"),
    ("2.1.5", "2ae8d72e96a75d4b4fcf70d682d664ad081927d9c2fa4c34b90916014d0aadc2"),
    ("2.1.6", "d46eca60880d6e28c1992d136459f06ab642e30eb423bdc14d56e928f398ce19"),
    ("2.2.0", "0eb5067e9fc86a622953fd3fb077db95b1010e5e5fd4dc5d31ec52bcd045c9fd"),
];

/// Every LiteRT library exports this function; nothing else does.
const TELLTALE: &[u8] = b"\0LiteRtCreateCompiledModel\0";

/// A file is not the library of the release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The file cannot be read.
    #[error("failed to read the LiteRT library {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no shared library at all.
    #[error("{path} is not a shared library; `agent runtime install` fetches LiteRT {VERSION}")]
    NotALibrary {
        /// The file.
        path: PathBuf,
    },
    /// The file is some other shared library.
    #[error("{path} is a shared library, but not LiteRT; `agent runtime install` fetches LiteRT {VERSION}")]
    NotLiteRt {
        /// The file.
        path: PathBuf,
    },
    /// LiteRT of another release.
    #[error(
        "{path} is LiteRT {found}, and this agent knows {VERSION} only (others take other arguments under the same \
         names): `agent runtime install` fetches it; then point the configuration and TINYWATT_LITERT elsewhere or \
         nowhere"
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// What is known of it.
        found: String,
    },
    /// The release, built for another machine.
    #[error("{path} is LiteRT {VERSION} for {found}, and this machine is {}", std::env::consts::ARCH)]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// Machine that it is for.
        found: &'static str,
    },
}

/// The build for a machine as `std::env::consts::ARCH` names it; `None` where there is none.
pub fn build_for(machine: &str) -> Option<&'static Build> {
    BUILDS.iter().find(|build| build.machine == machine)
}

/// Checks that a file is the library of the release for this machine.
///
/// # Errors
/// Any [`ReleaseError`].
pub fn check(path: &Path) -> Result<&'static Build, ReleaseError> {
    let read = |source| ReleaseError::Read { path: path.to_owned(), source };
    let sha256 = sha256_of_file(path).map_err(read)?;
    let text = sha256.to_string();
    if let Some(build) = BUILDS.iter().find(|build| build.library_sha256 == text) {
        let fits = build.machine == std::env::consts::ARCH;
        let other = || ReleaseError::OtherMachine { path: path.to_owned(), found: build.machine };
        return fits.then_some(build).ok_or_else(other);
    }
    let content = std::fs::read(path).map_err(read)?;
    let path = path.to_owned();
    if !content.starts_with(b"\x7fELF") {
        return Err(ReleaseError::NotALibrary { path });
    }
    if !content.windows(TELLTALE.len()).any(|bytes| bytes == TELLTALE) {
        return Err(ReleaseError::NotLiteRt { path });
    }
    let named = OTHERS.iter().find(|(_, other)| *other == text).map(|(version, _)| (*version).to_owned());
    let found = named.unwrap_or_else(|| format!("of an unknown version or build (SHA-256 {text})"));
    Err(ReleaseError::OtherVersion { path, found })
}

/// SHA-256 of a file, read piece by piece, so that it leaves no trace in the process's peak memory.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of_file(path: &Path) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut piece = [0u8; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Sha256(hash.finalize().into())),
            count => hash.update(&piece[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(content: &[u8]) -> ReleaseError {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join(LIBRARY);
        std::fs::write(&path, content).expect("written");
        check(&path).expect_err("not the release")
    }

    #[test]
    fn every_checksum_is_one() {
        for build in BUILDS {
            assert!(build.wheel_sha256.parse::<Sha256>().is_ok());
            assert!(build.library_sha256.parse::<Sha256>().is_ok());
            assert!(build.wheel.ends_with(&format!("{}.whl", build.platform)) && build.wheel.contains(VERSION));
        }
    }

    #[test]
    fn what_is_no_library_is_refused_without_running_it() {
        assert!(matches!(check_bytes(b"#!/bin/sh\n"), ReleaseError::NotALibrary { .. }));
        assert!(matches!(check_bytes(b""), ReleaseError::NotALibrary { .. }));
        assert!(matches!(check_bytes(b"\x7fELF and then nothing"), ReleaseError::NotLiteRt { .. }));
    }

    #[test]
    fn another_build_is_refused_with_its_checksum_and_the_way_out() {
        let text = check_bytes(b"\x7fELF...\0LiteRtCreateCompiledModel\0...").to_string();
        assert!(text.contains("SHA-256") && text.contains("agent runtime install") && text.contains(VERSION), "{text}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = check(Path::new("/nowhere/libLiteRt.so")).expect_err("not there");
        assert!(error.to_string().contains("/nowhere/libLiteRt.so"), "{error}");
    }
}
