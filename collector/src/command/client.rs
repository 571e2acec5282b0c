//! The connection to a running collector.

use std::time::Duration;

use anyhow::{Context, bail};
use tinywatt_proto::MESSAGE_BYTES_MAX;
use tinywatt_proto::v1;
use tinywatt_proto::v1::artifact_service_client::ArtifactServiceClient;
use tinywatt_proto::v1::control_service_client::ControlServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Where a collector listens unless told otherwise.
pub const ADDRESS_DEFAULT: &str = "http://127.0.0.1:7400";

/// A collector across the world answers within a second; one that does not answer in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connected collector.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    pub(super) control: ControlServiceClient<Channel>,
    pub(super) artifacts: ArtifactServiceClient<Channel>,
}

impl Client {
    /// Connects to the collector at an address such as `http://127.0.0.1:7400`; `http://` may be left out.
    ///
    /// # Errors
    /// When nothing answers there; the message names the address and the way out.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(address.clone())
            .with_context(|| format!("'{address}' is not an address; write it like {ADDRESS_DEFAULT}"))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.with_context(|| {
            format!(
                "no collector answers at {address}; start one with `collector serve`, or name another with --collector"
            )
        })?;
        Ok(Self {
            control: ControlServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            artifacts: ArtifactServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            address,
        })
    }

    /// Names what failed on the way to the collector or in it.
    pub(super) fn failed(&self, what: &str, status: &Status) -> anyhow::Error {
        // The transport's own texts ("h2 protocol error") help nobody; the collector's are written for people.
        if status.code() == tonic::Code::Unavailable {
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

/// Stands for the run that was started last.
const LATEST: &str = "latest";
