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
use crate::store::{
    Axis, AxisError, Changed, Changes, Newest, Placed, Position, ReadError, RunRow, Store, StoredBatch, Waited,
};

/// Lines of a request: fewer cost the server more each, more gain little.
pub const REQUEST_LINE_COUNT: usize = 5_000;

/// Readings of a portion: eight requests, 5 MB of text.
const PORTION_READING_COUNT: u64 = 40_000;

/// Batches of a portion, should they hold few readings each.
const PORTION_BATCH_COUNT: u32 = 2_048;

/// Changes of a portion.
const PORTION_CHANGE_COUNT: u32 = 1_024;

/// Lines of a portion: an attempt's latencies may be thousands.
const PORTION_LINE_COUNT: usize = 40_000;

/// How long samples wait for what places them in time, after the last record of their boot has arrived.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long at most: a spool that takes longer to arrive holds everything else up.
const PATIENCE_MAX: Duration = Duration::from_secs(300);

/// Channels and boots remembered: more than the 20 nodes of the budget have in six restarts; 30 KB a channel.
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
    /// Boots that wait for their place.
    waiting: HashMap<i64, Wait>,
    /// The last batch of each stream that was made into lines.
    newest: HashMap<i64, Newest>,
}

/// A boot that waits for its place.
#[derive(Debug, Clone, Copy)]
struct Wait {
    since: MonoNs,
    /// How much of it has arrived, and since when it is no more.
    record_count: i64,
    quiet_since: MonoNs,
}

impl Wait {
    fn waited(&self, now: MonoNs) -> Waited {
        let (all, quiet) = (now.since(self.since), now.since(self.quiet_since));
        if quiet >= PATIENCE || all >= PATIENCE_MAX {
            Waited::Long
        } else if all >= PATIENCE {
            Waited::Briefly
        } else {
            Waited::No
        }
    }
}

/// Collects lines into requests.
#[derive(Debug, Default)]
struct Requests {
    made: Vec<Request>,
    /// Lines in what was made.
    made_line_count: usize,
    results: Lines,
    samples: Lines,
}

impl Requests {
    /// Makes requests of whatever is full.
    fn cut(&mut self) {
        for (bucket, lines) in [(Bucket::Results, &mut self.results), (Bucket::Samples, &mut self.samples)] {
            while lines.count() >= REQUEST_LINE_COUNT {
                self.made.push(Request { bucket, lines: lines.take_first(REQUEST_LINE_COUNT) });
                self.made_line_count += REQUEST_LINE_COUNT;
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
            newest: HashMap::new(),
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
        let Changes { changed, last_key, mut is_level } = self.store.changes_after(after, PORTION_CHANGE_COUNT).await?;
        let (mut done, mut runs) = (last_key, BTreeSet::new());
        for (key, changed) in changed {
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
            if requests.made_line_count >= PORTION_LINE_COUNT {
                (done, is_level) = (key, false);
                break;
            }
        }
        for run in runs {
            self.run(&run, &mut requests.results).await?;
            requests.cut();
        }
        Ok((done.max(after), is_level))
    }

    async fn batches(&mut self, after: i64, requests: &mut Requests) -> Result<(i64, bool), FeedError> {
        let newest = self.newest.clone();
        let batches = self.store.batches_after(after, PORTION_BATCH_COUNT, PORTION_READING_COUNT, newest).await?;
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
            self.newest.insert(stored.stream_key, Newest::from(&stored));
            placed.push((stored, axis));
        }
        let Some(last) = placed.last().map(|(stored, _)| stored.batch_key) else { return Ok((after, is_level)) };
        if self.newest.len() > REMEMBERED_COUNT_MAX {
            self.newest.clear();
        }
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

    /// The axis of a boot; `None` while what will place it may still arrive.
    async fn axis(&mut self, boot_key: i64) -> Result<Option<Axis>, FeedError> {
        if let Some(axis) = self.axes.get(&boot_key) {
            return Ok(Some(*axis));
        }
        let now = self.uptime.now();
        let waited = self.waiting.get(&boot_key).map_or(Waited::No, |wait| wait.waited(now));
        match self.store.axis(boot_key, clock::unix_ns(), waited).await? {
            Placed::NotYet { record_count } => {
                let new = Wait { since: now, record_count, quiet_since: now };
                let wait = self.waiting.entry(boot_key).or_insert(new);
                if wait.record_count != record_count {
                    (wait.record_count, wait.quiet_since) = (record_count, now);
                }
                Ok(None)
            }
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
