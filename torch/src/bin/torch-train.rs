//! `torch-train JOB.json`: trains a TorchScript module. Started by `collector train`.

#![expect(unsafe_code, reason = "setting a variable of the environment is")]

use std::path::Path;
use std::process::ExitCode;

use tinywatt_proto::chain::Chain;
use tinywatt_torch::{library, train};

const CUBLAS_WORKSPACE: &str = "CUBLAS_WORKSPACE_CONFIG";

fn main() -> ExitCode {
    // cuBLAS reads it when it starts: without a workspace of its own its sums change from run to run.
    if std::env::var_os(CUBLAS_WORKSPACE).is_none() {
        // SAFETY: nothing else runs in this process yet.
        unsafe { std::env::set_var(CUBLAS_WORKSPACE, ":4096:8") };
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [argument] = &arguments[..] else {
        eprintln!("usage: torch-train JOB.json");
        return ExitCode::from(2);
    };
    let done = if argument == "--version" {
        library::check().map(|()| println!("{}", library::version())).map_err(|error| error.to_string())
    } else {
        train::run(Path::new(argument)).map_err(|error| Chain(&error).to_string())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
