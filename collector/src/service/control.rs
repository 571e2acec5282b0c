//! `ControlService`: what the command line asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;

use tinywatt_proto::CHUNK_BYTES_MAX;
use tinywatt_proto::ids::RunId;
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;
use tinywatt_proto::v1::control_service_server::ControlService;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{made, watch, written};
use crate::export;
use crate::report::{self, Run, RunReport};
use crate::schedule::driver::{Handle, summary};
use crate::schedule::{check, plan, run_duration};
use crate::sink;
use crate::store::{DATABASE_NAME, RunRow, Store};

type Reply<T> = Result<Response<T>, Status>;
type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers the command line.
#[derive(Debug, Clone)]
pub struct Control {
    store: Store,
    schedule: Handle,
    data: PathBuf,
    sink: Option<sink::Handle>,
}

impl Control {
    /// Answers from the store in the folder `data`, the schedule, and the sink if there is one.
    pub fn new(store: Store, schedule: Handle, data: PathBuf, sink: Option<sink::Handle>) -> Self {
        Self { store, schedule, data, sink }
    }

    fn sink(&self) -> Result<&sink::Handle, Status> {
        let none = "the collector writes to no database: start it with `collector serve --influx FILE`";
        self.sink.as_ref().ok_or_else(|| Status::failed_precondition(none))
    }

    async fn known_run(&self, run: &str) -> Result<RunRow, Status> {
        let unknown = || Status::not_found(format!("there is no run '{run}': 'collector runs' lists them"));
        let id: RunId = run.parse().map_err(|_| unknown())?;
        self.store.run(&id).await?.ok_or_else(unknown)
    }

    async fn stored_summary(&self, row: &RunRow) -> Result<v1::RunSummary, Status> {
        Ok(summary(row, &self.store.attempts(&row.run).await?))
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    type WatchStream = ReplyStream<v1::WatchResponse>;
    type ReportStream = ReplyStream<v1::ReportResponse>;
    type ExportStream = ReplyStream<v1::ExportResponse>;

    async fn list_artifacts(&self, request: Request<v1::ListArtifactsRequest>) -> Reply<v1::ListArtifactsResponse> {
        let row = self.known_run(&request.into_inner().run_id).await?;
        Ok(Response::new(v1::ListArtifactsResponse { artifacts: made::list(&self.store, &row).await? }))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Reply<v1::SubmitResponse> {
        let submit = request.into_inner();
        let nodes = self.store.nodes().await?;
        let artifacts = self.store.artifacts();
        let problems = check(&submit, &nodes, |sha256| artifacts.has(sha256));
        if !problems.is_empty() {
            return Err(Status::invalid_argument(problems.join("\n")));
        }
        let design = submit.design.as_ref().expect("a submission without a design has a problem");
        let trials = plan(design, &submit.treatments);
        let duration_ns = nanoseconds(run_duration(&trials));
        let mut run_id = String::new();
        if !submit.dry_run {
            run_id = self.schedule.submit(submit, trials.clone()).await?.to_string();
        }
        Ok(Response::new(v1::SubmitResponse { run_id, trials, duration_ns }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Reply<Self::WatchStream> {
        let row = self.known_run(&request.into_inner().run_id).await?;
        let responses = watch::start(self.store.clone(), self.schedule.clone(), row);
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Reply<v1::StatusResponse> {
        let connected = self.schedule.nodes().await?.iter().filter(|view| view.is_connected).count();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(v1::StatusResponse {
            collector_version: env!("CARGO_PKG_VERSION").to_owned(),
            data: self.data.display().to_string(),
            store_bytes: std::fs::metadata(self.data.join(DATABASE_NAME)).map_or(0, |file| file.len()),
            node_count: count(self.store.nodes().await?.len()),
            connected_node_count: count(connected),
            running_run_count: count(self.store.running_run_count().await?),
            sink: self.sink.as_ref().map(written::status),
        }))
    }

    async fn rebuild_sink(&self, _: Request<v1::RebuildSinkRequest>) -> Reply<v1::RebuildSinkResponse> {
        let sink = self.sink()?;
        sink.rebuild().await?;
        Ok(Response::new(v1::RebuildSinkResponse { target: sink.target().to_owned() }))
    }

    async fn list_quarantined(
        &self,
        request: Request<v1::ListQuarantinedRequest>,
    ) -> Reply<v1::ListQuarantinedResponse> {
        Ok(Response::new(written::quarantined(self.sink()?, request.into_inner().count_max).await?))
    }

    async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Reply<v1::ListRunsResponse> {
        let mut runs = Vec::new();
        for row in self.store.runs().await? {
            runs.push(self.stored_summary(&row).await?);
        }
        Ok(Response::new(v1::ListRunsResponse { runs }))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Reply<v1::ListNodesResponse> {
        let views = self.schedule.nodes().await?;
        let views: BTreeMap<_, _> = views.into_iter().map(|view| (view.node.clone(), view)).collect();
        let mut nodes = Vec::new();
        for row in self.store.nodes().await? {
            let clock = self.store.clock_fit(&row.node, row.boot).await?;
            let view = views.get(&row.node);
            nodes.push(v1::NodeSummary {
                connected: view.is_some_and(|view| view.is_connected),
                running: view.and_then(|view| view.attempt.as_ref()).map(v1::TrialKey::from),
                node: row.node.to_string(),
                agent_version: row.agent_version,
                capabilities: Some(row.capabilities),
                last_seen_unix_ns: row.last_seen_unix_ns,
                clock_offset_ns: clock.map(|clock| clock.offset_ns),
                clock_error_ns: clock.map(|clock| clock.error_ns),
            });
        }
        Ok(Response::new(v1::ListNodesResponse { nodes }))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Reply<v1::CancelResponse> {
        let row = self.known_run(&request.into_inner().run_id).await?;
        if self.schedule.cancel(row.run.clone()).await? {
            return Ok(Response::new(v1::CancelResponse {}));
        }
        Err(Status::failed_precondition(format!("run {} has ended already: there is nothing to cancel", row.run)))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Reply<Self::ReportStream> {
        let request = request.into_inner();
        let format = request.format();
        if format == v1::ReportFormat::Unspecified {
            return Err(Status::invalid_argument("ask for a format: terminal, markdown, csv or json"));
        }
        let row = self.known_run(&request.run_id).await?;
        let attempts = self.store.attempts(&row.run).await?;
        let run = Run {
            id: row.run.as_str(),
            submit: &row.submit,
            state: row.state,
            started_unix_ns: row.started_unix_ns,
            ended_unix_ns: row.ended_unix_ns,
        };
        let report = RunReport::new(&run, attempts.into_iter().map(|attempt| attempt.result));
        let chunks = chunks(&report::render(&report, format));
        let responses = chunks.into_iter().map(|chunk| Ok(v1::ReportResponse { chunk }));
        Ok(Response::new(Box::pin(tokio_stream::iter(responses))))
    }

    async fn export(&self, request: Request<v1::ExportRequest>) -> Reply<Self::ExportStream> {
        let request = request.into_inner();
        let row = self.known_run(&request.run_id).await?;
        let known = |trial: u32| row.trials.iter().any(|planned| planned.trial == trial);
        if let Some(trial) = request.trial.filter(|trial| !known(*trial)) {
            let count = row.trials.len();
            return Err(Status::not_found(format!("run {} has {count} trials, from 0, and no {trial}", row.run)));
        }
        let chunks = ReceiverStream::new(export::start(self.store.clone(), row, request.trial));
        let responses = chunks.map(|chunk| chunk.map(|chunk| v1::ExportResponse { chunk }).map_err(Status::from));
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Cuts a text into pieces that fit a message, between characters.
fn chunks(mut text: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    while !text.is_empty() {
        let (chunk, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES_MAX));
        chunks.push(chunk.to_owned());
        text = rest;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "µ".repeat(CHUNK_BYTES_MAX) + "x";
        let chunks = chunks(&text);
        assert_eq!(chunks.concat(), text);
        assert_eq!(chunks.len(), 3);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    }
}
