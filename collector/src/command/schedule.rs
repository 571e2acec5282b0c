//! `collector schedule`: checks an experiment whole, hands it over, and follows it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tinywatt_proto::v1;
use tonic::Code;

use super::client::Client;
use super::{output, table, upload, watch};
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
}

impl Arguments {
    /// Starts the experiment and follows it to its end.
    pub fn follow(experiment: PathBuf) -> Self {
        Self { experiment, dry_run: false, detach: false }
    }
}

/// Exit status for an experiment that is wrong.
const USAGE: u8 = 2;

/// Schedules an experiment. The file is checked before the collector at `address` is asked for anything.
///
/// # Errors
/// When the collector does not answer or refuses. A wrong experiment is no error but exit status 2, its problems told.
pub async fn run(arguments: Arguments, address: &str) -> anyhow::Result<ExitCode> {
    let experiment = match Experiment::read(&arguments.experiment) {
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
    let plan = plan(planned.trials.len(), &time);
    if arguments.dry_run {
        output::print(&rows(&planned.trials))?;
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

/// What lies ahead, in words.
fn plan(count: usize, time: &str) -> String {
    let trials = if count == 1 { "trial" } else { "trials" };
    format!("{count} {trials}, at most about {time} if none is repeated")
}

fn refuse(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(USAGE)
}

fn rows(trials: &[v1::PlannedTrial]) -> String {
    let mut rows = table::table(&["trial", "block", "node", "treatment", "replicate", "takes"]);
    for trial in trials {
        rows.add_row([
            trial.trial.to_string(),
            trial.block.to_string(),
            trial.node.clone(),
            trial.treatment.clone(),
            trial.replicate.to_string(),
            table::duration(Duration::from_nanos(trial.duration_ns)),
        ]);
    }
    table::text(&rows)
}
