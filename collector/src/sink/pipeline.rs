//! Feed, connections and position, at work together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tinywatt_proto::chain::Chain;
use tinywatt_proto::time::MonoNs;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;

use super::deliver::{DeliverError, Deliverer, Request, Stuck};
use super::feed::{Feed, Portion};
use super::points::samples::Detail;
use super::series::Bucket;
use super::server::Server;
use super::state::{Doing, State};
use crate::store::{Position, Store, WriteError};

/// Requests of samples on their way at once: a server with two processors always has the next one to read.
const SAMPLES_CONNECTION_COUNT: usize = 3;

/// Requests of results on their way at once. A point that is written anew must not be overtaken by what it was before.
const RESULTS_CONNECTION_COUNT: usize = 1;

/// Requests of a bucket that wait for a connection: as many as are on their way, so that none ever waits for the feed.
const WAITING_COUNT: usize = 2;

/// Portions that are on their way at once.
const PORTION_COUNT_MAX: usize = 3;

/// How often the store is looked at when it held no more. Two batches of a channel arrive meanwhile, and go together.
const POLL: Duration = Duration::from_millis(500);

/// How often the position is kept. What was sent since is sent again after a crash, and changes nothing.
const KEEP_PERIOD: Duration = Duration::from_secs(1);

/// Wait after the store could not be read: it says why, and a restart is the way out.
const STORE_PERIOD: Duration = Duration::from_secs(10);

/// The pipeline cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
    /// The store accepts nothing any more; it has said why.
    #[error("the store accepts nothing any more")]
    Closed,
    /// A line that was refused could not be kept.
    #[error("failed to keep what the database refused")]
    Deliver(#[source] DeliverError),
    /// A task of the pipeline broke.
    #[error("a task of the sink broke: please report this with the log")]
    Broken(#[source] tokio::task::JoinError),
}

/// Everything that a run of the pipeline needs.
#[derive(Debug)]
pub(super) struct Pipeline<S> {
    store: Store,
    server: Arc<S>,
    target: String,
    detail: Detail,
    state: Arc<State>,
}

/// A portion that is on its way.
#[derive(Debug)]
struct OnItsWay {
    position: Position,
    /// When the store was read, if this was all it held.
    level_at: Option<MonoNs>,
    request_count_left: usize,
}

/// The portions on their way, oldest first, and how far the database has everything.
#[derive(Debug)]
struct Progress {
    position: Position,
    first_index: u64,
    on_their_way: VecDeque<OnItsWay>,
}

// === impl Progress ===

impl Progress {
    fn new(position: Position) -> Self {
        Self { position, first_index: 0, on_their_way: VecDeque::new() }
    }

    fn next_index(&self) -> u64 {
        self.first_index + self.on_their_way.len() as u64
    }

    /// A request of a portion is done. Only what is done from the oldest on moves the position: what a later portion's
    /// lines are worth without the earlier ones' is nobody's to decide here.
    fn done(&mut self, index: u64) {
        let place = usize::try_from(index - self.first_index).expect("portions on their way are few");
        self.on_their_way[place].request_count_left -= 1;
    }

    /// Moves the position over everything that is done; gives when the store was level with it, if it was.
    fn advance(&mut self) -> Option<MonoNs> {
        let mut level_at = None;
        while let Some(oldest) = self.on_their_way.front().filter(|oldest| oldest.request_count_left == 0) {
            self.position = oldest.position;
            level_at = oldest.level_at.or(level_at);
            self.on_their_way.pop_front();
            self.first_index += 1;
        }
        level_at
    }
}

// === impl Pipeline ===

impl<S: Server> Pipeline<S> {
    pub(super) fn new(store: Store, server: Arc<S>, target: String, detail: Detail, state: Arc<State>) -> Self {
        Self { store, server, target, detail, state }
    }

    /// What it counts and does.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Keeps how far the database is.
    pub(super) async fn keep(&self, position: Position) -> Result<(), WriteError> {
        self.store.set_sink_position(&self.target, position).await
    }

    /// Writes on from a position until it is stopped, and keeps how far it came.
    pub(super) async fn run(&self, position: Position, stop: CancellationToken) -> Result<(), PipelineError> {
        // Ends the connections however this ends.
        let _ending = stop.clone().drop_guard();
        let on_their_way_count = 2 * WAITING_COUNT + SAMPLES_CONNECTION_COUNT + RESULTS_CONNECTION_COUNT;
        let (tell_done, mut done) = mpsc::channel(on_their_way_count);
        let deliverer = Deliverer::new(
            Arc::clone(&self.server),
            self.store.clone(),
            self.target.clone(),
            Arc::clone(&self.state),
            stop.clone(),
        );
        let mut connections = JoinSet::new();
        let mut open = |connection_count: usize| {
            let (requests, waiting) = mpsc::channel(WAITING_COUNT);
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..connection_count {
                connections.spawn(connection(deliverer.clone(), Arc::clone(&waiting), tell_done.clone()));
            }
            Queue { requests, pending: VecDeque::new() }
        };
        let (mut samples, mut results) = (open(SAMPLES_CONNECTION_COUNT), open(RESULTS_CONNECTION_COUNT));
        let (portions, mut fed) = mpsc::channel(1);
        let (permits, permitted) = mpsc::channel(PORTION_COUNT_MAX);
        let mut feeding = JoinSet::new();
        feeding.spawn(feed(
            Feed::new(self.store.clone(), self.detail),
            Arc::clone(&self.state),
            position,
            permitted,
            portions,
        ));
        let mut progress = Progress::new(position);
        let mut kept = position;
        let mut keeping = tokio::time::interval(KEEP_PERIOD);
        keeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.state.note_done(position.batch_key, None);
        for _ in 0..PORTION_COUNT_MAX {
            let _ = permits.try_send(());
        }
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                Some((portion, read_at)) = fed.recv() => {
                    let Portion { requests, position, is_level } = portion;
                    let index = progress.next_index();
                    progress.on_their_way.push_back(OnItsWay {
                        position,
                        level_at: is_level.then_some(read_at),
                        request_count_left: requests.len(),
                    });
                    for request in requests {
                        let queue = match request.bucket {
                            Bucket::Samples => &mut samples,
                            Bucket::Results => &mut results,
                        };
                        queue.pending.push_back((index, request));
                    }
                }
                () = samples.move_on() => {}
                () = results.move_on() => {}
                Some(index) = done.recv() => progress.done(index),
                Some(ended) = connections.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break Err(PipelineError::Deliver(error)),
                    Err(broken) => break Err(PipelineError::Broken(broken)),
                },
                Some(ended) = feeding.join_next() => break ended.map_err(PipelineError::Broken),
                _ = keeping.tick() => {
                    // How far the store is must be known all the more while nothing gets on.
                    if let Ok(newest) = self.store.newest_position().await {
                        self.state.note_newest(newest.batch_key);
                    }
                    if kept != progress.position {
                        self.keep(progress.position).await.map_err(|_| PipelineError::Closed)?;
                        kept = progress.position;
                    }
                }
            }
            let before = progress.on_their_way.len();
            let level_at = progress.advance();
            self.state.note_done(progress.position.batch_key, level_at);
            for _ in progress.on_their_way.len()..before {
                let _ = permits.try_send(());
            }
        };
        if kept != progress.position {
            self.keep(progress.position).await.map_err(|_| PipelineError::Closed)?;
        }
        // A request that is still on its way must not arrive behind those of whoever goes on from here.
        stop.cancel();
        drop((samples, results, done));
        while connections.join_next().await.is_some() {}
        ended
    }
}

/// Requests of one bucket, in their order, before its connections take them.
#[derive(Debug)]
struct Queue {
    requests: mpsc::Sender<(u64, Request)>,
    pending: VecDeque<(u64, Request)>,
}

impl Queue {
    /// Hands the next request on, when there is one and a connection has room; never ends otherwise.
    async fn move_on(&mut self) {
        if self.pending.is_empty() {
            return std::future::pending().await;
        }
        match self.requests.reserve().await {
            Ok(room) => {
                if let Some(next) = self.pending.pop_front() {
                    room.send(next);
                }
            }
            // The connections have ended, and tell why themselves.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Delivers one request after the other.
async fn connection<S: Server>(
    deliverer: Deliverer<S>,
    waiting: Arc<Mutex<mpsc::Receiver<(u64, Request)>>>,
    done: mpsc::Sender<u64>,
) -> Result<(), DeliverError> {
    loop {
        let (sender, waiting, told) = (deliverer.clone(), Arc::clone(&waiting), done.clone());
        let delivering = tokio::task::spawn_blocking(move || {
            let next = || waiting.blocking_lock().blocking_recv();
            sender.deliver_while_taken(next, |index| told.blocking_send(index).is_ok())
        });
        // A panic of what sends is told by the one who waits for this task.
        let Stuck { index, request, wait } = match delivering.await {
            Ok(Some(stuck)) => stuck,
            Ok(None) => return Ok(()),
            Err(broken) => match broken.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The program is ending.
                Err(_) => return Ok(()),
            },
        };
        match deliverer.deliver_stuck(request, wait).await {
            Ok(()) => {}
            Err(DeliverError::Stopped) => return Ok(()),
            Err(error) => return Err(error),
        }
        if done.send(index).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads the store on, one portion for each permit, and waits a moment whenever it held no more.
async fn feed(
    mut feed: Feed,
    state: Arc<State>,
    mut position: Position,
    mut permits: mpsc::Receiver<()>,
    portions: mpsc::Sender<(Portion, MonoNs)>,
) {
    while permits.recv().await.is_some() {
        let (portion, read_at) = loop {
            let read_at = state.now();
            match feed.portion(position).await {
                Ok(portion) if portion.position == position => {
                    if portion.is_level {
                        // Nothing to send is as good as sent, and tells that the database is level.
                        break (portion, read_at);
                    }
                }
                Ok(portion) => break (portion, read_at),
                Err(error) => {
                    let reason = Chain(&error).to_string();
                    tracing::error!(reason, "the sink cannot read the store, and tries again");
                    state.set_doing(Doing::Waiting { reason });
                    sleep(STORE_PERIOD).await;
                }
            }
            sleep(POLL).await;
        };
        let is_level = portion.is_level;
        position = portion.position;
        if portions.send((portion, read_at)).await.is_err() {
            return;
        }
        if is_level {
            sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_its_way(portion: u64, request_count: usize) -> OnItsWay {
        let position = Position { batch_key: i64::try_from(portion + 1).unwrap(), change_key: 0 };
        OnItsWay { position, level_at: Some(MonoNs(portion)), request_count_left: request_count }
    }

    proptest! {
        #[test]
        fn the_position_never_passes_a_request_that_is_not_done(
            request_counts in prop::collection::vec(0usize..4, 1..6),
            order in prop::collection::vec(0usize..100, 0..30),
        ) {
            let mut progress = Progress::new(Position::default());
            let mut left = Vec::new();
            for (portion, count) in (0u64..).zip(&request_counts) {
                progress.on_their_way.push_back(on_its_way(portion, *count));
                left.extend(std::iter::repeat_n(portion, *count));
            }
            for pick in order {
                progress.advance();
                if left.is_empty() {
                    break;
                }
                progress.done(left.remove(pick % left.len()));
                let level_at = progress.advance();
                let first_left = left.iter().min().copied().unwrap_or(request_counts.len() as u64);
                prop_assert_eq!(progress.position.batch_key, i64::try_from(first_left).unwrap());
                prop_assert!(level_at.is_none_or(|at| at.0 < first_left));
            }
        }
    }
}
