//! How the nodes and the collector are, looked at every 10 s and kept in the store, from where it is written on like
//! everything else. Decides nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tinywatt_proto::chain::Chain;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::v1;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::result::Kind;
use crate::schedule::NodeView as Scheduled;
use crate::schedule::driver::Handle;
use crate::sink::Meter;
use crate::store::{DATABASE_NAME, NodeRow, ReadError, Store};

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks after which what a node is made of is told again, though it has not changed: ten minutes.
const TELL_AGAIN_COUNT: u32 = 60;

/// What was seen at one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The collector itself.
    pub collector: CollectorHealth,
    /// Every node that ever registered.
    pub nodes: Vec<NodeView>,
}

/// How the collector is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectorHealth {
    /// CPU time of its process.
    pub cpu_seconds: f64,
    /// Resident memory; absent when the kernel does not tell.
    pub memory_bytes: Option<u64>,
    /// Size of the store's file; absent when it cannot be told.
    pub store_bytes: Option<u64>,
    /// Room left on its disk; absent when it cannot be told.
    pub disk_free_bytes: Option<u64>,
    /// Runs that have not ended.
    pub running_run_count: usize,
    /// Nodes that are connected.
    pub connected_node_count: usize,
    /// How the sink is.
    pub sink: Meter,
}

/// How the collector sees a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub node: String,
    /// Whether its agent is connected.
    pub connected: bool,
    /// What it executes, for people.
    pub running: Option<String>,
    /// When it was last heard of.
    pub last_seen_unix_ns: u64,
    /// Records stored, ever.
    pub record_count: u64,
    /// Records that were there already.
    pub duplicate_count: u64,
    /// Records that were refused.
    pub rejected_count: u64,
    /// Records that are missing from their sequences.
    pub missing_count: u64,
    /// Fit of its clock; absent before the first probe.
    pub clock: Option<ClockView>,
    /// What it is made of; absent when it was told a moment ago.
    pub made_of: Option<MadeOf>,
}

/// Where a node's clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// Unix time less monotonic time.
    pub offset_ns: i64,
    /// Bound on its error.
    pub error_ns: u64,
    /// How fast it grows.
    pub drift_ppb: i64,
}

/// What seldom changes about a node, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Version of its agent.
    pub agent_version: String,
    /// Processors and system.
    pub machine: String,
    /// Its channels.
    pub channels: String,
}

/// Looks around until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    schedule: Handle,
    folder: PathBuf,
    /// What each node was last told to be made of: under which start of its agent, and how many looks ago.
    told: BTreeMap<NodeId, (BootId, u32)>,
}

// === impl Watch ===

impl Watch {
    /// Watches the collector whose store lies in `folder`.
    pub fn new(store: Store, schedule: Handle, folder: PathBuf) -> Self {
        Self { store, schedule, folder, told: BTreeMap::new() }
    }

    /// Keeps what it sees, until `stop` or until the store accepts nothing any more. `meter` tells how the sink is.
    pub async fn run(mut self, meter: impl Fn() -> Meter, stop: CancellationToken) {
        let mut looks = tokio::time::interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            // A schedule that is stopping knows no nodes any more, and the collector stops with it.
            let Ok(views) = self.schedule.nodes().await else { return };
            let health = match self.look(&views, meter()).await {
                Ok(health) => health,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "how the nodes are is not known this time");
                    continue;
                }
            };
            let text = serde_json::to_string(&health).expect("health has text keys and finite numbers only");
            if self.store.keep_health(clock::unix_ns(), text).await.is_err() {
                // The store has said why.
                return;
            }
        }
    }

    async fn look(&mut self, views: &[Scheduled], sink: Meter) -> Result<Health, ReadError> {
        let mut nodes = Vec::new();
        for row in self.store.nodes().await? {
            let view = views.iter().find(|view| view.node == row.node);
            let is_connected = view.is_some_and(|view| view.is_connected);
            let counts = self.store.node_counts(&row.node).await?.unwrap_or_default();
            let fit = self.store.clock_fit(&row.node, row.boot).await?;
            nodes.push(NodeView {
                connected: is_connected,
                running: view.and_then(|view| view.attempt.as_ref()).map(ToString::to_string),
                // The store notes when a node comes and goes.
                last_seen_unix_ns: if is_connected { clock::unix_ns() } else { row.last_seen_unix_ns },
                record_count: counts.record_count,
                duplicate_count: counts.duplicate_count,
                rejected_count: counts.rejected_count,
                missing_count: counts.missing_count,
                clock: fit.map(|fit| ClockView {
                    offset_ns: fit.offset_ns,
                    error_ns: fit.error_ns,
                    drift_ppb: fit.drift_ppb,
                }),
                made_of: self.made_of(&row),
                node: row.node.to_string(),
            });
        }
        let collector = CollectorHealth {
            cpu_seconds: clock::cpu_time().as_secs_f64(),
            memory_bytes: resident_bytes(),
            store_bytes: std::fs::metadata(self.folder.join(DATABASE_NAME)).ok().map(|file| file.len()),
            disk_free_bytes: disk_free_bytes(&self.folder),
            running_run_count: self.store.running_run_count().await?,
            connected_node_count: nodes.iter().filter(|node| node.connected).count(),
            sink,
        };
        Ok(Health { collector, nodes })
    }

    /// What a node is made of, when it was started anew or has not been told for a while.
    fn made_of(&mut self, row: &NodeRow) -> Option<MadeOf> {
        let told = self.told.entry(row.node.clone()).or_insert((row.boot, TELL_AGAIN_COUNT));
        if told.0 == row.boot && told.1 < TELL_AGAIN_COUNT {
            told.1 += 1;
            return None;
        }
        *told = (row.boot, 1);
        let machine = row.capabilities.machine.clone().unwrap_or_default();
        let channels: Vec<String> = row.capabilities.channels.iter().map(channel).collect();
        Some(MadeOf {
            agent_version: row.agent_version.clone(),
            machine: format!("{} × {} {}, {}", machine.cpu_count, machine.architecture, machine.cpu, machine.system),
            channels: channels.join("; "),
        })
    }
}

fn channel(channel: &v1::Channel) -> String {
    let rate_hz = 1_000_000_000u64.checked_div(channel.sample_period_ns).unwrap_or_default();
    let kind = Kind::of(channel).map_or("of unknown kind", Kind::code);
    format!("{}: {}, {rate_hz} Hz, {kind}", channel.name, channel.source)
}

/// Second number of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn disk_free_bytes(folder: &std::path::Path) -> Option<u64> {
    let room = rustix::fs::statvfs(folder).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}
