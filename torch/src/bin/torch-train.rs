//! `torch-train JOB.json`: trains a TorchScript module. Started by `collector train`.

use std::path::Path;
use std::process::ExitCode;

use tinywatt_proto::chain::Chain;
use tinywatt_torch::{VERSION, train};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [argument] = &arguments[..] else {
        eprintln!("usage: torch-train JOB.json");
        return ExitCode::from(2);
    };
    if argument == "--version" {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    match train::run(Path::new(argument)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}
