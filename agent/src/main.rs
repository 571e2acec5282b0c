//! Binary: parses arguments, reads the surroundings, starts logging, and ends with an exit code.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tinywatt_agent::command;
use tinywatt_agent::config::{Config, ConfigError, Environment, Overrides};
use tinywatt_agent::inference::locate::Surroundings;
use tinywatt_proto::chain::Chain;
use tracing_subscriber::EnvFilter;

/// Exit code for wrong usage, as clap has it.
const USAGE: u8 = 2;

/// Measures: samples power sensors, runs inference, spools and delivers both.
#[derive(Debug, Parser)]
#[command(name = "agent", version)]
struct Arguments {
    /// Configuration file, instead of ~/.config/tinywatt/agent.toml or /etc/tinywatt/agent.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sample, deliver to the collector and execute its trials, until stopped
    Run(Overrides),
    /// Show what the sensors see now
    Read {
        #[command(flatten)]
        read: command::read::ReadArgs,
        /// Use this sensor alone; `emulated` needs neither hardware nor configuration, and its figures are simulated
        #[arg(long, value_name = "NAME")]
        sensor: Option<String>,
    },
    /// Tell what works, what is missing and what to do
    Check(Overrides),
    /// Run a command and print the joules it took; exits with the command's exit code
    Exec(command::exec::ExecArgs),
    /// Get the runtime that executes models
    Runtime(command::runtime::Arguments),
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Words go to standard error: standard output is for data. RUST_LOG decides what is said.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).init();
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", Chain(error.as_ref()));
            // A wrong configuration is wrong usage, like a wrong argument.
            if error.is::<ConfigError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn execute(Arguments { config, command }: Arguments) -> anyhow::Result<ExitCode> {
    let surroundings = Surroundings::read(|name| std::env::var_os(name), std::env::current_exe().ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let environment = Environment::read(|name| std::env::var_os(name), &host);
    let load = |overrides: &Overrides| Config::load(config.as_deref(), &environment)?.with(overrides);
    match command {
        Command::Run(overrides) => command::run::run(&load(&overrides)?, &surroundings).map(|()| ExitCode::SUCCESS),
        Command::Check(overrides) => command::check::run(&load(&overrides)?, &environment, &surroundings),
        Command::Read { read, sensor } => {
            let config = load(&Overrides { sensor, ..Overrides::default() })?;
            command::read::run(&read, config.require_sensors()?)
        }
        Command::Exec(exec) => {
            let config = load(&Overrides { sensor: exec.sensor.clone(), ..Overrides::default() })?;
            command::exec::run(&exec, config.require_sensors()?, surroundings.executable.as_deref())
        }
        Command::Runtime(arguments) => command::runtime::run(arguments, &surroundings).map(|()| ExitCode::SUCCESS),
        Command::Worker => command::worker::run(&surroundings).map(|()| ExitCode::SUCCESS),
    }
}
