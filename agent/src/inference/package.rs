//! Which release a library's folder holds: the one parser, which the build scripts of the worker programs include too.

use std::path::Path;

/// Version of the package in a folder: a wheel's `version.py` says `__version__ = '2.11.0+cpu'`, and libtorch's own
/// archive has a file `build-version`. `None` when neither says anything.
pub fn version(folder: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let assigned = |text: String| {
        let value = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
        Some(value.trim().trim_matches(['\'', '"']).to_owned())
    };
    let version = read("version.py").and_then(assigned).or_else(|| Some(read("build-version")?.trim().to_owned()))?;
    // It is printed, compared and put into an environment variable.
    let is_version = version.starts_with(|first: char| first.is_ascii_digit())
        && version.len() <= 64
        && version.chars().all(|letter| letter.is_ascii_graphic());
    is_version.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(name), text).expect("written");
        assert_eq!(version(folder.path()).as_deref(), expected, "{text}");
    }

    #[test]
    fn wheels_and_archives_tell_their_version() {
        check("version.py", "from typing import Optional\n__version__ = '2.11.0+cu130'\n", Some("2.11.0+cu130"));
        check("version.py", "__version__ = \"1.5.1\"\n", Some("1.5.1"));
        check("build-version", "2.11.0+cpu\n", Some("2.11.0+cpu"));
    }

    #[test]
    fn what_is_no_version_is_none() {
        check("version.py", "debug = False\n", None);
        check("version.py", "__version__ = 'unknown'\n", None);
        check("build-version", "2.11\n<garbage>\n", None);
        check("other", "2.11.0", None);
    }
}
