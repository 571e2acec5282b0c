//! Acts on what the state machine decides: the only part of the schedule with I/O.
//!
//! One task owns the state. Agents, ingest and control speak to it through a [`Handle`]; it writes to the store before
//! it tells an agent anything, so that a restart finds at least what agents were told.

mod act;
mod handle;
mod link;
mod produced;
mod resume;
mod rival;
mod run_id;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::v1;
use tinywatt_proto::v1::treatment::Workload;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::workload::is_open_ended;
use super::{Command, Config, Event, State};
use crate::assess;
use crate::clock::Uptime;
use crate::result::TrialResult;
use crate::store::{CatalogueError, ReadError, RunRow, Store};
use handle::Input;
use link::Link;
use rival::Rivals;

pub use handle::{Handle, Stopped, SubmitError};
pub use link::{Connection, Reporter};
pub(crate) use run_id::EXPERIMENT_BYTES_MAX;
pub use watch::{Change, Snapshot, summary};

/// What may wait for the driver. Every connected agent sends a few messages a second at most, and each is handled in
/// the time of one commit; a full queue only makes senders wait.
const INPUT_COUNT: usize = 64;

/// Changes that a slow watcher may be behind before it is given the whole state again: minutes of an ordinary run.
const CHANGE_COUNT: usize = 256;

/// How often deadlines are looked at. They are a minute and more; a second late is not late.
const TICK: Duration = Duration::from_secs(1);

/// What an assessment gives: a result, or that the store could not be read.
type Assessed = Result<TrialResult, ReadError>;

/// Turns a committed outcome of a workload into a result. A function, so that the driver need not know samples.
pub type Assess = Arc<
    dyn Fn(
            AttemptId,
            v1::PlannedTrial,
            Option<Workload>,
            v1::TrialOutcome,
        ) -> Pin<Box<dyn Future<Output = Assessed> + Send>>
        + Send
        + Sync,
>;

/// The real [`Assess`], on the samples of a store.
pub fn assess_from(store: Store) -> Assess {
    Arc::new(move |attempt, planned, workload, outcome| {
        let store = store.clone();
        Box::pin(async move { assess::run(&store, &attempt, &planned, workload.as_ref(), &outcome).await })
    })
}

/// The schedule could not go on. What was decided until then is in the store.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Runs, attempts or outcomes could not be read.
    #[error("the schedule failed to read the store")]
    Read(#[source] ReadError),
    /// Runs, attempts or results could not be kept.
    #[error("the schedule failed to write to the store")]
    Write(#[source] CatalogueError),
}

/// The task that owns the state.
pub struct Driver {
    store: Store,
    assess: Assess,
    state: State,
    uptime: Uptime,
    inputs: mpsc::Receiver<Input>,
    changes: broadcast::Sender<Arc<Change>>,
    /// Changes told so far.
    revision: u64,
    links: HashMap<NodeId, Link>,
    rivals: Rivals,
    /// Runs that have not ended.
    runs: HashMap<RunId, Arc<RunRow>>,
    /// What each node was seen at last.
    progress: BTreeMap<NodeId, v1::Progress>,
    assessments: JoinSet<(AttemptId, Result<TrialResult, DriverError>)>,
    /// Which attempt a task assesses, should it panic.
    assessed_by: HashMap<Id, (AttemptId, Arc<RunRow>)>,
}

impl Driver {
    /// Takes up every run that had not ended.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn resume(store: Store, assess: Assess, config: Config) -> Result<(Self, Handle), DriverError> {
        let (sender, inputs) = mpsc::channel(INPUT_COUNT);
        let (changes, _) = broadcast::channel(CHANGE_COUNT);
        let mut driver = Self {
            store,
            assess,
            state: State::new(config),
            uptime: Uptime::start(),
            inputs,
            changes: changes.clone(),
            revision: 0,
            links: HashMap::new(),
            rivals: Rivals::default(),
            runs: HashMap::new(),
            progress: BTreeMap::new(),
            assessments: JoinSet::new(),
            assessed_by: HashMap::new(),
        };
        driver.take_up_runs().await?;
        Ok((driver, Handle::new(sender, changes)))
    }

    /// Drives until told to stop. Connections to agents end with it; attempts stay open in the store.
    ///
    /// # Errors
    /// When the store fails: nothing may be decided that is not kept.
    pub async fn drive(mut self, stop: CancellationToken) -> Result<(), DriverError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(input) = self.inputs.recv() => self.take(input).await?,
                Some(joined) = self.assessments.join_next_with_id() => self.assessed(joined).await?,
                _ = tick.tick() => self.tick().await?,
            }
        }
    }

    async fn step(&mut self, event: Event) -> Result<(), DriverError> {
        let commands = self.decide(event);
        self.obey(commands).await
    }

    fn decide(&mut self, event: Event) -> Vec<Command> {
        self.state.step(self.uptime.now(), event)
    }

    async fn take(&mut self, input: Input) -> Result<(), DriverError> {
        match input {
            Input::Connected { node, boot, running, spooled, link } => {
                // The older stream, if there is one, ends with its link.
                let older = self.links.insert(node.clone(), link);
                if older.is_some_and(|older| older.boot != boot) {
                    tracing::warn!(%node, "another start of an agent took its place: if this repeats, two agents have one name");
                }
                tracing::info!(%node, %boot, "agent connected");
                self.take_in_outcomes(&node).await?;
                self.step(Event::NodeConnected { node, boot, running, spooled }).await
            }
            Input::Disconnected { node, link } if self.is_current(&node, link) => {
                self.links.remove(&node);
                tracing::info!(%node, "agent disconnected");
                self.step(Event::NodeDisconnected { node }).await
            }
            Input::Progress { node, link, attempt, progress } if self.is_current(&node, link) => {
                let phase = progress.phase();
                self.note_progress(&node, progress);
                let is_open_ended = self.runs.get(&attempt.run).is_some_and(|row| {
                    let planned = row.trials.iter().find(|planned| planned.trial == attempt.trial);
                    is_open_ended(phase, planned.and_then(|planned| workload_of(row, planned)))
                });
                self.step(Event::Progress { node, attempt, is_open_ended }).await
            }
            Input::Finished { node, link, attempt, spooled } if self.is_current(&node, link) => {
                self.forget_progress(&attempt);
                self.step(Event::Finished { node, attempt, spooled }).await
            }
            Input::Disconnected { .. } | Input::Progress { .. } | Input::Finished { .. } => Ok(()),
            Input::OutcomeCommitted { node, attempt } => self.step(Event::OutcomeCommitted { node, attempt }).await,
            Input::Submit { submission, answer } => {
                let run = self.submit(*submission).await;
                let begun = run.as_ref().ok().cloned();
                // Whoever submitted may have left; the run goes on.
                let _ = answer.send(run);
                match begun {
                    Some(run) => self.begin(&run).await,
                    None => Ok(()),
                }
            }
            Input::Cancel { run, answer } => {
                let is_running = self.runs.contains_key(&run);
                self.step(Event::CancelRun { run }).await?;
                let _ = answer.send(is_running);
                Ok(())
            }
            Input::Watch { run, answer } => {
                let _ = answer.send(self.snapshot(&run));
                Ok(())
            }
            Input::ConnectedBoot { node, answer } => {
                let _ = answer.send(self.links.get(&node).map(|link| link.boot));
                Ok(())
            }
            Input::Refused { node, boot, is_certain } => {
                self.refused(&node, boot, is_certain);
                Ok(())
            }
            Input::Nodes { answer } => {
                let _ = answer.send(self.state.nodes(self.uptime.now()));
                Ok(())
            }
        }
    }

    async fn tick(&mut self) -> Result<(), DriverError> {
        for node in self.state.nodes_behind() {
            if let Some(delivery_id) = self.store.delivered(&node) {
                // First those that are among these records: once all have arrived, nothing more is waited for.
                self.take_in_outcomes(&node).await?;
                self.step(Event::Delivered { node, delivery_id }).await?;
            }
        }
        self.step(Event::Tick).await
    }

    /// Takes in outcomes that are in the store, and of which the word is still under way: what is committed counts,
    /// whatever has become of its agent.
    async fn take_in_outcomes(&mut self, node: &NodeId) -> Result<(), DriverError> {
        for attempt in self.state.outstanding(node) {
            if self.store.outcome(&attempt).await.map_err(DriverError::Read)?.is_some() {
                self.step(Event::OutcomeCommitted { node: node.clone(), attempt }).await?;
            }
        }
        Ok(())
    }

    fn is_current(&self, node: &NodeId, link: u64) -> bool {
        self.links.get(node).is_some_and(|current| current.id == link)
    }
}

/// The treatment that a trial executes.
fn treatment_of<'a>(row: &'a RunRow, planned: &v1::PlannedTrial) -> Option<&'a v1::Treatment> {
    row.submit.treatments.iter().find(|treatment| treatment.name == planned.treatment)
}

/// What a trial executes.
fn workload_of<'a>(row: &'a RunRow, planned: &v1::PlannedTrial) -> Option<&'a Workload> {
    treatment_of(row, planned)?.workload.as_ref()
}
