//! `collector schedule`: checks an experiment whole, hands it over, and follows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tinywatt_proto::chain::Chain;
use tinywatt_proto::v1;
use tonic::Code;

use super::client::Client;
use super::{dataset, output, table, upload, watch};
use crate::cache::CacheArguments;
use crate::dataset::Kind;
use crate::dataset::fetch::Fetcher;
use crate::experiment::{Experiment, Prepared, Problems};

/// Arguments of `collector schedule`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Experiment file; collector/experiment.example.toml explains every key
    experiment: PathBuf,
    /// Print the trials in their order and the time they take, and start nothing
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Start the run and leave it
    #[arg(long)]
    detach: bool,

    #[command(flatten)]
    cache: CacheArguments,
}

impl Arguments {
    /// Starts the experiment and follows it to its end.
    pub fn follow(experiment: PathBuf) -> Self {
        Self { experiment, dry_run: false, detach: false, cache: CacheArguments::default() }
    }
}

/// Exit status for an experiment that is wrong.
const USAGE: u8 = 2;

/// Schedules an experiment. The file is checked before the collector at `address` is asked for anything.
///
/// # Errors
/// When the collector does not answer or refuses. A wrong experiment is no error but exit status 2, its problems told.
pub async fn run(arguments: Arguments, address: &str) -> anyhow::Result<ExitCode> {
    let cache = arguments.cache.folder();
    let path = arguments.experiment.clone();
    // Data sets are read, and perhaps fetched, in a thread that may wait.
    let reading = move || Experiment::read_fetching(&path, &mut |kind| fetch(kind, cache.as_deref()));
    let read = tokio::task::spawn_blocking(reading).await.context("reading the experiment did not come to an end")?;
    let experiment = match read {
        Ok(experiment) => experiment,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let mut client = Client::connect(address).await?;
    let Prepared { mut submit, artifacts, notes } = match experiment.prepare(&client.nodes().await?) {
        Ok(prepared) => prepared,
        Err(problems) => return Ok(refuse(&problems)),
    };
    for note in notes {
        eprintln!("note: {note}");
    }
    submit.dry_run = arguments.dry_run;
    let jobs = jobs(&submit);
    // For a dry run too: the collector checks an experiment whole, and its files belong to it.
    upload::missing(&mut client, &artifacts).await?;
    let planned = match client.control.submit(submit).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::InvalidArgument => {
            eprintln!("{}: {}", arguments.experiment.display(), status.message());
            return Ok(ExitCode::from(USAGE));
        }
        Err(status) => return Err(client.failed("submitting the experiment", &status)),
    };
    let time = table::duration(Duration::from_nanos(planned.duration_ns));
    let job_count = planned.trials.iter().filter(|trial| jobs.contains_key(&trial.treatment)).count();
    let plan = plan(planned.trials.len(), job_count, &time);
    if arguments.dry_run {
        output::print(&rows(&planned.trials, &jobs))?;
        if job_count > 0 {
            eprintln!(
                "a job takes its time limit at most; what comes \"after\" others waits for a valid attempt at each"
            );
        }
        eprintln!("{plan}; nothing was started");
        return Ok(ExitCode::SUCCESS);
    }
    let run = planned.run_id;
    eprintln!("run '{run}': {plan}");
    if arguments.detach {
        output::print(&format!("{run}\n"))?;
        eprintln!("follow it with `collector runs --watch {run}`, stop it with `collector cancel {run}`");
        return Ok(ExitCode::SUCCESS);
    }
    watch::follow(&mut client, &run).await
}

/// Gets a published data set, with progress on standard error.
fn fetch(kind: Kind, cache: Option<&std::path::Path>) -> Result<PathBuf, String> {
    let Some(cache) = cache else {
        return Err(format!("has no path, and there is no home folder to keep {kind} in: name a folder with path"));
    };
    let fetcher = Fetcher::new(cache);
    if let (false, Some(bytes)) = (fetcher.is_available(kind), kind.fetch_bytes()) {
        let facts = kind.facts();
        eprintln!("fetching {kind}, {} MB, from {} ({})", bytes.div_ceil(1_000_000), facts.home, facts.licence);
    }
    let mut shown = dataset::Shown::default();
    let folder = fetcher.make_available(kind, None, &mut |progress| shown.update(progress));
    shown.finish();
    folder.map_err(|error| Chain(&error).to_string())
}

/// Names of the jobs, with their time limits.
fn jobs(submit: &v1::SubmitRequest) -> BTreeMap<String, Duration> {
    let job = |treatment: &v1::Treatment| match &treatment.workload {
        Some(v1::treatment::Workload::Job(job)) => {
            Some((treatment.name.clone(), Duration::from_nanos(job.time_limit_ns)))
        }
        _ => None,
    };
    submit.treatments.iter().filter_map(job).collect()
}

/// What lies ahead, in words.
fn plan(count: usize, job_count: usize, time: &str) -> String {
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let trials = match job_count {
        0 => counted(count, "trial"),
        jobs if jobs == count => counted(jobs, "job"),
        jobs => format!("{} and {}", counted(jobs, "job"), counted(count - jobs, "trial")),
    };
    format!("{trials}, at most about {time} if none is repeated")
}

fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(USAGE)
}

/// The trials as they are numbered; those that wait for others name them.
fn rows(trials: &[v1::PlannedTrial], jobs: &BTreeMap<String, Duration>) -> String {
    let has_needs = trials.iter().any(|trial| !trial.needs.is_empty());
    let mut columns = vec!["trial", "block", "node", "treatment", "replicate", "takes"];
    if has_needs {
        columns.push("after");
    }
    let mut rows = table::table(&columns);
    for trial in trials {
        let takes = table::duration(Duration::from_nanos(trial.duration_ns));
        let takes = if jobs.contains_key(&trial.treatment) { format!("at most {takes}") } else { takes };
        let mut cells = vec![
            trial.trial.to_string(),
            trial.block.to_string(),
            trial.node.clone(),
            trial.treatment.clone(),
            trial.replicate.to_string(),
            takes,
        ];
        if has_needs {
            cells.push(trial.needs.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
        }
        rows.add_row(cells);
    }
    table::text(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(trial: u32, treatment: &str, needs: &[u32]) -> v1::PlannedTrial {
        v1::PlannedTrial {
            trial,
            node: "pi".to_owned(),
            treatment: treatment.to_owned(),
            duration_ns: 3_610_000_000_000,
            needs: needs.to_vec(),
            ..v1::PlannedTrial::default()
        }
    }

    #[test]
    fn a_plan_tells_jobs_from_trials() {
        assert_eq!(plan(1, 0, "5s"), "1 trial, at most about 5s if none is repeated");
        assert_eq!(plan(5, 2, "1h"), "2 jobs and 3 trials, at most about 1h if none is repeated");
        assert_eq!(plan(1, 1, "1h"), "1 job, at most about 1h if none is repeated");
    }

    #[test]
    fn jobs_tell_their_limit_and_others_what_they_wait_for() {
        let jobs = BTreeMap::from([("keras: train".to_owned(), Duration::from_secs(3_600))]);
        let text = rows(&[planned(0, "keras: train", &[]), planned(1, "keras/float32", &[0])], &jobs);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("after"), "{text}");
        assert!(lines[3].contains("keras: train") && lines[3].ends_with("at most 1h 10s"), "{text}");
        assert!(lines[5].contains("keras/float32") && !lines[5].contains("at most"), "{text}");
        assert!(lines[5].ends_with("    0"), "{text}");
        assert!(!rows(&[planned(0, "a", &[])], &jobs).contains("after"), "{text}");
    }
}
