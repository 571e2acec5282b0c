//! `agent run`: samples, spools, delivers and executes until it is told to stop.

use std::time::Duration;

use anyhow::Context;
use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::BootId;
use tinywatt_proto::v1;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::batch::Batcher;
use crate::clock::Monotonic;
use crate::config::Config;
use crate::health::Health;
use crate::inference::locate::Surroundings;
use crate::inference::runtimes::{self, WorkerProgram};
use crate::job::Jobs;
use crate::link::artifacts::Artifacts;
use crate::link::{Identity, Link, endpoint};
use crate::machine;
use crate::sampler::{Sampler, SamplerConfig};
use crate::sensor;
use crate::spool::{Spool, SpoolBroken};
use crate::throttle::Firmware;
use crate::trial::desk::desk;
use crate::trial::{Equipment, Executor, LaunchWorker, Measured};

/// Time that the link gets to deliver what is left. A second's worth of batches takes milliseconds; systemd waits 90 s
/// for a service, people less. What is not delivered stays in the spool.
const GRACE: Duration = Duration::from_secs(5);

/// Threads for everything that waits: link, batchers, health and trials. None of them computes.
const THREAD_COUNT: usize = 2;

/// Runs the agent until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or the spool fails.
pub fn run(config: &Config, surroundings: &Surroundings) -> anyhow::Result<()> {
    config.require_sensors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREAD_COUNT)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve(config, surroundings))
}

/// A channel that is being sampled.
struct Sampled {
    sampler: Sampler,
    measured: Measured,
}

/// What is running, and how each part is stopped.
struct Running {
    tasks: Tasks,
    stop_trials: CancellationToken,
    /// Of health, too.
    stop_batchers: CancellationToken,
    stop_link: CancellationToken,
}

/// Tasks that end with the spool or when they are told to.
#[derive(Default)]
struct Tasks {
    trials: JoinSet<Result<(), SpoolBroken>>,
    batchers: JoinSet<Result<(), SpoolBroken>>,
    health: JoinSet<Result<(), SpoolBroken>>,
    link: JoinSet<Result<(), SpoolBroken>>,
}

async fn serve(config: &Config, surroundings: &Surroundings) -> anyhow::Result<()> {
    let programs = find_programs(config, surroundings).await;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;

    let boot = BootId::random();
    let spool = Spool::open(&config.state_dir.join("spool"), &config.spool)?;
    let mut running = Running {
        tasks: Tasks::default(),
        stop_trials: CancellationToken::new(),
        stop_batchers: CancellationToken::new(),
        stop_link: CancellationToken::new(),
    };
    let jobs = jobs(config, surroundings)?;
    let sampled = sample(config, &spool, boot, &mut running)?;

    let (counter, bench) = desk();
    let firmware = Firmware::default();
    let channels: Vec<_> = sampled.iter().map(|sampled| sampled.measured.clone()).collect();
    let identity = Identity {
        node: config.node.clone(),
        boot,
        capabilities: v1::Capabilities {
            channels: channels.iter().map(|measured| measured.channel.clone()).collect(),
            runtimes: announced(&programs, jobs.is_some()),
            clock: Some(Monotonic::describe()),
            machine: Some(machine::describe(&config.sensors)),
        },
    };
    let health = Health {
        boot,
        clock: Monotonic,
        spool: spool.clone(),
        state_dir: config.state_dir.clone(),
        totals: channels.iter().map(|measured| measured.totals.clone()).collect(),
        executing: counter.executing(),
        firmware: firmware.clone(),
    };
    running.tasks.health.spawn(health.run(running.stop_batchers.clone()));
    let link = Link::new(&config.collector, identity, spool.clone(), Monotonic, counter)?;
    running.tasks.link.spawn(link.run(running.stop_link.clone()));

    let equipment = Equipment {
        boot,
        clock: Monotonic,
        spool: spool.clone(),
        channels,
        artifacts: Artifacts::new(&config.state_dir.join("artifacts"), &endpoint(&config.collector)?),
        jobs,
        firmware,
        launch: LaunchWorker { programs },
    };
    running.tasks.trials.spawn(Executor::new(equipment, bench).run(running.stop_trials.clone()));
    tracing::info!(node = %config.node, %boot, collector = config.collector, "agent runs");

    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        broken = running.tasks.broken() => Err(broken),
    };
    if let Err(broken) = ended {
        // Nothing can be kept any more, so there is nothing to drain.
        return Err(anyhow::Error::new(broken).context("the agent stops, because it can keep nothing"));
    }
    tracing::info!("agent stops");
    running.stop(sampled).await?;
    report_rest(&spool).await;
    Ok(())
}

/// Starts a sampler and a batcher for every sensor.
fn sample(config: &Config, spool: &Spool, boot: BootId, running: &mut Running) -> anyhow::Result<Vec<Sampled>> {
    let mut all = Vec::with_capacity(config.sensors.len());
    for (index, sensor) in (0u32..).zip(&config.sensors) {
        let built = sensor::build(sensor, Monotonic)?;
        let mut sampler = Sampler::start(built.sensor, Monotonic, SamplerConfig::default())?;
        let channel = v1::Channel { channel: index, ..sampler.channel().clone() };
        let batcher = Batcher::new(sampler.readings(), spool.clone(), boot, channel.clone());
        let measured = Measured { channel, spooled: batcher.spooled(), totals: batcher.totals(), load: built.load };
        running.tasks.batchers.spawn(batcher.run(running.stop_batchers.clone()));
        let v1::Channel { source, rail, .. } = &measured.channel;
        tracing::info!(channel = %sensor.name(), source, rail, "sampling");
        all.push(Sampled { sampler, measured });
    }
    Ok(all)
}

/// Where jobs work, when the configuration wants any. The spool is locked before, so nobody else's folders are emptied.
fn jobs(config: &Config, surroundings: &Surroundings) -> anyhow::Result<Option<Jobs>> {
    if !config.jobs.enabled {
        return Ok(None);
    }
    if rustix::process::geteuid().is_root() {
        tracing::warn!("jobs are enabled and the agent runs as root: so does every command that the collector sends");
    }
    let exe = surroundings.executable.as_deref().context("the system does not tell where this program is")?;
    Ok(Some(Jobs::open(&config.state_dir.join("jobs"), exe)?))
}

/// What the node can run. A library that is missing is no error here: the node still measures, and a trial that needs
/// it says what to do.
async fn find_programs(config: &Config, surroundings: &Surroundings) -> Vec<WorkerProgram> {
    let mut programs = Vec::new();
    match runtimes::litert(&config.inference, surroundings) {
        Ok(program) => programs.push(program),
        Err(error) => tracing::warn!(error = %Chain(&error), "this node runs no .tflite models"),
    }
    for (linked, found) in runtimes::linked(&config.inference, surroundings).await {
        match found {
            Ok(program) => programs.extend(program),
            Err(error) => tracing::warn!(error = %Chain(&error), "this node runs no {}", linked.models),
        }
    }
    programs
}

fn announced(programs: &[WorkerProgram], has_jobs: bool) -> Vec<v1::Runtime> {
    let own = |name: &str| v1::Runtime { name: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let of =
        |program: &WorkerProgram| v1::Runtime { name: program.runtime.to_owned(), version: program.version.clone() };
    let owns = std::iter::once(own("replay")).chain(has_jobs.then(|| own("job")));
    owns.chain(programs.iter().map(of)).collect()
}

impl Tasks {
    /// Waits for the first task that cannot go on. Tasks that end well (a recording is over) are no reason to stop.
    async fn broken(&mut self) -> SpoolBroken {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.trials.join_next() => ended,
                Some(ended) = self.batchers.join_next() => ended,
                Some(ended) = self.health.join_next() => ended,
                Some(ended) = self.link.join_next() => ended,
                else => std::future::pending().await,
            };
            if let Err(broken) = ended.expect("no task of the agent panics") {
                return broken;
            }
        }
    }
}

impl Running {
    /// Stops in the direction of the data, so that nothing is produced after its consumer has left.
    async fn stop(mut self, sampled: Vec<Sampled>) -> Result<(), SpoolBroken> {
        // 1. The trial ends with an outcome, its worker with it.
        self.stop_trials.cancel();
        drain(&mut self.tasks.trials).await?;
        // 2. No new readings.
        let stopping = tokio::task::spawn_blocking(|| sampled.into_iter().for_each(|sampled| sampled.sampler.stop()));
        stopping.await.expect("stopping a sampler does not panic");
        // 3. The last batches are in the spool, and nothing else is put there.
        self.stop_batchers.cancel();
        drain(&mut self.tasks.batchers).await?;
        drain(&mut self.tasks.health).await?;
        // 4. The link delivers what it can.
        self.stop_link.cancel();
        if timeout(GRACE, drain(&mut self.tasks.link)).await.is_err() {
            tracing::warn!(grace = ?GRACE, "the link did not drain in time, the spool keeps the rest");
        }
        Ok(())
    }
}

async fn drain(tasks: &mut JoinSet<Result<(), SpoolBroken>>) -> Result<(), SpoolBroken> {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task of the agent panics")?;
    }
    Ok(())
}

async fn report_rest(spool: &Spool) {
    if let Ok(record_count @ 1..) = spool.record_count().await {
        tracing::info!(record_count, "the spool keeps what was not delivered, for the next start");
    }
}
