//! Gets some lines into the database, whatever it answers: again, in halves, or without those that it will never take.
//!
//! Ends only when every line is there or in quarantine. Waits as long as the database is not there: the lines are in the
//! store, and what waits here is bounded by who calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tinywatt_proto::backoff;
use tinywatt_proto::chain::Chain;
use tokio_util::sync::CancellationToken;

use super::line::Lines;
use super::series::Bucket;
use super::server::{Server, Unreachable};
use super::state::{Doing, State};
use super::verdict::{Answer, Verdict, judge};
use crate::clock;
use crate::store::{Quarantined, Store, WriteError};

/// How often a database that wants something done is asked again.
const HELD_PERIOD: Duration = Duration::from_secs(30);

/// Lines of one request that are refused one by one before the database itself is doubted: each costs a request, and a
/// server that refuses so many refuses all, which says nothing about the lines.
const REFUSED_COUNT_MAX: usize = 64;

/// Lines that a partial write dropped and that are looked for one by one.
const SOUGHT_COUNT_MAX: u64 = 16;

/// Lines to get into one bucket.
#[derive(Debug)]
pub struct Request {
    /// The bucket.
    pub bucket: Bucket,
    /// The lines.
    pub lines: Lines,
}

/// Lines were not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The sink is stopping.
    #[error("the sink is stopping")]
    Stopped,
    /// What was refused cannot be kept.
    #[error("failed to keep a line that was refused")]
    Quarantine(#[source] WriteError),
}

/// Delivers requests.
#[derive(Debug)]
pub struct Deliverer<S> {
    server: Arc<S>,
    store: Store,
    target: String,
    state: Arc<State>,
    stop: CancellationToken,
    /// Most lines of a request, made smaller by a database to which requests were too large.
    lines_max: Arc<AtomicUsize>,
}

impl<S> Clone for Deliverer<S> {
    fn clone(&self) -> Self {
        Self {
            server: Arc::clone(&self.server),
            store: self.store.clone(),
            target: self.target.clone(),
            state: Arc::clone(&self.state),
            stop: self.stop.clone(),
            lines_max: Arc::clone(&self.lines_max),
        }
    }
}

/// What became of one try.
enum Tried {
    Verdict(Verdict, Answer),
    Unreachable(Unreachable),
}

// === impl Deliverer ===

impl<S: Server> Deliverer<S> {
    /// Delivers to a server; what it refuses is kept in `store` under `target`.
    pub fn new(server: Arc<S>, store: Store, target: String, state: Arc<State>, stop: CancellationToken) -> Self {
        Self { server, store, target, state, stop, lines_max: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    /// Delivers one request.
    ///
    /// # Errors
    /// [`DeliverError`]; then some of its lines may be there, and sending them again changes nothing.
    pub async fn deliver(&self, request: Request) -> Result<(), DeliverError> {
        let bucket = request.bucket;
        let mut refused_count = 0;
        // A stack: the next lines are last. Halves of halves are never more than 13 for 5,000 lines.
        let mut waiting = vec![Arc::new(request.lines)];
        while let Some(lines) = waiting.pop() {
            if lines.count() == 0 {
                continue;
            }
            if lines.count() > self.lines_max.load(Ordering::Relaxed) {
                waiting.extend(halves(lines));
                continue;
            }
            let (verdict, answer) = self.until_answered(bucket, &lines).await?;
            match verdict {
                Verdict::Taken => {}
                Verdict::PartlyTaken { dropped_count, is_for_age } => {
                    let is_sought = !is_for_age && dropped_count.is_some_and(|count| count <= SOUGHT_COUNT_MAX);
                    match halves(Arc::clone(&lines)) {
                        halves if is_sought && halves.len() > 1 => waiting.extend(halves),
                        _ => self.drop_some(&lines, dropped_count, answer.message).await?,
                    }
                }
                Verdict::TooLarge => {
                    self.lines_max.fetch_min((lines.count() / 2).max(1), Ordering::Relaxed);
                    match halves(Arc::clone(&lines)) {
                        halves if halves.len() > 1 => waiting.extend(halves),
                        _ => self.quarantine(lines.text(), 1, answer.message).await?,
                    }
                }
                Verdict::Refused => match halves(Arc::clone(&lines)) {
                    halves if halves.len() > 1 => waiting.extend(halves),
                    _ if refused_count == REFUSED_COUNT_MAX => {
                        self.hold("it refuses line after line: is it InfluxDB 2, and nothing in between?", &answer);
                        self.pause(HELD_PERIOD).await?;
                        waiting.push(lines);
                    }
                    _ => {
                        refused_count += 1;
                        self.quarantine(lines.text(), 1, answer.message).await?;
                    }
                },
                Verdict::Later { .. } | Verdict::Held { .. } => {
                    unreachable!("an answer is waited for until it is another")
                }
            }
        }
        Ok(())
    }

    /// Tries until the database says something about the lines.
    async fn until_answered(&self, bucket: Bucket, lines: &Arc<Lines>) -> Result<(Verdict, Answer), DeliverError> {
        let mut failure_count = 0;
        loop {
            let wait = match self.try_once(bucket, lines).await? {
                Tried::Verdict(Verdict::Held { advice }, answer) => {
                    self.hold(advice, &answer);
                    HELD_PERIOD
                }
                Tried::Verdict(Verdict::Later { after }, answer) => {
                    failure_count += 1;
                    self.wait_for(format!("it answers {}: {}", answer.status, answer.message));
                    after.max(backoff::delay(failure_count, random()))
                }
                Tried::Unreachable(error) => {
                    failure_count += 1;
                    self.wait_for(Chain(&error).to_string());
                    backoff::delay(failure_count, random())
                }
                Tried::Verdict(verdict, answer) => {
                    let taken = if verdict == Verdict::Taken { lines.count() as u64 } else { 0 };
                    self.state.note_answer(taken);
                    if self.state.set_doing(Doing::Writing) {
                        tracing::info!("the sink writes again");
                    }
                    return Ok((verdict, answer));
                }
            };
            self.state.note_retry();
            self.pause(wait).await?;
        }
    }

    async fn try_once(&self, bucket: Bucket, lines: &Arc<Lines>) -> Result<Tried, DeliverError> {
        let (server, lines) = (Arc::clone(&self.server), Arc::clone(lines));
        let sending = tokio::task::spawn_blocking(move || server.write(bucket, &lines));
        // A request that is on its way ends by its own timeout; nobody waits for it when the sink stops.
        let sent = tokio::select! {
            sent = sending => sent,
            () = self.stop.cancelled() => return Err(DeliverError::Stopped),
        };
        Ok(match sent {
            Ok(Ok(answer)) => Tried::Verdict(judge(&answer), answer),
            Ok(Err(error)) => Tried::Unreachable(error),
            Err(broken) => Tried::Unreachable(Unreachable::new(&self.target, broken)),
        })
    }

    fn wait_for(&self, reason: String) {
        if self.state.set_doing(Doing::Waiting { reason: reason.clone() }) {
            tracing::warn!(target = self.target, reason, "the sink waits for the database; the store keeps everything");
        }
    }

    fn hold(&self, advice: &str, answer: &Answer) {
        let reason = format!("{advice} (it answers {}: {})", answer.status, answer.message);
        if self.state.set_doing(Doing::Held { reason: reason.clone() }) {
            tracing::error!(target = self.target, reason, "the sink is held; the store keeps everything");
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), DeliverError> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.cancelled() => Err(DeliverError::Stopped),
        }
    }

    /// Keeps what a partial write dropped: the line, when there is only one; else that there were some.
    async fn drop_some(&self, lines: &Lines, dropped_count: Option<u64>, reason: String) -> Result<(), DeliverError> {
        let line = if lines.count() == 1 { lines.text() } else { "" };
        let all = lines.count() as u64;
        self.quarantine(line, dropped_count.unwrap_or(all).clamp(1, all), reason).await
    }

    async fn quarantine(&self, line: &str, line_count: u64, reason: String) -> Result<(), DeliverError> {
        tracing::warn!(
            target = self.target,
            line_count,
            reason,
            "lines were refused; `collector sink quarantine` lists them"
        );
        let line = line.trim_end().to_owned();
        let refused = Quarantined { at_unix_ns: clock::unix_ns(), reason, line, line_count };
        self.store.quarantine(&self.target, refused).await.map_err(DeliverError::Quarantine)?;
        self.state.note_quarantined(line_count);
        Ok(())
    }
}

/// Between 0 and 1; spreads those who lost the same database at the same moment.
fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / (f64::from(u32::MAX) + 1.0)
}

/// Two halves, the second one first, as a stack wants them; or what cannot be cut.
fn halves(lines: Arc<Lines>) -> Vec<Arc<Lines>> {
    match Lines::clone(&lines).halves() {
        Some((first, second)) => vec![Arc::new(second), Arc::new(first)],
        None => vec![lines],
    }
}
