//! Every id of the project, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{hex, v1};

/// A name was refused.
#[derive(Debug, thiserror::Error)]
#[error("'{name}' is not a name: use 1 to 64 of a-z, 0-9 and '-', beginning with a letter or digit")]
pub struct NameError {
    name: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                check_name(name).map(|()| Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A machine with an agent.
    NodeId
);
name!(
    /// A shunt or meter on a node, by its configured name.
    ChannelName
);
name!(
    /// One execution of an experiment: the experiment's name and a random ending, for example `digits-k3f9`.
    RunId
);

fn check_name(name: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=64).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-');
    if good { Ok(()) } else { Err(NameError { name: name.to_owned() }) }
}

/// One start of an agent. Sequences and monotonic instants have a meaning within it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(Uuid);

impl BootId {
    /// Makes a boot id that no other start has.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads the 16 bytes of the wire; `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// The 16 bytes of the wire.
    pub fn to_vec(self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }

    /// The 16 bytes of the wire, borrowed.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of an artifact: the SHA-256 of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The name of this content.
    pub fn of(content: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(content).into())
    }

    /// Reads the 32 bytes of the wire; `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Prints 64 lower-case hexadecimal digits.
impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Sha256 {
    type Err = ParseSha256Error;
    fn from_str(text: &str) -> Result<Self, ParseSha256Error> {
        hex::decode(text).and_then(|bytes| Self::from_bytes(&bytes)).ok_or(ParseSha256Error)
    }
}

/// Text is not the 64 hexadecimal digits of a SHA-256.
#[derive(Debug, thiserror::Error)]
#[error("not the 64 hexadecimal digits of a SHA-256")]
pub struct ParseSha256Error;

/// One attempt at one trial of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// Position in the run's trial list, from 0.
    pub trial: u32,
    /// From 1.
    pub attempt: u32,
}

impl TryFrom<&v1::TrialKey> for AttemptId {
    type Error = NameError;
    fn try_from(key: &v1::TrialKey) -> Result<Self, NameError> {
        Ok(Self { run: key.run_id.parse()?, trial: key.trial, attempt: key.attempt })
    }
}

impl From<&AttemptId> for v1::TrialKey {
    fn from(id: &AttemptId) -> Self {
        Self { run_id: id.run.to_string(), trial: id.trial, attempt: id.attempt }
    }
}

/// Prints `digits-k3f9/12.1`: run, trial, attempt.
impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.run, self.trial, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!("pi-4".parse::<NodeId>().is_ok());
        for bad in ["", "Pi", "a b", "-a", "a/b", &"x".repeat(65)] {
            let error = bad.parse::<NodeId>().expect_err(bad);
            assert!(error.to_string().contains("a-z"), "{error}");
        }
    }

    #[test]
    fn a_sha256_survives_text() {
        let sha256 = Sha256::of(b"tinywatt");
        assert_eq!(sha256.to_string().parse::<Sha256>().expect("own text"), sha256);
        for bad in ["12", &"+a".repeat(32)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }
}
