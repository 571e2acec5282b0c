//! The dashboards on what a real collector has written of real agents.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tinywatt_tests::dashboards;
use tinywatt_tests::dashboards::server::{Outcome, Scene, check};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::{Agent, Collector, digits_experiment, shared_data, wait_for};

/// A run of models from files answers no question and trains nothing; nothing is throttled or lost on purpose; nobody has
/// set up the task that keeps means of 10 s; and there is one run alone.
const NOT_IN_SUCH_A_RUN: [&str; 20] = [
    "compare: panel \"Warnings\"",
    "compare: panel \"Accuracy against energy per inference\" B",
    "compare: panel \"Accuracy against energy per inference\" D",
    "compare: panel \"Accuracy against energy above idle\" B",
    "compare: panel \"Cost of training and evaluation\"",
    "compare: panel \"Technique by framework",
    "compare: panel \"Answers in sentences\"",
    "compare: panel \"Tests behind the answers\"",
    "fleet: panel \"Throttling",
    "fleet: panel \"Temperature\"",
    "fleet: panel \"Gaps\"",
    "fleet: panel \"Losses",
    "fleet: panel \"Power of each channel, mean of 10 s\"",
    "techniques: panel",
    "techniques: variable family",
    "training: panel",
    "training: variable framework",
    "trial: panel \"Power\" C",
    "trial: panel \"Losses\"",
    "trial: panel \"Gaps\"",
];

/// What only a recording gives, where there are no recorded traces beside the checkout.
const ONLY_OF_RECORDINGS: [&str; 3] = ["mcu: panel", "mcu: variable", "trial: panel \"Power\" D"];

/// Executes an experiment and waits until the database has its results.
fn execute(collector: &Collector, influxd: &Influxd, file: &str) -> Result<String> {
    collector.text(&["schedule", file])?;
    let report = collector.report()?;
    let run = report["header"]["run"].as_str().context("the report names its run")?.to_owned();
    let query = format!(
        "from(bucket: \"tinywatt\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"result\" and r.run == \"{run}\")"
    );
    wait_for("the run's results in the database", Duration::from_secs(60), || {
        influxd.query(&query).ok().filter(|tables| !tables.is_empty())
    })?;
    Ok(run)
}

/// The hour that begins with the first word of the collector: recordings are replayed faster than they were taken, and
/// reach into what is still to come.
fn hour(influxd: &Influxd) -> Result<(String, String)> {
    let query = "from(bucket: \"tinywatt\") |> range(start: 0) \
                 |> filter(fn: (r) => r._measurement == \"collector\" and r._field == \"store_bytes\") |> first() \
                 |> map(fn: (r) => ({start: r._time, stop: time(v: int(v: r._time) + 3600000000000)}))";
    let tables = influxd.query(query)?;
    let table = tables.first().context("the collector has said nothing")?;
    let row = table.select(&["start", "stop"]).pop().context("a row")?;
    Ok((row[0].to_owned(), row[1].to_owned()))
}

#[test]
fn what_a_real_run_has_written_is_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&folder.path().join("influxd"))? else { return Ok(()) };
    influxd.setup()?;
    let configuration = influxd.sink_configuration(folder.path(), &influxd.url(), "")?;
    let collector =
        Collector::start_with(&folder.path().join("store"), &["--influx", &configuration.to_string_lossy()])?;
    let _agent = Agent::start(&folder.path().join("bench"), "bench", &collector.address, 7)?;
    collector.wait_for_node("bench")?;

    let file = digits_experiment(folder.path(), 2, 6)?;
    let run = execute(&collector, &influxd, &file)?;
    let recordings = match shared_data("what_a_real_run_has_written_is_shown, for recordings,") {
        Some(data) => {
            let mut text = "name = \"traces\"\nseed = 1\nreplicates = 1\nnodes = [\"bench\"]\n".to_owned();
            for trace in ["kws", "ic"] {
                let path = data.join(format!("energy-traces/NUCLEO_L4R5ZI-P_{trace}.json"));
                write!(text, "[[trace]]\nname = \"{trace}\"\nfile = \"{}\"\n", path.display())?;
            }
            std::fs::write(&file, text)?;
            Some(execute(&collector, &influxd, &file)?)
        }
        None => None,
    };

    let (start, stop) = hour(&influxd)?;
    let scene = |values: &[(&str, &str)]| Scene {
        bucket: "tinywatt".to_owned(),
        start: start.clone(),
        stop: stop.clone(),
        window_period: "1s".to_owned(),
        values: values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let mut known = NOT_IN_SUCH_A_RUN.to_vec();
    if recordings.is_none() {
        known.extend(ONLY_OF_RECORDINGS);
    }
    for dashboard in dashboards::all()? {
        let scenes = match dashboard.name.as_str() {
            "compare" => vec![scene(&[("a", &run)])],
            "mcu" => vec![scene(&[])],
            "trial" => {
                let of_recordings = recordings.iter().map(|run| scene(&[("run", run)]));
                [scene(&[("run", &run)])].into_iter().chain(of_recordings).collect()
            }
            _ => vec![scene(&[("run", &run)])],
        };
        let outcome = check(&influxd, &dashboard, &scenes)?;
        let empty = outcome.empty_but_for(&known);
        ensure!(empty.is_empty(), "{empty:#?}");
        let Outcome { problems, .. } = outcome;
        ensure!(problems.is_empty(), "{}", problems.into_iter().collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}
