//! What networks, proxies and wrong lines do, on the way to a real server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::load::{BATCH_READING_COUNT, Load, Nodes, deliver};
use tinywatt_tests::proxy::{Fault, Proxy};
use tinywatt_tests::{Collector, wait_for};

use super::world::{self, SAMPLES};
use super::{expected, read_back};

/// Unix time of the begin of every test's samples.
const BEGIN_UNIX_NS: u64 = 1_700_000_000_000_000_000;

/// A server behind a proxy, and a collector that writes through it.
struct Scene {
    influxd: Influxd,
    proxy: Proxy,
    collector: Collector,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let Some(influxd) = world::server(folder.path())? else { return Ok(None) };
        let proxy = Proxy::start(influxd.url().trim_start_matches("http://"))?;
        let configuration = influxd.sink_configuration(
            folder.path(),
            &proxy.url(),
            "timeout = \"2s\"\ndecimated_hz = 0\ngzip = false\n",
        )?;
        let collector = world::collector(folder.path(), &configuration)?;
        let runtime = tokio::runtime::Runtime::new()?;
        Ok(Some(Self { influxd, proxy, collector, runtime, folder }))
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Delivers batches of two nodes to the collector, as fast as it takes them.
    fn deliver(&self, sequences: std::ops::Range<u64>) -> Result<()> {
        let nodes = Nodes { node_count: 2, sequences, is_live: false, begin_unix_ns: BEGIN_UNIX_NS };
        self.runtime.block_on(deliver(&self.collector.address, &nodes))
    }

    fn wait_for_state(&self, word: &str) -> Result<String> {
        wait_for(word, Duration::from_secs(30), || {
            let status = world::status(&self.collector).ok()?;
            status.get("state").filter(|state| state.starts_with(word)).cloned()
        })
        .with_context(|| format!("{:?}", world::status(&self.collector)))
    }

    fn check_level(&self) -> Result<()> {
        world::wait_until_level(&self.collector, self.folder(), Duration::from_secs(90))?;
        read_back::check_samples(&self.influxd, self.folder())
    }

    fn refused_count(&self) -> Result<i64> {
        let store = expected::store(self.folder())?;
        Ok(store.query_row("SELECT coalesce(sum(quarantined_count), 0) FROM sink", [], |row| row.get(0))?)
    }
}

#[test]
fn every_trouble_on_the_way_delays_and_loses_nothing() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    let faults = [
        Fault::Answer { status: 429, retry_after_seconds: Some(1) },
        Fault::Answer { status: 503, retry_after_seconds: None },
        Fault::Answer { status: 500, retry_after_seconds: None },
        Fault::Hang,
        Fault::CutRequest,
        Fault::CutAnswer,
    ];
    for (sequence, fault) in (0..).step_by(20).zip(faults) {
        let before = scene.proxy.faulty_count();
        scene.proxy.set(fault);
        scene.deliver(sequence..sequence + 20)?;
        wait_for("a request that meets the fault", Duration::from_secs(30), || {
            (scene.proxy.faulty_count() > before + 1).then_some(())
        })
        .with_context(|| format!("{fault:?}"))?;
        let state = scene.wait_for_state("waiting")?;
        if let Fault::Answer { status, .. } = fault {
            ensure!(state.contains(&format!("it answers {status}: fault")), "{state}");
        }
        scene.proxy.set(Fault::None);
        scene.check_level().with_context(|| format!("after {fault:?}"))?;
    }
    ensure!(scene.refused_count()? == 0, "a line was refused");
    Ok(())
}

#[test]
fn a_server_that_asks_for_time_is_left_alone_for_it() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    scene.proxy.set(Fault::Answer { status: 429, retry_after_seconds: Some(6) });
    scene.deliver(0..4)?;
    scene.wait_for_state("waiting")?;
    // Two connections, each of which was told once.
    std::thread::sleep(Duration::from_secs(4));
    let asked = scene.proxy.faulty_count();
    ensure!((1..=2).contains(&asked), "asked {asked} times within four of six seconds");
    scene.proxy.set(Fault::None);
    scene.check_level()
}

#[test]
fn a_request_that_is_too_large_is_cut_until_it_fits() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    scene.proxy.set(Fault::TooLarge { body_bytes_max: 20_000 });
    scene.deliver(0..40)?;
    scene.check_level()?;
    ensure!(scene.proxy.faulty_count() > 0, "no request was too large");
    ensure!(scene.refused_count()? == 0, "a line was refused");
    // What was learnt is kept: of as many again, none is too large.
    let before = scene.proxy.faulty_count();
    scene.deliver(40..80)?;
    scene.check_level()?;
    ensure!(
        scene.proxy.faulty_count() <= before + 2,
        "{} requests were too large again",
        scene.proxy.faulty_count() - before
    );
    Ok(())
}

#[test]
fn a_line_that_cannot_be_read_is_quarantined_and_all_others_are_there() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    // The proxy spoils the same line whatever request it comes in, and the server refuses each such request whole.
    let load = Load::new()?;
    let at_unix_ns = BEGIN_UNIX_NS + load.batch(7).last_mono_ns;
    scene.proxy.set(Fault::Corrupt { at_unix_ns });
    scene.deliver(0..20)?;
    world::wait_until_level(&scene.collector, scene.folder(), Duration::from_secs(60))?;
    // One of each node: the load is the same.
    ensure!(scene.refused_count()? == 2, "{} lines were refused", scene.refused_count()?);
    let listed = scene.collector.text(&["sink", "quarantine"])?;
    for node in ["pi-0", "pi-1"] {
        let line = format!("    sample,channel=rail,kind=measured,node={node} volts=");
        let found = listed.lines().find(|listed| listed.starts_with(&line)).with_context(|| listed.clone())?;
        ensure!(found.ends_with(&at_unix_ns.to_string()), "{found}");
    }
    ensure!(listed.contains("unable to parse"), "{listed}");
    let status = world::status(&scene.collector)?;
    ensure!(status["refused"].starts_with("2 lines; `collector sink quarantine`"), "{status:?}");
    let there = world::count(&scene.influxd, SAMPLES, "sample", "watts")?;
    ensure!(there == 2 * (20 * BATCH_READING_COUNT - 1), "{there} samples");
    // With the proxy put right, a rebuild brings the two as well.
    scene.proxy.set(Fault::None);
    scene.collector.text(&["sink", "rebuild"])?;
    scene.check_level()
}

#[test]
fn a_line_of_another_type_is_quarantined_and_all_others_are_there() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    // A field has one type for ever: flags are a text here from now on. Two readings of the load have flags.
    let at = BEGIN_UNIX_NS + 1;
    scene.influxd.write(SAMPLES, &format!("sample,channel=rail,kind=measured,node=other flags=\"late\" {at}"))?;
    scene.deliver(0..20)?;
    world::wait_until_level(&scene.collector, scene.folder(), Duration::from_secs(60))?;
    ensure!(scene.refused_count()? == 2, "{} lines were refused", scene.refused_count()?);
    let listed = scene.collector.text(&["sink", "quarantine"])?;
    let lines: Vec<&str> = listed.lines().filter(|line| line.contains(",flags=4i ")).collect();
    ensure!(lines.len() == 2 && listed.contains("field type conflict"), "{listed}");
    let there = world::count(&scene.influxd, SAMPLES, "sample", "watts")?;
    // The server drops the field and keeps the rest of such a line.
    ensure!(there >= 2 * (20 * BATCH_READING_COUNT - 1), "{there} samples");
    Ok(())
}

#[test]
fn samples_that_are_older_than_the_database_keeps_are_counted_and_hold_nothing_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(influxd) = world::server(folder.path())? else { return Ok(()) };
    influxd.create_bucket("short", 3_600)?;
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "decimated_hz = 0\n")?;
    let text = std::fs::read_to_string(&configuration)?.replace("\"tinywatt-samples\"", "\"short\"");
    std::fs::write(&configuration, text)?;
    let collector = world::collector(folder.path(), &configuration)?;
    let nodes = Nodes { node_count: 2, sequences: 0..40, is_live: false, begin_unix_ns: BEGIN_UNIX_NS };
    tokio::runtime::Runtime::new()?.block_on(deliver(&collector.address, &nodes))?;
    world::wait_until_level(&collector, folder.path(), Duration::from_secs(60))?;
    let status = world::status(&collector)?;
    let all = 2 * 40 * BATCH_READING_COUNT;
    ensure!(status["too old"].starts_with(&format!("{all} lines")), "{status:?}");
    ensure!(status["refused"] == "0 lines" && collector.text(&["sink", "quarantine"])?.is_empty(), "{status:?}");
    Ok(())
}

#[test]
fn a_token_or_a_bucket_that_is_wrong_holds_the_sink_with_advice() -> Result<()> {
    let Some(scene) = Scene::start()? else { return Ok(()) };
    drop(scene.collector);
    let configuration = scene.folder.path().join("influx.toml");
    let right = std::fs::read_to_string(&configuration)?;
    std::fs::write(scene.folder.path().join("wrong.token"), "no-such-token")?;
    for (wrong, word, advice) in [
        (right.replace("write.token", "wrong.token"), "401", "`collector influx init` makes one"),
        (right.replace("samples_bucket = \"tinywatt-samples\"", "samples_bucket = \"nowhere\""), "404", "bucket"),
    ] {
        std::fs::write(&configuration, wrong)?;
        let collector = world::collector(scene.folder.path(), &configuration)?;
        let nodes = Nodes { node_count: 1, sequences: 0..2, is_live: false, begin_unix_ns: BEGIN_UNIX_NS };
        scene.runtime.block_on(deliver(&collector.address, &nodes))?;
        let state = wait_for("held", Duration::from_secs(30), || {
            let status = world::status(&collector).ok()?;
            status.get("state").filter(|state| state.starts_with("held")).cloned()
        })?;
        ensure!(state.contains(word) && state.contains(advice), "{state}");
        ensure!(!collector.process.words().contains("no-such-token"), "the token is in the log");
    }
    // Put right, the samples are there.
    std::fs::write(&configuration, right)?;
    let collector = world::collector(scene.folder.path(), &configuration)?;
    world::wait_until_level(&collector, scene.folder.path(), Duration::from_secs(60))?;
    read_back::check_samples(&scene.influxd, scene.folder.path())
}
