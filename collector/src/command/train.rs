//! `collector train`: the trainer in Rust.
//!
//! It links PyTorch, which the collector does not; so it is a program of its own, `torch-train`, found beside this one.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// File name of the trainer.
const TRAINER: &str = "torch-train";

/// Arguments of `collector train`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The job's file
    job: PathBuf,
}

/// Becomes the trainer, so that signals and the exit code are its own.
///
/// # Errors
/// When there is no trainer; the message tells how to get one.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("the system does not tell where this program is")?;
    let trainer = own.with_file_name(TRAINER);
    let error = Command::new(&trainer).arg(&arguments.job).exec();
    Err(error).with_context(|| {
        format!(
            "failed to start {}: build it with `cargo build --release -p tinywatt-torch --features torch`, with LIBTORCH \
             naming PyTorch's folder, and put it beside this program",
            trainer.display()
        )
    })
}
