//! Grafana's dashboards: made freshly, by the rules, and each query answered by a real server.

#[path = "dashboards/broken.rs"]
mod broken;
#[path = "dashboards/real_run.rs"]
mod real_run;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Result, ensure};
use tinywatt_tests::dashboards::server::{Outcome, Scene, check};
use tinywatt_tests::dashboards::{self, Dashboard};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::{seed, series};

#[test]
fn every_dashboard_keeps_the_rules() -> Result<()> {
    let all = dashboards::all()?;
    let declared = series::declared()?;
    assert_eq!(all.len(), 6);
    let problems: Vec<String> =
        all.iter().flat_map(|dashboard| dashboards::problems(dashboard, &all, &declared)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn the_dashboards_are_what_their_descriptions_give() -> Result<()> {
    let said = Command::new("python3").arg(dashboards::folder().join("generate")).arg("--check").output()?;
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    // And the check can fail: a folder with one file too many, and all others missing.
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("old.json"), "{}")?;
    let generate = dashboards::folder().join("generate");
    let said = Command::new("python3").arg(generate).arg("--check").arg("--into").arg(folder.path()).output()?;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{words}");
    assert!(words.contains("old.json") && words.contains("trial.json"), "{words}");
    Ok(())
}

/// A server with the made-up points, and an empty pair of buckets.
fn seeded(folder: &std::path::Path) -> Result<Option<Influxd>> {
    let Some(mut influxd) = Influxd::start(folder)? else { return Ok(None) };
    influxd.setup()?;
    for bucket in ["tinywatt-samples", "empty", "empty-samples"] {
        influxd.create_bucket(bucket, 0)?;
    }
    for (kind, lines) in seed::lines()? {
        let bucket = if kind == "samples" { "tinywatt-samples" } else { "tinywatt" };
        for batch in lines.chunks(5_000) {
            influxd.write(bucket, &batch.join("\n"))?;
        }
    }
    Ok(Some(influxd))
}

fn scene(values: &[(&str, &str)]) -> Scene {
    Scene {
        bucket: "tinywatt".to_owned(),
        start: "2026-11-20T08:00:00Z".to_owned(),
        stop: "2026-11-20T12:00:00Z".to_owned(),
        window_period: "1s".to_owned(),
        values: values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

/// What one looks at, so that every panel has something: each kind of sensor has curves of its own.
fn scenes(dashboard: &Dashboard) -> Vec<Scene> {
    let run = ("run", seed::RUN_A);
    match dashboard.name.as_str() {
        "compare" => vec![scene(&[("a", seed::RUN_A), ("b", seed::RUN_B)])],
        "trial" => vec![
            scene(&[run, ("node", "pi-5")]),
            scene(&[run, ("node", "pi-zero"), ("detail", "sample_decimated")]),
            scene(&[run, ("node", "gpu-host")]),
            scene(&[("run", seed::RUN_RECORDINGS), ("node", "bench")]),
        ],
        "fleet" | "mcu" => vec![scene(&[])],
        _ => vec![scene(&[run])],
    }
}

#[test]
fn every_query_answers_on_made_up_points_and_on_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(influxd) = seeded(folder.path())? else { return Ok(()) };
    for dashboard in dashboards::all()? {
        let Outcome { problems, empty } = check(&influxd, &dashboard, &scenes(&dashboard))?;
        assert!(problems.is_empty(), "{}", problems.into_iter().collect::<Vec<_>>().join("\n"));
        assert!(empty.is_empty(), "no row in any scene: {empty:?}");

        let nothing = Scene { bucket: "empty".to_owned(), ..scene(&[("samples", "empty-samples")]) };
        let Outcome { problems, empty } = check(&influxd, &dashboard, &[nothing])?;
        assert!(problems.is_empty(), "{}", problems.into_iter().collect::<Vec<_>>().join("\n"));
        ensure!(!empty.is_empty(), "the empty buckets are not empty");
    }
    every_fault_is_seen(&influxd)
}

/// Dashboards that the rules without a server might let pass.
fn every_fault_is_seen(influxd: &Influxd) -> Result<()> {
    let all: BTreeMap<String, Dashboard> =
        dashboards::all()?.into_iter().map(|dashboard| (dashboard.name.clone(), dashboard)).collect();
    for (name, from, to, expected) in [
        ("compare", "sort(columns: [", "sort(colums: [", "colums"),
        ("compare", "|> group()", "", "frames, of which the panel shows one"),
        ("compare", "r.train_joules / 3600.0", "r.train_joules / 3600", "3600"),
        ("fleet", "${__field.labels.reason}", "${__field.labels.cause}", "read cause, which is no label"),
        ("trial", "\"xField\":\"bin\"", "\"xField\":\"bins\"", "names column bins, which is not there"),
    ] {
        let text = all[name].json.to_string();
        let changed = text.replace(from, to);
        ensure!(changed != text, "{name} has no {from}");
        let broken = Dashboard { name: name.to_owned(), json: serde_json::from_str(&changed)? };
        let Outcome { problems, .. } = check(influxd, &broken, &scenes(&broken))?;
        ensure!(problems.iter().any(|problem| problem.contains(expected)), "{from}: not seen, only {problems:?}");
    }
    Ok(())
}
