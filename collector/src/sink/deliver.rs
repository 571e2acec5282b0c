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

/// Lines that are refused one by one, and none taken meanwhile, before the database itself is doubted: a server that
/// refuses so many refuses all, which says nothing about the lines.
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
    /// Lines that were refused since one was taken.
    refused_count: Arc<AtomicUsize>,
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
            refused_count: Arc::clone(&self.refused_count),
        }
    }
}

/// A request that was not simply taken.
#[derive(Debug)]
pub struct Stuck {
    /// Its portion.
    pub index: u64,
    /// The request.
    pub request: Request,
    /// Not before this has passed.
    pub wait: Duration,
}

// === impl Deliverer ===

impl<S: Server> Deliverer<S> {
    /// Delivers to a server; what it refuses is kept in `store` under `target`.
    pub fn new(server: Arc<S>, store: Store, target: String, state: Arc<State>, stop: CancellationToken) -> Self {
        let (lines_max, refused_count) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::default());
        Self { server, store, target, state, stop, lines_max, refused_count }
    }

    /// Delivers one request.
    ///
    /// # Errors
    /// [`DeliverError`]; then some of its lines may be there, and sending them again changes nothing.
    pub async fn deliver(&self, request: Request) -> Result<(), DeliverError> {
        let bucket = request.bucket;
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
                // What is too old is counted by whoever got the answer.
                Verdict::Taken | Verdict::PartlyTaken { is_for_age: true, .. } => {}
                Verdict::PartlyTaken { dropped_count, .. } => match halves(Arc::clone(&lines)) {
                    halves if dropped_count <= SOUGHT_COUNT_MAX && halves.len() > 1 => waiting.extend(halves),
                    _ => self.drop_some(&lines, dropped_count, answer.message).await?,
                },
                Verdict::TooLarge | Verdict::Refused => {
                    if verdict == Verdict::TooLarge {
                        self.lines_max.fetch_min((lines.count() / 2).max(1), Ordering::Relaxed);
                    }
                    match halves(Arc::clone(&lines)) {
                        halves if halves.len() > 1 => waiting.extend(halves),
                        _ if self.refused_count.load(Ordering::Relaxed) >= REFUSED_COUNT_MAX => {
                            self.hold("it refuses line after line: is it InfluxDB 2, and nothing in between?", &answer);
                            self.pause(HELD_PERIOD).await?;
                            waiting.push(lines);
                        }
                        _ => {
                            self.refused_count.fetch_add(1, Ordering::Relaxed);
                            self.quarantine(lines.text(), 1, answer.message).await?;
                        }
                    }
                }
                Verdict::Later { .. } | Verdict::Held { .. } => {
                    unreachable!("an answer is waited for until it is another")
                }
            }
        }
        Ok(())
    }

    /// Delivers one request after the other as long as each is simply taken, on a thread that may block: between two of
    /// them a database on the same machine would wait for every thread that has to wake. `next` gives the requests with
    /// their portions, and `done` is told of each; it may say that nobody wants more. Gives the request that was not taken.
    pub fn deliver_while_taken(
        &self,
        mut next: impl FnMut() -> Option<(u64, Request)>,
        mut done: impl FnMut(u64) -> bool,
    ) -> Option<Stuck> {
        loop {
            let (index, request) = next()?;
            let stuck = |request, wait| Some(Stuck { index, request, wait });
            let wait = self.state.time_asked_for();
            if !wait.is_zero() || request.lines.count() > self.lines_max.load(Ordering::Relaxed) {
                return stuck(request, wait);
            }
            match self.weigh(self.server.write(request.bucket, &request.lines), 1) {
                Ok((verdict @ Verdict::Taken, _)) => self.note(&verdict, request.lines.count()),
                Ok((verdict @ Verdict::PartlyTaken { is_for_age: true, .. }, _)) => {
                    self.note(&verdict, request.lines.count());
                }
                // Asked once more, by whoever knows what to do with the answer.
                Ok(_) => return stuck(request, Duration::ZERO),
                Err(wait) => {
                    self.state.note_retry();
                    return stuck(request, wait);
                }
            }
            if !done(index) || self.stop.is_cancelled() {
                return None;
            }
        }
    }

    /// Delivers a request that was not simply taken.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub async fn deliver_stuck(&self, request: Request, wait: Duration) -> Result<(), DeliverError> {
        self.pause(wait).await?;
        self.deliver(request).await
    }

    /// Tries until the database says something about the lines.
    async fn until_answered(&self, bucket: Bucket, lines: &Arc<Lines>) -> Result<(Verdict, Answer), DeliverError> {
        let mut failure_count = 0;
        loop {
            // Whichever connection was asked to leave the server alone, all do.
            self.pause(self.state.time_asked_for()).await?;
            failure_count += 1;
            match self.weigh(self.try_once(bucket, lines).await?, failure_count) {
                Ok((verdict, answer)) => {
                    self.note(&verdict, lines.count());
                    return Ok((verdict, answer));
                }
                Err(wait) => {
                    self.state.note_retry();
                    self.pause(wait).await?;
                }
            }
        }
    }

    /// What an answer says about the lines, or how long to wait before the next try.
    fn weigh(&self, sent: Result<Answer, Unreachable>, failure_count: u32) -> Result<(Verdict, Answer), Duration> {
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                self.wait_for(Chain(&error).to_string());
                return Err(backoff::delay(failure_count, random()));
            }
        };
        match judge(&answer) {
            Verdict::Held { advice } => {
                self.hold(advice, &answer);
                Err(HELD_PERIOD)
            }
            Verdict::Later { after } => {
                self.wait_for(format!("it answers {}: {}", answer.status, answer.message));
                self.state.ask_for_time(after);
                Err(after + backoff::delay(failure_count, random()))
            }
            verdict => Ok((verdict, answer)),
        }
    }

    /// Counts an answer about the lines. A refusal says nothing about whether the database works.
    fn note(&self, verdict: &Verdict, line_count: usize) {
        let line_count = line_count as u64;
        let taken = match verdict {
            Verdict::Taken => line_count,
            Verdict::PartlyTaken { dropped_count, is_for_age: true } => {
                self.state.note_expired(*dropped_count);
                line_count.saturating_sub(*dropped_count)
            }
            // Those that are sought are sent again, and counted then.
            Verdict::PartlyTaken { dropped_count, .. } if *dropped_count > SOUGHT_COUNT_MAX => {
                line_count.saturating_sub(*dropped_count)
            }
            _ => 0,
        };
        self.state.note_answer(taken);
        if matches!(verdict, Verdict::Taken | Verdict::PartlyTaken { .. }) {
            self.refused_count.store(0, Ordering::Relaxed);
            if self.state.set_doing(Doing::Writing) {
                tracing::info!("the sink writes again");
            }
        }
    }

    async fn try_once(&self, bucket: Bucket, lines: &Arc<Lines>) -> Result<Result<Answer, Unreachable>, DeliverError> {
        let (server, lines) = (Arc::clone(&self.server), Arc::clone(lines));
        let sending = tokio::task::spawn_blocking(move || server.write(bucket, &lines));
        // A request that is on its way ends by its own timeout; nobody waits for it when the sink stops.
        let sent = tokio::select! {
            sent = sending => sent,
            () = self.stop.cancelled() => return Err(DeliverError::Stopped),
        };
        Ok(sent.unwrap_or_else(|broken| Err(Unreachable::new(&self.target, broken))))
    }

    fn wait_for(&self, reason: String) {
        if self.state.set_doing(Doing::Waiting { reason: reason.clone() }) {
            tracing::warn!(
                database = self.target,
                reason,
                "the sink waits for the database; the store keeps everything"
            );
        }
    }

    fn hold(&self, advice: &str, answer: &Answer) {
        let reason = format!("{advice} (it answers {}: {})", answer.status, answer.message);
        if self.state.set_doing(Doing::Held { reason: reason.clone() }) {
            tracing::error!(database = self.target, reason, "the sink is held; the store keeps everything");
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), DeliverError> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.cancelled() => Err(DeliverError::Stopped),
        }
    }

    /// Keeps what a partial write dropped: the line, when there is only one; else that there were some.
    async fn drop_some(&self, lines: &Lines, dropped_count: u64, reason: String) -> Result<(), DeliverError> {
        let line = if lines.count() == 1 { lines.text() } else { "" };
        self.quarantine(line, dropped_count.clamp(1, lines.count() as u64), reason).await
    }

    async fn quarantine(&self, line: &str, line_count: u64, reason: String) -> Result<(), DeliverError> {
        tracing::warn!(
            database = self.target,
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

#[cfg(test)]
mod tests;
