//! Prints lines per second from the store into a real InfluxDB 2, beside a plain client that only sends the same lines in
//! ready-made batches of 5,000 over two connections, by turns, into fresh buckets of one server.
//!
//! `cargo bench -p tinywatt-tests --bench sink`; it needs `tests/influxd/build`. With `-- --rounds N` more than 3 rounds;
//! with `-- --outage` instead the memory of a collector whose database is away for ten minutes of 20 nodes' samples, and
//! how long it then takes to catch up.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::time::{ClockId, clock_gettime};
use tinywatt_collector::influx::Token;
use tinywatt_collector::sink::config::TokenSource;
use tinywatt_collector::sink::feed::Feed;
use tinywatt_collector::sink::line::Lines;
use tinywatt_collector::sink::points::samples::Detail;
use tinywatt_collector::sink::series::Bucket;
use tinywatt_collector::sink::{Sink, SinkConfig};
use tinywatt_collector::store::{Position, Store};
use tinywatt_proto::ids::NodeId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tinywatt_tests::influxd::{Influxd, SAMPLES_BUCKET};
use tinywatt_tests::load::{BATCH_READING_COUNT, Load, channel, record, registration};

/// Nodes, one channel each.
const NODE_COUNT: u8 = 20;

/// Batches of each node: two minutes of 1.23 kHz, 2.98 million samples in all.
const BATCH_COUNT: u64 = 480;

/// Part of the plain client's rate that the sink is to reach.
const RATIO_MIN: f64 = 0.9;

/// What is compressed here takes the processors of the server: over a network, where that is the default, it has its own.
const GZIP_NOTE: &str = "; not the default here, the server's processors compress, too";

/// Raw samples and nothing else, so that both send the same lines.
const DETAIL: Detail = Detail { raw: true, decimated_period_ns: None };

/// Batches of each node in ten minutes.
const OUTAGE_BATCH_COUNT: u64 = 2_372;

/// How long the child waits in vain before the server is there.
const OUTAGE: Duration = Duration::from_secs(30);

/// Memory that it may take, MiB.
const MEMORY_MEBIBYTES_MAX: u64 = 256;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let done = match arguments[..] {
        [] => runtime.block_on(report(3)),
        ["--rounds", count] => match count.parse() {
            Ok(rounds) if rounds > 0 => runtime.block_on(report(rounds)),
            _ => Err(anyhow::anyhow!("--rounds takes a number above 0, not '{count}'")),
        },
        ["--outage"] => runtime.block_on(report_outage()),
        ["catch-up", store, configuration] => runtime.block_on(catch_up(store, configuration)),
        _ => Err(anyhow::anyhow!("unknown arguments {arguments:?}; there are --rounds N and --outage")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ten minutes of samples wait in a store while the server is away.
async fn report_outage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&folder.path().join("influxd"))? else { return Ok(()) };
    influxd.setup()?;
    let store = Store::open(&folder.path().join("store"))?;
    fill(&store, OUTAGE_BATCH_COUNT).await?;
    drop(store);
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "decimated_hz = 0\n")?;
    influxd.kill()?;
    let program = std::env::current_exe().context("this program has a path")?;
    let mut child =
        Command::new(program).arg("catch-up").arg(folder.path().join("store")).arg(&configuration).spawn()?;
    tokio::time::sleep(OUTAGE).await;
    influxd.restart()?;
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    ensure!(status.success(), "the child failed");
    let all = usize::from(NODE_COUNT) * usize::try_from(OUTAGE_BATCH_COUNT * BATCH_READING_COUNT)?;
    let there = count(&influxd, SAMPLES_BUCKET)?;
    ensure!(there == all, "{there} of {all} samples are there");
    println!("{all} samples in the store, all of them there afterwards");
    Ok(())
}

/// The child: a store that is written on, and what that takes.
async fn catch_up(store: &str, configuration: &str) -> Result<()> {
    let store = Store::open(std::path::Path::new(store))?;
    let config = SinkConfig::read(std::path::Path::new(configuration), None)?;
    let sink = Sink::start(store.clone(), &config).await?;
    tokio::time::sleep(OUTAGE).await;
    let (start, away) = (seconds(ClockId::Monotonic), memory_mebibytes_peak()?);
    while store.newest_position().await? != store.sink_position(&config.target()).await?.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = seconds(ClockId::Monotonic) - start;
    println!(
        "memory while the server is away {away} MiB, at most {} MiB, budget ≤ {MEMORY_MEBIBYTES_MAX} MiB",
        memory_mebibytes_peak()?
    );
    println!("caught up in {took:.0} s, with the server's start");
    sink.stop().await;
    Ok(())
}

fn memory_mebibytes_peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

async fn report(rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&folder.path().join("influxd"))? else { return Ok(()) };
    influxd.setup()?;
    let store = Store::open(&folder.path().join("store"))?;
    fill(&store, BATCH_COUNT).await?;
    let start = seconds(ClockId::ProcessCPUTime);
    let ready = ready_made(&store).await?;
    let making = seconds(ClockId::ProcessCPUTime) - start;
    let line_count: usize = ready.iter().map(Lines::count).sum();
    ensure!(line_count as u64 == u64::from(NODE_COUNT) * BATCH_COUNT * BATCH_READING_COUNT, "{line_count} lines");
    let bytes: usize = ready.iter().map(|lines| lines.text().len()).sum();
    println!("{line_count} lines of {:.0} B, {rounds} rounds by turns, medians", bytes as f64 / line_count as f64);
    println!("making them from the store takes {:.2} µs of CPU a line", making * 1e6 / line_count as f64);
    println!("{:<44} {:>12} {:>14} {:>14}", "", "lines/s", "our CPU a line", "server's CPU");
    for gzip in [false, true] {
        let (mut plain, mut sink) = (Vec::new(), Vec::new());
        let bodies: Vec<Vec<u8>> = ready.iter().map(|lines| body(lines, gzip)).collect::<Result<_>>()?;
        let bodies = Arc::new(bodies);
        for round in 0..rounds {
            let config = |who: &str| config(&influxd, &format!("{who}-{gzip}-{round}"), gzip);
            let (plain_config, sink_config) = (config("plain")?, config("sink")?);
            let target = sink_config.samples_bucket.clone();
            plain.push(measure(&influxd, line_count, plain_client(plain_config, Arc::clone(&bodies))).await?);
            sink.push(measure(&influxd, line_count, run_sink(&store, sink_config, line_count)).await?);
            let there = count(&influxd, &target)?;
            ensure!(there == line_count, "the sink wrote {there} of {line_count}");
        }
        let form = if gzip { "gzip" } else { "not compressed" };
        let (plain, sink) = (median(plain), median(sink));
        line(&format!("plain client, {form}"), plain);
        line(&format!("sink, {form}"), sink);
        let ratio = sink.rate / plain.rate;
        println!(
            "  sink : plain client = {ratio:.2}{}",
            if gzip { GZIP_NOTE.to_owned() } else { format!(", budget ≥ {RATIO_MIN}") }
        );
    }
    println!("  peers: a plain Python client 450,000 to 483,000 lines/s; Telegraf 4.0 to 5.2 µs of CPU a line");
    Ok(())
}

/// What a client came to.
#[derive(Debug, Clone, Copy)]
struct Figure {
    rate: f64,
    our_microseconds: f64,
    server_microseconds: f64,
}

fn line(name: &str, figure: Figure) {
    println!(
        "{name:<44} {:>12.0} {:>11.2} µs {:>11.2} µs",
        figure.rate, figure.our_microseconds, figure.server_microseconds
    );
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    figures[figures.len() / 2]
}

/// The work, from when it is polled to its end.
async fn measure(influxd: &Influxd, line_count: usize, work: impl Future<Output = Result<()>>) -> Result<Figure> {
    let start = (seconds(ClockId::Monotonic), seconds(ClockId::ProcessCPUTime), server_seconds(influxd)?);
    work.await?;
    let end = (seconds(ClockId::Monotonic), seconds(ClockId::ProcessCPUTime), server_seconds(influxd)?);
    let lines = line_count as f64;
    Ok(Figure {
        rate: lines / (end.0 - start.0),
        our_microseconds: (end.1 - start.1) * 1e6 / lines,
        server_microseconds: (end.2 - start.2) * 1e6 / lines,
    })
}

fn seconds(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// CPU time of the server's process: fields 14 and 15 of its stat file, in hundredths of a second.
fn server_seconds(influxd: &Influxd) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", influxd.process.id()))?;
    let fields = stat.rsplit_once(") ").context("a stat file")?.1;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

async fn fill(store: &Store, batch_count: u64) -> Result<()> {
    let load = Load::new()?;
    for node in 0..NODE_COUNT {
        store.upsert_node(&registration(node), 1).await?;
        let name: NodeId = format!("pi-{node}").parse()?;
        let probe = v1::ClockProbe {
            received_unix_ns: 1_700_000_000_000_000_000,
            answered_unix_ns: 1_700_000_000_000_000_000,
            returned_mono_ns: 100_000,
            sent_mono_ns: 0,
        };
        let opened = record(1, node, 0, Fact::ChannelOpened(channel()));
        store.commit_records(name, vec![opened, record(2, node, 1, Fact::ClockProbe(probe))]).await?;
    }
    // As they would arrive: one batch of each node after the other.
    for sequence in 0..batch_count {
        for node in 0..NODE_COUNT {
            let batch = record(sequence + 3, node, sequence, Fact::Batch(load.batch(sequence)));
            store.commit_records(format!("pi-{node}").parse()?, vec![batch]).await?;
        }
    }
    Ok(())
}

/// The sink's own lines of samples, in its own batches.
async fn ready_made(store: &Store) -> Result<Vec<Lines>> {
    let mut feed = Feed::new(store.clone(), DETAIL);
    let (mut position, mut ready, mut rest) = (Position::default(), Vec::new(), Lines::default());
    loop {
        let portion = feed.portion(position).await?;
        for request in portion.requests.into_iter().filter(|request| request.bucket == Bucket::Samples) {
            rest.append(request.lines);
            while rest.count() >= 5_000 {
                ready.push(rest.take_first(5_000));
            }
        }
        position = portion.position;
        if portion.is_level {
            ready.push(rest);
            return Ok(ready);
        }
    }
}

fn config(influxd: &Influxd, bucket: &str, gzip: bool) -> Result<SinkConfig> {
    influxd.create_bucket(bucket, 0)?;
    let operator = influxd.operator()?;
    Ok(SinkConfig {
        url: influxd.url().parse()?,
        org: operator.org.clone(),
        bucket: "tinywatt".to_owned(),
        samples_bucket: bucket.to_owned(),
        token: TokenSource::Given(Token::new(&operator.token)?),
        detail: DETAIL,
        gzip,
        timeout: Duration::from_secs(60),
    })
}

/// Two threads that do nothing but send.
async fn plain_client(config: SinkConfig, bodies: Arc<Vec<Vec<u8>>>) -> Result<()> {
    let sending: Vec<_> = (0..2)
        .map(|first| {
            let (config, bodies) = (config.clone(), Arc::clone(&bodies));
            tokio::task::spawn_blocking(move || send_all(&config, bodies.iter().skip(first).step_by(2)))
        })
        .collect();
    for thread in sending {
        thread.await??;
    }
    Ok(())
}

fn send_all<'a>(config: &SinkConfig, bodies: impl Iterator<Item = &'a Vec<u8>>) -> Result<()> {
    let TokenSource::Given(token) = &config.token else { bail!("a token is given") };
    let agent = ureq::agent();
    let url = format!("{}/api/v2/write?org={}&bucket={}&precision=ns", config.url, config.org, config.samples_bucket);
    for body in bodies {
        let request = agent.post(&url).header("Authorization", token.authorization());
        let request = if config.gzip { request.header("Content-Encoding", "gzip") } else { request };
        let answer = request.send(&body[..])?;
        ensure!(answer.status() == 204, "{}", answer.status());
    }
    Ok(())
}

fn body(lines: &Lines, gzip: bool) -> Result<Vec<u8>> {
    if !gzip {
        return Ok(lines.text().as_bytes().to_vec());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.text().as_bytes())?;
    Ok(encoder.finish()?)
}

/// The sink, from the store on.
async fn run_sink(store: &Store, config: SinkConfig, line_count: usize) -> Result<()> {
    let sink = Sink::start(store.clone(), &config).await?;
    let handle = sink.handle();
    // Lines of clock probes are taken besides.
    while handle.meter().line_count < line_count as u64 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while store.newest_position().await? != store.sink_position(&config.target()).await?.0 {
        // Not in the figures: the position is kept once a second.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sink.stop().await;
    Ok(())
}

fn count(influxd: &Influxd, bucket: &str) -> Result<usize> {
    let flux = format!(
        "from(bucket: \"{bucket}\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"sample\" and \
         r._field == \"watts\") |> count() |> group() |> sum()"
    );
    let tables = influxd.query(&flux)?;
    let rows = tables.first().map(|table| table.select(&["_value"])).unwrap_or_default();
    Ok(rows.first().context("no row")?[0].parse()?)
}
