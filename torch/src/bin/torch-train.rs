//! `torch-train JOB.json`: trains a TorchScript module. Started by `collector train`.

use std::path::Path;
use std::process::ExitCode;

use tinywatt_proto::chain::Chain;
use tinywatt_torch::{library, train};

fn main() -> ExitCode {
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
