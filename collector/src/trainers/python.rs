//! Finds a Python that can make an environment.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A version that the trainers run with; the frameworks have no packages for others.
const MINOR_VERSIONS: std::ops::RangeInclusive<u32> = 11..=13;

/// In the order in which they are tried: the one that the pinned packages were tried with, the machine's own, others.
const CANDIDATES: [&str; 4] = ["python3.11", "python3", "python3.12", "python3.13"];

/// No Python can be used.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// There is none at all.
    #[error(
        "Python 3.{} to 3.{} is needed and no python3 was found: install it (Debian: `apt install python3 python3-venv`)",
        MINOR_VERSIONS.start(), MINOR_VERSIONS.end()
    )]
    Missing,
    /// There are only others.
    #[error(
        "Python 3.{} to 3.{} is needed, and this machine has {found}: install one beside it, or name an environment \
         of yours with --python",
        MINOR_VERSIONS.start(), MINOR_VERSIONS.end()
    )]
    Version {
        /// Those that were found.
        found: String,
    },
    /// It lacks the standard library's modules that make environments, as Debian's does at first.
    #[error("{} has no module venv or ensurepip: install it (Debian: `apt install python3-venv`)", python.display())]
    NoVenv {
        /// The interpreter.
        python: PathBuf,
    },
    /// The one that was named cannot be started or is none.
    #[error("{} does not start as a Python: name the interpreter, such as /opt/venv/bin/python", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why, when the system said so.
        #[source]
        source: Option<io::Error>,
    },
}

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    pub(super) path: PathBuf,
    /// "3.11.7".
    pub(super) version: String,
}

/// Finds the machine's Python that can make environments.
pub(super) fn find() -> Result<Python, PythonError> {
    let (mut found, mut without_venv) = (Vec::new(), None);
    for candidate in CANDIDATES {
        let python = match look(Path::new(candidate)) {
            Ok(python) => python,
            Err(_) => continue,
        };
        if !fits(&python.version) {
            found.push(format!("{candidate} {}", python.version));
            continue;
        }
        let has_venv = answers(&python.path, "import venv, ensurepip").is_ok_and(|answer| answer.is_some());
        if has_venv {
            return Ok(python);
        }
        // Another one may be whole.
        without_venv.get_or_insert(python.path);
    }
    if let Some(python) = without_venv {
        return Err(PythonError::NoVenv { python });
    }
    Err(if found.is_empty() { PythonError::Missing } else { PythonError::Version { found: found.join(", ") } })
}

/// Looks at an interpreter of the user's.
pub(super) fn named(path: &Path) -> Result<Python, PythonError> {
    let python = look(path)?;
    if fits(&python.version) {
        return Ok(python);
    }
    Err(PythonError::Version { found: format!("{} {}", path.display(), python.version) })
}

fn look(path: &Path) -> Result<Python, PythonError> {
    let start = |source| PythonError::Start { python: path.to_owned(), source };
    // The path as the interpreter knows it: a name in PATH may mean another one tomorrow.
    let program = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";
    let answer = answers(path, program).map_err(|error| start(Some(error)))?.ok_or_else(|| start(None))?;
    match answer.lines().collect::<Vec<_>>()[..] {
        [version, executable] if !executable.is_empty() => {
            Ok(Python { path: executable.into(), version: version.to_owned() })
        }
        _ => Err(start(None)),
    }
}

fn fits(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    numbers.next() == Some(Ok(3))
        && numbers.next().is_some_and(|minor| minor.is_ok_and(|it| MINOR_VERSIONS.contains(&it)))
}

/// What a short program prints; `None` when it fails.
fn answers(python: &Path, program: &str) -> io::Result<Option<String>> {
    let mut command = Command::new(python);
    command.args(["-c", program]).stdin(Stdio::null()).stderr(Stdio::null()).env_remove("PYTHONHOME");
    let output = command.output()?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, expected) in
            [("3.11.7", true), ("3.13.0", true), ("3.10.9", false), ("3.14.1", false), ("2.7.18", false), ("", false)]
        {
            assert_eq!(fits(version), expected, "{version}");
        }
    }

    #[test]
    fn what_is_no_python_is_named() {
        for path in ["/gone/python", "/bin/false"] {
            let text = named(Path::new(path)).expect_err("none").to_string();
            assert!(text.starts_with(path) && text.contains("bin/python"), "{text}");
        }
    }
}
