//! Which PyTorch was loaded, and its part for GPUs.
//!
//! The system may load another library than the build linked (`LD_LIBRARY_PATH`, a folder that was updated). So the
//! library itself is asked, and what it says is what is reported.

#![expect(unsafe_code, reason = "a C++ library cannot be called otherwise")]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tinywatt_agent::inference::package;

/// Version of PyTorch that the programs were built with.
pub const BUILT: &str = env!("TINYWATT_TORCH_VERSION");

/// PyTorch's library for GPUs, beside the one that is linked.
const CUDA: &str = "libtorch_cuda.so";

/// The library says some two thousand.
const CONFIG_BYTES_MAX: usize = 64 << 10;

/// PyTorch cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Another release than that of the build: its classes are laid out in another way.
    #[error(
        "{library} is PyTorch {found}, and this program was built with {BUILT}: correct LD_LIBRARY_PATH, or build the \
         program anew with LIBTORCH naming that one"
    )]
    Other {
        /// The library.
        library: PathBuf,
        /// Its version.
        found: String,
    },
    /// This PyTorch is one for CPUs alone.
    #[error(
        "the job asks for a GPU, and {folder} has no {CUDA}: build with LIBTORCH naming a PyTorch for CUDA, or train with \
         device = \"cpu\""
    )]
    NoCuda {
        /// Folder of the library.
        folder: PathBuf,
    },
    /// The library for GPUs cannot be loaded.
    #[error(
        "the job asks for a GPU, and {library} does not load: {problem}; see `ldd`, or train with device = \"cpu\""
    )]
    Load {
        /// The library.
        library: PathBuf,
        /// The system's words.
        problem: String,
    },
    /// It takes no order to be deterministic.
    #[error("PyTorch {} does not let itself be made deterministic, so a seed would decide nothing", version())]
    Random,
}

// SAFETY: as in `bridge.cpp`, which is compiled with this crate.
unsafe extern "C" {
    fn tinywatt_torch_library() -> *const c_char;
    fn tinywatt_torch_config(to: *mut u8, size: usize) -> usize;
    fn tinywatt_torch_load(path: *const c_char) -> *const c_char;
    safe fn tinywatt_torch_be_deterministic() -> bool;
    safe fn tinywatt_torch_keep_memory();
}

/// Version of the library that was loaded; "unknown" when it tells none.
///
/// PyTorch decides the first time it is asked for its build whether it has a part for GPUs: [`load_cuda`] comes before.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let library = path();
        let packaged = library.as_deref().and_then(|path| package::version(path.parent()?.parent()?));
        whole_version(number_in(&config()), packaged).unwrap_or_else(|| "unknown".to_owned())
    })
}

/// Refuses a library of another release than that of the build.
///
/// # Errors
/// [`LibraryError::Other`].
pub fn check() -> Result<(), LibraryError> {
    compare(version(), path())
}

fn compare(found: &str, library: Option<PathBuf>) -> Result<(), LibraryError> {
    if release(found).is_some() && release(found) == release(BUILT) {
        return Ok(());
    }
    let library = library.unwrap_or_else(|| "the library that was loaded".into());
    Err(LibraryError::Other { library, found: found.to_owned() })
}

/// Loads PyTorch's part for GPUs. Nobody calls it by name, so that a linker leaves it out; and were it linked, every job on
/// a CPU would load its 2 GB too.
///
/// # Errors
/// When there is none, or it does not load.
pub fn load_cuda() -> Result<(), LibraryError> {
    let folder = path().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let library = folder.join(CUDA);
    if !library.exists() {
        return Err(LibraryError::NoCuda { folder });
    }
    let failed = |problem: String| LibraryError::Load { library: library.clone(), problem };
    let name = CString::new(library.as_os_str().as_bytes()).map_err(|error| failed(error.to_string()))?;
    // SAFETY: the name ends with a zero, and the text that comes back lives until the next such call of this thread.
    let problem = unsafe {
        let text = tinywatt_torch_load(name.as_ptr());
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    if let Some(problem) = problem {
        return Err(failed(problem));
    }
    let is_known = tch::utils::has_cudart();
    if is_known { Ok(()) } else { Err(failed("PyTorch does not take notice of it".to_owned())) }
}

/// Asks for kernels that give the same sums each time, as the trainer for Python torch does, so that the two compare.
///
/// # Errors
/// [`LibraryError::Random`].
pub fn be_deterministic() -> Result<(), LibraryError> {
    if tinywatt_torch_be_deterministic() { Ok(()) } else { Err(LibraryError::Random) }
}

/// Keeps memory that a step of training frees for the next one, instead of giving it back to the system each time.
pub fn keep_memory() {
    tinywatt_torch_keep_memory();
}

/// The library's file, as the system found it.
fn path() -> Option<PathBuf> {
    // SAFETY: the name, where there is one, lives as long as the library is loaded, which is for ever.
    let name = unsafe {
        let name = tinywatt_torch_library();
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }?;
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

fn config() -> String {
    let mut text = vec![0; CONFIG_BYTES_MAX];
    // SAFETY: that many bytes are ours to write.
    let length = unsafe { tinywatt_torch_config(text.as_mut_ptr(), text.len()) };
    text.truncate(length);
    String::from_utf8_lossy(&text).into_owned()
}

/// From the library's own words: "…, TORCH_VERSION=2.11.0, USE_CUDA=ON, …".
fn number_in(config: &str) -> Option<&str> {
    let (_, rest) = config.split_once("TORCH_VERSION=")?;
    let end = rest.find(|letter: char| letter == ',' || letter.is_whitespace()).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|number| !number.is_empty())
}

/// The library knows its number alone; the file beside it also says for which device ("+cu130"), if it is about the same
/// library.
fn whole_version(own: Option<&str>, packaged: Option<String>) -> Option<String> {
    let Some(own) = own else { return packaged };
    let fits = |packaged: &String| packaged.split('+').next() == Some(own);
    packaged.filter(fits).or_else(|| Some(own.to_owned()))
}

/// Major and minor number.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '+']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_was_loaded_is_that_of_the_build() {
        assert_eq!(version(), BUILT);
        check().expect("tests load what they were linked with");
        assert_eq!(number_in(&config()), BUILT.split('+').next(), "the library says it itself");
        be_deterministic().expect("it takes the order");
    }

    #[test]
    fn the_librarys_own_number_counts_and_not_the_file_beside_it() {
        let number = number_in("PERF=1, TORCH_VERSION=2.11.0, USE_CUDA=ON");
        assert_eq!(number, Some("2.11.0"));
        assert_eq!(number_in("USE_CUDA=ON"), None);
        let whole = |own, packaged: &str| whole_version(own, Some(packaged.to_owned()));
        assert_eq!(whole(number, "2.11.0+cpu").as_deref(), Some("2.11.0+cpu"));
        assert_eq!(whole(number, "2.12.0+cpu").as_deref(), Some("2.11.0"));
        assert_eq!(whole(None, "2.12.0+cpu").as_deref(), Some("2.12.0+cpu"));
        assert_eq!(whole_version(None, None), None);
    }

    #[test]
    fn another_release_is_refused_with_the_way_out() {
        for found in ["2.12.0+cpu", "unknown"] {
            let error = compare(found, Some("/opt/torch/lib/libtorch_cpu.so".into())).expect_err("another").to_string();
            for word in [found, BUILT, "/opt/torch/lib/libtorch_cpu.so", "LD_LIBRARY_PATH", "LIBTORCH"] {
                assert!(error.contains(word), "'{word}' is not in '{error}'");
            }
        }
    }

    #[test]
    fn a_release_is_the_first_two_numbers() {
        assert_eq!(release("2.11.0+cu130"), release("2.11.1"));
        assert_ne!(release("2.11.0"), release("2.1.0"));
        assert_ne!(release("2.11.0"), release("3.11.0"));
        assert_eq!(release("unknown"), None);
    }
}
