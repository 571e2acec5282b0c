//! `collector runs`: what was executed, what is executing.

use std::process::ExitCode;
use std::time::Duration;

use tinywatt_proto::v1;

use super::client::Client;
use super::{output, table, watch};

/// Arguments of `collector runs`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Follow this run ("latest" for the last) until it ends, then print its report
    #[arg(long, value_name = "RUN")]
    watch: Option<String>,
}

/// Prints the runs, or follows one.
///
/// # Errors
/// When the collector does not answer, or there is no such run.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    if let Some(name) = arguments.watch {
        let run = client.run(&name).await?;
        return watch::follow(&mut client, &run.run_id).await;
    }
    let runs = client.runs().await?;
    if runs.is_empty() {
        eprintln!("there are no runs yet; start one with `collector schedule EXPERIMENT.toml`");
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&rows(&runs))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(runs: &[v1::RunSummary]) -> String {
    let mut rows = table::table(&["run", "experiment", "state", "valid trials", "invalid attempts", "started", "took"]);
    for run in runs {
        let took = run.ended_unix_ns.map(|ended| Duration::from_nanos(ended.saturating_sub(run.started_unix_ns)));
        rows.add_row([
            run.run_id.clone(),
            run.experiment.clone(),
            table::state(run.state()).to_owned(),
            valid(run),
            run.invalid_attempt_count.to_string(),
            table::instant(run.started_unix_ns),
            took.map(table::duration).unwrap_or_default(),
        ]);
    }
    table::text(&rows)
}

/// How many trials are valid, and how many never will be.
fn valid(run: &v1::RunSummary) -> String {
    let skipped = match run.skipped_count {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    format!("{} of {}{skipped}", run.valid_count, run.trial_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_how_far_a_run_is() {
        let mut run = v1::RunSummary {
            run_id: "digits-k3f9".to_owned(),
            experiment: "digits".to_owned(),
            state: v1::RunState::Running.into(),
            trial_count: 24,
            valid_count: 7,
            invalid_attempt_count: 1,
            started_unix_ns: 1_700_000_000_000_000_000,
            ended_unix_ns: None,
            skipped_count: 0,
        };
        let text = rows(std::slice::from_ref(&run));
        for part in ["digits-k3f9", "running", "7 of 24", "2023-11-14 22:13:20Z"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        run.set_state(v1::RunState::Incomplete);
        run.skipped_count = 3;
        run.ended_unix_ns = Some(1_700_000_083_000_000_000);
        let text = rows(&[run]);
        assert!(
            text.contains("7 of 24, 3 skipped") && text.contains("incomplete") && text.contains("1m 23s"),
            "{text}"
        );
    }
}
