//! `collector export`: samples, windows and gaps of a run as CSV.

use std::path::PathBuf;
use std::process::ExitCode;

use tinywatt_proto::v1;

use super::client::Client;
use super::output::Output;

/// Arguments of `collector export`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run to export, or "latest"
    run: String,
    /// Only this trial, from 0
    #[arg(long, value_name = "N")]
    trial: Option<u32>,
    /// File to write instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints or writes the samples.
///
/// # Errors
/// When the collector does not answer, there is no such run or trial, or the file cannot be written.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let run = client.run(&arguments.run).await?.run_id;
    let mut output = Output::open(arguments.output.as_deref())?;
    let what = format!("exporting '{run}'");
    let request = v1::ExportRequest { run_id: run, trial: arguments.trial };
    let answer = client.control.export(request).await;
    let mut chunks = answer.map_err(|status| client.failed(&what, &status))?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|status| client.failed(&what, &status))? {
        if !output.write(&chunk.chunk)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}
