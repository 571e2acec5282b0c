//! `torch-worker`: the process that holds a TorchScript module. Started by the agent, which asks it for its version first.

use std::process::ExitCode;

use tinywatt_agent::inference::worker::serve;
use tinywatt_torch::library;
use tinywatt_torch::runtime::TorchScript;

fn main() -> ExitCode {
    let done = if std::env::args_os().nth(1).is_some_and(|argument| argument == "--version") {
        library::check().map(|()| println!("{}", library::version())).map_err(|error| error.to_string())
    } else {
        serve(TorchScript).map_err(|error| error.to_string())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
