//! `ArtifactService`: models, inputs and traces come and go in chunks.

use std::pin::Pin;

use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::artifacts::{ArtifactError, Artifacts};

/// Chunks read ahead of a slow receiver: 256 KiB.
const CHUNK_QUEUE_COUNT: usize = 4;

/// Names one `Has` may ask for; an experiment has a few per treatment.
const HAS_COUNT_MAX: usize = 10_000;

/// The service.
#[derive(Debug, Clone)]
pub struct Artifact {
    artifacts: Artifacts,
}

impl Artifact {
    /// Serves the artifacts of one folder.
    pub fn new(artifacts: Artifacts) -> Self {
        Self { artifacts }
    }
}

fn name(bytes: &[u8]) -> Result<Sha256, Status> {
    let wrong = || Status::invalid_argument(format!("an artifact is named by 32 bytes, not {}", bytes.len()));
    Sha256::from_bytes(bytes).ok_or_else(wrong)
}

#[tonic::async_trait]
impl v1::artifact_service_server::ArtifactService for Artifact {
    type GetStream = Pin<Box<dyn Stream<Item = Result<v1::GetResponse, Status>> + Send>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let request = request.into_inner();
        let sha256 = name(&request.sha256)?;
        let mut file = self.artifacts.open(sha256, request.offset).await?;
        let path = self.artifacts.path(sha256);
        let (chunks, received) = mpsc::channel(CHUNK_QUEUE_COUNT);
        tokio::spawn(async move {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES_MAX];
                let message = match file.read(&mut chunk).await {
                    Ok(0) => return,
                    Ok(byte_count) => {
                        chunk.truncate(byte_count);
                        Ok(v1::GetResponse { chunk })
                    }
                    Err(source) => Err(Status::from(ArtifactError::Io { action: "read", path: path.clone(), source })),
                };
                let failed = message.is_err();
                // A receiver that has left wants no more.
                if chunks.send(message).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(received))))
    }

    async fn has(&self, request: Request<v1::HasRequest>) -> Result<Response<v1::HasResponse>, Status> {
        let names = request.into_inner().sha256;
        if names.len() > HAS_COUNT_MAX {
            return Err(Status::invalid_argument(format!(
                "asked for {} artifacts, at most {HAS_COUNT_MAX}",
                names.len()
            )));
        }
        let present = names.iter().map(|bytes| Ok(self.artifacts.has(name(bytes)?)));
        Ok(Response::new(v1::HasResponse { present: present.collect::<Result<_, Status>>()? }))
    }

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<v1::PutResponse>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap_or_default();
        let (Some(sha256), Some(size_bytes)) = (&first.sha256, first.size_bytes) else {
            return Err(Status::invalid_argument("the first message of an upload has the name and the size"));
        };
        let sha256 = name(sha256)?;
        let rest = requests.map(|request| request.map(|request| request.chunk));
        let chunks = tokio_stream::once(Ok(first.chunk)).chain(rest);
        self.artifacts.put(sha256, size_bytes, chunks).await?;
        Ok(Response::new(v1::PutResponse {}))
    }
}
