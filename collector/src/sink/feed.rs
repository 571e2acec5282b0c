//! From the store's rows to lines, in the order of the commits, a portion at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tinywatt_proto::columns::DecodeError;
use tinywatt_proto::ids::{AttemptId, BootId, RunId};
use tinywatt_proto::time::MonoNs;

use super::deliver::Request;
use super::line::Lines;
use super::points::samples::{Detail, Writer};
use super::points::{attempt, health, instants, run};
use super::series::Bucket;
use crate::clock::{self, Uptime};
use crate::health::Health;
use crate::report::{self, Run, RunReport};
use crate::schedule::driver::summary;
use crate::store::{Axis, AxisError, Changed, Placed, Position, ReadError, RunRow, Store, StoredBatch};

/// Lines of a request: fewer cost the server more each, more gain little.
pub const REQUEST_LINE_COUNT: usize = 5_000;

/// Readings of a portion: eight requests, 5 MB of text.
const PORTION_READING_COUNT: u64 = 40_000;

/// Batches of a portion, should they hold few readings each.
const PORTION_BATCH_COUNT: u32 = 2_048;

/// Changes of a portion.
const PORTION_CHANGE_COUNT: u32 = 1_024;

/// How long samples wait for the first clock probe of an agent that is there.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Channels and boots remembered: more than the 20 nodes of the budget have in six restarts; 120 KB a channel.
const REMEMBERED_COUNT_MAX: usize = 128;

/// What is sent together before the position moves on.
#[derive(Debug)]
pub struct Portion {
    /// The requests.
    pub requests: Vec<Request>,
    /// Where the store is read on from.
    pub position: Position,
    /// Whether it was all there was.
    pub is_level: bool,
}

/// The store could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// It could not be read.
    #[error("failed to read what is to be written on")]
    Read(#[from] ReadError),
    /// A boot could not be placed in time.
    #[error("failed to place samples in time")]
    Axis(#[from] AxisError),
    /// Lines were not made.
    #[error("failed to make lines: please report this with the log")]
    Broken(#[source] tokio::task::JoinError),
}

/// Reads the store on.
#[derive(Debug)]
pub struct Feed {
    store: Store,
    detail: Detail,
    uptime: Uptime,
    axes: HashMap<i64, Axis>,
    writers: HashMap<(i64, u32), Writer>,
    /// Since when samples of a boot wait for its first probe.
    waiting: HashMap<i64, MonoNs>,
}

/// Collects lines into requests.
#[derive(Debug, Default)]
struct Requests {
    made: Vec<Request>,
    results: Lines,
    samples: Lines,
}

impl Requests {
    /// Makes requests of whatever is full.
    fn cut(&mut self) {
        for (bucket, lines) in [(Bucket::Results, &mut self.results), (Bucket::Samples, &mut self.samples)] {
            while lines.count() >= REQUEST_LINE_COUNT {
                self.made.push(Request { bucket, lines: lines.take_first(REQUEST_LINE_COUNT) });
            }
        }
    }

    fn finish(mut self) -> Vec<Request> {
        self.cut();
        for (bucket, lines) in [(Bucket::Results, self.results), (Bucket::Samples, self.samples)] {
            if lines.count() > 0 {
                self.made.push(Request { bucket, lines });
            }
        }
        self.made
    }
}

// === impl Feed ===

impl Feed {
    /// Reads a store on.
    pub fn new(store: Store, detail: Detail) -> Self {
        Self {
            store,
            detail,
            uptime: Uptime::start(),
            axes: HashMap::new(),
            writers: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// What comes after a position; as much as makes a portion.
    ///
    /// # Errors
    /// [`FeedError`]; the same portion can be asked for again.
    pub async fn portion(&mut self, after: Position) -> Result<Portion, FeedError> {
        let mut requests = Requests::default();
        let (change_key, changes_are_level) = self.changes(after.change_key, &mut requests).await?;
        let (batch_key, batches_are_level) = self.batches(after.batch_key, &mut requests).await?;
        Ok(Portion {
            requests: requests.finish(),
            position: Position { batch_key, change_key },
            is_level: changes_are_level && batches_are_level,
        })
    }

    async fn changes(&mut self, after: i64, requests: &mut Requests) -> Result<(i64, bool), FeedError> {
        let (changes, last) = self.store.changes_after(after, PORTION_CHANGE_COUNT).await?;
        let mut is_level = changes.len() < PORTION_CHANGE_COUNT as usize;
        let (mut done, mut runs) = (last, BTreeSet::new());
        for (key, changed) in changes {
            let lines = &mut requests.results;
            let is_done = match changed {
                Changed::Run(run) => {
                    runs.insert(run);
                    true
                }
                Changed::Attempt(attempt) => {
                    runs.insert(attempt.run.clone());
                    self.attempt(&attempt, lines).await?
                }
                Changed::Marker { boot_key, node, marker } => {
                    self.with_axis(boot_key, |axis| instants::phase(&node, &marker, axis, lines)).await?
                }
                Changed::ClockProbe { boot_key, node, probe } => {
                    self.with_axis(boot_key, |axis| instants::clock(&node, &probe, axis, lines)).await?
                }
                Changed::AgentHealth { boot_key, node, health } => {
                    self.with_axis(boot_key, |axis| instants::agent(&node, &health, axis, lines)).await?
                }
                Changed::Health { at_unix_ns, health } => {
                    // One of another version says nothing that is known here.
                    if let Ok(seen) = serde_json::from_str::<Health>(&health) {
                        health::health(at_unix_ns, &seen, lines);
                    }
                    true
                }
            };
            if !is_done {
                (done, is_level) = (key - 1, false);
                break;
            }
            requests.cut();
        }
        for run in runs {
            self.run(&run, &mut requests.results).await?;
            requests.cut();
        }
        Ok((done.max(after), is_level))
    }

    async fn batches(&mut self, after: i64, requests: &mut Requests) -> Result<(i64, bool), FeedError> {
        let batches = self.store.batches_after(after, PORTION_BATCH_COUNT, PORTION_READING_COUNT).await?;
        let reading_count: u64 = batches.iter().map(|stored| u64::from(stored.batch.reading_count)).sum();
        let mut is_level = batches.len() < PORTION_BATCH_COUNT as usize && reading_count < PORTION_READING_COUNT;
        let mut placed = Vec::with_capacity(batches.len());
        for stored in batches {
            let Some(axis) = self.axis(stored.boot_key).await? else {
                is_level = false;
                break;
            };
            let channel = (stored.boot_key, stored.channel);
            if !self.writers.contains_key(&channel) {
                let fed = self.store.fed_channel(stored.boot_key, stored.channel).await?;
                self.writers.insert(channel, Writer::new(&fed));
            }
            placed.push((stored, axis));
        }
        let Some(last) = placed.last().map(|(stored, _)| stored.batch_key) else { return Ok((after, is_level)) };
        self.encode(placed, requests).await?;
        Ok((last, is_level))
    }

    /// Makes lines of batches, away from the async threads: ten milliseconds for a portion.
    async fn encode(&mut self, batches: Vec<(StoredBatch, Axis)>, requests: &mut Requests) -> Result<(), FeedError> {
        let (mut writers, detail) = (std::mem::take(&mut self.writers), self.detail);
        let mut made = std::mem::take(requests);
        let encoding = tokio::task::spawn_blocking(move || {
            for (stored, axis) in &batches {
                let (stored, axis) = (stored, *axis);
                let writer = writers.get_mut(&(stored.boot_key, stored.channel)).expect("every channel was prepared");
                writer.holes(stored, axis, &mut made.results);
                if let Err(error) = writer.samples(stored, axis, detail, &mut made.samples) {
                    damaged(stored, &error);
                }
                made.cut();
            }
            (writers, made)
        });
        (self.writers, *requests) = encoding.await.map_err(FeedError::Broken)?;
        if self.writers.len() > REMEMBERED_COUNT_MAX {
            self.writers.clear();
        }
        Ok(())
    }

    /// Writes with the axis of a boot; false when that has to wait.
    async fn with_axis(&mut self, boot_key: i64, write: impl FnOnce(Axis)) -> Result<bool, FeedError> {
        let axis = self.axis(boot_key).await?;
        if let Some(axis) = axis {
            write(axis);
        }
        Ok(axis.is_some())
    }

    /// The axis of a boot; `None` while its first probe is waited for.
    async fn axis(&mut self, boot_key: i64) -> Result<Option<Axis>, FeedError> {
        if let Some(axis) = self.axes.get(&boot_key) {
            return Ok(Some(*axis));
        }
        let now = self.uptime.now();
        let since = *self.waiting.entry(boot_key).or_insert(now);
        let is_late = now.since(since) >= PROBE_PATIENCE;
        match self.store.axis(boot_key, clock::unix_ns(), is_late).await? {
            Placed::NotYet => Ok(None),
            Placed::At(axis) => {
                self.waiting.remove(&boot_key);
                if self.axes.len() >= REMEMBERED_COUNT_MAX {
                    self.axes.clear();
                }
                self.axes.insert(boot_key, axis);
                Ok(Some(axis))
            }
        }
    }

    async fn attempt(&mut self, id: &AttemptId, lines: &mut Lines) -> Result<bool, FeedError> {
        let (Some(row), Some(attempt)) = (self.store.run(&id.run).await?, self.store.attempt(id).await?) else {
            return Ok(true);
        };
        let Some(result) = &attempt.result else { return Ok(true) };
        let boot = result.measurement.as_ref().and_then(|measurement| boot(&measurement.samples_boot_id));
        let boot_key = match boot {
            Some(boot) => self.store.boot_key(&attempt.node, boot).await?,
            None => None,
        };
        let axis = match boot_key {
            Some(boot_key) => match self.axis(boot_key).await? {
                Some(axis) => Some(axis),
                None => return Ok(false),
            },
            None => None,
        };
        let run = input(&row, []);
        attempt::Attempt { run: &run, started_unix_ns: attempt.started_unix_ns, result, axis }.write(lines);
        Ok(true)
    }

    /// Writes a run's report anew, from everything that is known of the run by now.
    async fn run(&self, run: &RunId, lines: &mut Lines) -> Result<(), FeedError> {
        let Some(row) = self.store.run(run).await? else { return Ok(()) };
        let attempts = self.store.attempts(run).await?;
        let counting = tokio::task::spawn_blocking(move || {
            let summary = summary(&row, &attempts);
            let input = input(&row, attempts.into_iter().map(|attempt| attempt.result));
            let report = report::values(&input);
            let relations = report::relations(&input, &report);
            let mut lines = Lines::default();
            run::Run { input: &input, summary: &summary, report: &report, relations: &relations }.write(&mut lines);
            lines
        });
        lines.append(counting.await.map_err(FeedError::Broken)?);
        Ok(())
    }
}

fn input(row: &RunRow, attempts: impl IntoIterator<Item = Option<crate::result::TrialResult>>) -> RunReport {
    let run = Run {
        id: row.run.as_str(),
        submit: &row.submit,
        state: row.state,
        started_unix_ns: row.started_unix_ns,
        ended_unix_ns: row.ended_unix_ns,
    };
    RunReport::new(&run, attempts)
}

fn boot(text: &str) -> Option<BootId> {
    uuid::Uuid::parse_str(text).ok().and_then(|uuid| BootId::from_bytes(uuid.as_bytes()))
}

/// It was checked on arrival, so the disk is to blame. Everything else goes on; a report of it is refused.
fn damaged(stored: &StoredBatch, error: &DecodeError) {
    tracing::error!(
        batch_key = stored.batch_key,
        error = %tinywatt_proto::chain::Chain(error),
        "a batch in the store is damaged and left out: restore the store from a copy"
    );
}
