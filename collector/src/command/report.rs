//! `collector report`: the tables of a run, in four formats.

use std::path::PathBuf;
use std::process::ExitCode;

use tinywatt_proto::v1::{self, ReportFormat};

use super::client::Client;
use super::output::Output;

/// Arguments of `collector report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run to report, or "latest"
    run: String,
    /// Format
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    /// File to write instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Format of a report.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Terminal,
    Md,
    Csv,
    Json,
}

impl From<Format> for ReportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Terminal => Self::Terminal,
            Format::Md => Self::Markdown,
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
        }
    }
}

/// Prints or writes a report.
///
/// # Errors
/// When the collector does not answer, there is no such run, or the file cannot be written.
pub async fn run(arguments: Arguments, mut client: Client) -> anyhow::Result<ExitCode> {
    let run = client.run(&arguments.run).await?.run_id;
    let output = Output::open(arguments.output.as_deref())?;
    fetch(&mut client, &run, arguments.format.into(), output).await?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches a report into an output.
pub(super) async fn fetch(
    client: &mut Client,
    run: &str,
    format: ReportFormat,
    mut output: Output,
) -> anyhow::Result<()> {
    let request = v1::ReportRequest { run_id: run.to_owned(), format: format.into() };
    let what = format!("reporting '{run}'");
    let answer = client.control.report(request).await;
    let mut chunks = answer.map_err(|status| client.failed(&what, &status))?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|status| client.failed(&what, &status))? {
        if !output.write(&chunk.chunk)? {
            return Ok(());
        }
    }
    output.finish()
}
