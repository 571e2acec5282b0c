//! Binary.

use std::process::ExitCode;

use clap::Parser;
use tinywatt_agent::command;
use tinywatt_agent::inference::locate::Surroundings;

/// Measures: samples power sensors, runs inference, spools and delivers both.
#[derive(Debug, Parser)]
#[command(name = "agent", version)]
enum Command {
    /// Get the runtime that executes models
    Runtime(command::runtime::Arguments),
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let surroundings = Surroundings::read(|name| std::env::var_os(name), std::env::current_exe().ok());
    let result = match Command::parse() {
        Command::Runtime(arguments) => command::runtime::run(arguments, &surroundings),
        Command::Worker => command::worker::run(&surroundings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
