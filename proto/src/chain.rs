//! An error with all its causes in one line.

use std::error::Error;
use std::fmt;

/// Prints an error and its sources, from the outermost to the first cause: `what we tried: what happened: why`.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries wrap an error in one of the same words.
            if text != said {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Said {
        words: &'static str,
        #[source]
        source: Option<Box<Said>>,
    }

    #[test]
    fn causes_follow_and_none_is_said_twice_in_a_row() {
        let said = |words, source: Option<Said>| Said { words, source: source.map(Box::new) };
        let error = said("no report", Some(said("read failed", Some(said("read failed", Some(said("gone", None)))))));
        assert_eq!(Chain(&error).to_string(), "no report: read failed: gone");
    }
}
