//! The program `collector`: parses arguments and the environment, calls the library, exits.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tinywatt_collector::command::{self, ADDRESS_DEFAULT, Client, address};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Keeps, decides, tells: takes the agents' streams, schedules experiments and reports joules.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the collector: take what nodes measure, decide what they execute, answer the other commands
    Serve(command::serve::Arguments),
    /// Measure a small real experiment with two emulated nodes on this machine; needs no configuration
    Demo(command::demo::Arguments),
    /// Check an experiment, execute it and print its report
    Schedule(Asking<command::schedule::Arguments>),
    /// Print the report of a run
    Report(Asking<command::report::Arguments>),
    /// List the runs, or follow one
    Runs(Asking<command::runs::Arguments>),
    /// List the nodes and what they can do
    Nodes(Asking<command::nodes::Arguments>),
    /// Tell how the collector is, and how far its database for dashboards has everything
    Status(Asking<command::status::Arguments>),
    /// Fill that database again from the store, or list what it refused
    Sink(Asking<command::sink::Arguments>),
    /// Write the samples of a run as CSV
    Export(Asking<command::export::Arguments>),
    /// Train a TorchScript module as a job file says; needs the program `torch-train` beside this one
    Train(command::train::Arguments),
    /// List what the jobs of a run made, or save it as files
    Artifacts(Asking<command::artifacts::Arguments>),
    /// Stop a run
    Cancel(Asking<command::cancel::Arguments>),
    /// List, install and execute the Python trainers that jobs use
    Trainer(command::trainer::Arguments),
    /// List, fetch and check data sets
    Dataset(command::dataset::Arguments),
    /// Set up an InfluxDB server for the collector and Grafana
    Influx(command::influx::Arguments),
}

/// A command that asks a running collector.
#[derive(Debug, Args)]
struct Asking<T: Args> {
    #[command(flatten)]
    arguments: T,
    /// Address of the collector
    #[arg(
        long, global = true, value_name = "URL", env = "TINYWATT_COLLECTOR", default_value = ADDRESS_DEFAULT,
        value_parser = address
    )]
    collector: String,
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run());
    // Whatever had to end has ended; a request to a database that hangs is not waited for.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
    match execute(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => command::serve::run(arguments).await,
        Command::Demo(arguments) => command::demo::run(arguments).await,
        Command::Schedule(asking) => command::schedule::run(asking.arguments, &asking.collector).await,
        Command::Report(asking) => {
            command::report::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Runs(asking) => command::runs::run(asking.arguments, Client::connect(&asking.collector).await?).await,
        Command::Nodes(asking) => {
            command::nodes::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Status(asking) => {
            command::status::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Sink(asking) => command::sink::run(asking.arguments, Client::connect(&asking.collector).await?).await,
        Command::Export(asking) => {
            command::export::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Train(arguments) => command::train::run(&arguments),
        Command::Artifacts(asking) => {
            command::artifacts::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Cancel(asking) => {
            command::cancel::run(asking.arguments, Client::connect(&asking.collector).await?).await
        }
        Command::Trainer(arguments) => command::trainer::run(arguments),
        Command::Dataset(arguments) => command::dataset::run(arguments).await,
        Command::Influx(arguments) => command::influx::run(arguments).await,
    }
}
