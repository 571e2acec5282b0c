//! Builds the collector and serves it on an address, until told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::MESSAGE_BYTES_MAX;
use tinywatt_proto::v1::artifact_service_server::ArtifactServiceServer;
use tinywatt_proto::v1::assignment_service_server::AssignmentServiceServer;
use tinywatt_proto::v1::control_service_server::ControlServiceServer;
use tinywatt_proto::v1::node_service_server::NodeServiceServer;
use tinywatt_proto::v1::telemetry_service_server::TelemetryServiceServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::server::{Router, TcpIncoming};

use crate::health::Watch;
use crate::ingest::{OUTCOME_QUEUE_COUNT, OutcomeCommitted};
use crate::schedule;
use crate::schedule::driver::{Assess, Driver, DriverError, Handle};
use crate::service::artifact::Artifact;
use crate::service::assignment::Assignments;
use crate::service::control::Control;
use crate::service::node::Node;
use crate::service::telemetry::Telemetry;
use crate::sink::{Sink, SinkConfig, SinkError};
use crate::store::{OpenError, Store, WriteError};

/// How often an idle connection is tried, and how long it may then stay silent. A node whose cable is pulled is noticed
/// within 20 s, so that people are told soon; and for no longer is its name taken when it returns.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Time that open streams get to end by themselves. Commits take milliseconds; what is not acknowledged stays in the
/// nodes' spools.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a collector needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the store.
    pub data: PathBuf,
    /// How patient the schedule is.
    pub schedule: schedule::Config,
    /// The database that everything is written on to; none by default.
    pub sink: Option<SinkConfig>,
}

/// The collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens there.
    #[error(
        "port {} on {} is taken, perhaps by another collector: stop that one, or choose another port with --listen {}:PORT",
        .listen.port(), .listen.ip(), .listen.ip()
    )]
    PortTaken {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("failed to listen on {listen}: choose an address of this machine with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("failed to open the store")]
    Store(#[source] OpenError),
    /// Runs cannot be taken up again.
    #[error("failed to take up the runs that had not ended")]
    Schedule(#[source] DriverError),
    /// The sink cannot work.
    #[error("failed to start the sink")]
    Sink(#[source] SinkError),
}

/// The collector had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The schedule could not go on.
    #[error("the collector stopped because its schedule could not go on; a restart takes up its runs")]
    Schedule(#[source] DriverError),
    /// The schedule broke.
    #[error("the collector stopped because its schedule broke; please report this with the log")]
    Broken(#[source] tokio::task::JoinError),
    /// The store had stopped accepting.
    #[error("the collector stopped, and not all that reached it was kept")]
    Store(#[source] WriteError),
    /// The network failed.
    #[error("the collector stopped because it could not serve any more")]
    Transport(#[source] tonic::transport::Error),
}

/// A collector, listening, with its runs taken up.
pub struct Server {
    store: Store,
    listener: TcpListener,
    address: SocketAddr,
    driver: Driver,
    schedule: Handle,
    sink: Option<Sink>,
    data: PathBuf,
}

impl Server {
    /// Listens, opens the store and takes up the runs that had not ended. Connections wait until [`Self::serve`].
    ///
    /// `assess` makes the function that turns outcomes into results, from the store.
    ///
    /// # Errors
    /// [`StartError`], each with the way out.
    pub async fn start(config: &Config, assess: impl FnOnce(Store) -> Assess) -> Result<Self, StartError> {
        let listen = config.listen;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::PortTaken { listen },
            _ => StartError::Listen { listen, source },
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let store = Store::open(&config.data).map_err(StartError::Store)?;
        let (driver, schedule) = Driver::resume(store.clone(), assess(store.clone()), config.schedule)
            .await
            .map_err(StartError::Schedule)?;
        let sink = match &config.sink {
            Some(sink) => Some(Sink::start(store.clone(), sink).await.map_err(StartError::Sink)?),
            None => None,
        };
        Ok(Self { store, listener, address, driver, schedule, sink, data: config.data.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then stops in the direction of the data: no new connections, streams end when what they
    /// carried is committed, the schedule lets go of its agents, the store is closed.
    ///
    /// # Errors
    /// [`ServeError`]; what was acknowledged is in the store all the same.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { store, listener, driver, schedule, sink, data, .. } = self;
        let stop = CancellationToken::new();
        let (outcomes, committed) = mpsc::channel(OUTCOME_QUEUE_COUNT);
        let control = Control::new(store.clone(), schedule.clone(), data.clone(), sink.as_ref().map(Sink::handle));
        let router = services(&store, &schedule, control, outcomes, &stop);
        // Without a database nobody would look at it.
        let watching = sink.as_ref().map(Sink::handle).map(|sink| {
            let watch = Watch::new(store.clone(), schedule.clone(), data);
            tokio::spawn(watch.run(move || sink.meter(), stop.clone()))
        });
        tokio::spawn(pass_on(committed, schedule));
        let mut driving = tokio::spawn(driver.drive(stop.clone()));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        let mut has_served = None;
        let driven = tokio::select! {
            () = shutdown => None,
            driven = &mut driving => Some(driven),
            served = &mut serving => {
                has_served = Some(served);
                None
            }
        };
        stop.cancel();
        let driven = match driven {
            Some(driven) => driven,
            None => driving.await,
        };
        if has_served.is_none() {
            has_served = tokio::time::timeout(STOP_GRACE, &mut serving).await.ok();
        }
        if has_served.is_none() {
            tracing::warn!(grace = ?STOP_GRACE, "streams did not end in time, the nodes' spools keep the rest");
            serving.abort();
        }
        if let Some(watching) = watching {
            // It ends at once, or with the store.
            let _ = watching.await;
        }
        if let Some(sink) = sink {
            sink.stop().await;
        }
        // Closing waits for the last commit and writes the log back into the file.
        let poison = store.poison();
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
        driven.map_err(ServeError::Broken)?.map_err(ServeError::Schedule)?;
        match has_served {
            Some(Ok(served)) => served.map_err(ServeError::Transport),
            Some(Err(broken)) => Err(ServeError::Broken(broken)),
            None => Ok(()),
        }?;
        poison.map_or(Ok(()), |poison| Err(ServeError::Store(poison)))
    }
}

fn services(
    store: &Store,
    schedule: &Handle,
    control: Control,
    outcomes: mpsc::Sender<OutcomeCommitted>,
    stop: &CancellationToken,
) -> Router {
    let telemetry = Telemetry::with_stopping(store.clone(), outcomes, stop.clone());
    let assignments = Assignments::new(store.clone(), schedule.clone());
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(
            NodeServiceServer::new(Node::with_schedule(store.clone(), schedule.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(TelemetryServiceServer::new(telemetry).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(AssignmentServiceServer::new(assignments).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(
            ArtifactServiceServer::new(Artifact::new(store.artifacts())).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(ControlServiceServer::new(control).max_decoding_message_size(MESSAGE_BYTES_MAX));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(routes.routes())
}

/// Carries outcomes from ingest to the schedule. Goes on when the schedule has stopped, so that no commit waits for it.
async fn pass_on(mut committed: mpsc::Receiver<OutcomeCommitted>, schedule: Handle) {
    while let Some(OutcomeCommitted { node, outcome }) = committed.recv().await {
        if schedule.outcome_committed(&node, &outcome).await.is_err() {
            tracing::info!(%node, "an outcome waits in the store for the next start");
        }
    }
}
