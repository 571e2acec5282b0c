//! What the driver needs of the store.

use std::error::Error;

use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::v1;

use crate::result::TrialResult;

/// Why the store did not keep or give something. The driver cannot act on it, so it only carries it.
pub type RecordsError = Box<dyn Error + Send + Sync>;

/// Runs and attempts, kept durably.
pub trait Records: Clone + Send + Sync + 'static {
    /// Keeps a new run.
    fn create_run(&self, row: &RunRow) -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// Finds a run.
    fn run(&self, run: &RunId) -> impl Future<Output = Result<Option<RunRow>, RecordsError>> + Send;

    /// Lists all runs.
    fn runs(&self) -> impl Future<Output = Result<Vec<RunRow>, RecordsError>> + Send;

    /// Notes how a run ended.
    fn end_run(
        &self,
        run: &RunId,
        state: v1::RunState,
        at_unix_ns: u64,
    ) -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// Notes that an attempt begins.
    fn start_attempt(
        &self,
        attempt: &AttemptId,
        node: &NodeId,
        at_unix_ns: u64,
    ) -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// Lists the attempts of a run.
    fn attempts(&self, run: &RunId) -> impl Future<Output = Result<Vec<AttemptRow>, RecordsError>> + Send;

    /// Keeps the result of an attempt; a second one changes nothing.
    fn finish_attempt(
        &self,
        attempt: &AttemptId,
        result: &TrialResult,
    ) -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// Gives the committed outcome of an attempt.
    fn outcome(
        &self,
        attempt: &AttemptId,
    ) -> impl Future<Output = Result<Option<v1::TrialOutcome>, RecordsError>> + Send;

    /// The channels that a node had when it registered last; empty for a node nobody knows.
    fn channels(&self, node: &NodeId) -> impl Future<Output = Result<Vec<v1::Channel>, RecordsError>> + Send;
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// Its experiment.
    pub experiment: String,
    /// The request that started it.
    pub submit: v1::SubmitRequest,
    /// Its trial list.
    pub trials: Vec<v1::PlannedTrial>,
    /// When it was submitted.
    pub started_unix_ns: u64,
    /// How far it is.
    pub state: v1::RunState,
    /// When it ended.
    pub ended_unix_ns: Option<u64>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// Its id.
    pub attempt: AttemptId,
    /// Its node.
    pub node: NodeId,
    /// When it began.
    pub started_unix_ns: u64,
    /// What came of it.
    pub result: Option<TrialResult>,
}
