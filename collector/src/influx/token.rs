//! A secret that InfluxDB knows somebody by.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use uuid::Uuid;

/// A token. It is shown nowhere: what prints it prints that it is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// There is no token where one is expected.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// What is there is none.
    #[error("there is no token in what was given: it is one word of visible characters")]
    NoToken,
    /// The file holds none.
    #[error("there is no token in {path}: it is one word of visible characters; mend the file, or remove it", path = path.display())]
    NoTokenInFile {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("failed to read the token in {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Token {
    /// Takes a token with blanks and line ends around it.
    ///
    /// # Errors
    /// [`TokenError::NoToken`] when it is not one word of visible ASCII characters, which is all that a header can carry.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let word = text.trim();
        let is_token = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(Self(word.to_owned())) } else { Err(TokenError::NoToken) }
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path).map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        Self::new(&text).map_err(|_| TokenError::NoTokenInFile { path: path.to_owned() })
    }

    /// A new secret: 64 hexadecimal digits, 244 bits of them from the system's random numbers.
    pub fn generate() -> Self {
        Self(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// The secret itself, for its file and for requests.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What the header `Authorization` is to say.
    pub fn authorization(&self) -> String {
        format!("Token {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let token = Token::new(" abc==\n").unwrap();
        assert_eq!(token.authorization(), "Token abc==");
        assert_eq!(format!("{token:?}"), "Token(secret)");
        for text in ["", "  \n", "two words", "a\u{7f}", "ümlaut", "a\r\nX-Header: b"] {
            assert!(Token::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn generated_tokens_differ() {
        let token = Token::generate();
        assert_eq!(token.secret().len(), 64);
        assert_ne!(token, Token::generate());
    }

    #[test]
    fn a_file_without_a_token_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.token");
        assert!(Token::read(&path).unwrap_err().to_string().contains("some.token"));
        fs::write(&path, "two words\n").unwrap();
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(error.contains("some.token") && !error.contains("two words"), "{error}");
    }
}
