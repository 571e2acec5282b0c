//! A file on its way to the collector, named by its content.

use bytes::Bytes;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;

/// A model, an input set or a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Name of the content.
    pub sha256: Sha256,
    /// For people.
    pub name: String,
    /// The content.
    pub content: Bytes,
}

impl Artifact {
    /// Names a content.
    pub(super) fn new(name: impl Into<String>, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { sha256: Sha256::of(&content), name: name.into(), content }
    }

    /// How messages refer to it.
    pub(super) fn reference(&self) -> v1::ArtifactRef {
        v1::ArtifactRef {
            sha256: self.sha256.0.to_vec(),
            size_bytes: self.content.len() as u64,
            name: self.name.clone(),
        }
    }
}
