//! What the other end of a connection said, in words for people; and whether it is a collector at all.

use std::error::Error as _;
use std::time::Duration;

use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::endpoint::{AddressError, endpoint};

/// The smallest question takes a collector milliseconds, and a mobile line a second or two.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// What a collector answered instead of what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}", words(.0))]
pub struct Refusal(Box<Status>);

/// Nothing that is a collector answers at an address.
#[derive(Debug, thiserror::Error)]
pub enum NoCollector {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nothing listens there.
    #[error("failed to connect to {collector}: start it there with `collector serve`, or set `collector`")]
    Connect {
        /// Address.
        collector: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// Something else listens there.
    #[error("what listens at {collector} is not a tinywatt collector: check the port")]
    Stranger {
        /// Address.
        collector: String,
    },
    /// It takes connections and says nothing.
    #[error(
        "what listens at {collector} has not answered for {} s: is it a tinywatt collector? check the port",
        QUESTION_LIMIT.as_secs()
    )]
    Silent {
        /// Address.
        collector: String,
    },
    /// It answers, and not as it should.
    #[error("the collector at {collector} answers with an error; its log tells more")]
    Refused {
        /// Address.
        collector: String,
        /// What it says.
        #[source]
        source: Refusal,
    },
}

/// Asks a collector the smallest question there is.
///
/// # Errors
/// Any [`NoCollector`].
pub async fn ask(collector: &str) -> Result<(), NoCollector> {
    let name = || collector.to_owned();
    let connected = endpoint(collector)?.connect().await;
    let channel = connected.map_err(|source| NoCollector::Connect { collector: name(), source })?;
    let mut artifacts = ArtifactServiceClient::new(channel);
    match timeout(QUESTION_LIMIT, artifacts.has(v1::HasRequest::default())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) if is_strange(&status) => Err(NoCollector::Stranger { collector: name() }),
        Ok(Err(status)) => Err(NoCollector::Refused { collector: name(), source: status.into() }),
        Err(_) => Err(NoCollector::Silent { collector: name() }),
    }
}

/// Whether this is no answer of a collector: its services are unknown, or what came is no gRPC.
pub(super) fn is_strange(status: &Status) -> bool {
    let is_met_here = status.source().is_some() || status.message().starts_with("grpc-status header missing");
    match status.code() {
        Code::Unimplemented => true,
        // A collector's own failures carry no source: that is for what the transport met on this side.
        Code::Unknown | Code::Internal => is_met_here,
        _ => status.message().starts_with("grpc-status header missing"),
    }
}

/// A status as a person would say it.
fn words(status: &Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::chain::Chain;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Something that listens and answers every connection with these bytes.
    async fn stranger(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0; 1024];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(answer).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_is_no_collector_is_told_as_such_and_named() {
        for answer in [&b"HTTP/1.0 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", b""] {
            let address = stranger(answer).await;
            let error = ask(&address).await.expect_err("not a collector");
            let said = Chain(&error).to_string();
            assert_eq!(said, format!("what listens at {address} is not a tinywatt collector: check the port"));
        }
    }

    #[test]
    fn a_collectors_refusal_is_in_its_own_words() {
        let refusal = Refusal::from(Status::invalid_argument("the node's name is taken"));
        assert_eq!(Chain(&refusal).to_string(), "the node's name is taken");
        assert!(!is_strange(&Status::internal("the store is full")));
        assert!(is_strange(&Status::unimplemented("")));
    }
}
