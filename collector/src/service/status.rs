//! What a failed call says to the other side: the code tells a program whether to retry, the message tells a person
//! what to do.

use tonic::{Code, Status};

use crate::artifacts::ArtifactError;
use crate::ingest::DeliverError;
use crate::store::{CommitError, RegisterError, chain};

fn status(code: Code, error: &dyn std::error::Error) -> Status {
    Status::new(code, chain(error).to_string())
}

impl From<RegisterError> for Status {
    fn from(error: RegisterError) -> Self {
        let code = match &error {
            RegisterError::Name(_) | RegisterError::BootId { .. } => Code::InvalidArgument,
            RegisterError::Write { .. } => Code::Unavailable,
        };
        status(code, &error)
    }
}

impl From<DeliverError> for Status {
    fn from(error: DeliverError) -> Self {
        let code = match &error {
            DeliverError::Hello | DeliverError::Name(_) | DeliverError::Empty { .. } | DeliverError::Order { .. } => {
                Code::InvalidArgument
            }
            DeliverError::NotRegistered { .. } | DeliverError::Commit(CommitError::UnknownNode { .. }) => {
                Code::FailedPrecondition
            }
            DeliverError::Stopping | DeliverError::Lookup(_) | DeliverError::Commit(CommitError::Write { .. }) => {
                Code::Unavailable
            }
        };
        status(code, &error)
    }
}

impl From<ArtifactError> for Status {
    fn from(error: ArtifactError) -> Self {
        let code = match &error {
            ArtifactError::TooLarge { .. } => Code::ResourceExhausted,
            ArtifactError::Size { .. } | ArtifactError::Checksum { .. } => Code::DataLoss,
            ArtifactError::Broken { .. } => Code::Aborted,
            ArtifactError::Unknown { .. } => Code::NotFound,
            ArtifactError::Offset { .. } => Code::OutOfRange,
            ArtifactError::Io { .. } => Code::Internal,
        };
        status(code, &error)
    }
}
