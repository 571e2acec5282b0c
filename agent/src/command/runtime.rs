//! `agent runtime`: gets the runtime that executes models.

use std::path::PathBuf;

use anyhow::Context;

use crate::inference::install::{Installed, Origin, build_here, install};
use crate::inference::locate::Surroundings;
use crate::inference::release::{PACKAGE, VERSION};

/// Arguments of `agent runtime`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Fetch LiteRT's library once, from its official Python package into the user's cache, and check it
    ///
    /// Needs python3 and a way to its package index; pip's own settings (mirror, proxy, certificates) apply. Not root.
    Install {
        /// Take a wheel that is there already, for machines without a way to the package index
        #[arg(long, value_name = "WHEEL")]
        from: Option<PathBuf>,
    },
}

/// Runs `agent runtime`. The library's path goes to standard output, words to standard error.
///
/// # Errors
/// When the library cannot be installed; the message tells the way out.
pub fn run(arguments: Arguments, surroundings: &Surroundings) -> anyhow::Result<()> {
    let Action::Install { from } = arguments.action;
    let target = surroundings.cached_library();
    let target = target.context("no place for the library: set HOME, or XDG_CACHE_HOME to a folder's full path")?;
    let origin = from.map_or(Origin::Index, Origin::Wheel);
    if origin == Origin::Index && !target.exists() {
        eprintln!("fetching LiteRT {VERSION} (Python package {PACKAGE}, about 22 MB) ...");
    }
    match install(build_here()?, &target, &origin)? {
        Installed::Already => eprintln!("LiteRT {VERSION} is already there"),
        Installed::Now => eprintln!("LiteRT {VERSION} is installed, its checksum is the official release's"),
    }
    println!("{}", target.display());
    Ok(())
}
