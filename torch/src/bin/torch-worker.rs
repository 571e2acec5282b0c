//! `torch-worker`: the process that holds a TorchScript module. Started by the agent, which asks it for its version first.

use std::process::ExitCode;

use tinywatt_agent::inference::worker::serve;
use tinywatt_torch::VERSION;
use tinywatt_torch::runtime::TorchScript;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    match serve(TorchScript) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
