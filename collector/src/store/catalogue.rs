//! The catalogue: runs, attempts and what came of them.

use prost::Message;
use rusqlite::{OptionalExtension, Row, params};
use tinywatt_proto::ids::{AttemptId, BootId, NodeId, RunId};
use tinywatt_proto::v1;

use super::{ReadError, Store, WriteError, sql};
use crate::result::TrialResult;

/// Begin of a statement whose rows [`run_row`] reads.
const SELECT_RUN: &str = "SELECT run, experiment, submission, trials, state, started_unix_ns, ended_unix_ns FROM run";

/// Begin of a statement whose rows [`attempt_row`] reads.
const SELECT_ATTEMPT: &str = "SELECT trial, attempt, node, started_unix_ns, result, boot_id FROM attempt";

/// One execution of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Name of the experiment.
    pub experiment: String,
    /// What was submitted.
    pub submit: v1::SubmitRequest,
    /// The trials, in the order of execution.
    pub trials: Vec<v1::PlannedTrial>,
    /// When it was started.
    pub started_unix_ns: u64,
    /// Where it stands.
    pub state: v1::RunState,
    /// When it ended; `None` while it is running.
    pub ended_unix_ns: Option<u64>,
}

/// One attempt at one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// The attempt.
    pub attempt: AttemptId,
    /// Node that was told to execute it.
    pub node: NodeId,
    /// Start of its agent; `None` for attempts of a collector that did not keep it.
    pub boot: Option<BootId>,
    /// When it was told.
    pub started_unix_ns: u64,
    /// What came of it; `None` until it is assessed.
    pub result: Option<TrialResult>,
}

/// The catalogue was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A run of this name is there already.
    #[error("run {run} is there already: choose another id")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// No such run.
    #[error("there is no run {run}: see 'collector runs'")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// No such attempt.
    #[error("attempt {attempt} was never started")]
    UnknownAttempt {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A run cannot end in this state.
    #[error("run {run} cannot end as {state:?}")]
    NoEnd {
        /// The run.
        run: RunId,
        /// The state.
        state: v1::RunState,
    },
    /// A result cannot be written as JSON.
    #[error("failed to encode the result of attempt {attempt}")]
    Encode {
        /// The attempt.
        attempt: AttemptId,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
    /// The store failed.
    #[error("failed to change the catalogue")]
    Write(#[source] WriteError),
}

// === impl Store: runs ===

impl Store {
    /// Adds a run.
    ///
    /// # Errors
    /// [`CatalogueError::RunExists`], and when the store failed.
    pub async fn create_run(&self, row: RunRow) -> Result<(), CatalogueError> {
        let run = row.run.clone();
        let is_new = self
            .write(move |session| {
                let trials = v1::SubmitResponse { trials: row.trials, ..Default::default() };
                let inserted = session
                    .connection
                    .prepare_cached(
                        "INSERT INTO run (run, experiment, submission, trials, state, started_unix_ns, ended_unix_ns) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![
                        row.run.as_str(),
                        row.experiment,
                        row.submit.encode_to_vec(),
                        trials.encode_to_vec(),
                        i32::from(row.state),
                        sql::integer(row.started_unix_ns),
                        row.ended_unix_ns.map(sql::integer),
                    ])?;
                Ok(inserted == 1)
            })
            .await
            .map_err(CatalogueError::Write)?;
        if is_new { Ok(()) } else { Err(CatalogueError::RunExists { run }) }
    }

    /// One run; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn run(&self, run: &RunId) -> Result<Option<RunRow>, ReadError> {
        let run = run.clone();
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached(&format!("{SELECT_RUN} WHERE run = ?1"))?
                .query_row([run.as_str()], run_row)
                .optional()?)
        })
        .await
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn runs(&self) -> Result<Vec<RunRow>, ReadError> {
        self.read(|transaction| {
            let mut statement = transaction.prepare_cached(&format!("{SELECT_RUN} ORDER BY started_unix_ns, run"))?;
            let rows = statement.query_map([], run_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Runs that have not ended.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn running_run_count(&self) -> Result<usize, ReadError> {
        self.read(|transaction| {
            let count: u32 = transaction
                .prepare_cached("SELECT count(*) FROM run WHERE ended_unix_ns IS NULL")?
                .query_row([], |row| row.get(0))?;
            Ok(count as usize)
        })
        .await
    }

    /// One attempt; `None` when it was never started.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn attempt(&self, attempt: &AttemptId) -> Result<Option<AttemptRow>, ReadError> {
        let attempts = self.trial_attempts(&attempt.run, attempt.trial).await?;
        Ok(attempts.into_iter().find(|row| row.attempt.attempt == attempt.attempt))
    }

    /// Ends a run. A run that has ended stays as it is.
    ///
    /// # Errors
    /// [`CatalogueError::UnknownRun`], [`CatalogueError::NoEnd`], and when the store failed.
    pub async fn end_run(&self, run: &RunId, state: v1::RunState, at_unix_ns: u64) -> Result<(), CatalogueError> {
        if matches!(state, v1::RunState::Unspecified | v1::RunState::Running) {
            return Err(CatalogueError::NoEnd { run: run.clone(), state });
        }
        let name = run.clone();
        let is_known: bool = self
            .write(move |session| {
                session
                    .connection
                    .prepare_cached(
                        "UPDATE run SET state = ?2, ended_unix_ns = ?3 WHERE run = ?1 AND ended_unix_ns IS NULL",
                    )?
                    .execute(params![name.as_str(), i32::from(state), sql::integer(at_unix_ns)])?;
                session
                    .connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM run WHERE run = ?1)")?
                    .query_row([name.as_str()], |row| row.get(0))
            })
            .await
            .map_err(CatalogueError::Write)?;
        if is_known { Ok(()) } else { Err(CatalogueError::UnknownRun { run: run.clone() }) }
    }
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let run: String = row.get(0)?;
    let state: i32 = row.get(4)?;
    let ended: Option<i64> = row.get(6)?;
    Ok(RunRow {
        run: run.parse().map_err(|source| sql::unreadable(0, source))?,
        experiment: row.get(1)?,
        submit: sql::message(row, 2)?,
        trials: sql::message::<v1::SubmitResponse>(row, 3)?.trials,
        started_unix_ns: sql::unsigned(row, 5)?,
        state: v1::RunState::try_from(state).map_err(|source| sql::unreadable(4, source))?,
        ended_unix_ns: ended.map(|_| sql::unsigned(row, 6)).transpose()?,
    })
}

// === impl Store: attempts ===

impl Store {
    /// Notes that a start of a node's agent was told to execute an attempt. A second note of it changes nothing.
    ///
    /// # Errors
    /// [`CatalogueError::UnknownRun`], and when the store failed.
    pub async fn start_attempt(
        &self,
        attempt: &AttemptId,
        node: &NodeId,
        boot: BootId,
        at_unix_ns: u64,
    ) -> Result<(), CatalogueError> {
        let (key, node) = (attempt.clone(), node.clone());
        let is_known: bool = self
            .write(move |session| {
                session
                    .connection
                    .prepare_cached(
                        "INSERT INTO attempt (run, trial, attempt, node, started_unix_ns, boot_id) \
                         SELECT run, ?2, ?3, ?4, ?5, ?6 FROM run WHERE run = ?1 ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![
                        key.run.as_str(),
                        key.trial,
                        key.attempt,
                        node.as_str(),
                        sql::integer(at_unix_ns),
                        boot.as_bytes(),
                    ])?;
                session
                    .connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM run WHERE run = ?1)")?
                    .query_row([key.run.as_str()], |row| row.get(0))
            })
            .await
            .map_err(CatalogueError::Write)?;
        if is_known { Ok(()) } else { Err(CatalogueError::UnknownRun { run: attempt.run.clone() }) }
    }

    /// Stores what came of an attempt. The first result stays; another one for the same attempt changes nothing.
    ///
    /// # Errors
    /// [`CatalogueError::UnknownAttempt`], and when the store failed.
    pub async fn finish_attempt(&self, attempt: &AttemptId, result: &TrialResult) -> Result<(), CatalogueError> {
        let json = serde_json::to_string(result)
            .map_err(|source| CatalogueError::Encode { attempt: attempt.clone(), source })?;
        let key = attempt.clone();
        let is_known = self
            .write(move |session| {
                let updated = session
                    .connection
                    .prepare_cached(
                        "UPDATE attempt SET result = coalesce(result, ?4) \
                         WHERE run = ?1 AND trial = ?2 AND attempt = ?3",
                    )?
                    .execute(params![key.run.as_str(), key.trial, key.attempt, json])?;
                Ok(updated == 1)
            })
            .await
            .map_err(CatalogueError::Write)?;
        if is_known { Ok(()) } else { Err(CatalogueError::UnknownAttempt { attempt: attempt.clone() }) }
    }

    /// All attempts of a run, by trial and attempt.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn attempts(&self, run: &RunId) -> Result<Vec<AttemptRow>, ReadError> {
        let run = run.clone();
        self.read(move |transaction| {
            let mut statement =
                transaction.prepare_cached(&format!("{SELECT_ATTEMPT} WHERE run = ?1 ORDER BY trial, attempt"))?;
            let rows = statement.query_map([run.as_str()], |row| attempt_row(&run, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The attempts at one trial.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn trial_attempts(&self, run: &RunId, trial: u32) -> Result<Vec<AttemptRow>, ReadError> {
        let run = run.clone();
        self.read(move |transaction| {
            let sql = format!("{SELECT_ATTEMPT} WHERE run = ?1 AND trial = ?2 ORDER BY attempt");
            let mut statement = transaction.prepare_cached(&sql)?;
            let rows = statement.query_map(params![run.as_str(), trial], |row| attempt_row(&run, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What the attempt's node said came of it; `None` before it arrived. What another node said is not looked at.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn outcome(&self, attempt: &AttemptId) -> Result<Option<v1::TrialOutcome>, ReadError> {
        let key = attempt.clone();
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached(
                    "SELECT outcome FROM outcome JOIN boot USING (boot_key) JOIN node USING (node_key) \
                     JOIN attempt USING (run, trial, attempt, node) WHERE run = ?1 AND trial = ?2 AND attempt = ?3",
                )?
                .query_row(params![key.run.as_str(), key.trial, key.attempt], |row| sql::message(row, 0))
                .optional()?)
        })
        .await
    }
}

fn attempt_row(run: &RunId, row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let result: Option<String> = row.get(4)?;
    let boot: Option<Vec<u8>> = row.get(5)?;
    let result = result.map(|json| serde_json::from_str(&json)).transpose();
    Ok(AttemptRow {
        attempt: AttemptId { run: run.clone(), trial: row.get(0)?, attempt: row.get(1)? },
        node: sql::node(row, 2)?,
        boot: boot.map(|_| sql::boot_id(row, 5)).transpose()?,
        started_unix_ns: sql::unsigned(row, 3)?,
        result: result.map_err(|source| sql::unreadable(4, source))?,
    })
}
