//! The connection to a running collector.

use std::time::Duration;

use anyhow::{Context, bail};
use tinywatt_proto::MESSAGE_BYTES_MAX;
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::v1::control_service_client::ControlServiceClient;
use tonic::codegen::http::uri::Authority;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Where a collector listens unless told otherwise.
pub const ADDRESS_DEFAULT: &str = "http://127.0.0.1:7400";

/// A collector across the world answers within a second; one that does not answer in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a connection in use is tried, and how long it may then stay silent: a collector whose machine dies says
/// no farewell.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Checks the address of a collector, such as `http://127.0.0.1:7400`; `http://` may be left out, and nothing at all
/// means [`ADDRESS_DEFAULT`], because an empty variable of the environment counts as none.
///
/// # Errors
/// When it is none; the message says how to write one.
pub fn address(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(ADDRESS_DEFAULT.to_owned());
    }
    let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let is_good = Endpoint::from_shared(address.clone()).is_ok_and(|endpoint| {
        let uri = endpoint.uri();
        // A port that is no number is none to the parser.
        let is_whole = |authority: &Authority| {
            !authority.host().is_empty() && (authority.port_u16().is_some() || authority.as_str() == authority.host())
        };
        uri.scheme_str() == Some("http") && uri.authority().is_some_and(is_whole)
    });
    is_good.then_some(address).ok_or_else(|| format!("expected an address like {ADDRESS_DEFAULT}"))
}

/// A connected collector.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    pub(super) control: ControlServiceClient<Channel>,
    pub(super) artifacts: ArtifactServiceClient<Channel>,
}

impl Client {
    /// Connects to the collector at an [`address`].
    ///
    /// # Errors
    /// When no collector answers there; the message names the address and the way out.
    pub async fn connect(text: &str) -> anyhow::Result<Self> {
        let address = address(text).map_err(|problem| anyhow::anyhow!("'{text}': {problem}"))?;
        let endpoint = Endpoint::from_shared(address.clone())
            .with_context(|| format!("'{address}' is not an address"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        let channel = endpoint.connect().await.with_context(|| {
            format!(
                "no collector answers at {address}; start one with `collector serve`, or name another with --collector"
            )
        })?;
        let mut client = Self {
            control: ControlServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            artifacts: ArtifactServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            address,
        };
        // A connection says little about who listens; an empty question, answered, says it is a collector.
        match client.artifacts.has(v1::HasRequest { sha256: Vec::new() }).await {
            Err(status) if is_foreign(&status) => bail!(
                "what listens at {} is not a tinywatt collector ({}); check the port, or start one with `collector serve`",
                client.address,
                status.message()
            ),
            Err(status) => Err(client.failed("connecting", &status)),
            Ok(_) => Ok(client),
        }
    }

    /// Names what failed on the way to the collector or in it.
    pub(super) fn failed(&self, what: &str, status: &Status) -> anyhow::Error {
        // The transport's own texts ("h2 protocol error") help nobody; the collector's are written for people.
        let is_transport = std::error::Error::source(status).is_some();
        if is_transport || status.code() == Code::Unavailable {
            return anyhow::anyhow!("{what}: the collector at {} does not answer any more", self.address);
        }
        anyhow::anyhow!("{what}: {}", status.message())
    }

    /// All runs, the newest first.
    pub(super) async fn runs(&mut self) -> anyhow::Result<Vec<v1::RunSummary>> {
        let answer = self.control.list_runs(v1::ListRunsRequest {}).await;
        let mut runs = answer.map_err(|status| self.failed("listing the runs", &status))?.into_inner().runs;
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_unix_ns));
        Ok(runs)
    }

    /// All nodes, by name.
    pub(super) async fn nodes(&mut self) -> anyhow::Result<Vec<v1::NodeSummary>> {
        let answer = self.control.list_nodes(v1::ListNodesRequest {}).await;
        let mut nodes = answer.map_err(|status| self.failed("listing the nodes", &status))?.into_inner().nodes;
        nodes.sort_by(|left, right| left.node.cmp(&right.node));
        Ok(nodes)
    }

    /// The run of this name; "latest" is the one that was started last.
    pub(super) async fn run(&mut self, name: &str) -> anyhow::Result<v1::RunSummary> {
        let runs = self.runs().await?;
        if runs.is_empty() {
            bail!("there are no runs yet; start one with `collector schedule EXPERIMENT.toml`");
        }
        if name == LATEST {
            return Ok(runs.into_iter().next().expect("not empty"));
        }
        let found = runs.into_iter().find(|run| run.run_id == name);
        found.with_context(|| {
            format!("there is no run '{name}'; `collector runs` lists them, and '{LATEST}' is the last")
        })
    }
}

/// Whether an answer, or the way it broke, is none of a collector's.
fn is_foreign(status: &Status) -> bool {
    match status.code() {
        Code::Unknown | Code::Cancelled | Code::Unimplemented => true,
        // The collector's own trouble comes over the wire, not out of the transport.
        Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// Stands for the run that was started last.
const LATEST: &str = "latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_the_scheme_or_everything() {
        assert_eq!(address("").as_deref(), Ok(ADDRESS_DEFAULT), "an empty variable of the environment");
        assert_eq!(address("pi:7400").as_deref(), Ok("http://pi:7400"));
        for wrong in ["http://", "http://a b", "ftp://pi:7400", ":7400", "pi:port"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
