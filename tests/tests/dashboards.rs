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
    let declared = series::declared();
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

/// What the descriptions must not say is refused before there is a dashboard.
#[test]
fn the_generator_refuses_what_the_rules_forbid() -> Result<()> {
    let columns = "[Column('joules', 'Energy')]";
    for (statement, expected) in [
        ("rows('window', [Column('watts', 'Power')])", "series window declares no watts"),
        (&format!("table('t', 'd', rows('window', {columns}), {columns}, ['window'])"), "without its kind"),
        (&format!("numbers('t', 'd', rows('window', {columns}), {columns}, ['window'])"), "without its kind"),
        ("curves('t', 'd', ['q'], 'watt', '${__field.labels.node}')", "without its kind"),
        ("bars('t', 'd', 'q', 'x', 'joule', 'Energy')", "without its kind"),
        ("trend('t', 'd', 'q', ('x', 'none', 'Window'), 'joule', 'Energy')", "without its kind"),
    ] {
        let program = format!(
            "from generator.flux import Column, rows\nfrom generator.panels import numbers, table\n\
             from generator.charts import bars, curves, trend\n{statement}"
        );
        let said = Command::new("python3").current_dir(dashboards::folder()).args(["-c", &program]).output()?;
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(words.contains("ValueError") && words.contains(expected), "{statement}: {words}");
    }
    Ok(())
}

/// What Grafana is told of the data source agrees with the dashboards and with `deploy/`.
#[test]
fn provisioning_and_deployment_agree() -> Result<()> {
    let provisioning = dashboards::folder().join("provisioning");
    let source = std::fs::read_to_string(provisioning.join("datasources/tinywatt.yaml"))?;
    let provider = std::fs::read_to_string(provisioning.join("dashboards/tinywatt.yaml"))?;
    let compose = std::fs::read_to_string(dashboards::folder().join("../deploy/compose.yaml"))?;
    ensure!(source.contains(&format!("uid: {}\n", dashboards::DATASOURCE)), "another uid:\n{source}");
    let values = |text: &str| -> String {
        text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
    };
    let variables: Vec<String> =
        values(&source).split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect();
    assert_eq!(variables, ["INFLUX_URL", "INFLUX_ORG", "INFLUX_BUCKET"]);
    for variable in variables {
        ensure!(
            compose.contains(&format!("      {variable}: ")),
            "deploy/compose.yaml does not give Grafana {variable}"
        );
    }
    ensure!(source.contains("token: $__file{/run/secrets/influx-read-token}"), "the token is not read from its file");
    ensure!(compose.contains("      - influx-read-token\n"), "deploy/compose.yaml does not give Grafana its token");
    let path = values(&provider).split("path: ").nth(1).and_then(|rest| Some(rest.lines().next()?.to_owned()));
    let path = path.unwrap_or_default();
    ensure!(compose.contains(&format!("../grafana/dashboards:{path}:ro")), "{path} is not where compose puts them");
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
    every_fault_is_seen(&influxd)?;
    every_panel_is_drawn(&influxd, folder.path())
}

/// The preview has a drawing for each panel, and each has data.
fn every_panel_is_drawn(influxd: &Influxd, folder: &std::path::Path) -> Result<()> {
    let token = folder.join("token");
    std::fs::write(&token, &influxd.operator()?.token)?;
    for dashboard in dashboards::all()? {
        let scene = scenes(&dashboard).swap_remove(0);
        let mut command = Command::new("python3");
        command.arg(dashboards::folder().join("preview/preview")).arg(&dashboard.name).args(["--url", &influxd.url()]);
        command.arg("--token-file").arg(&token).args(["--from", &scene.start, "--to", &scene.stop, "--no-picture"]);
        command.arg("--into").arg(folder.join("pages"));
        for (name, value) in &scene.values {
            command.args(["--set", &format!("{name}={value}")]);
        }
        let said = command.output()?;
        ensure!(said.status.success(), "{}: {}", dashboard.name, String::from_utf8_lossy(&said.stderr));
        let page = std::fs::read_to_string(folder.join("pages").join(format!("{}.html", dashboard.name)))?;
        ensure!(page.matches("<h2>").count() == dashboard.panels().count(), "{}: panels are missing", dashboard.name);
        ensure!(!page.contains("no drawing of this kind"), "{}: a panel is not drawn", dashboard.name);
        ensure!(!page.contains("No data"), "{}: a panel is empty", dashboard.name);
    }
    Ok(())
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
