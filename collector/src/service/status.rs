//! What a failed call says to the other side: the code tells a program whether to retry, the message tells a person
//! what to do.

use tinywatt_proto::chain::Chain;
use tonic::{Code, Status};

use crate::artifacts::ArtifactError;
use crate::export::ExportError;
use crate::ingest::DeliverError;
use crate::schedule::driver::{Stopped, SubmitError};
use crate::sink::RebuildError;
use crate::store::{CommitError, ReadError, RegisterError};

fn status(code: Code, error: &dyn std::error::Error) -> Status {
    Status::new(code, Chain(error).to_string())
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
            ArtifactError::TooLarge { .. } | ArtifactError::DiskFull { .. } => Code::ResourceExhausted,
            ArtifactError::Size { .. } | ArtifactError::Checksum { .. } => Code::DataLoss,
            ArtifactError::Broken { .. } => Code::Aborted,
            ArtifactError::Unknown { .. } => Code::NotFound,
            ArtifactError::Offset { .. } => Code::OutOfRange,
            ArtifactError::Io { .. } => Code::Internal,
        };
        status(code, &error)
    }
}

impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        internal(&error)
    }
}

impl From<ExportError> for Status {
    fn from(error: ExportError) -> Self {
        internal(&error)
    }
}

impl From<Stopped> for Status {
    fn from(stopped: Stopped) -> Self {
        status(Code::Unavailable, &stopped)
    }
}

impl From<SubmitError> for Status {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::Stopped(stopped) => (*stopped).into(),
            SubmitError::Name(_) => status(Code::InvalidArgument, &error),
            SubmitError::Store(_) => internal(&error),
        }
    }
}

impl From<RebuildError> for Status {
    fn from(error: RebuildError) -> Self {
        status(Code::Unavailable, &error)
    }
}

/// The collector's own trouble, which its log should show, too.
fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(error = %Chain(error), "request failed");
    status(Code::Internal, error)
}
