//! Everything that is wrong with an experiment, at once: each with its place and a way out.

use std::fmt;

/// Place of a key in an experiment file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// Key with the tables around it, "dataset.path"; empty for the file as a whole.
    pub key: String,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where; `None` when the file could not be read at all.
    pub place: Option<Place>,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Everything that is wrong with one experiment file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as people named it.
    pub origin: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { place, message }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.origin)?;
            if let Some(Place { line, key }) = place {
                write!(f, ":{line}")?;
                if !key.is_empty() {
                    write!(f, ": {key}")?;
                }
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

/// Collects problems while checking goes on.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    /// Notes a problem at a place.
    pub(super) fn add(&mut self, place: &Place, message: impl fmt::Display) {
        self.0.push(Problem { place: Some(place.clone()), message: message.to_string() });
    }

    /// Whether anything was found.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands `value` on when nothing was found.
    pub(super) fn unless_any<T>(self, origin: &str, value: T) -> Result<T, Problems> {
        match self.into_problems(origin) {
            Some(problems) => Err(problems),
            None => Ok(value),
        }
    }

    /// What was found, if anything.
    pub(super) fn into_problems(mut self, origin: &str) -> Option<Problems> {
        self.0.sort();
        // Several values of one line may share a problem.
        self.0.dedup();
        (!self.0.is_empty()).then(|| Problems { origin: origin.to_owned(), problems: self.0 })
    }
}
