//! Prints bytes per sample on the wire and collector CPU per sample to a durable commit, beside the budgets of the
//! design.
//!
//! The collector's services run in this process and its CPU time is counted, all threads, user and system; the agents
//! are a child process, whose CPU is not. `cargo bench -p tinywatt-tests --bench ingest`; with `-- --gibibyte` it also
//! fills a store with 1 GiB and prints how long opening it takes.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use tinywatt_collector::ingest::OUTCOME_QUEUE_COUNT;
use tinywatt_collector::service::node::Node;
use tinywatt_collector::service::telemetry::Telemetry;
use tinywatt_collector::store::Store;
use tinywatt_proto::ids::NodeId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::node_service_server::NodeServiceServer;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::telemetry_service_server::TelemetryServiceServer;
use tinywatt_tests::load::{
    BATCH_READING_COUNT, EVENT_COUNT, Load, Nodes, PATTERN_COUNT, channel, deliver, record, registration, request,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Agents of the budget's scenario, one channel each.
const NODE_COUNT: u8 = 20;

/// Batches of each node when they send as fast as they can: as after an outage of four minutes.
const CATCH_UP_BATCH_COUNT: u64 = 1_000;

/// Batches of each node when they send as they measure: 15 s.
const LIVE_BATCH_COUNT: u64 = 60;

/// HTTP/2 frame header and gRPC message prefix before each message.
const FRAMING_BYTES: usize = 9 + 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let done = match arguments[..] {
        ["agents", address, pace] => runtime.block_on(deliver(address, &nodes(pace == "live"))),
        ["--gibibyte"] => runtime.block_on(report()).and_then(|()| runtime.block_on(report_restart())),
        [] => runtime.block_on(report()),
        _ => Err(anyhow::anyhow!("unknown arguments {arguments:?}; there is only --gibibyte")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn report() -> Result<()> {
    let load = Load::new()?;
    let patterns = load.patterns();
    println!("{:<62} {:>10} {:>10}", "", "measured", "budget");
    let columns: usize = patterns.iter().map(|batch| batch.columns.len()).sum();
    let wire: usize = patterns.iter().map(|batch| request(2, 0, batch.clone()).encoded_len() + FRAMING_BYTES).sum();
    let sample_count = PATTERN_COUNT * BATCH_READING_COUNT;
    line("bytes per sample, columns alone", columns as f64 / sample_count as f64, None, "B");
    line("bytes per sample on the wire, all headers", wire as f64 / sample_count as f64, Some(5.0), "B");
    println!("  peers: Alumet relay 59.4 B, line protocol 113 B");

    let check_us = check_microseconds_per_sample(patterns);
    line("checking a batch (part of the next)", check_us, None, "µs");
    let store = store_microseconds_per_sample(&load, CATCH_UP_BATCH_COUNT).await?;
    line("CPU per sample, store alone, 20 batches to a commit", store, None, "µs");
    let (catch_up, samples_per_second) = served_microseconds_per_sample("catch-up").await?;
    line("CPU per sample, gRPC to durable commit, agents catching up", catch_up, Some(0.1), "µs");
    println!("  at {samples_per_second:.0} samples/s, agents on the same cores");
    let (live, samples_per_second) = served_microseconds_per_sample("live").await?;
    line("CPU per sample, gRPC to durable commit, 20 agents live", live, Some(0.1), "µs");
    println!(
        "  at {samples_per_second:.0} samples/s: {:.2} % of a core, for waking up 80 times a second rather than for samples",
        live * samples_per_second / 1e4
    );
    println!("  peers: Alumet 0.52 µs to a null sink, 16-20 µs to CSV");
    Ok(())
}

fn line(name: &str, measured: f64, budget: Option<f64>, unit: &str) {
    let budget = budget.map_or(String::new(), |budget| format!("≤ {budget} {unit}"));
    println!("{name:<62} {:>10} {budget:>10}", format!("{measured:.3} {unit}"));
}

// === Clocks ===

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).expect("after start") * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("not negative")
}

/// CPU time of this process so far, all threads, user and system.
fn cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn microseconds_per_sample(cpu_ns: u64, batch_count: u64) -> f64 {
    cpu_ns as f64 / 1e3 / (batch_count * BATCH_READING_COUNT) as f64
}

// === Parts ===

fn check_microseconds_per_sample(patterns: &[v1::SampleBatch]) -> f64 {
    let start = cpu_ns();
    let rounds = 200;
    let mut reading_count = 0u64;
    for _ in 0..rounds {
        for batch in patterns {
            reading_count +=
                tinywatt_proto::columns::decode(batch, 1_000, true).map_or(0, |readings| readings.len() as u64);
        }
    }
    (cpu_ns() - start) as f64 / 1e3 / reading_count as f64
}

async fn store_microseconds_per_sample(load: &Load, batch_count: u64) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path())?;
    let cpu_ns = fill(&store, load, |sequence| sequence < batch_count).await?;
    Ok(microseconds_per_sample(cpu_ns, batch_count))
}

/// Commits 20 batches at a time while `goes_on`; gives the CPU time of the commits alone.
async fn fill(store: &Store, load: &Load, mut goes_on: impl FnMut(u64) -> bool) -> Result<u64> {
    store.upsert_node(&registration(0), 1).await?;
    let node: NodeId = "pi-0".parse()?;
    store.commit_records(node.clone(), vec![record(1, 0, 0, Fact::ChannelOpened(channel()))]).await?;
    let mut sequence = 0;
    let mut spent_ns = 0;
    while goes_on(sequence) {
        let group = sequence..sequence + 20;
        let records = group.map(|sequence| record(sequence + 2, 0, sequence, Fact::Batch(load.batch(sequence))));
        let records = records.collect();
        let start = cpu_ns();
        let committed = store.commit_records(node.clone(), records).await?;
        spent_ns += cpu_ns() - start;
        ensure!(committed.rejected.is_empty(), "rejected: {:?}", committed.rejected);
        sequence += 20;
    }
    Ok(spent_ns)
}

/// Serves the agents of a child process; gives CPU per sample and samples per second.
async fn served_microseconds_per_sample(pace: &str) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path())?;
    let (sender, _outcomes) = mpsc::channel(OUTCOME_QUEUE_COUNT);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = Server::builder()
        .add_service(NodeServiceServer::new(Node::new(store.clone())))
        .add_service(TelemetryServiceServer::new(Telemetry::new(store.clone(), sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let (cpu_start_ns, start_ns) = (cpu_ns(), nanoseconds(ClockId::Monotonic));
    let program = std::env::current_exe().context("this program has a path")?;
    let pace = pace.to_owned();
    let mut agents = Command::new(program).args(["agents", &address, &pace]).spawn()?;
    let status = tokio::task::spawn_blocking(move || agents.wait()).await??;
    let (cpu_spent_ns, spent_ns) = (cpu_ns() - cpu_start_ns, nanoseconds(ClockId::Monotonic) - start_ns);
    ensure!(status.success(), "the agents failed");
    let batch_count = batch_count(pace == "live");
    for node in store.nodes().await? {
        let counts = store.node_counts(&node.node).await?.context("the node is registered")?;
        ensure!(counts.record_count == batch_count + EVENT_COUNT, "{}: {counts:?}", node.node);
    }
    let all_batch_count = u64::from(NODE_COUNT) * batch_count;
    let samples_per_second = (all_batch_count * BATCH_READING_COUNT) as f64 / (spent_ns as f64 / 1e9);
    Ok((microseconds_per_sample(cpu_spent_ns, all_batch_count), samples_per_second))
}

fn nodes(live: bool) -> Nodes {
    Nodes {
        node_count: NODE_COUNT,
        sequences: 0..batch_count(live),
        is_live: live,
        begin_unix_ns: 1_700_000_000_000_000_000,
    }
}

fn batch_count(live: bool) -> u64 {
    if live { LIVE_BATCH_COUNT } else { CATCH_UP_BATCH_COUNT }
}

async fn report_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let load = Load::new()?;
    let file = folder.path().join("tinywatt.db");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let store = Store::open(folder.path())?;
    fill(&store, &load, |_| size(&file) < 1 << 30).await?;
    drop(store);
    let start_ns = nanoseconds(ClockId::Monotonic);
    let store = Store::open(folder.path())?;
    store.upsert_node(&registration(0), 2).await?;
    let nodes = store.nodes().await?;
    let seconds = (nanoseconds(ClockId::Monotonic) - start_ns) as f64 / 1e9;
    ensure!(nodes.len() == 1, "the store is not what was written");
    println!("opening a store of {:.2} GiB, to its first commit and answer", size(&file) as f64 / f64::from(1 << 30));
    line("", seconds, Some(1.0), "s");
    Ok(())
}
