//! Tells the linker where PyTorch's libraries are, and the programs which version they are.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    let Some(folder) = std::env::var_os("LIBTORCH").map(PathBuf::from) else {
        println!(
            "cargo::error=LIBTORCH is not set: let it name PyTorch's folder, …/site-packages/torch of an environment that has torch 2.11"
        );
        return;
    };
    let version = version(&folder).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TINYWATT_TORCH_VERSION={version}");
    // The programs find the libraries where they were found now, without LD_LIBRARY_PATH.
    let beside = folder.parent().map(|packages| packages.join("nvidia/cu13/lib"));
    for place in std::iter::once(folder.join("lib")).chain(beside.filter(|place| place.exists())) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", place.display());
    }
}

/// From the package's own file: `__version__ = '2.11.0+cpu'`.
fn version(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim().trim_matches(['\'', '"']).to_owned())
}
