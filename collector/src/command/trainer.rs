//! `collector trainer`: the Python trainers that the program carries.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{output, table};
use crate::cache::CacheArguments;
use crate::trainers::{self, Installed, PACKAGE, Trainer, Wish};

/// Arguments of `collector trainer`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    cache: CacheArguments,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the trainers, and whether they are installed on this machine
    List,
    /// Make a trainer's environment in the user's cache, or find it there; agents do so before a job
    ///
    /// Needs Python 3.11 to 3.13 with venv and a way to its package index; pip's own settings (mirror, proxy,
    /// certificates) apply. Not root.
    Install {
        /// Trainer, as `collector trainer list` has it
        #[arg(value_parser = known())]
        name: String,
        /// Use this interpreter and what is installed for it, such as /opt/venv/bin/python
        #[arg(long, value_name = "PATH")]
        python: Option<PathBuf>,
        /// Make the environment anew, once no job runs from it
        #[arg(long)]
        anew: bool,
    },
    /// Execute a job, as agents do
    Run {
        /// Trainer
        #[arg(value_parser = known())]
        name: String,
        /// The job's file
        job: PathBuf,
    },
}

fn known() -> clap::builder::PossibleValuesParser {
    PACKAGE.trainers().collect::<Vec<_>>().into()
}

/// Runs `collector trainer`. Paths and tables go to standard output, words to standard error.
///
/// # Errors
/// When a trainer cannot be installed or started; the message tells the way out. `run` ends as the trainer ends.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let cache = arguments.cache.folder();
    let root = cache
        .map(|cache| trainers::folder(&cache))
        .context("no place for the trainers: set HOME, or XDG_CACHE_HOME to a folder's full path")?;
    let find = |name: &str| Trainer::find(PACKAGE, name, &root);
    match arguments.action {
        Action::List => {
            let trainers: Vec<Trainer> = PACKAGE.trainers().map(find).collect::<Result<_, _>>()?;
            output::print(&rows(&trainers))?;
        }
        Action::Install { name, python, anew } => {
            let trainer = find(&name)?;
            let wish = Wish { python: python.as_deref(), is_anew: anew };
            match trainers::install(&trainer, wish, &mut |line| eprintln!("{line}"))? {
                Installed::Already => eprintln!("trainer '{name}' is already there; --anew makes it anew"),
                Installed::Now => eprintln!("trainer '{name}' is installed"),
            }
            output::print(&format!("{}\n", trainer.folder().display()))?;
        }
        Action::Run { name, job } => {
            let mut command = find(&name)?.command(&job)?;
            // Comes back only when it fails: from here on signals and exit status are the trainer's.
            let error = command.exec();
            return Err(error).with_context(|| format!("failed to start {}", command.get_program().display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(trainers: &[Trainer]) -> String {
    let mut rows = table::table(&["trainer", "state", "Python"]);
    for trainer in trainers {
        let python = trainer.python();
        let state = if python.is_some() { "installed" } else { "not installed" };
        let python = python.map(|path| path.display().to_string()).unwrap_or_default();
        rows.add_row([trainer.name().to_owned(), state.to_owned(), python]);
    }
    table::text(&rows)
}
