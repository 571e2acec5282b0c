//! Lists the trainers' Python package for `src/trainers/package.rs`, which carries it in the program.
//!
//! A list by hand would be forgotten, and a whole folder would carry the caches that Python's tools leave there.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What a package is made of.
const ENDINGS: [&str; 4] = ["py", "json", "toml", "typed"];

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("trainers");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(&folder.join("src"), &mut files)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("requirements-") && name.ends_with(".txt") {
            files.push(path);
        }
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&folder).expect("it was found there").to_string_lossy();
        list.push_str(&format!("    File {{ path: {name:?}, content: include_bytes!({:?}) }},\n", file.display()));
    }
    list.push_str("]\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("trainers_files.rs");
    fs::write(target, list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_part =
            path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending));
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !is_hidden {
            collect(&path, files)?;
        } else if is_part {
            files.push(path);
        }
    }
    Ok(())
}
