//! Writes everything that is in the store to InfluxDB 2, for dashboards. Never the other way round: nothing here is read
//! by a report, and a run does not notice whether the database is there.
//!
//! [`feed`] reads the store on in the order of its commits and makes lines of the declared [`series`]; [`deliver`] gets
//! them into the [`server`], whatever it answers; how far the database has everything is kept in the store, so that a
//! restart goes on from there. What is sent again lies where it lay: time stamps come from the store alone.
//!
//! ```text
//! store ─▶ feed ─▶ portion: requests of 5,000 lines ─▶ connections ─▶ InfluxDB
//!   ▲                                                      │ all of a portion taken, in order
//!   └───────────────── position, quarantine ◀──────────────┘
//! ```
//!
//! At most three portions are on their way at once, so memory is bounded however long the database is away.

pub mod config;
pub mod deliver;
pub mod feed;
pub mod line;
mod pipeline;
pub mod points;
pub mod series;
pub mod server;
pub mod state;
pub mod verdict;

use std::sync::Arc;
use std::time::Duration;

use tinywatt_proto::chain::Chain;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::SinkConfig;
pub use state::{Doing, Meter};

use self::pipeline::Pipeline;
use self::server::{Influx, Server};
use self::state::State;
use crate::influx::TokenError;
use crate::store::{Position, Quarantined, ReadError, Store, WriteError};

/// Orders that may wait: people give them one at a time.
const ORDER_COUNT: usize = 4;

/// Time that requests on their way get when the collector stops. What they carry is sent again after the next start.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The sink could not start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nothing proves that we may write.
    #[error("the sink has no token that it could use: `collector influx init` makes one anew")]
    Token(#[source] TokenError),
    /// The store does not tell how far the database is.
    #[error("failed to read how far the database has what is in the store")]
    Position(#[source] ReadError),
}

/// The sink has ended, because the collector is stopping or its store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink has ended: see the collector's log")]
pub struct Stopped;

/// The database was not begun anew.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The sink has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The store does not keep the new position.
    #[error("failed to begin anew")]
    Store(#[source] WriteError),
}

/// Somebody wants everything written again.
struct Rebuild {
    answer: oneshot::Sender<Result<(), WriteError>>,
}

/// Speaks to the sink. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    store: Store,
    target: String,
    state: Arc<State>,
    orders: mpsc::Sender<Rebuild>,
}

/// A sink at work.
#[derive(Debug)]
pub struct Sink {
    handle: Handle,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Sink ===

impl Sink {
    /// Starts writing what is in the store to InfluxDB.
    ///
    /// # Errors
    /// [`SinkError`]; that the server is not there is none.
    pub async fn start(store: Store, config: &SinkConfig) -> Result<Self, SinkError> {
        let server = Influx::new(config).map_err(SinkError::Token)?;
        Self::start_with(store, config, server).await
    }

    /// Like [`Self::start`], to any server.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(store: Store, config: &SinkConfig, server: impl Server) -> Result<Self, SinkError> {
        let target = config.target();
        let (position, quarantined_count) = store.sink_position(&target).await.map_err(SinkError::Position)?;
        if position == Position::default() {
            tracing::info!(
                database = target,
                "the sink writes to this database for the first time, and begins with the oldest"
            );
        }
        let state = Arc::new(State::new(quarantined_count));
        let stop = CancellationToken::new();
        let (orders, given) = mpsc::channel(ORDER_COUNT);
        let handle = Handle { store: store.clone(), target: target.clone(), state: Arc::clone(&state), orders };
        let pipeline = Pipeline::new(store, Arc::new(server), target, config.detail, state);
        let task = tokio::spawn(run(pipeline, position, given, stop.clone()));
        Ok(Self { handle, stop, task })
    }

    /// Speaks to it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops, and keeps how far it came. A request that hangs is left to its own timeout.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Ok(Err(broken)) = tokio::time::timeout(STOP_GRACE, self.task).await {
            tracing::error!(error = %Chain(&broken), "the sink broke: please report this with the log");
        }
    }
}

/// Runs the pipeline, from the beginning whenever somebody wants that.
async fn run<S: Server>(
    pipeline: Pipeline<S>,
    mut position: Position,
    mut orders: mpsc::Receiver<Rebuild>,
    stop: CancellationToken,
) {
    loop {
        let turn = stop.child_token();
        let mut running = std::pin::pin!(pipeline.run(position, turn.clone()));
        let (ended, rebuild) = tokio::select! {
            ended = &mut running => (ended, None),
            Some(rebuild) = orders.recv() => {
                turn.cancel();
                (running.await, Some(rebuild))
            }
        };
        if let Err(error) = ended {
            let reason = format!("the sink has ended, a restart of the collector goes on: {}", Chain(&error));
            tracing::error!(reason, "the store keeps everything");
            pipeline.state().set_doing(Doing::Held { reason });
            return;
        }
        let Some(Rebuild { answer }) = rebuild else { return };
        position = Position::default();
        let kept = pipeline.keep(position).await;
        tracing::info!(is_kept = kept.is_ok(), "the sink begins anew, with the oldest");
        // Whoever asked may have left.
        let _ = answer.send(kept);
    }
}

// === impl Handle ===

impl Handle {
    /// What the sink counts.
    pub fn meter(&self) -> Meter {
        self.state.meter()
    }

    /// What the sink is doing.
    pub fn doing(&self) -> Doing {
        self.state.doing()
    }

    /// The database: its address, organisation and buckets.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Writes everything in the store again, from the oldest. Into an empty bucket this fills it; where the lines are
    /// already, it changes nothing.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub async fn rebuild(&self) -> Result<(), RebuildError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Rebuild { answer }).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)?.map_err(RebuildError::Store)
    }

    /// The newest lines that the database refused.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn quarantined(&self, count_max: u32) -> Result<Vec<Quarantined>, ReadError> {
        self.store.quarantined(&self.target, count_max).await
    }
}
