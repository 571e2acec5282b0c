//! `executorch-worker`: the process that holds an ExecuTorch program. Started by the agent, which asks it for its version
//! first.

use std::process::ExitCode;

use tinywatt_agent::inference::worker::serve;
use tinywatt_executorch::VERSION;
use tinywatt_executorch::runtime::{ExecuTorch, check_library};

fn main() -> ExitCode {
    let done = if std::env::args().nth(1).as_deref() == Some("--version") {
        check_library().map(|()| println!("{VERSION}")).map_err(|error| error.to_string())
    } else {
        serve(ExecuTorch).map_err(|error| error.to_string())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
