//! `collector cancel`: stops a run; what it measured is kept.

use std::process::ExitCode;

use tinywatt_proto::v1;

use super::client::Client;

/// Arguments of `collector cancel`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run to stop, or "latest"
    run: String,
}

/// Cancels a run.
///
/// # Errors
/// When the collector does not answer, there is no such run, or it has ended.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let run = client.run(&arguments.run).await?.run_id;
    let answer = client.control.cancel(v1::CancelRequest { run_id: run.clone() }).await;
    answer.map_err(|status| client.failed(&format!("cancelling '{run}'"), &status))?;
    eprintln!("run '{run}' is cancelled; what it measured is kept: `collector report {run}`");
    Ok(ExitCode::SUCCESS)
}
